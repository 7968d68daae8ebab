#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xlb_fuzz::target::translate(data));
