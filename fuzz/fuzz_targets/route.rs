//! Any text as a path of a request to our own registry: a route or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = registry::server::route::parse(text);
});
