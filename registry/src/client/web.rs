//! Documents that no registry has: update graphs, release signatures.
//!
//! In: an address and a limit of bytes. Out: the whole document, within the client's TLS settings, proxies, retries
//! and stall limit. What must hold: credentials are sent to the very host alone that they are for, when it asks for them and
//! the caller allows it; a redirect never leads from TLS to plain HTTP, nor over plain HTTP to another host that the person
//! did not name; nothing of an address but its scheme, host and path stands in a message.

use std::time::{Instant, SystemTime};

use bytes::Bytes;
use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Method, Response};
use url::Url;

use super::answer::{bounded, drain, text};
use super::credentials::{Credential, Found};
use super::error::{Failed, Fault, Used};
use super::headers::{authority, retry_after, same_origin};
use super::retry::Tries;
use super::session::{basic, redirect_target};
use super::tls::Tls;
use super::transport::Transport;
use super::{Client, ClientError, Core, LOST_TIME, hold};
use crate::limits::{ANSWER_MAX, QUOTE_MAX, REDIRECTS_MAX};
use crate::reference::{RegistryHost, is_loopback_name};

/// A document as it arrived.
#[derive(Clone, Debug)]
pub struct Document {
    /// All of its bytes.
    pub bytes: Bytes,
    /// `Content-Type` without parameters.
    pub media_type: Option<String>,
}

impl Client {
    /// Fetches a document of at most `max` bytes. `accept` says which kind is wanted. What is not there is
    /// [`ErrorKind::NotFound`](super::ErrorKind::NotFound).
    pub async fn document(
        &self,
        url: &Url,
        accept: &str,
        max: u64,
    ) -> Result<Document, ClientError> {
        self.fetch(url, accept, max, false).await
    }

    /// The same, with the credentials that the authentication file has for its host, where that asks for some.
    pub async fn document_with_credentials(
        &self,
        url: &Url,
        accept: &str,
        max: u64,
    ) -> Result<Document, ClientError> {
        self.fetch(url, accept, max, true).await
    }

    async fn fetch(
        &self,
        url: &Url,
        accept: &str,
        max: u64,
        known: bool,
    ) -> Result<Document, ClientError> {
        let failed = |failed| ClientError::new("fetch", shown(url), failed);
        self.core.document(url, accept, max, known).await.map_err(failed)
    }
}

/// An address as it can stand in a message.
fn shown(url: &Url) -> String {
    format!("{}://{}{}", url.scheme(), authority(url), url.path())
}

impl Core {
    async fn document(
        &self,
        url: &Url,
        accept: &str,
        max: u64,
        known: bool,
    ) -> Result<Document, Failed> {
        check(url)?;
        let host: Option<RegistryHost> = authority(url).parse().ok();
        let key = host.map(|host| (host, false));
        // A host that could not be reached a moment ago: a thousand documents there fail as one.
        if let Some(key) = &key
            && let Some((since, failed)) = hold(&self.lost).get(key)
            && since.elapsed() < LOST_TIME
            && let Some(failed) = failed.copy()
        {
            return Err(failed);
        }
        let mut tries = Tries::first_contact(self.options.retry, &self.counters);
        loop {
            let fault = match self.attempt(url, accept, max, known).await {
                Ok(document) => return Ok(document),
                Err(fault) => fault,
            };
            if let Err(failed) = tries.again(fault).await {
                if let (Some(key), Some(copy)) = (key, failed.copy()) {
                    hold(&self.lost).insert(key, (Instant::now(), copy));
                }
                return Err(failed);
            }
        }
    }

    async fn attempt(
        &self,
        url: &Url,
        accept: &str,
        max: u64,
        known: bool,
    ) -> Result<Document, Fault> {
        let mut answer = self.follow(url, accept, None).await?;
        let mut used = None;
        // Only who was asked itself: after a redirect nobody knows whom it is for.
        if known && answer.status() == 401 && same_origin(url, answer.url()) {
            let host: Option<RegistryHost> = authority(url).parse().ok();
            let found = match &host {
                Some(host) => self.credentials.find(host, None).await?,
                None => None,
            };
            match found {
                Some(Found { source, .. }) if !self.may_prove(url, host.as_ref()) => {
                    used = Some(Used::Nothing(format!(
                        "{source} is not sent over plain HTTP, unless `--plain-http` names the host"
                    )));
                }
                Some(Found { credential: Credential::Basic { user, password }, source }) => {
                    drain(answer).await;
                    used = Some(Used::From(source));
                    answer = self.follow(url, accept, Some(basic(&user, &password)?)).await?;
                }
                _ => {
                    let places = self.credentials.searched();
                    let name = authority(url);
                    used = Some(Used::Nothing(format!(
                        "found no credentials for `{name}` in {places}"
                    )));
                }
            }
        }
        if !answer.status().is_success() {
            let status = answer.status().as_u16();
            if let (401 | 403, Some(used)) = (status, used) {
                let host = authority(answer.url());
                return Err(Fault::Unauthorized { status, detail: String::new(), used, host });
            }
            return Err(refusal(self, answer).await);
        }
        let media_type = media_type(answer.headers());
        let bytes = bounded(self, answer, max, self.options.stall).await?;
        Ok(Document { bytes, media_type })
    }

