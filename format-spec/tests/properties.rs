//! What holds for every index and head: round trips, no panic on any bytes, no memory for a length
//! that lies, and a refusal for each way in which an index can contradict itself.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;

use std::collections::BTreeMap;

use common::{Draft, Fault, key, read, sequence, tiny};
use format_spec::head::{Head, Kind};
use format_spec::index::{Blob, Encoding, Index, IndexError, Required};
use format_spec::part::{FileName, Layout};
use format_spec::{Digest, Repository, Tag, codec, seal};
use proptest::prelude::*;

/// A valid index with its head: sizes, names, splits and lists as they come.
fn drafts() -> impl Strategy<Value = Draft> {
    let repositories =
        proptest::collection::btree_set("[a-z][a-z0-9]{0,6}(/[a-z0-9]{1,5}){0,3}", 1..6);
    let sizes = proptest::collection::vec(0_u64..3_000_000, 0..12);
    let manifests = proptest::collection::vec(
        (1_u64..5000, proptest::option::of("[a-z0-9_][a-zA-Z0-9._-]{0,20}")),
        0..8,
    );
    let required = proptest::collection::vec(any::<u64>(), 0..5);
    let resources = proptest::collection::vec(("[ -~]{0,20}", any::<Vec<u8>>()), 0..3);
    (repositories, sizes, manifests, required, resources, 1_u64 << 20..6 << 20, any::<u32>())
        .prop_map(|(repositories, sizes, manifests, required, resources, limit, salt)| {
            let mut draft = Draft::new(1, Kind::Full, Vec::new());
            draft.part_limit = limit;
            draft.index.repositories =
                repositories.iter().map(|name| name.parse::<Repository>().unwrap()).collect();
            let all: Vec<u32> = (0..u32::try_from(repositories.len()).unwrap()).collect();
            let some = |n: usize| vec![all[n % all.len()]];
            let digest = |kind: &str, n: usize| Digest::of(format!("{kind}{n}{salt}").as_bytes());
            for (n, size) in sizes.iter().enumerate() {
                draft.index.blobs.push(Blob {
                    digest: digest("blob", n),
                    size: *size,
                    encoding: Encoding::Raw,
                    pieces: Vec::new(),
                    repositories: if n % 3 == 0 { all.clone() } else { some(n) },
                });
            }
            draft.index.blobs.sort_by_key(|blob| blob.digest);
            for (n, (size, tag)) in manifests.iter().enumerate() {
                let digest = digest("manifest", n);
                draft.index.manifests.push(format_spec::index::ManifestEntry {
                    digest,
                    size: *size,
                    media_type: common::OCI_MANIFEST.to_owned(),
                    pieces: Vec::new(),
                    repositories: some(n),
                });
                // A tag may come twice from the generator; a name may be set once.
                let tag = tag.as_deref().map(|tag| format!("{n}{tag}"));
                draft.reference(some(n)[0], tag.as_deref(), digest);
                draft.remove(some(n)[0], Some(&format!("old{n}")), digest);
            }
            for (n, size) in required.iter().enumerate() {
                draft.index.required.push(Required {
                    digest: digest("required", n),
                    size: size >> 14,
                    home: some(n)[0],
                    repositories: all.clone(),
                });
            }
            draft.index.required.sort_by_key(|required| required.digest);
            for (name, content) in &resources {
                draft.resource(name, content);
            }
            let parts = draft.place();
            draft.head.parts = parts
                .iter()
                .zip(0..)
                .map(|(part, n)| format_spec::head::Part {
                    name: FileName::Part(draft.head.sequence, n).to_string(),
                    bytes: part.bytes,
                    table: Digest::of(b"table"),
                })
                .collect();
            draft
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_valid_index_round_trips(draft in drafts()) {
        prop_assert_eq!(draft.index.validate(&draft.head), Ok(()));
        let bytes = codec::encode(&draft.index).unwrap();
        let again = codec::decode(&bytes).unwrap();
        prop_assert_eq!(&again, &draft.index);
        prop_assert_eq!(codec::encode(&again).unwrap(), bytes);
        let head = Head::parse(&draft.head.to_bytes()).unwrap();
        prop_assert_eq!(head, draft.head);
    }

    #[test]
    fn moving_any_piece_is_found(draft in drafts(), pick in any::<prop::sample::Index>(), by in -3_i64..3) {
        prop_assume!(by != 0 && !draft.index.blobs.is_empty());
        let mut index = draft.index;
        let blob = pick.index(index.blobs.len());
        let piece = &mut index.blobs[blob].pieces[0];
        piece.offset = piece.offset.saturating_add_signed(by * 512);
        prop_assert!(index.validate(&draft.head).is_err());
    }

    #[test]
    fn leaving_anything_out_is_found(draft in drafts(), pick in any::<prop::sample::Index>()) {
        prop_assume!(!draft.index.blobs.is_empty());
        let mut index = draft.index;
        index.blobs.remove(pick.index(index.blobs.len()));
        let refused = matches!(index.validate(&draft.head), Err(IndexError::Placement { .. }));
        prop_assert!(refused);
    }

    #[test]
    fn sizes_without_sense_never_overflow(
        draft in drafts(),
        numbers in proptest::collection::vec((any::<prop::sample::Index>(), 0_u8..5, prop_oneof![
            any::<u64>(), (0_u64..2000).prop_map(|n| u64::MAX - n), Just(1 << 50), Just(1 << 63),
        ]), 1..4),
    ) {
        let mut index = draft.index;
        for (pick, field, number) in numbers {
            let blobs = index.blobs.len();
            match field {
                0 if blobs > 0 => index.blobs[pick.index(blobs)].size = number,
                1 if blobs > 0 => index.blobs[pick.index(blobs)].pieces[0].size = number,
                2 if blobs > 0 => index.blobs[pick.index(blobs)].pieces[0].offset = number,
                3 if blobs > 0 => {
                    // Piece and blob agree, so that the sum does not give it away.
                    let blob = &mut index.blobs[pick.index(blobs)];
                    blob.pieces.truncate(1);
                    blob.size = number;
                    blob.pieces[0].size = number;
                }
                4 if !index.required.is_empty() => {
                    let n = pick.index(index.required.len());
                    index.required[n].size = number;
                }
                _ => {}
            }
        }
        let _ = index.validate(&draft.head);
        let mut head = draft.head;
        for part in &mut head.parts {
            part.bytes = part.bytes.saturating_mul(1 << 40);
        }
        let _ = head.validate();
        let _ = index.validate(&head);
    }

    #[test]
    fn random_bytes_are_never_an_index(bytes in any::<Vec<u8>>()) {
        prop_assert!(codec::decode(&bytes).is_err());
        // With a prefix that fits, so that the payload is looked at.
        let mut file = b"BNDLIDX\0\x01\0\0\0\0\0\0\0".to_vec();
        file.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        file.extend_from_slice(&bytes);
        let _ = codec::decode(&file);
    }

    #[test]
    fn a_mutated_index_never_panics(
        draft in drafts(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = codec::encode(&draft.index).unwrap();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(index) = codec::decode(&bytes) {
            let _ = index.validate(&draft.head);
            // One spelling: what decodes is what would be written.
            prop_assert_eq!(codec::encode(&index).unwrap(), bytes);
        }
    }

    #[test]
    fn a_mutated_head_never_panics(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = tiny().head.to_bytes();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let _ = Head::parse(&bytes);
        let _ = Head::parse(&bytes[..cut.index(bytes.len())]);
    }

    #[test]
    fn random_text_is_no_head_or_seal(text in ".*", bytes in any::<Vec<u8>>()) {
        prop_assert!(Head::parse(text.as_bytes()).is_err());
        prop_assert!(Head::parse(&bytes).is_err());
        prop_assert!(seal::verify(b"", text.as_bytes(), &[key().public()]).is_err());
        prop_assert!(seal::verify(b"", &bytes, &[key().public()]).is_err());
    }

    #[test]
    fn names_and_digests_never_panic(text in "\\PC{0,80}") {
        let _ = text.parse::<FileName>().map(|name| assert_eq!(name.to_string(), text));
        let _ = text.parse::<Digest>().map(|digest| assert_eq!(digest.to_string(), text));
        let _ = text.parse::<Repository>().map(|name| assert_eq!(name.as_str(), text));
        let _ = text.parse::<Tag>().map(|tag| assert_eq!(tag.as_str(), text));
    }

    #[test]
    fn a_layout_depends_on_its_input_only(
        sizes in proptest::collection::vec(0_u64..9_000_000_000, 0..40),
        limit in 1_u64 << 20..1 << 38,
    ) {
        let layout = Layout::plan(&sizes, limit);
        prop_assert_eq!(&layout, &Layout::plan(&sizes, limit));
        if let Ok(layout) = layout {
            prop_assert!(layout.parts.iter().all(|part| part.bytes <= limit));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn split_and_join_is_identity(
        sizes in proptest::collection::vec(prop_oneof![
            Just(0_usize), Just(1), 65_535_usize..65_538, 1_046_000_usize..1_050_000, 0_usize..200_000,
        ], 1..5),
        limit in 1_u64 << 20..3 << 20,
    ) {
        let mut draft = Draft::new(1, Kind::Full, Vec::new());
        draft.part_limit = limit;
        draft.repositories(&["app/web"]);
        let mut seen = BTreeMap::new();
        for (n, size) in sizes.into_iter().enumerate() {
            let data = vec![u8::try_from(n).unwrap(); size];
            if seen.insert(Digest::of(&data), ()).is_none() {
                draft.blob(&data, &[0]);
            }
        }
        let files = draft.build(None);
        for (name, bytes) in &files {
            prop_assert!(!name.ends_with(".tar") || bytes.len() as u64 <= limit);
        }
        // Reading compares the digest of every blob with its joined pieces.
        prop_assert!(read(&files, sequence(1), &[key().public()]).is_ok());
    }
}

/// The checks of `Index::validate` that the golden faults name, once more as a table over a
/// sequence of two parts, with the error that carries the place.
#[test]
fn contradictions_are_named() {
    let mut draft = Draft::new(1, Kind::Full, Vec::new());
    draft.repositories(&["a", "b"]);
    draft.blob(&vec![1; 1_500_000], &[0]);
    draft.blob(b"small", &[1]);
    let manifest = draft.manifest(b"small", &[], &[1]);
    draft.reference(1, None, manifest);
    let files = draft.clone().build(None);
    let proven = read(&files, sequence(1), &[key().public()]).unwrap();
    let big = proven.index.blobs.iter().position(|blob| blob.pieces.len() == 2).unwrap();
    let refuse = |change: &dyn Fn(&mut Index)| {
        let mut index = proven.index.clone();
        change(&mut index);
        index.validate(&proven.head).unwrap_err()
    };
    assert!(matches!(
        refuse(&|i| i.blobs[big].pieces.swap(0, 1)),
        IndexError::Entry { problem: "pieces", .. }
    ));
    assert!(matches!(
        refuse(&|i| {
            let piece = i.blobs[big].pieces[1];
            i.blobs[big].pieces.push(format_spec::part::Piece { size: 0, ..piece });
        }),
        IndexError::Entry { problem: "pieces", .. }
    ));
    assert!(matches!(
        refuse(&|i| i.blobs[big].pieces[1].part = 9),
        IndexError::Placement { part: 9, .. }
    ));
    // A tag that spells a digest is another name than the digest.
    let hex = manifest.hex();
    let mut index = proven.index.clone();
    let mut tagged = index.references[0].clone();
    tagged.tag = Some(hex.parse().unwrap());
    index.references.push(tagged);
    assert_eq!(index.validate(&proven.head), Ok(()));
    // A header has no room for more than 8 GiB - 512: `part::header` would have to panic.
    let huge = refuse(&|i| {
        i.blobs[big].pieces.truncate(1);
        i.blobs[big].pieces[0].size = 9 << 30;
        i.blobs[big].size = 9 << 30;
    });
    assert!(matches!(huge, IndexError::Entry { problem: "pieces", .. }));
    let sum = refuse(&|i| {
        i.required = (0_u8..20)
            .map(|n| Required {
                digest: Digest::from_bytes([n; 32]),
                size: 1 << 50,
                home: 0,
                repositories: vec![0],
            })
            .collect();
    });
    assert!(matches!(sum, IndexError::Entry { problem: "size", .. }));
}

#[test]
fn the_faults_of_the_test_writer_are_faults() {
    let files = tiny().build(Some(&Fault::Head(|h| h.format_version = 9)));
    assert_eq!(read(&files, sequence(1), &[key().public()]).unwrap_err(), "head-version");
}
