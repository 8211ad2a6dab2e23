//! See `thalweg_fuzz::log_entries`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| thalweg_fuzz::log_entries::run(data));
