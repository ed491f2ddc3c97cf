//! What the errors of the connected side become.

use super::{ACCESS, Failure, Finding, Kind};
use crate::size;
use bundler::config::{self, ConfigErrors};
use bundler::policy::PolicyError;
use bundler::release::explain::ChannelFailure;
use bundler::release::fault::ReleaseError;
use bundler::release::keys::KeysError;
use bundler::release::store::StoreError;
use bundler::{CreateError, ErrorKind, Large};

impl From<ConfigErrors> for Failure {
    fn from(error: ConfigErrors) -> Self {
        // A configuration that cannot be read is a wrong command line, whatever the disk says.
        let mut failure = Self::of(Kind::Usage, &error);
        failure.findings = error.findings().iter().map(Finding::of).collect();
        if matches!(error, ConfigErrors::Missing { .. }) {
            return failure
                .with_hint("name the file that there is: `--config FILE`")
                .with_hint("`bundle init > imageset-config.yaml` makes one to begin with");
        }
        failure.with_hint(
            "mend the configuration and run the same command again; `bundle init` prints one with \
             every field explained",
        )
    }
}

impl From<KeysError> for Failure {
    fn from(error: KeysError) -> Self {
        // As a configuration that cannot be read.
        Self::of(Kind::Usage, &error).with_hint(
            "name a file with OpenPGP public keys, as `gpg --export KEY` writes it: `--release-keys FILE`",
        )
    }
}

impl From<PolicyError> for Failure {
    fn from(error: PolicyError) -> Self {
        // As a configuration that cannot be read.
        let failure = Self::of(Kind::Usage, &error);
        failure.with_hint(match error {
            PolicyError::Registries { .. } => {
                "mend it, or name another directory of such files: `--registries-d DIR`; `man containers-registries.d` has the fields"
            }
            _ => "mend the policy, or name another one: `--policy FILE`; `man containers-policy.json` has the fields",
        })
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        // As a configuration that cannot be read.
        Self::of(Kind::Usage, &error).with_hint(
            "name a directory or an address with `sha256=HEX/signature-1` below it, or the `signature-configmap.json` that \
             `bundle resources` wrote: `--signature-store URL|DIR|FILE`",
        )
    }
}

impl Finding {
    fn of(finding: &config::Finding) -> Self {
        Self {
            file: finding.file.clone(),
            line: finding.line,
            column: finding.column,
            field: finding.field.clone(),
            problem: finding.problem.clone(),
            hint: finding.hint.clone(),
        }
    }
}

/// The exit code of a kind of error.
fn kind(kind: ErrorKind) -> Kind {
    match kind {
        ErrorKind::Usage => Kind::Usage,
        ErrorKind::Damaged => Kind::Damaged,
        ErrorKind::Unavailable => Kind::Unavailable,
        ErrorKind::Credentials => Kind::Credentials,
        ErrorKind::NoSpace => Kind::NoSpace,
        ErrorKind::Content(bits) => Kind::Content(bits),
        ErrorKind::Fork => Kind::Fork,
        ErrorKind::Other => Kind::Failed,
    }
}

/// How much is missing on the medium, and what takes the most: the eye finds what should not be so large.
fn need(needed: u64, available: u64, largest: &[Large]) -> String {
    let (needed, available) = (size::show(needed), size::show(available));
    let mut text = format!(": the sequence needs {needed} there, {available} are free");
    if !largest.is_empty() {
        text += "; its largest blobs:";
    }
    for Large { digest, size, image } in largest {
        text += &format!("\n  {}  {image}  {digest}", size::show(*size));
    }
    text
}

impl From<CreateError> for Failure {
    fn from(error: CreateError) -> Self {
        let kind = match error.kind() {
            // Waiting and running again mends it, like a registry that is away.
            ErrorKind::Other
                if matches!(error, CreateError::Busy(_) | CreateError::Moved { .. }) =>
            {
                Kind::Unavailable
            }
            ErrorKind::Other if matches!(error, CreateError::Cancelled) => Kind::Interrupted,
            other => kind(other),
        };
        let cause = match &error {
            CreateError::File { source, .. } => Some(source),
            _ => None,
        };
        let mut failure = Self::of(kind, &error).hinted(cause, error.hint());
        failure = failure.or_hint(match error {
            CreateError::Wire(_) => ACCESS,
            _ => {
                "carry less at once: larger parts with `--size`, or several configurations with a \
                  `--workspace` each"
            }
        });
        match error {
            CreateError::Content { failures, hints, .. } => {
                failure.hints.splice(0..0, hints);
                failure.failures = failures;
                failure.written = Some(false);
            }
            CreateError::Space { needed, available, largest, .. } => {
                failure.error += &need(needed, available, &largest);
            }
            _ => {}
        }
        failure
    }
}

impl From<&ReleaseError> for Failure {
    fn from(error: &ReleaseError) -> Self {
        let mut failure = Self::of(kind(error.kind()), error);
        failure.hints.extend(error.hints());
        failure
    }
}

impl From<&ChannelFailure> for Failure {
    fn from(failed: &ChannelFailure) -> Self {
        let mut failure = Self::new(kind(failed.kind), &failed.reason);
        failure.hints.extend(failed.hints.iter().cloned());
        failure
    }
}
