//! Hands the fuzzer's bytes to [`targets::proxy`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::proxy(data));
