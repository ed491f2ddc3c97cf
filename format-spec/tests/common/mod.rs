//! A writer and a reader of whole sequences in memory, for the tests of the format.
//!
//! In: content and, if wanted, one fault put in at the stage that it names. Out: the files of a
//! sequence; everything after the stage (digests, signature) is made to fit the fault, so that only
//! the check for this fault can refuse it. The reader is the order of SPEC.md, section 9, and gives
//! the refusals the names of section 10.
#![allow(
    dead_code,
    missing_docs,
    clippy::needless_pass_by_value,
    reason = "each test uses a part of it"
)]

use std::collections::BTreeMap;

use format_spec::codec::{self, CodecError};
use format_spec::hash::cell_digests;
use format_spec::head::{
    ContentClass, FORMAT_VERSION, HEAD_TYPE, Head, HeadError, IndexEntry, Kind, Link, Part, Tool,
    Totals,
};
use format_spec::index::{
    Blob, Encoding, Index, IndexError, ManifestEntry, ReferenceEntry, Removal, Required, Resource,
};
use format_spec::keys::{PublicKey, SecretKey};
use format_spec::limits::CELL;
use format_spec::part::{
    END, FileName, Layout, PartLayout, header, member_name, padded, table_member, table_name,
};
use format_spec::seal::{self, SealError};
use format_spec::{Digest, Repository, Sequence, StreamId, Tag};

pub type Files = BTreeMap<String, Vec<u8>>;

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// The key of the golden vectors. Its seed is public: nobody may trust it.
pub fn key() -> SecretKey {
    SecretKey::from_seed(Digest::of(b"bundle golden vectors: this key is public").as_bytes())
}

/// A second key that the vectors do not trust.
pub fn other_key() -> SecretKey {
    SecretKey::from_seed(Digest::of(b"bundle golden vectors: nobody knows this key").as_bytes())
}

pub fn sequence(number: u64) -> Sequence {
    Sequence::new(number).unwrap()
}

/// A sequence before its sizes and digests are known.
#[derive(Debug, Clone)]
pub struct Draft {
    pub head: Head,
    pub index: Index,
    /// The bytes of every blob and manifest carried.
    pub data: BTreeMap<Digest, Vec<u8>>,
    pub part_limit: u64,
}

/// One fault and the stage at which it enters.
pub enum Fault {
    Index(fn(&mut Index)),
    IndexBytes(fn(&mut Vec<u8>)),
    /// Part 0, before its cells are hashed; the number is where the data begins.
    Part(fn(&mut Vec<u8>, usize)),
    /// The cell table of part 0, before it is hashed.
    Table(fn(&mut Vec<u8>)),
    Head(fn(&mut Head)),
    HeadText(fn(String) -> String),
    Seal(fn(&[u8]) -> Vec<u8>),
}

impl Draft {
    pub fn new(number: u64, kind: Kind, previous: Vec<Link>) -> Self {
        let stream = StreamId::from_bytes(*b"golden vectors 1");
        let head = Head {
            type_: HEAD_TYPE.to_owned(),
            format_version: FORMAT_VERSION,
            crit: Vec::new(),
            stream,
            sequence: sequence(number),
            kind,
            previous: previous.first().copied(),
            tail: previous,
            base: None,
            created: format!("2026-01-0{number}T03:04:05Z"),
            tool: Tool { name: "bundle".to_owned(), version: "0.1.0".to_owned() },
            cell_bytes: CELL as u64,
            parts: Vec::new(),
            index: IndexEntry { digest: Digest::of(b""), bytes: 0 },
            totals: Totals::default(),
            failures: Vec::new(),
            labels: BTreeMap::new(),
            expires: None,
            next_expected: None,
        };
        let index = Index {
            stream,
            sequence: head.sequence,
            repositories: Vec::new(),
            manifests: Vec::new(),
            blobs: Vec::new(),
            required: Vec::new(),
            references: Vec::new(),
            removals: Vec::new(),
            resources: Vec::new(),
        };
        Self { head, index, data: BTreeMap::new(), part_limit: 1 << 20 }
    }

    pub fn repositories(&mut self, names: &[&str]) {
        self.index.repositories =
            names.iter().map(|name| name.parse::<Repository>().unwrap()).collect();
    }

    pub fn blob(&mut self, data: &[u8], repositories: &[u32]) -> Digest {
        let digest = Digest::of(data);
        self.index.blobs.push(Blob {
            digest,
            size: data.len() as u64,
            encoding: Encoding::Raw,
            pieces: Vec::new(),
            repositories: repositories.to_vec(),
        });
        self.index.blobs.sort_by_key(|blob| blob.digest);
        self.data.insert(digest, data.to_vec());
        digest
    }

