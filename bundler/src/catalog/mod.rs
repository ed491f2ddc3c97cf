//! Operator catalogs: what is in them, what is chosen of them, and the catalog that is left.

pub mod graph;
pub mod model;
mod names;
pub mod select;
