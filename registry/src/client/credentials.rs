//! Who we are at a registry: `auth.json`, `config.json`, pull secrets and credential programs.
//!
//! In: a registry and repository. Out: a credential and the place it came from. The order is that of
//! containers-auth.json(5): the first file that has an entry decides; within a file `credHelpers`,
//! then `credsStore`, then the longest key over `host/ns/repo`, then old URL-shaped keys of the same
//! host. What must hold: a credential is only found for exactly its host (CVE-2019-10214).

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use base64::Engine;
use format_spec::Repository;
use serde::Deserialize;

use super::error::Fault;
use super::secret::Secret;
use super::{files, helper, hold};
use crate::limits::SETTINGS_MAX;
use crate::reference::RegistryHost;

/// The key under which Docker keeps Docker Hub.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// A credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Credential {
    /// User name and password.
    Basic { user: String, password: Secret },
    /// A refresh token for the OAuth2 grant of the token server.
    Identity(Secret),
}

/// A credential with its origin, which may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) credential: Credential,
    pub(super) source: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Entry {
    #[serde(default)]
    auth: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    identitytoken: Option<String>,
}

/// One file, parsed.
#[derive(Debug, Default)]
pub(super) struct AuthFile {
    path: String,
    legacy: bool,
    auths: BTreeMap<String, Entry>,
    helpers: BTreeMap<String, String>,
    store: Option<String>,
}

/// All credentials of this run.
#[derive(Debug)]
pub(super) struct Credentials {
    files: Vec<AuthFile>,
    searched: Vec<PathBuf>,
    /// `credential-helpers` of registries.conf; empty means the files alone.
    programs: Vec<String>,
    /// Answers of programs, which are asked once for each host.
    answers: Mutex<HashMap<(String, String), Option<Credential>>>,
}

impl Credentials {
    /// Reads the files. An explicit file must exist; of the usual places any may be missing.
    pub(super) fn load(explicit: Option<&PathBuf>, programs: Vec<String>) -> Result<Self, Fault> {
        let explicit = explicit.cloned().or_else(|| files::env_path("REGISTRY_AUTH_FILE"));
        let mut found = Vec::new();
        let searched = match explicit {
            Some(path) => {
                let bytes = files::read(&path, SETTINGS_MAX)?.ok_or_else(|| Fault::Config {
                    path: path.display().to_string(),
                    detail: "the file does not exist".into(),
                })?;
                found.push(AuthFile::parse(&path.display().to_string(), &bytes, false)?);
                vec![path]
            }
            None => {
                let places = usual_places();
                for path in &places {
                    if let Some(bytes) = files::read(path, SETTINGS_MAX)? {
                        let legacy = path.ends_with(".dockercfg");
                        found.push(AuthFile::parse(&path.display().to_string(), &bytes, legacy)?);
                    }
                }
                places
            }
        };
        Ok(Self { files: found, searched, programs, answers: Mutex::default() })
    }

