//! The faults of the golden vectors, each with the refusal that SPEC.md, section 10, names for it.
//!
//! [`signed`] are made by a careless or hostile writer who holds a trusted key: only the one check
//! can find them. [`PATCHES`] are done to the medium by somebody without a key.
#![allow(dead_code, missing_docs, reason = "each test uses a part of it")]

use format_spec::Digest;
use format_spec::index::Required;
use format_spec::seal;

use crate::common::{Fault, key, other_key};

pub struct Case {
    pub name: &'static str,
    pub expect: &'static str,
    pub fault: Fault,
}

/// Where the payload of an index begins, and the sequence number after the stream.
const PAYLOAD: usize = 24;

fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    assert_eq!(from.len(), to.len());
    let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
    bytes[at..at + to.len()].copy_from_slice(to);
}

/// The text with `from` replaced once; it must be there.
fn swap(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1)
}

fn sealed(head: &[u8]) -> String {
    String::from_utf8(seal::sign(head, &[&key()])).unwrap()
}

pub fn signed() -> Vec<Case> {
    use Fault::{Head, HeadText, Index, IndexBytes, Part, Seal, Table};
    let case = |name, expect, fault| Case { name, expect, fault };
    vec![
        // What a reader must accept.
        case(
            "ok-unknown-field-in-head",
            "ok",
            HeadText(|t| swap(&t, "{\n", "{\n  \"novelty\": {\"deep\": [1, -2, null, true]},\n")),
        ),
        case("ok-missing-previous", "ok", HeadText(|t| swap(&t, "  \"previous\": null,\n", ""))),
        case("ok-second-signature", "ok", Seal(|head| seal::sign(head, &[&other_key(), &key()]))),
        case(
            "ok-bad-signature-of-unknown-key",
            "ok",
            Seal(|head| {
                let both = String::from_utf8(seal::sign(head, &[&other_key(), &key()])).unwrap();
                let alone = String::from_utf8(seal::sign(head, &[&other_key()])).unwrap();
                let good = alone.split('"').nth(13).unwrap().to_owned();
                swap(&both, &good, &format!("{}==", "A".repeat(86))).into_bytes()
            }),
        ),
        // The signature file.
        case("seal-empty", "seal-malformed", Seal(|_| Vec::new())),
        case("seal-no-signature", "seal-malformed", Seal(|head| seal::sign(head, &[]))),
        case(
            "seal-compact-spelling",
            "seal-malformed",
            Seal(|head| sealed(head).replace(['\n', ' '], "").into_bytes()),
        ),
        case(
            "seal-no-final-newline",
            "seal-malformed",
            Seal(|head| sealed(head).trim_end().as_bytes().to_vec()),
        ),
        case(
            "seal-other-payload-type",
            "seal-malformed",
            Seal(|head| swap(&sealed(head), "vnd.bundle.head", "vnd.bundle.tail").into_bytes()),
        ),
        case(
            "seal-unknown-field",
            "seal-malformed",
            Seal(|head| swap(&sealed(head), "{\n", "{\n  \"payload\": \"\",\n").into_bytes()),
        ),
        case(
            "seal-upper-case-key-id",
            "seal-malformed",
            Seal(|head| {
                let id = key().public().id().digest().hex();
                swap(&sealed(head), &id, &id.to_uppercase()).into_bytes()
            }),
        ),
        case(
            "seal-unpadded-base64",
            "seal-malformed",
            Seal(|head| swap(&sealed(head), "==\"", "\"").into_bytes()),
        ),
        case(
            "seal-17-signatures",
            "seal-malformed",
            Seal(|head| seal::sign(head, &[&key(); 17].map(|k| k as &_))),
        ),
        case("seal-unknown-key", "seal-unknown-key", Seal(|h| seal::sign(h, &[&other_key()]))),
        case(
            "seal-key-id-of-another-key",
            "seal-bad",
            Seal(|head| {
                let other = String::from_utf8(seal::sign(head, &[&other_key()])).unwrap();
                let (id, own) = (other_key().public().id(), key().public().id());
                swap(&other, &id.to_string(), &own.to_string()).into_bytes()
            }),
        ),
        case("seal-over-other-bytes", "seal-bad", Seal(|_| seal::sign(b"{}", &[&key()]))),
        case(
            "seal-good-beside-bad-of-one-key",
            "seal-bad",
            Seal(|head| {
                let both = String::from_utf8(seal::sign(head, &[&key(), &key()])).unwrap();
                let sig = both.split('"').nth(13).unwrap().to_owned();
                swap(&both, &sig, &format!("{}==", "A".repeat(86))).into_bytes()
            }),
        ),
        case("seal-s-plus-order", "seal-bad", Seal(crate::faults::s_plus_order)),
        // The head.
        case("head-not-json", "head-json", HeadText(|_| "seven".to_owned())),
        case(
            "head-as-array",
            "head-json",
            HeadText(|_| "[\"application/vnd.bundle.head.v1+json\", 1, []]".to_owned()),
        ),
        case(
            "head-duplicate-name",
            "head-json",
            HeadText(|t| swap(&t, "{\n", "{\n  \"sequence\": 1,\n")),
        ),
        case(
            "head-duplicate-name-escaped",
            "head-json",
            HeadText(|t| swap(&t, "{\n", "{\n  \"s\\u0065quence\": 1,\n")),
        ),
        case(
            "head-duplicate-name-in-unknown-field",
            "head-json",
            HeadText(|t| swap(&t, "{\n", "{\n  \"x\": {\"a\": 1, \"a\": 1},\n")),
        ),
        case("head-float", "head-json", HeadText(|t| swap(&t, "{\n", "{\n  \"x\": 1.0,\n"))),
        case("head-exponent", "head-json", HeadText(|t| swap(&t, "{\n", "{\n  \"x\": 1e0,\n"))),
        case("head-minus-zero", "head-json", HeadText(|t| swap(&t, "{\n", "{\n  \"x\": -0,\n"))),
        case(
            "head-integer-too-large",
            "head-json",
            HeadText(|t| swap(&t, "{\n", "{\n  \"x\": 9007199254740992,\n")),
        ),
        case(
            "head-lone-surrogate",
            "head-json",
            HeadText(|t| swap(&t, "{\n", "{\n  \"x\": \"\\ud800\",\n")),
        ),
        case(
            "head-too-deep",
            "head-json",
            HeadText(|t| {
                let (open, close) = ("[".repeat(16), "]".repeat(16));
                swap(&t, "{\n", &format!("{{\n  \"x\": {open}{close},\n"))
            }),
        ),
        case("head-trailing-bytes", "head-json", HeadText(|t| t + "{}")),
        case("head-byte-order-mark", "head-json", HeadText(|t| format!("\u{feff}{t}"))),
        case(
            "head-object-as-array",
            "head-json",
            HeadText(|t| {
                swap(&t, "\"tool\": {", "\"tool\": [\"bundle\", \"0.1.0\"],\n  \"unused\": {")
            }),
        ),
        case(
            "head-kind-as-object",
            "head-json",
            HeadText(|t| swap(&t, "\"kind\": \"full\"", "\"kind\": {\"full\": null}")),
        ),
        case(
            "head-missing-field",
            "head-json",
            HeadText(|t| swap(&t, "  \"cellBytes\": 65536,\n", "")),
        ),
        case("head-sequence-0", "head-json", HeadText(|t| swap(&t, "nce\": 1", "nce\": 0"))),
        case("head-other-type", "head-type", Head(|h| h.type_ = "application/json".to_owned())),
        case("head-newer-version", "head-version", Head(|h| h.format_version = 2)),
        case("head-unknown-crit", "head-crit", Head(|h| h.crit = vec!["delta".to_owned()])),
        case("head-cell-size", "head-field", Head(|h| h.cell_bytes = 4096)),
        case("head-other-part-name", "head-field", Head(|h| h.parts[0].name = "a".to_owned())),
        case("head-impossible-part-size", "head-field", Head(|h| h.parts[0].bytes += 1)),
        case("head-index-too-large", "head-field", Head(|h| h.index.bytes = 1 << 40)),
        case("head-time", "head-field", Head(|h| h.created = "yesterday".to_owned())),
        case("head-expires", "head-field", Head(|h| h.expires = Some("2026-02-30".to_owned()))),
        case(
            "head-later-incremental-without-previous",
            "head-field",
            Head(|h| {
                h.sequence = h.sequence.next().unwrap();
                h.kind = format_spec::head::Kind::Incremental;
            }),
        ),
        case(
            "head-tail-without-previous",
            "head-field",
            Head(|h| {
                h.tail =
                    vec![format_spec::head::Link { sequence: h.sequence, digest: Digest::of(b"") }];
            }),
        ),
        case("head-label-too-long", "head-field", {
            Head(|h| drop(h.labels.insert("a".to_owned(), "b".repeat(4097))))
        }),
        // The index: its bytes.
        case("index-magic", "index-format", IndexBytes(|b| b[0] = b'b')),
        case("index-newer-version", "index-format", IndexBytes(|b| b[8] = 2)),
        case("index-reserved-bytes", "index-format", IndexBytes(|b| b[12] = 1)),
        case("index-length", "index-format", IndexBytes(|b| b[16] ^= 1)),
        case("index-trailing-byte", "index-format", IndexBytes(|b| b.push(0))),
        case(
            "index-trailing-byte-counted",
            "index-format",
            IndexBytes(|b| {
                b.push(0);
                let length = (b.len() - PAYLOAD) as u64;
                b[16..24].copy_from_slice(&length.to_le_bytes());
            }),
        ),
        case(
            "index-lying-count",
            "index-format",
            IndexBytes(|b| {
                b[PAYLOAD + 24..PAYLOAD + 32].copy_from_slice(&(1_u64 << 60).to_le_bytes());
            }),
        ),
        case(
            "index-lying-text-length",
            "index-format",
            IndexBytes(|b| {
                b[PAYLOAD + 32..PAYLOAD + 40].copy_from_slice(&(1_u64 << 28).to_le_bytes());
            }),
        ),
        case(
            "index-option-tag",
            "index-format",
            IndexBytes(|b| {
                replace(b, b"\x01\x03\0\0\0\0\0\0\x001.0", b"\x02\x03\0\0\0\0\0\0\x001.0");
            }),
        ),
        case(
            "index-text-not-utf8",
            "index-format",
            IndexBytes(|b| replace(b, b"app/web", b"app/w\xffb")),
        ),
        case(
            "index-repository-name",
            "index-value",
            IndexBytes(|b| replace(b, b"app/web", b"../web/")),
        ),
        case("index-tag-name", "index-value", IndexBytes(|b| replace(b, b"latest", b"-atest"))),
        case(
            "index-sequence-0",
            "index-value",
            IndexBytes(|b| b[PAYLOAD + 16..PAYLOAD + 24].fill(0)),
        ),
        // The index: its content.
        case(
            "index-other-sequence",
            "index-other",
            Index(|i| i.sequence = i.sequence.next().unwrap()),
        ),
        case("index-blobs-out-of-order", "index-list", Index(|i| i.blobs.swap(0, 1))),
        case("index-blob-twice", "index-list", Index(|i| i.blobs.push(i.blobs[1].clone()))),
        case(
            "index-manifest-twice",
            "index-list",
            Index(|i| i.manifests.push(i.manifests[0].clone())),
        ),
        case("index-repositories-out-of-order", "index-list", Index(|i| i.repositories.swap(0, 1))),
        case(
            "index-repository-out-of-range",
            "index-entry",
            Index(|i| i.blobs[0].repositories = vec![2]),
        ),
        case(
            "index-blob-without-repository",
            "index-entry",
            Index(|i| i.blobs[0].repositories.clear()),
        ),
        case(
            "index-blob-twice-in-repository",
            "index-entry",
            Index(|i| i.blobs[0].repositories = vec![1, 1]),
        ),
        case(
            "index-reference-not-carried",
            "index-entry",
            Index(|i| i.references[0].digest = Digest::of(b"")),
        ),
        case(
            "index-reference-twice",
            "index-entry",
            Index(|i| i.references.push(i.references[0].clone())),
        ),
        case(
            "index-set-and-removed",
            "index-entry",
            Index(|i| {
                i.removals[0].repository = 1;
                i.removals[0].tag = i.references[0].tag.clone();
            }),
        ),
        case(
            "index-removed-twice",
            "index-entry",
            Index(|i| i.removals.push(i.removals[0].clone())),
        ),
        case(
            "index-required-and-carried",
            "index-entry",
            Index(|i| {
                let (digest, size) = (i.blobs[0].digest, i.blobs[0].size);
                i.required = vec![Required { digest, size, home: 0, repositories: vec![0] }];
            }),
        ),
        case(
            "index-blob-and-manifest",
            "index-entry",
            Index(|i| i.manifests[0].digest = i.blobs[0].digest),
        ),
        case("index-pieces-do-not-add-up", "index-entry", Index(|i| i.blobs[0].size += 1)),
        case("index-no-pieces", "index-entry", Index(|i| i.blobs[0].pieces.clear())),
        case(
            "index-size-near-2-64",
            "index-entry",
            Index(|i| {
                i.blobs[0].size = u64::MAX;
                i.blobs[0].pieces[0].size = u64::MAX;
            }),
        ),
        case("index-overlap", "index-placement", Index(|i| i.blobs[1].pieces[0].offset -= 512)),
        case(
            "index-offset-near-2-64",
            "index-placement",
            Index(|i| i.blobs[1].pieces[0].offset = u64::MAX - 511),
        ),
        case(
            "index-part-out-of-range",
            "index-placement",
            Index(|i| i.blobs[1].pieces[0].part = 1),
        ),
        case(
            "index-stowaway-at-end",
            "index-placement",
            Index(|i| {
                let last = i.blobs.iter().max_by_key(|b| b.pieces[0].offset).unwrap().digest;
                i.manifests.clear();
                i.references.clear();
                i.blobs.retain(|b| b.digest != last);
            }),
        ),
        case(
            "index-hole",
            "index-placement",
            Index(|i| {
                let first = i.blobs.iter().min_by_key(|b| b.pieces[0].offset).unwrap().digest;
                i.blobs.retain(|b| b.digest != first);
            }),
        ),
        case(
            "index-media-type",
            "index-text",
            Index(|i| i.manifests[0].media_type = "a/b\r\nc: d".to_owned()),
        ),
        case(
            "index-source-too-long",
            "index-text",
            Index(|i| i.references[0].source = "a".repeat(4097)),
        ),
        // The parts.
        case(
            "table-of-another-part",
            "table-header",
            Table(|t| replace(&mut t[..512], b"_000000.cells", b"_000001.cells")),
        ),
        case("table-padding", "table-header", Table(|t| *t.last_mut().unwrap() = 1)),
        case("table-cell", "cell", Table(|t| t[512] ^= 1)),
        case(
            "member-mode",
            "member-header",
            Part(|p, data| replace(&mut p[data..data + 512], b"0000444\0", b"0000755\0")),
        ),
        case("member-symbolic-link", "member-header", Part(|p, data| p[data + 156] = b'2')),
        case("member-padding", "padding", Part(|p, data| p[data + 1023] = 1)),
        case("part-end", "padding", Part(|p, _| *p.last_mut().unwrap() = 1)),
        case("blob-content", "blob", Part(|p, data| p[data + 512] ^= 1)),
    ]
}

