//! Errors as clients see them: one table from code to status, and the bodies.
//!
//! Clients decide by the pair of code and status whether to retry, so a code never appears with
//! another status than its own. Source: S2 specification, section 2.

use std::borrow::Cow;

use serde::Serialize;

use super::response::{Header, Response};
use crate::types::config::InvalidConfig;
use crate::types::{FencingToken, Refusal, StreamPosition};

/// Longest `message`, in bytes as JSON spells it: some clients read an error body from one chunk.
const MESSAGE_BYTES_MAX: usize = 896;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = ($text:literal, $status:literal),)*) => {
        /// Every error code. The variants, their texts and their statuses are one table.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code {
            $($(#[$doc])* $variant,)*
        }

        impl Code {
            /// All codes, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The code as the API spells it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The HTTP status that always accompanies the code.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }
        }
    };
}

codes! {
    /// A missing or invalid header.
    BadHeader = ("bad_header", 400),
    /// An invalid name in the path.
    BadPath = ("bad_path", 400),
    /// An invalid query parameter.
    BadQuery = ("bad_query", 400),
    /// A body that is not the JSON wanted, or not declared as JSON.
    BadJson = ("bad_json", 400),
    /// An undecodable protobuf body.
    BadProto = ("bad_proto", 400),
    /// An undecodable session frame.
    BadFrame = ("bad_frame", 400),
    /// A stored record does not authenticate with the key given.
    DecryptionFailed = ("decryption_failed", 400),
    /// Bad credentials.
    Authn = ("authn", 401),
    /// The credentials do not permit this.
    PermissionDenied = ("permission_denied", 403),
    /// An account's limit is reached.
    QuotaExhausted = ("quota_exhausted", 403),
    /// No route has this path. Ours; the specification asks for a code outside its table.
    NotFound = ("not_found", 404),
    /// No access token has this id.
    AccessTokenNotFound = ("access_token_not_found", 404),
    /// No such basin.
    BasinNotFound = ("basin_not_found", 404),
    /// No such stream.
    StreamNotFound = ("stream_not_found", 404),
    /// The route has no such method. Ours, like [`Code::NotFound`].
    MethodNotAllowed = ("method_not_allowed", 405),
    /// The server gave up waiting.
    RequestTimeout = ("request_timeout", 408),
    /// Create of what exists.
    ResourceAlreadyExists = ("resource_already_exists", 409),
    /// The basin is being deleted.
    BasinDeletionPending = ("basin_deletion_pending", 409),
    /// The stream is being deleted.
    StreamDeletionPending = ("stream_deletion_pending", 409),
    /// A concurrent metadata change won; the only retryable 409.
    TransactionConflict = ("transaction_conflict", 409),
    /// The body's content coding is not understood. Ours, like [`Code::NotFound`].
    UnsupportedMediaType = ("unsupported_media_type", 415),
    /// Well-formed but semantically invalid.
    Invalid = ("invalid", 422),
    /// Refused before any effect, to be tried later.
    RateLimited = ("rate_limited", 429),
    /// The client went away.
    ClientHangup = ("client_hangup", 499),
    /// Dropped after it may have taken effect.
    Other = ("other", 500),
    /// A write or sync failed.
    Storage = ("storage", 500),
    /// The feature is absent.
    NotImplemented = ("not_implemented", 501),
    /// Refused before any effect because a bound was reached.
    HotServer = ("hot_server", 502),
    /// A component is not available.
    Unavailable = ("unavailable", 503),
    /// The server is shutting down; nothing was done.
    ServerDraining = ("server_draining", 503),
    /// Something behind the server took too long.
    UpstreamTimeout = ("upstream_timeout", 504),
    /// Not HTTP/1.1 as we accept it.
    BadRequest = ("bad_request", 400),
    /// A body beyond the limit.
    ContentTooLarge = ("content_too_large", 413),
    /// A request target beyond the limit.
    UriTooLong = ("uri_too_long", 414),
    /// An expectation other than `100-continue`.
    ExpectationFailed = ("expectation_failed", 417),
    /// A request head beyond the limits.
    HeadTooLarge = ("head_too_large", 431),
    /// An HTTP version that is not spoken here.
    HttpVersionNotSupported = ("http_version_not_supported", 505),
}

/// An answer that is an error: status, body, and at most one header that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    body: ErrorBody,
    header: Option<Header>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum ErrorBody {
    Coded { code: Code, message: String },
    FencingTokenMismatch(FencingToken),
    SeqNumMismatch(u64),
    Unsatisfiable(StreamPosition),
}