    /// The credential for a repository (or for the registry as a whole), if there is one.
    pub(super) async fn find(
        &self,
        host: &RegistryHost,
        repository: Option<&Repository>,
    ) -> Result<Option<Found>, Fault> {
        if self.programs.is_empty() {
            return self.find_in_files(host, repository).await;
        }
        for program in &self.programs {
            let found = if program == "containers-auth.json" {
                self.find_in_files(host, repository).await?
            } else {
                self.ask(program, host.as_str(), "registries.conf").await?
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Forgets what programs said for this host: their tokens age.
    pub(super) fn forget(&self, host: &RegistryHost) {
        let keys = [host.as_str(), HUB_KEY];
        let mut answers = hold(&self.answers);
        answers.retain(|(_, server), _| !keys.contains(&server.as_str()));
    }

    /// Where was looked, for the message that nothing was found.
    pub(super) fn searched(&self) -> String {
        let list: Vec<_> = self.searched.iter().map(|p| format!("`{}`", p.display())).collect();
        if list.is_empty() { "no authentication file".into() } else { list.join(", ") }
    }

    async fn find_in_files(
        &self,
        host: &RegistryHost,
        repository: Option<&Repository>,
    ) -> Result<Option<Found>, Fault> {
        for file in &self.files {
            if let Some(program) = file.helpers.get(host.as_str())
                && let Some(found) = self.ask(program, host.as_str(), &file.path).await?
            {
                return Ok(Some(found));
            }
            if let Some(program) = &file.store {
                let server = if host.is_docker_hub() { HUB_KEY } else { host.as_str() };
                match self.ask(program, server, &file.path).await {
                    Ok(Some(found)) => return Ok(Some(found)),
                    Ok(None) => {}
                    // A config.json copied from a desktop names a store that is not installed here;
                    // the entries beside it may still do.
                    Err(Fault::Helper { program, detail }) if detail == helper::ABSENT => {
                        tracing::warn!(program, file = file.path, "credential store is absent");
                    }
                    Err(fault) => return Err(fault),
                }
            }
            if let Some(found) = file.lookup(host, repository)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    async fn ask(&self, program: &str, server: &str, file: &str) -> Result<Option<Found>, Fault> {
        let key = (program.to_owned(), server.to_owned());
        let lock = || hold(&self.answers);
        let known = lock().get(&key).cloned();
        let answer = match known {
            Some(answer) => answer,
            None => {
                let answer = helper::get(program, server).await?;
                lock().insert(key, answer.clone());
                answer
            }
        };
        Ok(answer.map(|credential| Found {
            credential,
            source: format!("`docker-credential-{program}` for `{server}` (named in `{file}`)"),
        }))
    }
}

/// The usual files, first to last.
fn usual_places() -> Vec<PathBuf> {
    let mut places = Vec::new();
    match files::env_path("XDG_RUNTIME_DIR") {
        Some(dir) => places.push(dir.join("containers/auth.json")),
        None => {
            let (user, all) = (rustix::process::getuid().as_raw(), Path::new("/run/containers"));
            // Root's podman makes this directory for root alone; then nobody else has a login in it.
            if rustix::fs::access(all, rustix::fs::Access::EXEC_OK).is_ok() {
                places.push(all.join(format!("{user}/auth.json")));
            }
        }
    }
    places.extend(files::containers_dir().map(|dir| dir.join("auth.json")));
    match files::env_path("DOCKER_CONFIG") {
        Some(dir) => places.push(dir.join("config.json")),
        None => places.extend(files::home().map(|home| home.join(".docker/config.json"))),
    }
    places.extend(files::home().map(|home| home.join(".dockercfg")));
    places
}

impl AuthFile {
    pub(super) fn parse(path: &str, bytes: &[u8], legacy: bool) -> Result<Self, Fault> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Document {
            #[serde(default)]
            auths: Option<BTreeMap<String, Entry>>,
            #[serde(default)]
            cred_helpers: Option<BTreeMap<String, String>>,
            #[serde(default)]
            creds_store: Option<String>,
        }
        // The parser's own message could quote a secret: only the place is told.
        let fault = |error: serde_json::Error| Fault::Config {
            path: path.to_owned(),
            detail: format!(
                "not a valid authentication file (line {}, column {})",
                error.line(),
                error.column()
            ),
        };
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self { path: path.to_owned(), legacy, ..Self::default() });
        }
        if legacy {
            let auths = serde_json::from_slice(bytes).map_err(fault)?;
            return Ok(Self { path: path.to_owned(), legacy, auths, ..Self::default() });
        }
        let document: Document = serde_json::from_slice(bytes).map_err(fault)?;
        Ok(Self {
            path: path.to_owned(),
            legacy,
            auths: document.auths.unwrap_or_default(),
            helpers: document.cred_helpers.unwrap_or_default(),
            store: document.creds_store.filter(|store| !store.is_empty()),
        })
    }

    pub(super) fn lookup(
        &self,
        host: &RegistryHost,
        repository: Option<&Repository>,
    ) -> Result<Option<Found>, Fault> {
        let mut keys = Vec::new();
        if let Some(repository) = repository.filter(|_| !self.legacy) {
            let mut key = format!("{host}/{repository}");
            while key.len() > host.as_str().len() {
                keys.push(key.clone());
                key.truncate(key.rfind('/').unwrap_or(0));
            }
        }
        keys.push(host.as_str().to_owned());
        for key in keys {
            if let Some(entry) = self.auths.get(&key) {
                // An entry without content is what `docker login` leaves beside a credential store.
                return self.decode(&key, entry);
            }
        }
        let wanted = canonical(host.as_str());
        for (key, entry) in &self.auths {
            if host_of_key(key, self.legacy) == wanted {
                return self.decode(key, entry);
            }
        }
        Ok(None)
    }

    fn decode(&self, key: &str, entry: &Entry) -> Result<Option<Found>, Fault> {
        let source = format!("key `{key}` of `{}`", self.path);
        let found = |credential| Ok(Some(Found { credential, source: source.clone() }));
        if let Some(token) = entry.identitytoken.as_ref().filter(|token| !token.is_empty()) {
            return found(Credential::Identity(Secret::new(token.clone())));
        }
        if let Some(auth) = entry.auth.as_ref().filter(|auth| !auth.is_empty()) {
            let fault = |detail: &str| Fault::Config {
                path: self.path.clone(),
                detail: format!("key `{key}`: {detail}"),
            };
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(auth.trim())
                .map_err(|_| fault("`auth` is not base64"))?;
            let text =
                String::from_utf8(bytes).map_err(|_| fault("`auth` is not text inside base64"))?;
            let (user, password) =
                text.split_once(':').ok_or_else(|| fault("`auth` is not `user:password`"))?;
            // Docker pads short values with zero bytes.
            let password = Secret::new(password.trim_matches('\0').to_owned());
            return found(Credential::Basic { user: user.to_owned(), password });
        }
        match (&entry.username, &entry.password) {
            (Some(user), Some(password)) if !user.is_empty() => found(Credential::Basic {
                user: user.clone(),
                password: Secret::new(password.clone()),
            }),
            _ => Ok(None),
        }
    }
}

/// The three names of Docker Hub are one.
fn canonical(host: &str) -> &str {
    match host {
        "docker.io" | "registry-1.docker.io" => "index.docker.io",
        host => host,
    }
}

/// The host that an old, URL-shaped key means (`https://host/v1/`).
fn host_of_key(key: &str, legacy: bool) -> &str {
    let bare = key.strip_prefix("http://").unwrap_or(key);
    let bare = bare.strip_prefix("https://").unwrap_or(bare);
    let bare = if legacy || bare.len() != key.len() {
        bare.split('/').next().unwrap_or_default()
    } else {
        bare
    };
    canonical(bare)
}

#[cfg(test)]
#[path = "credentials_tests.rs"]
mod tests;
