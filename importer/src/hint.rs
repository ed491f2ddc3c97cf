//! What to do next, for each fault: a person reads it at the machine, perhaps days away from the other side.

use format_spec::chain::OrderError;
use format_spec::head::HeadError;
use format_spec::seal::SealError;
use format_spec::{Sequence, StreamId};

use crate::error::{ErrorKind, ImportError, Problem};
use crate::limits::FILES_NAMED;

impl ImportError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Directory { .. } => {
                "name the directory with the `mirror_seq…` files: `--from DIR`".into()
            }
            Self::NothingThere(_) => "name every directory over which the files \
                `mirror_seqN.manifest.json`, `.manifest.sig`, `.index` and the parts are spread: \
                `--from DIR --from DIR2`"
                .into(),
            Self::Missing { wrong, .. } if !wrong.is_empty() => {
                "copy all of these files again from the connected side".into()
            }
            Self::Missing { .. } => "copy the missing files from the connected side (regular files, \
                no links), or name the directory that has them with a further `--from DIR`"
                .into(),
            Self::Earlier { .. } => "name the directories of the earlier sequences too: a further `--from DIR` for each"
                .into(),
            Self::Room { .. } => "free space there, or choose another directory; what is finished so far is kept and the \
                same command goes on"
                .into(),
            Self::TwoStreams => "name the directories of one stream: `bundle describe --from DIR` says which each is of".into(),
            Self::Size(wrong) => {
                let names: Vec<_> =
                    wrong.iter().take(FILES_NAMED).map(|w| file_name(&w.path)).collect();
                format!("copy `{}` again from the connected side", names.join("`, `"))
            }
            Self::TooLarge { path, .. } | Self::IndexDigest { path, .. } => {
                format!("copy `{}` again from the connected side", file_name(path))
            }
            Self::Read { path, .. } => format!(
                "check the medium and its permissions, or copy `{}` again from the connected side",
                file_name(path)
            ),
            Self::Renamed { found, .. } => {
                format!("give it back its name: `mirror_seq{found}.manifest.json`")
            }
            Self::Damage(damage) => match damage.problem {
                Problem::Layout | Problem::WrongContent | Problem::Manifest => {
                    "create the sequence again on the connected side: there, the usual create command \
                     with `--full` added"
                        .into()
                }
                _ => format!(
                    "copy `{}` again from the connected side, then run the same command again",
                    damage.part
                ),
            },
            Self::NoKeys => "name the public key of the connected side (its workspace has it as \
                `keys/default.pub.pem`): `--trust FILE`, or once and for all `bundle keys trust FILE`"
                .into(),
            Self::NoSeal { file, .. } => {
                format!("copy `{file}` from the connected side too")
            }
            Self::Seal { source: SealError::UnknownKey(_), .. } => "compare the key id with the \
                connected side (`bundle keys show`) by a way that is not this medium; if it is \
                right: `bundle keys trust FILE`. A new key nobody asked for: `bundle create` may have \
                run there in another workspace"
                .into(),
            Self::Seal { path, .. } => {
                let seal = file_name(path);
                format!(
                    "copy `{}` and `{seal}` again from the connected side; if that does not help, \
                     somebody changed them",
                    seal.replace(".sig", ".json")
                )
            }
            Self::Head { source: HeadError::Version(_) | HeadError::Crit(_), .. } => {
                "install the version of this program that the connected side uses".into()
            }
            Self::Order { error, stream } => order_hint(error, *stream),
            Self::LedgerFork { .. } => "keep the media as evidence and find out which side was \
                restored or replaced; then start over in a new stream: there, the usual create \
                command with `--full` and a new `--workspace DIR`; here `--new-stream`, once, with the \
                import of what that made"
                .into(),
            // Those before it are stale there.
            Self::RequiredMissing { stands: Some(stands), .. } => format!(
                "put back what the target lost, from the media of sequence {stands} and of those before it: this command with \
                 `--put-back` and their directories after `--from`; or create one on the connected side that {ALONE}"
            ),
            Self::RequiredMissing { .. } => format!(
                "bring the earlier sequences again, or create one on the connected side that {ALONE}"
            ),
            Self::TwoHeads { .. } => FORK.into(),
            Self::NeverImported { .. } => {
                "import it: the same command without `--put-back`; or name the address and namespace into which it was \
                 imported: `docker://HOST/NAMESPACE`"
                    .into()
            }
            Self::NothingImported(_) => {
                "name the address and namespace that the import was given, and its `--max-nested-paths`"
                    .into()
            }
            Self::Rollback(error) => error.hint(),
            Self::Unknown { target, .. } => format!(
                "bring the target to where it was: `bundle import --put-back --from DIR {target}` with the media of these \
                 sequences, or where it was set back `bundle import --from DIR {target}` with all of them; then run the same \
                 command again"
            ),
            Self::NoRecords(_) => {
                "name the address and namespace that the import was given, and its `--max-nested-paths`; without a target, \
                 name the media too: `--from DIR`"
                    .into()
            }
            Self::Resources(error) => {
                let again = "the same command again, or `bundle resources docker://HOST/NAMESPACE`, writes them";
                match error.hint() {
                    Some(hint) => format!("{hint}; then {again}"),
                    None => again.to_owned(),
                }
            }
            Self::Nested { stands: 0, .. } => {
                "leave `--max-nested-paths` out, as earlier imports did".into()
            }
            Self::Nested { stands, .. } => {
                format!("the same command with `--max-nested-paths {stands}`")
            }
            Self::Collision { .. } => {
                "choose another namespace or a larger `--max-nested-paths`".into()
            }
            Self::Write { .. } => {
                "free some space or choose another workspace with `--workspace DIR`".into()
            }
            Self::State { .. } => {
                "mend the workspace or choose another one with `--workspace DIR`".into()
            }
            Self::Record { place, .. } => format!(
                "look at `{place}`; if it was not written by this program, remove it and run the \
                 same command again"
            ),
            Self::Registry(error) if error.kind() == registry::client::ErrorKind::NotFound => {
                "some registries make no projects or repositories by themselves: make it there \
                 first, then run the same command again"
                    .into()
            }
            Self::Registry(error) => {
                return error.hint().or_else(|| {
                    (self.exit() == ErrorKind::Unavailable).then(|| {
                        "run the same command again: it goes on where it stopped".to_owned()
                    })
                });
            }
            Self::Lost(_) | Self::Cancelled => {
                "run the same command again: it goes on where it stopped".into()
            }
            Self::StillDamaged { .. } => "that registry keeps the bytes that it has, whatever is sent: delete these images there and collect \
                its garbage, so that it has them no more, then run the same command again"
                .into(),
            Self::Unready(unready) => unready.hint(),
            Self::Sparse { .. } => "leave `platforms` out of the configuration and run `bundle create --full` there; \
                or let the registry take such indexes (CNCF distribution 3: \
                `validation.manifests.indexes.platforms: none`). Nothing was written"
                .into(),
            Self::Kept { records: true, .. } => format!("the records of this program have tags that move: {LET_MOVE}"),
            Self::Kept { .. } => format!("{LET_MOVE}; or remove the tag there, if nothing needs it any more"),
            Self::Artifact { .. } => "leave signatures and what is attached to images out: \
                `bundle create --remove-signatures --full` there; or import into a repository that takes OCI \
                artifacts (Artifactory: of the type OCI)"
                .into(),
            Self::Expired { .. } => "ask the connected side for a newer sequence; when the clock of \
                this machine is wrong, set it and run the same command again"
                .into(),
            Self::Busy { .. } | Self::TakenOver { .. } => {
                "wait until it has ended, then run the same command again".into()
            }
            Self::Head { .. } | Self::Index { .. } => {
                "create the sequence again on the connected side: there, the usual create command with \
                 `--full` added"
                    .into()
            }
            Self::TooMany { .. } => {
                "name only directories that hold the `mirror_seq…` files and little else: `--from DIR`"
                    .into()
            }
            Self::Name(_) => "choose a shorter namespace for the target, `docker://HOST/NAMESPACE`, or \
                leave `--max-nested-paths` out"
                .into(),
            Self::Task(_) => "run the same command again".into(),
        })
    }
}

