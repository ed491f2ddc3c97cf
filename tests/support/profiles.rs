//! Registries as they are met: what each product shows of itself, what it wants to be made first, and what it refuses.
//!
//! In: a sound registry, and a [`Guise`]. Out: a registry that answers as that product does, and a log of what it was
//! asked. The answers are those of the products' own issues and documentation; the content is the sound registry's.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::faulty::{Asked, CREDENTIALS, Pace, empty, send};
use super::wire::{Answer, request};
use super::{listener, serve};

/// A product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    Artifactory,
    Distribution,
    Ecr,
    Ghcr,
    GitLab,
    Google,
    Harbor,
    /// One that nobody knows, with repositories made by hand.
    Nameless,
    Nexus,
    OpenShift,
    Quay,
    Zot,
}

/// A product, and how it is set up.
#[derive(Clone, Debug)]
pub struct Guise {
    pub product: Product,
    /// What was made there by a person: projects, repositories, whatever its word is.
    pub made: Vec<String>,
    /// Tags stay where they are, but for those of `bundle`'s own records.
    pub immutable: bool,
    /// The same for the records too.
    pub all_immutable: bool,
    /// The project has no room left.
    pub full: bool,
    /// Every so many-th request is one too many.
    pub busy: Option<usize>,
}

impl Guise {
    pub fn new(product: Product, made: &[&str]) -> Self {
        let made = made.iter().map(|one| (*one).to_owned()).collect();
        Self { product, made, immutable: false, all_immutable: false, full: false, busy: None }
    }
}

/// One request.
#[derive(Clone, Debug)]
pub struct Line {
    pub method: String,
    pub target: String,
    pub length: usize,
    pub status: u16,
}

/// A registry in a guise. Its threads end with the process.
pub struct Profiled {
    /// `host:port`
    pub host: String,
    state: Arc<State>,
}

struct State {
    upstream: String,
    host: String,
    guise: Mutex<Guise>,
    log: Mutex<Vec<Line>>,
    /// Digests that are uploaded now, and how often one came a second time.
    racing: Mutex<(BTreeSet<String>, usize)>,
    broke: Mutex<bool>,
}

impl Profiled {
    /// Starts it before the registry at `upstream`.
    pub fn start(upstream: &str, guise: Guise) -> Self {
        let (listener, host) = listener();
        let state = Arc::new(State {
            upstream: upstream.to_owned(),
            host: host.clone(),
            guise: Mutex::new(guise),
            log: Mutex::default(),
            racing: Mutex::default(),
            broke: Mutex::default(),
        });
        let serving = Arc::clone(&state);
        serve(listener, move |stream| serving.serve(stream));
        Self { host, state }
    }

    /// The person at the registry changes something.
    pub fn change(&self, change: impl FnOnce(&mut Guise)) {
        change(&mut self.state.guise.lock().unwrap());
    }

    /// What was asked since the last look.
    pub fn log(&self) -> Vec<Line> {
        std::mem::take(&mut *self.state.log.lock().unwrap())
    }

    /// How often one blob came twice at a time.
    pub fn races(&self) -> usize {
        self.state.racing.lock().unwrap().1
    }
}

/// What of these lines brought something that was kept.
pub fn kept(log: &[Line]) -> Vec<&Line> {
    log.iter()
        .filter(|line| matches!(&*line.method, "PUT" | "PATCH") && line.status < 300)
        .collect()
}

/// Requests of these lines with a method, and a word in the target.
pub fn count(log: &[Line], method: &str, word: &str) -> usize {
    log.iter().filter(|line| line.method == method && line.target.contains(word)).count()
}

