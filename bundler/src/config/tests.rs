//! Every rule of the reader with its file, line, column and field; both versions; real files; noise.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

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
    assert!(config.unsupported().is_empty());
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
    let field = regex::Regex::new(r"^( *)# ( *(?:- )?(?:[A-Za-z]+:( .*)?|- .+|- \x22.*))$").unwrap();
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
            assert_eq!(loaded.config.unsupported().len(), 3);
            assert_eq!(loaded.config.additional_images.len(), 4);
        }
        Err(error) => panic!("{error}\n{full}"),
    }
}

#[test]
fn the_header_is_checked() {
    refused("mirror: {}\n", &["1:1: kind: is missing"]);
    refused("kind:\nmirror: {}\n", &["1:6: kind: is empty"]);
    refused("kind: Pod\n", &["1:7: kind: the kind `Pod` is not supported"]);
    refused(
        "kind: DeleteImageSetConfiguration\ndelete: {}\n",
        &["1:7: kind: the kind `DeleteImageSetConfiguration` is not supported here yet"],
    );
    refused(
        "kind: ImageSetConfiguration\napiVersion: v1\nmirror: {}\n",
        &["2:13: apiVersion: the version `v1` is not known"],
    );
    warned("kind: ImageSetConfiguration\nmirror: {x: 1}\n".replace("x: 1", "helm: {}").as_str(), &[
        "1:1: apiVersion: is missing, read as v2alpha1",
    ]);
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
    refused(&text, &[
        "3:14: archiveSize: must be above 0: `0`",
        "4:1: extra: unknown field `extra`",
        "7:11: mirror.additionalImages[0].name: the image has no registry host",
        "9:11: mirror.blockedImages[0].name: invalid regular expression",
    ]);
    let shown = parse(&text).unwrap_err().to_string();
    assert!(shown.starts_with("the configuration has 4 faults\n  c.yaml:3:14: archiveSize"), "{shown}");
    assert!(shown.contains("\n    hint: write `docker.io/library/redis:7`"), "{shown}");
}

#[test]
fn archive_size_is_a_number_above_zero() {
    for version in [V1, V2] {
        for (value, problem) in [
            ("0", "must be above 0: `0`"),
            ("-1", "must be above 0: `-1`"),
            ("\"4\"", "needs a number, and in quotes `4` is a text"),
            ("4GiB", "needs a number: `4GiB`"),
            ("4.5", "needs a number: `4.5`"),
            ("[4]", "needs a number, here is a list"),
            ("8589934592", "is larger than 8589934591 GiB"),
            ("99999999999999999999", "is larger than 8589934591 GiB"),
        ] {
            let text = format!("{version}archiveSize: {value}\nmirror: {{}}\n");
            refused(&text, &[&format!("3:14: archiveSize: {problem}")]);
        }
        let size = |value: &str| {
            ok(&format!("{version}archiveSize: {value}\nmirror: {{}}\n")).archive_size
        };
        assert_eq!(size("8589934591"), Some(8_589_934_591));
        assert_eq!(size(""), None);
    }
}

#[test]
fn references_are_checked() {
    let at = "5:11: mirror.additionalImages[0].name: ";
    for (name, problem) in [
        ("redis:7", "the image has no registry host"),
        ("library/redis:7", "the image has no registry host"),
        ("quay.io/a/b", "has neither a tag nor a digest: `quay.io/a/b`"),
        ("quay.io/a/B:1", "not a valid repository name"),
        ("quay.io/a/b:-1", "not a valid tag"),
        ("quay.io/a/b@sha256:12", ""),
        ("http://quay.io/a/b:1", "the transport `http` is not supported here"),
        ("oci://", "names no directory"),
        ("[]", "needs a text, here is a list"),
        ("4.10", "needs a text, and without quotes `4.10` is a number"),
        ("yes", "needs a text, and without quotes `yes` is a boolean"),
        ("\"\"", "is empty"),
        ("null", "is empty"),
        ("", "is empty"),
    ] {
        let at = if name.is_empty() { at.replace("11", "10") } else { at.to_owned() };
        refused(&image(&format!("name: {name}")), &[&format!("{at}{problem}")]);
    }
    assert_eq!(hint(&image("name: quay.io/a/b")), "write `quay.io/a/b:latest` if that is meant");
    refused(&image("targetTag: x"), &["5:5: mirror.additionalImages[0].name: is missing"]);
    refused(&image("quay.io/a/b:1"), &[
        "5:5: mirror.additionalImages[0]: needs a mapping, here is a text",
    ]);
    refused(&v2("  additionalImages: quay.io/a/b:1\n"), &[
        "4:21: mirror.additionalImages: needs a list, here is a text",
    ]);
    let twice = image("name: quay.io/a/b:1\n  - name: quay.io/a/b:1");
    warned(&twice, &["6:11: mirror.additionalImages[1].name: is listed twice, first on line 5"]);
    assert_eq!(ok(&twice).additional_images.len(), 1);
    let other = image("name: quay.io/a/b:1\n  - {name: quay.io/a/b:1, targetTag: x}");
    assert_eq!(ok(&other).additional_images.len(), 2);
}

