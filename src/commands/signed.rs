//! Whose signatures of OpenShift releases count: options that several commands have.

use std::path::PathBuf;

use bundler::release::keys::Trusted;
use bundler::release::proven::Trust;
use bundler::release::store::{self, Store};

use crate::failure::Failure;
use crate::output::plain;

/// Whose signatures of releases count.
#[derive(Debug, Clone, clap::Args)]
pub struct Signatures {
    /// Keys whose signatures of releases count, in place of Red Hat's: a file of OpenPGP public keys, armoured or not;
    /// repeatable
    #[arg(long, value_name = "FILE", env = "OCP_SIGNATURE_VERIFICATION_PK")]
    release_keys: Vec<PathBuf>,
    /// Where signatures of releases are, in place of Red Hat's servers: an address or a directory that has
    /// `sha256=HEX/signature-1`, or the file for clusters that has them (`signature-configmap.json`); repeatable
    #[arg(long, value_name = "URL|DIR|FILE", env = "OCP_SIGNATURE_URL")]
    signature_store: Vec<Store>,
}

/// The same, and whether they are needed.
#[derive(Debug, Clone, clap::Args)]
pub struct Signed {
    #[command(flatten)]
    signatures: Signatures,
    /// Take releases without a valid signature too; the head of a sequence that carries one says so
    #[arg(long)]
    accept_unsigned_releases: bool,
}

impl Signatures {
    /// The keys, and the stores that were named; without any, the published ones.
    pub fn trust(self, accept_unsigned: bool) -> Result<Trust, Failure> {
        self.trust_or(accept_unsigned, store::built_in)
    }

    fn trust_or(
        self,
        accept_unsigned: bool,
        otherwise: impl FnOnce() -> Vec<Store>,
    ) -> Result<Trust, Failure> {
        let trusted = Trusted::of(&self.release_keys)?;
        for warning in &trusted.warnings {
            tracing::warn!("{}", plain(warning));
        }
        let named = self.signature_store;
        for store in &named {
            store.check()?;
        }
        let stores = if named.is_empty() { otherwise() } else { named };
        Ok(Trust { keys: trusted.keys, stores, accept_unsigned })
    }
}

impl Signed {
    /// The keys, and the stores that were named; without any, the published ones.
    pub fn trust(self) -> Result<Trust, Failure> {
        self.signatures.trust(self.accept_unsigned_releases)
    }

    /// The same; without a store that was named, others than the published ones.
    #[cfg_attr(not(feature = "import"), expect(dead_code))]
    pub fn trust_or(self, otherwise: impl FnOnce() -> Vec<Store>) -> Result<Trust, Failure> {
        self.signatures.trust_or(self.accept_unsigned_releases, otherwise)
    }
}
