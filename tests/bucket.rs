//! The bucket: what a replacement machine serves, and that of two servers only one owns a shard.
//!
//! Everything runs on a directory (`file://`). Where `THALWEG_TEST_MOTO` names the program
//! `moto_server`, it also runs against that S3 server, through a proxy that delays, loses, repeats
//! and refuses requests, and cuts servers off: `scripts/bucket.sh` brings both together.

mod common;

#[path = "bucket/contract.rs"]
mod contract;
#[path = "bucket/faulty.rs"]
mod faulty;
#[path = "bucket/fenced.rs"]
mod fenced;
#[path = "bucket/kit.rs"]
mod kit;
#[path = "bucket/load.rs"]
mod load;
#[path = "bucket/moto.rs"]
mod moto;
#[allow(
    dead_code,
    unreachable_pub,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a program of its own with threads and real time, of which the tests use a part"
)]
#[path = "bucket-proxy/src/lib.rs"]
mod proxy;
#[path = "bucket/refused.rs"]
mod refused;
#[path = "bucket/replaced.rs"]
mod replaced;

/// Makes a test of each function on a directory, and one on the S3 server when there is one.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod on_files {
            $(#[test] fn $name() { super::$name(&crate::kit::Bucket::of_files()); })+
        }
        crate::on_s3! { $($name),+ }
    };
}

/// Makes a test of each function on the S3 server.
macro_rules! on_s3 {
    ($($name:ident),+ $(,)?) => {
        mod on_s3 {
            $(#[test] fn $name() {
                if let Some(bucket) = crate::kit::Bucket::of_s3() { super::$name(&bucket); }
            })+
        }
    };
}

use {on_both, on_s3};
