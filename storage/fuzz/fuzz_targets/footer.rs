//! Hands the fuzzer's bytes to [`targets::footer`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::footer(data));
