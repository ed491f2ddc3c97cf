//! What an update graph may cost to read, and what a search in it may ask for; what a release may cost to read, all of
//! which but its signatures is parsed before anybody vouched for it. None of these is ever reached by an honest one.

/// Bytes of one channel's graph. The largest real ones, with each risk's text repeated, are below 2 MiB.
pub const GRAPH_MAX: u64 = 16 * 1024 * 1024;

/// Releases of one channel. The largest real ones have about 500.
pub const NODES_MAX: usize = 10_000;

/// Characters of a version. Real ones have below 50.
pub const VERSION_MAX: usize = 128;

/// Edges of one channel, conditional ones among them. The largest real ones have about 20,000; a graph in which every
/// release may follow every lower one stays below this for 770 of them.
pub const EDGES_MAX: usize = 300_000;

/// Risks of one channel. Real ones have below 100.
pub const RISKS_MAX: usize = 10_000;

/// Channels that are asked for one after the other on the way between two minor releases. Each is a request.
pub const LEGS_MAX: usize = 32;

/// Graphs fetched at the same time: a public service serves everybody.
pub const GRAPHS_AT_ONCE: usize = 4;

/// Characters of foreign text in a message.
pub const QUOTE_MAX: usize = 120;

/// Characters of what a risk says of itself. Real ones have below 1000.
pub const MESSAGE_MAX: usize = 2000;

/// Versions that an error names as the nearest ones, on each side.
pub const NEAREST: usize = 3;

/// Bytes of a signature file, and of what is in it once it is unpacked: real ones have 900 and 350.
pub const SIGNATURE_MAX: usize = 64 * 1024;

/// Signature files looked for in one store: what clusters and `oc` look for.
pub const SIGNATURES_MAX: u32 = 9;

/// Signatures of one file for clusters: some for each release that a site ever mirrored.
pub const SIGNATURES_KEPT_MAX: usize = 10_000;

/// Bytes of such a file: an object of a cluster has less than 1 MiB, and a list has several.
pub const CONFIG_MAP_MAX: u64 = 16 * 1024 * 1024;

/// Sources with mirrors in one file: an object of a cluster has some hundred.
pub const MIRRORS_MAX: usize = 10_000;

/// Bytes of a file of public keys: one key with all its certifications has a few thousand.
pub const KEYS_FILE_MAX: u64 = 1024 * 1024;

/// Keys of all files together: every signature is tried against those with its name.
pub const KEYS_MAX: usize = 256;

/// Components of one release: real ones have up to 200.
pub const COMPONENTS_MAX: usize = 2000;

/// Streams of boot images in one release: real ones have up to two.
pub const STREAMS_MAX: usize = 16;

/// Characters of a component's name: with the longest version it still fits a tag of 128.
pub const COMPONENT_NAME_MAX: usize = 100;

/// Bytes of one file that is kept of a payload: real ones have up to 200 KB.
pub const FILE_MAX: u64 = 4 * 1024 * 1024;

/// Files of a release's manifests that are written: real ones have below 1000.
pub const MANIFESTS_MAX: u64 = 20_000;

/// Bytes of all of them: real ones have below 20 MiB.
pub const MANIFESTS_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// Bytes of one layer as it is stored: the largest real one has 300 MB.
pub const LAYER_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// Bytes of all layers of a payload that are read, unpacked: real ones stay below 1 GiB.
pub const UNPACKED_MAX: u64 = 16 * 1024 * 1024 * 1024;

/// Entries of one layer: a whole operating system has 100,000.
pub const ENTRIES_MAX: u64 = 1_000_000;

/// Bytes of the path of an entry: Linux takes no longer ones.
pub const PATH_MAX: u64 = 4096;

/// Bytes of the extended header of an entry: it holds a path and attributes of a file.
pub const EXTENDED_MAX: u64 = 64 * 1024;

/// The largest window of zstd, as a power of two: 8 MiB is what every reader has to take (RFC 8878).
pub const WINDOW_LOG: u32 = 23;

/// Payloads read at a time: each takes a thread, and a window for unpacking.
pub const PAYLOADS: usize = 4;

/// Bytes of the archive with the graph's data. That of 2026 has less than 1 MiB.
pub const GRAPH_DATA_MAX: u64 = 64 * 1024 * 1024;

/// Bytes of all files in it: some tens of times what they are today, and below what a small machine has.
pub const GRAPH_FILES_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Files in it. Today some thousands: one for each version that is blocked.
pub const GRAPH_FILES_MAX: usize = 100_000;
