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

#[test]
fn lengths_that_lie_cost_nothing() {
    let mut draft = tiny();
    draft.place();
    let good = codec::encode(&draft.index).unwrap();
    let Some(before) = peak() else {
        println!("skipped: no /proc/self/status");
        return;
    };
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