#[test]
fn targets_and_platforms_are_checked() {
    let with = |rest: &str| image(&format!("name: quay.io/a/b:1\n    {rest}"));
    for (rest, expected) in [
        ("targetRepo: a/b:1", "6:17: mirror.additionalImages[0].targetRepo: not a valid repository name"),
        ("targetRepo: \"invalid:@tag\"", "6:17: mirror.additionalImages[0].targetRepo: not a valid"),
        ("targetTag: a/b", "6:16: mirror.additionalImages[0].targetTag: not a valid tag"),
        ("targetTag: 4.10", "6:16: mirror.additionalImages[0].targetTag: needs a text"),
        ("platforms: [linux/amd64]", "6:17: mirror.additionalImages[0].platforms[0]: needs a mapping"),
        ("platforms: [{os: linux}]", "6:17: mirror.additionalImages[0].platforms[0].architecture: is missing"),
        (
            "platforms: [{os: \"\", architecture: amd64}]",
            "6:22: mirror.additionalImages[0].platforms[0].os: is empty",
        ),
        (
            "platforms: [{os: linux, architecture: linux/amd64}]",
            "6:43: mirror.additionalImages[0].platforms[0].architecture: not a platform name",
        ),
        (
            "platforms: [{os: linux, architecture: arm, variant: v7}]",
            "6:48: mirror.additionalImages[0].platforms[0].variant: unknown field",
        ),
    ] {
        refused(&with(rest), &[expected]);
    }
    assert_eq!(hint(&with("targetTag: 4.10")), "write it in quotes: \"4.10\"");
    warned(&with("platforms: [{os: linux, architecture: x86_64}]"), &[
        "6:43: mirror.additionalImages[0].platforms[0].architecture: image indexes never say `x86_64`",
    ]);
    warned(&with("platforms: [{os: linux, architecture: a}, {os: linux, architecture: a}]"), &[
        "6:47: mirror.additionalImages[0].platforms[1]: `linux/a` is listed twice",
    ]);
}

#[test]
fn blocked_images_are_unanchored_patterns_in_both_versions() {
    for version in [V1, V2] {
        let config = ok(&format!("{version}mirror:\n  blockedImages: [{{name: alpine}}, {{name: ^q.*x}}]\n"));
        assert_eq!(config.blocked_by("docker.io/library/alpine:3").unwrap().pattern(), "alpine");
        assert_eq!(config.blocked_by("quay.io/a/x:3").unwrap().line, 4);
        assert!(config.blocked_by("docker.io/library/redis:3").is_none());
    }
    let one = |pattern: &str| v2(&format!("  blockedImages:\n  - name: \"{pattern}\"\n"));
    let at = "5:11: mirror.blockedImages[0].name: ";
    for pattern in ["*alpine", "(", "a{99999}{99999}"] {
        refused(&one(pattern), &[&format!("{at}invalid regular expression")]);
    }
    refused(&one(""), &[&format!("{at}is empty")]);
    warned(&one("ub*"), &[&format!("{at}`ub*` is a regular expression, not a glob")]);
    warned(&one(".*"), &[&format!("{at}the pattern `.*` blocks every image")]);
    warned(&one("^quay.io/.*/x$"), &[]);
}

