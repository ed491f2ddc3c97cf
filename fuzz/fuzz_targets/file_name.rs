//! Any text as a file name of a sequence: what parses is spelled exactly so.
#![no_main]

use format_spec::part::FileName;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(name) = text.parse::<FileName>() {
        assert_eq!(name.to_string(), text);
    }
});
