//! See `thalweg_fuzz::shard_open`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| thalweg_fuzz::shard_open::run(data));
