//! Stands between servers and their bucket, and between clients and servers, with faults by seed.
//!
//! ```text
//!   clients -- front --+-- server A -- face 0 --+
//!                      +-- server B -- face 1 --+-- bucket (HTTP/1.1, S3)
//! ```
//!
//! * [`http`]: requests and answers, each read whole
//! * [`faults`]: what goes wrong, and when
//! * [`stale`]: lists that lack what is young
//! * [`face`]: one server's way to the bucket
//! * [`front`]: the clients' way to the servers
//! * [`control`]: changes all of it while it runs
//!
//! The standard library only, threads: `tests/bucket.rs` has this as a module too.

pub mod control;
pub mod face;
pub mod faults;
pub mod front;
pub mod http;
pub mod stale;
