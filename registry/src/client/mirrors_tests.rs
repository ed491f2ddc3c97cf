//! Tests of registries.conf: the rules of containers-registries.conf(5), on the files of
//! containers/image where they are.

use super::*;
use crate::client::testing::shared;
use proptest::prelude::*;

fn conf(text: &str) -> Result<Mirrors, Fault> {
    let mut mirrors = Mirrors::default();
    mirrors.add(Path::new("registries.conf"), text.as_bytes()).map(|()| mirrors)
}

fn places(mirrors: &Mirrors, name: &str, by_digest: bool) -> Result<Vec<String>, Fault> {
    let reference: Reference = name.parse().unwrap();
    let list = mirrors.places(&reference.registry, &reference.repository, by_digest)?;
    Ok(list
        .into_iter()
        .map(|place| {
            let mark = if place.insecure { "!" } else { "" };
            format!("{mark}{}/{}", place.registry, place.repository)
        })
        .collect())
}

#[test]
fn what_clusters_are_told_goes_before_the_file() {
    let mut mirrors = conf(
        "[[registry]]\nlocation = \"q.io/a\"\n[[registry.mirror]]\nlocation = \"old.lan\"\n\
         [[registry]]\nlocation = \"q.io/b\"\nblocked = true\n[[registry.mirror]]\nlocation = \"b.lan\"\n",
    )
    .unwrap();
    let set = |source: &str, mirror: &str, never_source: bool| MirrorSet {
        source: source.to_owned(),
        mirrors: vec![mirror.to_owned()],
        never_source,
        file: "idms.yaml".to_owned(),
    };
    let sets = [
        set("q.io/a", "m.lan/x", false),
        set("q.io/a", "n.lan", false),
        set("r.io/c/d", "m.lan/d", true),
        set("*.corp.io", "m.lan/corp", false),
    ];
    mirrors.add_sets(&sets).unwrap();
    let all = |name: &str, by_digest| places(&mirrors, name, by_digest);
    assert_eq!(all("q.io/a/b", true).unwrap(), ["m.lan/x/b", "n.lan/b", "q.io/a/b"]);
    assert_eq!(all("q.io/a/b", false).unwrap(), ["q.io/a/b"]);
    assert_eq!(all("r.io/c/d", true).unwrap(), ["m.lan/d"]);
    // Neither the source nor, for a tag, a mirror of digests.
    assert!(matches!(all("r.io/c/d", false), Err(Fault::Blocked { .. })));
    assert_eq!(all("x.corp.io/e", true).unwrap(), ["m.lan/corp/e", "x.corp.io/e"]);
    assert_eq!(all("q.io/b/c", true).unwrap(), ["b.lan/c"]);
    for bad in ["", "https://q.io", "a*b"] {
        assert!(Mirrors::default().add_sets(&[set(bad, "m.lan", false)]).is_err(), "{bad}");
    }
    assert!(Mirrors::default().add_sets(&[set("q.io", "", false)]).is_err());
}

#[test]
fn mirrors_come_first_and_the_longest_prefix_decides() {
    let mirrors = conf(
        r#"
        [[registry]]
        prefix = "q.io"
        location = "proxy.lan/q"
        [[registry.mirror]]
        location = "m.lan:5000/x"
        insecure = true
        [[registry.mirror]]
        location = "d.lan"
        pull-from-mirror = "digest-only"
        [[registry]]
        prefix = "q.io/secret"
        location = "q.io/secret"
        blocked = true
        [[registry]]
        prefix = "*.corp.io"
        insecure = true
        "#,
    )
    .unwrap();
    assert_eq!(
        places(&mirrors, "q.io/a/b:1", true).unwrap(),
        ["!m.lan:5000/x/a/b", "d.lan/a/b", "proxy.lan/q/a/b"]
    );
    assert_eq!(
        places(&mirrors, "q.io/a/b:1", false).unwrap(),
        ["!m.lan:5000/x/a/b", "proxy.lan/q/a/b"]
    );
    assert!(matches!(places(&mirrors, "q.io/secret/x", true), Err(Fault::Blocked { .. })));
    assert!(matches!(places(&mirrors, "q.io/secret", true), Err(Fault::Blocked { .. })));
    assert_eq!(places(&mirrors, "q.io/secrets/x", false).unwrap().len(), 2);
    assert_eq!(places(&mirrors, "a.b.corp.io/x", false).unwrap(), ["!a.b.corp.io/x"]);
    assert_eq!(places(&mirrors, "corp.io/x", false).unwrap(), ["corp.io/x"]);
    assert_eq!(places(&mirrors, "z.io/x.corp.io", false).unwrap(), ["z.io/x.corp.io"]);
    assert_eq!(places(&mirrors, "q.io.evil.io/x", false).unwrap(), ["q.io.evil.io/x"]);
}

