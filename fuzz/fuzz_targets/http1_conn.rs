//! See `thalweg_fuzz::http1_conn`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| thalweg_fuzz::http1_conn::run(data));
