//! The document as a whole: model, header, unknown and duplicate fields, YAML, encodings, files. Every
//! rule is held to its file, line, column and field. `stanzas` has the values, `noise` the real files
//! and the damaged ones.

mod delete;
mod noise;
mod stanzas;

use std::path::PathBuf;

use super::*;

const V1: &str = "apiVersion: mirror.openshift.io/v1alpha2\nkind: ImageSetConfiguration\n";
const V2: &str = "apiVersion: mirror.openshift.io/v2alpha1\nkind: ImageSetConfiguration\n";

fn parse(text: &str) -> Result<Loaded, ConfigErrors> {
    ImageSetConfig::parse(text, "c.yaml")
}

fn ok(text: &str) -> ImageSetConfig {
    match parse(text) {
        Ok(loaded) => loaded.config,
        Err(error) => panic!("{error}\n---\n{text}"),
    }
}

/// Each expectation is the beginning of `line:column: field: problem`; none may be left on either side.
#[track_caller]
fn compare(found: &[Finding], expected: &[&str], text: &str) {
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    let fits = found.len() == expected.len()
        && found.iter().zip(expected).all(|(f, e)| f.starts_with(&format!("c.yaml:{e}")));
    assert!(fits, "found {found:#?}\nexpected {expected:#?}\n---\n{text}");
}

#[track_caller]
fn refused(text: &str, expected: &[&str]) {
    match parse(text) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(error) => compare(error.findings(), expected, text),
    }
}

#[track_caller]
fn warned(text: &str, expected: &[&str]) {
    match parse(text) {
        Ok(loaded) => compare(&loaded.warnings, expected, text),
        Err(error) => panic!("{error}\n---\n{text}"),
    }
}

/// `body` under `mirror:`; its first line is line 4.
fn v1(body: &str) -> String {
    format!("{V1}mirror:\n{body}")
}

fn v2(body: &str) -> String {
    format!("{V2}mirror:\n{body}")
}

fn image(rest: &str) -> String {
    v2(&format!("  additionalImages:\n  - {rest}\n"))
}

fn hint(text: &str) -> String {
    parse(text).unwrap_err().findings()[0].hint.clone().unwrap_or_default()
}

#[test]
fn a_whole_v2_file_becomes_the_model() {
    let digest = "4".repeat(64);
    let config = ok(&format!(
        "{V2}archiveSize: 4
mirror:
  additionalImages:
  - name: quay.io/a/b:1
  - name: docker://docker.io/redis@sha256:{digest}
    targetRepo: cache/redis
    targetTag: \"7\"
    platforms: [{{os: linux, architecture: arm64}}]
  - name: oci:///srv/layout
  - name: localhost:5000/x:y@sha256:{digest}
  blockedImages:
  - name: ^docker.io/
"
    ));
    assert_eq!(config.api_version, ApiVersion::V2Alpha1);
    assert_eq!(config.archive_size, Some(4));
    let [first, second, third, fourth] = &config.additional_images[..] else { panic!() };
    assert_eq!((first.source.to_string().as_str(), first.line), ("quay.io/a/b:1", 6));
    let ImageSource::Registry(redis) = &second.source else { panic!() };
    assert_eq!(redis.repository.as_str(), "library/redis");
    assert_eq!(second.target_repo.as_ref().unwrap().as_str(), "cache/redis");
    assert_eq!(second.target_tag.as_ref().unwrap().as_str(), "7");
    let arm = PlatformFilter { os: "linux".into(), architecture: "arm64".into() };
    assert_eq!(second.platforms, [arm]);
    assert_eq!(third.source, ImageSource::OciLayout(PathBuf::from("/srv/layout")));
    let ImageSource::Registry(both) = &fourth.source else { panic!() };
    assert!(both.tag.is_some() && both.digest.is_some());
    assert!(config.blocked_by("docker.io/library/redis:7").is_some());
    assert!(config.blocked_by("docker://docker.io/library/redis:7").is_some());
    assert!(config.blocked_by("quay.io/docker.io/x:1").is_none());
}

