use super::*;

fn found(text: &str, paths: &[&str]) -> (Vec<String>, Vec<String>) {
    let mut images = Images::default();
    let paths: Vec<_> =
        paths.iter().map(|path| ((*path).to_owned(), path.parse().unwrap())).collect();
    images.rendered(text, &paths);
    let (found, skipped, warnings) = images.found();
    assert_eq!(warnings, [""; 0]);
    (
        found.into_iter().map(|one| one.image).collect(),
        skipped.into_iter().map(|one| one.value).collect(),
    )
}

const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

#[test]
fn references_are_read_as_runtimes_read_them() {
    for (value, expected) in [
        ("nginx:1.16.0", "docker.io/library/nginx:1.16.0"),
        ("nginx", "docker.io/library/nginx:latest"),
        ("acme/app:1", "docker.io/acme/app:1"),
        ("docker.io/redis:7", "docker.io/library/redis:7"),
        ("localhost/app:1", "localhost/app:1"),
        ("reg:5000/app", "reg:5000/app:latest"),
        ("q.io/a/b", "q.io/a/b:latest"),
        (" q.io/a/b:1 ", "q.io/a/b:1"),
        (&format!("q.io/a/b:1@{DIGEST}"), &format!("q.io/a/b:1@{DIGEST}")),
        (&format!("q.io/a/b@{DIGEST}"), &format!("q.io/a/b@{DIGEST}")),
    ] {
        assert_eq!(reference(value, By::Pod).unwrap().to_string(), expected, "{value}");
    }
    for value in [
        "",
        " ",
        ":latest",
        "q.io/a:",
        "#34577c",
        "http://q.io/a:1",
        "a b",
        "auto",
        "q.io/A:1@sha256:1",
    ] {
        assert!(reference(value, By::Pod).is_err(), "{value}");
    }
    for value in ["debug", "#34577c", "tcp://redis:6379", "redis:6379", "acme/app", "true"] {
        assert!(reference(value, By::ImagePath).is_err(), "{value}");
    }
    for value in ["nginx:1.16", "q.io/a/b", "redis:7", "reg.lan:5000/a/b"] {
        assert!(reference(value, By::ImagePath).is_ok(), "{value}");
    }
}

#[test]
fn every_pod_is_looked_at_and_tests_are_not() {
    let text = r#"---
# Source: app/templates/deploy.yaml
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  template:
    spec:
      initContainers: [{name: i, image: "q.io/init:1"}]
      containers:
      - {name: a, image: "q.io/main:1", image: "q.io/last:1"}
      ephemeralContainers: [{name: e, image: "q.io/debug:1"}]
      volumes: [{name: v, image: {reference: "q.io/volume:1"}}, {name: w, emptyDir: {}}]
---
# Source: app/templates/cron.yaml
kind: CronJob
metadata: {name: c}
spec: {jobTemplate: {spec: {template: {spec: {containers: [{image: "q.io/cron:1"}]}}}}}
---
# Source: app/templates/list.yaml
kind: List
items:
- kind: Pod
  metadata: {name: p}
  spec: {containers: [{image: "q.io/pod:1"}, {image: "q.io/main:1"}, {name: none}]}
---
# Source: app/templates/hook.yaml
kind: Job
metadata: {name: h, annotations: {"helm.sh/hook": "pre-install,pre-upgrade"}}
spec: {template: {spec: {containers: [{image: "q.io/hook:1"}]}}}
---
# Source: app/templates/tests/t.yaml
kind: Pod
metadata: {name: t, annotations: {"helm.sh/hook": test-success}}
spec: {containers: [{image: "q.io/test:1"}]}
---
# Source: app/templates/custom.yaml
kind: Kafka
metadata: {name: k}
spec:
  image: q.io/kafka/server:1
  deep: {podTemplate: {containers: [{image: "q.io/custom:1"}, {image: ""}]}}
---
# only a comment
---
- a list
"#;
    let (images, skipped) = found(text, &[]);
    let expected = ["cron", "custom", "debug", "hook", "init", "last", "pod", "volume"];
    let mut expected: Vec<String> = expected.iter().map(|name| format!("q.io/{name}:1")).collect();
    expected.insert(6, "q.io/main:1".to_owned());
    assert_eq!(images, expected);
    assert_eq!(skipped, ["", "q.io/kafka/server:1"]);
    let (images, skipped) = found(text, &["{.spec.image}", "{.spec.deep}"]);
    assert!(images.contains(&"q.io/kafka/server:1".to_owned()), "{images:?}");
    assert_eq!(skipped.len(), 2, "{skipped:?}");
}

