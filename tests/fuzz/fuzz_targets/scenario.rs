#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| nrd_tests::fuzz::scenario(data));