    pub fn manifest(&mut self, config: &[u8], layers: &[&[u8]], repositories: &[u32]) -> Digest {
        // Written out, so that the bytes do not depend on the order of a JSON library's maps.
        let entry = |media_type: &str, data: &[u8]| {
            let (digest, size) = (Digest::of(data), data.len());
            format!("{{\"mediaType\":\"{media_type}\",\"digest\":\"{digest}\",\"size\":{size}}}")
        };
        let layers: Vec<_> = layers
            .iter()
            .map(|layer| entry("application/vnd.oci.image.layer.v1.tar", layer))
            .collect();
        let text = format!(
            "{{\"schemaVersion\":2,\"mediaType\":\"{OCI_MANIFEST}\",\"config\":{},\"layers\":[{}]}}",
            entry("application/vnd.oci.image.config.v1+json", config),
            layers.join(",")
        );
        let digest = Digest::of(text.as_bytes());
        self.index.manifests.push(ManifestEntry {
            digest,
            size: text.len() as u64,
            media_type: OCI_MANIFEST.to_owned(),
            pieces: Vec::new(),
            repositories: repositories.to_vec(),
        });
        self.data.insert(digest, text.into_bytes());
        digest
    }

    pub fn reference(&mut self, repository: u32, tag: Option<&str>, digest: Digest) {
        self.index.references.push(ReferenceEntry {
            repository,
            tag: tag.map(|tag| tag.parse::<Tag>().unwrap()),
            digest,
            source: format!(
                "registry.example/{}{}",
                self.index.repositories[repository as usize],
                tag.map_or(format!("@{digest}"), |tag| format!(":{tag}"))
            ),
            class: ContentClass::Additional,
        });
    }

    pub fn require(&mut self, data: &[u8], home: u32, repositories: &[u32]) {
        self.index.required.push(Required {
            digest: Digest::of(data),
            size: data.len() as u64,
            home,
            repositories: repositories.to_vec(),
        });
        self.index.required.sort_by_key(|required| required.digest);
    }

    pub fn remove(&mut self, repository: u32, tag: Option<&str>, digest: Digest) {
        let tag = tag.map(|tag| tag.parse().unwrap());
        self.index.removals.push(Removal { repository, tag, digest });
    }

    pub fn resource(&mut self, name: &str, content: &[u8]) {
        self.index.resources.push(Resource { name: name.to_owned(), content: content.to_vec() });
    }

    /// Gives everything its place: blobs in the order of the index, then manifests.
    pub fn place(&mut self) -> Vec<PartLayout> {
        let sizes: Vec<u64> = (self.index.blobs.iter().map(|b| b.size))
            .chain(self.index.manifests.iter().map(|m| m.size))
            .collect();
        let layout = Layout::plan(&sizes, self.part_limit).unwrap();
        let slots = self.index.blobs.iter_mut().map(|b| &mut b.pieces);
        let slots = slots.chain(self.index.manifests.iter_mut().map(|m| &mut m.pieces));
        for (slot, pieces) in slots.zip(layout.pieces) {
            *slot = pieces;
        }
        layout.parts
    }

    /// The parts without their cell tables.
    pub fn fill(&self, parts: &[PartLayout]) -> Vec<Vec<u8>> {
        let mut files: Vec<Vec<u8>> =
            parts.iter().map(|part| vec![0; usize::try_from(part.bytes).unwrap()]).collect();
        for (file, members) in files.iter_mut().zip(self.index.members(parts.len()).unwrap()) {
            let mut starts: BTreeMap<Digest, usize> = BTreeMap::new();
            for member in members {
                let at = usize::try_from(member.place.offset).unwrap();
                let size = usize::try_from(member.place.size).unwrap();
                let name = member_name(&member.digest, member.piece);
                file[at - 512..at].copy_from_slice(&header(&name, member.place.size));
                // The pieces before this one, wherever they stand.
                let pieces = self.pieces(&member.digest);
                let before: u64 =
                    pieces[..member.piece.unwrap_or(0)].iter().map(|piece| piece.size).sum();
                let start = usize::try_from(before).unwrap();
                starts.insert(member.digest, start);
                file[at..at + size]
                    .copy_from_slice(&self.data[&member.digest][start..start + size]);
            }
        }
        files
    }

