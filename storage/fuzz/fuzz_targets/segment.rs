//! Hands the fuzzer's bytes to [`targets::segment`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::segment(data));
