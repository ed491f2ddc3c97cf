//! The distribution specification 1.1, case by case over raw HTTP: its four categories, one file each. The comment
//! above a test names the section and the endpoints (`end-…`) that it checks.

mod discovery;
mod management;
mod pull;
mod push_blobs;
mod push_manifests;
mod raw;
