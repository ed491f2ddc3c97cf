//! Where the signatures of releases are, and what of them is valid.
//!
//! In: the digest of a release image, stores (web servers, directories, files for clusters, what came with it), keys. Out: the valid signature files, byte for byte, with what they say, and why
//! the others do not count. A store is asked for `signature-1`, `signature-2` and so on until it has no more; the first
//! store that has a valid one is the last that is asked. What must hold: a store decides nothing but what it has; a fault
//! of one is no reason against the others.

use std::collections::HashSet;
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use format_spec::Digest;
use registry::client::{Client, ErrorKind as WireKind};
use url::Url;

use super::config_map::{self, Signatures};
use super::limits::{CONFIG_MAP_MAX, SIGNATURE_MAX, SIGNATURES_MAX};
use super::openpgp::PublicKey;
use super::signature::{self, Claim};
use crate::error::reason;

/// Where the published releases have theirs.
const BUILT_IN: [&str; 2] = [
    "https://mirror.openshift.com/pub/openshift-v4/signatures/openshift/release",
    "https://storage.googleapis.com/openshift-release/official/signatures/openshift/release",
];

/// A place with signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// On a web server, laid out as `sha256=<hex>/signature-<n>`.
    Web(Url),
    /// A directory that is laid out so; or a file, the ConfigMap that clusters are given.
    Directory(PathBuf),
    /// What came with the release.
    Beside {
        /// With what.
        name: String,
        /// The signatures.
        files: Signatures,
    },
}

impl FromStr for Store {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("file://") {
            return Ok(Self::Directory(path.into()));
        }
        if !text.contains("://") {
            return if text.is_empty() {
                Err("expected a directory or an address that begins with `https://`".to_owned())
            } else {
                Ok(Self::Directory(text.into()))
            };
        }
        let wrong = || "expected an address that begins with `https://` or `http://`".to_owned();
        let url: Url = text.parse().map_err(|_| wrong())?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(wrong());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(
                "an address with a user name is not asked: the command line is readable by \
                        everybody on this machine"
                    .to_owned(),
            );
        }
        Ok(Self::Web(url))
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Web(url) => {
                write!(f, "{}", &url[..url::Position::AfterPath])
            }
            Self::Directory(path) => write!(f, "{}", path.display()),
            Self::Beside { name, .. } => f.write_str(name),
        }
    }
}

/// Why a store that a person named cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be looked at; the system's answer names it.
    #[error("cannot read the signatures of releases: {0}")]
    Read(std::io::Error),
    /// It is neither a file nor a directory.
    #[error("`{}` is neither a directory with signatures of releases nor a file with them", .0.display())]
    Kind(PathBuf),
    /// It is a file of something else.
    #[error("`{}` holds no signatures of releases: {why}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

impl Store {
    /// Refuses what is on this machine and cannot be used: that is a slip, and not a fault of each release.
    pub fn check(&self) -> Result<(), StoreError> {
        let Self::Directory(path) = self else { return Ok(()) };
        let kind = fs_err::metadata(path).map_err(StoreError::Read)?.file_type();
        if kind.is_dir() {
            return fs_err::read_dir(path).map(drop).map_err(StoreError::Read);
        }
        if !kind.is_file() {
            return Err(StoreError::Kind(path.clone()));
        }
        let bytes = read_map(path).map_err(StoreError::Read)?;
        let shown = path.display().to_string();
        let read = config_map::read(&bytes, &shown).map(drop);
        read.map_err(|why| StoreError::File { path: path.clone(), why })
    }
}

