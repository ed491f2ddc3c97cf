//! Which images may be carried: a signature policy of the containers tools, `policy.json`.
//!
//! In: the policy, and each image as it comes from its source. Out: leave to carry it, or why not. [`document`] reads the policy,
//! [`scope`] says what of it is about an image; [`lookaside`] and [`signatures`] find the signatures that there are, `simple` and
//! `sigstore` prove them, [`identity`] compares names.
//!
//! What must hold: nothing is read of an image that was not judged; all requirements of the one scope that applies are met; the
//! digest that is judged is the one that is carried, that of the index where the image is one; what does not ask for signatures
//! costs no request.

mod claim;
mod document;
mod identity;
mod json;
mod limits;
mod lookaside;
mod name;
mod pem;
mod prove;
mod refusal;
mod scope;
mod signatures;

use std::collections::{BTreeMap, HashSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use format_spec::Digest;
use serde::Serialize;
use tokio::sync::OnceCell;

use crate::lock;
use crate::origin::{Origins, Source};
use document::{Document, Requirement};
use limits::{FILE_MAX, QUOTE_MAX};
use lookaside::Registries;
use scope::Subject;
use signatures::{Fault, Signatures};

pub use refusal::{Refusal, refusal};

/// What to do about a refusal behind an error.
pub(crate) fn hint(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    refusal(error).map(|refusal| refusal.hint().to_owned())
}

/// Why a policy cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// It cannot be read; the system's answer names it.
    #[error("cannot read the policy: {0}")]
    Read(std::io::Error),
    /// No policy is as large.
    #[error("`{}` is larger than {FILE_MAX} bytes: it is no policy", .0.display())]
    TooLarge(PathBuf),
    /// It is not JSON.
    #[error("the policy `{}` cannot be read: {problem}", .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        problem: String,
    },
    /// A field of it.
    #[error("the policy `{}` cannot be used: `{field}`: {problem}", .path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// What says where signatures are.
    #[error("`{}`, which says where signatures are, cannot be used: {problem}", .path.display())]
    Registries {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// What became of one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// The image, as it was judged.
    pub image: String,
    /// The digest that it has.
    pub digest: Digest,
    /// What of the policy applied.
    pub scope: String,
    /// What was asked for, and by what it was met, or why not.
    pub requirements: Vec<String>,
    /// Whether it may be carried.
    pub accepted: bool,
}

/// All verdicts of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Verdicts {
    /// The policy.
    pub file: String,
    /// The digest of that file.
    pub digest: Digest,
    /// Each image once, in the order of their names.
    pub images: Vec<Verdict>,
}

/// A policy that judges.
#[derive(Debug)]
pub struct Policy {
    file: PathBuf,
    digest: Digest,
    document: Document,
    registries: Registries,
    verdicts: Mutex<BTreeMap<(String, Digest), Judged>>,
    /// Repositories, and what was accepted in them under a tag.
    by_tag: Mutex<HashSet<(String, Digest)>>,
    /// What a person should know of the file.
    pub warnings: Vec<String>,
}

type Judged = Arc<OnceCell<(Verdict, Result<(), Refusal>)>>;

impl Policy {
    /// Reads a policy, and where signatures are: from the named directory, or the usual one.
    pub fn load(file: &Path, registries_d: Option<&Path>) -> Result<Self, PolicyError> {
        let mut bytes = Vec::new();
        let opened = registry::regular::open(file).map_err(PolicyError::Read)?;
        opened.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(PolicyError::Read)?;
        if bytes.len() as u64 > FILE_MAX {
            return Err(PolicyError::TooLarge(file.to_owned()));
        }
        let (document, warnings) = Document::parse(file, &bytes)?;
        let registries = Registries::load(registries_d)?;
        Ok(Self {
            file: file.to_owned(),
            digest: Digest::of(&bytes),
            document,
            registries,
            verdicts: Mutex::default(),
            by_tag: Mutex::default(),
            warnings,
        })
    }

    /// What was judged so far.
    pub fn verdicts(&self) -> Verdicts {
        let verdicts = lock(&self.verdicts);
        let images = verdicts.values().filter_map(|judged| Some(judged.get()?.0.clone())).collect();
        Verdicts { file: self.file.display().to_string(), digest: self.digest, images }
    }

