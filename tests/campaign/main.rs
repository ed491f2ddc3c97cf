//! Campaigns with figures: many damaged media, many ends at any moment, many losses of power, many runs beside each other.
//!
//! Each prints what was asked, what ran and how many outcomes were wrong, and fails when cases are left out. The
//! quick form takes samples; `scripts/campaign.sh` asks for the whole one.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "../support/mod.rs"]
mod support;

mod damage;
mod ends;
mod garbage;
mod ground;
mod hostile;
mod power;
mod registry_kills;
#[path = "../../registry/tests/objects/s3.rs"]
mod s3;
mod scenario;
mod served;
mod together;
