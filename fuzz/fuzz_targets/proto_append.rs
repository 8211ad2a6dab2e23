//! See `thalweg_fuzz::proto_append`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| thalweg_fuzz::proto_append::run(data));
