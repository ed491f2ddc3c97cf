//! One release: found, proven, understood.
//!
//! In: a release image at its origin, and whose signatures count. Out: who signed it and what it consists of. What must hold:
//! its layers are read after its signature is proven; one that nobody trusted signed is an error, unless it is wanted so.

use std::time::SystemTime;

use registry::client::{Client, ErrorKind as WireKind};

use super::image::Image;
use super::openpgp::PublicKey;
use super::payload::{self, Payload, PayloadError};
use super::store::{self, Proof, Store};
use crate::error::fit;
use crate::origin::{Origins, Source};

/// How many signatures that do not count are told of.
const REFUSED: usize = 3;

/// Which signatures count, and whether a release needs one.
#[derive(Debug, Clone)]
pub struct Trust {
    /// The keys that are trusted.
    pub keys: Vec<PublicKey>,
    /// Where signatures are looked for.
    pub stores: Vec<Store>,
    /// Take releases without a valid signature too.
    pub accept_unsigned: bool,
}

/// A release of which it is known who signed it.
#[derive(Debug)]
pub struct Proven {
    /// The release image.
    pub image: Image,
    /// What it says.
    pub payload: Payload,
    /// Its signatures.
    pub proof: Proof,
    /// Why it counts as unsigned, when that is accepted.
    pub unsigned: Option<String>,
}

/// Why a release is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ProvenError {
    /// Its image cannot be used.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// Nobody trusted signed it.
    #[error("{why}")]
    Unsigned {
        /// Why the signatures that there are do not count.
        why: String,
        /// The fault of a store that could not be asked.
        kind: Option<WireKind>,
    },
}

impl ProvenError {
    /// The kind of fault, in the words of a registry.
    pub fn kind(&self) -> Option<WireKind> {
        match self {
            Self::Payload(error) => error.kind(),
            Self::Unsigned { kind, .. } => *kind,
        }
    }
}

impl Proven {
    /// Proves a release and reads it.
    pub async fn of(
        origins: &Origins,
        client: &Client,
        source: &Source<'_>,
        trust: &Trust,
        with_boot_images: bool,
    ) -> Result<Self, ProvenError> {
        let image = Image::open(origins, source, None).await.map_err(PayloadError::from)?;
        let proof = store::prove(client, &trust.stores, &trust.keys, &image.digest, now()).await;
        let unsigned = unsigned(&proof, trust);
        if let Some(why) = &unsigned
            && !trust.accept_unsigned
        {
            return Err(ProvenError::Unsigned { why: fit(why), kind: proof.kind });
        }
        let payload = payload::read(&image, origins, with_boot_images).await?;
        Ok(Self { image, payload, proof, unsigned })
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// Why a release counts as unsigned; `None` when it is signed.
fn unsigned(proof: &Proof, trust: &Trust) -> Option<String> {
    if !proof.valid.is_empty() {
        return None;
    }
    if !proof.refused.is_empty() {
        // A store that could not be asked may have one.
        let known = match proof.kind {
            Some(_) => "no valid signature of it could be had",
            None => "it has no valid signature",
        };
        // So short that all three fit in the head.
        let short = |why: &String| why.chars().take(200).collect::<String>();
        let mut told: Vec<String> = proof.refused.iter().take(REFUSED).map(short).collect();
        if let Some(more @ 1..) = proof.refused.len().checked_sub(REFUSED) {
            told.push(format!("and {more} more"));
        }
        return Some(format!("{known}: {}", told.join("; ")));
    }
    let stores: Vec<String> = trust.stores.iter().map(|store| format!("`{store}`")).collect();
    Some(format!("it has no signature in {}", stores.join(", ")))
}

/// An architecture of Go as it stands in tags.
pub fn machine(architecture: &str) -> &str {
    match architecture {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        other => other,
    }
}
