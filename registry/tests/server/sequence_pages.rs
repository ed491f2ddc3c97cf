//! The page of a sequence over plain HTTP: what it brought, what became of it here, and that it holds to limits,
//! damage and the rights of its reader.

use std::collections::BTreeMap;

use format_spec::head::ContentClass::{self, Additional, Helm, Operator, Release};
use format_spec::head::{FORMAT_VERSION, Failure, HEAD_TYPE, Head, IndexEntry, Kind};
use format_spec::head::{Link, Tool, Totals};
use format_spec::index::{Index, ReferenceEntry, Removal};
use format_spec::limits::CELL;
use format_spec::{Digest, Repository, Sequence, StreamId, codec};
use registry::media_type::{OCI_EMPTY, OCI_MANIFEST};
use registry::record;
use serde_json::json;

use crate::page::{HOSTILE, guarded, page, text, url};
use crate::support::*;

/// A sequence as an import leaves its records.
pub struct Left {
    pub ledger: String,
    pub head: Head,
    pub index: Index,
    pub signers: String,
    pub nested: usize,
}

pub fn stream() -> StreamId {
    StreamId::from_bytes([0xab; 16])
}

fn at(number: u64) -> Sequence {
    Sequence::new(number).unwrap()
}

impl Left {
    /// Names of these repositories and tags; without a tag by digest. The content of each is its text.
    pub fn new(number: u64, names: &[(&str, &str, ContentClass)]) -> Self {
        let mut repositories: Vec<Repository> =
            names.iter().map(|(repository, ..)| repository.parse().unwrap()).collect();
        repositories.sort();
        repositories.dedup();
        let id = |name: &str| {
            u32::try_from(repositories.iter().position(|one| one.as_str() == name).unwrap())
                .unwrap()
        };
        let references = names.iter().map(|(repository, tag, class)| ReferenceEntry {
            repository: id(repository),
            tag: (!tag.is_empty()).then(|| tag.parse().unwrap()),
            digest: Digest::of(format!("{repository}:{tag}").as_bytes()),
            source: format!("source.example/{repository}:{tag}"),
            class: *class,
        });
        let references: Vec<_> = references.collect();
        let previous = (number > 1)
            .then(|| Link { sequence: at(number - 1), digest: Digest::of(b"the one before") });
        let head = Head {
            type_: HEAD_TYPE.to_owned(),
            format_version: FORMAT_VERSION,
            crit: Vec::new(),
            stream: stream(),
            sequence: at(number),
            kind: if number > 1 { Kind::Incremental } else { Kind::Full },
            previous,
            tail: previous.into_iter().collect(),
            base: None,
            created: "2026-01-02T03:04:05Z".to_owned(),
            tool: Tool { name: "bundle".to_owned(), version: "0.1.0".to_owned() },
            cell_bytes: CELL as u64,
            parts: Vec::new(),
            index: IndexEntry { digest: Digest::of(b""), bytes: 0 },
            totals: Totals { references: references.len() as u64, ..Totals::default() },
            failures: Vec::new(),
            labels: BTreeMap::new(),
            expires: None,
            next_expected: None,
        };
        let index = Index {
            stream: head.stream,
            sequence: head.sequence,
            repositories,
            manifests: Vec::new(),
            blobs: Vec::new(),
            required: Vec::new(),
            references,
            removals: Vec::new(),
            resources: Vec::new(),
        };
        let ledger = record::LEDGER.to_owned();
        Self { ledger, head, index, signers: String::new(), nested: 0 }
    }

    pub fn at(&self) -> String {
        let tag = record::sequence_tag(self.head.stream, self.head.sequence);
        format!("/ui/sequence/{}:{tag}", self.ledger)
    }

    pub async fn push(&mut self, registry: &Registry) {
        let index = codec::encode(&self.index).unwrap();
        self.head.index = IndexEntry { digest: Digest::of(&index), bytes: index.len() as u64 };
        let head = self.head.to_bytes();
        let tag = record::sequence_tag(self.head.stream, self.head.sequence);
        self.artifact(registry, tag.as_str(), &[&head, &index]).await;
        let standing = json!({
            "sequence": self.head.sequence, "time": "2026-01-03T00:00:00Z", "tool": "bundle 0.1.0",
            "maxNestedPaths": self.nested,
        });
        let tag = format!("{}{}", record::STREAM_PREFIX, self.head.stream);
        self.artifact(registry, &tag, &[standing.to_string().as_bytes()]).await;
    }