#[test]
fn each_image_says_where_it_is() {
    let mut images = Images::default();
    images.rendered(
        "# Source: a/templates/x.yaml\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{image: x}]}\n",
        &[],
    );
    let (found, ..) = images.found();
    let at = &found[0].found[0];
    assert_eq!(at.to_string(), "Pod/p .spec.containers[0].image in a/templates/x.yaml");
    assert_eq!(at.by, By::Pod);
}

#[test]
fn a_document_that_is_none_is_told_and_the_rest_goes_on() {
    let mut images = Images::default();
    images.rendered("# Source: a/t/x.yaml\na: [\n---\nspec: {containers: [{image: x}]}\n", &[]);
    let (found, _, warnings) = images.found();
    assert_eq!(found.len(), 1);
    assert!(warnings[0].contains("`a/t/x.yaml`"), "{warnings:?}");
}

fn chart(metadata: Value, values: Value) -> Chart {
    let (Value::Object(metadata), Value::Object(values)) = (metadata, values) else { panic!() };
    Chart {
        name: "a".to_owned(),
        version: "1.0.0".to_owned(),
        metadata,
        values,
        file: "a/Chart.yaml".to_owned(),
        charts: Vec::new(),
    }
}

#[test]
fn annotations_list_images() {
    let lists = [
        "- name: app\n  image: acme/app:1\n- image: q.io/b:2\n",
        "  - image: acme/app:1\n  - q.io/b:2\n",
        "[{image: \"acme/app:1\"}, {image: q.io/b:2}]",
    ];
    for list in lists {
        let of = chart(
            serde_json::json!({"annotations": {"artifacthub.io/images": list}}),
            serde_json::json!({}),
        );
        let mut images = Images::default();
        images.annotated(&of);
        let (found, _, warnings) = images.found();
        let names: Vec<_> = found.iter().map(|one| one.image.as_str()).collect();
        assert_eq!(
            (names, warnings.len()),
            (vec!["docker.io/acme/app:1", "q.io/b:2"], 0),
            "{list}"
        );
    }
    for list in ["a: b", "x", "[", "- name: x\n"] {
        let of = chart(
            serde_json::json!({"annotations": {"helm.sh/images": list}}),
            serde_json::json!({}),
        );
        let mut images = Images::default();
        images.annotated(&of);
        let (found, skipped, warnings) = images.found();
        assert!(found.is_empty() && skipped.len() + warnings.len() == 1, "{list}");
    }
}

#[test]
fn values_are_guessed_from() {
    let of = chart(
        serde_json::json!({"appVersion": "9"}),
        serde_json::json!({
            "image": {"registry": "q.io", "repository": "acme/app", "tag": 1},
            "sidecar": {"image": "q.io/side:2"},
            "job": {"image": {"repository": "job"}},
            "old": {"image": "acme/old", "tag": "3"},
            "by": {"image": {"repository": "q.io/d", "digest": DIGEST, "tag": "x"}},
            "git": {"repository": "https://git.example.com/x"},
            "empty": {"image": ""},
        }),
    );
    let mut images = Images::default();
    images.scanned(&of);
    let (found, ..) = images.found();
    let names: Vec<_> = found.iter().map(|one| one.image.clone()).collect();
    let by_digest = format!("q.io/d@{DIGEST}");
    let expected = [
        "docker.io/acme/old:3",
        "docker.io/library/job:9",
        "q.io/acme/app:1",
        &by_digest,
        "q.io/side:2",
    ];
    assert_eq!(names, expected);
    assert_eq!(found[2].found[0].to_string(), ".image in a/values.yaml");
}
