//! Any bytes as an answer on a connection: it ends, and no more comes out of it than went in.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| registry::client::fuzzing::answer(data));
