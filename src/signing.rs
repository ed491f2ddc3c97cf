//! Which keys sign a sequence: those that were named, or the workspace's own.
//!
//! In: the options of `bundle create`, the workspace, and where the stream stands. Out: keys, made when they are asked
//! for. What must hold: a run that writes nothing makes no key, and a stream that has sequences gets no new one.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use bundler::Standing;
use bundler::report::Created;
use format_spec::Sequence;
use format_spec::keys::{KeyId, SecretKey};

use crate::failure::Failure;
use crate::keyring::{self, Keyring};
use crate::output::plain;
use crate::{size, typed};

/// Keys that sign.
pub struct Signing {
    keys: Vec<SecretKey>,
    ids: Vec<KeyId>,
    /// The public half of a key that was made now.
    made: Option<PathBuf>,
    /// The public half of the workspace's own key, when it signs.
    own: Option<PathBuf>,
}

impl Signing {
    fn with(keys: Vec<SecretKey>) -> Self {
        let ids = keys.iter().map(|key| key.public().id()).collect();
        Self { keys, ids, made: None, own: None }
    }

    /// With the workspace's own key, which is made when there is none.
    fn own(ring: &Keyring) -> Result<Self, Failure> {
        let (pair, new) = ring.own_or_make()?;
        let made = new.then(|| pair.public.clone());
        Ok(Self { made, own: Some(pair.public), ..Self::with(vec![pair.key]) })
    }

    /// The ids of the keys.
    pub fn ids(&self) -> &[KeyId] {
        &self.ids
    }

    /// The public half that the other side does not have yet: of a key that was made now, or, with the
    /// first sequence, by an earlier run that did not come to its end.
    pub fn to_carry(&self, created: &Created) -> Option<&Path> {
        let first = matches!(created, Created::Written(w) if w.sequence == Sequence::FIRST);
        self.made.as_deref().or(if first { self.own.as_deref() } else { None })
    }
}

/// The keys that sign, or the workspace where one is made once a sequence is about to be written: a run with
/// nothing to carry must not leave a key behind that signed nothing.
pub struct Signers {
    workspace: PathBuf,
    ready: OnceLock<Signing>,
    failed: Mutex<Option<Failure>>,
}

impl Signers {
    /// Those that there are.
    pub fn of(signing: Signing) -> Self {
        let signers = Self::made_in(Path::new(""));
        signers.ready.get_or_init(|| signing);
        signers
    }

    fn made_in(workspace: &Path) -> Self {
        let (ready, failed) = (OnceLock::new(), Mutex::default());
        Self { workspace: workspace.to_owned(), ready, failed }
    }

    /// What signed, or would have; `None` when nobody asked for it.
    pub fn ready(&self) -> Option<&Signing> {
        self.ready.get()
    }

