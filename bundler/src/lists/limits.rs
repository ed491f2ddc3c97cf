//! What is read of lists, directories and archives at most, and why.

/// Bytes of a list: a hundred thousand references of the usual length are 10 MiB.
pub(super) const LIST_MAX: u64 = 32 * 1024 * 1024;

/// Images of all lists, files of an archive, and files and directories below one: ten times the largest mirrors.
pub(super) const ENTRIES_MAX: usize = 100_000;

/// How deep directories are looked into: a repository's path has few components.
pub(super) const DEPTH_MAX: usize = 16;

/// How often a file of an archive may be a link to another one.
pub(super) const LINKS_MAX: usize = 8;
