//! The mirror registry over real HTTP: a matrix in the spirit of the OCI conformance suite, crashes,
//! and other people's clients.

mod blobs;
mod bounds;
mod crash;
mod interop;
mod lists;
mod manifests;
mod support;
