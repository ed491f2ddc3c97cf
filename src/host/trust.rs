//! What other machines and clusters are told, so that they trust the registry and may pull from it.
//!
//! In: the registry's name and port, its authority's certificate, and what a person logs in with. Out: commands to copy, by
//! the tool that they are for. What must hold: each of them can be run as it stands; a password is in them only where
//! the person has none yet.

use std::fmt::Write as _;
use std::path::Path;

use base64::Engine as _;
use serde::Serialize;

use crate::typed::quoted;

/// A registry, as its clients see it.
#[derive(Debug)]
pub struct Seen<'a> {
    /// `NAME:PORT`.
    pub host: &'a str,
    /// The certificate to trust; `None` when it is one of the site's own authority.
    pub ca: Option<&'a Path>,
    /// The first user, and the password where it was made here.
    pub user: Option<(&'a str, Option<&'a str>)>,
}

/// Commands for one tool.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Told {
    /// The name in JSON.
    pub tool: &'static str,
    /// The headline.
    pub title: String,
    /// What to run, or to write into a file.
    pub lines: String,
}

impl Seen<'_> {
    /// Everything that is to be told.
    pub fn told(&self) -> Vec<Told> {
        let mut all = Vec::new();
        if let Some(ca) = self.ca {
            let shown = quoted(&ca.display().to_string());
            all.extend([
                self.podman(&shown),
                self.containerd(&shown),
                system(&shown),
                self.install_config(&shown),
                self.cluster(&shown),
            ]);
        }
        all.extend([self.pull_secret(), self.import()]);
        all
    }

    /// Logging in, as podman does it.
    pub fn login(&self) -> String {
        let user = self.user.map(|(name, _)| name).unwrap_or("NAME");
        format!("podman login --username {user} {}", self.host)
    }

    fn podman(&self, ca: &str) -> Told {
        Told {
            tool: "podman",
            title: "podman, skopeo, buildah, CRI-O".to_owned(),
            lines: format!(
                "install -D -m 0644 {ca} /etc/containers/certs.d/{host}/ca.crt\n\
                 # without root: ~/.config/containers/certs.d/{host}/ca.crt; for docker: /etc/docker/certs.d/{host}/ca.crt",
                host = self.host
            ),
        }
    }

    fn containerd(&self, ca: &str) -> Told {
        let host = self.host;
        let file = format!("/etc/containerd/certs.d/{host}");
        Told {
            tool: "containerd",
            title:
                "containerd, with `config_path = \"/etc/containerd/certs.d\"` in its config.toml"
                    .to_owned(),
            lines: format!(
                "install -D -m 0644 {ca} {file}/ca.crt\n\
                 cat >{file}/hosts.toml <<'END'\n\
                 server = \"https://{host}\"\n\
                 [host.\"https://{host}\"]\n  capabilities = [\"pull\", \"resolve\"]\n  ca = \"{file}/ca.crt\"\n\
                 END"
            ),
        }
    }

    fn install_config(&self, ca: &str) -> Told {
        Told {
            tool: "openshift-install",
            title: "a new OpenShift cluster: this at the end of install-config.yaml".to_owned(),
            lines: format!(
                "{{ echo 'additionalTrustBundle: |'; sed 's/^/  /' {ca}; }} >>install-config.yaml"
            ),
        }
    }

    fn cluster(&self, ca: &str) -> Told {
        // A key of a ConfigMap has no colon.
        let key = self.host.replace(':', "..");
        Told {
            tool: "openshift",
            title: "an OpenShift cluster that runs".to_owned(),
            lines: format!(
                "oc create configmap bundle-registry-ca -n openshift-config --from-file={key}={ca}\n\
                 oc patch image.config.openshift.io/cluster --type merge \
                 -p '{{\"spec\":{{\"additionalTrustedCA\":{{\"name\":\"bundle-registry-ca\"}}}}}}'\n\
                 # where additionalTrustedCA names a ConfigMap already, add the key to that one instead"
            ),
        }
    }

    fn pull_secret(&self) -> Told {
        let mut lines = String::new();
        if let Some((user, Some(password))) = self.user {
            let auth =
                base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
            let entry = serde_json::json!({ "auths": { self.host: { "auth": auth } } });
            let _ = writeln!(
                lines,
                "echo '{entry}' >registry-secret.json\n\
                 jq -s '.[0] * .[1]' pull-secret.json registry-secret.json >merged.json   # into what the site has"
            );
        } else {
            let _ = writeln!(
                lines,
                "{} --authfile merged.json   # adds to what is in that file",
                self.login()
            );
        }
        lines += "oc set data secret/pull-secret -n openshift-config --from-file=.dockerconfigjson=merged.json   # of a \
                  cluster that runs";
        Told { tool: "pull-secret", title: "the pull secret".to_owned(), lines }
    }

    fn import(&self) -> Told {
        let ca = self.ca.map(|ca| format!(" --ca-file {}", quoted(&ca.display().to_string())));
        Told {
            tool: "bundle",
            title: "filling it from a medium".to_owned(),
            lines: format!(
                "{} --authfile registry-auth.json\n\
                 bundle import --from DIR docker://{}{} --authfile registry-auth.json",
                self.login(),
                self.host,
                ca.unwrap_or_default()
            ),
        }
    }
}

fn system(ca: &str) -> Told {
    Told {
        tool: "system",
        title: "every program of a machine".to_owned(),
        lines: format!(
            "cp {ca} /etc/pki/ca-trust/source/anchors/bundle-registry.crt && update-ca-trust   # Fedora, RHEL\n\
             cp {ca} /usr/local/share/ca-certificates/bundle-registry.crt && update-ca-certificates   # Debian"
        ),
    }
}

/// All of it as text.
pub fn text(told: &[Told]) -> String {
    let mut text = String::new();
    for Told { title, lines, .. } in told {
        let _ = writeln!(text, "\n{title}:");
        for line in lines.lines() {
            let _ = writeln!(text, "  {line}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_is_told_and_a_password_only_once_made_here() {
        let ca = Path::new("/srv/a b/tls/ca.crt");
        let mut seen = Seen {
            host: "mirror.site:8443",
            ca: Some(ca),
            user: Some(("init", Some("secret-word"))),
        };
        let told = seen.told();
        let tools: Vec<_> = told.iter().map(|told| told.tool).collect();
        assert_eq!(
            tools,
            [
                "podman",
                "containerd",
                "system",
                "openshift-install",
                "openshift",
                "pull-secret",
                "bundle"
            ]
        );
        let text = text(&told);
        assert!(
            text.contains("'/srv/a b/tls/ca.crt' /etc/containers/certs.d/mirror.site:8443/ca.crt")
        );
        assert!(text.contains("--from-file=mirror.site..8443='/srv/a b/tls/ca.crt'"));
        assert!(text.contains("ca = \"/etc/containerd/certs.d/mirror.site:8443/ca.crt\""));
        assert!(text.contains("\"auth\":\"aW5pdDpzZWNyZXQtd29yZA==\""));
        assert!(!text.contains("secret-word"));
        // Somebody's own password is not repeated, and a site's own authority is known already.
        seen.user = Some(("init", None));
        seen.ca = None;
        let own = super::text(&seen.told());
        assert!(!own.contains("\"auth\"") && !own.contains("ca.crt"), "{own}");
    }
}
