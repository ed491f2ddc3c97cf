//! Operator catalogs: what is in them, what is chosen of them, and the catalog that is left.

pub mod graph;
pub mod model;
pub mod select;
mod wording;
