//! What other machines and clusters are told, so that they trust the registry and may pull from it.
//!
//! In: the registry's name and port, its authority, and what a person and a cluster log in with. Out: commands to copy, by the
//! tool that they are for. What must hold: each of them can be run as it stands, on any machine and by a person who is
//! not root; the authority's certificate stands in them, as the data directory is closed to everybody else; the only secret in them
//! may pull and nothing else.

use std::fmt::Write as _;

use base64::Engine as _;
use registry::server::certificate::Authority;
use serde::Serialize;

use crate::typed::quoted;

/// A registry, as its clients see it.
#[derive(Debug)]
pub struct Seen<'a> {
    /// `NAME:PORT`.
    pub host: &'a str,
    /// Whom clients must trust.
    pub authority: &'a Authority,
    /// Whether somebody brought the certificate, so that clients of the site may trust its authority already.
    pub brought: bool,
    /// Who may push.
    pub user: Option<&'a str>,
    /// A robot that may pull, and its token, where it was made here.
    pub puller: Option<(&'a str, &'a str)>,
    /// The program and its data directory on the registry's machine.
    pub program: &'a str,
    /// The data directory.
    pub data: &'a str,
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
        vec![
            self.file(),
            self.podman(),
            self.containerd(),
            system(),
            install_config(),
            self.cluster(),
            self.pull_secret(),
            self.import(),
        ]
    }

    /// Logging in, as podman does it.
    pub fn login(&self) -> String {
        format!("podman login --username {} {}", self.user.unwrap_or("NAME"), self.host)
    }

    /// The file that the other commands take.
    fn file(&self) -> Told {
        let name = crate::output::plain(&self.authority.name);
        let whole = match self.brought {
            false => String::new(),
            true => ", unless it trusts that authority already; then leave out what names ca.crt"
                .to_owned(),
        };
        let (title, lines) = match &self.authority.pem {
            Some(pem) => (
                format!(
                    "first, on each machine that is told something below: the authority `{name}` as ca.crt{whole}"
                ),
                format!("cat >ca.crt <<'END'\n{pem}END"),
            ),
            None => (
                format!(
                    "first: the certificate of the authority `{name}` in PEM as ca.crt, on each machine{whole}"
                ),
                "# the registry has it not: who gave its certificate out has it\n\
                 openssl x509 -in ca.crt -noout -subject   # must name that authority"
                    .to_owned(),
            ),
        };
        Told { tool: "authority", title, lines }
    }

    fn podman(&self) -> Told {
        Told {
            tool: "podman",
            title: "podman, skopeo, buildah, CRI-O".to_owned(),
            lines: format!(
                "sudo install -D -m 0644 ca.crt /etc/containers/certs.d/{host}/ca.crt\n\
                 # without root: install -D -m 0644 ca.crt ~/.config/containers/certs.d/{host}/ca.crt\n\
                 # for docker: /etc/docker/certs.d/{host}/ca.crt",
                host = self.host
            ),
        }
    }

    fn containerd(&self) -> Told {
        let host = self.host;
        let file = format!("/etc/containerd/certs.d/{host}");
        Told {
            tool: "containerd",
            title:
                "containerd, with `config_path = \"/etc/containerd/certs.d\"` in its config.toml"
                    .to_owned(),
            lines: format!(
                "sudo install -D -m 0644 ca.crt {file}/ca.crt\n\
                 sudo tee {file}/hosts.toml >/dev/null <<'END'\n\
                 server = \"https://{host}\"\n\
                 [host.\"https://{host}\"]\n  capabilities = [\"pull\", \"resolve\"]\n  ca = \"{file}/ca.crt\"\n\
                 END"
            ),
        }
    }

    fn cluster(&self) -> Told {
        // A key of a ConfigMap has no colon, and no bracket.
        let key = self.host.replace(':', "..");
        if key.contains('[') {
            return Told {
                tool: "openshift",
                title: "an OpenShift cluster that runs".to_owned(),
                lines: "# additionalTrustedCA takes no address of version 6, as its keys may have no bracket: give the registry a \
                        name, `install --hostname NAME`, or put ca.crt into the bundle that proxy/cluster names as trustedCA"
                    .to_owned(),
            };
        }
        Told {
            tool: "openshift",
            title: "an OpenShift cluster that runs".to_owned(),
            lines: format!(
                "oc create configmap bundle-registry-ca -n openshift-config --from-file={key}=ca.crt\n\
                 oc patch image.config.openshift.io/cluster --type merge \
                 -p '{{\"spec\":{{\"additionalTrustedCA\":{{\"name\":\"bundle-registry-ca\"}}}}}}'\n\
                 # where additionalTrustedCA names a ConfigMap already, add the key to that one instead"
            ),
        }
    }

    fn pull_secret(&self) -> Told {
        let mut lines = String::new();
        if let Some((robot, token)) = self.puller {
            let auth = base64::engine::general_purpose::STANDARD.encode(format!("{robot}:{token}"));
            let entry = serde_json::json!({ "auths": { self.host: { "auth": auth } } });
            let _ = writeln!(
                lines,
                "(umask 077; echo '{entry}' >registry-secret.json)\n\
                 (umask 077; jq -s '.[0] * .[1]' pull-secret.json registry-secret.json >merged.json)   # into what the site has"
            );
        } else {
            let _ = writeln!(
                lines,
                "# on the registry's machine, a robot that may pull, and its token:\n\
                 sudo {} registry user add NAME --robot --role pull --data-dir {}\n\
                 podman login --username NAME --authfile merged.json {}   # adds to what is in that file",
                quoted(self.program),
                quoted(self.data),
                self.host
            );
        }
        lines += "oc set data secret/pull-secret -n openshift-config --from-file=.dockerconfigjson=merged.json   # of a \
                  cluster that runs";
        let title = match self.puller {
            Some((robot, _)) => {
                format!(
                    "the pull secret: of the robot `{robot}`, which may pull and nothing else; shown this once"
                )
            }
            None => "the pull secret".to_owned(),
        };
        Told { tool: "pull-secret", title, lines }
    }

    fn import(&self) -> Told {
        Told {
            tool: "bundle",
            title: "filling it from a medium, as a user who may push".to_owned(),
            lines: format!(
                "bundle keys trust FILE   # once: the public key of the connected side, after comparing its id by telephone\n\
                 {} --authfile registry-auth.json\n\
                 bundle import --from DIR docker://{} --ca-file ca.crt --authfile registry-auth.json",
                self.login(),
                self.host,
            ),
        }
    }
}

