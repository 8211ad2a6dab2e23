//! Bytes: buffers that carry a body between rooms, and the integers of the disk and wire formats.

pub mod body;

pub use body::BodyBuf;
