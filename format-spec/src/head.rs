//! The head: the one signed document of a sequence.
//!
//! In: bytes whose signature was checked (see [`crate::seal`]). Out: a value whose every field is
//! inside its limits. It binds everything else by digest: the index, and for each part the cell
//! table that covers all bytes of the part. The reader never serialises a head again; the digest of
//! a head is that of its exact bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::json::{self, Object};
use crate::limits::{
    CELL, HEAD_MAX, INDEX_MAX, LABELS_MAX, PART_MAX, PARTS_MAX, TAIL_MAX, TEXT_MAX,
};
use crate::names::{Sequence, StreamId};
use crate::part::{FileName, PartLayout};

/// What a head says it is, and the payload type under its signature (DSSE), so that no other signed
/// document can be taken for a head.
pub const HEAD_TYPE: &str = "application/vnd.bundle.head.v1+json";

/// The format version written and read here.
pub const FORMAT_VERSION: u32 = 1;

/// Features that a reader must know to read a sequence. None yet.
pub const KNOWN_CRIT: &[&str] = &[];

/// Whether a sequence stands alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", try_from = "String")]
pub enum Kind {
    /// Carries everything that its references need.
    Full,
    /// Leaves out what earlier sequences carried.
    Incremental,
}

impl TryFrom<String> for Kind {
    type Error = String;

    // Derived enums also read themselves from `{"full": null}`, a second spelling.
    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "full" => Ok(Self::Full),
            "incremental" => Ok(Self::Incremental),
            _ => Err(format!("unknown kind `{text}`")),
        }
    }
}

/// The class of content, which is also its exit-code bit when it could not be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", try_from = "String")]
pub enum ContentClass {
    /// OpenShift release payloads: exit bit 2.
    Release,
    /// Operator catalogs and their images: exit bit 4.
    Operator,
    /// `mirror.additionalImages`: exit bit 8.
    Additional,
    /// Helm charts and their images: exit bit 16.
    Helm,
}

impl TryFrom<String> for ContentClass {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "release" => Ok(Self::Release),
            "operator" => Ok(Self::Operator),
            "additional" => Ok(Self::Additional),
            "helm" => Ok(Self::Helm),
            _ => Err(format!("unknown content class `{text}`")),
        }
    }
}

impl ContentClass {
    /// The exit-code bit of this class.
    pub const fn exit_bit(self) -> u8 {
        match self {
            Self::Release => 2,
            Self::Operator => 4,
            Self::Additional => 8,
            Self::Helm => 16,
        }
    }

    /// The number in the index.
    pub(crate) const fn code(self) -> u8 {
        self.exit_bit()
    }

    pub(crate) const fn from_code(code: u8) -> Option<Self> {
        match code {
            2 => Some(Self::Release),
            4 => Some(Self::Operator),
            8 => Some(Self::Additional),
            16 => Some(Self::Helm),
            _ => None,
        }
    }
}

/// A position in a stream: a sequence and the digest of its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The number of the sequence.
    pub sequence: Sequence,
    /// The digest of its head.
    pub digest: Digest,
}

/// One part, as the head knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The file name it was written under. A hint for people.
    pub name: String,
    /// Bytes of the file.
    pub bytes: u64,
    /// Digest of the part's first member: header, cell table, padding.
    pub table: Digest,
}

/// The index, as the head knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexEntry {
    /// Digest of the whole file.
    pub digest: Digest,
    /// Bytes of the file.
    pub bytes: u64,
}

/// The program that wrote the sequence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// Counts for people; import counts for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// References (repository and tag, or repository and digest) that the sequence sets.
    pub references: u64,
    /// Manifests carried.
    pub manifests: u64,
    /// Blobs carried.
    pub blobs: u64,
    /// Bytes of the manifests and blobs carried.
    pub bytes: u64,
    /// Blobs and manifests that must be at the target already.
    pub required: u64,
    /// References that the sequence removes.
    pub removals: u64,
}

/// Content that was asked for and could not be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The reference as configured.
    pub reference: String,
    /// Its class.
    pub class: ContentClass,
    /// Why.
    pub reason: String,
}

