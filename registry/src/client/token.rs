//! Bearer tokens: fetched once, shared, renewed before they end.
//!
//! In: a challenge and scopes. Out: a token. What must hold: one fetch at a time for one scope; age is
//! measured by a monotonic clock from before the request, so a wrong clock on either side changes
//! nothing; credentials go only where [`super::challenge::realm_rule`] allows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use format_spec::Repository;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use serde::Deserialize;
use url::Url;

use super::answer::{answer_fault, bounded};
use super::challenge::{Bearer, RealmRule, realm_rule};
use super::credentials::{Credential, Found};
use super::error::{Fault, Used};
use super::headers::authority;
use super::secret::Secret;
use super::session::{Session, basic};
use super::{Core, hold};
use crate::limits::{ANSWER_MAX, TOKEN_LIFE, TOKEN_LIFE_MAX};

/// What a request needs leave for, in the words of the token specification.
#[derive(Clone, Debug, Default)]
pub(super) struct Scopes {
    /// Whose credentials are used.
    pub(super) repository: Option<Repository>,
    list: Vec<String>,
}

impl Scopes {
    pub(super) fn none() -> Self {
        Self::default()
    }

    pub(super) fn pull(repository: &Repository) -> Self {
        Self::of(repository, "pull")
    }

    pub(super) fn push(repository: &Repository) -> Self {
        Self::of(repository, "pull,push")
    }

    pub(super) fn delete(repository: &Repository) -> Self {
        Self::of(repository, "pull,push,delete")
    }

    /// A mount reads from another repository: the same token must allow it.
    pub(super) fn and_pull(mut self, source: &Repository) -> Self {
        self.list.push(format!("repository:{source}:pull"));
        self
    }

    fn of(repository: &Repository, actions: &str) -> Self {
        Self {
            repository: Some(repository.clone()),
            list: vec![format!("repository:{repository}:{actions}")],
        }
    }

    pub(super) fn key(&self) -> String {
        self.list.join(" ")
    }
}

/// A token and how long it is used.
#[derive(Clone)]
struct Token {
    text: Secret,
    renew: Instant,
}

type Slot = Arc<tokio::sync::Mutex<Option<Token>>>;

/// The tokens of one registry.
#[derive(Default)]
pub(super) struct Tokens {
    slots: Mutex<HashMap<String, Slot>>,
    /// Scopes that the registry asked for beyond ours.
    widened: Mutex<HashMap<String, Vec<String>>>,
}

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<f64>,
}

impl Tokens {
    fn slot(&self, key: &str) -> Slot {
        let mut slots = hold(&self.slots);
        slots.entry(key.to_owned()).or_default().clone()
    }

    /// A token for these scopes, from memory or from the token server.
    pub(super) async fn get(
        &self,
        core: &Core,
        session: &Session,
        bearer: &Bearer,
        scopes: &Scopes,
    ) -> Result<Secret, Fault> {
        let key = scopes.key();
        let slot = self.slot(&key);
        // Held during the fetch: everybody who needs this token waits for the one request.
        let mut token = slot.lock().await;
        if let Some(token) = token.as_ref().filter(|token| Instant::now() < token.renew) {
            return Ok(token.text.clone());
        }
        let mut list = scopes.list.clone();
        let widened = hold(&self.widened).clone();
        list.extend(widened.get(&key).into_iter().flatten().cloned());
        let fresh = fetch(core, session, bearer, scopes, &list).await?;
        let text = fresh.text.clone();
        *token = Some(fresh);
        Ok(text)
    }

    /// The registry refused this token: it is not used again, and what else the registry asks for is
    /// asked for next time.
    pub(super) async fn refuse(&self, scopes: &Scopes, token: &Secret, wanted: Option<&str>) {
        let key = scopes.key();
        self.widen(scopes, wanted);
        let slot = self.slot(&key);
        let mut held = slot.lock().await;
        // Another task may have fetched a newer one meanwhile.
        if held.as_ref().is_some_and(|held| held.text == *token) {
            *held = None;
        }
    }

    /// Remembers scopes that the registry named and we did not.
    pub(super) fn widen(&self, scopes: &Scopes, wanted: Option<&str>) {
        let more: Vec<String> = wanted
            .unwrap_or_default()
            .split_ascii_whitespace()
            .filter(|scope| scope.len() <= 1024 && !covered(&scopes.list, scope))
            .take(4)
            .map(str::to_owned)
            .collect();
        if !more.is_empty() {
            let mut widened = hold(&self.widened);
            widened.insert(scopes.key(), more);
        }
    }
}

/// Whether our scopes already ask for everything that this scope names.
fn covered(ours: &[String], wanted: &str) -> bool {
    let Some((wanted_name, wanted_actions)) = wanted.rsplit_once(':') else { return false };
    ours.iter().any(|scope| {
        scope.rsplit_once(':').is_some_and(|(name, actions)| {
            name == wanted_name
                && wanted_actions
                    .split(',')
                    .all(|action| actions.split(',').any(|have| have == action))
        })
    })
}

