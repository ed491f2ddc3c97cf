//! SHA-256 in the three shapes that the road needs.
//!
//! - [`Hasher`]: one stream, one caller.
//! - [`cell_digests`]: the cells of one buffer, sixteen at a time.
//! - [`Running`] and [`advance`]: many streams that move on together.
//!
//! Why not one library call: create hashes every byte twice (blob and cell). On a processor without
//! SHA instructions that alone is half of the work; sixteen messages in one vector register take it
//! to a tenth. Single streams stay with `ring` and `sha2`. See `docs/decisions/0004`.

mod lanes;

use crate::digest::Digest;
use crate::limits::CELL;
use lanes::{BLOCK, INITIAL, State, WIDTH};

/// A running hash of one stream.
#[derive(Clone)]
pub struct Hasher(ring::digest::Context);

impl Default for Hasher {
    fn default() -> Self {
        Self(ring::digest::Context::new(&ring::digest::SHA256))
    }
}

impl Hasher {
    /// The hash of nothing, so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in `data`.
    pub fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    /// The digest of everything taken in.
    pub fn finish(self) -> Digest {
        let hash = self.0.finish();
        let mut bytes = [0; 32];
        bytes.copy_from_slice(hash.as_ref());
        Digest::from_bytes(bytes)
    }
}

/// The digests of the cells of `data`, which starts at a cell boundary; the last cell may be short.
pub fn cell_digests(data: &[u8]) -> Vec<Digest> {
    let mut cells: Vec<Running> =
        (0..data.len().div_ceil(CELL)).map(|_| Running::default()).collect();
    let mut jobs: Vec<Job<'_>> =
        cells.iter_mut().zip(data.chunks(CELL)).map(|(hash, data)| Job { hash, data }).collect();
    for group in jobs.chunks_mut(WIDTH) {
        advance(group);
    }
    cells.into_iter().map(Running::finish).collect()
}

/// A running hash that can move on together with others.
#[derive(Clone)]
pub struct Running {
    state: State,
    /// Bytes that do not fill a block yet.
    rest: [u8; BLOCK],
    length: u64,
}

impl Default for Running {
    fn default() -> Self {
        Self { state: INITIAL, rest: [0; BLOCK], length: 0 }
    }
}

impl Running {
    /// The hash of nothing, so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes taken in so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    fn pending(&self) -> usize {
        usize::try_from(self.length % BLOCK as u64).expect("below 64")
    }

    /// Takes in what completes or extends the unfinished block; returns the rest of `data`, which is
    /// empty or starts at a block boundary of the stream.
    fn fill<'a>(&mut self, data: &'a [u8]) -> &'a [u8] {
        let pending = self.pending();
        if pending == 0 {
            return data;
        }
        let (head, rest) = data.split_at(data.len().min(BLOCK - pending));
        self.rest[pending..pending + head.len()].copy_from_slice(head);
        self.length += head.len() as u64;
        if self.pending() == 0 {
            sha2::block_api::compress256(&mut self.state, &[self.rest]);
        }
        rest
    }

    /// Takes in `data` alone.
    pub fn update(&mut self, data: &[u8]) {
        let data = self.fill(data);
        let (blocks, rest) = data.as_chunks::<BLOCK>();
        sha2::block_api::compress256(&mut self.state, blocks);
        self.rest[..rest.len()].copy_from_slice(rest);
        self.length += data.len() as u64;
    }

    /// The digest of everything taken in.
    pub fn finish(mut self) -> Digest {
        let bits = self.length.wrapping_mul(8);
        let zeros = (BLOCK + 55 - self.pending()) % BLOCK;
        let mut padding = Vec::with_capacity(2 * BLOCK);
        padding.push(0x80);
        padding.resize(1 + zeros, 0);
        padding.extend_from_slice(&bits.to_be_bytes());
        self.update(&padding);
        let mut bytes = [0; 32];
        for (out, word) in bytes.chunks_exact_mut(4).zip(self.state) {
            out.copy_from_slice(&word.to_be_bytes());
        }
        Digest::from_bytes(bytes)
    }
}

