//! The client against CNCF distribution, as Debian packages it. Skipped, with a line, where it is not
//! installed.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use format_spec::{Digest, Repository};

use super::testing::options;
use super::*;
use crate::media_type::{OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP, OCI_MANIFEST};

/// A registry of our own, on a port of the kernel's choice.
struct Distribution {
    child: Child,
    host: RegistryHost,
    dir: tempfile::TempDir,
}

impl Drop for Distribution {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Distribution {
    async fn start(htpasswd: Option<&str>) -> Option<Self> {
        let program = Path::new("/usr/bin/docker-registry");
        if !program.exists() {
            println!("skipped: `docker-registry` is not installed");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let data = dir.path().join("data");
        let mut conf = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  \
             delete: {{enabled: true}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n",
            data.display()
        );
        if let Some(line) = htpasswd {
            let path = dir.path().join("htpasswd");
            fs_err::write(&path, line).unwrap();
            conf += &format!("auth: {{htpasswd: {{realm: r, path: {}}}}}\n", path.display());
        }
        let path = dir.path().join("conf.yml");
        fs_err::write(&path, conf).unwrap();
        #[allow(clippy::zombie_processes)] // `Drop` waits, once it stands in the struct below
        let child = Command::new(program)
            .arg("serve")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let host: RegistryHost = format!("127.0.0.1:{port}").parse().unwrap();
        for _ in 0..200 {
            if tokio::net::TcpStream::connect(host.as_str()).await.is_ok() {
                return Some(Self { child, host, dir });
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("docker-registry does not start");
    }

    fn client(&self) -> Client {
        Client::new(options(self.dir.path())).unwrap()
    }
}

fn content(length: usize) -> Bytes {
    let mut state = 7_u32;
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_le_bytes()[3]
        })
        .collect()
}

async fn push(client: &Client, host: &RegistryHost, repo: &Repository, body: &Bytes) -> Digest {
    let digest = Digest::of(body);
    let source: Arc<dyn BlobSource> = Arc::new(body.clone());
    let size = body.len() as u64;
    let pushed = client.push_blob(host, repo, &digest, size, source, None).await.unwrap();
    assert_eq!(pushed, Pushed::Uploaded);
    digest
}

fn descriptor(media_type: &str, body: &[u8]) -> serde_json::Value {
    let digest = Digest::of(body).to_string();
    serde_json::json!({"mediaType": media_type, "digest": digest, "size": body.len()})
}

#[tokio::test(flavor = "multi_thread")]
async fn images_go_there_and_come_back() {
    let Some(registry) = Distribution::start(None).await else { return };
    let (client, host) = (registry.client(), registry.host.clone());
    client.ping(&host).await.unwrap();
    let repo: Repository = "deep/er/and/deep/er/app".parse().unwrap();
    let (layer, config) = (content(9_000_000), Bytes::from_static(b"{}"));
    let digest = push(&client, &host, &repo, &layer).await;
    push(&client, &host, &repo, &config).await;
    assert_eq!(client.head_blob(&host, &repo, &digest).await.unwrap(), Some(Some(9_000_000)));
    let missing = Digest::of(b"missing");
    assert_eq!(client.head_blob(&host, &repo, &missing).await.unwrap(), None);

    let image = serde_json::json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": descriptor(OCI_CONFIG, &config), "layers": [descriptor(OCI_LAYER_GZIP, &layer)],
    });
    let image = Bytes::from(serde_json::to_vec_pretty(&image).unwrap());
    let image_digest = Digest::of(&image);
    let by_digest = ManifestRef::Digest(image_digest);
    client.put_manifest(&host, &repo, &by_digest, OCI_MANIFEST, image.clone()).await.unwrap();
    let index = serde_json::json!({
        "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [descriptor(OCI_MANIFEST, &image)],
    });
    let index = Bytes::from(index.to_string());
    for name in ["v1", "v2"] {
        let tag = ManifestRef::Tag(name.parse().unwrap());
        client.put_manifest(&host, &repo, &tag, OCI_INDEX, index.clone()).await.unwrap();
    }
    let v1 = ManifestRef::Tag("v1".parse().unwrap());
    let raw = client.get_manifest(&host, &repo, &v1).await.unwrap();
    assert_eq!((&raw.bytes, &*raw.media_type), (&index, OCI_INDEX));
    let child = raw.parse().unwrap().children()[0].digest;
    let raw = client.get_manifest(&host, &repo, &child.into()).await.unwrap();
    assert_eq!(raw.bytes, image);
    let head = client.head_manifest(&host, &repo, &v1).await.unwrap().unwrap();
    assert_eq!((head.digest, head.size), (Some(Digest::of(&index)), Some(index.len() as u64)));

    let mut stream = client.get_blob(&host, &repo, &digest, 9_000_000, 4_000_000).await.unwrap();
    let mut tail = vec![0; 5_000_000];
    let mut at = 0;
    while at < tail.len() {
        at += stream.read(&mut tail[at..]).await.unwrap();
    }
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    assert!(tail == layer[4_000_000..]);
    let tags = client.list_tags(&host, &repo).await.unwrap().unwrap();
    assert_eq!(tags.iter().map(ToString::to_string).collect::<Vec<_>>(), ["v1", "v2"]);
    let nowhere: Repository = "no/where".parse().unwrap();
    assert_eq!(client.list_tags(&host, &nowhere).await.unwrap(), None);

