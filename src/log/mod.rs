//! One shard's log: what is on disk, how it gets there, and how it is read again.
//!
//! * `format` and `entry` draw the bytes, `checkpoint` those of a checkpoint (`docs/FORMAT.md`).
//! * `group` decides, purely, what shares a sync; `writer` obeys and says what is durable.
//! * `segment` is one file, `segments` all of a shard's: zeros ahead, a spare, recycling.
//! * `recovery` opens a log: `scan` finds its end and tells a torn tail from damage.
//! * `quarantine` says what an operator has given up for lost: it is passed over.
//! * `scrub` reads sealed segments again and says what is damaged in them.
//! * `index` says where a stream's records lie, `reader` reads them back, checked again: old ones
//!   in a `chunk` at a time, shared by `loads` and kept by `cache`. `frames` walks through a whole
//!   segment. `footer` keeps on disk what the index said of a sealed segment, `footers` asks it.
//!
//! Generic over `io`: nothing here names glommio, and nothing knows what a stream's rules are.

#![forbid(unsafe_code)]

pub mod cache;
pub mod checkpoint;
pub mod chunk;
pub mod entry;
mod flushed;
pub mod footer;
pub mod footers;
pub mod format;
pub mod frames;
pub mod group;
pub mod index;
pub mod loads;
pub mod quarantine;
pub mod reader;
pub mod recovery;
pub mod scan;
pub mod scrub;
pub mod segment;
pub mod segments;
pub mod writer;