    /// Why no key could be made.
    pub fn failure(&self) -> Option<Failure> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl bundler::Signers for Signers {
    fn keys(&self) -> Option<&[SecretKey]> {
        if self.ready.get().is_none() {
            match Keyring::open(&self.workspace).and_then(|ring| Signing::own(&ring)) {
                Ok(signing) => {
                    self.ready.get_or_init(|| signing);
                }
                Err(failure) => {
                    *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
                }
            }
        }
        self.ready.get().map(|signing| &signing.keys[..])
    }
}

/// The keys that were named, or the workspace's own; `None` when it has none. A dry run signs nothing
/// and makes nothing.
pub fn signing_keys(
    named: &[PathBuf],
    workspace: &Path,
    dry_run: bool,
) -> Result<Option<Signing>, Failure> {
    if !named.is_empty() {
        let keys = named.iter().map(|path| keyring::read_secret(path)).collect::<Result<_, _>>()?;
        return Ok(Some(Signing::with(keys)));
    }
    let ring = Keyring::open(workspace)?;
    if dry_run {
        // A key that could not sign is worth a word now.
        let own = ring.secret_path(keyring::DEFAULT);
        let key = own.exists().then(|| keyring::read_secret(&own)).transpose()?;
        return Ok(key.map(|key| Signing::with(vec![key])));
    }
    if ring.has_own()? { Signing::own(&ring).map(Some) } else { Ok(None) }
}

/// Says that a new stream begins: the same command in another directory, with its workspace, would have gone on with
/// one. `place` is the option or field that names the workspace.
pub fn tell_new_stream(workspace: &Path, place: &str, new_key: bool) {
    let shown = plain(&workspace.display().to_string());
    let key = if new_key { " with a new key" } else { "" };
    tracing::warn!(
        "no stream in the workspace `{shown}` yet: sequence 1 begins a new one{key}; to go on with an existing \
         stream, name its workspace with {place}"
    );
}

/// Says that none of the keys signed the sequence before: who trusts only that one hears of it behind the gap.
pub fn tell_other_key(standing: &Standing, signing: &Signing) {
    let signs = |id: &String| standing.signers.contains(id);
    if !signing.ids.iter().map(ToString::to_string).any(|id| signs(&id)) {
        tracing::warn!(
            "sequence {} was signed by {}, and this run signs with another key: the other side has to trust its public half \
             too (`bundle keys trust FILE`); to sign as before, name that key with `--key FILE`",
            standing.last,
            standing.signers.join(" and ")
        );
    }
}

/// The key of a workspace that has none: made with the first sequence only. Later it would sign what
/// nobody on the other side trusts, and only the import would say so.
pub fn first_key(
    workspace: &Path,
    standing: Option<Standing>,
    dry_run: bool,
) -> Result<Signers, Failure> {
    let unsigned = || Signers::of(Signing::with(Vec::new()));
    let Some(Standing { stream, last, signers }) = standing else {
        return Ok(if dry_run { unsigned() } else { Signers::made_in(workspace) });
    };
    let ring = Keyring::open(workspace)?;
    let problem = format!(
        "stream {stream} has {}, the last one signed by {}, and this workspace has no signing key",
        size::count(last.get(), "sequence"),
        signers.join(" and ")
    );
    if dry_run {
        tracing::warn!("{problem}: without `--dry-run` this would be refused");
        return Ok(unsigned());
    }
    Err(Failure::usage(problem)
        .with_hint(format!(
            "copy `keys/{}.pem` of the workspace that made them to `{}`, or name it with `--key FILE`",
            keyring::DEFAULT,
            ring.secret_path(keyring::DEFAULT).display()
        ))
        .with_hint(format!(
            "to sign with a new key on purpose: `bundle keys new --workspace {}`, and on the other side \
             `bundle keys trust FILE` with its public half",
            typed::quoted(&workspace.display().to_string())
        )))
}

#[cfg(test)]
mod tests {
    use bundler::Signers as _;

    use super::*;

    #[test]
    fn a_dry_run_makes_no_key() {
        let dir = tempfile::tempdir().unwrap();
        assert!(signing_keys(&[], dir.path(), true).unwrap().is_none());
        assert!(first_key(dir.path(), None, true).unwrap().keys().unwrap().is_empty());
        assert!(signing_keys(&[], dir.path(), false).unwrap().is_none());
        let first = first_key(dir.path(), None, false).unwrap();
        // It is made when somebody asks for it, and once.
        assert_eq!(fs_err::read_dir(dir.path()).unwrap().count(), 0);
        assert_eq!(first.keys().unwrap().len(), 1);
        let first = first.ready.get().unwrap();
        assert!(first.made.is_some());
        let second = signing_keys(&[], dir.path(), false).unwrap().unwrap();
        assert!(second.made.is_none());
        assert_eq!(first.ids, second.ids);
    }

    #[test]
    fn a_stream_that_has_sequences_gets_no_new_key() {
        let dir = tempfile::tempdir().unwrap();
        let standing = || {
            let stream = format_spec::StreamId::from_bytes([1; 16]);
            let last = Sequence::new(3).unwrap();
            Some(Standing { stream, last, signers: vec!["sha256:aa".to_owned()] })
        };
        let Err(failure) = first_key(dir.path(), standing(), false) else { panic!("a key") };
        assert_eq!(failure.kind, crate::failure::Kind::Usage);
        assert!(first_key(dir.path(), standing(), true).unwrap().keys().unwrap().is_empty());
        assert_eq!(fs_err::read_dir(dir.path()).unwrap().count(), 0);
    }
}