/// How a rule about tags is lifted.
const LET_MOVE: &str = "let its tags move (ECR: `aws ecr put-image-tag-mutability --image-tag-mutability MUTABLE \
     --repository-name NAME`; Harbor: Tag Immutability of the project), then run the same command again";

/// How a sequence is made that needs no other. No whole command: it would be pasted here, and without the options
/// that the other side uses.
const ALONE: &str = "stands alone: there, the usual create command with `--full` added";

/// What to do about two writers of one stream.
const FORK: &str = "keep the medium as evidence: two workspaces wrote one stream, or one was restored from a backup. Go on with the \
    right one, or start over in a new stream: there, the usual create command with `--full` and a new `--workspace DIR`; here \
    `--new-stream`, once, with the import of what that made";

/// How to do without what is missing from `first` on.
fn without(first: Sequence) -> String {
    match first.get() - 1 {
        0 => ALONE.to_owned(),
        stands => format!(
            "carries it again: there, the usual create command with `--since {stands}` added"
        ),
    }
}

fn order_hint(error: &OrderError, stream: StreamId) -> String {
    match error {
        OrderError::Gap { first_missing, last_missing, .. } if first_missing == last_missing => {
            format!(
                "bring sequence {first_missing} and name its directory too with `--from DIR` (the connected side \
                 writes a lost one again with `--resend {first_missing}`), or create one there that {}",
                without(*first_missing)
            )
        }
        OrderError::Gap { first_missing, last_missing, .. } => format!(
            "bring sequences {first_missing} to {last_missing} and name their directories too with `--from DIR` (the \
             connected side writes a lost one again with `--resend N`), or create one there that {}",
            without(*first_missing)
        ),
        OrderError::Stale { current, .. } => format!(
            "nothing is to be done: bring what follows sequence {current}. What the target lost of this one is put back \
             by the same command with `--put-back`; for a new target, create one on the connected side that {ALONE}"
        ),
        // No command with what was typed: that names the very medium that is not to be imported.
        OrderError::Fork { .. } => FORK.into(),
        OrderError::Foreign { .. } => {
            format!(
                "if this target shall follow stream {stream} too: `bundle import --new-stream`; if not, \
                 `bundle create` may have run in another workspace: run it again there with \
                 `--workspace DIR` of the stream that the target follows"
            )
        }
    }
}

fn file_name(path: &std::path::Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use format_spec::Digest;

    use super::*;

    fn at(number: u64) -> Sequence {
        Sequence::new(number).unwrap()
    }

    #[test]
    fn what_the_other_side_runs_is_no_command_to_paste_here() {
        let (stream, digest) = (StreamId::from_bytes([1; 16]), Digest::of(b""));
        let order = |error| ImportError::Order { error, stream };
        let (sequence, first, images) = (at(3), digest, Vec::new());
        for (error, words) in [
            (
                order(OrderError::Gap {
                    arrived: at(4),
                    first_missing: at(2),
                    last_missing: at(3),
                }),
                "there, the usual create command with `--since 1` added",
            ),
            (
                order(OrderError::Stale { arrived: at(1), current: at(3) }),
                "the same command with `--put-back`",
            ),
            (
                order(OrderError::Fork { at: at(3), arrived: digest, known: Digest::of(b"x") }),
                "here `--new-stream`, once",
            ),
            (
                ImportError::RequiredMissing { stands: None, sequence, missing: 1, first, images },
                "the usual create command with `--full` added",
            ),
        ] {
            let hint = error.hint().unwrap();
            assert!(hint.contains(words) && !hint.contains("`bundle "), "{hint}");
        }
    }
}