#[test]
fn a_v1_file_has_storage_and_a_default_tag() {
    let config = ok(&format!(
        "{V1}storageConfig:
  registry:
    imageURL: localhost:5000/namespace/target
    skipTLS: true
mirror:
  additionalImages:
  - name: quay.io/a/b
"
    ));
    assert_eq!(config.additional_images[0].source.to_string(), "quay.io/a/b:latest");
    let registry = config.storage.registry.unwrap();
    assert_eq!(registry.image.to_string(), "localhost:5000/namespace/target:latest");
    assert!(registry.skip_tls);
    let config = ok(&format!("{V1}storageConfig: {{local: {{path: ./s}}}}\nmirror: {{}}"));
    assert_eq!(config.storage.local, Some(PathBuf::from("./s")));
}

#[test]
fn the_fingerprint_is_that_of_the_bytes() {
    let text = image("name: quay.io/a/b:1");
    assert_eq!(ok(&text).fingerprint(), Digest::of(text.as_bytes()));
}

#[test]
fn the_template_parses_and_every_comment_of_it_too() {
    let loaded = ImageSetConfig::parse(template(), "template").unwrap();
    assert_eq!(loaded.config.additional_images.len(), 1);
    assert_eq!(loaded.warnings, []);
    // Uncomment every field: a comment line whose text is a list entry or a known kind of field.
    let field =
        regex::Regex::new(r"^( *)# ( *(?:- )?(?:[A-Za-z]+:( .*)?|- .+|- \x22.*))$").unwrap();
    let full: String = template()
        .lines()
        .map(|line| match field.captures(line) {
            Some(found) if !line.ends_with(['.', ',']) && !line.contains("directory of") => {
                format!("{}{}\n", &found[1], &found[2])
            }
            _ => format!("{line}\n"),
        })
        .collect();
    match ImageSetConfig::parse(&full, "full") {
        Ok(loaded) => {
            assert_eq!(loaded.config.archive_size, Some(4));
            assert_eq!(loaded.config.blocked.len(), 2);
            assert_eq!(loaded.config.additional_images.len(), 5);
        }
        Err(error) => panic!("{error}\n{full}"),
    }
}

#[test]
fn the_header_is_checked() {
    refused("mirror: {}\n", &["1:1: kind: is missing"]);
    refused("kind:\nmirror: {}\n", &["1:1: kind: is empty"]);
    refused("kind: Pod\n", &["1:7: kind: the kind `Pod` is not supported"]);
    refused(
        "kind: DeleteImageSetConfiguration\ndelete: {}\n",
        &[
            "1:7: kind: a `DeleteImageSetConfiguration` says what is to be deleted, and not what to carry",
        ],
    );
    refused(
        "kind: ImageSetConfiguration\napiVersion: v1\nmirror: {}\n",
        &["2:13: apiVersion: the version `v1` is not known"],
    );
    warned(
        "kind: ImageSetConfiguration\nmirror: {x: 1}\n".replace("x: 1", "helm: {}").as_str(),
        &["1:1: apiVersion: is missing, read as v2alpha1"],
    );
    refused(V2, &["1:1: mirror: the configuration has no `mirror` stanza"]);
    refused(&format!("{V2}mirror:\n"), &["3:1: mirror: the configuration has no `mirror` stanza"]);
    refused(&format!("{V2}mirror: x\n"), &["3:9: mirror: needs a mapping, here is a text"]);
    refused(
        &format!("{V2}delete: {{}}\nmirror: {{}}\n"),
        &["3:1: delete: is not allowed in ImageSetConfiguration"],
    );
    warned(&format!("{V2}mirror: {{}}\n"), &["3:9: mirror: asks for nothing"]);
    refused("- a\n", &["1:1: needs a mapping, here is a list"]);
}

