//! What a catalog may cost to read. It is parsed before anybody vouched for it. None of these is ever reached by an honest one.

/// Bytes of one object: the largest real bundles, with all their manifests, have some 4 MB.
pub const OBJECT_MAX: usize = 32 * 1024 * 1024;

/// Levels of lists and mappings in one object. Real ones stay below 40; other readers of JSON end at this one.
pub const DEPTH_MAX: usize = 128;

/// Files, directories and whiteouts below the directory of the configurations, in all layers: real catalogs have some
/// hundred, those with a file for each bundle some ten thousand.
pub const FILES_MAX: usize = 100_000;

/// Bytes of the paths of these.
pub const PATHS_MAX: usize = 16 * 1024 * 1024;

/// Bytes of one `.indexignore`, and of all of them.
pub const IGNORE_MAX: u64 = 64 * 1024;

/// Lines in all `.indexignore` files: every file is tested against those of its directories.
pub const IGNORE_LINES_MAX: usize = 1000;

/// Bytes that what is held of a catalog may take. One of a gigabyte, four times the largest real one, takes a quarter.
pub const MODEL_MAX: usize = 128 * 1024 * 1024;

/// Elements of one list in an object: entries of a channel, properties or images of a bundle. Real ones have some hundred.
pub const LIST_MAX: usize = 100_000;

/// Bytes of one `olm.constraint`: real ones have some hundred.
pub const CONSTRAINT_MAX: usize = 256 * 1024;

/// Images of an index: real catalogs have four or five.
pub const PLATFORMS_MAX: usize = 64;

/// Catalogs that are kept in a workspace: those used last.
pub const KEPT: usize = 16;

/// Layers of which it is remembered what they hold.
pub const LAYERS_KEPT: usize = 512;

/// Bytes in which objects are compressed together; an object that is larger has them to itself.
pub const FRAME: usize = 1024 * 1024;

/// Bytes of the stored model, as it is stored and unpacked.
pub const STORED_MAX: u64 = 256 * 1024 * 1024;
