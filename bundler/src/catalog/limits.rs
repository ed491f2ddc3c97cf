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

/// Bytes of all `.indexignore` files.
pub const IGNORE_MAX: u64 = 64 * 1024;

/// Lines in all `.indexignore` files, and these files themselves: every file is tested against those of its directories.
pub const IGNORE_LINES_MAX: usize = 1000;

/// Bytes that what is held of a catalog may take. One of a gigabyte, four times the largest real one, takes half: with 40,000 bundles,
/// 71 MiB.
pub const MODEL_MAX: usize = 128 * 1024 * 1024;

/// Elements of one list in an object: entries of a channel, properties or images of a bundle. Real ones have some hundred.
pub const LIST_MAX: usize = 100_000;

/// Bytes of the name of a package, a channel or a bundle. Real ones have below 100, and clusters take 253.
pub const NAME_MAX: usize = 1024;

/// Images that the bundles taken of one catalog need, package by package. Real catalogs, carried whole, have some ten thousand.
pub const IMAGES_MAX: usize = 100_000;

/// References of images that are none, each of which is told with its bundle, before the others are counted.
pub const BAD_TOLD: usize = 100;

/// Bytes of one `olm.constraint`: real ones have some hundred.
pub const CONSTRAINT_MAX: usize = 256 * 1024;

/// Images of an index: real catalogs have four or five.
pub const PLATFORMS_MAX: usize = 64;

/// Bytes of the manifests and configurations of all of these: real ones have below a hundred thousand.
pub const DOCUMENTS_MAX: usize = 16 * 1024 * 1024;

/// Catalogs that are kept in a workspace: those used last.
pub const KEPT: usize = 16;

/// Layers of which it is remembered what they hold.
pub const LAYERS_KEPT: usize = 512;

/// Bytes in which objects are compressed together; an object that is larger has them to itself.
pub const FRAME: usize = 1024 * 1024;

/// Bytes of the stored model, as it is stored and unpacked.
pub const STORED_MAX: u64 = 256 * 1024 * 1024;