    let deleted = client.delete_manifest(&host, &repo, &by_digest).await.unwrap();
    assert_eq!(deleted, Deleted::Done);
    let deleted = client.delete_manifest(&host, &repo, &by_digest).await.unwrap();
    assert_eq!(deleted, Deleted::NotFound);
    let error = client.get_manifest(&host, &repo, &by_digest).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let deleted = client.delete_manifest(&host, &repo, &v1).await.unwrap();
    assert!(matches!(deleted, Deleted::Done | Deleted::Unsupported), "{deleted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_are_mounted_and_unknown_ones_uploaded() {
    let Some(registry) = Distribution::start(None).await else { return };
    let (client, host) = (registry.client(), registry.host.clone());
    let (base, app): (Repository, Repository) = ("base".parse().unwrap(), "app".parse().unwrap());
    let body = content(100_000);
    let digest = push(&client, &host, &base, &body).await;
    let sent = client.counters().totals().sent;
    for expected in [Pushed::Mounted, Pushed::Uploaded] {
        let source: Arc<dyn BlobSource> = Arc::new(body.clone());
        let from = if expected == Pushed::Mounted { base.clone() } else { "x/y".parse().unwrap() };
        let to: Repository = format!("{app}/{expected:?}").to_lowercase().parse().unwrap();
        let pushed =
            client.push_blob(&host, &to, &digest, 100_000, source, Some(&from)).await.unwrap();
        assert_eq!(pushed, expected);
        assert_eq!(client.head_blob(&host, &to, &digest).await.unwrap(), Some(Some(100_000)));
    }
    assert_eq!(client.counters().totals().sent - sent, 100_000, "the mount sent nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn referrers_work_without_the_api() {
    let Some(registry) = Distribution::start(None).await else { return };
    let (client, host) = (registry.client(), registry.host.clone());
    let repo: Repository = "signed".parse().unwrap();
    push(&client, &host, &repo, &content(10)).await;
    for subject in ["subject", "another"] {
        let list = client.referrers(&host, &repo, &Digest::of(subject.as_bytes())).await.unwrap();
        assert!(list.is_none(), "distribution 2.8 has no such API");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_of_uploading_works_there() {
    let Some(registry) = Distribution::start(None).await else { return };
    let (client, host) = (registry.client(), registry.host.clone());
    let repo: Repository = "ways".parse().unwrap();
    let session = client.core.session(&host, false).await.unwrap();
    for (number, way) in [push::Way::Monolithic, push::Way::Whole, push::Way::Chunks(1_000_000)]
        .into_iter()
        .enumerate()
    {
        *session.way.lock().unwrap() = way;
        let body = content(3_500_000 + number);
        let digest = push(&client, &host, &repo, &body).await;
        let size = body.len() as u64;
        assert_eq!(client.head_blob(&host, &repo, &digest).await.unwrap(), Some(Some(size)));
        assert_eq!(*session.way.lock().unwrap(), way);
    }
    let empty = push(&client, &host, &repo, &Bytes::new()).await;
    assert_eq!(client.head_blob(&host, &repo, &empty).await.unwrap(), Some(Some(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_let_in_and_their_lack_does_not() {
    // `user:password`, bcrypt at its lowest cost.
    let line = "user:$2y$04$IxZaUOZ8kDpZFn8EOxYTYOSVIcuw7r.kvA9Tf3Nx0QaqmoaZQo0A2\n";
    let Some(registry) = Distribution::start(Some(line)).await else { return };
    let host = registry.host.clone();
    let error = registry.client().ping(&host).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Credentials);
    assert!(error.to_string().contains("found no credentials"), "{error}");
    let auth = |password: &str| {
        use base64::Engine;
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("user:{password}"));
        let text = serde_json::json!({"auths": {host.as_str(): {"auth": pair}}}).to_string();
        fs_err::write(registry.dir.path().join("auth.json"), text).unwrap();
        registry.client()
    };
    let error = auth("wrong").ping(&host).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Credentials);
    assert!(error.to_string().contains("used key"), "{error}");
    let client = auth("password");
    client.ping(&host).await.unwrap();
    push(&client, &host, &"a/b".parse().unwrap(), &content(1000)).await;
}

/// `cargo test -p registry --release -- --ignored speed --nocapture`: prints, judges nothing.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn speed() {
    let Some(registry) = Distribution::start(None).await else { return };
    let (client, host) = (registry.client(), registry.host.clone());
    let repo: Repository = "speed".parse().unwrap();
    let block = content(1 << 20);
    let body: Bytes = block.iter().copied().cycle().take(1 << 30).collect();
    let size = body.len() as u64;
    let digest = Digest::of(&body);
    // Our own processor time in 1/100 s: the machine may be busy.
    let used = || {
        let stat = fs_err::read_to_string("/proc/self/stat").unwrap();
        let fields: Vec<u64> =
            stat.split(' ').skip(13).take(2).map(|n| n.parse().unwrap()).collect();
        fields.iter().sum::<u64>()
    };
    for _ in 0..3 {
        let (start, before) = (Instant::now(), used());
        push(&client, &host, &repo, &body).await;
        // Half a second or so of it is the hash that `push` makes.
        let (pushed, push_used) = (start.elapsed(), used() - before);
        let (start, before) = (Instant::now(), used());
        let mut stream = client.get_blob(&host, &repo, &digest, size, 0).await.unwrap();
        let (mut reads, mut bytes) = (0_u64, 0_usize);
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match stream.read(&mut buffer).await.unwrap() {
                0 => break,
                read => bytes += read,
            }
            reads += 1;
        }
        println!(
            "1 GiB: push {pushed:?} ({push_used}), pull {:?} ({}) in reads of {} KiB",
            start.elapsed(),
            used() - before,
            bytes as u64 / reads / 1024
        );
    }
}
