//! Any bytes as an ImageSetConfiguration: a configuration, or findings with a place.
#![no_main]

use bundler::config::ImageSetConfig;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = ImageSetConfig::parse_bytes(data, "imageset.yaml");
});
