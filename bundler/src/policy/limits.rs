//! What a policy and what it leads to may cost to read.

/// Bytes of a policy, of a file of keys, and of a file of `registries.d`: real ones have some thousand.
pub(super) const FILE_MAX: u64 = 1024 * 1024;

/// Requirements of a policy: one or two for each of its scopes.
pub(super) const REQUIREMENTS_MAX: usize = 10_000;

/// Keys and files of keys that a policy names.
pub(super) const KEY_FILES_MAX: usize = 256;

/// Files of `registries.d` that are read.
pub(super) const FILES_MAX: usize = 1000;

/// Signatures of one image in one place: the number at which containers/image stops too.
pub(super) const SIGNATURES_MAX: u32 = 128;

/// Bytes of a signature: real ones have below 1000.
pub(super) const SIGNATURE_MAX: usize = 64 * 1024;

/// Characters of foreign text in a message.
pub(super) const QUOTE_MAX: usize = 120;