    /// Sends the request once and follows its redirects. Who we are is said to the first host alone.
    async fn follow(
        &self,
        first: &Url,
        accept: &str,
        proof: Option<HeaderValue>,
    ) -> Result<Response, Fault> {
        let mut url = first.clone();
        let mut way = self.way_to(&url)?;
        for _ in 0..=REDIRECTS_MAX {
            let mut call =
                way.http.request(Method::GET, url.clone()).header(header::ACCEPT, accept);
            if let Some(proof) = proof.as_ref().filter(|_| same_origin(first, &url)) {
                call = call.header(header::AUTHORIZATION, proof);
            }
            let call = call
                .build()
                .map_err(|_| Fault::Protocol("the request cannot be written".into()))?;
            self.counters.request();
            let limit = self.options.stall;
            let answer = tokio::time::timeout(limit, way.execute(call, false))
                .await
                .map_err(|_| Fault::Stalled { host: authority(&url), limit, moved: 0 })??;
            let status = answer.status().as_u16();
            tracing::debug!(host = authority(&url), path = url.path(), status, "answer");
            if !matches!(status, 301 | 302 | 303 | 307 | 308) {
                return Ok(answer);
            }
            let next = redirect_target(&url, &answer, &self.options.plain_http)?;
            drain(answer).await;
            if !same_origin(&url, &next) {
                way = self.way_to(&next)?;
            }
            url = next;
        }
        Err(Fault::Protocol(format!("more than {REDIRECTS_MAX} redirects")))
    }

    /// Whether a password may go there: over plain HTTP only to this machine and to who was named for it.
    fn may_prove(&self, url: &Url, host: Option<&RegistryHost>) -> bool {
        let named = &self.options.plain_http;
        url.scheme() == "https"
            || url.host_str().is_some_and(is_loopback_name)
            || host.is_some_and(|host| named.iter().any(|named| named.covers(host, 80)))
    }

    /// Connections to the host of this address, with its own TLS settings.
    fn way_to(&self, url: &Url) -> Result<Transport, Fault> {
        let name = authority(url);
        let unchecked = || {
            let host: Option<RegistryHost> = name.parse().ok();
            let named = &self.options.insecure_tls;
            host.is_some_and(|host| named.iter().any(|named| named.covers(&host, 443)))
        };
        let tls = match url.scheme() {
            "http" => Tls::Never,
            _ if unchecked() => Tls::Unverified,
            _ => Tls::Verify,
        };
        let key = (name.clone(), tls);
        if let Some(known) = hold(&self.transports).get(&key) {
            return Ok(known.clone());
        }
        if tls == Tls::Unverified {
            tracing::warn!(
                "the certificate of `{name}` is not checked: anybody on the way can change what it says"
            );
        }
        let loopback = url.host_str().is_some_and(is_loopback_name);
        let made = Transport::new(&self.options, &[name.as_str()], loopback, tls)?;
        hold(&self.transports).insert(key, made.clone());
        Ok(made)
    }
}

/// Refuses an address that would not be asked as it stands.
fn check(url: &Url) -> Result<(), Fault> {
    let fault = |detail: &str| Err(Fault::Config { path: shown(url), detail: detail.into() });
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return fault("expected an address that begins with `https://` or `http://`");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return fault("an address with a user name is not asked: nothing secret is sent there");
    }
    Ok(())
}

/// `Content-Type` without parameters.
fn media_type(headers: &HeaderMap) -> Option<String> {
    let line = text(headers, &header::CONTENT_TYPE)?;
    Some(line.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// The fault of an answer that is no success.
async fn refusal(core: &Core, answer: Response) -> Fault {
    let (host, status) = (authority(answer.url()), answer.status().as_u16());
    let wait = text(answer.headers(), &header::RETRY_AFTER)
        .and_then(|line| retry_after(line, SystemTime::now()));
    let page = media_type(answer.headers()).is_some_and(|kind| kind == "text/html");
    let stall = std::time::Duration::from_secs(5);
    let body = bounded(core, answer, ANSWER_MAX, stall).await.unwrap_or_default();
    let detail = if page { String::new() } else { words(&body) };
    Fault::Answered { host, status, detail, retry_after: wait }
}

/// What an answer says for itself; a page of HTML says nothing.
fn words(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(4096)]);
    let text = text.trim();
    if text.starts_with('<') {
        return String::new();
    }
    let json: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let said = json.as_ref().and_then(|json| {
        ["value", "message", "error"].into_iter().find_map(|name| json.get(name)?.as_str())
    });
    said.unwrap_or(text).chars().filter(|c| !c.is_control()).take(QUOTE_MAX).collect()
}

#[cfg(test)]
#[path = "web_tests.rs"]
mod tests;
