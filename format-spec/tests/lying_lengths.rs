//! A length in an index that lies costs no memory. Alone in its process, because it asks the kernel
//! for the most that the process ever mapped.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;

use common::tiny;
use format_spec::codec;

/// The most address space that this process ever had, in KiB; `None` where there is no procfs.
fn peak() -> Option<u64> {
    let status = fs_err::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmPeak:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// An index of this many repositories, every one of them with the name `a`.
fn repositories(count: u64) -> Vec<u8> {
    let mut payload = [0xab; 16].to_vec();
    payload.extend(1_u64.to_le_bytes());
    payload.extend(count.to_le_bytes());
    for _ in 0..count {
        payload.extend(1_u64.to_le_bytes());
        payload.push(b'a');
    }
    payload.extend([0; 48]);
    let mut bytes = b"BNDLIDX\0\x01\0\0\0\0\0\0\0".to_vec();
    bytes.extend((payload.len() as u64).to_le_bytes());
    bytes.extend(payload);
    bytes
}

#[test]
fn lengths_that_lie_cost_nothing() {
    let mut draft = tiny();
    draft.place();
    let good = codec::encode(&draft.index).unwrap();
    let Some(before) = peak() else {
        println!("skipped: no /proc/self/status");
        return;
    };
    // More entries than the list may have are not read, although every one of them is there.
    assert!(codec::decode(&repositories(3)).is_ok());
    let many = repositories(2_000_000);
    let with = peak().unwrap();
    let error = codec::decode(&many).unwrap_err();
    assert!(error.to_string().contains("2000000 repositories"), "{error}");
    assert!(peak().unwrap() - with < 1024);
    drop(many);
    let before = peak().unwrap().max(before);
    let mut refused = 0;
    for at in 24..good.len() - 8 {
        for lie in [1_u64 << 60, 500 << 20, u64::MAX, 1 << 32] {
            let mut bytes = good.clone();
            bytes[at..at + 8].copy_from_slice(&lie.to_le_bytes());
            refused += u64::from(codec::decode(&bytes).is_err());
        }
    }
    assert!(refused > 1000, "{refused}");
    let grown = peak().unwrap() - before;
    assert!(grown < 64 * 1024, "{grown} KiB more for lengths of 500 MiB and above");
}
