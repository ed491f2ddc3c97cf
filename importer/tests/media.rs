//! What `verify` says about media that were changed: every byte counts, and the answer names what.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use format_spec::Digest;
use importer::{ErrorKind, Problem, VerifyReport, open, verify};
use registry::progress::Progress;
use support::{Spec, key, noise, trusted};

fn check(directory: &std::path::Path) -> Result<VerifyReport, importer::ImportError> {
    verify(&[directory.to_owned()], &[trusted()], &Progress::default())
}

/// A tiny sequence: one image of two small layers, one part.
fn tiny(directory: &std::path::Path) -> Spec {
    let mut spec = Spec::new(1);
    spec.image("app", "1", &[noise(1, 300), noise(2, 700)]);
    spec.write(directory);
    spec
}

/// A sequence of several parts, with a layer that goes over two of them.
fn split(directory: &std::path::Path) -> Spec {
    let mut spec = Spec::new(1);
    spec.limit = 1 << 20;
    spec.image("app", "1", &[noise(1, 700_000), noise(2, 900_000)]);
    spec.image("tool", "1", &[noise(3, 300_000)]);
    spec.write(directory);
    spec
}

#[test]
fn an_intact_medium_is_intact() {
    let media = tempfile::tempdir().unwrap();
    split(media.path());
    let report = check(media.path()).unwrap();
    assert!(report.is_intact(), "{:?}", report.findings);
    assert!(report.sequences[0].parts >= 2);
    let opened = open(&[media.path().to_owned()], None).unwrap();
    assert_eq!(opened[0].digest, report.sequences[0].digest);
    assert!(opened[0].signers.is_empty());
}

#[test]
fn changed_bytes_are_found() {
    let media = tempfile::tempdir().unwrap();
    tiny(media.path());
    let files = support::listing(media.path());
    assert_eq!(files.len(), 4);
    for (name, _, _) in files {
        let path = media.path().join(&name);
        let good = fs_err::read(&path).unwrap();
        let part = name.ends_with(".tar");
        // Each byte of the small files; of the part a third, so that the test stays short.
        for at in (0..good.len()).step_by(if part { 3 } else { 1 }) {
            let mut changed = good.clone();
            changed[at] ^= 1 << (at % 8);
            fs_err::write(&path, &changed).unwrap();
            match check(media.path()) {
                Ok(report) => {
                    assert!(part, "{name} byte {at}");
                    assert_eq!(report.findings.len(), 1, "{name} byte {at}");
                    let finding = &report.findings[0];
                    assert_eq!(finding.part, name);
                    let range = finding.from..finding.to;
                    assert!(range.contains(&(at as u64)), "{name} byte {at}: {finding}");
                    assert_eq!(finding.images, ["app:1"], "{finding}");
                }
                Err(error) => {
                    assert!(!part, "{name} byte {at}: {error}");
                    let kind = error.exit();
                    assert!(
                        matches!(kind, ErrorKind::Damaged | ErrorKind::Untrusted),
                        "{name} byte {at}: {error}"
                    );
                    assert!(error.hint().is_some(), "{error}");
                }
            }
        }
        fs_err::write(&path, &good).unwrap();
    }
    assert!(check(media.path()).unwrap().is_intact());
}

#[test]
fn one_look_finds_all_that_is_wrong() {
    let media = tempfile::tempdir().unwrap();
    let mut first = Spec::new(1);
    first.limit = 1 << 20;
    first.image("app", "1", &[noise(1, 900_000), noise(2, 900_000), noise(3, 900_000)]);
    let written = first.write(media.path());
    let mut second = first.next(&written);
    second.image("tool", "1", &[noise(4, 3000)]);
    let written = second.write(media.path());
    let mut third = second.next(&written);
    third.image("third", "1", &[noise(5, 3000)]);
    third.write(media.path());

    let path = |name: &str| media.path().join(name);
    let flip = |name: &str| {
        let mut bytes = fs_err::read(path(name)).unwrap();
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
        fs_err::write(path(name), bytes).unwrap();
    };
    // In one sequence a part is missing, one short, one changed; in another a part is changed; of the last one
    // the head is missing.
    fs_err::remove_file(path("mirror_seq1_000000.tar")).unwrap();
    fs_err::write(path("mirror_seq1_000001.tar"), b"short").unwrap();
    flip("mirror_seq1_000002.tar");
    flip("mirror_seq2_000000.tar");
    fs_err::remove_file(path("mirror_seq3.manifest.json")).unwrap();

    let report = check(media.path()).unwrap();
    assert!(!report.is_intact());
    let refused: Vec<_> = report.refused.iter().map(ToString::to_string).collect();
    let named = |name: &str| refused.iter().any(|text| text.contains(name));
    assert_eq!(refused.len(), 2, "{refused:?}");
    assert!(named("mirror_seq3.manifest.json"), "{refused:?}");
    assert!(named("mirror_seq1_000000.tar"), "{refused:?}");
    assert!(named("mirror_seq1_000001.tar` has 5 bytes, expected "), "{refused:?}");
    let damaged: Vec<_> = report.findings.iter().map(|finding| finding.part.as_str()).collect();
    assert_eq!(damaged, ["mirror_seq2_000000.tar", "mirror_seq1_000002.tar"]);
    // Nobody is told that what is not whole can be imported.
    let whole: Vec<_> = report.sequences.iter().map(|s| s.sequence.get()).collect();
    assert_eq!(whole, [2]);
}

