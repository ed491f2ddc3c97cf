//! Any bytes as the payload of an index: no panic, one spelling, and a check that always ends.
#![no_main]

use format_spec::codec;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut file = b"BNDLIDX\0\x01\0\0\0\0\0\0\0".to_vec();
    file.extend_from_slice(&(data.len() as u64).to_le_bytes());
    file.extend_from_slice(data);
    if let Ok(index) = codec::decode(&file) {
        assert_eq!(codec::encode(&index).expect("decoded"), file);
        let _ = index.members(4);
    }
    let _ = codec::decode(data);
});
