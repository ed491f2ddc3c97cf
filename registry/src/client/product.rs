//! Which registry answers, as far as it changes what is done or said.
//!
//! In: the host's name, and the headers of the first contact, which every registry sends anyway. Out: a
//! [`Product`], or [`Product::Other`], which is treated by how it behaves. A guess from headers proves
//! nothing: it words a message and chooses between ways that are both right, never what is trusted.

use reqwest::header::{HeaderMap, SERVER, WWW_AUTHENTICATE};

use super::challenge;
use crate::reference::RegistryHost;

/// A registry that needs something of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// JFrog Artifactory.
    Artifactory,
    /// Amazon's registry.
    Ecr,
    /// GitHub's registry.
    Ghcr,
    /// GitLab's registry.
    GitLab,
    /// Google's Artifact Registry, and `gcr.io`, which became one.
    Google,
    /// Harbor.
    Harbor,
    /// Sonatype Nexus.
    Nexus,
    /// The registry inside an OpenShift cluster.
    OpenShift,
    /// Quay.
    Quay,
    /// Any other: CNCF distribution, zot, our own.
    Other,
}

impl Product {
    /// The product behind these headers of `/v2/`.
    pub(super) fn of(host: &RegistryHost, headers: &HeaderMap) -> Self {
        let name = host.as_str().split(':').next().unwrap_or_default().to_ascii_lowercase();
        let by_name = Self::of_name(&name);
        if by_name != Self::Other {
            return by_name;
        }
        let lines = headers.get_all(WWW_AUTHENTICATE);
        for (_, parameters) in
            lines.iter().filter_map(|line| line.to_str().ok()).flat_map(challenge::parse)
        {
            let get = |wanted: &str| {
                let mut all = parameters.iter();
                all.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map_or("", |(_, v)| v)
            };
            let product = Self::of_login(get("realm"), get("service"));
            if product != Self::Other {
                return product;
            }
        }
        let server = headers.get(SERVER).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match server.split('/').next().unwrap_or_default() {
            "Nexus" => Self::Nexus,
            "Artifactory" => Self::Artifactory,
            _ if headers.contains_key("x-artifactory-id")
                || headers.contains_key("x-jfrog-version") =>
            {
                Self::Artifactory
            }
            _ if headers.contains_key("x-registry-supports-signatures") => Self::OpenShift,
            _ => Self::Other,
        }
    }

    /// Registries of clouds have names of their own, also where they are reached inside a closed network.
    fn of_name(host: &str) -> Self {
        // `ACCOUNT.dkr.ecr.REGION.amazonaws.com`; closed regions end otherwise.
        if host.contains(".dkr.ecr.") || host.contains(".dkr-ecr.") {
            return Self::Ecr;
        }
        if host.ends_with("-docker.pkg.dev") || host == "gcr.io" || host.ends_with(".gcr.io") {
            return Self::Google;
        }
        if host == "ghcr.io" { Self::Ghcr } else { Self::Other }
    }

    /// How a registry asks for a login.
    fn of_login(realm: &str, service: &str) -> Self {
        let path = realm.split_once("://").and_then(|(_, rest)| rest.split_once('/'));
        let path = path.map_or("", |(_, path)| path);
        match (path, service) {
            ("service/token", _) | (_, "harbor-registry") => Self::Harbor,
            ("jwt/auth", _) => Self::GitLab,
            ("openshift/token", _) => Self::OpenShift,
            ("v2/auth", _) => Self::Quay,
            (_, "ecr.amazonaws.com") => Self::Ecr,
            _ if realm == "Artifactory Realm" || path.contains("api/docker/") => Self::Artifactory,
            _ if realm.starts_with("Sonatype Nexus") => Self::Nexus,
            // The others name themselves as their service.
            _ => Self::of_name(service),
        }
    }

    /// Whether an upload can come in parts. Google's refuses every `PATCH` of a series (skopeo#1101).
    pub(super) fn takes_parts(self) -> bool {
        self != Self::Google
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    fn of(host: &str, headers: &[(&str, &str)]) -> Product {
        let headers = headers.iter().map(|(name, value)| {
            (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
        });
        Product::of(&host.parse().unwrap(), &headers.collect())
    }

    #[test]
    fn registries_are_known_by_what_they_send_anyway() {
        use Product::{
            Artifactory, Ecr, Ghcr, GitLab, Google, Harbor, Nexus, OpenShift, Other, Quay,
        };
        let login = "www-authenticate";
        for (host, header, value, expected) in [
            ("1234.dkr.ecr.eu-west-1.amazonaws.com", "server", "x", Ecr),
            ("r.lan", login, r#"Basic realm="https://r.lan/",service="ecr.amazonaws.com""#, Ecr),
            ("europe-docker.pkg.dev", "server", "x", Google),
            ("eu.gcr.io", "server", "x", Google),
            ("ghcr.io", "server", "x", Ghcr),
            (
                "r.lan",
                login,
                r#"Bearer realm="https://r.lan/v2/token",service="eu-docker.pkg.dev""#,
                Google,
            ),
            ("r.lan", login, r#"Bearer realm="https://r.lan/token",service="ghcr.io""#, Ghcr),
            (
                "r.lan",
                login,
                r#"Bearer realm="https://r.lan/service/token",service="harbor-registry""#,
                Harbor,
            ),
            (
                "r.lan:5050",
                login,
                r#"Bearer realm="https://r.lan/jwt/auth",service="container_registry""#,
                GitLab,
            ),
            // Gitea names its service like GitLab.
            (
                "r.lan",
                login,
                r#"Bearer realm="https://r.lan/v2/token",service="container_registry""#,
                Other,
            ),
            ("r.lan", login, r#"Bearer realm="https://r.lan/v2/auth",service="r.lan""#, Quay),
            ("r.lan", login, r#"Bearer realm="https://r.lan/openshift/token""#, OpenShift),
            ("r.lan", "x-registry-supports-signatures", "1", OpenShift),
            ("r.lan", login, r#"Basic realm="Artifactory Realm""#, Artifactory),
            (
                "r.lan",
                login,
                r#"Bearer realm="https://r.lan/artifactory/api/docker/local/v2/token",service="r.lan""#,
                Artifactory,
            ),
            ("r.lan", "x-jfrog-version", "Artifactory/7.1", Artifactory),
            ("r.lan", login, r#"BASIC realm="Sonatype Nexus Repository Manager""#, Nexus),
            ("r.lan", "server", "Nexus/3.70.0 (OSS)", Nexus),
            ("r.lan", login, r#"Bearer realm="https://auth.r.lan/token",service="r""#, Other),
            ("r.lan", login, r#"Basic realm="Authorization Required""#, Other),
            ("r.lan", "docker-distribution-api-version", "registry/2.0", Other),
            // A name that only looks like one of a cloud.
            ("docker.pkg.dev.lan", "server", "nginx", Other),
        ] {
            assert_eq!(of(host, &[(header, value)]), expected, "{host} {header}: {value}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(realm in "[ -~]{0,60}", server in "[ -~]{0,40}") {
            of("r.lan", &[("www-authenticate", &format!("Bearer {realm}")), ("server", &server)]);
        }
    }
}
