//! The keys on this machine: those that sign here, and those that are trusted here.
//!
//! In: a workspace and files that a person named. Out: keys. What must hold: a private key is never
//! overwritten and never readable by others; nothing is trusted that a person did not name.
//!
//! ```text
//! WORKSPACE/keys/NAME.pem           private key, 0600
//! WORKSPACE/keys/NAME.pub.pem       its public half, to carry to the other side
//! WORKSPACE/trusted/<id>.pub.pem    public keys that may sign for this side
//! ```

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use format_spec::keys::{KeyId, PublicKey, SecretKey};
use registry::lasting;
use ring::rand::SecureRandom as _;
use zeroize::Zeroizing;

use crate::failure::{Failure, Kind};

/// Bytes of a key file: an ed25519 key has below 200, comments included.
const KEY_FILE_MAX: u64 = 64 * 1024;

/// Files of a directory that are looked at for keys.
const KEYS_MAX: usize = 1000;

/// Hexadecimal digits of an id in a file name.
const SHORT: usize = 12;

/// The name of the key that `create` uses when no key is named.
pub const DEFAULT: &str = "default";

/// A key pair of this workspace.
#[derive(Debug)]
pub struct Pair {
    /// The id of the public half.
    pub id: KeyId,
    /// The private key.
    pub key: SecretKey,
    /// Its file.
    pub secret: PathBuf,
    /// The file of the public half.
    pub public: PathBuf,
}

/// A public key in a file.
#[derive(Debug)]
pub struct Known {
    /// The key.
    pub key: PublicKey,
    /// Its file.
    pub path: PathBuf,
}

/// The keys below a workspace.
#[derive(Debug)]
pub struct Keyring {
    keys: PathBuf,
    trusted: PathBuf,
}

impl Keyring {
    /// The keys of this workspace, which need not exist yet. Errors: something else has the name of one of
    /// their directories.
    pub fn open(workspace: &Path) -> Result<Self, Failure> {
        let ring = Self { keys: workspace.join("keys"), trusted: workspace.join("trusted") };
        for directory in [&ring.keys, &ring.trusted] {
            if directory.exists() && !directory.is_dir() {
                let shown = directory.display().to_string();
                let typed = crate::typed::quoted(&shown);
                let error = format!("`{shown}` is not a directory, and the keys belong into it");
                return Err(Failure::new(Kind::NoSpace, error).with_hint(format!(
                    "move it away, `mv {typed} {typed}.old`, then run the same command again; or name \
                     another workspace: `--workspace DIR`"
                )));
            }
        }
        Ok(ring)
    }

    /// Where the private key of this name is or would be.
    pub fn secret_path(&self, name: &str) -> PathBuf {
        self.keys.join(format!("{name}.pem"))
    }

    /// Where the public key of this name is or would be.
    pub fn public_path(&self, name: &str) -> PathBuf {
        self.keys.join(format!("{name}.pub.pem"))
    }

    /// Makes a key pair. Errors: there is one of this name; the disk.
    pub fn make(&self, name: &str) -> Result<Pair, Failure> {
        let (secret, public) = (self.secret_path(name), self.public_path(name));
        for path in [&secret, &public] {
            if exists(path)? {
                return Err(Failure::usage(format!(
                    "there is a key already: `{}`",
                    path.display()
                ))
                .with_hint("name another one with `--name NAME`; a key is never overwritten"));
            }
        }
        let mut seed = Zeroizing::new([0; 32]);
        ring::rand::SystemRandom::new()
            .fill(seed.as_mut())
            .map_err(|_| Failure::new(Kind::Failed, "the system's random generator failed"))?;
        let key = SecretKey::from_seed(&seed);
        private_directory(&self.keys)?;
        // The public half last: it can be made again from the private one, not the other way round.
        write_new(&secret, key.to_pem().as_bytes(), 0o600)?;
        write_new(&public, key.public().to_pem().as_bytes(), 0o644)?;
        Ok(Pair { id: key.public().id(), key, secret, public })
    }

    /// Whether either half of the key that signs when none is named is here.
    pub fn has_own(&self) -> Result<bool, Failure> {
        Ok(exists(&self.secret_path(DEFAULT))? || exists(&self.public_path(DEFAULT))?)
    }

