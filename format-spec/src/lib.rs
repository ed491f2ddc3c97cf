//! The sequence format: what stands on the medium between the two sides. No network, no clock.
//!
//! `SPEC.md` beside this crate is normative; this crate is its reader and writer.
//!
//! 1. [`part`] lays the content out: which bytes stand where, in which file.
//! 2. [`hash`] digests blobs and cells, [`part::table_member`] makes each part's cell table.
//! 3. [`index`] lists everything, [`codec`] writes it down; [`entries`] reads it one by one.
//! 4. [`head`] binds the index and the tables, [`seal`] signs the head with [`keys`].
//! 5. [`chain`] says whether a head may follow what is there.
//!
//! A reader goes the same way back: seal, head, chain, index, table, cell, and only then a blob.

pub mod chain;
pub mod codec;
pub mod digest;
pub mod entries;
pub mod hash;
pub mod head;
pub mod index;
pub mod json;
pub mod keys;
pub mod limits;
pub mod names;
pub mod part;
pub mod seal;

pub use digest::Digest;
pub use names::{Repository, Sequence, StreamId, Tag};
