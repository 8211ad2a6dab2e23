//! The catalogue: which basins and streams exist, and what is known of each.

#![forbid(unsafe_code)]

pub mod catalog;
mod counted;
pub mod record;
pub mod stream;

pub use catalog::{Basin, Catalog};
pub use record::{BasinRecord, Creation, Gone, StreamRecord};
pub use stream::{SavedState, Stream};
