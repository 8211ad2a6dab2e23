//! Why a body is not an append, whatever its representation.

use crate::types::append::InvalidBatch;

/// Why a body is not an append. The messages are for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// 400 `bad_json`: not JSON, or not of the right shape.
    #[error("{0}")]
    BadJson(String),
    /// 400 `bad_proto`, in a session `bad_frame`: not the protobuf message wanted.
    #[error("{0}")]
    BadProto(String),
    /// 422 `invalid`: well-formed, but no batch that any stream could take.
    #[error("{0}")]
    Invalid(String),
}

impl From<InvalidBatch> for DecodeError {
    fn from(invalid: InvalidBatch) -> Self {
        Self::Invalid(invalid.to_string())
    }
}
