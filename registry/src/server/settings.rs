//! What a person has settled about a registry: `registry.toml` in its data directory.
//!
//! In and out: the file. What must hold: an unknown key is refused by name; every value has a default, so
//! an empty file and no file are the same; paths in it are relative to the data directory.

use std::ffi::OsStr;
use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Component, Path, PathBuf};

use format_spec::Digest;
use serde::{Deserialize, Serialize};

pub use super::logs::LogSettings;
use super::period::{Every, Period};
use crate::objects::ObjectsSettings;
use crate::regular;
use crate::size::Size;
use crate::store::UPLOAD_LIFETIME;

/// The name of the file in the data directory.
pub const FILE: &str = "registry.toml";

/// Bytes of the file; an honest one has less than two thousand.
const FILE_MAX: u64 = 256 * 1024;

/// The port when nothing is said.
pub const PORT: u16 = 5000;

/// What is settled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Address and port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// The name that clients use, without a port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Further names and addresses that clients may use.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Refuse every change.
    pub read_only: bool,
    /// The certificate; one of our own when nothing is said.
    #[serde(skip_serializing_if = "Tls::is_own")]
    pub tls: Tls,
    /// Who may come.
    #[serde(skip_serializing_if = "Access::is_closed")]
    pub access: Access,
    /// What is kept, and how much of it.
    #[serde(skip_serializing_if = "Storage::is_usual")]
    pub storage: Storage,
    /// Where the logs go.
    #[serde(skip_serializing_if = "LogSettings::is_default")]
    pub log: LogSettings,
    /// Who may read the counters.
    #[serde(skip_serializing_if = "MetricsSettings::is_default")]
    pub metrics: MetricsSettings,
    /// Where the images are, when not in files of the data directory. A table, so it comes last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objects: Option<ObjectsSettings>,
}

/// Who may read `/metrics`, besides everybody who logs in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct MetricsSettings {
    /// Everybody.
    pub anonymous: bool,
}

impl MetricsSettings {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Who may come, besides users and robots.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Access {
    /// What those may do who do not log in.
    pub anonymous: Anonymous,
}

impl Access {
    fn is_closed(&self) -> bool {
        *self == Self::default()
    }
}

/// What those may do who do not log in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Anonymous {
    /// Nothing.
    #[default]
    None,
    /// Pull, from every repository.
    Pull,
}

/// A certificate that a person brings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Tls {
    /// The certificate in PEM, with those that vouch for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// Its key in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// Whether it may be good for other names only, as where clients come through a proxy.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub any_name: bool,
}

impl Tls {
    fn is_own(&self) -> bool {
        *self == Self::default()
    }

    /// Certificate and key, as paths of this process. Settings that were read have both or none.
    pub fn pair(&self, data: &Path) -> Option<(PathBuf, PathBuf)> {
        Some((data.join(self.certificate.as_ref()?), data.join(self.key.as_ref()?)))
    }
}

/// What is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Storage {
    /// How often garbage is collected.
    pub collect_every: Every,
    /// What was touched within this time is not garbage.
    pub grace: Period,
    /// The most that blobs, manifests and unfinished uploads may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<Size>,
    /// What stays free on the disk: 1 GiB when nothing is said, or 5 % of the file system where that is less. A
    /// gibibyte lets manifests, logs and the file system itself go on while somebody makes room; of a disk of
    /// a few gibibytes it would take a large part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reserve: Option<Size>,
}

impl Storage {
    fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

impl Storage {
    fn has_room(&self) -> bool {
        self.quota.is_some() || self.reserve.is_some()
    }
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            collect_every: Every(Some(Period::hours(24))),
            grace: Period::hours(24),
            quota: None,
            reserve: None,
        }
    }
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use `{path}`: {problem}")]
pub struct SettingsError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong, with line and column where it is the text.
    pub problem: String,
}

