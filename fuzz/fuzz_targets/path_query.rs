//! See `thalweg_fuzz::path_query`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| thalweg_fuzz::path_query::run(data));
