//! Which release is meant: options that the commands of releases share.
//!
//! In: an image, directories with sequences, or a directory that `release mirror` or `oc` made. Out: the release, and whose
//! signatures of it count: those that came with it there, or those of the published stores.

use std::path::PathBuf;
use std::sync::Arc;

use ::registry::client::MirrorSet;
use ::registry::filed::Filed;
use ::registry::reference::Reference;
use bundler::origin::Held;
use bundler::release::mirror_sets;
use bundler::release::named::Named;
use bundler::release::proven::Trust;
use bundler::release::store::Store;
use format_spec::part::FileName;
use importer::{MediaShelf, ShelvedRelease};

use super::{Context, filed};
use crate::cli;
use crate::failure::{Failure, Kind};
use crate::output::plain;
use crate::typed::quoted;

pub use crate::commands::signed::Signed;

/// Which release.
#[derive(Debug, clap::Args)]
pub struct From {
    /// The release image, or a directory with sequences that carry it: the same as `--from`
    #[arg(value_name = "RELEASE")]
    release_image: Option<String>,
    /// The release image, as `quay.io/openshift-release-dev/ocp-release:4.18.5-x86_64`; a directory with sequences that
    /// carry it, repeatable; or one that `release mirror --to-dir` made
    #[arg(long, value_name = "IMAGE|DIR", conflicts_with = "release_image")]
    from: Vec<String>,
    /// The directory below which `--from file://REPOSITORY:TAG` lies
    #[arg(long, alias = "dir", value_name = "DIR", value_parser = cli::directory)]
    from_dir: Option<PathBuf>,
    /// Of several releases there, this one: its tag, as `4.18.5-x86_64`, or its version
    #[arg(long, value_name = "TAG")]
    release: Option<String>,
    /// Trust the sequences of this public key, or of the keys in this directory, besides those of the workspace; repeatable
    #[arg(long, value_name = "FILE|DIR")]
    trust: Vec<PathBuf>,
}

/// Where images are besides their own registries.
#[derive(Debug, clap::Args)]
pub struct Mirrors {
    /// Read images from the mirrors that this file names: an `ImageDigestMirrorSet`, as `bundle resources` writes it, or an
    /// `ImageContentSourcePolicy`; repeatable
    #[arg(long, alias = "icsp-file", value_name = "FILE")]
    idms_file: Vec<PathBuf>,
}

impl Mirrors {
    pub fn load(&self) -> Result<Vec<MirrorSet>, Failure> {
        let mut sets = Vec::new();
        for path in &self.idms_file {
            sets.extend(mirror_sets::load(path)?);
        }
        Ok(sets)
    }
}

/// What was found.
pub struct Found {
    pub named: Named,
    pub trust: Trust,
}

impl From {
    /// Finds the release.
    pub async fn find(self, signed: Signed, context: &Context) -> Result<Found, Failure> {
        let from = match (&self.release_image, &*self.from) {
            (Some(image), _) => vec![image.clone()],
            (None, []) => {
                return Err(Failure::usage("name the release").with_hint(
                    "an image: `--from HOST/REPOSITORY:TAG`; or a directory with sequences: `--from DIR`",
                ));
            }
            (None, all) => all.to_vec(),
        };
        if let [only] = &*from {
            if let Some((directory, image)) = self.filed(only)? {
                return filed::find(&directory, image, self.release.as_deref(), signed).await;
            }
            if directory(only).is_none() {
                self.refuse_for_an_image()?;
                return Ok(Found { named: Named::registry(image(only)?), trust: signed.trust()? });
            }
        }
        let directories: Vec<PathBuf> = from.iter().filter_map(|text| directory(text)).collect();
        if directories.len() < from.len() {
            return Err(Failure::usage("`--from` names an image and something else")
                .with_hint("name one image, or only directories with sequences"));
        }
        self.on_media(directories, signed, context).await
    }

