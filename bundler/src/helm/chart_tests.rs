use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use tar::{Builder, EntryType, Header};

use super::*;

const CHART: &str = "apiVersion: v2\nname: app\nversion: 1.2.3\n";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut to = GzEncoder::new(Vec::new(), Compression::fast());
    to.write_all(bytes).unwrap();
    to.finish().unwrap()
}

/// An archive of these entries, whatever their names are.
fn packed(entries: &[(&str, EntryType, &[u8])]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (path, kind, bytes) in entries {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(*kind);
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append(&header, *bytes).unwrap();
    }
    gzip(&tar.into_inner().unwrap())
}

fn files(entries: &[(&str, &str)]) -> Vec<u8> {
    let entries: Vec<_> =
        entries.iter().map(|(path, text)| (*path, EntryType::Regular, text.as_bytes())).collect();
    packed(&entries)
}

fn refused(archive: &[u8], expected: &str) {
    let error = Chart::read(archive).unwrap_err();
    let text = crate::error::reason(&error);
    assert!(text.contains(expected), "expected `{expected}`: {text}");
}

#[test]
fn a_chart_says_what_helm_reads() {
    let chart = "\u{feff}name: app\nversion: 1.20\nappVersion: 7\nkeywords: [a, 1]\nextra: {x: 1}\n\
                 annotations: {of: 5}\nmaintainers:\n- name: m\n  odd: 1\ndependencies:\n- {name: sub, version: ^1, tags: [t]}\n";
    let sub = gzip_of_sub();
    let chart = Chart::read(&packed(&[
        ("app/Chart.yaml", EntryType::Regular, chart.as_bytes()),
        ("app/values.yaml", EntryType::Regular, b"a: 1\n"),
        ("app\\charts\\two\\Chart.yaml", EntryType::Regular, b"name: two\nversion: 0.1.0\n"),
        ("app/charts/sub-1.0.0.tgz", EntryType::Regular, &sub),
        ("app/charts/_off/Chart.yaml", EntryType::Regular, b"["),
        ("app/charts/README.md", EntryType::Regular, b"x"),
        ("app/templates/", EntryType::Directory, b""),
    ]))
    .unwrap();
    assert_eq!((&*chart.name, &*chart.version), ("app", "1.2"));
    let expected = serde_json::json!({"name": "app", "version": "1.2", "appVersion": "7", "keywords": ["a", "1"],
        "annotations": {"of": "5"}, "maintainers": [{"name": "m"}],
        "dependencies": [{"name": "sub", "version": "^1", "tags": ["t"]}]});
    assert_eq!(Value::Object(chart.metadata.clone()), expected);
    assert_eq!(chart.values["a"], 1);
    let all: Vec<_> = chart.all().iter().map(|one| (one.name.clone(), one.file.clone())).collect();
    let named = |name: &str, file: &str| (name.to_owned(), file.to_owned());
    assert_eq!(
        all,
        [
            named("app", "app/Chart.yaml"),
            named("sub", "app/charts/sub-1.0.0.tgz/sub/Chart.yaml"),
            named("two", "app/charts/two/Chart.yaml")
        ]
    );
}

fn gzip_of_sub() -> Vec<u8> {
    files(&[("sub/Chart.yaml", "name: sub\nversion: 1.0.0\n")])
}

#[test]
fn bad_documents_are_named_with_their_lines() {
    for (text, expected) in [
        ("name: a\nversion: [\n", "`app/Chart.yaml`: bad YAML in line 3"),
        ("- a\n", "`app/Chart.yaml`: it is a list and no mapping"),
        ("version: 1.0.0\n", "it has no `name`"),
        ("name: a\n", "it has no `version`"),
        ("name: a/b\nversion: 1.0.0\n", "the name `a/b` is none"),
        ("name: ..\nversion: 1.0.0\n", "the name `..` is none"),
        ("name: a\nversion: new\n", "the version `new` is no semantic version"),
        ("name: a\nversion: 1.0.0-../x\n", "the version"),
        ("name: [a]\nversion: 1.0.0\n", "`name` is no text"),
        ("name: a\nversion: 1.0.0\nsources: x\n", "`sources` is no list"),
    ] {
        refused(&files(&[("app/Chart.yaml", text)]), expected);
    }
    refused(&files(&[("app/values.yaml", "a: 1")]), "`app/Chart.yaml`: it is missing");
    refused(
        &files(&[("app/Chart.yaml", CHART), ("app/values.yaml", "a: {\n")]),
        "`app/values.yaml`: bad YAML in line",
    );
    refused(
        &files(&[("app/Chart.yaml", CHART), ("app/charts/s/Chart.yaml", "name: [")]),
        "`app/charts/s/Chart.yaml`: bad YAML",
    );
}

#[test]
fn hostile_archives_are_refused() {
    refused(b"no archive", "it is not an archive as Helm packs charts");
    refused(&gzip(b"x"), "it is not an archive");
    refused(&gzip(&[]), "`/Chart.yaml`: it is missing");
    for path in ["/etc/passwd", "app/../../x", "..\\x", "C:/x"] {
        refused(&files(&[("app/Chart.yaml", CHART), (path, "x")]), "leads out of the chart");
    }
    refused(&files(&[("Chart.yaml", CHART)]), "lies in no directory");
    refused(&files(&[("app/a\u{1b}[31m", "x")]), "control characters");
    for kind in [EntryType::Symlink, EntryType::Link, EntryType::Char, EntryType::Fifo] {
        refused(&packed(&[("app/x", kind, b"")]), "`app/x` is a link or a device");
    }
    let large = vec![b'#'; usize::try_from(FILE_MAX).unwrap() + 1];
    refused(&packed(&[("app/values.yaml", EntryType::Regular, &large)]), "larger than Helm takes");
    // Some kilobytes that unpack to more than any chart.
    let bomb = vec![0; usize::try_from(UNPACKED_MAX).unwrap() + 1024];
    refused(
        &packed(&[("app/x", EntryType::Regular, &bomb)]),
        "more than 104857600 bytes when unpacked",
    );
    let half = files(&[("app/Chart.yaml", CHART)]);
    refused(&half[..half.len() - 20], "it is not an archive");
}

#[test]
fn sub_charts_end_somewhere() {
    let mut inner = files(&[("app/Chart.yaml", CHART)]);
    let outer = packed(&[
        ("b/Chart.yaml", EntryType::Regular, b"name: b\nversion: 1.0.0\n"),
        ("b/charts/app.tgz", EntryType::Regular, &inner),
    ]);
    let cyclic = packed(&[
        ("app/Chart.yaml", EntryType::Regular, CHART.as_bytes()),
        ("app/charts/b.tgz", EntryType::Regular, &outer),
    ]);
    refused(&cyclic, "its sub-charts contain each other: app 1.2.3 > b 1.0.0 > app 1.2.3");
    for depth in 0..=DEPTH_MAX {
        let document = format!("name: c{depth}\nversion: 1.0.0\n");
        inner = packed(&[
            ("c/Chart.yaml", EntryType::Regular, document.as_bytes()),
            ("c/charts/app.tgz", EntryType::Regular, &inner),
        ]);
    }
    refused(&inner, "sub-charts 16 deep");
}
