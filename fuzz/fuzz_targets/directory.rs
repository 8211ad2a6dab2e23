//! See `thalweg_fuzz::directory`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| thalweg_fuzz::directory::run(data));
