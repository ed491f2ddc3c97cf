//! Any bytes as `auth.json`, `.dockercfg` and `registries.conf`: no panic, also when they are looked up.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| registry::client::fuzzing::access(data));