/// A valid signature with S + L in place of S: the same equation, another spelling (RFC 8032,
/// section 5.1.7; refused since CVE-2020-36843 and its kin).
pub fn s_plus_order(head: &[u8]) -> Vec<u8> {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    let text = sealed(head);
    let sig = text.split('"').nth(13).unwrap().to_owned();
    let mut bytes = BASE64_STANDARD.decode(&sig).unwrap();
    add_order(&mut bytes[32..]);
    swap(&text, &sig, &BASE64_STANDARD.encode(bytes)).into_bytes()
}

/// Adds the order of the group, 2^252 + 27742317777372353535851937790883648493.
pub fn add_order(scalar: &mut [u8]) {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut carry = 0;
    for (byte, order) in scalar.iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    assert_eq!(carry, 0);
}

/// A change to the files of `media/` by somebody without a key: one byte xor-ed, the length
/// changed (zeros appended), another file's content, or (none of these) the file gone.
pub struct Patch {
    pub name: &'static str,
    pub expect: &'static str,
    pub sequence: u64,
    pub file: &'static str,
    pub xor: Option<(usize, u8)>,
    pub bytes: Option<usize>,
    pub from: Option<&'static str>,
}

const fn patch(
    name: &'static str,
    expect: &'static str,
    sequence: u64,
    file: &'static str,
) -> Patch {
    Patch { name, expect, sequence, file, xor: None, bytes: None, from: None }
}

