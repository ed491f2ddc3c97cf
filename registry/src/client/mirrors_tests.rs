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

/// A case: what it shows, the file, a name, whether it is asked for by digest, and the places; none when it is blocked.
type Case<'a> = (&'a str, &'a str, &'a str, bool, &'a [&'a str]);

#[test]
fn every_rule_of_the_format_is_kept() {
    let rules: &[Case<'_>] = &[
        (
            "the prefix is the location where none is written",
            "[[registry]]\nlocation = \"q.io/a\"\ninsecure = true",
            "q.io/a/b",
            false,
            &["!q.io/a/b"],
        ),
        (
            "an empty prefix is none",
            "[[registry]]\nprefix = \"\"\nlocation = \"q.io\"\ninsecure = true",
            "q.io/a",
            false,
            &["!q.io/a"],
        ),
        (
            "a wildcard is about domains below, with no location the host stays",
            "[[registry]]\nprefix = \"*.q.io\"\ninsecure = true",
            "a.b.q.io/x",
            false,
            &["!a.b.q.io/x"],
        ),
        (
            "and not about the domain itself",
            "[[registry]]\nprefix = \"*.q.io\"\nblocked = true",
            "q.io/x",
            false,
            &["q.io/x"],
        ),
        (
            "nor about one that ends so",
            "[[registry]]\nprefix = \"*.q.io\"\nblocked = true",
            "a.notq.io/x",
            false,
            &["a.notq.io/x"],
        ),
        (
            "a wildcard with a location replaces the host",
            "[[registry]]\nprefix = \"*.q.io\"\nlocation = \"m.lan/q\"",
            "a.q.io/x",
            false,
            &["m.lan/q/x"],
        ),
        (
            "what comes of it must be a name",
            "[[registry]]\nprefix = \"*.q.io\"\nlocation = \"m.lan/q\"",
            "a.q.io:5000/x",
            false,
            &[],
        ),
        (
            "a wildcard covers every port",
            "[[registry]]\nprefix = \"*.q.io\"\ninsecure = true",
            "a.q.io:5000/x",
            false,
            &["!a.q.io:5000/x"],
        ),
        (
            "the longest prefix counts alone",
            "[[registry]]\nlocation = \"q.io\"\nblocked = true\n[[registry]]\nlocation = \"q.io/a\"",
            "q.io/a/b",
            false,
            &["q.io/a/b"],
        ),
        (
            "whatever stands first",
            "[[registry]]\nlocation = \"q.io/a\"\n[[registry]]\nlocation = \"q.io\"\nblocked = true",
            "q.io/a/b",
            false,
            &["q.io/a/b"],
        ),
        (
            "a name is longer than a wildcard for it",
            "[[registry]]\nprefix = \"*.q.io\"\nblocked = true\n[[registry]]\nlocation = \"a.q.io\"",
            "a.q.io/x",
            false,
            &["a.q.io/x"],
        ),
        (
            "prefixes are as long as they are written",
            "[[registry]]\nprefix = \"*.q.io/x\"\nblocked = true\n[[registry]]\nlocation = \"long.sub.q.io\"",
            "long.sub.q.io/x/y",
            false,
            &["long.sub.q.io/x/y"],
        ),
        (
            "a match ends at a slash",
            "[[registry]]\nlocation = \"q.io/a\"\nblocked = true",
            "q.io/ab",
            false,
            &["q.io/ab"],
        ),
        (
            "or at a colon",
            "[[registry]]\nlocation = \"q.io\"\ninsecure = true",
            "q.io:5000/a",
            false,
            &["!q.io:5000/a"],
        ),
        (
            "or at the end",
            "[[registry]]\nlocation = \"q.io/a\"\ninsecure = true",
            "q.io/a",
            true,
            &["!q.io/a"],
        ),
        (
            "the rest of the name is kept",
            "[[registry]]\nprefix = \"q.io/a\"\nlocation = \"m.lan:5000/x/y\"",
            "q.io/a/b/c",
            true,
            &["m.lan:5000/x/y/b/c"],
        ),
        (
            "mirrors in their order, then the location",
            "[[registry]]\nlocation = \"q.io\"\n[[registry.mirror]]\nlocation = \"b.lan\"\n[[registry.mirror]]\nlocation = \"a.lan\"\ninsecure = true",
            "q.io/x",
            false,
            &["b.lan/x", "!a.lan/x", "q.io/x"],
        ),
        (
            "mirrors of digests are not asked for tags",
            "[[registry]]\nlocation = \"q.io\"\nmirror-by-digest-only = true\n[[registry.mirror]]\nlocation = \"a.lan\"",
            "q.io/x",
            false,
            &["q.io/x"],
        ),
        (
            "but for digests",
            "[[registry]]\nlocation = \"q.io\"\nmirror-by-digest-only = true\n[[registry.mirror]]\nlocation = \"a.lan\"",
            "q.io/x",
            true,
            &["a.lan/x", "q.io/x"],
        ),
        (
            "each mirror by itself",
            "[[registry]]\nlocation = \"q.io\"\n[[registry.mirror]]\nlocation = \"a.lan\"\npull-from-mirror = \"tag-only\"\n[[registry.mirror]]\n\
             location = \"b.lan\"\npull-from-mirror = \"digest-only\"\n[[registry.mirror]]\nlocation = \"c.lan\"\npull-from-mirror = \"all\"",
            "q.io/x",
            true,
            &["b.lan/x", "c.lan/x", "q.io/x"],
        ),
        (
            "the other way round for tags",
            "[[registry]]\nlocation = \"q.io\"\n[[registry.mirror]]\nlocation = \"a.lan\"\npull-from-mirror = \"tag-only\"\n[[registry.mirror]]\n\
             location = \"b.lan\"\npull-from-mirror = \"digest-only\"",
            "q.io/x",
            false,
            &["a.lan/x", "q.io/x"],
        ),
        (
            "what is blocked has mirrors",
            "[[registry]]\nlocation = \"q.io\"\nblocked = true\n[[registry.mirror]]\nlocation = \"a.lan\"",
            "q.io/x",
            true,
            &["a.lan/x"],
        ),
        (
            "and is blocked without",
            "[[registry]]\nlocation = \"q.io\"\nblocked = true",
            "q.io/x",
            true,
            &[],
        ),
        (
            "or when none of them fits",
            "[[registry]]\nlocation = \"q.io\"\nblocked = true\nmirror-by-digest-only = true\n[[registry.mirror]]\nlocation = \"a.lan\"",
            "q.io/x",
            false,
            &[],
        ),
        (
            "a mirror that is blocked itself is passed over",
            "[[registry]]\nlocation = \"q.io\"\n[[registry.mirror]]\nlocation = \"a.lan\"\n[[registry]]\nlocation = \"a.lan\"\nblocked = true",
            "q.io/x",
            true,
            &["q.io/x"],
        ),
        (
            "of one prefix the first entry of a file counts",
            "[[registry]]\nprefix = \"q.io\"\nlocation = \"a.lan\"\n[[registry]]\nprefix = \"q.io\"\nlocation = \"b.lan\"",
            "q.io/x",
            false,
            &["a.lan/x"],
        ),
        (
            "version 1: insecure",
            "[registries.insecure]\nregistries = [\"q.io/\"]",
            "q.io/x",
            false,
            &["!q.io/x"],
        ),
        ("version 1: blocked", "[registries.block]\nregistries = [\"q.io\"]", "q.io/x", false, &[]),
        (
            "empty lists of version 1 leave entries as they are",
            "[[registry]]\nlocation = \"q.io\"\nblocked = true\n[registries.search]\nregistries = []",
            "q.io/x",
            false,
            &[],
        ),
        (
            "Docker Hub by its whole name",
            "[[registry]]\nlocation = \"docker.io/library\"\n[[registry.mirror]]\nlocation = \"a.lan/hub\"",
            "docker.io/busybox",
            false,
            &["a.lan/hub/busybox", "docker.io/library/busybox"],
        ),
        (
            "fields that nobody knows say nothing",
            "more = 1\nunqualified-search-registries = [\"q.io\"]\n[[registry]]\nlocation = \"q.io\"\nmore = 1",
            "q.io/x",
            false,
            &["q.io/x"],
        ),
    ];
    for (rule, text, name, by_digest, expected) in rules {
        let mirrors = conf(text).unwrap_or_else(|error| panic!("{rule}: {error}"));
        match places(&mirrors, name, *by_digest) {
            Ok(found) => assert_eq!(found, *expected, "{rule}"),
            Err(Fault::Blocked { .. } | Fault::Config { .. }) => {
                assert!(expected.is_empty(), "{rule}");
            }
            Err(error) => panic!("{rule}: {error}"),
        }
    }
    for (rule, text) in [
        ("no location", "[[registry]]\nblocked = true"),
        ("no location, and no wildcard", "[[registry]]\nprefix = \"q.io\""),
        ("a scheme", "[[registry]]\nlocation = \"https://q.io\""),
        ("a wildcard in the middle", "[[registry]]\nprefix = \"a.*.q.io\"\nlocation = \"q.io\""),
        (
            "a mirror without location",
            "[[registry]]\nlocation = \"q.io\"\n[[registry.mirror]]\ninsecure = true",
        ),
        (
            "both words about digests",
            "[[registry]]\nlocation = \"q.io\"\nmirror-by-digest-only = true\n[[registry.mirror]]\nlocation = \"a\"\npull-from-mirror = \"all\"",
        ),
        (
            "another word",
            "[[registry]]\nlocation = \"q.io\"\n[[registry.mirror]]\nlocation = \"a\"\npull-from-mirror = \"some\"",
        ),
        (
            "a word of mirrors for a registry",
            "[[registry]]\nlocation = \"q.io\"\npull-from-mirror = \"all\"",
        ),
        (
            "insecure and not",
            "[[registry]]\nlocation = \"q.io\"\n[[registry]]\nprefix = \"a\"\nlocation = \"q.io\"\ninsecure = true",
        ),
        (
            "blocked and not",
            "[[registry]]\nlocation = \"q.io\"\n[[registry]]\nlocation = \"q.io\"\nblocked = true",
        ),
        (
            "blocked and not, without location",
            "[[registry]]\nprefix = \"*.q.io\"\n[[registry]]\nprefix = \"*.q.io\"\nblocked = true",
        ),
        (
            "both versions",
            "[[registry]]\nlocation = \"q.io\"\n[registries.block]\nregistries = [\"a.io\"]",
        ),
        (
            "both versions, by the search list",
            "unqualified-search-registries = [\"q.io\"]\n[registries.block]\nregistries = [\"a.io\"]",
        ),
        ("not TOML", "[[registry"),
    ] {
        assert!(matches!(conf(text), Err(Fault::Config { .. })), "{rule}");
    }
    // What is rewritten must be a name.
    let bad = conf("[[registry]]\nprefix = \"q.io\"\nlocation = \"m.lan/UPPER\"").unwrap();
    assert!(matches!(places(&bad, "q.io/x", false), Err(Fault::Config { .. })));
}

