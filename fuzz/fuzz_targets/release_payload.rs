//! Any bytes as a layer of a release image, and as each of the files in one: components by digest, or an error.
#![no_main]

use bundler::release::layer::{self, Found};
use bundler::release::references::{self, BOOT_IMAGES, METADATA, REFERENCES};
use format_spec::Digest;
use libfuzzer_sys::fuzz_target;

/// Bytes that a layer may unpack to: what a fuzzer waits for.
const UNPACKED: u64 = 16 * 1024 * 1024;

const BLOCK: usize = 512;

fuzz_target!(|data: &[u8]| {
    let mut files = vec![data.to_vec()];
    for layer in [data, &summed(data)] {
        let wanted = [REFERENCES, METADATA, BOOT_IMAGES];
        let scanned = layer::scan(layer, &Digest::of(layer), &wanted, &mut UNPACKED.clone());
        files.extend(scanned.unwrap_or_default().into_iter().filter_map(|found| match found {
            Found::File(bytes) => Some(bytes),
            _ => None,
        }));
    }
    for bytes in files {
        if let Ok(found) = references::references(&bytes) {
            assert!(found.components.iter().all(|component| component.image.digest.is_some()));
        }
        let _ = references::metadata(&bytes);
        let _ = references::boot_images(&bytes);
    }
});

/// The same with the checksum that each block would have as a header: a fuzzer guesses none.
fn summed(data: &[u8]) -> Vec<u8> {
    let mut out = data.to_vec();
    for block in out.chunks_exact_mut(BLOCK) {
        // Where a checksum stands there is a header.
        if block[154..156] == *b"\0 " {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    out
}
