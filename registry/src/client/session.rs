//! One registry: its origin, its way to authenticate, and requests to it.
//!
//! In: requests. Out: successful answers, or faults. Each request is authorised, sent, re-authorised
//! once on 401, and its redirects are followed by hand. What must hold: `Authorization` never leaves the
//! registry's origin (GHSA-vh4v-2xq2-g5cg), what another origin answers changes nothing that is known of
//! the registry, a redirect never leads from TLS to plain HTTP, nor over plain HTTP to another host that
//! the person did not name.

use std::sync::atomic::AtomicU8;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Method, Response, StatusCode};
use url::Url;

use super::answer::{answer_fault, bounded_in, drain, text};
use super::challenge::{self, Challenge};
use super::credentials::{Credential, Found};
use super::error::{Failed, Fault, Used};
use super::headers::{authority, same_origin};
use super::product::Product;
use super::push::Way;
use super::retry::Tries;
use super::room::{Room, Taken};
use super::secret::Secret;
use super::tls::Tls;
use super::token::{Scopes, Tokens};
use super::transport::Transport;
use super::{Core, hold};
use crate::limits::REDIRECTS_MAX;
use crate::reference::{RegistryHost, is_loopback_name};

/// What is known about one registry.
pub(super) struct Session {
    pub(super) host: RegistryHost,
    /// `scheme://host[:port]/`
    pub(super) base: Url,
    pub(super) transport: Transport,
    pub(super) tls: Tls,
    pub(super) challenge: Mutex<Option<Challenge>>,
    pub(super) tokens: Tokens,
    /// How uploads work here; starts with the best way and only ever steps down.
    pub(super) way: Mutex<Way>,
    /// Whether the referrers API is there: 0 unknown, 1 yes, 2 no.
    pub(super) referrers_api: AtomicU8,
    /// Which registry it is; set at the first contact.
    pub(super) product: OnceLock<Product>,
}

/// What authorised a request.
pub(super) enum Proof {
    None,
    Basic(String),
    Token(Secret),
}

/// One request without a streamed body; can be sent again.
pub(super) struct Request<'a> {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) scopes: &'a Scopes,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Bytes>,
    /// Redirects are followed; only for GET and HEAD of blobs and manifests.
    pub(super) redirects: bool,
    /// A GET whose body is read straight from the connection.
    pub(super) direct: bool,
    /// Where a large body waits for its turn.
    pub(super) room: Option<&'a Room>,
    /// How long the answer's head may take.
    pub(super) patience: Duration,
}

impl Session {
    /// A URL below the registry: `v2/` and this path, whose parts are checked names.
    pub(super) fn url(&self, path: &str) -> Result<Url, Fault> {
        self.base
            .join(&format!("v2/{path}"))
            .map_err(|_| Fault::Protocol("the request's path is not a URL".into()))
    }

    /// Which registry it is, as far as that is known.
    pub(super) fn product(&self) -> Product {
        self.product.get().copied().unwrap_or(Product::Other)
    }

    /// Whether the registry's identity was checked by TLS.
    pub(super) fn verified(&self) -> bool {
        self.tls == Tls::Verify && self.base.scheme() == "https"
    }

