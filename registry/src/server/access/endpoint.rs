//! `/token`: a login becomes a token (distribution's token authentication specification; the OAuth2 form of it).
//!
//! In: GET with Basic and `scope`s, as docker and podman send it, or POST of a form, as containerd does. Out: a token with
//! what was asked for and the roles grant. What must hold: a scope that is not granted is left out, not refused: the client learns of it
//! at the request itself.

use std::net::IpAddr;

use http::header::{AUTHORIZATION, CACHE_CONTROL, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Limited};
use jiff::Timestamp;
use serde_json::json;

use super::login::Refused;
use super::roles::Action;
use super::scope::{self, Proof, Scope};
use super::{Access, SERVICE, State, busy, full, token};
use crate::server::account::Received;
use crate::server::answer::{Answer, Fault};
use crate::server::limits::STALL;
use crate::server::route::Query;

/// Bytes of a form.
const FORM_MAX: usize = 64 * 1024;

/// Scopes of one token: a push that mounts from many repositories asks for some.
const SCOPES_MAX: usize = 64;

impl Access {
    /// Answers `/token`.
    pub(in crate::server) async fn token(
        &self,
        parts: &Parts,
        body: &mut Received,
        address: IpAddr,
    ) -> Result<Answer, Fault> {
        match parts.method {
            Method::GET | Method::HEAD => {
                let query = Query::new(parts.uri.query());
                let header = parts.headers.get(AUTHORIZATION);
                let login = match header.map(|it| it.to_str().ok().and_then(scope::proof)) {
                    None => None,
                    Some(Some(Proof::Basic(name, password))) => Some((name, password)),
                    Some(_) => return Err(refused("this endpoint takes Basic")),
                };
                self.grant(login, query.all("scope"), address).await
            }
            Method::POST => {
                let form = form(body).await?;
                let form = Query::new(Some(&form));
                match form.get("grant_type").as_deref() {
                    Some("password") => {}
                    // None is ever given out, so none can be right.
                    Some("refresh_token") => {
                        return Err(refused("refresh tokens are not used here"));
                    }
                    _ => {
                        let text = "`grant_type` has to be `password`";
                        return Err(Fault::new(StatusCode::BAD_REQUEST, "UNSUPPORTED", text));
                    }
                }
                let login = (
                    form.get("username").unwrap_or_default(),
                    form.get("password").unwrap_or_default(),
                );
                self.grant(Some(login), form.all("scope"), address).await
            }
            _ => Err(Fault::unsupported("tokens have GET and POST")),
        }
    }

    async fn grant(
        &self,
        login: Option<(String, String)>,
        scopes: impl Iterator<Item = String>,
        address: IpAddr,
    ) -> Result<Answer, Fault> {
        let state = self.state();
        let (name, mark) = match login {
            Some((name, password)) => {
                self.log_in(&state, &name, &password, address).await.map_err(|it| match it {
                    Refused::Wrong => refused("wrong user name or password"),
                    Refused::Wait(time) => busy(time),
                    Refused::Full => full(),
                })?;
                if state.robots.get(&name).is_some_and(super::login::has_ended) {
                    return Err(refused("the robot's token has ended"));
                }
                let mark = state.marks.get(&name).cloned().unwrap_or_default();
                (name, mark)
            }
            None if self.anonymous_pull => (String::new(), String::new()),
            None => return Err(refused("log in first")),
        };
        let mut access = Vec::new();
        for scopes in scopes {
            // One parameter may hold several.
            for text in scopes.split_ascii_whitespace() {
                if access.len() < SCOPES_MAX
                    && let Some(asked) = Scope::parse(text)
                {
                    access.extend(self.granted(&state, &name, &asked));
                }
            }
        }
        let (token, made) = self.signer.sign(&name, &mark, access);
        let issued = i64::try_from(made).ok().and_then(|it| Timestamp::from_second(it).ok());
        let body = json!({
            "token": token,
            "access_token": token,
            "expires_in": token::LIFE.as_secs(),
            "issued_at": issued.map(|it| it.to_string()),
        });
        Ok(Answer::json(StatusCode::OK, "application/json", &body)
            .header(CACHE_CONTROL, "no-store"))
    }

    /// What of a scope is granted; `None` when nothing is.
    fn granted(&self, state: &State, name: &str, asked: &Scope) -> Option<Scope> {
        if asked.is_catalog() {
            return (!name.is_empty()).then(Scope::catalog);
        }
        if asked.kind != "repository" {
            return None;
        }
        let may = |action: &Action| {
            asked.has(*action)
                && ((self.anonymous_pull && *action == Action::Pull)
                    || state.roles.may(name, *action, &asked.name))
        };
        let actions: Vec<Action> =
            [Action::Pull, Action::Push, Action::Delete].into_iter().filter(may).collect();
        (!actions.is_empty()).then(|| Scope::repository(&asked.name, &actions))
    }
}

/// 401 of the token server itself.
fn refused(text: &str) -> Fault {
    Fault::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", text)
        .field(WWW_AUTHENTICATE, format!("Basic realm=\"{SERVICE}\""))
}

async fn form(body: &mut Received) -> Result<String, Fault> {
    let bad = |text: &str| Fault::new(StatusCode::BAD_REQUEST, "UNSUPPORTED", text);
    let bytes = tokio::time::timeout(STALL, Limited::new(body, FORM_MAX).collect())
        .await
        .map_err(|_| bad("the form did not arrive"))?
        .map_err(|_| bad("the form is too large or ended early"))?
        .to_bytes();
    String::from_utf8(bytes.to_vec()).map_err(|_| bad("the form is not text"))
}