#[test]
fn releases_are_checked() {
    let one = |rest: &str| v2(&format!("  platform:\n    channels:\n    - {{name: a, {rest}}}\n"));
    let at = "mirror.platform.channels[0]";
    for (rest, expected) in [
        ("minVersion: 4.10.2, maxVersion: 4.9.3", "6:28: @.minVersion: minVersion `4.10.2` is above"),
        ("minVersion: 4.18", "6:28: @.minVersion: needs a text, and without quotes `4.18` is a number"),
        ("minVersion: v4.18.1", "6:28: @.minVersion: not a semantic version"),
        ("maxVersion: \"4.18\"", "6:28: @.maxVersion: not a semantic version"),
        ("shortestPath: yes", "6:30: @.shortestPath: needs a boolean: `yes`"),
        ("full: \"true\"", "6:22: @.full: needs a boolean, here is a text"),
    ] {
        refused(&one(rest), &[&expected.replace('@', at)]);
    }
    assert_eq!(hint(&one("minVersion: v4.18")), "write \"4.18.0\"");
    warned(&one("type: rhel"), &[&format!("6:22: {at}.type: unknown channel type `rhel`")]);
    // Pre-releases sort below their release; build numbers do not count.
    ok(&one("minVersion: 4.18.0-rc.1, maxVersion: 4.18.0"));
    ok(&one("minVersion: 4.18.0+2, maxVersion: 4.18.0+1"));
    let okd = ok(&one("type: okd, minVersion: 4.1.0, maxVersion: 4.1.0"));
    assert!(okd.platform.unwrap().channels[0].okd);
    let platform = |rest: &str| v2(&format!("  platform: {{{rest}}}\n"));
    refused(&platform("channels: [{name: a}, {name: a}]"), &[
        "4:43: mirror.platform.channels[1].name: duplicate channel `a`, first on line 4",
    ]);
    refused(&platform("channels: [{full: true}]"), &["4:25: mirror.platform.channels[0].name: is missing"]);
    refused(&platform("architectures: [x86_64]"), &[
        "4:30: mirror.platform.architectures[0]: unknown architecture `x86_64`",
    ]);
    refused(&platform("architectures: [amd64], platforms: [{os: linux, architecture: amd64}]"), &[
        "4:38: mirror.platform.platforms: cannot be used together with `architectures`",
    ]);
    refused(&platform("release: ocp-release"), &["4:23: mirror.platform.release: the image has no"]);
    warned(&platform("release: q.io/a/b:1, channels: [{name: a}]"), &[
        "4:23: mirror.platform.release: overrides `channels`",
    ]);
}

