//! The names of the records that imports leave in a registry, as both ends know them, and of what lies beside them.
//!
//! In: a stream and the number of a sequence; a repository of a sequence. Out: the tag of its record, and back; its name at the
//! target. The importer writes the records; the mirror registry's store reads them, to know what the sequences still
//! need and which of them holds a good copy, and its web page shows them.

use format_spec::names::NameError;
use format_spec::{Repository, Sequence, StreamId, Tag};

/// The repository, below the target's namespace, with the records. Where a target allows few path components its name
/// is the end of a longer one.
pub const LEDGER: &str = "bundle-ledger";

/// The artifact type of the record of one sequence. Its first layer is the head, its second the index, both as they
/// stood on the medium.
pub const SEQUENCE: &str = "application/vnd.bundle.sequence.v1+json";

/// The media type of an index file.
pub const INDEX: &str = "application/vnd.bundle.index.v1";

/// The annotation of a sequence's record with the ids of the trusted keys whose signatures the import went by, with spaces
/// between them.
pub const SIGNERS: &str = "vnd.bundle.signers";

/// What the tags of the records of streams begin with: where the target stands in one.
pub const STREAM_PREFIX: &str = "stream-";

const SEQUENCE_PREFIX: &str = "sequence-";

/// What the names of the repositories begin with that a ledger speaks for: what stands before the ledger's own name.
/// `None` for what is no ledger.
pub fn ledger_of(repository: &str) -> Option<&str> {
    let before = repository.strip_suffix(LEDGER)?;
    // A dash where few path components are allowed; `notbundle-ledger` is somebody's own.
    (before.is_empty() || before.ends_with(['/', '-'])).then_some(before)
}

/// The namespace of the target that an import was given for the records to be here, and how many components it was allowed
/// where the name says so, else 0. `None` for what is no ledger.
pub fn target_of(ledger: &Repository) -> Option<(&str, usize)> {
    let before = ledger_of(ledger.as_str())?;
    Some(match before.strip_suffix('-') {
        // What was joined to the namespace stands for itself: the same depth leads to the same names.
        Some(namespace) => (namespace, ledger.components().count()),
        None => (before.trim_end_matches('/'), 0),
    })
}

/// `repository` in at most `depth` components, 0 for any number: the first `depth` − 1 stay, the rest is joined with `-` (what
/// `--max-nested-paths` means elsewhere: `team/sub/unit/app`, 2 → `team/sub-unit-app`).
///
/// # Errors
/// The name would be too long.
pub fn nest(repository: &Repository, depth: usize) -> Result<Repository, NameError> {
    let components: Vec<_> = repository.components().collect();
    if depth == 0 || components.len() <= depth {
        return Ok(repository.clone());
    }
    let (kept, joined) = components.split_at(depth - 1);
    let mut path = kept.to_vec();
    let joined = joined.join("-");
    path.push(&joined);
    path.join("/").parse()
}

/// What a repository of a sequence is called beside this ledger, in at most `depth` components; `None` for what is no
/// ledger or no name.
pub fn place(ledger: &Repository, repository: &Repository, depth: usize) -> Option<Repository> {
    let before = ledger_of(ledger.as_str())?;
    if before.ends_with('-') {
        // The namespace itself takes all components, so everything below it is joined to its last one.
        let joined = repository.components().collect::<Vec<_>>().join("-");
        return format!("{before}{joined}").parse().ok();
    }
    nest(&format!("{before}{repository}").parse().ok()?, depth).ok()
}

/// The tag of a sequence's record: at most 58 characters.
pub fn sequence_tag(stream: StreamId, sequence: Sequence) -> Tag {
    format!("{SEQUENCE_PREFIX}{stream}-{sequence}").parse().expect("a tag by construction")
}

/// The sequence of which this is the tag of the record.
pub fn sequence_of(tag: &str) -> Option<(StreamId, Sequence)> {
    let (stream, number) = tag.strip_prefix(SEQUENCE_PREFIX)?.split_once('-')?;
    let (stream, sequence) = (stream.parse().ok()?, Sequence::new(number.parse().ok()?)?);
    // `+1` and `01` are numbers too, and other tags.
    (sequence_tag(stream, sequence).as_str() == tag).then_some((stream, sequence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_speaks_for_what_is_beside_it() {
        for (name, of) in [
            ("bundle-ledger", Some("")),
            ("site/bundle-ledger", Some("site/")),
            ("site/sub-bundle-ledger", Some("site/sub-")),
            ("sitebundle-ledger", None),
            ("bundle-ledger/more", None),
            ("bundle-ledgers", None),
        ] {
            assert_eq!(ledger_of(name), of, "{name}");
        }
    }

    #[test]
    fn nesting_keeps_the_first_components() {
        let nested = |text: &str, depth| nest(&text.parse().unwrap(), depth).unwrap().to_string();
        assert_eq!(nested("team/sub/unit/app", 2), "team/sub-unit-app");
        assert_eq!(nested("team/sub/unit/app", 1), "team-sub-unit-app");
        assert_eq!(nested("team/sub/unit/app", 4), "team/sub/unit/app");
        assert_eq!(nested("team/sub/unit/app", 0), "team/sub/unit/app");
    }

    #[test]
    fn a_ledger_says_what_its_import_was_given() {
        for namespace in ["", "a", "a/b", "a/b/c"] {
            for depth in 0..6 {
                let put = |namespace: &str, depth| {
                    let name = format!("{namespace}/{LEDGER}");
                    nest(&name.trim_start_matches('/').parse().unwrap(), depth).unwrap()
                };
                let ledger = put(namespace, depth);
                let (found, limit) = target_of(&ledger).unwrap();
                assert_eq!(put(found, limit), ledger, "{namespace} {depth}");
                assert!(limit == 0 || limit == depth, "{ledger}");
            }
        }
    }

    #[test]
    fn a_place_beside_the_ledger_is_where_an_import_puts_it() {
        for namespace in [None, Some("a"), Some("a/b"), Some("a/b/c")] {
            let namespace: Option<Repository> = namespace.map(|name| name.parse().unwrap());
            for depth in 0..6 {
                let put = |name: &str| {
                    let name = name.parse::<Repository>().unwrap();
                    nest(&name.below(namespace.as_ref()).unwrap(), depth).unwrap()
                };
                let ledger = put(LEDGER);
                for name in ["x", "x/y", "x/y-z/v/w"] {
                    let found = place(&ledger, &name.parse().unwrap(), depth);
                    assert_eq!(found, Some(put(name)), "{ledger} {name} {depth}");
                }
            }
        }
        let name: Repository = "x".parse().unwrap();
        assert_eq!(place(&name, &name, 0), None);
        let long: Repository = "x".repeat(255).parse().unwrap();
        assert_eq!(place(&"team/bundle-ledger".parse().unwrap(), &long, 0), None);
    }

    #[test]
    fn a_tag_names_one_sequence() {
        let stream = StreamId::from_bytes([0xab; 16]);
        for number in [1, (1 << 53) - 1] {
            let sequence = Sequence::new(number).unwrap();
            let tag = sequence_tag(stream, sequence);
            assert_eq!(sequence_of(tag.as_str()), Some((stream, sequence)));
        }
        for odd in ["lease", "stream-00", "sequence-1", "sequence-abababababababababababababababab"]
        {
            assert_eq!(sequence_of(odd), None, "{odd}");
        }
        for number in ["0", "01", "+1", "-1", "1 ", "9007199254740992", ""] {
            assert_eq!(sequence_of(&format!("sequence-{stream}-{number}")), None, "{number}");
        }
    }
}
