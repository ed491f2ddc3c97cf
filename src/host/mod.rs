//! This machine as the home of a mirror registry: where its files belong, who starts it, who must trust it.
//!
//! In: a data directory and what the machine is (its user, whether systemd runs). Out: files outside of the data
//! directory, calls of the machine's own tools, and texts for a person. The commands in `commands/registry/` put the
//! steps in order.
//!
//! 1. [`place`] says where program, unit and data are, and finds an installation again;
//! 2. [`program`] copies this binary, [`account`] makes the user that runs it, [`mod@unit`] writes what systemd reads,
//!    [`systemctl`] calls it; [`undo`] takes back what a failed installation made;
//! 3. [`shown`] judges its certificate, [`answers`] waits until the registry serves; [`notify`] is how a registry tells systemd that it does;
//!    [`holder`] says which process uses a data directory;
//! 4. [`trust`] tells what podman, containerd and OpenShift need; [`amount`] what a removal would take; [`missing`] what the quarantine
//!    keeps from being pulled;
//! 5. [`remote`] does all of it on another machine, over ssh.

pub mod account;
pub mod amount;
pub mod answers;
pub mod checks;
pub mod holder;
pub mod missing;
pub mod notify;
pub mod place;
pub mod program;
pub mod remote;
pub mod shown;
pub mod systemctl;
pub mod trust;
pub mod undo;
pub mod unit;