#[test]
fn files_of_a_directory_come_in_the_order_of_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs_err::write(dir.path().join(name), text).unwrap();
    let entry = |mirror: &str| {
        format!("[[registry]]\nlocation = \"q.io\"\n[[registry.mirror]]\nlocation = \"{mirror}\"")
    };
    write("20.conf", &entry("twenty.lan"));
    write("100.conf", &entry("hundred.lan"));
    write("90.ignored", "[[");
    let mut mirrors = conf("[[registry]]\nlocation = \"q.io\"\nblocked = true\n[[registry]]\nlocation = \"r.io\"\ninsecure = true").unwrap();
    mirrors.add_directory(dir.path()).unwrap();
    // By name, and not by number; a table is replaced as a whole.
    assert_eq!(places(&mirrors, "q.io/x", false).unwrap(), ["twenty.lan/x", "q.io/x"]);
    assert_eq!(places(&mirrors, "r.io/x", false).unwrap(), ["!r.io/x"]);
    mirrors.add_directory(&dir.path().join("missing")).unwrap();
    assert!(mirrors.add_directory(&dir.path().join("20.conf")).is_err());
    write("30.conf", "[registries.block]\nregistries = [\"s.io\"]");
    let error = mirrors.add_directory(dir.path()).unwrap_err().to_string();
    assert!(error.contains("30.conf") && error.contains("version 2"), "{error}");
}

#[test]
fn real_directories_replace_what_the_file_says() {
    let Some(dir) = shared("openshift/data/registries-conf") else { return };
    let text = fs_err::read_to_string(dir.join("base-for-registries.d.conf")).unwrap();
    let mut mirrors = conf(&text).unwrap();
    assert_eq!(places(&mirrors, "base.com/x", false).unwrap(), ["!base.com/x"]);
    mirrors.add_directory(&dir.join("registries.conf.d")).unwrap();
    assert!(matches!(places(&mirrors, "base.com/x", false), Err(Fault::Blocked { .. })));
    assert_eq!(mirrors.credential_helpers, ["dropin-1", "dropin-2"]);
    assert_eq!(
        places(&mirrors, "foo.bar.example.com/x", false).unwrap(),
        ["subdomain-prefix-3-overridden-by-dropin-location.com/x"]
    );
    let ignored = "ignore-me-because-i-have-a-wrong-suffix.com";
    assert!(mirrors.best(&format!("{ignored}/x")).is_none());
    mirrors.add_directory(&dir.join("registries.conf.d-empty-helpers")).unwrap();
    assert!(mirrors.credential_helpers.is_empty());
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
