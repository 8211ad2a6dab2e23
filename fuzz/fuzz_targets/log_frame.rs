//! See `thalweg_fuzz::log_frame`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| thalweg_fuzz::log_frame::run(data));