impl State {
    fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut asked_before = 0;
        while let Some(asked) = Asked::read(&mut stream)? {
            let guise = self.guise.lock().unwrap().clone();
            // The first large upload breaks in its middle.
            if guise.product == Product::Google
                && asked.method == "PUT"
                && asked.length() > 100_000
                && !std::mem::replace(&mut *self.broke.lock().unwrap(), true)
            {
                use std::io::Read;
                stream.read_exact(&mut vec![0; asked.length() / 2])?;
                return Ok(());
            }
            let body = asked.rest(&mut stream)?;
            asked_before += 1;
            let answer = match guise.busy {
                Some(every) if asked_before % every == 0 => {
                    refusal(429, "TOOMANYREQUESTS", "slow down").with("retry-after", "0")
                }
                _ => self.answer(&guise, &asked, &body)?,
            };
            self.log.lock().unwrap().push(Line {
                method: asked.method.clone(),
                target: asked.target.clone(),
                length: body.len(),
                status: answer.status,
            });
            send(&mut stream, &asked, &answer, &Pace::Whole)?;
        }
        Ok(())
    }

    fn answer(&self, guise: &Guise, asked: &Asked, body: &[u8]) -> std::io::Result<Answer> {
        let (realm, service) = login(guise.product);
        let proof = asked.headers.get("authorization").map_or("", String::as_str);
        let path = asked.target.split('?').next().unwrap_or("");
        if path == realm {
            return Ok(token(guise, asked, proof));
        }
        let known = match realm.strip_prefix('/') {
            Some(_) => proof == "Bearer pass",
            None => proof.strip_prefix("Basic ") == Some(CREDENTIALS),
        };
        if !known && !realm.is_empty() {
            let words = match realm.strip_prefix('/') {
                Some(path) => {
                    format!(r#"Bearer realm="http://{}/{path}",service="{service}""#, self.host)
                }
                None => format!(r#"Basic realm="{realm}",service="{service}""#),
            };
            return Ok(refusal(401, "UNAUTHORIZED", "authentication required")
                .with("www-authenticate", &words));
        }
        let repository = repository(path);
        if let Some(repository) = repository
            && let Some(answer) = self.refuses(guise, asked, repository, body)?
        {
            return Ok(answer);
        }
        let mut target = asked.target.clone();
        // Nexus sends what it is asked to mount.
        if guise.product == Product::Nexus && target.contains("mount=") {
            target = path.to_owned();
        }
        let committed = target.split_once("digest=").map(|(_, digest)| digest.to_owned());
        if let Some(digest) = &committed
            && guise.product == Product::Nexus
        {
            let fresh = self.racing.lock().unwrap().0.insert(digest.clone());
            if !fresh {
                self.racing.lock().unwrap().1 += 1;
                return Ok(refusal(400, "BLOB_UPLOAD_INVALID", "blob upload invalid"));
            }
            std::thread::sleep(Duration::from_millis(30));
        }
        let passed: Vec<(&str, &str)> = asked
            .headers
            .iter()
            .filter(|(name, _)| {
                matches!(&***name, "accept" | "content-type" | "content-range" | "range")
            })
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let answer = request(&self.upstream, &asked.method, &target, &passed, body);
        if let Some(digest) = committed {
            self.racing.lock().unwrap().0.remove(&digest);
        }
        let mut answer = answer?;
        for value in answer.headers.values_mut() {
            *value = value
                .replace(&format!("http://{}", self.upstream), &format!("http://{}", self.host));
        }
        Ok(answer)
    }

    /// What the product refuses of what a sound registry would do.
    fn refuses(
        &self,
        guise: &Guise,
        asked: &Asked,
        repository: &str,
        body: &[u8],
    ) -> std::io::Result<Option<Answer>> {
        let parts: Vec<&str> = repository.split('/').collect();
        let made = |name: &str| guise.made.iter().any(|one| one == name);
        let writes = asked.method != "GET" && asked.method != "HEAD";
        let puts_manifest = asked.method == "PUT" && asked.target.contains("/manifests/");
        let tag = asked.target.rsplit('/').next().filter(|name| !name.starts_with("sha256:"));
        let first = parts[0];
        let refused = match guise.product {
            Product::Harbor if parts.len() < 2 => Some(refusal(404, "NOT_FOUND", "no project")),
            Product::Harbor if !made(first) => {
                let words = format!("project {first} not found");
                Some(if writes {
                    refusal(401, "UNAUTHORIZED", &words)
                } else {
                    refusal(404, "NOT_FOUND", &words)
                })
            }
            Product::Quay if !made(first) => Some(refusal(
                401,
                "UNAUTHORIZED",
                "access to the requested resource is not authorized",
            )),
            // Its router knows no such path.
            Product::Quay if parts.len() > 2 => Some(empty(404)),
            Product::OpenShift if parts.len() != 2 => {
                Some(refusal(400, "NAME_INVALID", "invalid repository name"))
            }
            Product::OpenShift if !made(first) => {
                Some(refusal(403, "DENIED", "requested access to the resource is denied"))
            }
            // The project and two more.
            Product::GitLab if !guise.made.iter().any(|one| fits(repository, one, 2)) => {
                Some(refusal(404, "NAME_UNKNOWN", "repository name not known to registry"))
            }
            Product::Nameless if !made(repository) && writes => {
                Some(refusal(404, "NAME_UNKNOWN", "repository name not known to registry"))
            }
            Product::Ecr if !made(repository) => {
                let words = format!(
                    "The repository with name '{repository}' does not exist in the registry with id '1234'"
                );
                Some(refusal(404, "NAME_UNKNOWN", &words))
            }
            Product::Google if !made(&parts[..parts.len().min(2)].join("/")) => {
                Some(refusal(404, "NAME_UNKNOWN", "Repository not found"))
            }
            Product::Google if asked.method == "PATCH" => {
                Some(refusal(400, "UNSUPPORTED", "chunked uploads are not supported"))
            }
            Product::Artifactory | Product::Nexus if !made(first) => {
                Some(refusal(404, "NAME_UNKNOWN", "repository name not known to registry"))
            }
            Product::Nexus if asked.method == "DELETE" => Some(empty(405)),
            Product::Ghcr if !made(first) => {
                let words = "permission_denied: The requested installation does not exist";
                Some(refusal(403, "DENIED", words))
            }
            Product::Ghcr if body.len() > 4 << 20 => {
                Some(refusal(413, "SIZE_INVALID", "request entity too large"))
            }
            _ => None,
        };
        if refused.is_some() {
            return Ok(refused);
        }
        if puts_manifest && guise.product == Product::Artifactory && is_artifact(body) {
            return Ok(Some(refusal(400, "MANIFEST_INVALID", "manifest invalid")));
        }
        if guise.full && asked.method == "PUT" && body.len() > 10_000 {
            let words = "adding 39.1 KiB of storage resource, which when updated to current usage of 9.9 MiB will \
                         exceed the configured upper limit of 10.0 MiB.";
            return Ok(Some(refusal(403, "DENIED", words)));
        }
        let whole = matches!(guise.product, Product::Harbor | Product::Nexus);
        if puts_manifest && whole {
            for child in children(body) {
                let path = format!("/v2/{repository}/manifests/{child}");
                if request(&self.upstream, "HEAD", &path, &[], b"")?.status != 200 {
                    return Ok(Some(refusal(
                        404,
                        "NOT_FOUND",
                        &format!("artifact {child} not found"),
                    )));
                }
            }
        }
        let rule =
            guise.all_immutable || (guise.immutable && !repository.contains("bundle-ledger"));
        if puts_manifest
            && rule
            && let Some(tag) = tag
            && request(&self.upstream, "HEAD", &asked.target, &[], b"")?.status == 200
        {
            let words = format!(
                "The image tag '{tag}' already exists in the '{repository}' repository and cannot be \
                 overwritten because the repository is immutable."
            );
            return Ok(Some(match guise.product {
                Product::Harbor => refusal(412, "PRECONDITION", "configured as immutable"),
                _ => refusal(400, "TAG_INVALID", &words),
            }));
        }
        Ok(None)
    }
}

/// How a product asks for a login: a path of its token server, or the realm of a password; and its service.
fn login(product: Product) -> (&'static str, &'static str) {
    match product {
        Product::Artifactory => ("/artifactory/api/docker/local/v2/token", "artifactory"),
        Product::Distribution | Product::Nameless => ("", ""),
        Product::Ecr => ("ecr", "ecr.amazonaws.com"),
        Product::Ghcr => ("/token", "ghcr.io"),
        Product::GitLab => ("/jwt/auth", "container_registry"),
        Product::Google => ("/v2/token", "europe-docker.pkg.dev"),
        Product::Harbor => ("/service/token", "harbor-registry"),
        Product::Nexus => ("Sonatype Nexus Repository Manager", ""),
        Product::OpenShift => ("/openshift/token", ""),
        Product::Quay => ("/v2/auth", "quay"),
        Product::Zot => ("Authorization Required", ""),
    }
}

/// GitLab gives no token for a project that is not there; the others leave that to the registry.
fn token(guise: &Guise, asked: &Asked, proof: &str) -> Answer {
    if proof.strip_prefix("Basic ") != Some(CREDENTIALS) {
        return refusal(401, "UNAUTHORIZED", "authentication required");
    }
    let asked = asked.target.replace("%3A", ":").replace("%2F", "/");
    let scope = asked.split("repository:").nth(1).and_then(|rest| rest.split(':').next());
    if let (Product::GitLab, Some(repository)) = (guise.product, scope)
        && !guise.made.iter().any(|one| fits(repository, one, usize::MAX))
    {
        return refusal(403, "DENIED", "access forbidden");
    }
    let body = br#"{"token":"pass","expires_in":300}"#.to_vec();
    Answer { status: 200, headers: [].into(), body }.with("content-type", "application/json")
}

/// Whether a path is a project, or at most so many components below it.
fn fits(repository: &str, project: &str, more: usize) -> bool {
    repository == project
        || repository
            .strip_prefix(project)
            .and_then(|rest| rest.strip_prefix('/'))
            .is_some_and(|rest| rest.split('/').count() <= more)
}

fn repository(path: &str) -> Option<&str> {
    let path = path.strip_prefix("/v2/")?;
    ["/blobs/", "/manifests/", "/tags/list", "/referrers/"]
        .iter()
        .find_map(|kind| path.find(kind).map(|at| &path[..at]))
}

fn document(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_default()
}

fn children(body: &[u8]) -> Vec<String> {
    let index = document(body);
    let children = index["manifests"].as_array().into_iter().flatten();
    children.filter_map(|child| child["digest"].as_str().map(ToOwned::to_owned)).collect()
}

fn is_artifact(body: &[u8]) -> bool {
    let manifest = document(body);
    let config = manifest["config"]["mediaType"].as_str().unwrap_or("image.config");
    let layers = manifest["layers"].as_array().into_iter().flatten();
    let odd =
        |layer: &Value| layer["mediaType"].as_str().is_some_and(|kind| !kind.contains("image"));
    !config.contains("image") || manifest.get("artifactType").is_some() || layers.clone().any(odd)
}

fn refusal(status: u16, code: &str, message: &str) -> Answer {
    let body = serde_json::json!({"errors": [{"code": code, "message": message}]});
    let body = body.to_string().into_bytes();
    Answer { status, headers: [].into(), body }.with("content-type", "application/json")
}