#[test]
fn drop_ins_replace_entries() {
    let mut mirrors = conf("[[registry]]\nlocation = \"base.com\"\ninsecure = true").unwrap();
    let drop_in = "[[registry]]\nlocation = \"base.com\"\nblocked = true";
    mirrors.add(Path::new("d/1.conf"), drop_in.as_bytes()).unwrap();
    let fault = places(&mirrors, "base.com/x", false).unwrap_err();
    assert!(fault.to_string().contains("d/1.conf"), "{fault}");
}

#[test]
fn real_files_are_read_as_containers_image_reads_them() {
    let Some(dir) = shared("openshift/data/registries-conf") else { return };
    let load = |name: &str| {
        let text = fs_err::read_to_string(dir.join(name)).unwrap();
        conf(&text)
    };
    for name in [
        "blocked-conflicts.conf",
        "insecure-conflicts.conf",
        "invalid-config-level-mirror.conf",
        "invalid-conflict-mirror.conf",
        "invalid-prefix.conf",
        "invalid-value-mirror.conf",
        "missing-mirror-location.conf",
        "mixing-v1-v2.conf",
        "try-update-cache-invalid.conf",
        "v1-invalid-block.conf",
        "v1-invalid-insecure.conf",
        "v1-invalid-search.conf",
    ] {
        assert!(load(name).is_err(), "{name}");
    }
    for name in [
        "aliases.conf",
        "empty.conf",
        "mixing-v1-v2-empty.conf",
        "unmarshal.conf",
        "upstream-default-registries.conf",
        "unqualified-search.conf",
        "try-update-cache-valid.conf",
    ] {
        assert!(load(name).is_ok(), "{name}: {}", load(name).unwrap_err());
    }
    let find = load("find-registry.conf").unwrap();
    for (name, expected) in [
        ("simple-prefix.com/foo/bar", "registry.com:5000/foo/bar"),
        ("complex-prefix.com:4000/with/path/and/beyond", "another-registry.com:5000/and/beyond"),
        ("complex-prefix.com:4000/with/paths", "complex-prefix.com:4000/with/paths"),
        ("no-prefix.com/x", "no-prefix.com/x"),
        ("empty-prefix.com/x", "empty-prefix.com/x"),
        ("foo.so.simple-prefix.com/a", "subdomain-prefix.com/a"),
        ("a.simple-prefix.com/a", "subdomain-prefix-2.com/a"),
        ("a.b.bar.docker.io/x/y", "subdomain-prefix-4.com/x/y"),
        ("foo.bar.example.com:5000/x/y", "subdomain-prefix-5.com/x/y"),
        ("foo.bar.example.com/x/y", "subdomain-prefix-3.com/x/y"),
        ("this.internal.registry.com/x", "this.internal.registry.com/x"),
    ] {
        assert_eq!(places(&find, name, false).unwrap(), [expected], "{name}");
    }
    let old = load("v1-compatibility.conf").unwrap();
    assert!(matches!(places(&old, "registry-b.com/x", false), Err(Fault::Blocked { .. })));
    assert_eq!(places(&old, "registry-d.com/x", false).unwrap(), ["!registry-d.com/x"]);
    let sources = load("pull-sources-from-reference.conf").unwrap();
    for (name, by_digest, expected) in [
        ("registry-a.com/foo/i", true, 3),
        ("registry-a.com/foo/i", false, 3),
        ("registry-b.com/foo/i", true, 3),
        ("registry-b.com/foo/i", false, 1),
        ("registry-b.com/baz/i", false, 1),
        ("registry-c.com/baz/i", true, 3),
        ("registry-c.com/baz/i", false, 2),
        ("registry-e.com/baz/i", true, 1),
        ("registry-e.com/baz/i", false, 3),
        ("registry-g.com/baz/i", true, 4),
        ("registry-g.com/baz/i", false, 4),
    ] {
        let list = places(&sources, name, by_digest).unwrap();
        assert_eq!(list.len(), expected, "{name} {by_digest}: {list:?}");
    }
    assert_eq!(load("cred-helper.conf").unwrap().credential_helpers, ["helper-1", "helper-2"]);
}

proptest! {
    #[test]
    fn nothing_panics(text in "\\PC{0,200}", prefix in "[*.a-z:/]{0,12}", name in "[a-z.:/]{1,20}") {
        let _ = conf(&text);
        if let Some(length) = matched(&name, &prefix) {
            prop_assert!(length <= name.len());
        }
    }
}
