//! Hands the fuzzer's bytes to [`targets::connection`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::connection(data));