    /// The key that signs when none is named: made when there is none, its public half written again
    /// when a crash, or another run at the same time, left it out. Says whether something was made.
    pub fn own_or_make(&self) -> Result<(Pair, bool), Failure> {
        let (secret, public) = (self.secret_path(DEFAULT), self.public_path(DEFAULT));
        let mut made = false;
        if !exists(&secret)? {
            match self.make(DEFAULT) {
                Ok(pair) => return Ok((pair, true)),
                // Another run was faster.
                Err(_) if exists(&secret)? => made = true,
                Err(_) if exists(&public)? => {
                    let (secret, public) = (secret.display(), public.display());
                    return Err(Failure::usage(format!(
                        "the private key `{secret}` is gone, its public half `{public}` is there"
                    ))
                    .with_hint(
                        "restore the private key, or sign with another one: `--key FILE`; for a new \
                         key move the public half away, and carry the new one to the other side",
                    ));
                }
                Err(failure) => return Err(failure),
            }
        }
        // A run that was killed may have made it and not have come to sync its name.
        private_directory(&self.keys)?;
        sync_directory(&self.keys)?;
        let key = read_secret(&secret)?;
        if !exists(&public)? {
            made = true;
            match write_new(&public, key.public().to_pem().as_bytes(), 0o644) {
                Err(failure) if !exists(&public)? => return Err(failure),
                _ => {}
            }
        }
        Ok((Pair { id: key.public().id(), key, secret, public }, made))
    }

    /// The public halves of the keys that sign here, by file name.
    pub fn own(&self) -> Result<Vec<Known>, Failure> {
        // A private key that was brought back alone signs too.
        if exists(&self.secret_path(DEFAULT))? && !exists(&self.public_path(DEFAULT))? {
            self.own_or_make()?;
        }
        public_keys(&self.keys)
    }

    /// The keys trusted here, by file name.
    pub fn trusted(&self) -> Result<Vec<Known>, Failure> {
        public_keys(&self.trusted)
    }

    /// Trusts a key from now on; says where it is kept and whether that is news.
    pub fn trust(&self, key: &PublicKey) -> Result<(PathBuf, bool), Failure> {
        let path = self.trusted.join(format!("{}.pub.pem", short(&key.id())));
        if exists(&path)? {
            if read_public(&path)? == *key {
                return Ok((path, false));
            }
            return Err(Failure::new(
                Kind::Failed,
                format!("another key has the same short id: `{}`", path.display()),
            ));
        }
        private_directory(&self.trusted)?;
        write_new(&path, key.to_pem().as_bytes(), 0o644)?;
        Ok((path, true))
    }

    /// Trusts a key no longer, named by its id or at least 8 digits of it.
    pub fn untrust(&self, id: &str) -> Result<Known, Failure> {
        let known = only(self.trusted()?, id, "trusted key")?;
        fs_err::remove_file(&known.path).map_err(|error| cannot_write(&error))?;
        sync_directory(&self.trusted)?;
        Ok(known)
    }

    /// The key that signs or is trusted here, named by its id or at least 8 digits of it.
    pub fn by_id(&self, id: &str) -> Result<Known, Failure> {
        let mut keys = self.own()?;
        for known in self.trusted()? {
            // A key can sign and be trusted on one machine.
            if keys.iter().all(|own| own.key != known.key) {
                keys.push(known);
            }
        }
        only(keys, id, "key")
    }

    /// As [`Self::gather`]; without a key there is nothing that a medium could prove.
    #[cfg(feature = "import")]
    pub fn required(&self, named: &[PathBuf]) -> Result<Vec<PublicKey>, Failure> {
        let keys = self.gather(named)?;
        if !keys.is_empty() {
            return Ok(keys);
        }
        let workspace = self.trusted.parent().unwrap_or(&self.trusted).display();
        let error = format!("no key is trusted in the workspace `{workspace}`");
        let mut failure = Failure::new(Kind::Untrusted, error);
        // Of this machine, not of the medium: a key that came along with the sequences proves nothing.
        let own = self.public_path("default");
        if own.is_file() {
            let typed = crate::typed::quoted(&own.display().to_string());
            failure = failure.with_hint(format!(
                "this workspace signs itself; for sequences that it made: `--trust {typed}`"
            ));
        }
        Err(failure.with_hint(importer::ImportError::NoKeys.hint().unwrap_or_default()).with_hint(
            "when another workspace trusts it already, name that one: `--workspace DIR`",
        ))
    }

