//! Any text as a header of a registry: challenge, `Location`, `Link`, `Range`, `Retry-After`. No panic; the next
//! page is on the same origin, an upload goes on without a user name.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| registry::client::fuzzing::header(text));
