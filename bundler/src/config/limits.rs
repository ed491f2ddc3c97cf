//! What a configuration may cost to read. The file comes from a person, but it also comes out of
//! repositories and pipelines: none of these is ever reached by a configuration that means something.

/// Largest file, in bytes: 8 MiB are about 100,000 images, one a line.
pub const FILE_MAX: u64 = 8 * 1024 * 1024;

/// Deepest nesting of lists and mappings. The deepest field of the format
/// (`mirror.operators[].packages[].channels[].name`) lies at 9.
pub const DEPTH_MAX: usize = 16;

/// Most values in one document, those an alias or a merge key repeats included ("billion laughs").
/// 100,000 images of two fields each are 300,000; the tree stays below 64 MiB.
pub const NODES_MAX: usize = 400_000;

/// Findings kept of one file; the rest is counted. Nobody reads more in one go.
pub const FINDINGS_MAX: usize = 100;

/// Largest compiled form of one `blockedImages` pattern, in bytes: it keeps a hostile pattern from
/// taking the memory of the whole run.
pub const PATTERN_MAX: usize = 1024 * 1024;

/// Most `blockedImages` patterns: every image is tested against each.
pub const PATTERNS_MAX: usize = 1000;

/// Largest `archiveSize`, in GiB: the bytes still fit into a signed 64-bit number.
pub const ARCHIVE_GIB_MAX: u64 = (1 << 33) - 1;

/// Characters of a value that a message repeats.
pub const QUOTE_MAX: usize = 120;
