//! Who may do what: every request passes here before its object is touched.
//!
//! 1. `files` reads `users` and `robots`, `roles` reads `roles.toml` (with `pattern`), `state` puts them together; [`Access::look`] reads
//!    them again when they change.
//! 2. `scope` reads what a request proves itself with; `login` verifies passwords, slowly for those who guess (`attempts`) and in turns
//!    (`queue`); `token` reads what this registry signed.
//! 3. [`Access::check`] puts both together: a [`Caller`], or the refusal of the specification with the way to log in.
//! 4. `endpoint` answers `/token`, where a login becomes a token.
//! 5. [`accounts`] changes the files, for the `bundle registry user` commands.
//!
//! In: headers of requests, files of people. Out: who it is, and what they may do now: what a token grants and the roles no longer do is
//! refused. What must hold: a broken file keeps what held before; a request with a good token or a password seen before costs
//! microseconds; nothing is allowed that no file grants.

pub mod accounts;
mod attempts;
mod endpoint;
pub mod files;
mod login;
mod pattern;
mod queue;
pub mod roles;
mod scope;
mod state;
mod token;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use format_spec::Repository;
use http::header::{AUTHORIZATION, HOST, RETRY_AFTER, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{Method, StatusCode};

pub(super) use self::attempts::block;
use self::files::LineError;
use self::login::{Login, Refused};
use self::roles::Action;
use self::scope::{Proof, Scope};
pub(super) use self::state::has_files;
use self::state::{Seen, State};
use self::token::Signer;
use super::answer::Fault;
use super::audit;
use super::logs::Logs;
use super::route::Route;
use super::settings::{Anonymous, Settings};

/// The users' file in the data directory.
pub const USERS: &str = "users";
/// The robots' file.
pub const ROBOTS: &str = "robots";
/// The roles' file.
pub const ROLES: &str = "roles.toml";

/// How the registry calls itself in challenges and tokens.
const SERVICE: &str = "bundle-registry";

/// Why access cannot be regulated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// A file cannot be read or written.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// A line of `users` or `robots`.
    #[error(transparent)]
    Line(#[from] LineError),
    /// The roles.
    #[error("cannot use `{path}`: {problem}")]
    Roles {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// The rules, and who was verified lately.
pub(super) struct Access {
    data: PathBuf,
    state: RwLock<Arc<State>>,
    seen: Mutex<Seen>,
    login: Login,
    signer: Signer,
    anonymous_pull: bool,
    logs: Arc<Logs>,
    refused: AtomicU64,
    /// What clients call this registry when they do not say it.
    authority: String,
}

/// Who sent a request.
#[derive(Clone)]
pub(super) enum Caller {
    /// There are no users: whoever can connect.
    Everyone,
    /// Nobody, who may pull.
    Anonymous,
    /// Somebody.
    Known(Arc<Known>),
}

/// Somebody who was verified.
pub(super) struct Known {
    name: String,
    state: Arc<State>,
    /// What the token grants; with a password there is no such bound.
    granted: Option<Vec<Scope>>,
    anonymous_pull: bool,
}

impl Caller {
    /// Whether they may do this now, with what they proved themselves with.
    pub(super) fn may(&self, action: Action, repository: &Repository) -> bool {
        match self {
            Self::Everyone => true,
            Self::Anonymous => action == Action::Pull,
            Self::Known(known) => {
                known.may(action, repository.as_str())
                    && known.granted(|scope| {
                        scope.kind == "repository"
                            && scope.name == repository.as_str()
                            && scope.has(action)
                    })
            }
        }
    }

    /// Whose share of what is limited a request takes: a name's, else that of where it comes from.
    pub(super) fn who(&self, address: IpAddr) -> String {
        match self {
            Self::Known(known) => format!("user {}", known.name),
            Self::Everyone | Self::Anonymous => format!("address {}", block(address)),
        }
    }

    /// Whether a list of repositories may show them this one, where they may see the list.
    pub(super) fn sees(&self, repository: &str) -> bool {
        match self {
            Self::Everyone | Self::Anonymous => true,
            Self::Known(known) => known.may(Action::Pull, repository),
        }
    }

    /// Whether they may see on the web page what is in this one: a token opens there what it opens elsewhere.
    pub(super) fn opens(&self, repository: &str) -> bool {
        repository.parse().is_ok_and(|repository| self.may(Action::Pull, &repository))
    }

    /// Whether that holds of every repository below this one, whatever it is called; of all, where it is empty.
    pub(super) fn opens_all_below(&self, repository: &str) -> bool {
        match self {
            Self::Everyone | Self::Anonymous => true,
            // Scopes name single repositories.
            Self::Known(known) => {
                known.granted.is_none()
                    && (known.anonymous_pull
                        || known.state.roles.may_below(&known.name, Action::Pull, repository))
            }
        }
    }
}

impl Known {
    fn may(&self, action: Action, repository: &str) -> bool {
        (self.anonymous_pull && action == Action::Pull)
            || self.state.roles.may(&self.name, action, repository)
    }

    fn granted(&self, covers: impl Fn(&Scope) -> bool) -> bool {
        self.granted.as_ref().is_none_or(|scopes| scopes.iter().any(covers))
    }
}

/// What a request needs.
enum Need<'a> {
    Login,
    /// The web page, of which everybody sees what they may pull.
    Page,
    Catalog,
    In(&'a Repository, Action),
}

impl<'a> Need<'a> {
    fn of(method: &Method, route: &'a Route) -> Self {
        let reading = matches!(*method, Method::GET | Method::HEAD);
        let changing = match *method {
            Method::DELETE => Action::Delete,
            _ => Action::Push,
        };
        match route {
            Route::Page(_) => Self::Page,
            Route::Root | Route::Token | Route::Alive | Route::Ready | Route::Metrics => {
                Self::Login
            }
            Route::Catalog => Self::Catalog,
            Route::Uploads(repository) | Route::Upload(repository, _) => {
                Self::In(repository, Action::Push)
            }
            Route::Tags(repository)
            | Route::Blob(repository, _)
            | Route::Manifest(repository, _)
            | Route::Referrers(repository, _) => {
                Self::In(repository, if reading { Action::Pull } else { changing })
            }
        }
    }

    /// What to ask the token server for.
    fn scope(&self) -> Option<Scope> {
        match self {
            Self::Login | Self::Page => None,
            Self::Catalog => Some(Scope::catalog()),
            Self::In(repository, Action::Pull) => {
                Some(Scope::repository(repository.as_str(), &[Action::Pull]))
            }
            Self::In(repository, Action::Push) => {
                Some(Scope::repository(repository.as_str(), &[Action::Pull, Action::Push]))
            }
            Self::In(repository, Action::Delete) => {
                Some(Scope::repository(repository.as_str(), &[Action::Pull, Action::Delete]))
            }
        }
    }
}

impl Access {
    /// Reads the files of a data directory.
    pub(super) fn open(
        data: &Path,
        settings: &Settings,
        listen: SocketAddr,
        may_write: bool,
        logs: Arc<Logs>,
    ) -> Result<Self, AccessError> {
        let signer = Signer::open(data, may_write)?;
        let seen = Seen::of(data);
        let state = State::load(data, &signer)?;
        let authority = match &settings.hostname {
            Some(name) => format!("{name}:{}", listen.port()),
            None => listen.to_string(),
        };
        Ok(Self {
            data: data.to_owned(),
            state: RwLock::new(Arc::new(state)),
            seen: Mutex::new(seen),
            login: Login::new()?,
            signer,
            anonymous_pull: settings.access.anonymous == Anonymous::Pull,
            logs,
            refused: AtomicU64::new(0),
            authority,
        })
    }

    /// Whether there are users at all.
    pub(super) fn is_guarded(&self) -> bool {
        self.state().guarded
    }

    /// Logins refused so far.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The same for a command of this machine, which says who gave it.
    pub(super) fn changed_by(&self, by: &str) {
        if !self.look(Some(by)) {
            audit::announced(&self.logs, by);
        }
    }

    /// Reads the files again if one changed, and says whether. What is broken, or gone, changes nothing, and what is empty only if it stays so.
    pub(super) fn look(&self, by: Option<&str>) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.state();
        let Some(after) = seen.look(&self.data, &self.signer, &before, Instant::now()) else {
            return false;
        };
        let after = Arc::new(after);
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&after);
        audit::changed(&self.logs, &before.marks, &after.marks, by);
        tracing::info!(
            users = after.users.len(),
            robots = after.robots.len(),
            "users, robots and roles were read again"
        );
        true
    }

    /// Why not all of what the files say now counts; paths are in it.
    pub(super) fn problem(&self) -> Option<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).problem.clone()
    }

    /// Who sends this, and that they may. The name is told of those as well who may not.
    pub(super) async fn check(
        &self,
        parts: &Parts,
        route: &Route,
        address: IpAddr,
        user: &mut Option<Arc<str>>,
    ) -> Result<Caller, Fault> {
        let need = Need::of(&parts.method, route);
        let Some(caller) = self.who(parts, address, &need).await? else {
            return match need {
                Need::Page | Need::In(_, Action::Pull) if self.anonymous_pull => {
                    Ok(Caller::Anonymous)
                }
                _ => Err(self.unknown(parts, need.scope().as_ref(), None, "log in first")),
            };
        };
        let Caller::Known(known) = &caller else { return Ok(caller) };
        *user = Some(known.name.as_str().into());
        let (allowed, covered) = match &need {
            Need::Login | Need::Page => (true, true),
            // The list shows only what its reader may pull.
            Need::Catalog => (true, known.granted(Scope::is_catalog)),
            Need::In(repository, action) => {
                (known.may(*action, repository.as_str()), caller.may(*action, repository))
            }
        };
        match (allowed, covered) {
            (true, true) => Ok(caller),
            (true, false) => {
                let scope = need.scope();
                Err(self.unknown(
                    parts,
                    scope.as_ref(),
                    Some("insufficient_scope"),
                    "the token does not grant this",
                ))
            }
            (false, _) => Err(denied(&known.name, &need)),
        }
    }

    /// Who sends this; `None` when they do not say.
    async fn who(
        &self,
        parts: &Parts,
        address: IpAddr,
        need: &Need<'_>,
    ) -> Result<Option<Caller>, Fault> {
        let state = self.state();
        if !state.guarded {
            return Ok(Some(Caller::Everyone));
        }
        let Some(header) = parts.headers.get(AUTHORIZATION) else { return Ok(None) };
        let scope = need.scope();
        let wrong =
            |error: Option<&str>, text: &str| Err(self.unknown(parts, scope.as_ref(), error, text));
        let (name, granted) = match header.to_str().ok().and_then(scope::proof) {
            Some(Proof::Basic(name, password)) => {
                self.log_in(&state, &name, &password, address).await.map_err(|refused| {
                    match refused {
                        Refused::Wrong => {
                            self.unknown(parts, scope.as_ref(), None, "wrong user name or password")
                        }
                        Refused::Wait(time) => busy(time),
                        Refused::Full => full(),
                    }
                })?;
                (name, None)
            }
            Some(Proof::Bearer(token)) => match self.signer.read(token) {
                Some(claims) if claims.sub.is_empty() => return Ok(None),
                Some(claims) if state.marks.get(&claims.sub) == Some(&claims.mark) => {
                    (claims.sub, Some(claims.access))
                }
                _ => return wrong(Some("invalid_token"), "the token is not good any more"),
            },
            None => return wrong(None, "the header `Authorization` is neither Basic nor Bearer"),
        };
        if state.robots.get(&name).is_some_and(login::has_ended) {
            return wrong(None, "the robot's token has ended");
        }
        let anonymous_pull = self.anonymous_pull;
        Ok(Some(Caller::Known(Arc::new(Known { name, state, granted, anonymous_pull }))))
    }

    async fn log_in(
        &self,
        state: &Arc<State>,
        name: &str,
        password: &str,
        address: IpAddr,
    ) -> Result<(), Refused> {
        let first = self.login.verify(state, name, password, address).await;
        if first.is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        match &first {
            Ok(true) => audit::login(&self.logs, name, address, true),
            Err(Refused::Wrong) => audit::login(&self.logs, name, address, false),
            Ok(false) | Err(Refused::Wait(_) | Refused::Full) => {}
        }
        first.map(|_| ())
    }

    /// 401, with both ways to log in; Bearer first, as some clients take the first that they know.
    fn unknown(
        &self,
        parts: &Parts,
        scope: Option<&Scope>,
        error: Option<&str>,
        text: &str,
    ) -> Fault {
        let authority = self.authority(parts);
        let mut bearer =
            format!("Bearer realm=\"https://{authority}/token\",service=\"{SERVICE}\"");
        if let Some(scope) = scope {
            bearer += &format!(",scope=\"{scope}\"");
        }
        if let Some(error) = error {
            bearer += &format!(",error=\"{error}\"");
        }
        Fault::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", text)
            .field(WWW_AUTHENTICATE, bearer)
            .field(WWW_AUTHENTICATE, format!("Basic realm=\"{SERVICE}\""))
    }

    /// What the client calls this registry: it may have several names, and be reached through another port.
    fn authority<'a>(&'a self, parts: &'a Parts) -> &'a str {
        let said = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
        let letters = |c: u8| c.is_ascii_alphanumeric() || b"-._:[]".contains(&c);
        said.filter(|it| !it.is_empty() && it.len() <= 300 && it.bytes().all(letters))
            .unwrap_or(&self.authority)
    }
}

fn denied(name: &str, need: &Need<'_>) -> Fault {
    let text = match need {
        Need::In(repository, action) => {
            format!("`{name}` has no right to {} in `{repository}`", action.name())
        }
        Need::Login | Need::Page | Need::Catalog => format!("`{name}` has no right to this"),
    };
    Fault::new(StatusCode::FORBIDDEN, "DENIED", text)
}

fn busy(time: std::time::Duration) -> Fault {
    let seconds = time.as_secs() + 1;
    let text = format!("too many failed logins: try again in {seconds} s");
    Fault::new(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", text)
        .field(RETRY_AFTER, seconds.to_string())
}

fn full() -> Fault {
    let text = format!(
        "too many logins at once from one address: {} wait; try again in 2 s",
        queue::WAITING_MAX
    );
    Fault::new(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", text).field(RETRY_AFTER, "2")
}
