//! Any bytes as a file of keys and a signature of a release: nothing that a fuzzer makes is signed with the key that counts, and
//! every key that a file gives can be asked.
//!
//! The first two bytes say how long the file of keys is, the signature follows it.
#![no_main]

use bundler::release::keys;
use bundler::release::openpgp::key;
use bundler::release::signature::verify;
use format_spec::Digest;
use libfuzzer_sys::fuzz_target;

const NOW: u64 = 1_800_000_000;

fuzz_target!(|data: &[u8]| {
    let Some((length, rest)) = data.split_first_chunk() else { return };
    let length = usize::from(u16::from_be_bytes(*length));
    let Some((file, message)) = rest.split_at_checked(length) else { return };
    let digest = Digest::of(b"a release");
    assert!(verify(message, &[keys::built_in()], &digest, NOW).is_err());
    if let Ok(found) = key::read(file) {
        let _ = verify(message, &found.usable, &digest, NOW);
    }
});
