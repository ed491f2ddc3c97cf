//! How often a source is asked for its manifests: what is not kept is fetched again for its place, what
//! is known is not asked for twice.
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use bundler::origin::{Origin, Origins};
use bundler::{CreateOptions, Created, Written};
use format_spec::Digest;
use format_spec::limits::PART_MAX;
use registry::client::{Client, ClientOptions};
use registry::reference::ManifestRef;
use serde_json::{Value, json};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// What stands under a path, and how often it was asked for.
#[derive(Clone)]
struct Page {
    media_type: &'static str,
    bytes: Vec<u8>,
    asked: usize,
    /// After so many answers it is gone.
    answers: usize,
}

type Pages = Arc<Mutex<HashMap<String, Page>>>;
type Asked = Arc<Mutex<Vec<String>>>;

/// A registry that counts. It knows no referrers API and lives as long as the test process.
struct Source {
    host: String,
    pages: Pages,
    /// The paths of all requests.
    asked: Asked,
}

impl Source {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let (pages, asked) = (Pages::default(), Asked::default());
        let (shown, noted) = (Arc::clone(&pages), Arc::clone(&asked));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (pages, asked) = (Arc::clone(&shown), Arc::clone(&noted));
                std::thread::spawn(move || answer(stream, &pages, &asked));
            }
        });
        Self { host, pages, asked }
    }

    fn put(&self, path: String, media_type: &'static str, bytes: &[u8], answers: usize) {
        let page = Page { media_type, bytes: bytes.to_vec(), asked: 0, answers };
        self.pages.lock().unwrap().insert(path, page);
    }

    fn blob(&self, repository: &str, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes);
        let path = format!("/v2/{repository}/blobs/{digest}");
        self.put(path, "application/octet-stream", bytes, usize::MAX);
        json!({
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": digest.to_string(), "size": bytes.len(),
        })
    }

    /// Puts a manifest under its digest, given away at most `answers` times, and under a tag.
    fn manifest(
        &self,
        repository: &str,
        tag: Option<&str>,
        body: &Value,
        answers: usize,
    ) -> (Digest, Value) {
        let bytes = serde_json::to_vec(body).unwrap();
        let digest = Digest::of(&bytes);
        let media_type = if body["manifests"].is_array() { INDEX } else { MANIFEST };
        self.put(format!("/v2/{repository}/manifests/{digest}"), media_type, &bytes, answers);
        if let Some(tag) = tag {
            self.put(format!("/v2/{repository}/manifests/{tag}"), media_type, &bytes, usize::MAX);
        }
        let (size, name) = (bytes.len(), digest.to_string());
        (digest, json!({"mediaType": media_type, "digest": name, "size": size}))
    }

    /// An image whose manifest has more than `padding` bytes.
    fn image(
        &self,
        repository: &str,
        tag: Option<&str>,
        padding: usize,
        answers: usize,
    ) -> (Digest, Value) {
        let annotations: BTreeMap<String, String> =
            (0..padding / 1000).map(|n| (format!("{repository}.{n}"), "x".repeat(1000))).collect();
        let body = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "annotations": annotations,
            "config": self.blob(repository, format!("{{\"of\":\"{repository} {padding}\"}}").as_bytes()),
            "layers": [self.blob(repository, b"layer")],
        });
        self.manifest(repository, tag, &body, answers)
    }

    fn asked(&self, repository: &str, reference: &str) -> usize {
        self.pages.lock().unwrap()[&format!("/v2/{repository}/manifests/{reference}")].asked
    }

    async fn create(&self, directory: &Path, images: &[&str]) -> Written {
        support::written(self.try_create(directory, images, |_| ()).await)
    }

    async fn try_create(
        &self,
        directory: &Path,
        images: &[&str],
        change: impl FnOnce(&mut CreateOptions),
    ) -> Created {
        let client = Client::new(ClientOptions::default()).unwrap();
        let text = support::configuration(&self.host, images);
        let mut options = support::options(&text, directory, &client);
        options.part_bytes = PART_MAX;
        change(&mut options);
        support::create(options).await.unwrap()
    }

    /// What the registry says the tags of a repository are.
    fn list(&self, repository: &str, tags: &[&str]) {
        let bytes = serde_json::to_vec(&json!({"name": repository, "tags": tags})).unwrap();
        let path = format!("/v2/{repository}/tags/list");
        self.put(path, "application/json", &bytes, usize::MAX);
    }

    /// How often lists of tags, and names of what may be attached, were asked for since the last time.
    fn questions(&self) -> (usize, usize) {
        let asked = std::mem::take(&mut *self.asked.lock().unwrap());
        let count = |part: &str| asked.iter().filter(|path| path.contains(part)).count();
        (count("/tags/list"), count("/manifests/sha256-"))
    }
}

