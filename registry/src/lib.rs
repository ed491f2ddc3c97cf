//! Both ends of the OCI distribution wire.
//!
//! 1. A person's text becomes a [`reference::Reference`] or a [`reference::Target`].
//! 2. The [`client`] speaks to any registry: it pulls manifests and blobs, and pushes them. What it
//!    hands out is bounded and, where it is whole, hashed.
//! 3. [`manifest`] turns received bytes into typed descriptors; the bytes themselves are kept and
//!    shipped as they were found. `outline` keeps of them what a registry has to know. [`layout`] reads the same things from
//!    an `oci:` directory, a [`shelf`](mod@shelf) is any other place on this machine.
//! 4. The [`server`] is the mirror registry on the other side of the gap, over the [`store`].
//! 5. [`record`] names what imports leave in a registry, for who writes it and who reads it.
//! 6. [`lasting`] makes the directories in which each side keeps what must survive, [`regular`] opens files that are files.
//!
//! Names, digests and their grammar come from `format_spec`; every limit stands in [`limits`] or
//! there.

pub mod client;
pub mod content;
pub mod filed;
pub mod filing;
mod json;
pub mod lasting;
pub mod layout;
pub mod limits;
pub mod manifest;
pub mod media_type;
#[cfg(feature = "server")]
pub mod objects;
#[cfg(feature = "server")]
mod outline;
#[cfg(feature = "server")]
mod parsing;
pub mod progress;
pub mod record;
pub mod reference;
pub mod regular;
pub mod scratch;
#[cfg(feature = "server")]
pub mod server;
pub mod shelf;
pub mod size;
#[cfg(feature = "server")]
pub mod store;
pub mod window;
