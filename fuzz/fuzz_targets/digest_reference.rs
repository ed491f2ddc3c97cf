//! Any text as a digest, a name or a reference: no panic, and what parses reads back the same.
#![no_main]

use format_spec::{Digest, Repository, Tag};
use libfuzzer_sys::fuzz_target;
use registry::reference::Reference;

fuzz_target!(|text: &str| {
    let _ = text.parse::<Digest>().map(|digest| assert_eq!(digest.to_string(), text));
    let _ = text.parse::<Repository>().map(|name| assert_eq!(name.as_str(), text));
    let _ = text.parse::<Tag>().map(|tag| assert_eq!(tag.as_str(), text));
    if let Ok(reference) = text.parse::<Reference>() {
        let again = reference.to_string();
        assert_eq!(again.parse::<Reference>().expect("written by us").to_string(), again);
    }
});
