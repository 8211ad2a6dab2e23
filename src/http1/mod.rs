//! The server side of HTTP/1.1: bytes in, events out, and the bytes of an answer.
//!
//! This room answers for message framing alone: where a request begins and ends, what its head
//! says, whether the connection may live on. It has no socket, no clock and no executor, and it
//! knows neither routes nor what a body means. Heads are parsed by `httparse` and then judged
//! here, since that parser lets pass what a server behind a proxy must refuse.
//!
//! ```text
//!  socket -> recv_space / received -> [ receive buffer ] -> next_event -> Head
//!                                                               |
//!                                     collect_body ------> Request (owns head and body)
//!                                     stream_body -------> Data, Data, ... End
//! ```
//!
//! Invariants:
//!
//! * What comes out depends on the bytes, never on how they were cut into pieces.
//! * A message that two readers could frame differently is refused, and the connection with it:
//!   every [`Violation`] is final.
//! * A collected body is contiguous in the buffer it was received into; a body of known length is
//!   not copied, a chunked one is moved down over its own framing.
//! * The receive buffer is at most twice what the message has sent so far plus [`READ_BYTES`],
//!   whatever length was declared; beside it stands one spare of [`Limits::spare_bytes_max`].
//!
//! Sources: RFC 9112 (framing), RFC 9110 sections 7.2, 7.6.1 and 10.1.1 (`Host`, `Connection`,
//! `Expect`).
#![forbid(unsafe_code)]

mod buffer;
mod chunked;
mod conn;
mod encode;
mod head;
mod limits;
mod parse;
mod request;
#[cfg(test)]
mod tests;
mod violation;

pub use buffer::READ_BYTES;
pub use conn::{Conn, Event};
pub use encode::{
    CONTINUE, Framing, LAST_CHUNK, Persistence, chunk, chunk_head, reason_phrase, response_head,
};
pub use head::{BodyLength, HeadRef, Version};
pub use limits::{HEAD_BYTES_CEILING, HEADER_COUNT_CEILING, Limits};
pub use request::Request;
pub use violation::Violation;