    /// The directory of `oc image mirror` that is meant, and what of it.
    fn filed(&self, text: &str) -> Result<Option<(PathBuf, Option<filed::Image>)>, Failure> {
        if self.from_dir.is_none()
            && let Some(path) = directory(text)
        {
            return Ok(Filed::is_one(&path).then_some((path, None)));
        }
        let below = self.from_dir.clone().unwrap_or_else(|| PathBuf::from("."));
        match text.strip_prefix("file://") {
            Some(name) if self.from_dir.is_some() || Filed::is_one(&below) => {
                let image = filed::Image::parse(name)?;
                Ok(Some((below, Some(image))))
            }
            _ if self.from_dir.is_some() => {
                Err(Failure::usage("`--from-dir` is for images in a directory")
                    .with_hint("name one: `--from file://openshift/release:TAG --from-dir DIR`"))
            }
            _ => Ok(None),
        }
    }

    /// Options that say something about media only.
    fn refuse_for_an_image(&self) -> Result<(), Failure> {
        let option = match (&self.release, &*self.trust) {
            (Some(_), _) => "--release",
            (None, [_, ..]) => "--trust",
            (None, []) => return Ok(()),
        };
        Err(Failure::usage(format!("`{option}` is for releases in a directory"))
            .with_hint("leave it out: the image says which release it is"))
    }

    async fn on_media(
        self,
        from: Vec<PathBuf>,
        signed: Signed,
        context: &Context,
    ) -> Result<Found, Failure> {
        refuse_strange(&from)?;
        let trusted = crate::commands::trusted(context, &from, &self.trust).await?;
        let opening = tokio::task::spawn_blocking(move || MediaShelf::open(&from, &trusted));
        let opened = opening.await.map_err(|error| Failure::new(Kind::Failed, error))?;
        let mut shelf = opened?;
        for warning in &shelf.warnings {
            tracing::warn!("{}", plain(warning));
        }
        let release = choose(&shelf.releases, self.release.as_deref())?.clone();
        let files = std::mem::take(&mut shelf.signatures);
        let beside = Store::Beside { name: "the sequence".to_owned(), files };
        let trust = signed.trust_or(|| vec![beside])?;
        let held = Held(Arc::new(shelf));
        let origin = release.source.parse().ok();
        let named = Named::held(held, release.digest, release.tag.to_string(), origin);
        Ok(Found { named, trust })
    }
}

/// Refuses directories of something else, before keys are asked for that would prove nothing there.
fn refuse_strange(from: &[PathBuf]) -> Result<(), Failure> {
    for path in from {
        let entries = fs_err::read_dir(path)
            .map_err(|error| Failure::io(Kind::Failed, "cannot look for the release", &error))?;
        let is_ours = |name: &str| name.parse::<FileName>().is_ok();
        let mut names = entries.flatten().map(|entry| entry.file_name());
        if names.any(|name| name.to_str().is_some_and(is_ours)) {
            return Ok(());
        }
    }
    let shown =
        from.iter().map(|path| format!("`{}`", path.display())).collect::<Vec<_>>().join(", ");
    Err(Failure::new(
        Kind::Incomplete,
        format!("there is neither a sequence nor a mirrored release in {shown}"),
    )
    .with_hint(
        "name a directory with sequences, or one that `release mirror --to-dir` made: `--from DIR`",
    ))
}

/// A directory that is there; an image has no such name.
fn directory(text: &str) -> Option<PathBuf> {
    let path = PathBuf::from(text.strip_prefix("file://").unwrap_or(text));
    (!text.starts_with("docker://") && path.is_dir()).then_some(path)
}

fn image(text: &str) -> Result<Reference, Failure> {
    let is_path = text.starts_with(['/', '.', '~']) || text.starts_with("file://");
    if is_path {
        return Err(Failure::usage(format!("there is no directory `{text}`"))
            .with_hint("name one with sequences, or an image: `--from HOST/REPOSITORY:TAG`"));
    }
    text.parse().map_err(|error| {
        Failure::usage(error).with_hint(
            "name the release image with its registry, as `quay.io/openshift-release-dev/ocp-release:4.18.5-x86_64`; or a \
             directory that is there",
        )
    })
}

