//! Hands the fuzzer's bytes to [`targets::superblock`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::superblock(data));
