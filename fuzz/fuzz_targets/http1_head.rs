//! See `thalweg_fuzz::http1_head`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| thalweg_fuzz::http1_head::run(data));