/// A running hash and the next bytes of its stream.
pub struct Job<'a> {
    /// The hash to move on.
    pub hash: &'a mut Running,
    /// The bytes it takes in, in full.
    pub data: &'a [u8],
}

/// Whether this processor hashes many streams together faster than one after the other.
pub fn together_is_faster() -> bool {
    #[cfg(target_arch = "x86_64")]
    return lanes::Lanes::detect().is_some();
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// Moves every job on by all of its data, sixteen streams at a time where that is faster.
pub fn advance(jobs: &mut [Job<'_>]) {
    for job in &mut *jobs {
        job.data = job.hash.fill(job.data);
    }
    vector(jobs);
    for job in jobs {
        job.hash.update(job.data);
        job.data = &[];
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn vector(_: &mut [Job<'_>]) {}

/// Moves the jobs on in vectors while enough of them have whole blocks left.
#[cfg(target_arch = "x86_64")]
fn vector(jobs: &mut [Job<'_>]) {
    let Some(lanes) = lanes::Lanes::detect() else { return };
    // One vector step costs as much as two single ones, or as eight where SHA instructions exist.
    let least = if std::arch::is_x86_feature_detected!("sha") { 8 } else { 2 };
    loop {
        let mut live: Vec<usize> =
            (0..jobs.len()).filter(|i| jobs[*i].data.len() >= BLOCK).collect();
        if live.len() < least {
            return;
        }
        // The longest first, so that the jobs of one group end close together.
        live.sort_by_key(|i| std::cmp::Reverse(jobs[*i].data.len()));
        live.truncate(WIDTH);
        let shortest = jobs[live[live.len() - 1]].data.len() / BLOCK * BLOCK;
        let mut states: [State; WIDTH] = [INITIAL; WIDTH];
        let mut messages: [&[u8]; WIDTH] = [&jobs[live[0]].data[..shortest]; WIDTH];
        for (lane, job) in live.iter().enumerate() {
            states[lane] = jobs[*job].hash.state;
            messages[lane] = &jobs[*job].data[..shortest];
        }
        lanes.compress(&mut states, &messages);
        for (lane, job) in live.iter().enumerate() {
            let job = &mut jobs[*job];
            job.hash.state = states[lane];
            job.hash.length += shortest as u64;
            job.data = &job.data[shortest..];
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(seed: u64, length: usize) -> Vec<u8> {
        let mut x = seed | 1;
        (0..length)
            .map(|_| {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                x.to_le_bytes()[3]
            })
            .collect()
    }

    #[test]
    fn every_short_length_agrees_with_ring() {
        for length in 0..300 {
            let data = pattern(7, length);
            let mut running = Running::new();
            running.update(&data);
            assert_eq!(running.finish(), Digest::of(&data), "length {length}");
        }
    }

    #[test]
    fn cells_agree_with_ring() {
        for length in [0, 1, CELL - 1, CELL, CELL + 1, 16 * CELL, 20 * CELL + 77] {
            let data = pattern(length as u64, length);
            let expected: Vec<Digest> = data.chunks(CELL).map(Digest::of).collect();
            assert_eq!(cell_digests(&data), expected, "length {length}");
        }
    }

    proptest! {
        #[test]
        fn streams_that_move_together_agree_with_ring(
            streams in proptest::collection::vec(
                proptest::collection::vec(0_usize..3000, 1..6), 1..24),
        ) {
            let data: Vec<Vec<Vec<u8>>> = streams.iter().enumerate()
                .map(|(s, pieces)| pieces.iter().enumerate()
                    .map(|(p, n)| pattern((s * 31 + p) as u64, *n)).collect())
                .collect();
            let mut hashes = vec![Running::new(); data.len()];
            for round in 0..6 {
                let mut jobs: Vec<Job<'_>> = hashes.iter_mut().zip(&data)
                    .filter_map(|(hash, pieces)| {
                        Some(Job { hash, data: pieces.get(round)? })
                    })
                    .collect();
                advance(&mut jobs);
            }
            for (hash, pieces) in hashes.into_iter().zip(&data) {
                prop_assert_eq!(hash.finish(), Digest::of(&pieces.concat()));
            }
        }
    }
}
