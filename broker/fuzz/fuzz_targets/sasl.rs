//! Hands the fuzzer's bytes to [`targets::sasl`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::sasl(data));