#[test]
fn unknown_and_duplicate_fields_are_refused_with_the_nearest_name() {
    let text = v2("  additionalImage:\n  - name: quay.io/a/b:1\n");
    refused(&text, &["4:3: mirror.additionalImage: unknown field `additionalImage`"]);
    assert!(hint(&text).starts_with("did you mean `additionalImages`?"), "{}", hint(&text));
    for (word, name) in [("hlem", "helm"), ("platfrm", "platform")] {
        let text = v2(&format!("  {word}: {{}}\n"));
        assert!(hint(&text).starts_with(&format!("did you mean `{name}`?")), "{}", hint(&text));
    }
    let text = image("name: quay.io/a/b:1\n    colour: red");
    refused(&text, &["6:5: mirror.additionalImages[0].colour: unknown field `colour`"]);
    assert_eq!(hint(&text), "the fields here are: name, targetRepo, targetTag, platforms");
    refused(
        &format!("{V2}metadata: {{name: x}}\nmirror: {{}}\n"),
        &["3:1: metadata: unknown field `metadata`"],
    );
    refused(
        &image("name: quay.io/a/b:1\n    name: quay.io/a/b:2"),
        &["6:5: mirror.additionalImages[0].name: duplicate key `name`, first on line 5"],
    );
    refused(
        &format!("{V2}mirror: {{}}\nmirror: {{}}\n"),
        &["4:1: mirror: duplicate key `mirror`, first on line 3"],
    );
    refused(
        &v2("  helm: {}\n  HELM: {}\n"),
        &["5:3: mirror.helm: `HELM` repeats a field of this mapping"],
    );
    // Go's decoder does not tell the cases apart, and files in the field rely on it.
    let text = v2("  additionalimages:\n  - name: quay.io/a/b:1\n");
    warned(&text, &["4:3: mirror.additionalImages: is written `additionalimages`"]);
    assert_eq!(ok(&text).additional_images.len(), 1);
}

#[test]
fn all_faults_come_at_once_and_in_order() {
    let text = format!(
        "{V2}archiveSize: 0\nextra: 1\nmirror:\n  additionalImages:\n  - name: redis:7\n  blockedImages:\n  - name: \"[\"\n"
    );
    refused(
        &text,
        &[
            "3:14: archiveSize: must be above 0: `0`",
            "4:1: extra: unknown field `extra`",
            "7:11: mirror.additionalImages[0].name: the image has no registry host",
            "9:11: mirror.blockedImages[0].name: invalid regular expression",
        ],
    );
    let shown = parse(&text).unwrap_err().to_string();
    assert!(
        shown.starts_with("the configuration has 4 faults\n  c.yaml:3:14: archiveSize"),
        "{shown}"
    );
    assert!(shown.contains("\n    hint: write `docker.io/library/redis:7`"), "{shown}");
}

#[test]
fn yaml_that_is_not_a_configuration() {
    refused("", &["1:1: the file is empty"]);
    refused("# nothing\n", &["2:1: the file is empty"]);
    refused("---\n", &["2:1: the file is empty"]);
    refused(&format!("{V2}mirror: {{}}\n---\n{V2}"), &["4:1: a second YAML document begins here"]);
    refused("kind: [a\n", &["2:1: kind[1]: bad YAML: "]);
    refused("kind: 'a\n", &["1:7: kind: bad YAML: "]);
    let tab = format!("{V2}mirror:\n\tadditionalImages: []\n");
    match parse(&tab) {
        Err(error) => assert_eq!(error.findings()[0].line, 4, "{error}"),
        Ok(_) => panic!("accepted a tab"),
    }
    refused("? [a]\n: b\n", &["1:3: a key is not a text"]);
    refused(
        "kind: !!int 4\n",
        &["1:7: kind: the YAML tag `tag:yaml.org,2002:!int` has no meaning here"],
    );
    refused("kind: &a [*a]\n", &["1:11: kind[0]: an alias refers to the value it stands in"]);
    refused("kind: *a\n", &["1:7: kind: bad YAML: "]);
    refused("<<: x\n", &["1:1: <<: a merge key needs a mapping"]);
    let deep = format!("a: {}{}", "[".repeat(20), "]".repeat(20));
    refused(
        &deep,
        &["1:19: a[0][0][0][0][0][0][0][0][0][0][0][0][0][0][0]: lists and mappings are nested"],
    );
    // Thousands of brackets neither overflow the stack nor take long.
    assert!(parse(&"[".repeat(1_000_000)).is_err());
    assert!(parse(&"a: {".repeat(500_000)).is_err());
    assert!(parse(&"- ".repeat(1_000_000)).is_err());
}

