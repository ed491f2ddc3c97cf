//! Any bytes as a record of what was imported: no panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| importer::fuzzing::record(data));
