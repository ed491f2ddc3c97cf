//! Bytes that nobody can guess, from the system.

use std::io;

use ring::rand::{SecureRandom, SystemRandom};

/// Random bytes.
pub(super) fn bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| io::Error::other("the system's random source failed"))?;
    Ok(bytes)
}
