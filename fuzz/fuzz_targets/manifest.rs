//! Any bytes as a manifest, with and without a media type said by the transport: no panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use registry::manifest::Manifest;

fuzz_target!(|data: &[u8]| {
    let _ = Manifest::parse(data, None);
    let _ = Manifest::parse(data, Some("application/vnd.oci.image.manifest.v1+json"));
    let _ = Manifest::parse(data, Some("application/vnd.oci.image.index.v1+json"));
});
