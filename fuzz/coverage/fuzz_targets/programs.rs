#![no_main]
// The engine catches what wasmtime panics with, which is no finding: the hook that would end the process goes.
libfuzzer_sys::fuzz_target!(init: drop(std::panic::take_hook()), |data: &[u8]| phala_fuzz::programs(data));
