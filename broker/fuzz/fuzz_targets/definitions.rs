//! Hands the fuzzer's bytes to [`targets::definitions`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::definitions(data));