#[test]
fn operators_are_checked() {
    let one = |rest: &str| v2(&format!("  operators:\n  - {{catalog: q.io/a/b:1, {rest}}}\n"));
    let at = "mirror.operators[0]";
    for (rest, expected) in [
        ("targetCatalog: a:1", "5:43: @.targetCatalog: not a valid repository name"),
        ("targetTag: a/1", "5:39: @.targetTag: not a valid tag"),
        ("targetName: a", "5:28: @.targetName: is a field of v1alpha2"),
        ("originalRef: a", "5:28: @.originalRef: is a field of v1alpha2"),
        ("packages: [{name: a}, {name: a}]", "5:57: @.packages[1].name: duplicate package `a`"),
        ("packages: [{}]", "5:39: @.packages[0].name: is missing"),
        ("packages: [{name: a, minBundle: b}]", "5:49: @.packages[0].minBundle: is a field of v1alpha2"),
        ("packages: [{name: a, minVersion: x}]", "5:61: @.packages[0].minVersion: not a semantic"),
        (
            "packages: [{name: a, minVersion: 2.0.0, maxVersion: 1.0.0}]",
            "5:61: @.packages[0].minVersion: minVersion `2.0.0` is above maxVersion `1.0.0`",
        ),
        (
            "packages: [{name: a, channels: [{name: c}, {name: c}]}]",
            "5:78: @.packages[0].channels[1].name: duplicate channel `c`",
        ),
        (
            "packages: [{name: a, minVersion: 1.0.0, channels: [{name: c, maxVersion: 2.0.0}]}]",
            "5:79: @.packages[0].channels[0]: a version range of the package and of a channel",
        ),
        (
            "packages: [{name: a, defaultChannel: d, channels: [{name: c}]}]",
            "5:65: @.packages[0].defaultChannel: the default channel `d` is not among `channels`",
        ),
        (
            "full: true, packages: [{name: a, minVersion: 1.0.0}]",
            "5:58: @.packages[0].name: package `a` has a version range in a `full` catalog",
        ),
    ] {
        refused(&one(rest), &[&expected.replace('@', at)]);
    }
    refused(&v2("  operators: [{full: true}]\n"), &["4:15: mirror.operators[0].catalog: is missing"]);
    refused(&v2("  operators: [{catalog: a:1}]\n"), &["4:25: mirror.operators[0].catalog: the image has no"]);
    refused(&one("full: false}\n  - {catalog: q.io/a/b:1"), &[
        "6:15: mirror.operators[1].catalog: duplicate catalog `q.io/a/b:1`, first on line 5",
    ]);
    ok(&one("full: false}\n  - {catalog: q.io/a/b:1, targetTag: x"));
    // Two targets that are one name collide, whatever the sources are called.
    refused(&one("targetCatalog: x}\n  - {catalog: q.io/a/c:1, targetCatalog: x"), &[
        "6:15: mirror.operators[1].catalog: duplicate catalog `q.io/x:1`",
    ]);
    warned(&one("skipDependencies: true"), &["5:28: mirror.operators[0].skipDependencies: has no effect"]);
}

