//! Names of things in registries: hosts, references, push targets.
//!
//! In: text that a person or a configuration wrote. Out: values that hold the grammar. A host is
//! never guessed (`redis:7` is an error), because the same text would mean different images at
//! different sites.

use std::fmt;
use std::str::FromStr;

use format_spec::names::NameError;
use format_spec::{Digest, Repository, Tag};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Characters of a host with its port (RFC 1035: 253, and `:65535`).
const HOST_MAX: usize = 259;

/// Why a text does not name a registry, an image or a target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Not `host`, `host:port`, `[v6]` or `[v6]:port`.
    #[error("not a registry host (expected `host` or `host:port`): `{0}`")]
    Host(String),
    /// The first component cannot be a host, so the reference has none.
    #[error("the image has no registry host (for Docker Hub write `{suggestion}`): `{text}`")]
    NoHost {
        /// What was written.
        text: String,
        /// The same with docker.io before it.
        suggestion: String,
    },
    /// A host and nothing after it.
    #[error("the reference has no repository after the host: `{0}`")]
    NoRepository(String),
    /// The repository or tag breaks the grammar.
    #[error("{error} in `{text}`")]
    Name {
        /// Which rule was broken.
        error: NameError,
        /// What was written.
        text: String,
    },
    /// The digest is malformed or of another algorithm.
    #[error("{error} in `{text}`")]
    Digest {
        /// What is wrong with it.
        error: format_spec::digest::DigestError,
        /// What was written.
        text: String,
    },
    /// A target without `docker://`.
    #[error("the target must be written as `docker://host[:port][/namespace]`: `{0}`")]
    Scheme(String),
    /// A target that names one image.
    #[error("the target is a registry and namespace, without tag or digest: `{0}`")]
    TargetIsImage(String),
}

fn clip(text: &str) -> String {
    text.chars().take(crate::limits::QUOTE_MAX).collect()
}

/// A registry: `host`, `host:port` or `[::1]:5000`, lower case. Never `index.docker.io`: that is
/// `docker.io`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegistryHost(String);

impl RegistryHost {
    /// The text, with the port if one was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host without port; an IPv6 address keeps its brackets.
    pub fn host(&self) -> &str {
        split_port(&self.0).0
    }

    /// The port, if one was given.
    pub fn port(&self) -> Option<u16> {
        split_port(&self.0).1.and_then(|port| port.parse().ok())
    }

    /// Whether this name, written for a set of registries, means `other` too: without a port it means every port of
    /// its host. A registry whose name has no port answers at `default`.
    pub fn covers(&self, other: &Self, default: u16) -> bool {
        let port = |host: &Self| host.port().unwrap_or(default);
        self.host() == other.host() && self.port().is_none_or(|own| own == port(other))
    }

    /// This registry at the port at which it answers, and at no other.
    #[must_use]
    pub fn with_port(&self, default: u16) -> Self {
        match self.port() {
            Some(_) => self.clone(),
            None => Self(format!("{}:{default}", self.0)),
        }
    }

    /// This machine: 127/8, ::1, `localhost` or a name below it (RFC 6761).
    pub fn is_loopback(&self) -> bool {
        is_loopback_name(self.host())
    }

    /// Docker Hub, whose wire host and credential keys differ from its name.
    pub fn is_docker_hub(&self) -> bool {
        self.0 == "docker.io"
    }
}

/// Whether this host name or address (IPv6 with or without brackets) is this machine.
pub(crate) fn is_loopback_name(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<std::net::IpAddr>() {
        return address.is_loopback();
    }
    bare == "localhost" || bare.ends_with(".localhost")
}

fn split_port(text: &str) -> (&str, Option<&str>) {
    if let Some(end) = text.find(']') {
        return match text.get(end + 1..) {
            Some(rest) if rest.starts_with(':') => (&text[..=end], Some(&rest[1..])),
            _ => (&text[..=end], None),
        };
    }
    match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    }
}

impl FromStr for RegistryHost {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let fault = || ReferenceError::Host(clip(text));
        if text.is_empty() || text.len() > HOST_MAX {
            return Err(fault());
        }
        let lower = text.to_ascii_lowercase();
        let (host, port) = split_port(&lower);
        let host_ok = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            Some(v6) => {
                v6.parse::<std::net::Ipv6Addr>().is_ok()
                    && lower.len() == host.len() + port.map_or(0, |p| p.len() + 1)
            }
            None => host.split('.').all(|label| {
                let bytes = label.as_bytes();
                let alnum = |c: &u8| c.is_ascii_lowercase() || c.is_ascii_digit();
                !bytes.is_empty()
                    && bytes.len() <= 63
                    && bytes.first().is_some_and(alnum)
                    && bytes.last().is_some_and(alnum)
                    && bytes.iter().all(|c| alnum(c) || *c == b'-' || *c == b'_')
            }),
        };
        let port_ok = port.is_none_or(|port| {
            port.bytes().all(|c| c.is_ascii_digit())
                && !port.starts_with('0')
                && port.parse::<u16>().is_ok()
        });
        if !host_ok || !port_ok {
            return Err(fault());
        }
        Ok(match lower.as_str() {
            "index.docker.io" | "registry-1.docker.io" => Self("docker.io".to_owned()),
            _ => Self(lower),
        })
    }
}

