//! The catalogue: which basins, streams and access tokens exist, and what is known of each.

#![forbid(unsafe_code)]

mod by_id;
pub mod catalog;
mod counted;
pub mod expiry;
mod held;
mod kept;
pub mod record;
pub mod registry;
pub mod state;
pub mod stream;
pub mod trail;

pub use catalog::Catalog;
pub use record::{BasinRecord, Creation, Gone, StreamRecord, TokenRecord};
pub use registry::{Decided, Registry};
pub use stream::{SavedState, Stream};