impl ApiError {
    /// The error `code`; `message` is for people, and is cut when it is too long.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let message = shortened(message.into());
        Self { body: ErrorBody::Coded { code, message }, header: None }
    }

    /// Refused before any effect, to be tried again after `retry_after_ms` milliseconds.
    #[must_use]
    pub fn rate_limited(retry_after_ms: u64, message: impl Into<String>) -> Self {
        let error = Self::new(Code::RateLimited, message);
        error.with_header("retry-after-ms", retry_after_ms.to_string())
    }

    /// Adds the header that the error carries.
    #[must_use]
    pub(crate) fn with_header(
        mut self,
        name: &'static str,
        value: impl Into<Cow<'static, str>>,
    ) -> Self {
        self.header = Some((name, value.into()));
        self
    }

    /// The same error with its message, if it has one, put in other words.
    #[must_use]
    pub(super) fn with_message(mut self, other: impl FnOnce(&str) -> String) -> Self {
        if let ErrorBody::Coded { message, .. } = &mut self.body {
            *message = other(message);
        }
        self
    }

    /// The code, if the error has one: a failed condition (412, 416) has none.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self.body {
            ErrorBody::Coded { code, .. } => Some(code),
            _ => None,
        }
    }

    /// What it says to people; nothing for a failed condition.
    #[must_use]
    pub fn message(&self) -> &str {
        match &self.body {
            ErrorBody::Coded { message, .. } => message,
            _ => "",
        }
    }

    /// What to answer to bytes that are not the HTTP we accept; `status` says in which way.
    #[must_use]
    pub fn of_transport(status: u16, message: &str) -> Self {
        let code = match status {
            413 => Code::ContentTooLarge,
            414 => Code::UriTooLong,
            417 => Code::ExpectationFailed,
            431 => Code::HeadTooLarge,
            501 => Code::NotImplemented,
            505 => Code::HttpVersionNotSupported,
            _ => Code::BadRequest,
        };
        Self::new(code, message)
    }

    /// The code as text, also for the conditions that have none on the wire; for counting.
    #[must_use]
    pub fn code_text(&self) -> &'static str {
        match self.body {
            ErrorBody::Coded { code, .. } => code.as_str(),
            ErrorBody::FencingTokenMismatch(_) => "fencing_token_mismatch",
            ErrorBody::SeqNumMismatch(_) => "seq_num_mismatch",
            ErrorBody::Unsatisfiable(_) => "range_not_satisfiable",
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self.body {
            ErrorBody::Coded { code, .. } => code.status(),
            ErrorBody::FencingTokenMismatch(_) | ErrorBody::SeqNumMismatch(_) => 412,
            ErrorBody::Unsatisfiable(_) => 416,
        }
    }

    /// The error as a response; its body is JSON of less than 1 KiB.
    #[must_use]
    pub fn into_response(self) -> Response {
        let status = self.status();
        let response = match self.body {
            ErrorBody::Coded { code, message } => {
                Response::json(status, &CodedForm { code: code.as_str(), message: &message })
            }
            ErrorBody::FencingTokenMismatch(token) => {
                Response::json(status, &FencingForm { fencing_token_mismatch: token.as_str() })
            }
            ErrorBody::SeqNumMismatch(seq_num_mismatch) => {
                Response::json(status, &SeqNumForm { seq_num_mismatch })
            }
            ErrorBody::Unsatisfiable(tail) => Response::tail(status, tail),
        };
        match self.header {
            Some((name, value)) => response.with_header(name, value),
            None => response,
        }
    }
}

#[derive(Serialize)]
struct CodedForm<'a> {
    code: &'static str,
    message: &'a str,
}

#[derive(Serialize)]
struct FencingForm<'a> {
    fencing_token_mismatch: &'a str,
}

#[derive(Serialize)]
struct SeqNumForm {
    seq_num_mismatch: u64,
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let code = match &refusal {
            Refusal::FencingTokenMismatch(token) => {
                return Self { body: ErrorBody::FencingTokenMismatch(*token), header: None };
            }
            Refusal::SeqNumMismatch(next) => {
                return Self { body: ErrorBody::SeqNumMismatch(*next), header: None };
            }
            Refusal::Unsatisfiable(tail) => {
                return Self { body: ErrorBody::Unsatisfiable(*tail), header: None };
            }
            Refusal::RateLimited { retry_after_ms } => {
                return Self::rate_limited(*retry_after_ms, refusal.to_string());
            }
            Refusal::EncryptionKey(_) => Code::BadHeader,
            Refusal::DecryptionFailed => Code::DecryptionFailed,
            Refusal::BasinNotFound(_) => Code::BasinNotFound,
            Refusal::StreamNotFound(_) => Code::StreamNotFound,
            Refusal::BasinDeletionPending(_) => Code::BasinDeletionPending,
            Refusal::StreamDeletionPending(_) => Code::StreamDeletionPending,
            Refusal::AccessTokenNotFound(_) => Code::AccessTokenNotFound,
            Refusal::QuotaExhausted(_) => Code::QuotaExhausted,
            Refusal::AlreadyExists(_) => Code::ResourceAlreadyExists,
            Refusal::Invalid(_) => Code::Invalid,
            Refusal::Storage(_) => Code::Storage,
            Refusal::HotServer(_) => Code::HotServer,
            Refusal::Draining => Code::ServerDraining,
            Refusal::Other(_) => Code::Other,
        };
        Self::new(code, refusal.to_string())
    }
}

impl From<InvalidConfig> for ApiError {
    fn from(invalid: InvalidConfig) -> Self {
        Self::new(Code::Invalid, invalid.0)
    }
}

/// Cuts `message` at a character so that its JSON spelling stays within [`MESSAGE_BYTES_MAX`].
fn shortened(mut message: String) -> String {
    let mut spelled_bytes = 0;
    let too_long = message.char_indices().find_map(|(at, c)| {
        spelled_bytes += spelled_len(c);
        (spelled_bytes > MESSAGE_BYTES_MAX).then_some(at)
    });
    if let Some(at) = too_long {
        message.truncate(at);
        message.push('…');
    }
    message
}

/// Bytes that JSON takes, at most, for `c` inside a string.
fn spelled_len(c: char) -> usize {
    match c {
        '"' | '\\' => 2,
        '\0'..='\u{1f}' => 6,
        _ => c.len_utf8(),
    }
}

#[cfg(test)]
mod tests;