/// The signed document of a sequence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Head {
    /// [`HEAD_TYPE`].
    #[serde(rename = "type")]
    pub type_: String,
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// Features that the reader must know.
    pub crit: Vec<String>,
    /// The stream.
    pub stream: StreamId,
    /// The position in the stream.
    pub sequence: Sequence,
    /// Whether it stands alone.
    pub kind: Kind,
    /// The sequence before; none for the first.
    pub previous: Option<Link>,
    /// The last sequences before this one, newest first, at most [`TAIL_MAX`].
    pub tail: Vec<Link>,
    /// The sequence after which an incremental one left nothing out: a target that stands there, or
    /// later, needs none in between. Missing: the previous one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Link>,
    /// When it was written, RFC 3339 in UTC. For people: order never depends on it.
    pub created: String,
    /// The program that wrote it.
    pub tool: Tool,
    /// Bytes of a cell: [`CELL`].
    pub cell_bytes: u64,
    /// The parts, by number.
    pub parts: Vec<Part>,
    /// The index.
    pub index: IndexEntry,
    /// Counts for people.
    pub totals: Totals,
    /// Content that could not be had.
    pub failures: Vec<Failure>,
    /// Free text of the operator.
    pub labels: BTreeMap<String, String>,
    /// Not to be imported after this time, RFC 3339 in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// When the next sequence can be expected, RFC 3339 in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_expected: Option<String>,
}

/// Why bytes are not a head that can be used.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// Over [`HEAD_MAX`].
    #[error("the head has {0} bytes, at most {HEAD_MAX} are read")]
    TooLarge(u64),
    /// Not strict JSON of the head's shape.
    #[error("the head is not a valid document: {0}")]
    Json(#[from] json::JsonError),
    /// Another kind of document.
    #[error("the head is of type `{0}`, expected `{HEAD_TYPE}`")]
    Type(String),
    /// Written by a newer program.
    #[error("the sequence has format version {0}, this program reads version {FORMAT_VERSION}")]
    Version(u32),
    /// Written by a newer program.
    #[error("the sequence needs the feature `{0}`, which this program does not know")]
    Crit(String),
    /// A field outside its limits.
    #[error("the head's field `{field}` is not valid: {problem}")]
    Field {
        /// The name of the field.
        field: &'static str,
        /// What is wrong.
        problem: String,
    },
}

