//! The client of the object store: `object_store` speaks S3, this crate's own HTTP and TLS carry it.
//!
//! In: settings, files with keys, `AWS_*` variables. Out: a store. What must hold: no second HTTP or TLS stack;
//! keys are in memory and in signatures only; a request that hangs is given up.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use http::Method;
use http_body_util::BodyExt;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService,
};
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use std::time::Duration;
use url::Url;

use super::ObjectsSettings;
use super::error::ObjectsError;
use super::limits::{CONNECT_TIME, IDLE_CONNECTIONS, READ_TIME, RETRY_TIME, SMALL_MAX, TRIES};
use crate::client::tls_for;
use crate::store::{StoreError, read_bounded};

/// Where credentials come from when no files are named.
const VARIABLES: [(&str, AmazonS3ConfigKey); 8] = [
    ("AWS_ACCESS_KEY_ID", AmazonS3ConfigKey::AccessKeyId),
    ("AWS_SECRET_ACCESS_KEY", AmazonS3ConfigKey::SecretAccessKey),
    ("AWS_SESSION_TOKEN", AmazonS3ConfigKey::Token),
    ("AWS_WEB_IDENTITY_TOKEN_FILE", AmazonS3ConfigKey::WebIdentityTokenFile),
    ("AWS_ROLE_ARN", AmazonS3ConfigKey::RoleArn),
    ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", AmazonS3ConfigKey::ContainerCredentialsRelativeUri),
    ("AWS_CONTAINER_CREDENTIALS_FULL_URI", AmazonS3ConfigKey::ContainerCredentialsFullUri),
    ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", AmazonS3ConfigKey::ContainerAuthorizationTokenFile),
];

/// Makes the client. Nothing is sent yet.
pub(super) fn connect(
    settings: &ObjectsSettings,
    dir: &Path,
) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let wrong = |text: String| StoreError::from(ObjectsError::Settings(text));
    let endpoint = settings.checked()?;
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&settings.bucket)
        .with_client_options(ClientOptions::new().with_allow_http(settings.allow_http))
        // TLS guards the bytes on the way, and their digest ever after: no second hash over all of them.
        .with_unsigned_payload(true)
        // One request for each object: not every store knows the other form.
        .with_disable_bulk_delete(true)
        .with_disable_tagging(true)
        .with_retry(RetryConfig {
            backoff: BackoffConfig {
                init_backoff: Duration::from_millis(100),
                max_backoff: Duration::from_secs(2),
                base: 2.0,
            },
            max_retries: TRIES,
            retry_timeout: RETRY_TIME,
        })
        .with_http_connector(http(settings, endpoint.as_ref(), dir)?);
    let region = settings.region.clone().or_else(|| variable("AWS_REGION"));
    if let Some(region) = region {
        builder = builder.with_region(region);
    }
    let path_style = settings.path_style.unwrap_or(endpoint.is_some());
    builder = builder.with_virtual_hosted_style_request(!path_style);
    if let Some(mut endpoint) = endpoint {
        if !path_style {
            let host = format!("{}.{}", settings.bucket, endpoint.host_str().unwrap_or_default());
            endpoint
                .set_host(Some(&host))
                .map_err(|_| wrong(format!("`{host}` is no host: use `path-style = true`")))?;
        }
        builder = builder.with_endpoint(endpoint.as_str().trim_end_matches('/'));
    }
    builder = credentials(builder, settings, dir)?;
    let store = builder.build().map_err(|error| wrong(error.to_string()))?;
    Ok(Arc::new(store))
}

fn credentials(
    mut builder: AmazonS3Builder,
    settings: &ObjectsSettings,
    dir: &Path,
) -> Result<AmazonS3Builder, StoreError> {
    if let (Some(access), Some(secret)) = (&settings.access_key_file, &settings.secret_key_file) {
        return Ok(builder
            .with_access_key_id(key(&dir.join(access))?)
            .with_secret_access_key(key(&dir.join(secret))?));
    }
    let mut any = false;
    for (name, setting) in VARIABLES {
        if let Some(value) = variable(name) {
            builder = builder.with_config(setting, value);
            any = true;
        }
    }
    if !any && !settings.instance_credentials {
        let text = "no credentials: name files with `access-key-file` and `secret-key-file`, set \
                    AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or set `instance-credentials = true` on a \
                    machine that has its own";
        return Err(ObjectsError::Settings(text.to_owned()).into());
    }
    Ok(builder)
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The one line of a file with a key.
fn key(path: &Path) -> Result<String, StoreError> {
    let wrong = |problem: &str| {
        ObjectsError::Settings(format!("the key in `{}` {problem}", path.display()))
    };
    let bytes = read_bounded(path, SMALL_MAX)?.ok_or_else(|| wrong("is missing: no such file"))?;
    let text = String::from_utf8(bytes).map_err(|_| wrong("is not text"))?;
    let text = text.trim();
    if text.is_empty() || text.contains(char::is_whitespace) {
        return Err(wrong("is not one word").into());
    }
    Ok(text.to_owned())
}

fn http(
    settings: &ObjectsSettings,
    endpoint: Option<&Url>,
    dir: &Path,
) -> Result<Http, StoreError> {
    let wrong = |text: String| StoreError::from(ObjectsError::Settings(text));
    let plain = endpoint.is_some_and(|endpoint| endpoint.scheme() == "http");
    let authorities = settings.ca_file.iter().map(|path| dir.join(path)).collect();
    let tls = tls_for(&settings.place(), authorities, plain).map_err(wrong)?;
    let mut builder = reqwest::Client::builder()
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_TIME)
        .read_timeout(READ_TIME)
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .pool_idle_timeout(Duration::from_secs(30))
        .tls_backend_preconfigured(tls);
    if plain {
        builder = builder.no_proxy();
    }
    let client = builder.build().map_err(|error| wrong(error.to_string()))?;
    Ok(Http(client))
}

/// This crate's HTTP client, as `object_store` wants it.
#[derive(Debug, Clone)]
struct Http(reqwest::Client);

impl HttpConnector for Http {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Http {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let url: Url = parts
            .uri
            .to_string()
            .parse()
            .map_err(|error: url::ParseError| HttpError::new(HttpErrorKind::Unknown, error))?;
        let bodiless = matches!(parts.method, Method::GET | Method::HEAD | Method::DELETE);
        let mut request = reqwest::Request::new(parts.method, url);
        *request.headers_mut() = parts.headers;
        if !bodiless {
            *request.body_mut() = Some(reqwest::Body::wrap(body));
        }
        let answer = self.0.execute(request).await.map_err(fault)?;
        let (parts, body) = http::Response::<reqwest::Body>::from(answer).into_parts();
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(body.map_err(fault))))
    }
}

/// What may be tried again: everything that broke on the way. Without the address, which may carry a signature.
fn fault(error: reqwest::Error) -> HttpError {
    let kind = match () {
        () if error.is_timeout() => HttpErrorKind::Timeout,
        () if error.is_connect() => HttpErrorKind::Connect,
        () if error.is_decode() => HttpErrorKind::Decode,
        () => HttpErrorKind::Interrupted,
    };
    HttpError::new(kind, error.without_url())
}