impl Settings {
    /// Reads the settings of a data directory; `None` when it has none.
    ///
    /// # Errors
    /// The file cannot be read or says what is not understood.
    pub fn load(data: &Path) -> Result<Option<Self>, SettingsError> {
        let path = data.join(FILE);
        let fail = |problem: String| SettingsError { path: path.clone(), problem };
        let file = match regular::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fail(error.to_string())),
        };
        let mut text = String::new();
        let read = file.take(FILE_MAX + 1).read_to_string(&mut text);
        if read.map_err(|error| fail(error.to_string()))? as u64 > FILE_MAX {
            return Err(fail(format!("it is larger than {FILE_MAX} bytes")));
        }
        Self::parse(&text).map(Some).map_err(fail)
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// It says what is not understood, or what does not go together.
    pub fn parse(text: &str) -> Result<Self, String> {
        let settings: Self =
            toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        settings.check()?;
        Ok(settings)
    }

    /// Whether all of it goes together.
    ///
    /// # Errors
    /// What does not.
    pub fn check(&self) -> Result<(), String> {
        if self.tls.certificate.is_some() != self.tls.key.is_some() {
            return Err("`[tls]` needs both `certificate` and `key`, or none of them".to_owned());
        }
        if self.objects.is_some() && self.storage.has_room() {
            return Err(
                "`storage.quota` and `storage.reserve` are for files, and `[objects]` says that the images are in object \
                 storage: set a quota of the bucket there"
                    .to_owned(),
            );
        }
        let least = UPLOAD_LIFETIME.as_secs() / 3600;
        if self.storage.grace < Period::hours(least) {
            return Err(format!(
                "`storage.grace` is `{}`, and less than `{least}h` would take blobs from uploads that \
                 are under way",
                self.storage.grace
            ));
        }
        Ok(())
    }

    /// The names in the data directory that hold files which the settings name: keys and certificates that a person put
    /// there.
    pub fn files(&self) -> Vec<&OsStr> {
        let objects = self.objects.as_ref();
        let named = [
            self.tls.certificate.as_ref(),
            self.tls.key.as_ref(),
            objects.and_then(|objects| objects.ca_file.as_ref()),
            objects.and_then(|objects| objects.access_key_file.as_ref()),
            objects.and_then(|objects| objects.secret_key_file.as_ref()),
        ];
        let relative = named.into_iter().flatten().filter(|path| path.is_relative());
        let first =
            relative.filter_map(|path| path.components().find(|part| *part != Component::CurDir));
        first.map(Component::as_os_str).collect()
    }

    /// What a person said that clients call this registry.
    pub fn names(&self) -> Vec<String> {
        self.hostname.iter().chain(&self.names).cloned().collect()
    }

    /// The text of the file.
    pub fn to_text(&self) -> String {
        toml::to_string(self).expect("the settings have no map with other keys than text")
    }

    /// What tells these settings from others: everything in the file counts at the start only.
    pub fn mark(&self) -> String {
        Digest::of(self.to_text().as_bytes()).hex()
    }

    /// Where to listen.
    pub fn listen(&self) -> SocketAddr {
        self.listen.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_the_unknown_is_named() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Settings::load(dir.path()).unwrap(), None);
        let settings = Settings {
            listen: Some("0.0.0.0:8443".parse().unwrap()),
            hostname: Some("mirror.example".to_owned()),
            names: vec!["10.0.0.5".to_owned()],
            read_only: true,
            log: LogSettings { access: Some("log/access.jsonl".to_owned()), audit: None },
            metrics: MetricsSettings { anonymous: true },
            access: Access { anonymous: Anonymous::Pull },
            tls: Tls {
                certificate: Some("tls/mine.crt".into()),
                key: Some("/etc/mine.key".into()),
                any_name: true,
            },
            storage: Storage {
                collect_every: Every(None),
                grace: "30h".parse().unwrap(),
                ..Storage::default()
            },
            objects: Some(ObjectsSettings {
                bucket: "mirror".to_owned(),
                endpoint: Some("https://s3.example:9000".to_owned()),
                ..ObjectsSettings::default()
            }),
        };
        let pair = settings.tls.pair(Path::new("/data")).unwrap();
        assert_eq!(pair, ("/data/tls/mine.crt".into(), "/etc/mine.key".into()));
        fs_err::write(dir.path().join(FILE), settings.to_text()).unwrap();
        assert_eq!(Settings::load(dir.path()).unwrap(), Some(settings));
        fs_err::write(dir.path().join(FILE), "hostnam = \"a\"\n").unwrap();
        let error = Settings::load(dir.path()).unwrap_err().to_string();
        assert!(error.contains("hostnam") && error.contains("registry.toml"), "{error}");
        fs_err::write(dir.path().join(FILE), "[tls]\ncertificate = \"a\"\n").unwrap();
        let error = Settings::load(dir.path()).unwrap_err().to_string();
        assert!(error.contains("both"), "{error}");
        for (text, said) in [
            ("[storage]\ngrace = \"90m\"\n", "uploads"),
            ("[storage]\ncollect-every = \"often\"\n", "`never`"),
            ("[storage]\nquota = \"500G\"\n", "unknown unit `G`"),
            ("[storage]\nreserve = -1\n", "-1"),
            ("[storage]\nquota = 1\n[objects]\nbucket = \"b\"\n", "object storage"),
        ] {
            fs_err::write(dir.path().join(FILE), text).unwrap();
            let error = Settings::load(dir.path()).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        let text = "[storage]\nquota = \"500GiB\"\nreserve = 0\n";
        fs_err::write(dir.path().join(FILE), text).unwrap();
        let read = Settings::load(dir.path()).unwrap().unwrap();
        assert_eq!(read.storage.quota, Some(Size::new(500 << 30)));
        assert_eq!(read.storage.reserve, Some(Size::new(0)));
        assert!(read.to_text().contains("quota = \"500GiB\""), "{}", read.to_text());
    }
}