/// The file for clusters.
fn read_map(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    registry::regular::open(path)?.take(CONFIG_MAP_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The stores of the published releases.
pub fn built_in() -> Vec<Store> {
    BUILT_IN.iter().map(|text| text.parse().expect("an address")).collect()
}

/// What the stores have for one image.
#[derive(Debug, Default)]
pub struct Proof {
    /// The valid files and what they say, in the order of their numbers.
    pub valid: Vec<(Vec<u8>, Claim)>,
    /// Why others, or whole stores, do not count.
    pub refused: Vec<String>,
    /// The fault of a store that could not be asked.
    pub kind: Option<WireKind>,
}

/// Why one file of a store could not be had.
struct Fault {
    kind: Option<WireKind>,
    reason: String,
}

/// Looks for the signatures of `digest` at `now`, in seconds since 1970.
pub async fn prove(
    client: &Client,
    stores: &[Store],
    keys: &[PublicKey],
    digest: &Digest,
    now: u64,
) -> Proof {
    let mut proof = Proof::default();
    let mut seen = HashSet::new();
    for store in stores {
        for number in 1..=SIGNATURES_MAX {
            let file = match store.file(client, digest, number).await {
                Ok(Some(file)) => file,
                Ok(None) => break,
                Err(Fault { kind, reason }) => {
                    proof.kind = proof.kind.or(kind);
                    proof.refused.push(reason);
                    break;
                }
            };
            if !seen.insert(Digest::of(&file)) {
                continue;
            }
            match signature::verify(&file, keys, digest, now) {
                Ok(claim) => proof.valid.push((file, claim)),
                Err(error) => {
                    proof.refused.push(format!("signature-{number} in `{store}`: {error}"));
                }
            }
        }
        if !proof.valid.is_empty() {
            break;
        }
    }
    proof
}

impl Store {
    /// One file; `None` when it is not there.
    async fn file(
        &self,
        client: &Client,
        digest: &Digest,
        number: u32,
    ) -> Result<Option<Vec<u8>>, Fault> {
        let place = [format!("sha256={}", digest.hex()), format!("signature-{number}")];
        match self {
            Self::Web(base) => {
                let mut url = base.clone();
                url.path_segments_mut().expect("checked").pop_if_empty().extend(&place);
                match client.document(&url, "*/*", SIGNATURE_MAX as u64).await {
                    Ok(document) => Ok(Some(document.bytes.into())),
                    Err(error) if error.kind() == WireKind::NotFound => Ok(None),
                    Err(error) => Err(Fault { kind: Some(error.kind()), reason: reason(&error) }),
                }
            }
            Self::Beside { files, .. } => Ok(files.get(&(*digest, number)).cloned()),
            Self::Directory(path) if path.is_file() => {
                let fault = |reason| Fault { kind: None, reason };
                let bytes = read_map(path).map_err(|error| fault(reason(&error)))?;
                let shown = path.display().to_string();
                let mut files = config_map::read(&bytes, &shown)
                    .map_err(|why| fault(format!("`{shown}` holds no signatures: {why}")))?;
                Ok(files.remove(&(*digest, number)))
            }
            Self::Directory(path) => {
                let path = path.join(&place[0]).join(&place[1]);
                let read = || {
                    let mut bytes = Vec::new();
                    let file = registry::regular::open(&path)?;
                    file.take(SIGNATURE_MAX as u64 + 1).read_to_end(&mut bytes)?;
                    Ok(bytes)
                };
                match read() {
                    Ok(bytes) => Ok(Some(bytes)),
                    Err(error) if is_missing(&error) => self.none(),
                    Err(error) => Err(Fault { kind: None, reason: reason(&error) }),
                }
            }
        }
    }

    /// No signature; unless the directory itself is not there, which nobody meant.
    fn none(&self) -> Result<Option<Vec<u8>>, Fault> {
        match self {
            Self::Directory(path) if !path.is_dir() => {
                let reason = format!("there is no directory `{}`", path.display());
                Err(Fault { kind: None, reason })
            }
            _ => Ok(None),
        }
    }
}

fn is_missing(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::NotFound
}

#[cfg(test)]
mod tests {
    use super::super::keys;
    use super::super::test_key::TestKey;
    use super::*;

    #[test]
    fn stores_are_addresses_or_directories() {
        let store = |text: &str| text.parse::<Store>();
        assert_eq!(store("file:///srv/s"), Ok(Store::Directory("/srv/s".into())));
        assert_eq!(store("srv/s"), Ok(Store::Directory("srv/s".into())));
        let shown = store("https://host/a/?token=x").unwrap().to_string();
        assert_eq!(shown, "https://host/a/");
        for bad in ["", "ftp://host/x", "https://", "https://u:p@host/x"] {
            assert!(store(bad).is_err(), "{bad}");
        }
        assert_eq!(built_in().len(), 2);
    }

    #[test]
    fn what_a_person_named_must_be_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let check = |path| Store::Directory(path).check().map_err(|error| error.to_string());
        assert_eq!(check(dir.path().to_owned()), Ok(()));
        let missing = check(path("missing")).unwrap_err();
        assert!(missing.contains("missing"), "{missing}");
        crate::durable::write(&path("page"), b"<html>").unwrap();
        let page = check(path("page")).unwrap_err();
        assert!(page.contains("holds no signatures of releases"), "{page}");
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        let socket = check(path("socket")).unwrap_err();
        assert!(socket.contains("neither a directory"), "{socket}");
        for store in built_in() {
            assert!(store.check().is_ok());
        }
    }

    #[tokio::test]
    async fn all_valid_files_of_the_first_store_that_has_one_count() {
        let (Some(key), Some(other)) = (TestKey::new(), TestKey::new()) else { return };
        let client = Client::new(registry::client::ClientOptions::default()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let digest = Digest::of(b"release");
        let put = |store: &str, number: u32, bytes: &[u8]| {
            let place = dir.path().join(store).join(format!("sha256={}", digest.hex()));
            fs_err::create_dir_all(&place).unwrap();
            crate::durable::write(&place.join(format!("signature-{number}")), bytes).unwrap();
        };
        let text = digest.to_string();
        let good = key.sign(&text, "q.io/r:4.16.0-x86_64");
        put("bad", 1, b"<html>");
        put("good", 1, &other.sign(&text, "q.io/r:1"));
        put("good", 2, &good);
        put("good", 3, &good);
        put("good", 4, &key.sign(&text, "q.io/r:other"));
        // Behind a hole nothing is looked for.
        put("good", 6, &key.sign(&text, "q.io/r:hidden"));
        put("last", 1, &key.sign(&text, "q.io/r:last"));
        let stores: Vec<Store> = ["missing", "bad", "good", "last"]
            .iter()
            .map(|name| Store::Directory(dir.path().join(name)))
            .collect();
        let trusted = super::super::openpgp::key::read(&key.public()).unwrap().usable;
        let proof = prove(&client, &stores, &trusted, &digest, 1_800_000_000).await;
        let said: Vec<_> = proof.valid.iter().map(|(_, claim)| claim.reference.as_str()).collect();
        assert_eq!(said, ["q.io/r:4.16.0-x86_64", "q.io/r:other"]);
        assert_eq!(proof.refused.len(), 3, "{:?}", proof.refused);
        assert!(proof.refused[0].contains("there is no directory"));
        let none = prove(&client, &stores, &[keys::built_in()], &digest, 1_800_000_000).await;
        assert!(none.valid.is_empty());
    }
}