fn install_config() -> Told {
    Told {
        tool: "openshift-install",
        title: "a new OpenShift cluster: this at the end of install-config.yaml".to_owned(),
        lines: "{ echo 'additionalTrustBundle: |'; sed 's/^/  /' ca.crt; } >>install-config.yaml"
            .to_owned(),
    }
}

fn system() -> Told {
    Told {
        tool: "system",
        title: "every program of a machine".to_owned(),
        lines: "sudo install -m 0644 ca.crt /etc/pki/ca-trust/source/anchors/bundle-registry.crt && sudo update-ca-trust   # \
                Fedora, RHEL\n\
                sudo install -m 0644 ca.crt /usr/local/share/ca-certificates/bundle-registry.crt && sudo \
                update-ca-certificates   # Debian"
            .to_owned(),
    }
}

/// All of it as text.
pub fn text(told: &[Told]) -> String {
    let mut text = String::new();
    for Told { title, lines, .. } in told {
        let _ = writeln!(text, "\n{title}:");
        // As it stands, so that it can be copied whole: the end of a `<<'END'` begins its line.
        let _ = writeln!(text, "{lines}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_is_told_and_only_the_pull_secret_is_one() {
        let authority = Authority { name: "CN=ca".into(), pem: Some("-----BEGIN\n".into()) };
        let mut seen = Seen {
            host: "mirror.site:8443",
            authority: &authority,
            brought: false,
            user: Some("init"),
            puller: Some(("cluster", "secret-word")),
            program: "/opt/my bundle",
            data: "/srv/registry",
        };
        let told = seen.told();
        let tools: Vec<_> = told.iter().map(|told| told.tool).collect();
        assert_eq!(
            tools,
            [
                "authority",
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
        assert!(text.contains("\ncat >ca.crt <<'END'\n-----BEGIN\nEND\n"), "{text}");
        assert!(text.contains("ca.crt /etc/containers/certs.d/mirror.site:8443/ca.crt"));
        assert!(text.contains("--from-file=mirror.site..8443=ca.crt"));
        assert!(text.contains("ca = \"/etc/containerd/certs.d/mirror.site:8443/ca.crt\""));
        assert!(text.contains("\"auth\":\"Y2x1c3RlcjpzZWNyZXQtd29yZA==\""));
        assert!(!text.contains("secret-word"));
        // Nobody can show a token again; of a site's own authority it is said whose certificate is needed.
        let site = Authority { name: "CN=Site CA".into(), pem: None };
        seen = Seen { puller: None, brought: true, authority: &site, ..seen };
        let own = super::text(&seen.told());
        assert!(!own.contains("\"auth\"") && own.contains("`CN=Site CA`"), "{own}");
        let add = "'/opt/my bundle' registry user add NAME --robot --role pull --data-dir /srv/registry\n";
        assert!(own.contains(add), "{own}");
        // A key of a ConfigMap has letters, digits, `-`, `_` and `.` only.
        let six = super::text(&Seen { host: "[2001:db8::5]:8443", ..seen }.told());
        assert!(!six.contains("--from-file=[") && six.contains("no address of version 6"), "{six}");
    }
}
