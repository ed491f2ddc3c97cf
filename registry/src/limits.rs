//! Every limit of the client and the server on what comes in from outside, with its reason.
//!
//! Limits of documents that both the wire and the medium share stand in `format_spec::limits`.

use std::time::Duration;

// ---- client ----

/// Bytes of an error body, a token answer or a helper's answer. Real ones stay below 64 KiB (tokens
/// with very many scopes); anything larger is not what was asked for.
pub const ANSWER_MAX: u64 = 1024 * 1024;

/// Bytes of one page of tags or referrers (distribution specification: a referrers answer is an
/// index, so a manifest's limit applies).
pub const PAGE_MAX: u64 = 4 * 1024 * 1024;

/// Bytes of a document that takes no room of what is shared by those in flight: ten times a usual manifest.
pub const ROOM_LEAST: u64 = 64 * 1024;

/// Pages of one listing: with 1000 entries a page, a million tags.
pub const PAGES_MAX: usize = 1000;

/// Tags of one repository that are listed. The largest public repositories have below 100,000.
pub const TAGS_MAX: usize = 1_000_000;

/// Referrers of one manifest (CVE-2023-33957, CVE-2023-46737: endless signature lists).
pub const REFERRERS_MAX: usize = 1000;

/// Redirects followed for one request: registries use one, object stores sometimes a second.
pub const REDIRECTS_MAX: usize = 5;

/// The longest wait that a `Retry-After` can ask for.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// Time a credential program may take: it may unlock a key store, but nobody waits for ever.
pub const HELPER_TIME: Duration = Duration::from_secs(30);

/// Bytes of the head of an answer. Redirects to object stores have the longest lines, of a few KiB.
pub const HEAD_MAX: usize = 64 * 1024;

/// Headers of an answer. Real ones have below 40.
pub const HEADERS_MAX: usize = 128;

/// Time to open a connection, TLS included.
pub const CONNECT_TIME: Duration = Duration::from_secs(30);

/// Time a registry may take to answer after the last byte of a large blob was sent: it hashes, or copies
/// to its object store, before it answers.
pub const COMMIT_TIME: Duration = Duration::from_secs(300);

/// Bytes that must move in every window of the stall limit, unless the body ends before. With one byte a
/// second a body would never end; 4 KiB in the default 30 s are 137 bytes a second, less than any line
/// that can carry an image.
pub const STALL_LEAST: u64 = 4 * 1024;

/// A blob of more bytes is large: up to here a registry is done within seconds, and the stall limit is
/// enough.
pub const COMMIT_LARGE: u64 = 64 * 1024 * 1024;

/// Bytes of an authentication file or of `registries.conf`. A pull secret is below 16 KiB.
pub const SETTINGS_MAX: u64 = 4 * 1024 * 1024;

/// Bytes of a certificate bundle: the largest system bundles are about 500 KiB.
pub const CERTIFICATES_MAX: u64 = 8 * 1024 * 1024;

/// Descriptors in one manifest or index. 4 MiB of JSON hold about 20,000.
pub const DESCRIPTORS_MAX: usize = 20_000;

/// Values of one JSON document: that many descriptors of ten values each. 4 MiB could hold two million, each of which costs
/// many times the two or three bytes it is written with.
pub const VALUES_MAX: usize = 10 * DESCRIPTORS_MAX;

/// Life of a token whose answer does not say it (distribution token specification: 60 s).
pub const TOKEN_LIFE: Duration = Duration::from_secs(60);

/// The longest life of a token that is believed.
pub const TOKEN_LIFE_MAX: Duration = Duration::from_secs(24 * 3600);

/// Characters of foreign text in an error message.
pub const QUOTE_MAX: usize = 300;

// ---- server ----