/// What a faulty writer signs: every cell is in order.
#[test]
fn contents_are_what_they_are_named() {
    let findings = |change: &dyn Fn(&mut Spec)| {
        let media = tempfile::tempdir().unwrap();
        let mut spec = Spec::new(1);
        spec.limit = 1 << 20;
        // Over two parts, within a cell, over several cells, and nothing at all.
        let layers = [noise(1, 1_500_000), noise(2, 700), noise(3, 200_000), Vec::new()];
        spec.image("app", "1", &layers);
        spec.image("tool", "1", &[noise(4, 300)]);
        change(&mut spec);
        spec.write(media.path());
        check(media.path()).unwrap().findings
    };
    assert_eq!(findings(&|_| ()), []);
    for (layer, at) in
        [(noise(1, 1_500_000), 1_400_000), (noise(2, 700), 0), (noise(3, 200_000), 199_999)]
    {
        let found = findings(&|spec| spec.blobs.get_mut(&Digest::of(&layer)).unwrap()[at] ^= 1);
        let [one] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((one.problem, &*one.images), (Problem::WrongContent, &["app:1".to_owned()][..]));
        assert!(one.to_string().contains(&Digest::of(&layer).to_string()), "{one}");
    }
    // A blob that nobody carries.
    let lost = Digest::of(&noise(4, 300));
    let found = findings(&|spec| {
        spec.images[1].2.blobs.retain(|digest| *digest != lost);
        spec.blobs.remove(&lost);
    });
    let [one] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((one.problem, &*one.images), (Problem::Manifest, &["tool:1".to_owned()][..]));
    assert!(one.to_string().contains(&format!("needs blob {lost}")), "{one}");
    // A manifest that is none.
    let found = findings(&|spec| spec.images[1].2.bytes = b"{\"schemaVersion\":2}".to_vec());
    let [one] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(one.problem, Problem::Manifest);
}

#[test]
fn every_cut_is_found() {
    let media = tempfile::tempdir().unwrap();
    tiny(media.path());
    for (name, _, _) in support::listing(media.path()) {
        let path = media.path().join(&name);
        let good = fs_err::read(&path).unwrap();
        for length in (0..good.len()).step_by(7).chain([good.len() + 1]) {
            let mut cut = good.clone();
            cut.resize(length, 0);
            fs_err::write(&path, &cut).unwrap();
            let error = check(media.path()).unwrap_err();
            let kind = error.exit();
            assert!(matches!(kind, ErrorKind::Damaged | ErrorKind::Untrusted), "{name}: {error}");
        }
        fs_err::write(&path, &good).unwrap();
    }
}

#[test]
fn every_missing_file_is_named() {
    let media = tempfile::tempdir().unwrap();
    split(media.path());
    for (name, _, _) in support::listing(media.path()) {
        let path = media.path().join(&name);
        let good = fs_err::read(&path).unwrap();
        fs_err::remove_file(&path).unwrap();
        let error = check(media.path()).unwrap_err();
        assert!(error.to_string().contains(&name), "{error}");
        let kind = error.exit();
        let seal = name.ends_with(".sig");
        assert_eq!(
            kind,
            if seal { ErrorKind::Untrusted } else { ErrorKind::Incomplete },
            "{error}"
        );
        fs_err::write(&path, &good).unwrap();
    }
}

