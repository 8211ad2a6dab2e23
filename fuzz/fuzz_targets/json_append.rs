//! See `thalweg_fuzz::json_append`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| thalweg_fuzz::json_append::run(data));
