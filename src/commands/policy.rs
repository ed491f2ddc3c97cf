//! By what images are judged before they are carried: options that several commands have.

use std::path::PathBuf;
use std::sync::Arc;

use bundler::policy::Policy;

use crate::failure::Failure;
use crate::output::plain;

/// By what images are judged.
#[derive(Debug, Clone, clap::Args)]
pub struct Judged {
    /// Carry only images that this signature policy accepts: a `policy.json` of podman, skopeo and CRI-O; without it no
    /// policy applies, that of the machine neither
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Where `--policy` finds signatures: a directory of YAML files [default: ~/.config/containers/registries.d, or
    /// /etc/containers/registries.d]
    #[arg(long, value_name = "DIR", requires = "policy")]
    registries_d: Option<PathBuf>,
}

impl Judged {
    /// The policy, whose warnings are told.
    pub fn load(&self) -> Result<Option<Arc<Policy>>, Failure> {
        let Some(file) = &self.policy else { return Ok(None) };
        let policy = Policy::load(file, self.registries_d.as_deref())?;
        for warning in &policy.warnings {
            tracing::warn!("{}", plain(warning));
        }
        Ok(Some(Arc::new(policy)))
    }
}