impl Head {
    /// The bytes to sign and to write: readable JSON, the same for the same value.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("a head has only text keys");
        bytes.push(b'\n');
        bytes
    }

    /// Reads the bytes of a head whose signature was checked.
    pub fn parse(bytes: &[u8]) -> Result<Self, HeadError> {
        if bytes.len() as u64 > HEAD_MAX {
            return Err(HeadError::TooLarge(bytes.len() as u64));
        }
        #[derive(Deserialize)]
        struct Shape {
            #[serde(rename = "previous")]
            _previous: Option<Object>,
            #[serde(rename = "tail")]
            _tail: Vec<Object>,
            #[serde(rename = "tool")]
            _tool: Object,
            #[serde(rename = "parts")]
            _parts: Vec<Object>,
            #[serde(rename = "index")]
            _index: Object,
            #[serde(rename = "totals")]
            _totals: Object,
            #[serde(rename = "failures")]
            _failures: Vec<Object>,
        }
        json::check(bytes)?;
        let _: Object = json::value(bytes)?;
        // The version decides how to read the rest, so it is looked at on its own first.
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Probe {
            #[serde(rename = "type")]
            type_: String,
            format_version: u32,
            #[serde(default)]
            crit: Vec<String>,
        }
        let probe: Probe = json::value(bytes)?;
        if probe.type_ != HEAD_TYPE {
            return Err(HeadError::Type(crate::digest::clip(&probe.type_)));
        }
        if probe.format_version != FORMAT_VERSION {
            return Err(HeadError::Version(probe.format_version));
        }
        if let Some(unknown) = probe.crit.iter().find(|c| !KNOWN_CRIT.contains(&c.as_str())) {
            return Err(HeadError::Crit(crate::digest::clip(unknown)));
        }
        let _: Shape = json::value(bytes)?;
        let head: Self = json::value(bytes)?;
        head.validate()?;
        Ok(head)
    }

    /// Checks every field against its limits.
    pub fn validate(&self) -> Result<(), HeadError> {
        let fail = |field, problem: String| Err(HeadError::Field { field, problem });
        if self.cell_bytes != CELL as u64 {
            return fail("cellBytes", format!("{} instead of {CELL}", self.cell_bytes));
        }
        match self.previous {
            None if self.sequence != Sequence::FIRST && self.kind == Kind::Incremental => {
                return fail("previous", "missing in a later incremental sequence".to_owned());
            }
            Some(link) if link.sequence.next() != Some(self.sequence) => {
                return fail("previous", format!("sequence {}", link.sequence));
            }
            _ => {}
        }
        if let Some(base) = self.base
            && (self.kind == Kind::Full
                || base.sequence >= self.sequence
                || self.tail.iter().any(|l| l.sequence == base.sequence && *l != base))
        {
            return fail("base", format!("sequence {}", base.sequence));
        }
        if self.tail.len() > TAIL_MAX {
            return fail("tail", format!("{} entries, at most {TAIL_MAX}", self.tail.len()));
        }
        if !self.tail.windows(2).all(|pair| pair[1].sequence < pair[0].sequence)
            || self.tail.first() != self.previous.as_ref()
        {
            return fail("tail", "not the sequences before this one, newest first".to_owned());
        }
        if self.parts.len() > PARTS_MAX {
            return fail("parts", format!("{} parts, at most {PARTS_MAX}", self.parts.len()));
        }
        for (number, part) in self.parts.iter().enumerate() {
            let number = u32::try_from(number).expect("bounded above");
            if part.name != FileName::Part(self.sequence, number).to_string() {
                let name = crate::digest::clip(&part.name);
                return fail("parts", format!("part {number} is named `{name}`"));
            }
            let layout = PartLayout { bytes: part.bytes };
            if part.bytes > PART_MAX || layout.cells().is_none() {
                return fail("parts", format!("part {number} has {} bytes", part.bytes));
            }
        }
        if self.index.bytes > INDEX_MAX {
            return fail("index", format!("{} bytes, at most {INDEX_MAX}", self.index.bytes));
        }
        if self.labels.len() > LABELS_MAX {
            return fail("labels", format!("{} labels, at most {LABELS_MAX}", self.labels.len()));
        }
        let times = [("expires", &self.expires), ("nextExpected", &self.next_expected)];
        let times = times.into_iter().filter_map(|(field, time)| Some((field, time.as_ref()?)));
        for (field, time) in times.chain([("created", &self.created)]) {
            if !is_utc_time(time) {
                return fail(
                    field,
                    format!("`{}` is not a time in UTC", crate::digest::clip(time)),
                );
            }
        }
        let texts = [&self.created, &self.tool.name, &self.tool.version];
        let texts = texts.into_iter().chain(&self.expires).chain(&self.next_expected);
        let labels = self.labels.iter().flat_map(|(name, value)| [name, value]);
        let failures = self.failures.iter().flat_map(|f| [&f.reference, &f.reason]);
        if let Some(long) = texts.chain(labels).chain(failures).find(|t| t.len() > TEXT_MAX) {
            return fail("text", format!("{} characters, at most {TEXT_MAX}", long.len()));
        }
        Ok(())
    }
}