impl fmt::Display for RegistryHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RegistryHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RegistryHost({})", self.0)
    }
}

/// An image, index or artifact in a registry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// Where it is.
    pub registry: RegistryHost,
    /// Its repository there.
    pub repository: Repository,
    /// Its tag, if one was written.
    pub tag: Option<Tag>,
    /// Its digest, if one was written. With a tag, the digest decides what is pulled.
    pub digest: Option<Digest>,
}

impl Reference {
    /// `host/repository`, without tag and digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// What a pull asks for: the digest if there is one, else the tag; `None` when neither was
    /// written.
    pub fn manifest_ref(&self) -> Option<ManifestRef> {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => Some(ManifestRef::Digest(*digest)),
            (None, Some(tag)) => Some(ManifestRef::Tag(tag.clone())),
            (None, None) => None,
        }
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let body = text.strip_prefix("docker://").unwrap_or(text);
        // The first component is always the host: guessing whether `team/app` means a host `team`
        // or Docker Hub would give the same text two meanings.
        let Some((host, rest)) = body.split_once('/') else {
            // `quay.io` alone is a host without a repository; `redis:7` is an image without a host.
            if body.contains('.') && body.parse::<RegistryHost>().is_ok() {
                return Err(ReferenceError::NoRepository(clip(text)));
            }
            return Err(ReferenceError::NoHost {
                text: clip(text),
                suggestion: clip(&format!("docker.io/library/{body}")),
            });
        };
        let registry: RegistryHost = host.parse()?;
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) => {
                let digest = digest
                    .parse()
                    .map_err(|error| ReferenceError::Digest { error, text: clip(text) })?;
                (rest, Some(digest))
            }
            None => (rest, None),
        };
        let name = |error| ReferenceError::Name { error, text: clip(text) };
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path, Some(tag.parse().map_err(name)?)),
            None => (rest, None),
        };
        if path.is_empty() {
            return Err(ReferenceError::NoRepository(clip(text)));
        }
        // Docker Hub's official images live below `library/`; everywhere else a single component
        // is a repository of its own.
        let repository: Repository = if registry.is_docker_hub() && !path.contains('/') {
            format!("library/{path}").parse().map_err(name)?
        } else {
            path.parse().map_err(name)?
        };
        Ok(Self { registry, repository, tag, digest })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// Where things are pushed to: a registry and, below it, a namespace for everything.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// The registry.
    pub registry: RegistryHost,
    /// The path before every repository; `None` is the top of the registry.
    pub namespace: Option<Repository>,
}

impl FromStr for Target {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let body = text
            .strip_prefix("docker://")
            .ok_or_else(|| ReferenceError::Scheme(clip(text)))?
            .trim_end_matches('/');
        let (host, namespace) = match body.split_once('/') {
            Some((host, path)) => (host, Some(path)),
            None => (body, None),
        };
        let registry: RegistryHost = host.parse()?;
        if namespace.is_some_and(|path| path.contains([':', '@'])) || host.contains('@') {
            return Err(ReferenceError::TargetIsImage(clip(text)));
        }
        let namespace = namespace
            .map(str::parse)
            .transpose()
            .map_err(|error| ReferenceError::Name { error, text: clip(text) })?;
        Ok(Self { registry, namespace })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "docker://{}", self.registry)?;
        match &self.namespace {
            Some(namespace) => write!(f, "/{namespace}"),
            None => Ok(()),
        }
    }
}

macro_rules! text_serde {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
text_serde!(RegistryHost, Reference, Target);

/// What a manifest is asked for by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ManifestRef {
    /// A tag, which may move.
    Tag(Tag),
    /// A digest, which names exactly these bytes.
    Digest(Digest),
}

impl From<Tag> for ManifestRef {
    fn from(tag: Tag) -> Self {
        Self::Tag(tag)
    }
}

impl From<Digest> for ManifestRef {
    fn from(digest: Digest) -> Self {
        Self::Digest(digest)
    }
}

impl fmt::Display for ManifestRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => write!(f, "{tag}"),
            Self::Digest(digest) => write!(f, "{digest}"),
        }
    }
}

#[cfg(test)]
#[path = "reference_tests.rs"]
mod tests;
