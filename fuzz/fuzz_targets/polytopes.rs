#![no_main]

#[path = "../../tests/untrusted.rs"]
#[allow(dead_code)]
mod untrusted;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    untrusted::polytopes(bytes);
});
