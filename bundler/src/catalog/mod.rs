//! Operator catalogs: what is in them, what is chosen of them, and the catalog that is left.
//!
//! 1. [`image`] finds the catalog in its image; [`files`] sees through its layers to its files, [`ignored`] says which of them
//!    count.
//! 2. [`objects`] splits a file into objects ([`yaml`] makes JSON of a document), [`fields`] takes what choosing needs of each
//!    (`shape` is how it is gone through); the objects themselves go into the [`store`].
//! 3. [`reading`] does all that while the layers arrive, `assemble` puts the [`model`] together ([`interned`] holds each name
//!    once); [`kept`] keeps both in the workspace (`stored` is their form there), so that no layer is read a second time.
//!    [`mod@open`] is all of this.
//! 4. [`graph`] is a channel, [`listing`] says what there is, [`select`] which bundles are taken, and why.
//! 5. [`left`] is what is left of a package, [`rebuild`] the image with the catalog that is left; [`carry`] wishes
//!    for what bundles need, [`settle`] takes out what misses an image.
//! 6. [`news`] is what a catalog would add to what is known.
//! 7. [`template`] is what a user wants in the `CatalogSource` besides.

mod assemble;
pub(crate) mod carry;
pub mod error;
pub mod fields;
pub mod files;
pub mod graph;
pub mod ignored;
pub mod image;
pub mod interned;
pub mod kept;
pub mod left;
pub mod limits;
pub mod listing;
pub mod model;
pub mod news;
pub mod objects;
pub mod open;
pub mod reading;
pub mod rebuild;
pub mod select;
pub(crate) mod settle;
mod shape;
pub mod store;
mod stored;
pub mod template;
#[cfg(test)]
mod testing;
mod wording;
pub mod yaml;

pub use error::CatalogError;
pub use open::{Opened, open};