    /// Whether judging this image may ask for more than its manifest.
    pub(crate) fn asks_for_signatures(&self, source: &Source<'_>) -> bool {
        Subject::of(source).is_some_and(|subject| {
            let (_, requirements) = self.document.for_subject(&subject);
            requirements.iter().any(Requirement::is_signature)
        })
    }

    /// Judges an image that has this digest at its source.
    pub(crate) async fn judge(
        &self,
        origins: &Origins,
        source: &Source<'_>,
        digest: &Digest,
    ) -> Result<(), Refusal> {
        let Some(subject) = Subject::of(source) else { return Ok(()) };
        if self.is_accepted_by_tag(&subject, digest) {
            return Ok(());
        }
        let key = (subject.told.clone(), *digest);
        let cell = Arc::clone(lock(&self.verdicts).entry(key).or_default());
        let judge = || self.verdict(origins, source, &subject, digest);
        let outcome = cell.get_or_init(judge).await.1.clone();
        if let Some(name) = subject.name.filter(|name| name.tag.is_some() && outcome.is_ok()) {
            lock(&self.by_tag).insert((name.name, *digest));
        }
        outcome
    }

    /// Whether it was accepted under a tag before: what was found by its tag is asked for by its digest from there on, and
    /// its name in the policy is the one that was written.
    fn is_accepted_by_tag(&self, subject: &Subject, digest: &Digest) -> bool {
        let Some(name) = subject.name.as_ref().filter(|name| name.tag.is_none()) else {
            return false;
        };
        lock(&self.by_tag).contains(&(name.name.clone(), *digest))
    }

    async fn verdict(
        &self,
        origins: &Origins,
        source: &Source<'_>,
        subject: &Subject,
        digest: &Digest,
    ) -> (Verdict, Result<(), Refusal>) {
        let (scope, requirements) = self.document.for_subject(subject);
        let mut verdict = Verdict {
            image: subject.told.clone(),
            digest: *digest,
            scope: scope.clone(),
            requirements: Vec::new(),
            accepted: false,
        };
        let refusal = |requirement: &Requirement, number, why: refusal::Why| {
            Refusal::new(
                &self.file,
                &self.registries.directory,
                subject,
                digest,
                &scope,
                (requirement, number),
                why,
            )
        };
        let mut signatures: Option<Signatures> = None;
        for (number, requirement) in requirements.iter().enumerate() {
            let met = match requirement {
                Requirement::Accept => Ok(String::new()),
                Requirement::Reject => Err(refusal::Why::Reject),
                Requirement::SignedBy { .. } | Requirement::SigstoreSigned { .. } => {
                    if signatures.is_none() {
                        let origin = source.origin();
                        let looking =
                            Signatures::of(origins, &origin, &self.registries, subject, digest);
                        match looking.await {
                            Ok(found) => signatures = Some(found),
                            Err(Fault { kind, reason }) => {
                                let refused =
                                    refusal(requirement, number, refusal::Why::Fault(kind, reason));
                                verdict
                                    .requirements
                                    .push(format!("{}: {refused}", requirement.name()));
                                return (verdict, Err(refused));
                            }
                        }
                    }
                    let found = signatures.get_or_insert_default();
                    prove::any(requirement, found, subject, digest, prove::now())
                }
            };
            match met {
                Ok(by) if by.is_empty() => verdict.requirements.push(requirement.name().to_owned()),
                Ok(by) => verdict.requirements.push(format!("{}: {by}", requirement.name())),
                Err(why) => {
                    let refused = refusal(requirement, number, why);
                    verdict.requirements.push(format!("{}: {}", requirement.name(), refused.why));
                    return (verdict, Err(refused));
                }
            }
        }
        verdict.accepted = true;
        (verdict, Ok(()))
    }
}

/// A text from outside, short and without control characters.
fn quoted(text: &str) -> String {
    let shown: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(QUOTE_MAX).collect();
    let more = if text.chars().nth(QUOTE_MAX).is_some() { "…" } else { "" };
    format!("`{shown}{more}`")
}
