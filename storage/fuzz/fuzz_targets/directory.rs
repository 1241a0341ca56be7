//! Hands the fuzzer's bytes to [`targets::directory`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::directory(data));
