//! See `thalweg_fuzz::usage_saved`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| thalweg_fuzz::usage_saved::run(data));
