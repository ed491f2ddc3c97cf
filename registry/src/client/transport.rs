//! Connections: one transport for each host, because each host has its own TLS settings.
//!
//! In: options, and requests. Out: answers, or the faults of their errors. Downloads that no proxy stands in
//! the way of go over [`direct`](super::direct), everything else over `reqwest`. What must hold: no redirect is followed
//! here, no body is decoded, and there is no total time limit.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::header::HeaderValue;
use reqwest::{Request, Response};
use url::Url;

use super::ClientOptions;
use super::direct::{Direct, DirectError};
use super::error::{Fault, TlsCause};
use super::framing::HeadError;
use super::headers::authority;
use super::tls::{self, Tls};
use crate::limits::CONNECT_TIME;

/// Idle connections kept for each host: as many as ever work in parallel.
const IDLE_MAX: usize = 32;

/// How long an idle connection is kept. Common servers close theirs after 60 s; ours goes first.
const IDLE_TIME: Duration = Duration::from_secs(30);

/// The way to one host.
#[derive(Clone)]
pub(super) struct Transport {
    /// For everything; knows proxies.
    pub(super) http: reqwest::Client,
    direct: Arc<Direct>,
    /// `None`: a proxy cannot reach this machine's loopback.
    proxies: Option<Arc<Matcher>>,
}

impl Transport {
    /// The way to `host[:port]`. `names` are the directory names that `certs.d` may have for it.
    pub(super) fn new(
        options: &ClientOptions,
        names: &[&str],
        loopback: bool,
        tls: Tls,
    ) -> Result<Self, Fault> {
        let host = names.first().copied().unwrap_or("TLS");
        let fault = |detail: String| Fault::Config {
            path: host.to_owned(),
            detail: format!("cannot set up the connection: {detail}"),
        };
        let config = tls::config(options, names, tls)?;
        let patience = CONNECT_TIME.min(options.stall.max(Duration::from_secs(1)));
        let mut builder = reqwest::Client::builder()
            .user_agent(&options.user_agent)
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .tcp_nodelay(true)
            .connect_timeout(patience)
            .pool_max_idle_per_host(IDLE_MAX)
            .pool_idle_timeout(IDLE_TIME)
            .tls_backend_preconfigured(config.clone());
        if loopback {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| fault(innermost(&error)))?;
        let user_agent = HeaderValue::from_str(&options.user_agent)
            .map_err(|_| fault("the name of this program cannot stand in a header".into()))?;
        let direct = Direct::new(config, user_agent, patience, IDLE_MAX, IDLE_TIME);
        let proxies = (!loopback).then(|| Arc::new(Matcher::from_system()));
        Ok(Self { http, direct: Arc::new(direct), proxies })
    }

    /// Sends a request once. With `direct`, the answer's body can be read straight from the connection.
    pub(super) async fn execute(&self, request: Request, direct: bool) -> Result<Response, Fault> {
        let url = request.url().clone();
        if direct && !self.proxied(&url) {
            return self.direct.get(&request).await.map_err(|error| match error {
                DirectError::Connect(error) => unreached(&url, error.as_ref()),
                DirectError::Head(HeadError::Broken(error)) => broken(&url, &error),
                DirectError::Head(HeadError::Faulty(what)) => faulty(&url, &what),
            });
        }
        self.http.execute(request).await.map_err(|error| fault(&url, &error))
    }

    fn proxied(&self, url: &Url) -> bool {
        let Some(proxies) = &self.proxies else { return false };
        // What is no URI for one library may still be a URL for the other.
        url.as_str().parse().is_ok_and(|uri| proxies.intercept(&uri).is_some())
    }
}

/// The fault that an error of `reqwest` stands for.
pub(super) fn fault(url: &Url, error: &reqwest::Error) -> Fault {
    if error.is_connect() { unreached(url, error) } else { broken(url, error) }
}

/// The fault of an answer whose head is none. It would come again.
fn faulty(url: &Url, what: &str) -> Fault {
    // Who waits for TLS answers to plain HTTP with an alert, which is no HTTP.
    if url.scheme() == "http" && what.contains("invalid HTTP version") {
        return Fault::SpeaksTls { host: authority(url) };
    }
    Fault::Protocol(format!("the head that `{}` sent is faulty: {what}", authority(url)))
}