#[test]
fn swapped_parts_of_one_size_are_found() {
    let media = tempfile::tempdir().unwrap();
    let mut spec = Spec::new(1);
    spec.limit = 1 << 20;
    spec.image("app", "1", &[noise(1, 3_000_000)]);
    let written = spec.write(media.path());
    assert_eq!(written.head.parts[0].bytes, written.head.parts[1].bytes);
    let (a, b) = (&written.head.parts[0].name, &written.head.parts[1].name);
    let paths = [media.path().join(a), media.path().join(b)];
    fs_err::rename(&paths[0], media.path().join("x")).unwrap();
    fs_err::rename(&paths[1], &paths[0]).unwrap();
    fs_err::rename(media.path().join("x"), &paths[1]).unwrap();
    let report = check(media.path()).unwrap();
    let problems: Vec<_> = report.findings.iter().map(|f| f.problem).collect();
    assert_eq!(problems, [Problem::WrongTable; 2]);
    assert_eq!(report.warnings.len(), 0);
}

#[test]
fn several_bad_cells_are_all_listed() {
    let media = tempfile::tempdir().unwrap();
    split(media.path());
    let path = media.path().join("mirror_seq1_000000.tar");
    let mut bytes = fs_err::read(&path).unwrap();
    for at in [100_000, 400_000, 400_001, 900_000] {
        bytes[at] ^= 1;
    }
    fs_err::write(&path, bytes).unwrap();
    let report = check(media.path()).unwrap();
    assert_eq!(report.findings.len(), 3);
    assert!(report.findings.iter().all(|finding| finding.problem == Problem::Changed));
}

#[test]
fn links_and_other_files_are_never_followed() {
    let media = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    split(media.path());
    let part = media.path().join("mirror_seq1_000001.tar");
    let moved = elsewhere.path().join("part");
    fs_err::rename(&part, &moved).unwrap();
    std::os::unix::fs::symlink(&moved, &part).unwrap();
    fs_err::create_dir(media.path().join("mirror_seq1_000009.tar")).unwrap();
    fs_err::write(media.path().join("holiday.jpg"), "x").unwrap();
    let error = check(media.path()).unwrap_err();
    assert_eq!(error.exit(), ErrorKind::Incomplete);
    assert!(error.to_string().contains("mirror_seq1_000001.tar"), "{error}");
    // The real file in its place, and the strangers stay a warning.
    fs_err::remove_file(&part).unwrap();
    fs_err::rename(&moved, &part).unwrap();
    let report = check(media.path()).unwrap();
    assert!(report.is_intact());
    assert_eq!(report.warnings.len(), 2, "{:?}", report.warnings);
}

#[test]
fn only_trusted_keys_count() {
    let media = tempfile::tempdir().unwrap();
    tiny(media.path());
    let from = [media.path().to_owned()];
    let with = |keys: &[_]| verify(&from, keys, &Progress::default());
    assert_eq!(with(&[]).unwrap_err().exit(), ErrorKind::Untrusted);
    let other = with(&[key(2).public()]).unwrap_err();
    assert_eq!(other.exit(), ErrorKind::Untrusted);
    assert!(other.to_string().contains(&trusted().id().to_string()), "{other}");
    assert!(with(&[key(2).public(), trusted()]).is_ok());
}

#[test]
fn a_renamed_head_is_told() {
    let media = tempfile::tempdir().unwrap();
    tiny(media.path());
    for file in ["manifest.json", "manifest.sig", "index"] {
        let from = media.path().join(format!("mirror_seq1.{file}"));
        fs_err::rename(from, media.path().join(format!("mirror_seq2.{file}"))).unwrap();
    }
    fs_err::remove_file(media.path().join("mirror_seq1_000000.tar")).unwrap();
    let error = check(media.path()).unwrap_err();
    assert_eq!(error.exit(), ErrorKind::Damaged);
    assert!(error.to_string().contains("renamed"), "{error}");
}

#[test]
fn spread_over_directories() {
    let media = tempfile::tempdir().unwrap();
    let second = tempfile::tempdir().unwrap();
    split(media.path());
    for name in ["mirror_seq1_000001.tar", "mirror_seq1.index"] {
        fs_err::rename(media.path().join(name), second.path().join(name)).unwrap();
    }
    fs_err::copy(
        media.path().join("mirror_seq1.manifest.json"),
        second.path().join("mirror_seq1.manifest.json"),
    )
    .unwrap();
    let from = [second.path().to_owned(), media.path().to_owned(), second.path().join(".")];
    let report = verify(&from, &[trusted()], &Progress::default()).unwrap();
    assert!(report.is_intact());
    assert_eq!(report.sequences.len(), 1);
}

#[test]
fn an_empty_or_missing_directory_is_told() {
    let media = tempfile::tempdir().unwrap();
    assert_eq!(check(media.path()).unwrap_err().exit(), ErrorKind::Incomplete);
    assert_eq!(check(&media.path().join("no")).unwrap_err().exit(), ErrorKind::Usage);
}
