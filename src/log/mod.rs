//! log
pub mod checkpoint;
pub mod entry;
pub mod format;
pub mod group;
pub mod index;
pub mod reader;
pub mod recovery;
pub mod scan;
pub mod segment;
pub mod segments;
pub mod writer;
