//! Real configurations, damaged ones, and no configurations at all.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;

/// The real configurations, if they are on this machine.
fn real_files() -> Vec<PathBuf> {
    let shared = std::env::var_os("BUNDLE_SHARED").map(PathBuf::from).or_else(|| {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .map(|dir| dir.join("shared"))
            .find(|dir| dir.join("openshift").is_dir())
    });
    let Some(shared) = shared else { return Vec::new() };
    let mut open = vec![shared.join("openshift/data/imageset-configs")];
    let mut files = Vec::new();
    while let Some(dir) = open.pop() {
        let Ok(entries) = fs_err::read_dir(dir) else { continue };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|end| end == "yaml") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

#[test]
fn real_configurations_load_or_are_refused_for_a_known_reason() {
    let files = real_files();
    if files.is_empty() {
        println!("skipped: no real configurations on this machine (set BUNDLE_SHARED)");
        return;
    }
    let (mut loaded, mut warnings) = (0, 0);
    let mut refused = Vec::new();
    for path in &files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        match ImageSetConfig::load(path) {
            Ok(fine) => {
                loaded += 1;
                warnings += fine.warnings.len();
            }
            Err(error) => {
                for f in error.findings() {
                    refused.push(format!(
                        "{name}:{}:{}: {}: {}",
                        f.line, f.column, f.field, f.problem
                    ));
                }
            }
        }
    }
    println!("{} files: {loaded} load ({warnings} warnings)", files.len());
    println!("refused:\n{}", refused.join("\n"));
    let delete = |line: &String| line.contains("kind: a `DeleteImageSetConfiguration` says what");
    let rest: Vec<&String> = refused.iter().filter(|line| !delete(line)).collect();
    let expected = [
        "imageset-config-filter-catalog.yaml:16:1: : a second YAML document begins here",
        "config-72938-1.yaml:8:17: mirror.operators[0].packages[0].name: package `3scale-operator` has",
        "config-72938.yaml:9:15: mirror.operators[0].packages[0].channels[0]: a version range of the",
        "config-73783.yaml:6:12: mirror.additionalImages[1].name: not a digest",
        "config-88132-invalid.yaml:6:19: mirror.additionalImages[0].targetRepo: not a valid repository",
        "isc-generic-error.yaml:3:1: storageConfig: is a field of v1alpha2",
        "isc-operator-invalid-version-range.yaml:12:23: mirror.operators[0].packages[0].channels[0]\
         .minVersion: minVersion `0.3.1` is above maxVersion `0.2.0`",
        "isc-platforms-and-archs.yaml:10:5: mirror.platform.platforms: cannot be used together",
        "catalog-source_template.yaml:2:7: kind: the kind `CatalogSource` is not supported",
        "catalog-source_template_KO.yaml:2:7: kind: the kind `ImageDigestMirrorSet` is not",
        "catalog-source_template_KO2.yaml:8:13: : bad YAML",
        "valid.yaml:15:16: mirror.operators[0].catalog: the image has no registry host",
        "valid.yaml:17:16: mirror.operators[1].catalog: the image has no registry host",
        "valid.yaml:21:17: mirror.operators[1].packages[1].name: package `mongodb-operator` has a",
        "valid.yaml:26:16: mirror.operators[2].catalog: the image has no registry host",
    ];
    for expected in expected {
        assert!(rest.iter().any(|line| line.starts_with(expected)), "not refused: {expected}");
    }
    assert_eq!((rest.len(), files.len() - loaded), (expected.len(), 23), "{rest:#?}");
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn any_yaml_like_text_is_read_or_refused(
        text in "([a-z<&*!'\"#:,?|>%@`{}\\[\\] \\n\\t0-9.-]|- |: |\\n  |name|mirror|---|\\.\\.\\.|\u{feff}|\r){0,120}"
    ) {
        let _ = parse(&text);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = ImageSetConfig::parse_bytes(&bytes, "c.yaml");
    }

    #[test]
    fn a_damaged_configuration_is_read_or_refused(
        at in any::<prop::sample::Index>(),
        cut in 0usize..40,
        put in "([a-z]{1,5}|\\PC|[\\n\\t :,\\[\\]{}&*#'\"|>-]){0,4}",
        which in any::<prop::sample::Index>(),
    ) {
        let mut texts = vec![template().to_owned()];
        texts.extend(real_files().iter().filter_map(|path| fs_err::read_to_string(path).ok()));
        let text: Vec<char> = texts[which.index(texts.len())].chars().collect();
        let start = at.index(text.len() + 1);
        let end = (start + cut).min(text.len());
        let damaged: String = text[..start].iter().copied().chain(put.chars())
            .chain(text[end..].iter().copied()).collect();
        if let Err(error) = parse(&damaged) {
            let lines = u32::try_from(damaged.lines().count()).unwrap() + 1;
            for finding in error.findings() {
                prop_assert!(finding.line >= 1 && finding.line <= lines, "{finding}");
            }
        }
    }
}
