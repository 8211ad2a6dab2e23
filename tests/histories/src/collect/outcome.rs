//! What an answer says about the effect of an append.
//!
//! Only what the API promises to be without effect counts as that: a failed condition, a code of
//! the list below, and a request that never left. A session's first failure holds for every batch
//! after it as well, because none of those may be applied; the client reports it for each.

use s2_sdk::error::{
    AppendConditionFailed, AppendError, AppendSessionError, ClientError, RequestError,
};

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has taken effect, and this is the sequence number after it.
    Appended(u64),
    /// It has no effect.
    Refused {
        /// The tail that the refusal told.
        tail: Option<u64>,
    },
    /// It was never sent, so it has no effect.
    Unsent,
    /// It has taken effect, or will, or neither.
    Unknown,
}

/// Codes of errors that promise that nothing was changed. All others may hide an effect, those that
/// this list does not know included.
const WITHOUT_EFFECT: &[&str] = &[
    "authn",
    "bad_frame",
    "bad_header",
    "bad_json",
    "bad_path",
    "bad_proto",
    "bad_query",
    "basin_deletion_pending",
    "basin_not_found",
    "decryption_failed",
    "hot_server",
    "invalid",
    "not_implemented",
    "permission_denied",
    "quota_exhausted",
    "rate_limited",
    "server_draining",
    "stream_deletion_pending",
    "stream_not_found",
    "transaction_conflict",
];

impl Outcome {
    const REFUSED: Self = Self::Refused { tail: None };

    /// Of a unary append.
    pub fn of(error: &AppendError) -> Self {
        match error {
            AppendError::ConditionFailed(AppendConditionFailed::SeqNumMismatch(tail)) => {
                Self::Refused { tail: Some(*tail) }
            }
            AppendError::ConditionFailed(_) => Self::REFUSED,
            AppendError::Request(error) => Self::of_request(error),
            // Also what newer clients may come to tell.
            _ => Self::Unknown,
        }
    }

    /// Of a batch of a session.
    pub fn of_session(error: &AppendSessionError) -> Self {
        match error {
            AppendSessionError::Append(error) => Self::of(error),
            // The batch was never taken.
            AppendSessionError::SessionClosed | AppendSessionError::SessionClosing => Self::Unsent,
            _ => Self::Unknown,
        }
    }

    fn of_request(error: &RequestError) -> Self {
        match error {
            RequestError::Server(error) if WITHOUT_EFFECT.contains(&error.code.as_str()) => {
                Self::REFUSED
            }
            // No connection came about.
            RequestError::Client(ClientError::Connect(_) | ClientError::ConnectionRefused(_)) => {
                Self::Unsent
            }
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(error: ClientError) -> AppendError {
        AppendError::Request(RequestError::Client(error))
    }

    #[test]
    fn failed_conditions_have_no_effect_and_may_tell_the_tail() {
        let position = AppendError::from(AppendConditionFailed::SeqNumMismatch(7));
        assert_eq!(Outcome::of(&position), Outcome::Refused { tail: Some(7) });
        let token = AppendConditionFailed::FencingTokenMismatch("a".parse().unwrap());
        assert_eq!(Outcome::of(&AppendError::from(token)), Outcome::REFUSED);
        let doubt = AppendError::IndefiniteFailure { final_attempt_error: Box::new(position) };
        assert_eq!(Outcome::of(&doubt), Outcome::Unknown);
        assert_eq!(Outcome::of_session(&AppendSessionError::Append(doubt)), Outcome::Unknown);
    }

    #[test]
    fn only_what_never_left_has_no_effect() {
        assert_eq!(Outcome::of(&client(ClientError::Connect("a".into()))), Outcome::Unsent);
        for error in [
            ClientError::Timeout,
            ClientError::ConnectionClosedEarly("a".into()),
            ClientError::RequestCanceled("a".into()),
            ClientError::UnexpectedEof("a".into()),
            ClientError::ConnectionReset("a".into()),
            ClientError::ConnectionAborted("a".into()),
            ClientError::ResponseDecode("a".into()),
            ClientError::SessionProtocol("a".into()),
            ClientError::Other("a".into()),
        ] {
            assert_eq!(Outcome::of(&client(error.clone())), Outcome::Unknown, "{error}");
        }
    }

    #[test]
    fn a_session_that_ends_leaves_doubt_about_what_was_under_way() {
        for error in [
            AppendSessionError::AckTimeout,
            AppendSessionError::ServerDisconnected,
            AppendSessionError::StreamClosedEarly,
            AppendSessionError::SessionDropped,
            AppendSessionError::InvalidAck("a".into()),
        ] {
            assert_eq!(Outcome::of_session(&error), Outcome::Unknown, "{error}");
        }
        assert_eq!(Outcome::of_session(&AppendSessionError::SessionClosed), Outcome::Unsent);
    }
}
