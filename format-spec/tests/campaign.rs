//! Every bit of a tiny sequence flipped, every length, and many structured changes of its index:
//! each is refused, none panics (test plan C1, C3, C4, bounded for each commit).
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;

use common::{
    Files, codec_kind, index_kind, key, read, read_head, read_index, read_parts, sequence, tiny,
};
use format_spec::head::Head;
use format_spec::keys::PublicKey;
use format_spec::{Digest, codec, seal};

fn trusted() -> [PublicKey; 1] {
    [key().public()]
}

/// xorshift64*: the same changes in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let product = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(product).unwrap() % limit
    }
}

#[test]
fn every_bit_of_every_file_is_proven() {
    let good = tiny().build(None);
    assert!(read(&good, sequence(1), &trusted()).is_ok());
    // Each bit goes through the checks of its file only: those before it saw nothing of it.
    let (head, _) = read_head(&good, sequence(1), &trusted()).unwrap();
    let index = read_index(&good, &head).unwrap();
    let mut flipped = 0_u64;
    for name in good.keys() {
        let mut files: Files = good.clone();
        for bit in 0..good[name].len() * 8 {
            files.get_mut(name).unwrap()[bit / 8] ^= 1 << (bit % 8);
            let (answer, expected): (_, &[&str]) = match name.rsplit('.').next().unwrap() {
                "json" => (read_head(&files, sequence(1), &trusted()).err(), &["seal-bad"]),
                "sig" => (
                    read_head(&files, sequence(1), &trusted()).err(),
                    &["seal-bad", "seal-malformed", "seal-unknown-key"],
                ),
                "index" => (read_index(&files, &head).err(), &["index-digest"]),
                _ => (read_parts(&files, &head, &index).err(), &["table-digest", "cell"]),
            };
            let kind = answer.unwrap_or_else(|| panic!("bit {bit} of {name} is not proven"));
            assert!(expected.contains(&kind), "bit {bit} of {name}: {kind}");
            files.get_mut(name).unwrap()[bit / 8] ^= 1 << (bit % 8);
            flipped += 1;
        }
    }
    assert!(flipped > 50_000, "{flipped}");
}

#[test]
fn every_length_of_every_file_is_proven() {
    let good = tiny().build(None);
    for (name, content) in &good {
        let longer = [1, 511, 512, 513, 65_536].map(|more| content.len() + more);
        for length in (0..content.len()).chain(longer) {
            let mut files = good.clone();
            files.get_mut(name).unwrap().resize(length, 0);
            assert!(read(&files, sequence(1), &trusted()).is_err(), "{name} at {length}");
        }
        let mut files = good.clone();
        files.remove(name);
        assert_eq!(read(&files, sequence(1), &trusted()).unwrap_err(), "missing");
    }
}

/// Changes of the index that a reader meets when a trusted key signed nonsense.
#[test]
fn structured_changes_of_the_index_never_panic() {
    let files = tiny().build(None);
    let head = Head::parse(&files["mirror_seq1.manifest.json"]).unwrap();
    let good = &files["mirror_seq1.index"];
    let numbers = [0, 1, 2, 255, 256, 511, 512, 65_536, 1 << 31, 1 << 32, 1 << 50, 1 << 60];
    let mut random = Random(0x1dea_5eed);
    let mut kinds = std::collections::BTreeMap::new();
    for _ in 0..100_000 {
        let mut bytes = good.clone();
        for _ in 0..=random.below(3) {
            let at = 24 + random.below(bytes.len() - 32);
            let length = 1 + random.below(81);
            let end = (at + length).min(bytes.len());
            match random.below(6) {
                // A number of any width that an integer, length or offset could be.
                0 => {
                    let number: u64 = numbers[random.below(numbers.len())];
                    let number = if random.below(2) == 0 { number } else { number.wrapping_neg() };
                    let width = [1, 4, 8][random.below(3)];
                    bytes[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
                }
                1 => drop(bytes.drain(at..end)),
                2 => {
                    let copy = bytes[at..end].to_vec();
                    let to = 24 + random.below(bytes.len() - 24);
                    drop(bytes.splice(to..to, copy));
                }
                3 => bytes[at..end].reverse(),
                4 => bytes[at] ^= 1 << random.below(8),
                _ => bytes[at..end].fill(0),
            }
            if bytes.len() < 64 {
                break;
            }
        }
        // The length fits again, so that the payload is what is judged.
        let length = (bytes.len() - 24) as u64;
        bytes[16..24].copy_from_slice(&length.to_le_bytes());
        let kind = match codec::decode(&bytes) {
            Err(error) => codec_kind(&error),
            Ok(index) => index.validate(&head).map_or_else(|e| index_kind(&e), |()| "ok"),
        };
        *kinds.entry(kind).or_insert(0_u32) += 1;
    }
    // The changes reach every layer; some are harmless (a letter of a source).
    for kind in ["index-format", "index-value", "index-entry", "index-placement", "index-list"] {
        assert!(kinds.get(kind).is_some_and(|count| *count > 10), "{kind}: {kinds:?}");
    }
}

/// A signature proves its own head only.
#[test]
fn seals_do_not_fit_other_heads() {
    let files = tiny().build(None);
    let head = &files["mirror_seq1.manifest.json"];
    let mut other = tiny();
    other.head.labels.insert("a".to_owned(), "b".to_owned());
    let other = other.build(None);
    let seal = &other["mirror_seq1.manifest.sig"];
    assert!(seal::verify(&other["mirror_seq1.manifest.json"], seal, &trusted()).is_ok());
    assert!(seal::verify(head, seal, &trusted()).is_err());
    assert_ne!(Digest::of(head), Digest::of(&other["mirror_seq1.manifest.json"]));
}