    /// The keys that a person named on this command line, and those trusted in the workspace, each
    /// once. A name is a file, or a directory whose `*.pem` files are public keys.
    pub fn gather(&self, named: &[PathBuf]) -> Result<Vec<PublicKey>, Failure> {
        let mut all = self.trusted()?;
        for path in named {
            if !path.is_dir() {
                all.push(Known { key: read_public(path)?, path: path.clone() });
                continue;
            }
            let found = public_keys(path)?;
            if found.is_empty() {
                return Err(Failure::usage(format!("no public key in `{}`", path.display()))
                    .with_hint("put the `.pub.pem` files of the other side there"));
            }
            all.extend(found);
        }
        let mut keys: Vec<PublicKey> = Vec::new();
        for known in all {
            if !keys.contains(&known.key) {
                keys.push(known.key);
            }
        }
        Ok(keys)
    }
}

/// The digits of a typed id, if they are enough to name a key. They may stand in groups, as they are read over the
/// phone.
pub fn digits(id: &str) -> Option<String> {
    let mut digits = id.strip_prefix("sha256:").unwrap_or(id).to_ascii_lowercase();
    digits.retain(|c| !c.is_whitespace());
    (digits.len() >= 8 && digits.bytes().all(|c| c.is_ascii_hexdigit())).then_some(digits)
}

/// The only one of these keys whose id begins as typed. `noun` says which keys they are.
fn only(mut keys: Vec<Known>, id: &str, noun: &str) -> Result<Known, Failure> {
    let digits = digits(id).ok_or_else(|| {
        Failure::usage(format!("not a key id: `{}`", crate::output::plain(id)))
            .with_hint("write at least 8 digits of an id that `bundle keys list` shows")
    })?;
    keys.retain(|known| known.key.id().digest().hex().starts_with(&digits));
    match (keys.pop(), keys.is_empty()) {
        (Some(known), true) => Ok(known),
        (Some(_), false) => {
            Err(Failure::usage(format!("more than one {noun} begins with `{digits}`"))
                .with_hint("write more digits of the id"))
        }
        (None, _) => Err(Failure::usage(format!("no {noun} begins with `{digits}`"))
            .with_hint(format!("`bundle keys list` shows every {noun}"))),
    }
}

/// The digits of an id in file names and lists.
pub fn short(id: &KeyId) -> String {
    let mut hex = id.digest().hex();
    hex.truncate(SHORT);
    hex
}

/// Reads a private key. Errors: unreadable; not a private key; readable by others.
pub fn read_secret(path: &Path) -> Result<SecretKey, Failure> {
    let hint = "`--key` takes a private key: `keys/NAME.pem` of this side's workspace, which `bundle keys \
                new` makes";
    let unreadable = |error| unreadable(&error).or_hint(hint);
    let file = fs_err::File::open(path).map_err(unreadable)?;
    let meta = file.metadata().map_err(unreadable)?;
    let mut text = Zeroizing::new(String::new());
    file.take(KEY_FILE_MAX).read_to_string(&mut text).map_err(unreadable)?;
    let shown = path.display();
    // Looked at before the permissions: to make a public key private would help nobody.
    if text.contains("PUBLIC KEY") && !text.contains("PRIVATE KEY") {
        return Err(Failure::usage(format!(
            "`{shown}` is the public half of a key; signing needs the private half"
        ))
        .with_hint(match private_half(path) {
            Some(secret) => format!("the private half is beside it: `--key {}`", secret.display()),
            None => hint.to_owned(),
        }));
    }
    // As ssh has it: a key that others can read is not a secret any more.
    let mode = meta.permissions().mode() & 0o777;
    if meta.is_file() && mode & 0o077 != 0 {
        return Err(Failure::usage(format!(
            "the private key `{shown}` can be read by others: its permissions are {mode:04o}"
        ))
        .with_hint(format!("chmod 600 {shown}")));
    }
    SecretKey::from_pem(&text).map_err(|error| {
        Failure::usage(format!("cannot use the key `{shown}`: {error}"))
            .with_hint("`bundle keys new` makes one, or `openssl genpkey -algorithm ed25519`")
    })
}

/// The private key that `make` has put beside this public one, if it is still there.
fn private_half(public: &Path) -> Option<PathBuf> {
    let name = public.file_name()?.to_str()?.strip_suffix(".pub.pem")?;
    Some(public.with_file_name(format!("{name}.pem"))).filter(|secret| secret.is_file())
}

fn unreadable(error: &std::io::Error) -> Failure {
    Failure::io(Kind::Usage, "cannot read the key", error)
}