fn answer(mut stream: TcpStream, pages: &Pages, asked: &Asked) {
    // TLS is tried first, and would wait long for an answer to its greeting.
    let mut first = [0];
    stream.set_nodelay(true).unwrap();
    if stream.peek(&mut first).is_err() || first == [0x16] {
        return;
    }
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let (mut first, mut line) = (String::new(), String::new());
        if reader.read_line(&mut first).unwrap_or(0) == 0 {
            return;
        }
        while reader.read_line(&mut line).unwrap_or(0) > 2 {
            line.clear();
        }
        let path = first.split(' ').nth(1).unwrap().split('?').next().unwrap();
        asked.lock().unwrap().push(path.to_owned());
        let page = pages.lock().unwrap().get_mut(path).map(|page| {
            page.asked += 1;
            page.clone()
        });
        let page = page.filter(|page| page.asked <= page.answers);
        let (status, kind, bytes) = match &page {
            Some(page) => ("200 OK", page.media_type, page.bytes.as_slice()),
            None if path == "/v2/" => ("200 OK", "application/json", &b"{}"[..]),
            None => ("404 Not Found", "application/json", &b"{}"[..]),
        };
        let length = bytes.len();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
        );
        if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(bytes)).is_err() {
            return;
        }
    }
}

/// Whether the only part holds these bytes.
fn carries(directory: &Path, bytes: &[u8]) -> bool {
    let part = fs_err::read(directory.join("medium/mirror_seq1_000000.tar")).unwrap();
    part.windows(bytes.len()).step_by(512).any(|window| window == bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_manifest_is_fetched_again_for_its_place() {
    let source = Source::start();
    let (large, large_entry) = source.image("app/one", None, 100_000, usize::MAX);
    let (small, small_entry) = source.image("app/one", None, 1_000, usize::MAX);
    let index = json!({
        "schemaVersion": 2, "mediaType": INDEX, "manifests": [large_entry, small_entry],
    });
    source.manifest("app/one", Some("1"), &index, usize::MAX);
    let directory = tempfile::tempdir().unwrap();
    let made = source.create(directory.path(), &["app/one:1"]).await;
    assert_eq!((made.totals.manifests, made.summary.failures.len()), (3, 0));
    assert_eq!(source.asked("app/one", &large.to_string()), 2);
    assert_eq!(source.asked("app/one", &small.to_string()), 1);
    let path = format!("/v2/app/one/manifests/{large}");
    let bytes = source.pages.lock().unwrap()[&path].bytes.clone();
    assert!(carries(directory.path(), &bytes));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_manifests_are_not_all_kept() {
    let source = Source::start();
    let images: Vec<(String, Digest)> = (0..200)
        .map(|n| {
            let name = format!("app/{n}");
            let (digest, _) = source.image(&name, Some("1"), 60_000, usize::MAX);
            (name, digest)
        })
        .collect();
    let directory = tempfile::tempdir().unwrap();
    let names: Vec<String> = images.iter().map(|(name, _)| format!("{name}:1")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let made = source.create(directory.path(), &names).await;
    assert_eq!((made.totals.manifests, made.summary.failures.len()), (200, 0));
    let again = images.iter().filter(|(n, digest)| source.asked(n, &digest.to_string()) > 0);
    let again = again.count();
    assert!((150..180).contains(&again), "{again} of 200 were fetched again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_went_away_meanwhile_costs_its_image_only() {
    let source = Source::start();
    let (gone, _) = source.image("app/gone", Some("1"), 100_000, 0);
    source.image("app/one", Some("1"), 1_000, usize::MAX);
    let directory = tempfile::tempdir().unwrap();
    let made = source.create(directory.path(), &["app/gone:1", "app/one:1"]).await;
    assert_eq!((made.totals.references, made.summary.images), (1, 1));
    let [failure] = &made.summary.failures[..] else { panic!("{:?}", made.summary.failures) };
    assert!(failure.reference.ends_with("/app/gone:1"), "{failure:?}");
    assert!(failure.reason.starts_with(&format!("manifest {gone}: ")), "{failure:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn referrers_that_the_tag_names_are_fetched_once() {
    let source = Source::start();
    let (image, subject) = source.image("app/one", Some("1"), 0, usize::MAX);
    let referrer = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/spdx+json",
        "config": source.blob("app/one", b"{}"), "layers": [source.blob("app/one", b"sbom")],
        "subject": subject,
    });
    let (referrer, entry) = source.manifest("app/one", None, &referrer, usize::MAX);
    let list = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]});
    let stem = format!("sha256-{}", image.hex());
    source.manifest("app/one", Some(&stem), &list, usize::MAX);
    let directory = tempfile::tempdir().unwrap();
    let made = source.create(directory.path(), &["app/one:1"]).await;
    // The image, the list under its tag, and the referrer by its digest.
    assert_eq!((made.totals.references, made.totals.manifests), (3, 3));
    assert_eq!(source.asked("app/one", &referrer.to_string()), 1);
    assert_eq!(source.asked("app/one", &stem), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_attached_to_many_children_holds_nobody_up() {
    let source = Source::start();
    let images: Vec<String> = (0..4).map(|n| format!("app/{n}")).collect();
    for repository in &images {
        let mut children = Vec::new();
        for n in 0..10 {
            let (child, entry) = source.image(repository, None, 1000 * n, usize::MAX);
            let referrer = json!({
                "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/spdx+json",
                "config": source.blob(repository, b"{}"), "layers": [], "subject": entry,
            });
            let (_, listed) = source.manifest(repository, None, &referrer, usize::MAX);
            let list = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [listed]});
            let stem = format!("sha256-{}", child.hex());
            source.manifest(repository, Some(&stem), &list, usize::MAX);
            children.push(entry);
        }
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": children});
        source.manifest(repository, Some("1"), &index, usize::MAX);
    }
    let directory = tempfile::tempdir().unwrap();
    let names: Vec<String> = images.iter().map(|name| format!("{name}:1")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let creating = source.create(directory.path(), &names);
    // It either ends at once or never.
    let limit = std::time::Duration::from_secs(60);
    let made = tokio::time::timeout(limit, creating).await.expect("requests wait for each other");
    // Of each image the index, its children, and of each child the list and the referrer.
    assert_eq!((made.totals.manifests, made.summary.failures.len()), (4 * 31, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn large_manifests_arrive_one_after_another() {
    const LARGE: usize = 3_900_000;
    let source = Source::start();
    let origins = Origins::new(Client::new(ClientOptions::default()).unwrap(), 32);
    // What is held now, and the most that was held.
    let held = Arc::new(Mutex::new((0, 0)));
    let images: Vec<(String, Digest)> = (0..24)
        .map(|n| format!("app/{n}"))
        .map(|name| (name.clone(), source.image(&name, Some("1"), LARGE, usize::MAX).0))
        .collect();
    let mut pulls = tokio::task::JoinSet::new();
    for (n, (repository, digest)) in images.into_iter().enumerate() {
        let origin = Origin::Registry(source.host.parse().unwrap(), repository.parse().unwrap());
        // By tag nothing says beforehand how large it is; by digest an index may say anything.
        let reference = match n % 2 {
            0 => ManifestRef::Tag("1".parse().unwrap()),
            _ => ManifestRef::Digest(digest),
        };
        let (origins, held) = (origins.clone(), Arc::clone(&held));
        pulls.spawn(async move {
            let arrived = origins.manifest(&origin, &reference).await.unwrap();
            let bytes = arrived.raw.bytes.len();
            {
                let mut held = held.lock().unwrap();
                held.0 += bytes;
                held.1 = held.1.max(held.0);
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            held.lock().unwrap().0 -= bytes;
            drop(arrived);
        });
    }
    while let Some(ended) = pulls.join_next().await {
        ended.unwrap();
    }
    let (_, most) = *held.lock().unwrap();
    assert!((LARGE..2 * LARGE).contains(&most), "{most} bytes at a time");
}

/// What was carried before is not asked for by name where the registry lists its tags; what comes to it later
/// is found all the same.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_attached_to_a_carried_image_is_read_from_the_list_of_tags() {
    let source = Source::start();
    let (one, one_entry) = source.image("app/one", None, 0, usize::MAX);
    let (_, two_entry) = source.image("app/one", None, 1_000, usize::MAX);
    let index = json!({
        "schemaVersion": 2, "mediaType": INDEX, "manifests": [one_entry, two_entry],
    });
    source.manifest("app/one", Some("1"), &index, usize::MAX);
    source.list("app/one", &["1"]);
    let directory = tempfile::tempdir().unwrap();
    let medium = |name| directory.path().join(name);
    let next = async |name| {
        source
            .try_create(directory.path(), &["app/one:1"], |options| options.to = medium(name))
            .await
    };
    support::written(next("first").await);
    assert_eq!(source.questions(), (0, 12), "what no sequence carried is asked for by name");

    assert!(matches!(next("none").await, Created::Nothing(_)));
    assert_eq!(source.questions(), (1, 0), "one list for three manifests");

    let signature = format!("sha256-{}.sig", one.hex());
    source.image("app/one", Some(&signature), 2_000, usize::MAX);
    source.list("app/one", &["1", &signature]);
    let made = support::written(next("signed").await);
    assert_eq!((made.totals.manifests, made.summary.failures.len()), (1, 0));
    assert_eq!(source.questions(), (1, 5), "the signature, and what is attached to it");

    // Carried, so it is asked for whatever the list says; what is attached to it is not.
    source.list("app/one", &["1"]);
    assert!(matches!(next("none").await, Created::Nothing(_)));
    assert_eq!(source.questions(), (1, 1));

    let full = |options: &mut CreateOptions| {
        options.to = medium("full");
        options.full = true;
    };
    support::written(source.try_create(directory.path(), &["app/one:1"], full).await);
    assert_eq!(source.questions(), (0, 16), "a full sequence asks for everything by name");
}

/// A cache lists what it holds. Its list is not believed where it can be seen to lack something.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_lacks_the_images_own_tag_counts_for_nothing() {
    let source = Source::start();
    let (one, _) = source.image("app/one", Some("1"), 0, usize::MAX);
    source.list("app/one", &["0"]);
    let directory = tempfile::tempdir().unwrap();
    source.create(directory.path(), &["app/one:1"]).await;
    let signature = format!("sha256-{}.sig", one.hex());
    source.image("app/one", Some(&signature), 2_000, usize::MAX);
    source.questions();
    let medium = directory.path().join("second");
    let made = source.try_create(directory.path(), &["app/one:1"], |options| options.to = medium);
    assert_eq!(support::written(made.await).totals.manifests, 1);
    assert_eq!(source.questions(), (1, 8));
}