    pub async fn artifact(&self, registry: &Registry, tag: &str, layers: &[&[u8]]) {
        let descriptor = |kind: &str, bytes: &[u8]| json!({"mediaType": kind, "digest": Digest::of(bytes).to_string(), "size": bytes.len()});
        registry.push(&self.ledger, b"{}").await;
        for layer in layers {
            registry.push(&self.ledger, layer).await;
        }
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": record::SEQUENCE,
            "config": descriptor(OCI_EMPTY, b"{}"),
            "layers": layers.iter().map(|layer| descriptor("a/b", layer)).collect::<Vec<_>>(),
            "annotations": {record::SIGNERS: self.signers},
        });
        let answer = registry.put(&self.ledger, tag, OCI_MANIFEST, &manifest.to_string()).await;
        assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
    }
}

#[tokio::test]
async fn a_sequence_tells_what_it_brought_and_what_became_of_it() {
    let registry = Registry::start().await;
    let kept = registry.image("team/app", "v1", "layer").await;
    registry.image("team/app", "v2", "another layer").await;
    let beside = format!("sha256-{}.sig", Digest::of(b"x").hex());
    let mut left = Left::new(
        2,
        &[
            ("team/app", "v1", Additional),
            ("team/app", "v2", Additional),
            ("team/app", &beside, Additional),
            ("release", "", Release),
            ("catalog", "v4", Operator),
            ("charts/app", "1.0.0", Helm),
        ],
    );
    left.index.references[0].digest = digest(&kept);
    left.index.references[0].source = HOSTILE.replace(char::is_control, "");
    left.index.removals = vec![
        Removal { repository: 3, tag: Some("v1".parse().unwrap()), digest: digest(&kept) },
        Removal { repository: 0, tag: Some("v3".parse().unwrap()), digest: digest("v3") },
    ];
    left.head.labels = BTreeMap::from([("description".to_owned(), HOSTILE.to_owned())]);
    left.head.failures = vec![Failure {
        reference: "source.example/lost:1".to_owned(),
        class: Operator,
        reason: HOSTILE.to_owned(),
    }];
    left.head.expires = Some("2027-05-06T00:00:00Z".to_owned());
    let key = Digest::of(b"a key");
    left.signers = format!("{key} {HOSTILE}").replace(char::is_control, "");
    left.push(&registry).await;

    let list = page(&registry, "/ui/sequences").await;
    assert!(list.contains(&format!("<a href=\"{}\">Sequence 2</a>", left.at())), "{list}");
    let shown = page(&registry, &left.at()).await;
    let here = format!("/ui/image/team/app@{}", digest(&kept));
    for expected in [
        "Sequence 2",
        "2026-01-02",
        "2027-05-06",
        "incremental",
        &key.to_string(),
        &stream().to_string(),
        "sequence 1",
        "description",
        "source.example/lost:1",
        "href=\"/ui/repository/team/app\"",
        "href=\"/ui/image/team/app:v1\"",
        &here,
        "all 8",
        "release 1",
        "operator 1",
        "additional 3",
        "helm 1",
        "removed 2",
        "moved on",
        "not here",
        "still here",
        "gone",
        "source.example/charts/app:1.0.0",
        "&lt;script&gt;alert(1)&lt;/script&gt;",
    ] {
        assert!(shown.contains(expected), "{expected} in {shown}");
    }
    assert!(!shown.contains("href=\"/ui/repository/charts/app\""), "{shown}");
    assert!(
        !shown.contains("/ui/sequence/bundle-ledger:sequence-abababababababababababababababab-1\"")
    );
    // Whole in the title, and short for the eye.
    assert!(
        shown.contains(&format!("title=\"{beside}\"")) && !shown.contains(&format!(">{beside}<"))
    );

    Left::new(1, &[]).push(&registry).await;
    let shown = page(&registry, &left.at()).await;
    assert!(shown.contains("-1\">sequence 1</a>"), "{shown}");
    let first = page(&registry, &Left::new(1, &[]).at()).await;
    assert!(first.contains("not recorded") && first.contains("There is nothing here"), "{first}");
}