#[test]
fn anchors_aliases_and_merge_keys_work_and_are_bounded() {
    let config = ok(&v2("  additionalImages:
  - &base {name: q.io/a/b:1, platforms: &p [{os: linux, architecture: amd64}]}
  - {<<: *base, name: q.io/a/c:1}
  - {name: q.io/a/d:1, platforms: *p}
"));
    assert_eq!(config.additional_images[1].source.to_string(), "q.io/a/c:1");
    for image in &config.additional_images {
        assert_eq!(image.platforms.len(), 1);
    }
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let below = format!("*a{}, ", level - 1).repeat(10);
        bomb.push_str(&format!("a{level}: &a{level} [{below}]\n"));
    }
    let error = parse(&bomb).unwrap_err();
    assert!(error.findings()[0].problem.starts_with("more than 400000 values"), "{error}");
}

#[test]
fn encodings_and_line_ends() {
    let text = image("name: quay.io/a/b");
    let bom = format!("\u{feff}{text}");
    let crlf = text.replace('\n', "\r\n");
    for text in [&bom, &crlf] {
        refused(text, &["5:11: mirror.additionalImages[0].name: has neither a tag nor a digest"]);
    }
    let bytes = [V2.as_bytes(), b"# caf\xe9\nmirror: {}\n"].concat();
    let error = ImageSetConfig::parse_bytes(&bytes, "c.yaml").unwrap_err();
    compare(error.findings(), &["3:6: the file is not UTF-8 text"], "");
    let utf16: Vec<u8> = "\u{feff}kind: X".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let error = ImageSetConfig::parse_bytes(&utf16, "c.yaml").unwrap_err();
    assert_eq!(error.findings()[0].hint.as_deref(), Some("the file is UTF-16; save it as UTF-8"));
    // No control character of the file reaches the terminal.
    let shown = parse("kind: \"a\\e[31mb\\n\"\n\"\\e[2J\": 1\n").unwrap_err().to_string();
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
    let shown = parse(&format!("{V2}\"\\e[2J\": 1\nmirror: {{}}\n")).unwrap_err().to_string();
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
}

#[test]
fn json_is_read_too() {
    let config =
        ok(r#"{"kind": "ImageSetConfiguration", "apiVersion": "mirror.openshift.io/v2alpha1",
        "mirror": {"additionalImages": [{"name": "quay.io/a/b:1"}]}}"#);
    assert_eq!(config.additional_images[0].line, 2);
}

#[test]
fn files_that_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing.yaml");
    let error = ImageSetConfig::load(&missing).unwrap_err();
    assert!(matches!(error, ConfigErrors::Missing { .. }), "{error}");
    assert!(error.to_string().contains("missing.yaml"), "{error}");
    assert!(matches!(ImageSetConfig::load(dir.path()), Err(ConfigErrors::Read { .. })));
    let huge = dir.path().join("huge.yaml");
    fs_err::File::create(&huge).unwrap().set_len(1 << 40).unwrap();
    let error = ImageSetConfig::load(&huge).unwrap_err();
    assert!(matches!(error, ConfigErrors::TooLarge { max: limits::FILE_MAX, .. }), "{error}");
    let fine = dir.path().join("fine.yaml");
    fs_err::write(&fine, image("name: q.io/a/b:1")).unwrap();
    assert_eq!(ImageSetConfig::load(&fine).unwrap().config.additional_images.len(), 1);
}

#[test]
fn findings_are_bounded() {
    let mut text = v2("  additionalImages:\n");
    for _ in 0..250 {
        text.push_str("  - name: redis\n");
    }
    let error = parse(&text).unwrap_err();
    assert_eq!(error.findings().len(), 100);
    assert!(error.to_string().ends_with("… and 150 more"));
    assert!(error.to_string().starts_with("the configuration has 250 faults"));
}