/// Reads a public key. Errors: unreadable; not a public key, or a private one.
pub fn read_public(path: &Path) -> Result<PublicKey, Failure> {
    let hint = "name the `keys/NAME.pub.pem` of the connected side's workspace; `bundle keys list` shows \
                what is known here";
    let unreadable = |error| unreadable(&error).or_hint(hint);
    let mut bytes = Zeroizing::new(Vec::new());
    let file = fs_err::File::open(path).map_err(unreadable)?;
    file.take(KEY_FILE_MAX).read_to_end(&mut bytes).map_err(unreadable)?;
    let shown = path.display();
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    if text.contains("PRIVATE KEY") {
        return Err(Failure::usage(format!("`{shown}` is a private key, expected a public one"))
            .with_hint("name the `.pub.pem` beside it; a private key stays where it was made"));
    }
    // What a parser says about other text speaks of its own insides.
    if !text.contains("-----BEGIN PUBLIC KEY-----") {
        return Err(Failure::usage(format!(
            "`{shown}` is no public key: it has no line `-----BEGIN PUBLIC KEY-----`"
        ))
        .with_hint(hint));
    }
    PublicKey::from_pem(text).map_err(|error| {
        Failure::usage(format!("the public key `{shown}` cannot be used: {error}")).with_hint(
            "copy it again from where it was made, whole, and see that it is an ed25519 key",
        )
    })
}

