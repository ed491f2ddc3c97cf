//! Any bytes as a signature file over a fixed head: only the one file that was signed may pass.
#![no_main]

use format_spec::keys::SecretKey;
use format_spec::seal;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let key = SecretKey::from_seed(&[7; 32]);
    let head = b"{}";
    let good = String::from_utf8(seal::sign(head, &[&key])).expect("text");
    let accepted = seal::verify(head, data, &[key.public()]).is_ok();
    // The fuzzer cannot forge: every accepted file holds the entry that the key made.
    let entry = good.split('"').nth(13).expect("a signature");
    assert!(!accepted || String::from_utf8_lossy(data).contains(entry));
    let _ = seal::named_keys(data);
});