    pub(super) fn request<'a>(
        &self,
        core: &Core,
        method: Method,
        url: Url,
        scopes: &'a Scopes,
    ) -> Request<'a> {
        Request {
            method,
            url,
            scopes,
            headers: HeaderMap::new(),
            body: None,
            redirects: false,
            direct: false,
            room: None,
            patience: core.options.stall,
        }
    }

    fn known_challenge(&self) -> Option<Challenge> {
        hold(&self.challenge).clone()
    }

    /// What says who we are, for a request with these scopes.
    pub(super) async fn prove(
        &self,
        core: &Core,
        scopes: &Scopes,
    ) -> Result<(Option<HeaderValue>, Proof), Fault> {
        match self.known_challenge() {
            None => Ok((None, Proof::None)),
            Some(Challenge::Basic) => {
                let found = core.credentials.find(&self.host, scopes.repository.as_ref()).await?;
                match found {
                    Some(Found { credential: Credential::Basic { user, password }, source }) => {
                        Ok((Some(basic(&user, &password)?), Proof::Basic(source)))
                    }
                    _ => Ok((None, Proof::None)),
                }
            }
            Some(Challenge::Bearer(bearer)) => {
                let token = self.tokens.get(core, self, &bearer, scopes).await?;
                let value = sensitive(format!("Bearer {}", token.reveal()))?;
                Ok((Some(value), Proof::Token(token)))
            }
        }
    }

    /// Learns from a 401. Whether another try with another proof makes sense.
    pub(super) async fn learn(
        &self,
        core: &Core,
        headers: &HeaderMap,
        proof: &Proof,
        scopes: &Scopes,
    ) -> bool {
        let lines = headers.get_all(header::WWW_AUTHENTICATE);
        let Some(fresh) = challenge::choose(lines.iter().filter_map(|line| line.to_str().ok()))
        else {
            return false;
        };
        let wanted = match &fresh {
            Challenge::Bearer(bearer) => bearer.scope.clone(),
            Challenge::Basic => None,
        };
        let changed = {
            let mut known = hold(&self.challenge);
            let same = match (&*known, &fresh) {
                (Some(Challenge::Bearer(old)), Challenge::Bearer(new)) => {
                    old.realm == new.realm && old.service == new.service
                }
                (old, new) => old.as_ref() == Some(new),
            };
            *known = Some(fresh);
            !same
        };
        match proof {
            Proof::Token(token) => {
                core.credentials.forget(&self.host);
                self.tokens.refuse(scopes, token, wanted.as_deref()).await;
                true
            }
            // A credential program may have given a password that has ended; another answer may do.
            Proof::Basic(source) => {
                core.credentials.forget(&self.host);
                changed || source.starts_with("`docker-credential-")
            }
            // Where only some requests want a proof, several go out without one at a time, and one of them
            // learns first how to log in: the others have not tried yet.
            Proof::None => {
                self.tokens.widen(scopes, wanted.as_deref());
                changed || self.could_prove(core, scopes).await
            }
        }
    }

    /// Whether another try would go out with a proof.
    async fn could_prove(&self, core: &Core, scopes: &Scopes) -> bool {
        match self.known_challenge() {
            None => false,
            Some(Challenge::Bearer(_)) => true,
            Some(Challenge::Basic) => {
                let found = core.credentials.find(&self.host, scopes.repository.as_ref()).await;
                matches!(found, Ok(Some(Found { credential: Credential::Basic { .. }, .. })))
            }
        }
    }

    /// Which credentials were used, in words without secrets.
    pub(super) fn used(&self, core: &Core, found: Option<&Found>) -> Used {
        match found {
            Some(found) => Used::From(found.source.to_string()),
            None => {
                let places = core.credentials.searched();
                Used::Nothing(format!("found no credentials for `{}` in {places}", self.host))
            }
        }
    }

    /// The fault of a 401 or 403 that stays.
    async fn refused(&self, core: &Core, scopes: &Scopes, status: u16, detail: String) -> Fault {
        let found = core.credentials.find(&self.host, scopes.repository.as_ref()).await;
        let used = match found {
            Ok(found) => self.used(core, found.as_ref()),
            Err(fault) => Used::Nothing(fault.to_string()),
        };
        Fault::Unauthorized { status, detail, used, host: self.host.to_string() }
    }

    /// Whether the registry itself gave this answer, not the target of a redirect.
    fn is_own(&self, answer: &Response) -> bool {
        same_origin(&self.base, answer.url())
    }

    /// Turns an answer that is no success into its fault.
    pub(super) async fn fault_of(&self, core: &Core, scopes: &Scopes, answer: Response) -> Fault {
        let target = (!self.is_own(&answer)).then(|| authority(answer.url()));
        match (answer_fault(core, answer).await, target) {
            (Fault::Unauthorized { status, detail, .. }, Some(target)) => {
                Fault::TargetRefused { status, detail, target, host: self.host.to_string() }
            }
            (Fault::Unauthorized { status, detail, .. }, None) => {
                self.refused(core, scopes, status, detail).await
            }
            (other, _) => other,
        }
    }

    /// Sends a request once, with a second proof after the registry's own 401. Any other answer is
    /// returned, the 401 of a redirect's target among them: it got no proof, and may not say where to
    /// get another.
    pub(super) async fn exchange(
        &self,
        core: &Core,
        request: &Request<'_>,
    ) -> Result<Response, Fault> {
        let mut second = false;
        loop {
            let (value, proof) = self.prove(core, request.scopes).await?;
            let answer = self.travel(core, request, value).await?;
            if answer.status() != StatusCode::UNAUTHORIZED || second || !self.is_own(&answer) {
                return Ok(answer);
            }
            second = true;
            if !self.learn(core, answer.headers(), &proof, request.scopes).await {
                return Ok(answer);
            }
            drain(answer).await;
        }
    }

    /// Sends a request once, without saying who we are.
    pub(super) async fn bare(&self, core: &Core, request: &Request<'_>) -> Result<Response, Fault> {
        self.travel(core, request, None).await
    }

    /// Sends a request and follows its redirects.
    async fn travel(
        &self,
        core: &Core,
        request: &Request<'_>,
        mut proof: Option<HeaderValue>,
    ) -> Result<Response, Fault> {
        let mut url = request.url.clone();
        let mut transport = self.transport.clone();
        for _ in 0..=REDIRECTS_MAX {
            let mut call = transport
                .http
                .request(request.method.clone(), url.clone())
                .headers(request.headers.clone());
            if let Some(value) = &proof {
                call = call.header(header::AUTHORIZATION, value.clone());
            }
            if let Some(body) = &request.body {
                core.counters.sent(body.len());
                call = call.body(body.clone());
            } else if matches!(request.method, Method::POST | Method::PUT | Method::PATCH) {
                // Some proxies answer 411 without it.
                call = call.header(header::CONTENT_LENGTH, 0);
            }
            let call = call
                .build()
                .map_err(|_| Fault::Protocol("the request cannot be written".into()))?;
            core.counters.request();
            let limit = request.patience;
            let answer = tokio::time::timeout(limit, transport.execute(call, request.direct))
                .await
                .map_err(|_| Fault::Stalled { host: authority(&url), limit, moved: 0 })??;
            tracing::debug!(
                host = authority(&url),
                method = %request.method,
                path = url.path(),
                status = answer.status().as_u16(),
                "answer"
            );
            if !request.redirects
                || !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308)
            {
                return Ok(answer);
            }
            let next = redirect_target(&url, &answer, &core.options.plain_http)?;
            drain(answer).await;
            if !same_origin(&url, &next) {
                proof = None;
                transport = core.transport(self, &next)?;
            }
            url = next;
        }
        Err(Fault::Protocol(format!("more than {REDIRECTS_MAX} redirects")))
    }

    /// Sends a request until it succeeds or the tries end.
    pub(super) async fn send(
        &self,
        core: &Core,
        request: &Request<'_>,
    ) -> Result<Response, Failed> {
        let mut tries = Tries::new(core.options.retry, &core.counters);
        loop {
            let fault = match self.exchange(core, request).await {
                Ok(answer) if answer.status().is_success() => return Ok(answer),
                Ok(answer) => self.fault_of(core, request.scopes, answer).await,
                Err(fault) => fault,
            };
            tries.again(fault).await?;
        }
    }

    /// Sends a request and reads its whole body, of at most `max` bytes; a broken body counts as a
    /// failed try. The body comes with what it took of the request's room.
    pub(super) async fn fetch(
        &self,
        core: &Core,
        request: &Request<'_>,
        max: u64,
    ) -> Result<(HeaderMap, Bytes, Taken), Failed> {
        let mut tries = Tries::new(core.options.retry, &core.counters);
        loop {
            let fault = match self.exchange(core, request).await {
                Ok(answer) if answer.status().is_success() => {
                    let headers = answer.headers().clone();
                    let (room, stall) = (request.room, core.options.stall);
                    match bounded_in(room, core, answer, max, stall).await {
                        Ok((body, taken)) => return Ok((headers, body, taken)),
                        Err(fault) => fault,
                    }
                }
                Ok(answer) => self.fault_of(core, request.scopes, answer).await,
                Err(fault) => fault,
            };
            tries.again(fault).await?;
        }
    }
}