/// `YYYY-MM-DDThh:mm:ss[.f]Z` with 1 to 9 digits `f` (RFC 3339, section 5.6). A time that cannot be
/// read would switch `expires` off.
pub fn is_utc_time(text: &str) -> bool {
    let Some((whole, rest)) = text.as_bytes().split_at_checked(19) else { return false };
    let shape = whole.iter().zip(b"0000-00-00T00:00:00").all(|(c, shape)| match shape {
        b'0' => c.is_ascii_digit(),
        _ => c == shape,
    });
    if !shape {
        return false;
    }
    let two = |at: usize| (whole[at] - b'0') * 10 + (whole[at + 1] - b'0');
    let ranges = (1..=12).contains(&two(5))
        && (1..=31).contains(&two(8))
        && two(11) <= 23
        && two(14) <= 59
        && two(17) <= 59;
    let fraction = match rest {
        b"Z" => true,
        [b'.', digits @ .., b'Z'] => {
            (1..=9).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit)
        }
        _ => false,
    };
    ranges && fraction
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn example() -> Head {
        let link = Link { sequence: Sequence::new(6).unwrap(), digest: Digest::of(b"6") };
        Head {
            type_: HEAD_TYPE.to_owned(),
            format_version: FORMAT_VERSION,
            crit: Vec::new(),
            stream: StreamId::from_bytes([7; 16]),
            sequence: Sequence::new(7).unwrap(),
            kind: Kind::Incremental,
            previous: Some(link),
            tail: vec![link],
            base: None,
            created: "2026-01-02T03:04:05Z".to_owned(),
            tool: Tool { name: "bundle".to_owned(), version: "0.1.0".to_owned() },
            cell_bytes: CELL as u64,
            parts: vec![Part {
                name: "mirror_seq7_000000.tar".to_owned(),
                bytes: PartLayout::cells_example(),
                table: Digest::of(b"table"),
            }],
            index: IndexEntry { digest: Digest::of(b"index"), bytes: 5 },
            totals: Totals::default(),
            failures: Vec::new(),
            labels: BTreeMap::from([("classification".to_owned(), "none".to_owned())]),
            expires: None,
            next_expected: None,
        }
    }

    impl PartLayout {
        fn cells_example() -> u64 {
            crate::part::Layout::plan(&[100_000], 1 << 20).unwrap().parts[0].bytes
        }
    }

    #[test]
    fn a_head_round_trips() {
        let head = example();
        assert_eq!(Head::parse(&head.to_bytes()).unwrap(), head);
    }

    #[test]
    fn unknown_fields_pass_and_unknown_crit_does_not() {
        let text = String::from_utf8(example().to_bytes()).unwrap();
        let extended = text.replacen('{', "{\"novelty\": {\"x\": 1},", 1);
        assert!(Head::parse(extended.as_bytes()).is_ok());
        let crit = text.replace("\"crit\": []", "\"crit\": [\"delta\"]");
        assert!(matches!(Head::parse(crit.as_bytes()), Err(HeadError::Crit(_))));
        let version = text.replace("\"formatVersion\": 1", "\"formatVersion\": 2");
        assert!(matches!(Head::parse(version.as_bytes()), Err(HeadError::Version(2))));
        let other = text.replace("vnd.bundle.head", "vnd.bundle.receipt");
        assert!(matches!(Head::parse(other.as_bytes()), Err(HeadError::Type(_))));
    }

    #[test]
    fn fields_have_limits() {
        let changes: [fn(&mut Head); 15] = [
            |h| h.created = "2026-13-02T03:04:05Z".to_owned(),
            |h| h.created = "2026-01-02T03:04:05".to_owned(),
            |h| h.created = "2026-01-02T03:04:05.Z".to_owned(),
            |h| h.expires = Some("tomorrow".to_owned()),
            |h| h.next_expected = Some(String::new()),
            |h| h.labels = (0..65).map(|n| (n.to_string(), String::new())).collect(),
            |h| h.tool.version = "x".repeat(TEXT_MAX + 1),
            |h| h.cell_bytes = 1,
            |h| h.previous = None,
            |h| h.tail.clear(),
            |h| h.parts[0].bytes += 1,
            |h| h.parts[0].name = "../x".to_owned(),
            |h| h.index.bytes = INDEX_MAX + 1,
            |h| h.created = "x".repeat(TEXT_MAX + 1),
            |h| h.previous = Some(Link { sequence: Sequence::FIRST, digest: Digest::of(b"") }),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut head = example();
            change(&mut head);
            assert!(Head::parse(&head.to_bytes()).is_err(), "change {number}");
        }
        let mut head = example();
        head.created = "2026-01-02T03:04:05.123456789Z".to_owned();
        assert!(Head::parse(&head.to_bytes()).is_ok());
    }

    #[test]
    fn every_value_has_one_shape() {
        let text = String::from_utf8(example().to_bytes()).unwrap();
        let digest = Digest::of(b"6");
        for (good, bad) in [
            ("\"kind\": \"incremental\"", "\"kind\": {\"incremental\": null}".to_owned()),
            ("\"previous\": {", format!("\"previous\": [6, \"{digest}\"], \"unknown\": {{")),
            ("\"tool\": {", "\"tool\": [\"bundle\", \"1\"], \"unknown\": {".to_owned()),
            ("\"sequence\": 7", "\"sequence\": 7.0".to_owned()),
            ("\"sequence\": 7", "\"sequence\": \"7\"".to_owned()),
        ] {
            assert_ne!(text.replacen(good, &bad, 1), text, "{good}");
            let changed = text.replacen(good, &bad, 1);
            assert!(Head::parse(changed.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_largest_head_fits_its_limit() {
        let mut head = example();
        let sequence = Sequence::new((1 << 53) - 1).unwrap();
        let part = Part {
            name: FileName::Part(sequence, 99_999).to_string(),
            bytes: PART_MAX,
            table: Digest::of(b""),
        };
        head.parts = vec![part; PARTS_MAX];
        // Every character of a label can take six bytes as an escape.
        let label = "\u{1}".repeat(TEXT_MAX);
        head.labels = (0..LABELS_MAX).map(|n| (format!("{n}{label}"), label.clone())).collect();
        let bytes = head.to_bytes().len() as u64;
        assert!(bytes < HEAD_MAX, "{bytes}");
        assert!(bytes > HEAD_MAX / 2);
    }
}
