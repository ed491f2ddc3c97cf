//! Any bytes as a head: no panic, and what parses keeps its meaning when written and read again.
#![no_main]

use format_spec::head::Head;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(head) = Head::parse(data) {
        assert_eq!(Head::parse(&head.to_bytes()).expect("written by us"), head);
    }
});
