//! The mirror registry over real HTTP: a matrix in the spirit of the OCI conformance suite, crashes,
//! and other people's clients.

// Helpers outside of `#[test]` functions are tests all the same.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod access;
mod blobs;
mod bounds;
mod conformance;
mod crash;
mod interop;
mod lists;
mod manifests;
mod operations;
mod own_client;
mod page;
mod quota;
mod sequence_pages;
mod sha512;
mod support;

/// The registries of these tests are over files.
fn bucket() -> support::Bucket {
    None
}
