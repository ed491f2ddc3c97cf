//! What a request is about, from its path and query.
//!
//! In: the path and query as sent. Out: a [`Route`] with parsed names. What must hold: a name has any
//! depth and may contain `blobs`, `manifests` or `tags` as components, so paths are read from their end;
//! nothing that is not a valid name or digest gets past here.

use format_spec::Repository;

use crate::content::{ContentDigest, ContentDigestError};

/// The object of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `/v2/`
    Root,
    /// `/v2/_catalog`
    Catalog,
    /// `/v2/<name>/tags/list`
    Tags(Repository),
    /// `/v2/<name>/blobs/<digest>`
    Blob(Repository, ContentDigest),
    /// `/v2/<name>/blobs/uploads/`
    Uploads(Repository),
    /// `/v2/<name>/blobs/uploads/<id>`; the id as sent
    Upload(Repository, String),
    /// `/v2/<name>/manifests/<reference>`; the reference as sent
    Manifest(Repository, String),
    /// `/v2/<name>/referrers/<digest>`
    Referrers(Repository, ContentDigest),
    /// `/token`
    Token,
    /// `/healthz`
    Alive,
    /// `/readyz`
    Ready,
    /// `/metrics`
    Metrics,
    /// `/`, and `/ui/<rest>`; the rest as sent
    Page(String),
}

/// What sort of object it is: a word that counters are kept under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `/v2/` and `/token`
    Root,
    /// Lists of repositories, tags and referrers
    List,
    /// Blobs
    Blob,
    /// Uploads
    Upload,
    /// Manifests
    Manifest,
    /// `/healthz`, `/readyz`, `/metrics`
    Health,
    /// The web page
    Page,
    /// No endpoint, or a name that is none
    Other,
}

impl Kind {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Root,
        Self::List,
        Self::Blob,
        Self::Upload,
        Self::Manifest,
        Self::Health,
        Self::Page,
        Self::Other,
    ];

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::List => "list",
            Self::Blob => "blob",
            Self::Upload => "upload",
            Self::Manifest => "manifest",
            Self::Health => "health",
            Self::Page => "page",
            Self::Other => "other",
        }
    }

    /// The kind of what a path came to.
    pub fn of(route: &Result<Route, RouteError>) -> Self {
        match route {
            Ok(Route::Root | Route::Token) => Self::Root,
            Ok(Route::Catalog | Route::Tags(_) | Route::Referrers(..)) => Self::List,
            Ok(Route::Blob(..)) => Self::Blob,
            Ok(Route::Uploads(_) | Route::Upload(..)) => Self::Upload,
            Ok(Route::Manifest(..)) => Self::Manifest,
            Ok(Route::Alive | Route::Ready | Route::Metrics) => Self::Health,
            Ok(Route::Page(_)) => Self::Page,
            Err(_) => Self::Other,
        }
    }
}

/// Why a path is no [`Route`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteError {
    /// No such endpoint.
    Unknown,
    /// The repository name is not valid.
    Name(String),
    /// The digest is not valid.
    Digest(ContentDigestError),
}

impl Route {
    /// The methods that it has, as the field `Allow` says them.
    pub fn methods(&self, read_only: bool) -> &'static str {
        match self {
            Self::Token => "GET, HEAD, POST",
            // None, as long as nothing can be pushed.
            Self::Uploads(_) if read_only => "",
            _ if read_only => "GET, HEAD",
            Self::Uploads(_) => "POST",
            Self::Upload(..) => "GET, HEAD, PATCH, PUT, DELETE",
            Self::Manifest(..) => "GET, HEAD, PUT, DELETE",
            Self::Blob(..) => "GET, HEAD, DELETE",
            Self::Root
            | Self::Catalog
            | Self::Tags(_)
            | Self::Referrers(..)
            | Self::Alive
            | Self::Ready
            | Self::Metrics
            | Self::Page(_) => "GET, HEAD",
        }
    }
}

