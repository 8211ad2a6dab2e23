//! Heads: what a request says, and what a response says before its body.

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::header::{CONTENT_LENGTH, EXPECT, HeaderMap, HeaderName, HeaderValue};

/// A request's head.
#[derive(Debug)]
pub struct RequestHead(http::request::Parts);

impl RequestHead {
    /// Takes a request apart.
    pub fn of(request: http::Request<RecvStream>) -> (Self, RecvStream) {
        let (head, body) = request.into_parts();
        (Self(head), body)
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> &str {
        self.0.method.as_str()
    }

    /// The target's path, still percent-encoded.
    #[must_use]
    pub fn path(&self) -> &str {
        self.0.uri.path()
    }

    /// The target's query, without its question mark.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.0.uri.query()
    }

    /// The header fields.
    #[must_use]
    pub fn fields(&self) -> Fields<'_> {
        Fields(&self.0.headers)
    }

    /// Whether the client waits for [`send_continue`] before it sends the body.
    #[must_use]
    pub fn expects_continue(&self) -> bool {
        let expects = self.0.headers.get(EXPECT).map(HeaderValue::as_bytes);
        expects.is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"))
    }

    /// How long the body says it is, in bytes.
    #[must_use]
    pub fn declared_bytes(&self) -> Option<u64> {
        self.0.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }
}

/// Sends the interim answer to `expect: 100-continue`.
///
/// # Errors
///
/// The stream is gone.
pub fn send_continue(respond: &mut SendResponse<Bytes>) -> Result<(), h2::Error> {
    let mut head = http::Response::new(());
    *head.status_mut() = http::StatusCode::CONTINUE;
    respond.send_informational(head)
}

/// The header fields of a request.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a>(&'a HeaderMap);

impl<'a> Fields<'a> {
    /// The value of the first field called `name`, which is lower-case.
    #[must_use]
    pub fn first(self, name: &str) -> Option<&'a [u8]> {
        self.0.get(name).map(HeaderValue::as_bytes)
    }

    /// The values of all fields called `name`.
    pub fn all(self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.0.get_all(name).iter().map(HeaderValue::as_bytes)
    }
}

/// A response's head.
#[derive(Debug)]
pub struct ResponseHead(http::Response<()>);

impl ResponseHead {
    /// A head without fields.
    ///
    /// # Panics
    ///
    /// When `status` is not one.
    #[must_use]
    pub fn new(status: u16) -> Self {
        let mut head = http::Response::new(());
        *head.status_mut() = http::StatusCode::from_u16(status).expect("our statuses are statuses");
        Self(head)
    }

    /// Adds fields, their names lower-case. A value with bytes that a header may not hold is left
    /// out: it is one that the client sent, and that we echo.
    ///
    /// # Panics
    ///
    /// When a name is not lower-case.
    #[must_use]
    pub fn with_fields<'a>(
        mut self,
        fields: impl IntoIterator<Item = (&'static str, &'a str)>,
    ) -> Self {
        for (name, value) in fields {
            if let Ok(value) = HeaderValue::from_str(value) {
                self.0.headers_mut().append(HeaderName::from_static(name), value);
            }
        }
        self
    }

    /// Says how long the body is.
    #[must_use]
    pub fn with_length(mut self, body_bytes: usize) -> Self {
        self.0.headers_mut().insert(CONTENT_LENGTH, body_bytes.into());
        self
    }

    /// Sends it; `end` when no body follows.
    ///
    /// # Errors
    ///
    /// The stream is gone.
    pub fn send(
        self,
        respond: &mut SendResponse<Bytes>,
        end: bool,
    ) -> Result<h2::SendStream<Bytes>, h2::Error> {
        respond.send_response(self.0, end)
    }
}
