//! The sequence format: what stands on the medium between the two sides.

pub mod digest;
pub mod limits;
pub mod names;

pub use digest::Digest;
pub use names::{Repository, Sequence, StreamId, Tag};
