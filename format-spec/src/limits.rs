//! Every limit on what is read, with its reason. Nothing from outside is read without one.

/// Bytes of one cell, the unit that is proven before use. 64 KiB keeps the tables at 0.05 % of the
/// payload and one cell in the processor's cache.
pub const CELL: usize = 64 * 1024;

/// Bytes of a tar block (POSIX.1-1988, ustar).
pub const BLOCK: u64 = 512;

/// Bytes of a head: 100,000 parts take at most 19 MB, the rest of a head at most a few.
pub const HEAD_MAX: u64 = 32 * 1024 * 1024;

/// Bytes of a signature file: 16 signatures need less than 4 KiB.
pub const SEAL_MAX: u64 = 64 * 1024;

/// Signatures looked at in one file (CVE-2023-33957, CVE-2024-45395: unbounded signature lists).
pub const SIGNATURES_MAX: usize = 16;

/// Bytes of an index: 2 million blobs at about 100 bytes each, with their references.
pub const INDEX_MAX: u64 = 512 * 1024 * 1024;

/// Blobs in one index.
pub const BLOBS_MAX: usize = 2_000_000;

/// References in one index.
pub const REFERENCES_MAX: usize = 1_000_000;

/// Parts of one sequence.
pub const PARTS_MAX: usize = 100_000;

/// The smallest part size that can be asked for: below it headers and tables outweigh the payload.
pub const PART_MIN: u64 = 1024 * 1024;

/// The default part size: FAT32's largest file, 4 GiB − 1.
pub const PART_DEFAULT: u64 = 4 * 1024 * 1024 * 1024 - 1;

/// Bytes of one tar member: the octal size field of ustar ends at 8 GiB − 1, and PAX is never used.
pub const PIECE_MAX: u64 = 8 * 1024 * 1024 * 1024 - 512;

/// Pieces of one blob: their numbers have six digits in the names of the members. A blob of
/// [`BLOB_MAX`] in pieces of [`PIECE_MAX`] needs 131,073.
pub const PIECES_MAX: usize = 1_000_000;

/// Bytes of one part: its cell table must fit one tar member and one allocation of 128 MiB.
pub const PART_MAX: u64 = 256 * 1024 * 1024 * 1024;

/// Bytes of a manifest, index or config. The OCI distribution specification asks registries for at
/// least 4 MiB; real manifests above it have not been seen.
pub const MANIFEST_MAX: u64 = 4 * 1024 * 1024;

/// Bytes of one blob.
pub const BLOB_MAX: u64 = 1 << 50;

/// Characters of a repository name (OCI distribution specification: clients may limit to 255 with
/// the host).
pub const REPOSITORY_MAX: usize = 255;

/// Characters of a tag (OCI distribution specification).
pub const TAG_MAX: usize = 128;

/// Characters of a media type (RFC 6838: 127 for each half), with room for parameters.
pub const MEDIA_TYPE_MAX: usize = 512;

/// Characters of any other text in a head or index.
pub const TEXT_MAX: usize = 4096;

/// Labels in a head.
pub const LABELS_MAX: usize = 64;

/// Earlier (sequence, digest) pairs in a head.
pub const TAIL_MAX: usize = 32;

/// The largest integer in a head: every JSON reader agrees on integers up to 2^53 − 1.
pub const INTEGER_MAX: u64 = (1 << 53) - 1;

/// Names in one JSON object of a head: sixteen times what the largest, the labels, may have. Names that are compared
/// with each other are held.
pub const MEMBERS_MAX: usize = 1024;

/// Bytes of one JSON string of a head: [`TEXT_MAX`] characters of up to four bytes.
pub const STRING_MAX: usize = 4 * TEXT_MAX;

/// Items in one JSON list of a head: as many as it may have parts.
pub const ITEMS_MAX: usize = PARTS_MAX;

/// Nesting of any JSON document read from outside.
pub const DEPTH_MAX: usize = 16;

/// Bytes of the resource of a catalog: the names of thousands of packages, and a template.
pub const CATALOG_MAX: usize = 256 * 1024;

/// Bytes of the template in it, as JSON without white space: a cluster takes 256 KiB for a whole object.
pub const TEMPLATE_MAX: usize = 64 * 1024;
