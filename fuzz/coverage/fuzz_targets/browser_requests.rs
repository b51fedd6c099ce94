#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| phala_fuzz::browser_requests(data));
