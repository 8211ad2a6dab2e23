//! Bytes: buffers that carry a body between rooms, and the integers of the disk and wire formats.

pub mod body;
pub mod varint;

pub use body::{Body, BodyBuf};
pub use varint::{VARINT_BYTES_MAX, push_varint, put_varint, take_varint, varint_len};