impl Patch {
    const fn xor(mut self, at: usize, with: u8) -> Self {
        self.xor = Some((at, with));
        self
    }

    const fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = Some(bytes);
        self
    }

    const fn from(mut self, file: &'static str) -> Self {
        self.from = Some(file);
        self
    }
}

#[rustfmt::skip]
pub const PATCHES: &[Patch] = &[
    patch("medium-no-head", "missing", 1, "mirror_seq1.manifest.json"),
    patch("medium-no-seal", "missing", 1, "mirror_seq1.manifest.sig"),
    patch("medium-no-index", "missing", 1, "mirror_seq1.index"),
    patch("medium-no-part", "missing", 1, "mirror_seq1_000001.tar"),
    patch("medium-short-part", "part-size", 1, "mirror_seq1_000000.tar").bytes(512),
    patch("medium-empty-part", "part-size", 1, "mirror_seq1_000000.tar").bytes(0),
    patch("medium-part-of-another-sequence", "part-size", 2, "mirror_seq2_000000.tar").from("mirror_seq1_000001.tar"),
    patch("medium-parts-exchanged", "part-size", 1, "mirror_seq1_000000.tar").from("mirror_seq1_000001.tar"),
    patch("medium-head-of-another-sequence", "seal-bad", 1, "mirror_seq1.manifest.json").from("mirror_seq2.manifest.json"),
    patch("medium-index-of-another-sequence", "index-digest", 1, "mirror_seq1.index").from("mirror_seq2.index"),
    patch("medium-bit-in-head", "seal-bad", 1, "mirror_seq1.manifest.json").xor(100, 1),
    patch("medium-bit-in-seal-signature", "seal-bad", 1, "mirror_seq1.manifest.sig").xor(200, 2),
    patch("medium-bit-in-seal-spacing", "seal-malformed", 1, "mirror_seq1.manifest.sig").xor(2, 0x29),
    patch("medium-bit-in-index", "index-digest", 1, "mirror_seq1.index").xor(40, 1),
    patch("medium-short-index", "index-digest", 1, "mirror_seq1.index").bytes(100),
    patch("medium-long-index", "index-digest", 1, "mirror_seq1.index").bytes(4096),
    patch("medium-bit-in-table-header", "table-digest", 1, "mirror_seq1_000000.tar").xor(100, 1),
    patch("medium-bit-in-table", "table-digest", 1, "mirror_seq1_000000.tar").xor(600, 1),
    patch("medium-bit-in-member-header", "cell", 1, "mirror_seq1_000000.tar").xor(1536 + 100, 1),
    patch("medium-bit-in-blob", "cell", 1, "mirror_seq1_000000.tar").xor(500_000, 0x80),
    patch("medium-bit-in-last-block", "cell", 1, "mirror_seq1_000001.tar").xor(1600, 1),
];