/// Where a redirect leads, when it may be followed.
pub(super) fn redirect_target(
    url: &Url,
    answer: &Response,
    named: &[RegistryHost],
) -> Result<Url, Fault> {
    let target = text(answer.headers(), &header::LOCATION)
        .and_then(|location| url.join(location).ok())
        .ok_or_else(|| Fault::Protocol("a redirect without a usable `Location`".into()))?;
    if !target.username().is_empty() || target.password().is_some() {
        return Err(Fault::Protocol("the redirect's `Location` carries a user name".into()));
    }
    if may_follow(url, &target, named) {
        return Ok(target);
    }
    let name = |url: &Url| format!("{}://{}", url.scheme(), authority(url));
    Err(Fault::Redirect { from: name(url), to: name(&target) })
}

/// Whether a redirect may lead from here to there. Over plain HTTP anybody on the way can write a
/// redirect, and so choose which hosts of this network get a request: only TLS may lead to another host,
/// or the person, who `named` it with its port as one that is spoken to by plain HTTP.
fn may_follow(from: &Url, to: &Url, named: &[RegistryHost]) -> bool {
    let local = |url: &Url| url.host_str().is_some_and(is_loopback_name);
    // As URLs: `store.lan` and `store.lan:80` are one place.
    let origin = |host: &RegistryHost| format!("http://{host}/").parse::<Url>();
    match (from.scheme(), to.scheme()) {
        (_, "https") => true,
        ("http", "http") => {
            from.host_str() == to.host_str()
                || (local(from) && local(to))
                || named.iter().any(|host| origin(host).is_ok_and(|url| same_origin(&url, to)))
        }
        _ => false,
    }
}