    fn pieces(&self, digest: &Digest) -> Vec<format_spec::part::Piece> {
        let blob = self.index.blobs.iter().find(|b| b.digest == *digest).map(|b| b.pieces.clone());
        blob.unwrap_or_else(|| {
            self.index.manifests.iter().find(|m| m.digest == *digest).unwrap().pieces.clone()
        })
    }

    /// The files of the sequence, with `fault` in them.
    pub fn build(mut self, fault: Option<&Fault>) -> Files {
        // The names of the files do not follow a fault in the head.
        let named = self.head.sequence;
        let layout = self.place();
        let mut parts = self.fill(&layout);
        for (number, (file, part)) in parts.iter_mut().zip(&layout).enumerate() {
            let data = usize::try_from(part.data_offset().unwrap()).unwrap();
            if let (0, Some(Fault::Part(change))) = (number, fault) {
                change(file, data);
            }
            let number = u32::try_from(number).unwrap();
            let cells = cell_digests(&file[data..]);
            let mut table = table_member(self.head.sequence, number, &cells);
            if let (0, Some(Fault::Table(change))) = (number, fault) {
                change(&mut table);
            }
            file[..data].copy_from_slice(&table);
            self.head.parts.push(Part {
                name: FileName::Part(self.head.sequence, number).to_string(),
                bytes: file.len() as u64,
                table: Digest::of(&table),
            });
        }
        self.head.totals = Totals {
            references: self.index.references.len() as u64,
            manifests: self.index.manifests.len() as u64,
            blobs: self.index.blobs.len() as u64,
            bytes: self.data.values().map(|data| data.len() as u64).sum(),
            required: self.index.required.len() as u64,
            removals: self.index.removals.len() as u64,
        };
        if let Some(Fault::Index(change)) = fault {
            change(&mut self.index);
        }
        let mut index = codec::encode(&self.index).unwrap();
        if let Some(Fault::IndexBytes(change)) = fault {
            change(&mut index);
        }
        self.head.index = IndexEntry { digest: Digest::of(&index), bytes: index.len() as u64 };
        if let Some(Fault::Head(change)) = fault {
            change(&mut self.head);
        }
        let mut head = self.head.to_bytes();
        if let Some(Fault::HeadText(change)) = fault {
            head = change(String::from_utf8(head).unwrap()).into_bytes();
        }
        let seal = match fault {
            Some(Fault::Seal(make)) => make(&head),
            _ => seal::sign(&head, &[&key()]),
        };
        let mut files = Files::from([
            (FileName::Head(named).to_string(), head),
            (FileName::Seal(named).to_string(), seal),
            (FileName::Index(named).to_string(), index),
        ]);
        for (number, file) in parts.into_iter().enumerate() {
            let number = u32::try_from(number).unwrap();
            files.insert(FileName::Part(named, number).to_string(), file);
        }
        files
    }
}

/// What a reader knows when every check has passed.
#[derive(Debug)]
pub struct Proven {
    pub head: Head,
    pub digest: Digest,
    pub index: Index,
    pub signers: Vec<String>,
}

/// Reads one sequence out of `files`, in the order of SPEC.md, section 9.
pub fn read(
    files: &Files,
    number: Sequence,
    trusted: &[PublicKey],
) -> Result<Proven, &'static str> {
    let (head, signers) = read_head(files, number, trusted)?;
    for (n, part) in head.parts.iter().enumerate() {
        let bytes = file(files, FileName::Part(number, u32::try_from(n).unwrap()))?;
        if bytes.len() as u64 != part.bytes {
            return Err("part-size");
        }
    }
    let index = read_index(files, &head)?;
    read_parts(files, &head, &index)?;
    let digest = Digest::of(&files[&FileName::Head(number).to_string()]);
    Ok(Proven { head, digest, index, signers })
}

fn file(files: &Files, name: FileName) -> Result<&Vec<u8>, &'static str> {
    files.get(&name.to_string()).ok_or("missing")
}

/// The head, after its signature.
pub fn read_head(
    files: &Files,
    number: Sequence,
    trusted: &[PublicKey],
) -> Result<(Head, Vec<String>), &'static str> {
    let file = |name: FileName| file(files, name);
    let head_bytes = file(FileName::Head(number))?;
    let signers =
        seal::verify(head_bytes, file(FileName::Seal(number))?, trusted).map_err(|error| {
            match error {
                SealError::Malformed(_) => "seal-malformed",
                SealError::UnknownKey(_) => "seal-unknown-key",
                SealError::Bad(_) => "seal-bad",
            }
        })?;
    let head = Head::parse(head_bytes).map_err(|error| match error {
        HeadError::TooLarge(_) | HeadError::Json(_) => "head-json",
        HeadError::Type(_) => "head-type",
        HeadError::Version(_) => "head-version",
        HeadError::Crit(_) => "head-crit",
        HeadError::Field { .. } => "head-field",
    })?;
    if head.sequence != number {
        return Err("head-field");
    }
    Ok((head, signers.iter().map(ToString::to_string).collect()))
}

