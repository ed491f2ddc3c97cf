//! The page's limits, each with its reason.

/// Repositories of one page: what a person scrolls through.
pub(super) const REPOSITORIES: usize = 50;

/// Files whose sizes are asked for one page of repositories: about a tenth of a second.
pub(super) const SIZE_LOOKS: usize = 20_000;

/// Tags of one page.
pub(super) const TAGS: usize = 50;

/// Bytes of manifests and configurations read for one page. Fifty indexes of ten platforms take 4 MiB.
pub(super) const READ: u64 = 32 * 1024 * 1024;

/// Bytes of a configuration that is shown; the largest honest ones, with long histories, have 200 KiB.
pub(super) const CONFIG: u64 = 1024 * 1024;

/// Rows of one table: layers, children, variables, labels. An image has at most 127 layers in practice.
pub(super) const ROWS: usize = 200;

/// Characters of one value of a configuration or an annotation.
pub(super) const VALUE: usize = 1000;

/// About the bytes of descriptors of what refers to an image, on its own page: 500 of them.
pub(super) const REFERRERS: usize = 256 * 1024;

/// The same for a row of the list of tags: four of them.
pub(super) const GLANCE: usize = 2048;

/// Pages drawn at one time. Each may read for a while, and pushes and pulls go before it.
pub(super) const DRAWN: usize = 4;

/// Streams, and sequences of one stream, that are shown: the newest ones.
pub(super) const STREAMS: usize = 20;
pub(super) const SEQUENCES: usize = 50;

/// Bytes of the head of a sequence that is read. It has 200 for each part: 20,000 parts.
pub(super) const HEAD: u64 = 4 * 1024 * 1024;

/// Bytes of the records that are read for the list of sequences: a thousand with 100 parts each. Whoever may push can make
/// each as large as its own page reads.
pub(super) const LISTED: u64 = 32 * 1024 * 1024;

/// Bytes of the record of a stream, and of what leads to it; the importer writes less than 16 KiB.
pub(super) const STANDING: u64 = 64 * 1024;

/// Names that a sequence brought, of one page.
pub(super) const BROUGHT: usize = 50;

/// Indexes of sequences that are read at one time. The largest has 512 MiB, which take seconds, and each page reads all of it.
pub(super) const WALKED: usize = 1;

/// Things that are counted for the page about health before they are only "many".
pub(super) const COUNTED: usize = 200_000;
