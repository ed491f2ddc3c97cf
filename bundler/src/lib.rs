//! The connected side: from a configuration to a signed sequence on a medium.
//!
//! 1. [`config`] reads the ImageSetConfiguration.
//! 2. [`history`] knows what earlier sequences carried; [`remote_history`] keeps it in a registry too.
//!    [`release`] chooses releases from update graphs, proves who signed them and reads what they consist of. [`catalog`] reads
//!    Operator catalogs, chooses from them and makes the smaller ones; [`helm`] reads charts and finds their images; `made` writes
//!    the images that are made here, on others (`based`).
//! 3. [`wish`] says what is to be carried, `lists` what images that no configuration names; [`resolve`] pins every reference to a digest, through [`origin`] ([`layout`] chooses an image of a
//!    directory): [`tree`] finds the manifests of an image, `attached` those that stand beside it, [`node`] keeps
//!    of each what is needed; [`destination`] names it at the target.
//! 4. [`plan`] decides what is carried and where each byte will stand.
//! 5. [`fetch`] streams every blob from its origin into its place; [`pack`] writes,
//!    `hashing` hashes; [`slots`] remembers what is done.
//! 6. [`publish`] writes index, head and signatures, and gives the head its name last; `read_back` reads all of it
//!    from the medium before.
//!
//! [`straight`] takes the place of a medium: blobs go from their origins to the target, and a sequence of manifests says so.
//!
//! Only then does the history move on. `resend` makes a sequence of the history once more, and `updates` looks what a create
//! would add.

mod attached;
mod based;
pub mod catalog;
pub mod config;
pub mod destination;
pub mod durable;
mod error;
pub mod fetch;
mod hashing;
pub mod helm;
pub mod history;
pub mod layout;
mod listed;
mod lists;
mod made;
pub mod node;
pub mod origin;
pub mod pack;
pub mod plan;
pub mod policy;
pub mod publish;
mod read_back;
pub mod release;
pub mod remote_history;
pub mod report;
mod resend;
pub mod resolve;
pub mod slots;
mod snapshot;
mod space;
mod spelling;
pub mod straight;
pub mod transfer;
pub mod tree;
mod updates;
mod upload;
pub mod wish;

mod create;
mod dry_run;
mod finding;

/// Locks; a panic elsewhere does not spread, what is held stays whole at every moment.
fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

pub use catalog::news::{CatalogNews, NewBundle, PackageNews};
pub use create::{CreateOptions, Signers, Standing, Stream, create};
pub use error::{CreateError, ErrorKind, Large, exit_bits};
pub use helm::HelmOptions;
pub use helm::news::NewChart;
pub use release::asked::ReleaseOptions;
pub use release::more::More;
pub use report::{Created, Planned, Summary, Written};
pub use resend::resend;
pub use updates::{NewName, NewRelease, Updates, UpdatesOptions, updates};
