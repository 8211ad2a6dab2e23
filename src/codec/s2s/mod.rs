//! The frames of a session.
//!
//! ```text
//!  0        3      4                     3 + length
//!  +--------+------+------------------------+
//!  | length | flag | body                   |     length: big-endian, counts flag and body
//!  +--------+------+------------------------+
//!
//!  flag  7 6 5 4 3 2 1 0
//!        | | | | +-+-+-+-- reserved: sent as 0, ignored
//!        | | | +---------- reconnect advised; ignored from clients
//!        | +-+------------ coding of the body: 00 none, 01 zstd, 10 gzip
//!        +---------------- terminal: body is a status (2 bytes) and a JSON error; never coded
//! ```
//!
//! * [`head`]: the four bytes in front.
//! * [`deframe`]: what a client sends becomes messages, without a copy where it came whole.
//! * [`frame`]: messages become frames, in place at the end of a response.
//!
//! Source: S2 specification, sections 6.1 to 6.3.

pub mod deframe;
pub mod frame;
pub mod head;

pub use deframe::{Deframer, Message};
pub use frame::{FrameStart, FrameTooLong, begin, finish, push_terminal};
pub use head::{BadFrame, FrameHead};

/// Longest frame by its length field: flag and body, not the length field itself. In bytes.
pub const FRAME_BYTES_MAX: usize = 2_097_152;
/// Longest body of a frame, before coding and after it. In bytes.
pub const BODY_BYTES_MAX: usize = FRAME_BYTES_MAX - 1;
/// Shortest body that is worth coding, in bytes.
pub const COMPRESS_BYTES_MIN: usize = 1024;
/// Length of what stands before the body, in bytes.
pub const HEAD_BYTES: usize = 4;

// The length field has room for the longest frame.
const _: () = assert!(FRAME_BYTES_MAX < 1 << 24);
