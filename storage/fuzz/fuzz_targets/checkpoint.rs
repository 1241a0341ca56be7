//! Hands the fuzzer's bytes to [`targets::checkpoint`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::checkpoint(data));