/// Reads a path.
pub fn parse(path: &str) -> Result<Route, RouteError> {
    match path {
        "/token" => return Ok(Route::Token),
        "/healthz" => return Ok(Route::Alive),
        "/readyz" => return Ok(Route::Ready),
        "/metrics" => return Ok(Route::Metrics),
        "/" | "/ui" => return Ok(Route::Page(String::new())),
        _ => {}
    }
    if let Some(rest) = path.strip_prefix("/ui/") {
        return Ok(Route::Page(rest.to_owned()));
    }
    // Some clients escape the colon of a digest. Nothing else in a valid path needs an escape.
    let path = path.replace("%3A", ":").replace("%3a", ":");
    let rest = match path.strip_prefix("/v2") {
        Some("" | "/") => return Ok(Route::Root),
        Some(rest) => rest.strip_prefix('/').ok_or(RouteError::Unknown)?,
        None => return Err(RouteError::Unknown),
    };
    if rest == "_catalog" {
        return Ok(Route::Catalog);
    }
    let name = |text: &str| text.parse().map_err(|_| RouteError::Name(text.to_owned()));
    let digest = |text: &str| text.parse().map_err(RouteError::Digest);
    if let Some(repository) =
        rest.strip_suffix("/blobs/uploads/").or_else(|| rest.strip_suffix("/blobs/uploads"))
    {
        return Ok(Route::Uploads(name(repository)?));
    }
    let (before, last) = rest.rsplit_once('/').ok_or(RouteError::Unknown)?;
    if let Some(repository) = before.strip_suffix("/blobs/uploads") {
        return Ok(Route::Upload(name(repository)?, last.to_owned()));
    }
    let (repository, kind) = before.rsplit_once('/').ok_or(RouteError::Unknown)?;
    match kind {
        "tags" if last == "list" => Ok(Route::Tags(name(repository)?)),
        "blobs" => Ok(Route::Blob(name(repository)?, digest(last)?)),
        "manifests" => Ok(Route::Manifest(name(repository)?, last.to_owned())),
        "referrers" => Ok(Route::Referrers(name(repository)?, digest(last)?)),
        _ => Err(RouteError::Unknown),
    }
}

/// The parameters of a query.
pub struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    /// The query of a request, empty when there is none.
    pub fn new(query: Option<&'a str>) -> Self {
        Self(query.unwrap_or_default())
    }

    /// The first value of a parameter, decoded.
    pub fn get(&self, key: &str) -> Option<String> {
        self.all(key).next()
    }

    /// Every value of a parameter, decoded.
    pub fn all(&self, key: &str) -> impl Iterator<Item = String> {
        url::form_urlencoded::parse(self.0.as_bytes())
            .filter(move |(name, _)| name == key)
            .map(|(_, value)| value.into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_any_depth_and_any_words() {
        let digest = ContentDigest::from(format_spec::Digest::of(b""));
        let repository = |text: &str| text.parse::<Repository>().unwrap();
        for name in ["a", "a/b/c/d", "blobs", "a/blobs/uploads", "tags/list", "manifests/blobs"] {
            let name = repository(name);
            let route = |rest: &str| parse(&format!("/v2/{name}/{rest}")).unwrap();
            assert_eq!(route(&format!("blobs/{digest}")), Route::Blob(name.clone(), digest));
            assert_eq!(
                route(&format!("blobs/sha256%3A{}", digest.hex())),
                Route::Blob(name.clone(), digest)
            );
            assert_eq!(route("blobs/uploads/"), Route::Uploads(name.clone()));
            assert_eq!(route("blobs/uploads"), Route::Uploads(name.clone()));
            assert_eq!(route("blobs/uploads/1-2"), Route::Upload(name.clone(), "1-2".into()));
            assert_eq!(route("tags/list"), Route::Tags(name.clone()));
            assert_eq!(route("manifests/list"), Route::Manifest(name.clone(), "list".into()));
            assert_eq!(route(&format!("referrers/{digest}")), Route::Referrers(name, digest));
        }
        assert_eq!(parse("/v2/"), Ok(Route::Root));
        assert_eq!(parse("/v2"), Ok(Route::Root));
        assert_eq!(parse("/v2/_catalog"), Ok(Route::Catalog));
    }

    #[test]
    fn each_kind_has_its_number() {
        for (number, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, number);
        }
    }

    #[test]
    fn bad_paths_are_refused() {
        assert_eq!(parse("/"), Ok(Route::Page(String::new())));
        assert_eq!(parse("/ui/image/a:b"), Ok(Route::Page("image/a:b".to_owned())));
        for path in ["", "/uix", "/v1/", "/v2a", "/v2/a", "/v2/a/b", "/v2/a/tags/lists"] {
            assert_eq!(parse(path), Err(RouteError::Unknown), "{path}");
        }
        for path in [
            "/v2/../manifests/x",
            "/v2/a/../b/manifests/x",
            "/v2/A/tags/list",
            "/v2//blobs/uploads/",
            "/v2/a%2Fb/tags/list",
            "/v2/_blobs/tags/list",
        ] {
            assert!(matches!(parse(path), Err(RouteError::Name(_))), "{path}");
        }
        assert_eq!(parse("/v2/a/blobs/sha256:../../x"), Err(RouteError::Unknown));
        for digest in ["sha256:abc", "latest", "sha512:00", "sha256:.."] {
            let path = format!("/v2/a/blobs/{digest}");
            assert!(matches!(parse(&path), Err(RouteError::Digest(_))), "{path}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_route_or_an_error(path in ".{0,200}") {
            let _ = parse(&path);
            let _ = parse(&format!("/v2/{path}"));
            let _ = Query::new(Some(&path)).get("n");
        }
    }
}