#[test]
fn the_older_fields_belong_to_v1() {
    let old = v1("  operators:
  - catalog: q.io/a/b
    full: true
    targetName: x
    originalRef: y
    packages:
    - {name: a, minBundle: b.v1}
    - {name: c, minVersion: 1.0.0}
");
    warned(&old, &[
        "7:5: mirror.operators[0].targetName: is deprecated",
        "8:5: mirror.operators[0].originalRef: is deprecated and not used",
    ]);
    let config = ok(&old);
    assert_eq!(config.operators[0].packages[0].min_bundle.as_deref(), Some("b.v1"));
    assert_eq!(config.operators[0].target_name.as_ref().unwrap().as_str(), "x");
    refused(&v1("  operators: [{catalog: q.io/a/b, packages: [{name: a, minBundle: b, minVersion: 1.0.0}]}]\n"), &[
        "4:69: mirror.operators[0].packages[0].minBundle: cannot be used together with `minVersion`",
    ]);
    let storage = |rest: &str| format!("{V1}storageConfig: {{{rest}}}\nmirror: {{}}\n");
    refused(&storage("local: {path: a}, registry: {imageURL: q.io/a/b}"), &[
        "3:35: storageConfig.registry: cannot be used together with `local`",
    ]);
    refused(&storage("local: {}"), &["3:24: storageConfig.local.path: is missing"]);
    refused(&storage("registry: {imageURL: a}"), &["3:38: storageConfig.registry.imageURL: the image"]);
    let digest = "4".repeat(64);
    refused(&storage(&format!("registry: {{imageURL: \"q.io/a@sha256:{digest}\"}}")), &[
        "3:38: storageConfig.registry.imageURL: names a digest",
    ]);
    let text = format!("{V2}storageConfig: {{local: {{path: a}}}}\nmirror: {{}}\n");
    refused(&text, &["3:1: storageConfig: is a field of v1alpha2 that v2alpha1 does not have"]);
    assert!(hint(&text).contains("--workspace"));
    // Newer fields in a v1alpha2 file: oc-mirror v2 uses them.
    warned(&v1("  additionalImages: [{name: q.io/a/b, targetTag: x}]\n"), &[
        "4:39: mirror.additionalImages[0].targetTag: is a field of v2alpha1",
    ]);
    warned(&v2("  samples:\n  - name: ruby\n"), &["4:3: mirror.samples: has never had an effect"]);
}

#[test]
fn helm_is_checked() {
    let one = |rest: &str| v2(&format!("  helm: {{repositories: [{{name: a, {rest}}}]}}\n"));
    let at = "mirror.helm.repositories[0]";
    for (rest, expected) in [
        ("x: 1, url: https://a.b", "4:35: @.x: unknown field `x`"),
        ("url: a.b", "4:40: @.url: not a URL"),
        ("url: file:///a", "4:40: @.url: the scheme `file` is not supported here"),
        ("url: https://u:p@a.b/", "4:40: @.url: the URL holds credentials"),
        ("url: https://a.b, charts: [{version: 1.0.0}]", "4:62: @.charts[0].name: is missing"),
        ("url: https://a.b, charts: [{name: a, version: 1.0}]", "4:81: @.charts[0].version: needs a text"),
        ("url: https://a.b, charts: [{name: a, imagePaths: [1]}]", "4:85: @.charts[0].imagePaths[0]: needs"),
    ] {
        refused(&one(rest), &[&expected.replace('@', at)]);
    }
    refused(&v2("  helm: {local: [{name: a}]}\n"), &["4:18: mirror.helm.local[0].path: is missing"]);
    let config = ok(&v2("  helm: {local: [{name: a, path: ./a.tgz}]}\n"));
    assert_eq!(config.helm.unwrap().local[0].path, PathBuf::from("./a.tgz"));
}

#[test]
fn content_that_is_not_supported_yet_is_named() {
    let config = ok(&v2("  platform: {graph: true}
  operators: [{catalog: q.io/a/b:1}]
  helm:
    local: [{name: a, path: b}]
  additionalImages: []
"));
    compare(config.unsupported(), &[
        "4:3: mirror.platform: release content is not supported by this version of bundle yet",
        "5:3: mirror.operators: Operator catalog content is not supported",
        "6:3: mirror.helm: Helm chart content is not supported",
    ], "");
    let empty = ok(&v2("  platform: {}\n  operators: []\n  helm: {local: []}\n  samples: []\n"));
    assert_eq!(empty.unsupported(), []);
    assert_eq!(ok(&v2("  platform: {channels: [], graph: false}\n  operators:\n")).unsupported(), []);
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
    refused("kind: !!int 4\n", &["1:7: kind: the YAML tag `tag:yaml.org,2002:!int` has no meaning here"]);
    refused("kind: &a [*a]\n", &["1:11: kind[0]: an alias refers to the value it stands in"]);
    refused("kind: *a\n", &["1:7: kind: bad YAML: "]);
    refused("<<: x\n", &["1:1: <<: a merge key needs a mapping"]);
    let deep = format!("a: {}{}", "[".repeat(20), "]".repeat(20));
    refused(&deep, &["1:19: a[0][0][0][0][0][0][0][0][0][0][0][0][0][0][0]: lists and mappings are nested"]);
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
    let config = ok(r#"{"kind": "ImageSetConfiguration", "apiVersion": "mirror.openshift.io/v2alpha1",
        "mirror": {"additionalImages": [{"name": "quay.io/a/b:1"}]}}"#);
    assert_eq!(config.additional_images[0].line, 2);
}

#[test]
fn files_that_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing.yaml");
    let error = ImageSetConfig::load(&missing).unwrap_err();
    assert!(matches!(error, ConfigErrors::Read { .. }), "{error}");
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
    let (mut loaded, mut unsupported, mut warnings) = (0, 0, 0);
    let mut refused = Vec::new();
    for path in &files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        match ImageSetConfig::load(path) {
            Ok(fine) => {
                loaded += 1;
                unsupported += usize::from(!fine.config.unsupported().is_empty());
                warnings += fine.warnings.len();
            }
            Err(error) => {
                for f in error.findings() {
                    refused.push(format!("{name}:{}:{}: {}: {}", f.line, f.column, f.field, f.problem));
                }
            }
        }
    }
    println!("{} files: {loaded} load ({unsupported} ask for content not supported yet, {warnings} warnings)", files.len());
    println!("refused:\n{}", refused.join("\n"));
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