async fn fetch(
    core: &Core,
    session: &Session,
    bearer: &Bearer,
    scopes: &Scopes,
    list: &[String],
) -> Result<Token, Fault> {
    let realm: Url = bearer
        .realm
        .parse()
        .map_err(|_| Fault::Protocol("the realm of its token server is not a URL".into()))?;
    let name = authority(&realm);
    let rule = realm_rule(&session.base, session.verified(), &realm, &core.options.trusted_realms);
    if let RealmRule::Refuse(detail) = rule {
        let (realm, host) = (format!("{}://{name}", realm.scheme()), session.host.to_string());
        return Err(Fault::Realm { realm, host, detail });
    }
    let known = core.credentials.find(&session.host, scopes.repository.as_ref()).await?;
    let withheld = known.is_some() && rule == RealmRule::Anonymous;
    let used = if withheld {
        Used::Nothing(format!("credentials were not sent to the foreign token server `{name}`"))
    } else {
        session.used(core, known.as_ref())
    };
    let known = known.filter(|_| !withheld);
    let transport = core.transport(session, &realm)?;
    let service = bearer.service.as_deref();
    let request = match &known {
        Some(Found { credential: Credential::Identity(token), .. }) => {
            let mut form = url::form_urlencoded::Serializer::new(String::new());
            form.append_pair("grant_type", "refresh_token")
                .append_pair("client_id", "bundle")
                .append_pair("refresh_token", token.reveal());
            if let Some(service) = service {
                form.append_pair("service", service);
            }
            if !list.is_empty() {
                form.append_pair("scope", &list.join(" "));
            }
            transport
                .http
                .post(realm.clone())
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(form.finish())
        }
        other => {
            let mut url = realm.clone();
            {
                let mut query = url.query_pairs_mut();
                if let Some(service) = service {
                    query.append_pair("service", service);
                }
                for scope in list {
                    query.append_pair("scope", scope);
                }
                if let Some(Found { credential: Credential::Basic { user, .. }, .. }) = other {
                    query.append_pair("account", user);
                }
            }
            // An empty query leaves a lone `?`, which some servers dislike.
            if url.query() == Some("") {
                url.set_query(None);
            }
            let request = transport.http.get(url);
            match other {
                Some(Found { credential: Credential::Basic { user, password }, .. }) => {
                    request.header(AUTHORIZATION, basic(user, password)?)
                }
                _ => request,
            }
        }
    };
    let request = request
        .header(ACCEPT, "application/json")
        .build()
        .map_err(|_| Fault::Protocol("the realm of its token server is not usable".into()))?;
    let before = Instant::now();
    core.counters.request();
    let limit = core.options.stall;
    let answer = tokio::time::timeout(limit, transport.execute(request, false))
        .await
        .map_err(|_| Fault::Stalled { host: name.clone(), limit, moved: 0 })??;
    let status = answer.status().as_u16();
    if !answer.status().is_success() {
        let fault = answer_fault(core, answer).await;
        if fault.is_passing() {
            return Err(fault);
        }
        // 400 is what OAuth2 says to a refresh token that has ended (RFC 6749 section 5.2).
        if matches!(status, 400 | 401 | 403) {
            let detail = match fault {
                Fault::Refused { detail, .. } | Fault::Unauthorized { detail, .. } => detail,
                _ => String::new(),
            };
            let host = session.host.to_string();
            let realm = name.into();
            return Err(Fault::TokenRefused { realm, status, detail, used, host, withheld });
        }
        return Err(Fault::Protocol(format!("its token server `{name}` answered {status}")));
    }
    let body = bounded(core, answer, ANSWER_MAX, limit).await?;
    parse(&body, before)
        .ok_or_else(|| Fault::Protocol(format!("its token server `{name}` gave no token")))
}

fn parse(body: &[u8], before: Instant) -> Option<Token> {
    let answer: Answer = serde_json::from_slice(body).ok()?;
    let text = answer
        .token
        .filter(|text| !text.is_empty())
        .or(answer.access_token)
        .filter(|text| !text.is_empty())?;
    let life = match answer.expires_in {
        Some(seconds) if seconds > 0.0 => {
            Duration::try_from_secs_f64(seconds).unwrap_or(TOKEN_LIFE_MAX).min(TOKEN_LIFE_MAX)
        }
        _ => TOKEN_LIFE,
    };
    Some(Token { text: Secret::new(text), renew: before + life.mul_f64(0.8) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_both_grants_parse() {
        let now = Instant::now();
        let token = parse(br#"{"access_token":"a","expires_in":300}"#, now).unwrap();
        assert_eq!((token.text.reveal(), token.renew), ("a", now + Duration::from_secs(240)));
        let token = parse(br#"{"token":"t","access_token":"a"}"#, now).unwrap();
        assert_eq!((token.text.reveal(), token.renew), ("t", now + Duration::from_secs(48)));
        for odd in [r#"{"token":"t","expires_in":-5}"#, r#"{"token":"t","expires_in":1e300}"#] {
            assert!(parse(odd.as_bytes(), now).is_some());
        }
        for bad in ["", "{}", r#"{"token":""}"#, "<html>"] {
            assert!(parse(bad.as_bytes(), now).is_none());
        }
    }

    #[test]
    fn scopes_cover_what_they_name() {
        let repository: Repository = "a/b".parse().unwrap();
        let scopes = Scopes::push(&repository).and_pull(&"c".parse().unwrap());
        assert_eq!(scopes.key(), "repository:a/b:pull,push repository:c:pull");
        assert!(covered(&scopes.list, "repository:a/b:push,pull"));
        assert!(!covered(&scopes.list, "repository:c:push"));
        assert!(!covered(&scopes.list, "registry:catalog:*"));
    }
}