/// The public keys in a directory: its `*.pem` files, private keys left aside, by name. A directory
/// that is not there has none.
fn public_keys(directory: &Path) -> Result<Vec<Known>, Failure> {
    let unreadable = |error| {
        Failure::io(Kind::Usage, "cannot read the keys", &error)
            .or_hint("name a directory of `.pub.pem` files that can be read, or one such file")
    };
    if !exists(directory)? {
        return Ok(Vec::new());
    }
    let mut paths = Vec::new();
    for entry in fs_err::read_dir(directory).map_err(unreadable)?.take(KEYS_MAX) {
        let path = entry.map_err(unreadable)?.path();
        // A file that is being written has another name; editors leave `x.pem~` behind.
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
        if !hidden && path.extension().is_some_and(|ending| ending == "pem") && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    let mut known = Vec::new();
    for path in paths {
        let public = path.file_name().is_some_and(|n| n.to_string_lossy().ends_with(".pub.pem"));
        if public || !is_private(&path)? {
            known.push(Known { key: read_public(&path)?, path });
        }
    }
    Ok(known)
}

fn is_private(path: &Path) -> Result<bool, Failure> {
    let unreadable = |error| {
        unreadable(&error)
            .or_hint(&format!("let it be read, or move it away: `{}`", path.display()))
    };
    let mut text = Zeroizing::new(Vec::new());
    let file = fs_err::File::open(path).map_err(unreadable)?;
    file.take(KEY_FILE_MAX).read_to_end(&mut text).map_err(unreadable)?;
    Ok(text.windows(11).any(|window| window == b"PRIVATE KEY"))
}

fn exists(path: &Path) -> Result<bool, Failure> {
    path.try_exists().map_err(|error| {
        Failure::io(Kind::Failed, &format!("cannot look at `{}`", path.display()), &error)
    })
}

fn cannot_write(error: &std::io::Error) -> Failure {
    Failure::io(Kind::Failed, "cannot write the key", error)
}

/// Makes a directory that only its owner can look into; one that exists is left as it is.
fn private_directory(path: &Path) -> Result<(), Failure> {
    let new = !exists(path)?;
    // Durably, also when it is there: a key in a directory that is lost is lost.
    lasting::make(path).map_err(|error| cannot_write(&error))?;
    if !new {
        return Ok(());
    }
    let mode = std::fs::Permissions::from_mode(0o700);
    fs_err::set_permissions(path, mode).map_err(|error| cannot_write(&error))
}

/// Writes a file that must not exist: whole and on the disk, or not at all.
fn write_new(path: &Path, content: &[u8], mode: u32) -> Result<(), Failure> {
    let directory = path.parent().expect("a key file stands in the keys' directory");
    let write = || {
        let mut file = tempfile::Builder::new().prefix(".key-").tempfile_in(directory)?;
        file.write_all(content)?;
        file.as_file().set_permissions(std::fs::Permissions::from_mode(mode))?;
        file.as_file().sync_all()?;
        file.persist_noclobber(path)?;
        Ok(())
    };
    write().map_err(|error: std::io::Error| {
        Failure::io(Kind::Failed, &format!("cannot write `{}`", path.display()), &error)
    })?;
    sync_directory(directory)
}

fn sync_directory(path: &Path) -> Result<(), Failure> {
    lasting::sync(path).map_err(|error| cannot_write(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs_err::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_new_key_is_private_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let ring = Keyring::open(dir.path()).unwrap();
        let pair = ring.make(DEFAULT).unwrap();
        assert_eq!((mode(&pair.secret), mode(&pair.public)), (0o600, 0o644));
        assert_eq!(mode(&dir.path().join("keys")), 0o700);
        assert_eq!(read_secret(&pair.secret).unwrap().public().id(), pair.id);
        assert_eq!(ring.make(DEFAULT).unwrap_err().kind, Kind::Usage);
        assert_eq!(read_secret(&pair.secret).unwrap().public().id(), pair.id);
        assert_eq!(ring.own().unwrap().len(), 1);
        assert_eq!(fs_err::read_dir(dir.path().join("keys")).unwrap().count(), 2);
    }

    #[test]
    fn a_half_made_key_is_completed() {
        let dir = tempfile::tempdir().unwrap();
        let ring = Keyring::open(dir.path()).unwrap();
        let (pair, made) = ring.own_or_make().unwrap();
        assert!(made);
        assert!(!ring.own_or_make().unwrap().1);
        fs_err::remove_file(&pair.public).unwrap();
        assert_eq!(ring.own().unwrap().len(), 1);
        fs_err::remove_file(&pair.public).unwrap();
        let (again, made) = ring.own_or_make().unwrap();
        assert!(made);
        assert_eq!(again.id, pair.id);
        assert_eq!(read_public(&pair.public).unwrap().id(), pair.id);
        fs_err::remove_file(&pair.secret).unwrap();
        assert_eq!(ring.own_or_make().unwrap_err().kind, Kind::Usage);
    }

    #[test]
    fn many_runs_at_once_make_one_key() {
        let dir = tempfile::tempdir().unwrap();
        let ids: Vec<KeyId> = std::thread::scope(|scope| {
            let run = || Keyring::open(dir.path()).unwrap().own_or_make().unwrap().0.id;
            let runs: Vec<_> = (0..8).map(|_| scope.spawn(run)).collect();
            runs.into_iter().map(|run| run.join().unwrap()).collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]));
    }

    #[test]
    fn a_file_in_the_place_of_the_keys_is_named() {
        for name in ["keys", "trusted"] {
            let dir = tempfile::tempdir().unwrap();
            fs_err::write(dir.path().join(name), "x").unwrap();
            assert_eq!(Keyring::open(dir.path()).unwrap_err().kind, Kind::NoSpace, "{name}");
        }
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let pair = Keyring::open(dir.path()).unwrap().make("k").unwrap();
        fs_err::set_permissions(&pair.secret, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(read_secret(&pair.secret).unwrap_err().kind, Kind::Usage);
    }

    #[test]
    fn trust_is_given_and_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let ring = Keyring::open(dir.path()).unwrap();
        let key = ring.make("k").unwrap().key.public();
        assert!(ring.trusted().unwrap().is_empty());
        assert!(ring.trust(&key).unwrap().1);
        assert!(!ring.trust(&key).unwrap().1);
        assert_eq!(ring.gather(&[]).unwrap(), [key]);
        let hex = key.id().digest().hex();
        for bad in ["", "abc", &hex[..7], "zzzzzzzzzz", "0000000000000000"] {
            assert_eq!(ring.untrust(bad).unwrap_err().kind, Kind::Usage, "{bad}");
        }
        ring.untrust(&format!("sha256:{}", &hex[..8])).unwrap();
        assert!(ring.trusted().unwrap().is_empty());
    }

    #[test]
    fn files_and_directories_are_gathered_once() {
        let dir = tempfile::tempdir().unwrap();
        let ring = Keyring::open(dir.path()).unwrap();
        let a = ring.make("a").unwrap();
        let b = ring.make("b").unwrap();
        let keys = dir.path().join("keys");
        let gathered = ring.gather(&[keys, a.public.clone(), b.public]).unwrap();
        assert_eq!(gathered.len(), 2);
        let empty = dir.path().join("empty");
        fs_err::create_dir(&empty).unwrap();
        assert_eq!(ring.gather(&[empty]).unwrap_err().kind, Kind::Usage);
        assert_eq!(ring.gather(&[a.secret]).unwrap_err().kind, Kind::Usage);
        assert_eq!(ring.gather(&["missing".into()]).unwrap_err().kind, Kind::Usage);
    }
}
