//! What the errors of single releases become.

use std::error::Error;

use bundler::release::extract::ExtractError;
use bundler::release::mirror::{FilingError, MirrorError, PlaceError};
use bundler::release::mirror_sets::MirrorSetsError;
use bundler::release::proven::ProvenError;
use format_spec::head::ContentClass;
use importer::ImportError;
use registry::client::{ClientError, ErrorKind as WireKind};

use super::causes::{cause, of_wire};
use super::{Failure, Kind};
use crate::size;

/// The exit code's bit of releases.
const RELEASES: Kind = Kind::Content(ContentClass::Release.exit_bit());

/// What a sequence states and does not carry.
fn of_earlier(error: &(dyn Error + 'static)) -> Failure {
    Failure::of(Kind::Incomplete, error).with_hint(
        "an earlier sequence carried it: name its directory too, with a further `--from DIR`",
    )
}

/// A fault of a medium or a registry, with what to do about it.
fn of_source(error: &(dyn Error + 'static), wire: Option<WireKind>) -> Failure {
    if let Some(medium) = cause::<ImportError>(error) {
        let mut failure = Failure::of(super::of_medium(medium), error);
        failure.hints.extend(medium.hint());
        return failure;
    }
    // Said by no registry: errors between may hide that it is one of an origin.
    if wire == Some(WireKind::NotFound) && cause::<ClientError>(error).is_none() {
        return of_earlier(error);
    }
    of_registry(error, wire)
}

/// A fault of a registry, with what to do about it.
fn of_registry(error: &(dyn Error + 'static), wire: Option<WireKind>) -> Failure {
    let client = cause::<ClientError>(error);
    let mut failure = Failure::of(of_wire(wire, RELEASES), error);
    failure.hints.extend(client.and_then(ClientError::hint));
    failure.hints.extend(bundler::policy::refusal(error).map(|refused| refused.hint().to_owned()));
    if matches!(wire, Some(WireKind::Unavailable | WireKind::NotFound)) {
        failure.hints.push(
            "where a mirror has it: `--idms-file FILE`, as `cluster-resources/idms-oc-mirror.yaml`; mirrors are asked for \
             digests, not for tags"
                .to_owned(),
        );
    }
    failure
}

/// A release that nobody trusted signed.
fn unsigned(error: &(dyn Error + 'static), wire: Option<WireKind>) -> Failure {
    let kind = if wire.is_some() { of_wire(wire, RELEASES) } else { Kind::Untrusted };
    Failure::of(kind, error)
        .with_hint(
            "name where its signature is: `--signature-store DIR`, with the file `sha256=HEX/signature-1` in it, or the \
             `signature-configmap.json` that `bundle resources` wrote; another key: `--release-keys FILE`",
        )
        .with_hint("to take it all the same: `--accept-unsigned-releases`")
}

impl From<ExtractError> for Failure {
    fn from(error: ExtractError) -> Self {
        let wire = error.wire();
        match &error {
            ExtractError::Release { source: ProvenError::Unsigned { .. }, .. } => {
                unsigned(&error, wire)
            }
            ExtractError::Release { .. } => of_source(&error, wire).or_hinted(
                "name the image of a release, as `quay.io/openshift-release-dev/ocp-release:4.18.5-x86_64`",
            ),
            ExtractError::Image { .. } => of_source(&error, wire).or_hinted(
                "run the same command again; if it fails again, the image at its registry is damaged",
            ),
            ExtractError::Write(io) => {
                let kind = Kind::of_io(io, Kind::NoSpace);
                let failure = Self::of(kind, &error).hinted(Some(io), None);
                failure.or_hinted("mend that, or name another directory: `--to DIR`; then run the same command again")
            }
            ExtractError::Taken(_) => Self::of(Kind::NoSpace, &error)
                .with_hint("name another directory: `--to DIR`; or replace the files: `--overwrite`"),
            ExtractError::Name(_) => {
                Self::of(Kind::Usage, &error).with_hint("name one file, as `--file image-references`")
            }
            ExtractError::NoFile(_) => Self::of(RELEASES, &error)
                .with_hint("without `--file NAME`, `--to DIR` gets all of them: their names are there"),
            ExtractError::Command { .. } => {
                Self::of(Kind::Usage, &error).with_hint("name one of these: `--command NAME`")
            }
            ExtractError::System { .. } => Self::of(Kind::Usage, &error).with_hint(
                "name a system that it is made for, as `--command-os linux`, or take all: `--command-os '*'`",
            ),
            ExtractError::NoComponent { .. }
            | ExtractError::NotInImage { .. }
            | ExtractError::NoProgram(_) => Self::of(RELEASES, &error).with_hint(
                "releases of other versions have other programs: `--file image-references` shows the components of this one",
            ),
            ExtractError::NoReference => Self::of(Kind::Usage, &error).with_hint(
                "take it from a registry: `--from IMAGE`; or a release with a signature, which says it",
            ),
            ExtractError::NoPlace { .. } => Self::of(RELEASES, &error)
                .with_hint("take the installer that the publisher of the release gives away"),
            ExtractError::NoRoom { .. } => Self::of(RELEASES, &error)
                .with_hint("read the release under a shorter name: from its source, or off a medium"),
            ExtractError::Nothing(_) | ExtractError::TooMany { .. } => Self::of(RELEASES, &error)
                .with_hint("it is no release that a cluster could use: name another image"),
            ExtractError::Cancelled => Self::of(Kind::Interrupted, &error),
        }
    }
}

impl From<MirrorError> for Failure {
    fn from(error: MirrorError) -> Self {
        let wire = error.wire();
        let mut failure = match &error {
            MirrorError::Release { source: ProvenError::Unsigned { .. }, .. } => {
                unsigned(&error, wire)
            }
            MirrorError::Release { .. } => of_source(&error, wire).or_hinted(
                "name the image of a release, as `quay.io/openshift-release-dev/ocp-release:4.18.5-x86_64`",
            ),
            MirrorError::Name(_) => Self::of(RELEASES, &error)
                .with_hint("it is no release that could be mirrored: name another image"),
            MirrorError::Images { on_shelf: true, kind: Some(WireKind::NotFound), .. } => {
                of_earlier(&error)
            }
            MirrorError::Images { .. } => of_registry(&error, wire).or_hinted(
                "where its components are at a mirror: `--idms-file FILE`; nothing of the release got a name",
            ),
            MirrorError::Origin { .. } | MirrorError::Place { source: PlaceError::Filing(FilingError::Source(_)), .. } => {
                of_source(&error, wire).or_hinted("run the same command again: it goes on")
            }
            MirrorError::Place { source: PlaceError::Filing(FilingError::File(io)), .. } | MirrorError::Write(io) => {
                let kind = Kind::of_io(io, Kind::NoSpace);
                let failure = Self::of(kind, &error).hinted(Some(io), None);
                failure.or_hinted(
                    "mend that, or name another directory: `--to-dir DIR`; then run the same command again: it goes on",
                )
            }
            MirrorError::Place { source: PlaceError::Filing(FilingError::Damaged(_)), .. } => of_source(&error, wire)
                .or_hinted("its source has it damaged: mirror from another one, or have it mended there"),
            // The registry that it goes to, of which there are no mirrors.
            MirrorError::Place { source: PlaceError::Wire(client), .. } => {
                let failure = Self::of(of_wire(wire, RELEASES), &error).hinted(None, client.hint());
                failure.or_hinted("run the same command again: what is there by now stays")
            }
            MirrorError::Resolve(_) => Self::of(RELEASES, &error)
                .with_hint("it is no release that could be mirrored: name another image"),
            MirrorError::Space { directory, needed, available } => {
                let (needed, available) = (size::show(*needed), size::show(*available));
                let shown = directory.display();
                Self::new(
                    Kind::NoSpace,
                    format!("not enough space in `{shown}`: {needed} are needed, {available} are free"),
                )
                .with_hint("name a larger disk: `--to-dir DIR`")
            }
            MirrorError::Cancelled => Self::of(Kind::Interrupted, &error),
        };
        if let MirrorError::Images { failures, hints, .. } = error {
            // What is known of one image says more than what is true of all.
            if !hints.is_empty() {
                failure.hints = hints;
            }
            failure.failures = failures;
        }
        failure
    }
}

impl From<MirrorSetsError> for Failure {
    fn from(error: MirrorSetsError) -> Self {
        // As a configuration that cannot be read.
        Self::of(Kind::Usage, &error).with_hint(
            "name a file with an `ImageDigestMirrorSet`, as `cluster-resources/idms-oc-mirror.yaml`: `--idms-file FILE`",
        )
    }
}

#[cfg(test)]
mod tests {
    use bundler::origin::OriginError;
    use bundler::release::image::ReadError;
    use bundler::release::payload::PayloadError;

    use super::*;

    #[test]
    fn what_an_earlier_sequence_carried_is_looked_for_there() {
        let absent =
            OriginError::Absent { place: "the sequences in `two`".into(), digest: "d".into() };
        let source = PayloadError::from(ReadError::from(absent)).into();
        let failure = Failure::from(ExtractError::Release { release: "4.18.1".into(), source });
        assert_eq!(failure.kind.exit(), 66);
        assert!(failure.error.ends_with("d is not in the sequences in `two`"), "{}", failure.error);
        assert!(failure.hints[0].contains("`--from DIR`"), "{:?}", failure.hints);
    }
}
