//! Hands the fuzzer's bytes to [`targets::table`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::table(data));