#[tokio::test]
async fn what_it_brought_comes_in_pages_and_by_sort() {
    let registry = Registry::start().await;
    let names: Vec<(String, String)> =
        (0..120).map(|n| (format!("repo{:02}", n % 3), format!("t{n:03}"))).collect();
    let class = |n: usize| if n.is_multiple_of(2) { Release } else { Helm };
    let names: Vec<_> =
        names.iter().enumerate().map(|(n, (r, t))| (r.as_str(), t.as_str(), class(n))).collect();
    let mut left = Left::new(1, &names);
    left.index.removals =
        vec![Removal { repository: 1, tag: Some("old".parse().unwrap()), digest: digest("old") }];
    left.push(&registry).await;
    let shown = async |query: &str| page(&registry, &format!("{}{query}", left.at())).await;
    let tags = |text: &str| {
        let all = (0..120).filter(|n| text.contains(&format!(">t{n:03}<")));
        all.collect::<Vec<usize>>()
    };

    let first = shown("").await;
    assert_eq!(tags(&first), (0..50).collect::<Vec<_>>());
    assert!(
        first.contains("all 121") && first.contains("from=50#contents\" rel=\"next\""),
        "{first}"
    );
    assert!(!first.contains(">old<"));
    let last = shown("?from=100").await;
    assert_eq!(tags(&last), (100..120).collect::<Vec<_>>());
    assert!(last.contains(">old<") && last.contains("From the beginning"), "{last}");
    assert!(!last.contains("rel=\"next\""));

    let helm = shown("?only=helm&from=50").await;
    assert_eq!(tags(&helm), (101..120).step_by(2).collect::<Vec<_>>());
    assert!(helm.contains("release 60") && helm.contains("helm 60"), "{helm}");
    let removed = shown("?only=removed").await;
    assert!(tags(&removed).is_empty() && removed.contains(">old<"), "{removed}");
    let one = shown("?q=REPO01&only=release").await;
    assert_eq!(tags(&one), (4..120).step_by(6).collect::<Vec<_>>());
    assert!(one.contains("all 41") && one.contains("release 20"), "{one}");
    assert!(shown("?q=none").await.contains("No repository has this in its name"));
    for odd in ["-1", "x", "99999999999999999999", "18446744073709551615", "5000", "%00"] {
        let text = shown(&format!("?from={odd}&only={}&q={}", url(HOSTILE), url("repo"))).await;
        assert!(text.contains("all 121"), "{odd}: {text}");
    }
}

#[tokio::test]
async fn a_damaged_record_is_told_and_hides_no_other() {
    let registry = Registry::start().await;
    let mut good = Left::new(1, &[("team/app", "v1", Additional)]);
    good.push(&registry).await;
    let mut left = Left::new(2, &[("team/other", "v1", Additional)]);
    left.push(&registry).await;
    let (head, index) = (left.head.to_bytes(), codec::encode(&left.index).unwrap());
    let file = |bytes: &[u8]| {
        let hex = Digest::of(bytes).hex();
        registry.dir.path().join("blobs/sha256").join(&hex[..2]).join(&hex)
    };
    let told = "What this sequence brought cannot be told";
    let check = async |what: &str| {
        let shown = page(&registry, &left.at()).await;
        assert!(shown.contains(told) && !shown.contains("team/other"), "{what}: {shown}");
        assert!(page(&registry, "/ui/sequences").await.contains("Sequence 1</a>"), "{what}");
        assert!(page(&registry, &good.at()).await.contains("team/app"), "{what}");
    };
    for whole in [&head, &index] {
        let path = file(whole);
        let mut flipped = whole.clone();
        let middle = whole.len() - 30;
        flipped[middle] ^= 1;
        for bytes in [&flipped[..], &whole[..whole.len() / 2], b"", &vec![0xff; whole.len()]] {
            fs_err::write(&path, bytes).unwrap();
            check(&format!("{} of {} bytes", bytes.len(), whole.len())).await;
        }
        fs_err::remove_file(&path).unwrap();
        check("gone").await;
        fs_err::create_dir(&path).unwrap();
        check("a directory").await;
        fs_err::remove_dir(&path).unwrap();
        fs_err::write(&path, whole).unwrap();
        assert!(page(&registry, &left.at()).await.contains("team/other"));
    }
    let tag = record::sequence_tag(stream(), at(2));
    let other = codec::encode(&good.index).unwrap();
    let layers: [&[&[u8]]; 5] =
        [&[&head], &[&head, &other], &[&head, b"none"], &[b"{}", &index], &[&index, &head]];
    for layers in layers {
        left.artifact(&registry, tag.as_str(), layers).await;
        check(&format!("{} layers", layers.len())).await;
    }
    let pointer = registry.dir.path().join("repositories/bundle-ledger/_tags").join(tag.as_str());
    fs_err::write(&pointer, "sha256:none").unwrap();
    check("a tag that points to nothing").await;

    // Without it nobody knows what the repositories are called here.
    left.push(&registry).await;
    let standing = format!("{}{}", record::STREAM_PREFIX, stream());
    left.artifact(&registry, &standing, &[b"[]"]).await;
    let shown = page(&registry, &left.at()).await;
    assert!(shown.contains("The record of this stream cannot be read"), "{shown}");
    assert!(!shown.contains("team/other"));
}

