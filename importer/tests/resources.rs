//! The files for clusters, from the records of sequences that state releases.

#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;

use format_spec::head::{ContentClass, Kind};
use format_spec::index::Resource;
use importer::{ErrorKind, Form, ImportOptions, ResourceOptions};
use registry::reference::ManifestRef;
use support::{Bench, Running, Spec, client, noise, target};
use tokio_util::sync::CancellationToken;

const PAYLOAD: &str = "quay.io/openshift-release-dev/ocp-release";

/// A release and an additional image.
fn with_release(spec: &mut Spec, version: &str, seed: u64) {
    let tag = format!("{version}-x86_64");
    let payload = spec.image("openshift/release-images", &tag, &[noise(seed, 900)]);
    let digest = payload.digest();
    let source = format!("{PAYLOAD}@{digest}");
    spec.sources
        .insert("openshift/release-images".to_owned(), (source.clone(), ContentClass::Release));
    let release = format!(
        r#"{{"version": "{version}", "architecture": "amd64", "digest": "{digest}", "source": "{source}",
            "repository": "openshift/release-images", "tag": "{tag}", "channels": [], "signed": true}}"#
    );
    let resource = |name: String, content: Vec<u8>| Resource { name, content };
    spec.resources = vec![
        resource(format!("release/{tag}"), release.into()),
        resource(format!("release-signature/sha256-{}-1", digest.hex()), version.into()),
        resource("of/a/later/version".to_owned(), vec![0xff]),
    ];
}

fn options(bench: &Bench) -> ResourceOptions {
    ResourceOptions {
        kinds: [importer::Kind::Openshift].into(),
        authorities: Vec::new(),
        plain_http: Vec::new(),
        from: Vec::new(),
        target: target(&bench.host),
        told_as: None,
        workspace: bench.workspace.path().to_owned(),
        to: None,
        trusted: Vec::new(),
        max_nested_paths: 0,
        form: Form::default(),
        client: client(&bench.host),
        cancel: CancellationToken::new(),
    }
}

fn read(directory: &Path, name: &str) -> String {
    fs_err::read_to_string(directory.join("cluster-resources").join(name)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_sequence_states_what_counts() {
    let registry = Running::start().await;
    let bench = Bench::new(&registry.host);
    let mut spec = Spec::new(1);
    with_release(&mut spec, "4.14.37", 1);
    spec.image("app", "1", &[noise(9, 500)]);
    let written = spec.write(bench.media.path());
    bench.import().await.unwrap();
    let workspace = bench.workspace.path();
    let map = read(workspace, "signature-configmap.yaml");
    assert!(map.contains(": NC4xNC4zNw==\n"), "{map}");
    let tags = read(workspace, "itms-oc-mirror.yaml");
    let mirror = format!("    - \"{}/mirror/openshift/release-images\"\n", bench.host);
    assert!(tags.contains(&format!("  - source: {PAYLOAD}\n    mirrors:\n{mirror}")), "{tags}");
    assert!(tags.contains("  - source: source.example/app\n"), "{tags}");
    assert!(read(workspace, "idms-oc-mirror.yaml").contains(&mirror));

    // The next one states another release, and the image of the first left the configuration.
    let mut next = spec.next(&written);
    with_release(&mut next, "4.14.38", 2);
    next.removed.push("app".to_owned());
    let media = tempfile::tempdir().unwrap();
    let last = next.write(media.path());
    let from = vec![media.path().to_owned()];
    let options_of_next = ImportOptions { from, ..bench.options() };
    importer::import(options_of_next.clone()).await.unwrap();
    let map = read(workspace, "signature-configmap.yaml");
    assert!(map.contains(": NC4xNC4zOA==\n") && !map.contains(": NC4xNC4zNw==\n"), "{map}");
    assert!(!read(workspace, "itms-oc-mirror.yaml").contains("source.example"));

    // A full one in between is where the reading begins; its record alone is enough.
    let mut full = Spec { kind: Kind::Full, ..next.next(&last) };
    full.earlier.clear();
    with_release(&mut full, "4.14.39", 3);
    let media = tempfile::tempdir().unwrap();
    full.write(media.path());
    let from = vec![media.path().to_owned()];
    importer::import(ImportOptions { from, ..bench.options() }).await.unwrap();
    let files = importer::resources(options(&bench)).await.unwrap();
    assert!(files.warnings.is_empty(), "{:?}", files.warnings);
    assert!(read(workspace, "signature-configmap.yaml").contains(": NC4xNC4zOQ==\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_is_missing_is_told_and_one_that_is_another_is_refused() {
    let registry = Running::start().await;
    let bench = Bench::new(&registry.host);
    let mut spec = Spec::new(1);
    spec.image("app", "1", &[noise(1, 500)]);
    let written = spec.write(bench.media.path());
    let mut next = spec.next(&written);
    next.image("tool", "1", &[noise(2, 500)]);
    let second = next.write(bench.media.path());
    bench.import().await.unwrap();

    let wire = client(&bench.host);
    let ledger = "mirror/bundle-ledger".parse().unwrap();
    let tag =
        |sequence| ManifestRef::Tag(registry::record::sequence_tag(written.head.stream, sequence));
    let of = |reference: ManifestRef| {
        let (wire, host, ledger) = (wire.clone(), bench.host.clone(), &ledger);
        async move { wire.get_manifest(&host, ledger, &reference).await.unwrap() }
    };
    let (first, later) =
        (of(tag(written.head.sequence)).await, of(tag(second.head.sequence)).await);
    // The record of the second under the name of the first.
    let one = tag(written.head.sequence);
    let put = wire.put_manifest(&bench.host, &ledger, &one, &later.media_type, later.bytes.clone());
    put.await.unwrap();
    let refused = importer::resources(options(&bench)).await.unwrap_err();
    assert_eq!(refused.exit(), ErrorKind::Other);
    assert!(refused.to_string().contains("its head is of another sequence"), "{refused}");

    // Without the first only the second is known, and that is said.
    wire.delete_manifest(&bench.host, &ledger, &first.digest.into()).await.ok();
    let two = tag(second.head.sequence);
    let put = wire.put_manifest(&bench.host, &ledger, &two, &later.media_type, later.bytes);
    let deleted = wire.delete_manifest(&bench.host, &ledger, &later.digest.into()).await;
    deleted.unwrap();
    put.await.unwrap();
    let files = importer::resources(options(&bench)).await.unwrap();
    let [warning] = &*files.warnings else { panic!("{:?}", files.warnings) };
    assert!(warning.contains("no record of sequence 1 "), "{warning}");
    let tags = read(bench.workspace.path(), "itms-oc-mirror.yaml");
    assert!(tags.contains("source.example/tool") && !tags.contains("source.example/app"), "{tags}");
}
