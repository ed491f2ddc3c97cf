//! Every bit of a tiny sequence flipped, every length, and many structured changes of its index and head:
//! each is refused, none panics (test plan C1, C3, C4, bounded for each commit). With
//! `BUNDLE_CAMPAIGN=full` the changes are a million each; parts with such changes are in `tests/campaign`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;

use common::{
    Files, codec_kind, index_kind, key, read, read_head, read_index, read_parts, sequence, tiny,
};
use format_spec::head::{Head, HeadError};
use format_spec::keys::PublicKey;
use format_spec::{Digest, codec, seal};
use serde_json::{Value, json};

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

/// So many cases: more when the whole form was asked for.
fn cases(quick: usize, full: usize) -> usize {
    let whole = std::env::var_os("BUNDLE_CAMPAIGN").is_some_and(|form| form == "full");
    if whole { full } else { quick }
}

/// The figures of a campaign, a line that `scripts/campaign.sh` collects. A wrong case has ended the test before.
fn figures(name: &str, asked: usize, ran: usize) {
    println!("campaign | {name} | {asked} | {ran} | 0");
    assert!(ran >= asked, "{name}: {ran} cases of {asked}");
}

#[test]
fn every_bit_of_every_file_is_proven() {
    let good = tiny().build(None);
    assert!(read(&good, sequence(1), &trusted()).is_ok());
    // Each bit goes through the checks of its file only: those before it saw nothing of it.
    let (head, _) = read_head(&good, sequence(1), &trusted()).unwrap();
    let index = read_index(&good, &head).unwrap();
    let mut flipped = 0;
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
    figures("every bit, format", 50_000, flipped);
}

#[test]
fn every_length_of_every_file_is_proven() {
    let good = tiny().build(None);
    let mut lengths = 0;
    for (name, content) in &good {
        let longer = [1, 511, 512, 513, 65_536].map(|more| content.len() + more);
        for length in (0..content.len()).chain(longer) {
            let mut files = good.clone();
            files.get_mut(name).unwrap().resize(length, 0);
            assert!(read(&files, sequence(1), &trusted()).is_err(), "{name} at {length}");
            lengths += 1;
        }
        let mut files = good.clone();
        files.remove(name);
        assert_eq!(read(&files, sequence(1), &trusted()).unwrap_err(), "missing");
    }
    let bytes: usize = good.values().map(Vec::len).sum();
    figures("every length, format", bytes + 5 * good.len(), lengths);
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
    let asked = cases(100_000, 1_000_000);
    let mut ran = 0;
    for _ in 0..asked {
        ran += 1;
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
    println!("{kinds:?}");
    figures("mutations of the index", asked, ran);
}

/// Every value in a JSON document, by the way to it.
fn ways(value: &Value, way: &str, all: &mut Vec<String>) {
    all.push(way.to_owned());
    match value {
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(n, one)| ways(one, &format!("{way}/{n}"), all));
        }
        Value::Object(map) => {
            map.iter().for_each(|(name, one)| ways(one, &format!("{way}/{name}"), all));
        }
        _ => {}
    }
}

/// Puts something odd at a random place of a JSON document, takes it away, or puts another part of it there.
fn change_value(value: &mut Value, random: &mut Random) {
    let mut all = Vec::new();
    ways(value, "", &mut all);
    let (way, other) = (&all[random.below(all.len())], &all[random.below(all.len())]);
    let odd = [
        json!(null),
        json!(0),
        json!(-1),
        json!(u64::MAX),
        json!(1e300),
        json!(""),
        json!("../x"),
        json!("a".repeat(5_000)),
        json!([]),
        json!({}),
        json!(true),
        value.pointer(other).cloned().unwrap_or_default(),
    ];
    let (parent, name) = way.rsplit_once('/').unwrap_or_default();
    match (random.below(3), value.pointer_mut(parent)) {
        (0, Some(Value::Object(map))) => drop(map.remove(name)),
        (0, Some(Value::Array(list))) => drop(list.pop()),
        (1, Some(Value::Object(map))) => {
            drop(map.insert(format!("{name}x"), odd[random.below(odd.len())].clone()));
        }
        (1, Some(Value::Array(list))) if !list.is_empty() => {
            let again = list[random.below(list.len())].clone();
            list.push(again);
        }
        _ => {
            if let Some(place) = value.pointer_mut(way) {
                *place = odd[random.below(odd.len())].clone();
            }
        }
    }
}

/// Changes of the head that a reader meets when a trusted key signed nonsense: what is taken is what was written, and
/// the index is judged by it without a panic.
#[test]
fn structured_changes_of_the_head_never_panic() {
    let files = tiny().build(None);
    let good = &files["mirror_seq1.manifest.json"];
    let (head, index) =
        (Head::parse(good).unwrap(), codec::decode(&files["mirror_seq1.index"]).unwrap());
    let document: Value = serde_json::from_slice(good).unwrap();
    let mut random = Random(0x4ead_5eed);
    let mut kinds = std::collections::BTreeMap::new();
    let asked = cases(60_000, 1_000_000);
    let mut ran = 0;
    for _ in 0..asked {
        ran += 1;
        let bytes = if random.below(2) == 0 {
            let mut document = document.clone();
            for _ in 0..=random.below(2) {
                change_value(&mut document, &mut random);
            }
            serde_json::to_vec(&document).unwrap()
        } else {
            let mut bytes = good.clone();
            let at = random.below(bytes.len() - 16);
            let end = at + 1 + random.below(15);
            match random.below(5) {
                0 => drop(bytes.drain(at..end)),
                1 => {
                    let copy = bytes[at..end].to_vec();
                    drop(bytes.splice(at..at, copy));
                }
                2 => bytes[at] = b"0123456789\"\\{}[],:-eu "[random.below(22)],
                3 => bytes[at] ^= 1 << random.below(8),
                _ => bytes.truncate(at),
            }
            bytes
        };
        let kind = match Head::parse(&bytes) {
            Err(HeadError::Json(_) | HeadError::TooLarge(_)) => "json",
            Err(HeadError::Field { .. }) => "field",
            Err(_) => "type, version or crit",
            Ok(taken) => {
                assert_eq!(Head::parse(&taken.to_bytes()).unwrap(), taken);
                let fits = index.validate(&taken).is_ok();
                assert!(fits || taken != head, "an unchanged head does not fit");
                if fits { "fits" } else { "other index" }
            }
        };
        *kinds.entry(kind).or_insert(0_u32) += 1;
    }
    for kind in ["json", "field", "type, version or crit", "fits", "other index"] {
        assert!(kinds.get(kind).is_some_and(|count| *count > 10), "{kind}: {kinds:?}");
    }
    println!("{kinds:?}");
    figures("mutations of the head", asked, ran);
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