/// The release of a medium that is meant. Those that an earlier sequence carried are none to choose from.
fn choose<'a>(
    releases: &'a [ShelvedRelease],
    wanted: Option<&str>,
) -> Result<&'a ShelvedRelease, Failure> {
    let names = |carried: bool| {
        let tags = releases.iter().filter(|release| release.carried == carried);
        tags.map(|release| format!("`{}`", release.tag)).collect::<Vec<_>>().join(", ")
    };
    let all = || match (names(true), names(false)) {
        (here, earlier) if earlier.is_empty() => format!("there are {here}"),
        (here, earlier) if here.is_empty() => format!("an earlier sequence has {earlier}"),
        (here, earlier) => format!("there are {here}; an earlier sequence has {earlier}"),
    };
    let further = |error: String| {
        Failure::new(Kind::Incomplete, error)
            .with_hint("name the directories with the sequences that do, too: `--from DIR`")
    };
    if releases.is_empty() {
        return Err(Failure::new(Kind::Incomplete, "the sequences carry no release")
            .with_hint("name the directories with the sequences that do: `--from DIR`"));
    }
    let fits = |release: &&ShelvedRelease| match wanted {
        None => true,
        Some(wanted) => release.tag.as_str() == wanted || release.version == wanted,
    };
    let exact = releases.iter().find(|release| Some(release.tag.as_str()) == wanted);
    let found: Vec<_> =
        exact.map_or_else(|| releases.iter().filter(fits).collect(), |one| vec![one]);
    let here: Vec<_> = found.iter().filter(|release| release.carried).collect();
    let named = wanted.map(|wanted| format!(" `{wanted}`")).unwrap_or_default();
    let which = match (&*here, &*found) {
        ([only], _) => return Ok(only),
        ([], []) => format!("no release is{named}; {}", all()),
        ([], _) => {
            return Err(further(format!(
                "the sequences do not carry the release{named}; {}",
                all()
            )));
        }
        ([..], _) => match wanted {
            None => format!("several releases are there; {}", all()),
            Some(wanted) => format!("several releases are `{wanted}`; {}", all()),
        },
    };
    let first = here.first().copied().copied().or_else(|| releases.iter().find(|one| one.carried));
    let first = first.map_or("TAG", |release| release.tag.as_str());
    Err(Failure::usage(which)
        .with_hint(format!("name one by its tag: `--release {}`", quoted(first))))
}

#[cfg(test)]
mod tests {
    use format_spec::{Digest, Sequence};

    use super::*;

    #[test]
    fn only_what_is_here_is_chosen_from() {
        let release = |tag: &str, carried| ShelvedRelease {
            sequence: Sequence::FIRST,
            tag: tag.parse().unwrap(),
            version: tag.split('-').next().unwrap_or_default().to_owned(),
            digest: Digest::of(tag.as_bytes()),
            source: String::new(),
            carried,
        };
        let told =
            |releases: &[ShelvedRelease], wanted: Option<&str>| match choose(releases, wanted) {
                Ok(release) => release.tag.to_string(),
                Err(failure) => format!("{failure:?}"),
            };
        let [old, new] = [release("4.1.0-x86_64", false), release("4.1.1-x86_64", true)];
        let both = [old.clone(), new.clone()];
        assert_eq!(told(&both, None), "4.1.1-x86_64");
        assert_eq!(told(&both, Some("4.1.1")), "4.1.1-x86_64");
        for (releases, wanted) in [(&both[..], Some("4.1.0")), (&both[..1], None)] {
            let text = told(releases, wanted);
            assert!(
                text.contains("Incomplete") && text.contains("do not carry the release"),
                "{text}"
            );
            assert!(text.contains("an earlier sequence has `4.1.0-x86_64`"), "{text}");
        }
        let arm = release("4.1.1-aarch64", true);
        let text = told(&[old.clone(), new.clone(), arm.clone()], None);
        assert!(
            text.contains(
                "several releases are there; there are `4.1.1-x86_64`, `4.1.1-aarch64`; an"
            ),
            "{text}"
        );
        let text = told(&[new, arm, old], Some("4.1.1"));
        assert!(text.contains("several releases are `4.1.1`"), "{text}");
        let text = told(&both, Some("4.2"));
        assert!(
            text.contains("no release is `4.2`; there are `4.1.1-x86_64`; an earlier"),
            "{text}"
        );
        assert!(text.contains("--release 4.1.1-x86_64"), "{text}");
        assert!(told(&[], None).contains("carry no release"));
    }
}
