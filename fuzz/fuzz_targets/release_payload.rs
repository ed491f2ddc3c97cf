//! Any bytes as a layer of a release image, and as each of the files in one: components by digest, or an error.
#![no_main]

use bundler::release::layer::{self, Found};
use bundler::release::references::{self, BOOT_IMAGES, METADATA, REFERENCES};
use format_spec::Digest;
use libfuzzer_sys::fuzz_target;

/// Bytes that a layer may unpack to: what a fuzzer waits for.
const UNPACKED: u64 = 16 * 1024 * 1024;

fuzz_target!(|data: &[u8]| {
    let wanted = [REFERENCES, METADATA, BOOT_IMAGES];
    let scanned = layer::scan(data, &Digest::of(data), &wanted, &mut UNPACKED.clone());
    let files = scanned.unwrap_or_default().into_iter();
    let files = files.filter_map(|found| match found {
        Found::File(bytes) => Some(bytes),
        _ => None,
    });
    for bytes in files.chain([data.to_vec()]) {
        if let Ok(found) = references::references(&bytes) {
            assert!(found.components.iter().all(|component| component.image.digest.is_some()));
        }
        let _ = references::metadata(&bytes);
        let _ = references::boot_images(&bytes);
    }
});
