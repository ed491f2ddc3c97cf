//! An image that may not be carried, in words, and what to do about it.

use std::error::Error;
use std::path::{Path, PathBuf};

use format_spec::Digest;
use registry::client::ErrorKind as WireKind;

use super::document::Requirement;
use super::scope::Subject;

/// How many signatures that do not count are told of.
const AGAINST: usize = 3;

/// Why a requirement is not met.
#[derive(Debug)]
pub(super) enum Why {
    /// Nothing meets it.
    Reject,
    /// There is no signature of its kind.
    Unsigned { looked: Vec<String>, others: usize, attachments_off: bool },
    /// Those that there are do not count; some because of the names in them.
    Against { against: Vec<String>, of_names: bool },
    /// They could not be looked for.
    Fault(Option<WireKind>, String),
}

/// An image that may not be carried.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the policy refuses `{image}` ({digest}): {scope}[{number}] in `{}` is `{requirement}`{why}", .file.display())]
pub struct Refusal {
    image: String,
    digest: Digest,
    file: PathBuf,
    scope: String,
    number: usize,
    requirement: &'static str,
    pub(super) why: String,
    kind: Option<WireKind>,
    hint: String,
}

/// The refusal behind an error, if it is one.
pub fn refusal<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e Refusal> {
    let mut next = Some(error);
    while let Some(error) = next {
        let boxed = || error.downcast_ref::<Box<Refusal>>().map(|boxed| &**boxed);
        if let Some(found) = error.downcast_ref::<Refusal>().or_else(boxed) {
            return Some(found);
        }
        next = error.source();
    }
    None
}

impl Refusal {
    pub(super) fn new(
        file: &Path,
        registries_d: &Path,
        subject: &Subject,
        digest: &Digest,
        scope: &str,
        (requirement, number): (&Requirement, usize),
        why: Why,
    ) -> Self {
        let hint = hint(file, registries_d, subject, digest, requirement, &why);
        let kind = match &why {
            Why::Fault(kind, _) => *kind,
            _ => None,
        };
        Self {
            image: subject.told.clone(),
            digest: *digest,
            file: file.to_owned(),
            scope: scope.to_owned(),
            number,
            requirement: requirement.name(),
            why: told(why),
            kind,
            hint,
        }
    }

    /// The fault of a place with signatures, if it is one.
    pub fn kind(&self) -> Option<WireKind> {
        self.kind
    }

    /// What to do next.
    pub fn hint(&self) -> &str {
        &self.hint
    }
}

fn told(why: Why) -> String {
    match why {
        Why::Reject => String::new(),
        Why::Unsigned { looked, others, attachments_off } => {
            let looked = match looked.is_empty() {
                true => " where it is".to_owned(),
                false => format!(" in {}", looked.join(" or ")),
            };
            let others = match others {
                0 => String::new(),
                _ => format!(" ({others} of another kind)"),
            };
            let off =
                if attachments_off { "; those in the registry are not looked at" } else { "" };
            format!(", and it has no such signature{looked}{others}{off}")
        }
        Why::Against { mut against, .. } => {
            let more = against.len().saturating_sub(AGAINST);
            against.truncate(AGAINST);
            // So short that all of them fit where it is told.
            let short = |one: String| one.chars().take(260).collect::<String>();
            let mut told: Vec<String> = against.into_iter().map(short).collect();
            if more > 0 {
                told.push(format!("and {more} more"));
            }
            format!(", and no signature counts: {}", told.join("; "))
        }
        Why::Fault(_, reason) => format!(", and its signatures cannot be looked for: {reason}"),
    }
}

fn hint(
    file: &Path,
    registries_d: &Path,
    subject: &Subject,
    digest: &Digest,
    requirement: &Requirement,
    why: &Why,
) -> String {
    let file = file.display();
    let Some(name) = &subject.name else {
        return format!(
            "to carry what is on this machine, give `{}` a scope in `transports` of `{file}`, or leave `--policy` out",
            subject.told
        );
    };
    let repository = &name.name;
    let of_sigstore = matches!(requirement, Requirement::SigstoreSigned { .. });
    match why {
        Why::Reject => format!(
            "to carry it, give \"{repository}\" a scope of its own in `transports.docker` of `{file}`; to leave it out, name \
             it in `blockedImages`"
        ),
        Why::Unsigned { attachments_off: true, .. } if of_sigstore => format!(
            "signatures in the registry are looked at where that is switched on: \
             `docker: {{\"{repository}\": {{use-sigstore-attachments: true}}}}` in a file as `{}/site.yaml`, or in a \
             directory that `--registries-d DIR` names",
            registries_d.display()
        ),
        Why::Unsigned { .. } if of_sigstore => {
            format!(
                "sign it with a key of the policy: `cosign sign --key KEY {repository}@{digest}`"
            )
        }
        Why::Unsigned { .. } => format!(
            "say where its signatures are: `docker: {{\"{repository}\": {{lookaside: \"https://HOST/PATH\"}}}}` in a file as \
             `{}/site.yaml`, or in a directory that `--registries-d DIR` names",
            registries_d.display()
        ),
        Why::Against { of_names: true, .. } => format!(
            "when that name is right, let the requirement in `{file}` take it: \
             `\"signedIdentity\": {{\"type\": \"matchRepository\"}}` takes every tag, and what `cosign` signs, which names no tag"
        ),
        Why::Against { .. } if of_sigstore => format!(
            "sign it with a key of the policy: `cosign sign --key KEY {repository}@{digest}`; or add the key that signed it to `{file}`"
        ),
        Why::Against { .. } => format!(
            "add the key that signed it to `{file}`, when you trust it (`gpg --show-keys FILE` tells what a file of keys has); or \
             sign it: `skopeo copy --all --preserve-digests --sign-by KEY docker://{name} docker://{name}`"
        ),
        Why::Fault(..) => {
            "see that the place of the signatures can be reached, then run the same command again"
                .to_owned()
        }
    }
}