/// The index, after its digest.
pub fn read_index(files: &Files, head: &Head) -> Result<Index, &'static str> {
    let index_bytes = file(files, FileName::Index(head.sequence))?;
    if index_bytes.len() as u64 != head.index.bytes || Digest::of(index_bytes) != head.index.digest
    {
        return Err("index-digest");
    }
    let index = codec::decode(index_bytes).map_err(|error| codec_kind(&error))?;
    index.validate(head).map_err(|error| index_kind(&error))?;
    Ok(index)
}

/// The parts, cell by cell and blob by blob.
pub fn read_parts(files: &Files, head: &Head, index: &Index) -> Result<(), &'static str> {
    let number = head.sequence;
    let members = index.members(head.parts.len()).unwrap();
    let mut content: BTreeMap<Digest, format_spec::hash::Hasher> = BTreeMap::new();
    for (n, (part, members)) in head.parts.iter().zip(members).enumerate() {
        let n = u32::try_from(n).unwrap();
        let bytes = file(files, FileName::Part(number, n))?;
        let layout = PartLayout { bytes: part.bytes };
        let data = usize::try_from(layout.data_offset().unwrap()).unwrap();
        let (table, rest) = bytes.split_at(data);
        if Digest::of(table) != part.table {
            return Err("table-digest");
        }
        let cells = usize::try_from(layout.cells().unwrap()).unwrap();
        let size = cells * 32;
        if table[..512] != header(&table_name(number, n), size as u64)
            || table[512 + size..].iter().any(|byte| *byte != 0)
        {
            return Err("table-header");
        }
        for (cell, said) in rest.chunks(CELL).zip(table[512..].chunks(32)) {
            if Digest::of(cell).as_bytes() != said {
                return Err("cell");
            }
        }
        let mut at = data;
        for member in members {
            let size = usize::try_from(member.place.size).unwrap();
            let start = usize::try_from(member.place.offset).unwrap();
            let end = start + usize::try_from(padded(member.place.size)).unwrap();
            let name = member_name(&member.digest, member.piece);
            if bytes[at..start] != header(&name, member.place.size) {
                return Err("member-header");
            }
            if bytes[start + size..end].iter().any(|byte| *byte != 0) {
                return Err("padding");
            }
            content.entry(member.digest).or_default().update(&bytes[start..start + size]);
            at = end;
        }
        assert_eq!((bytes.len() - at) as u64, END, "validate has checked it");
        if bytes[at..].iter().any(|byte| *byte != 0) {
            return Err("padding");
        }
    }
    if content.into_iter().any(|(digest, hasher)| hasher.finish() != digest) {
        return Err("blob");
    }
    Ok(())
}

pub fn codec_kind(error: &CodecError) -> &'static str {
    match error {
        CodecError::TooLarge(_)
        | CodecError::Magic
        | CodecError::Version(_)
        | CodecError::Length { .. }
        | CodecError::Payload(_) => "index-format",
        CodecError::Value(_) => "index-value",
        CodecError::Index(error) => index_kind(error),
    }
}

pub fn index_kind(error: &IndexError) -> &'static str {
    match error {
        IndexError::OtherSequence { .. } => "index-other",
        IndexError::TooMany { .. } | IndexError::Order(_) => "index-list",
        IndexError::Entry { .. } => "index-entry",
        IndexError::Placement { .. } => "index-placement",
        IndexError::Text(_) => "index-text",
    }
}

/// A small sequence: two blobs, one manifest, one part of a few kilobytes.
pub fn tiny() -> Draft {
    let mut draft = Draft::new(1, Kind::Full, Vec::new());
    draft.repositories(&["app/cache", "app/web"]);
    let config = b"{\"architecture\":\"amd64\",\"os\":\"linux\"}";
    let layer = b"a layer of a few bytes, not a tar archive, which nobody here unpacks\n";
    draft.blob(config, &[0, 1]);
    draft.blob(layer, &[1]);
    let manifest = draft.manifest(config, &[layer], &[1]);
    draft.reference(1, Some("1.0"), manifest);
    draft.reference(1, Some("latest"), manifest);
    draft.remove(0, Some("0.9"), Digest::of(b"a manifest of earlier days"));
    draft
}
