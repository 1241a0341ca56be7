//! Hands the fuzzer's bytes to [`targets::method`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::method(data));
