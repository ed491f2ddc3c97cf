//! What to do next about each fault of the wire: a person reads it beside the error.

use super::error::{Fault, TlsCause, Used};

impl Fault {
    /// What to do next; nothing where the error says it all.
    pub(super) fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unauthorized { status: 401, used: Used::From(place), .. }
            | Self::TokenRefused { withheld: false, used: Used::From(place), .. } => format!(
                    "the credentials that were refused came from {place}: correct them there \
                     (`podman login --authfile` writes such a file), or name another file with \
                     `--authfile FILE`"
                ),
            Self::Unauthorized { host, status: 401, .. } => format!(
                "log in with `podman login {host}`, or name the file that has the credentials \
                 with `--authfile FILE`"
            ),
            Self::Unauthorized { host, .. } => format!(
                "the account may lack the right, or the repository does not exist; check the \
                 account's rights on `{host}`"
            ),
            Self::TargetRefused { target, host, .. } => format!(
                "the address that `{host}` signed may have ended: run the same command again; if it \
                 stays, check this machine's clock, the proxies before `{target}`, and the rights of \
                 `{host}` on its object store"
            ),
            Self::Redirect { from, to } => {
                let https = "let the registry redirect to https, or not at all (CNCF distribution: \
                             `storage.redirect.disable: true`)";
                match to.strip_prefix("http://") {
                    // Nothing leads from TLS to plain HTTP.
                    Some(store) if from.starts_with("http://") => format!(
                        "if `{store}` is the store of this registry: `--plain-http {store}`; \
                         otherwise {https}"
                    ),
                    _ => https.into(),
                }
            }
            Self::Realm { host, .. } => format!(
                "let `{host}` name a token server over https (CNCF distribution: \
                 `auth.token.realm`)"
            ),
            Self::TokenRefused { withheld: true, realm, .. } => format!(
                "credentials are not sent to a token server of another domain; if `{realm}` is \
                 right, put it into `BUNDLE_TRUSTED_REALMS`"
            ),
            Self::TokenRefused { host, .. } => format!(
                "check the account, or log in again with `podman login {host}`, or name the file \
                 that has the credentials with `--authfile FILE`"
            ),
            Self::Tls { cause: TlsCause::NotTls, host, .. } => {
                format!("if the registry speaks plain HTTP on purpose: `--plain-http {host}`")
            }
            Self::Tls { cause: TlsCause::UnknownAuthority, .. } => {
                "name the authority that signed the registry's certificate: `--ca-file FILE`".into()
            }
            Self::Tls { cause: TlsCause::ClientCertificate, host, .. } => format!(
                "put the client certificate and its key into \
                 `/etc/containers/certs.d/{host}/client.cert` and `client.key`"
            ),
            Self::Tls { .. } => {
                "check the host's name, its certificate and this machine's clock".into()
            }
            Self::NotFound { codes, .. } if codes.iter().any(|code| code == "NAME_UNKNOWN") => {
                "check the repository's name; some registries want a repository or project to be \
                 made before the first push"
                    .into()
            }
            Self::UnknownHost { host, .. } if !host.contains('.') => format!(
                "the first component is the registry's host; an image on Docker Hub is written \
                 `docker.io/{host}/…`"
            ),
            Self::UnknownHost { .. } => "check the host's spelling and the name server".into(),
            Self::Connect { .. } => {
                "check that the registry runs and that the port is right".into()
            }
            Self::Busy { .. } | Self::Broken { .. } | Self::Stalled { .. } | Self::Short { .. } => {
                "run the same command again: it goes on where it stopped".into()
            }
            Self::Answered { host, status: 401 | 403 | 407, .. } => format!(
                "no credentials are sent to `{host}`: check the address, and the proxy on the way there"
            ),
            Self::Answered { host, .. } if self.is_passing() => {
                format!("`{host}` may answer later: run the same command again")
            }
            Self::Answered { host, .. } => format!("check the address: this is what `{host}` says of it"),
            Self::Blocked { file, .. } => format!("change the entry in `{file}`"),
            Self::Refused { codes, .. }
                if codes.iter().any(|code| code == "MANIFEST_BLOB_UNKNOWN") =>
            {
                "the registry takes no index whose children it does not have: leave `platforms` out \
                 and run `bundle create --full`, or let the registry take them (CNCF distribution \
                 3: `validation.manifests.indexes.platforms: none`)"
                    .into()
            }
            Self::Refused { status: 507 | 403, .. } => {
                "free space at the registry, or raise the project's quota there, then run the same command again: it goes on where it \
                 stopped"
                    .into()
            }
            Self::Refused { status: 413, .. } => {
                "the registry, or a proxy before it, limits the size of a request: raise the limit \
                 there"
                    .into()
            }
            Self::Refused { status: 405, .. } => {
                "the registry is read-only now (a mirror, a cache, or under maintenance), or a proxy before it lets no \
                 writing through"
                    .into()
            }
            Self::Refused { .. } => "the registry's log says why it refused the request".into(),
            Self::SpeaksTls { host } => format!(
                "leave `{host}` out of `--plain-http` (and `insecure = true` out of `registries.conf`)"
            ),
            Self::Protocol(_) => {
                "check the host: a proxy, a login page or another service may answer in its place, or \
                 the registry gives out a wrong address of its own"
                    .into()
            }
            Self::Changed { .. } => {
                "something between this machine and the registry changes content, or the registry does: \
                 look for a proxy that rewrites JSON or line ends, go past it, then run the same command \
                 again"
                    .into()
            }
            Self::Lost { .. } => {
                "run the same command again: it sends what the registry has lost; if that stays, the \
                 registry's log and storage say why"
                    .into()
            }
            Self::Digest { .. } | Self::Size { .. } => {
                "run the same command again; if it stays, the registry's storage or a proxy before it damages \
                 content: pull this with another client to see"
                    .into()
            }
            Self::DigestThere { .. } => {
                "the registry stored something else than it was sent: check its storage and the \
                 proxies before it"
                    .into()
            }
            _ => return None,
        })
    }
}