/// The fault of a connection that cannot be opened.
fn unreached(url: &Url, error: &(dyn Error + 'static)) -> Fault {
    let (host, causes) = (authority(url), Causes::of(error));
    match causes {
        Causes { tls: Some(tls), .. } => tls_fault(host, tls),
        Causes { dns: true, words, .. } => Fault::UnknownHost { host, detail: words },
        Causes { words, .. } => Fault::Connect { host, detail: words },
    }
}

/// The fault of a connection that breaks.
pub(super) fn broken(url: &Url, error: &(dyn Error + 'static)) -> Fault {
    let (host, causes) = (authority(url), Causes::of(error));
    match causes.tls {
        _ if causes.head => faulty(url, &causes.words),
        // What the other side thinks of our certificate it may say after the handshake (RFC 8446, section 4.4.2.4).
        Some(tls @ rustls::Error::AlertReceived(_)) => tls_fault(host, tls),
        // The handshake was good: a record that cannot be read is a fault of the way.
        _ => Fault::Broken { host, detail: causes.words },
    }
}

/// What stands behind an error.
struct Causes<'a> {
    tls: Option<&'a rustls::Error>,
    dns: bool,
    /// The head of the answer is whole and faulty.
    head: bool,
    /// The innermost words. Those of `reqwest` are left out: they have the URL, which may carry tokens.
    words: String,
}

impl<'a> Causes<'a> {
    fn of(error: &'a (dyn Error + 'static)) -> Self {
        let timeout =
            error.downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_timeout);
        let mut causes = Self { tls: None, dns: false, head: false, words: String::new() };
        let mut cause = Some(error);
        while let Some(current) = cause {
            causes.tls = causes.tls.or_else(|| tls_error(current));
            let text = current.to_string();
            causes.dns |= text.starts_with("dns error");
            causes.head |=
                current.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse);
            if !current.is::<reqwest::Error>() {
                causes.words = text;
            }
            cause = current.source();
        }
        if causes.words.is_empty() {
            causes.words = if timeout { "timed out" } else { "unknown cause" }.into();
        }
        causes
    }
}

/// The TLS error itself, out of the I/O errors it is wrapped in (`source` passes over them).
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        return Some(tls);
    }
    let inner = error.downcast_ref::<std::io::Error>()?.get_ref()?;
    tls_error(inner)
}

fn tls_fault(host: String, error: &rustls::Error) -> Fault {
    use rustls::{AlertDescription as Alert, CertificateError, Error};
    let cause = match error {
        Error::InvalidMessage(_) => TlsCause::NotTls,
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => TlsCause::UnknownAuthority,
        Error::AlertReceived(
            Alert::CertificateRequired | Alert::BadCertificate | Alert::UnknownCA,
        ) => TlsCause::ClientCertificate,
        error if tls::is_authority_as_host(error) => TlsCause::UnknownAuthority,
        _ => TlsCause::Other,
    };
    let detail = match error {
        Error::InvalidMessage(_) => {
            "the answer is not TLS, as of a registry that speaks plain HTTP".to_owned()
        }
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "the certificate is signed by an unknown authority".to_owned()
        }
        error if tls::is_authority_as_host(error) => {
            "the certificate is signed by itself, and not one that was named as trusted".to_owned()
        }
        Error::InvalidCertificate(CertificateError::Expired) => {
            "the certificate has expired".to_owned()
        }
        other => other.to_string(),
    };
    Fault::Tls { host, detail, cause }
}

fn innermost(error: &reqwest::Error) -> String {
    let mut text = "unknown cause".to_owned();
    let mut cause = error.source();
    while let Some(current) = cause {
        text = current.to_string();
        cause = current.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Layer(&'static str, #[source] std::io::Error);

    #[test]
    fn of_several_causes_the_innermost_has_the_words() {
        let reset = || std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        let url = "http://reg.lan/x?token=s3cret".parse().unwrap();
        let deep = Layer("outer", std::io::Error::other(Layer("inner", reset())));
        let words = reset().to_string();
        let expected = format!("the connection to `reg.lan` broke: {words}");
        assert_eq!(broken(&url, &deep).to_string(), expected);
        assert_eq!(broken(&url, &reset()).to_string(), expected);
        let expected = format!("cannot connect to `reg.lan`: {words}");
        assert_eq!(unreached(&url, &deep).to_string(), expected);
        // That it was the name is told further out than why.
        let name = Layer("dns error", std::io::Error::other("no such name"));
        let name = Layer("client error", std::io::Error::other(name));
        let fault = unreached(&url, &name);
        assert!(matches!(fault, Fault::UnknownHost { .. }), "{fault:?}");
    }

    #[tokio::test]
    async fn an_error_of_the_library_does_not_tell_the_address() {
        let options = ClientOptions::default();
        let transport = Transport::new(&options, &["127.0.0.1:1"], true, Tls::Never).unwrap();
        for direct in [false, true] {
            let url = "http://127.0.0.1:1/x?token=s3cret".parse().unwrap();
            let request = Request::new(reqwest::Method::GET, url);
            let text = transport.execute(request, direct).await.unwrap_err().to_string();
            assert!(text.starts_with("cannot connect to `127.0.0.1:1`: "), "{text}");
            assert!(text.contains("refused") && !text.contains("s3cret"), "{text}");
        }
    }
}
