//! See `thalweg_fuzz::s2s_frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| thalweg_fuzz::s2s_frames::run(data));