/// `Basic` with these credentials.
pub(super) fn basic(user: &str, password: &Secret) -> Result<HeaderValue, Fault> {
    let pair = format!("{user}:{}", password.reveal());
    sensitive(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair)))
}

fn sensitive(text: String) -> Result<HeaderValue, Fault> {
    let mut value = HeaderValue::from_maybe_shared(Bytes::from(text))
        .map_err(|_| Fault::Protocol("its token cannot stand in a header".into()))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_leads_to_no_other_host_that_is_not_named() {
        let named = ["minio.lan:9000", "cdn.lan", "odd.lan:80", "[fd00:0::1]:9000"]
            .map(|host| host.parse::<RegistryHost>().unwrap());
        for (from, to, follow) in [
            ("https://reg.lan/", "https://store.lan/x", true),
            ("https://reg.lan/", "http://reg.lan/x", false),
            ("https://localhost/", "http://localhost/x", false),
            ("http://reg.lan/", "https://store.lan/x", true),
            ("http://reg.lan:5000/", "http://reg.lan:9000/x", true),
            ("http://reg.lan/", "http://store.lan/x", false),
            ("http://reg.lan/", "http://169.254.169.254/x", false),
            ("http://reg.lan/", "http://127.0.0.1/x", false),
            ("http://127.0.0.1:5000/", "http://localhost:9000/x", true),
            ("http://127.0.0.1:5000/", "http://reg.lan/x", false),
            ("http://reg.lan/", "http://minio.lan:9000/x", true),
            ("http://127.0.0.1:5000/", "http://minio.lan:9000/x", true),
            ("http://reg.lan/", "http://minio.lan:9001/x", false),
            ("http://reg.lan/", "http://minio.lan/x", false),
            ("http://reg.lan/", "http://cdn.lan/x", true),
            ("http://reg.lan/", "http://cdn.lan:9000/x", false),
            ("http://reg.lan/", "http://odd.lan/x", true),
            ("http://reg.lan/", "http://[fd00::1]:9000/x", true),
            ("https://reg.lan/", "http://minio.lan:9000/x", false),
            ("http://reg.lan/", "file:///etc/passwd", false),
        ] {
            let found = may_follow(&from.parse().unwrap(), &to.parse().unwrap(), &named);
            assert_eq!(found, follow, "{from} -> {to}");
        }
    }
}
