//! Hands the fuzzer's bytes to [`targets::catalog`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::catalog(data));
