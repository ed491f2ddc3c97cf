//! What the errors of the mirror registry become.

use super::{Failure, Kind};

impl From<registry::server::settings::SettingsError> for Failure {
    fn from(error: registry::server::settings::SettingsError) -> Self {
        Self::of(Kind::Usage, &error).with_hint("mend the file")
    }
}

impl From<registry::server::certificate::CertificateError> for Failure {
    fn from(error: registry::server::certificate::CertificateError) -> Self {
        use registry::server::certificate::CertificateError;
        let io = match &error {
            CertificateError::Io(io) => Some(io),
            _ => None,
        };
        let kind = match io {
            // Not the command, but what lies where the certificate goes.
            Some(io) if io.kind() == std::io::ErrorKind::InvalidInput => {
                return Self::of(Kind::Failed, &error)
                    .with_hint("remove it, and run the same command again");
            }
            Some(io) => Kind::of_io(io, Kind::Usage),
            None => Kind::Usage,
        };
        Self::of(kind, &error).hinted(io, error.hint())
    }
}

impl From<registry::server::access::AccessError> for Failure {
    fn from(error: registry::server::access::AccessError) -> Self {
        use registry::server::access::AccessError;
        let io = match &error {
            AccessError::Io(io) => Some(io),
            _ => None,
        };
        let kind = io.map_or(Kind::Usage, |io| Kind::of_io(io, Kind::Usage));
        let own = io.is_none().then(|| "mend the file, or bring it back from a backup".to_owned());
        Self::of(kind, &error).hinted(io, own)
    }
}

impl From<registry::server::access::accounts::AccountError> for Failure {
    fn from(error: registry::server::access::accounts::AccountError) -> Self {
        use registry::server::access::accounts::AccountError;
        let hint = match &error {
            AccountError::Exists(_) => {
                "`bundle registry user passwd` gives it another password, `bundle registry user grant` another role"
            }
            AccountError::Unknown(_) => "`bundle registry user list` shows who there is",
            AccountError::NotGranted(_) => {
                "`bundle registry user list` shows the roles and patterns as they are"
            }
            AccountError::Robot(_) => {
                "a new token: `bundle registry user remove`, then `user add --robot`"
            }
            AccountError::Busy(_) => "run the same command again",
            AccountError::Password(_) => "choose another one, or none: one is made and shown then",
            _ => "`--help` after the command explains its options",
        };
        let kind = match &error {
            AccountError::Busy(_) => Kind::Unavailable,
            _ => Kind::Usage,
        };
        match error {
            AccountError::Access(error) => error.into(),
            error => Self::of(kind, &error).with_hint(hint),
        }
    }
}

impl From<registry::server::ServerError> for Failure {
    fn from(error: registry::server::ServerError) -> Self {
        use registry::objects::ObjectsError;
        use registry::server::ServerError;
        use registry::store::StoreError;
        let error = match error {
            ServerError::Certificate(error) => return error.into(),
            ServerError::Access(error) => return error.into(),
            error => error,
        };
        let kind = match &error {
            ServerError::RemoteHttp(_) | ServerError::NoUsers { .. } => Kind::Usage,
            ServerError::Store(StoreError::Io(io)) => Kind::of_io(io, Kind::Failed),
            ServerError::Store(StoreError::ReadOnly | StoreError::Failed { .. }) => Kind::NoSpace,
            ServerError::Store(
                StoreError::NotAStore { .. }
                | StoreError::OverObjects { .. }
                | StoreError::FilesToo { .. },
            ) => Kind::Usage,
            ServerError::Store(StoreError::Objects(objects)) => match objects {
                ObjectsError::Unavailable { .. } => Kind::Unavailable,
                ObjectsError::Refused { .. } => Kind::Credentials,
                ObjectsError::Damaged { .. } => Kind::Damaged,
                _ => Kind::Usage,
            },
            ServerError::Store(StoreError::Locked { .. }) => Kind::Unavailable,
            ServerError::Log { error, .. } => Kind::of_io(error, Kind::NoSpace),
            _ => Kind::Failed,
        };
        let failure = Self::of(kind, &error);
        match &error {
            ServerError::RemoteHttp(_) => failure.with_hint(
                "leave `--http` out: the registry speaks TLS then, with a certificate that it makes",
            ),
            ServerError::NoUsers { data, .. } => failure.with_hint(format!(
                "make the first user: `bundle registry user add NAME --role admin --data-dir {}`",
                crate::typed::quoted(&data.display().to_string())
            )),
            ServerError::Listen { .. } => {
                failure.with_hint("name another address with `--listen 127.0.0.1:PORT`")
            }
            ServerError::Store(StoreError::Locked { path }) => {
                let by = crate::host::holder::of(path);
                let words = by.map(|pid| format!(", process {pid}")).unwrap_or_default();
                failure.with_detail(&words).with_hint(format!(
                    "one registry at a time uses a data directory: `bundle registry status --data-dir {}` says where that \
                     one answers; import into it: `bundle import --from DIR docker://HOST:PORT`; or stop it{}",
                    crate::typed::quoted(&path.display().to_string()),
                    by.map(|pid| format!(": `kill {pid}`")).unwrap_or_default()
                ))
            }
            ServerError::Store(StoreError::NotAStore { .. }) => {
                failure.with_hint("name an empty or new directory")
            }
            ServerError::Store(StoreError::OverObjects { .. }) => failure.with_hint(
                "its images are reached through the running registry: `bundle registry serve` with the \
                 `[objects]` of its registry.toml, and `bundle import` to that",
            ),
            ServerError::Store(StoreError::FilesToo { .. }) => failure.with_hint(
                "take `[objects]` out of it, or name a new directory; `skopeo sync` between two running \
                 registries carries images over",
            ),
            ServerError::Store(StoreError::Objects(objects)) => failure.with_hint(match objects {
                ObjectsError::Unavailable { .. } => {
                    "see that the `endpoint` of `[objects]` in registry.toml answers from this machine, \
                     then run the same command again"
                }
                ObjectsError::Refused { .. } => {
                    "put the right keys into the files of `access-key-file` and `secret-key-file`, and give \
                     them the right to list, read, write and delete in the bucket"
                }
                ObjectsError::NoBucket { .. } => {
                    "make the bucket with the store's own tools, or mend `bucket` of `[objects]` in registry.toml"
                }
                ObjectsError::Damaged { .. } => "restore the object from a backup of the bucket",
                _ => "mend `[objects]` in registry.toml; docs/operations.md shows it whole",
            }),
            ServerError::Store(StoreError::Io(io)) => failure.hinted(Some(io), None),
            ServerError::Log { setting, .. } => {
                let key = setting.rsplit('.').next().unwrap_or(setting);
                failure.with_hint(format!(
                    "mend the rights of that directory, or name another file in `registry.toml`,                      section `[log]`: `{key} = \"/var/log/bundle/{key}.jsonl\"`"
                ))
            }
            _ => failure,
        }
    }
}

impl From<registry::store::StoreError> for Failure {
    fn from(error: registry::store::StoreError) -> Self {
        registry::server::ServerError::from(error).into()
    }
}
