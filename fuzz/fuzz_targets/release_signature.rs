//! Any bytes as a signature of a release, and as a file of keys: nothing that a fuzzer makes is signed with the key that
//! counts, and every key that a file gives can be asked.
#![no_main]

use bundler::release::keys;
use bundler::release::openpgp::{Message, key};
use bundler::release::signature::verify;
use format_spec::Digest;
use libfuzzer_sys::fuzz_target;

const MAX: usize = 64 * 1024;

fuzz_target!(|data: &[u8]| {
    let digest = Digest::of(b"a release");
    assert!(verify(data, &[keys::built_in()], &digest, 1_800_000_000).is_err());
    let Ok(found) = key::read(data) else { return };
    let Ok(message) = Message::parse(data, MAX) else { return };
    for key in &found.usable {
        let _ = message.is_by(key);
    }
});
