//! The mirror registry over object storage: the matrix of the files' tests over a bucket in memory, several
//! replicas of one bucket, a store that fails, and a real S3 server where there is one.

// Helpers outside of `#[test]` functions are tests all the same.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

use std::sync::Arc;

use object_store::memory::InMemory;

#[path = "../server/blobs.rs"]
mod blobs;
#[path = "../server/bounds.rs"]
mod bounds;
#[path = "../server/conformance/mod.rs"]
mod conformance;
mod faults;
mod garbage;
mod gateway;
#[path = "../server/interop.rs"]
mod interop;
#[path = "../server/lists.rs"]
mod lists;
#[path = "../server/manifests.rs"]
mod manifests;
#[path = "../server/own_client.rs"]
mod own_client;
mod replicas;
mod s3;
#[path = "../server/support.rs"]
mod support;

/// The registries of these tests are over a bucket, each over one of its own.
fn bucket() -> support::Bucket {
    Some(Arc::new(InMemory::new()))
}