#[tokio::test]
async fn the_list_reads_no_more_than_its_share() {
    let registry = Registry::start().await;
    let mut small = Left::new(1, &[]);
    small.push(&registry).await;
    // As large as the page of a sequence would read, under ten names.
    let large = vec![b' '; 4 << 20];
    for number in 2..12 {
        let tag = record::sequence_tag(stream(), at(number));
        small.artifact(&registry, tag.as_str(), &[&large, b"index"]).await;
    }
    let list = page(&registry, "/ui/sequences").await;
    assert_eq!(list.matches("its record cannot be read").count(), 7, "{list}");
    assert_eq!(list.matches("its own page tells").count(), 3, "{list}");
    assert!(list.contains("2026-01-02"), "{list}");

    // Nor more streams than it shows, however many ledgers have them.
    for ledger in 0..3 {
        small.ledger = format!("site{ledger}/bundle-ledger");
        for number in 0..9 {
            let tag = format!("{}{}", record::STREAM_PREFIX, StreamId::from_bytes([number; 16]));
            small.artifact(&registry, &tag, &[b"{}"]).await;
        }
    }
    let list = page(&registry, "/ui/sequences").await;
    assert_eq!(list.matches("Stream <code").count(), 20, "{list}");
}

#[tokio::test]
async fn there_is_no_page_of_what_is_no_sequence() {
    let registry = Registry::start().await;
    let mut left = Left::new(1, &[("team/app", "v1", Additional)]);
    left.push(&registry).await;
    left.ledger = "team/other".to_owned();
    left.push(&registry).await;
    let tag = record::sequence_tag(stream(), at(1));
    for path in [
        left.at(),
        "/ui/sequence/".to_owned(),
        "/ui/sequence/bundle-ledger".to_owned(),
        "/ui/sequence/bundle-ledger:v1".to_owned(),
        format!("/ui/sequence/bundle-ledger:{}", record::sequence_tag(stream(), at(2))),
        format!("/ui/sequence/none/bundle-ledger:{tag}"),
        format!("/ui/sequence/../bundle-ledger:{tag}/x"),
    ] {
        let answer = registry.send("GET", &path).await;
        assert_eq!(answer.status(), 404, "{path}");
        if path.contains("..") {
            continue;
        }
        guarded(&answer);
        assert!(text(answer).await.contains("There is nothing here"), "{path}");
    }
    let good = format!("/ui/sequence/bundle-ledger:{tag}");
    assert_eq!(registry.send("POST", &good).await.status(), 405);
    assert_eq!(registry.send("HEAD", &good).await.status(), 200);
}

#[tokio::test]
async fn names_of_a_target_with_few_components_are_those_of_the_target() {
    let registry = Registry::start().await;
    registry.image("site/deep-er-app", "v1", "layer").await;
    let mut left = Left::new(1, &[("deep/er/app", "v1", Additional)]);
    (left.ledger, left.nested) = ("site/bundle-ledger".to_owned(), 2);
    left.push(&registry).await;
    let shown = page(&registry, &left.at()).await;
    assert!(shown.contains("href=\"/ui/repository/site/deep-er-app\""), "{shown}");
    assert!(shown.contains("into site"), "{shown}");
}
