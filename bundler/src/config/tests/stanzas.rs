//! Every rule for a value, stanza by stanza.

use std::path::PathBuf;

use super::*;

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
        ("quay.io/a/b", "has neither a tag nor a digest: `quay.io/a/b`"),
        ("quay.io/a/B:1", "not a valid repository name"),
        ("quay.io/a/b:-1", "not a valid tag"),
        ("quay.io/a/b@sha256:12", ""),
        ("http://quay.io/a/b:1", "the transport `http` is not supported here"),
        ("oci://", "names no directory"),
        ("oci:/no/such/layout@sha256:12", "is no digest: `@sha256:12`"),
        ("[]", "needs a text, here is a list"),
        ("4.10", "needs a text, and without quotes `4.10` is a number"),
        ("yes", "needs a text, and without quotes `yes` is a boolean"),
        ("\"\"", "is empty"),
    ] {
        refused(&image(&format!("name: {name}")), &[&format!("{at}{problem}")]);
    }
    for nothing in ["name: null", "name: ~", "name:"] {
        refused(&image(nothing), &["5:5: mirror.additionalImages[0].name: is empty"]);
    }
    warned(
        &image("name: library/redis:7"),
        &["5:11: mirror.additionalImages[0].name: `library` is taken for the registry's host"],
    );
    warned(&image("name: registry:5000/redis:7"), &[]);
    assert_eq!(hint(&image("name: quay.io/a/b")), "write `quay.io/a/b:latest` if that is meant");
    refused(&image("targetTag: x"), &["5:5: mirror.additionalImages[0].name: is missing"]);
    refused(
        &image("quay.io/a/b:1"),
        &["5:5: mirror.additionalImages[0]: needs a mapping, here is a text"],
    );
    refused(
        &v2("  additionalImages: quay.io/a/b:1\n"),
        &["4:21: mirror.additionalImages: needs a list, here is a text"],
    );
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
        (
            "targetRepo: a/b:1",
            "6:17: mirror.additionalImages[0].targetRepo: not a valid repository name",
        ),
        (
            "targetRepo: \"invalid:@tag\"",
            "6:17: mirror.additionalImages[0].targetRepo: not a valid",
        ),
        ("targetTag: a/b", "6:16: mirror.additionalImages[0].targetTag: not a valid tag"),
        ("targetTag: 4.10", "6:16: mirror.additionalImages[0].targetTag: needs a text"),
        (
            "platforms: [linux/amd64]",
            "6:17: mirror.additionalImages[0].platforms[0]: needs a mapping",
        ),
        (
            "platforms: [{os: linux}]",
            "6:17: mirror.additionalImages[0].platforms[0].architecture: is missing",
        ),
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
    warned(
        &with("platforms: [{os: linux, architecture: x86_64}]"),
        &[
            "6:43: mirror.additionalImages[0].platforms[0].architecture: image indexes never say `x86_64`",
        ],
    );
    warned(
        &with("platforms: [{os: linux, architecture: a}, {os: linux, architecture: a}]"),
        &["6:47: mirror.additionalImages[0].platforms[1]: `linux/a` is listed twice"],
    );
}

#[test]
fn blocked_images_are_unanchored_patterns_in_both_versions() {
    for version in [V1, V2] {
        let config = ok(&format!(
            "{version}mirror:\n  blockedImages: [{{name: alpine}}, {{name: ^q.*x}}]\n"
        ));
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
    let many = v2(&format!("  blockedImages:\n{}", "  - name: a\n".repeat(1002)));
    refused(&many, &["1005:11: mirror.blockedImages[1000].name: more than 1000 patterns"]);
}

#[test]
fn releases_are_checked() {
    let one = |rest: &str| v2(&format!("  platform:\n    channels:\n    - {{name: a, {rest}}}\n"));
    let at = "mirror.platform.channels[0]";
    for (rest, expected) in [
        (
            "minVersion: 4.10.2, maxVersion: 4.9.3",
            "6:29: @.minVersion: minVersion `4.10.2` is above",
        ),
        (
            "minVersion: 4.18",
            "6:29: @.minVersion: needs a text, and without quotes `4.18` is a number",
        ),
        ("minVersion: v4.18.1", "6:29: @.minVersion: not a semantic version"),
        ("maxVersion: \"4.18\"", "6:29: @.maxVersion: not a semantic version"),
        ("shortestPath: yes", "6:31: @.shortestPath: needs a boolean: `yes`"),
        ("full: \"true\"", "6:23: @.full: needs a boolean, here is a text"),
    ] {
        refused(&one(rest), &[&expected.replace('@', at)]);
    }
    assert_eq!(hint(&one("minVersion: v4.18")), "write \"4.18.0\"");
    warned(&one("type: rhel"), &[&format!("6:23: {at}.type: unknown channel type `rhel`")]);
    // Pre-releases sort below their release; build numbers do not count.
    ok(&one("minVersion: 4.18.0-rc.1, maxVersion: 4.18.0"));
    ok(&one("minVersion: 4.18.0+2, maxVersion: 4.18.0+1"));
    let okd = ok(&one("type: okd, minVersion: 4.1.0, maxVersion: 4.1.0"));
    assert!(okd.platform.unwrap().channels[0].okd);
    let platform = |rest: &str| v2(&format!("  platform: {{{rest}}}\n"));
    refused(
        &platform("channels: [{name: a}, {name: a}]"),
        &["4:43: mirror.platform.channels[1].name: duplicate channel `a`, first on line 4"],
    );
    refused(
        &platform("channels: [{full: true}]"),
        &["4:25: mirror.platform.channels[0].name: is missing"],
    );
    refused(
        &platform("architectures: [x86_64]"),
        &["4:30: mirror.platform.architectures[0]: unknown architecture `x86_64`"],
    );
    refused(
        &platform("architectures: [amd64], platforms: [{os: linux, architecture: amd64}]"),
        &["4:38: mirror.platform.platforms: cannot be used together with `architectures`"],
    );
    refused(
        &platform("release: ocp-release"),
        &["4:23: mirror.platform.release: the image has no"],
    );
    warned(
        &platform("release: q.io/a/b:1, channels: [{name: a}]"),
        &["4:23: mirror.platform.release: overrides `channels`"],
    );
}

#[test]
fn operators_are_checked() {
    let one = |rest: &str| v2(&format!("  operators:\n  - {{catalog: q.io/a/b:1, {rest}}}\n"));
    let at = "mirror.operators[0]";
    for (rest, expected) in [
        ("targetCatalog: a:1", "5:42: @.targetCatalog: not a valid repository name"),
        ("targetTag: a/1", "5:38: @.targetTag: not a valid tag"),
        ("targetName: a", "5:27: @.targetName: is a field of v1alpha2"),
        ("originalRef: a", "5:27: @.originalRef: is a field of v1alpha2"),
        ("packages: [{name: a}, {name: a}]", "5:56: @.packages[1].name: duplicate package `a`"),
        ("packages: [{}]", "5:38: @.packages[0].name: is missing"),
        (
            "packages: [{name: a, minBundle: b}]",
            "5:48: @.packages[0].minBundle: is a field of v1alpha2",
        ),
        ("packages: [{name: a, minVersion: x}]", "5:60: @.packages[0].minVersion: not a semantic"),
        (
            "packages: [{name: a, minVersion: 2.0.0, maxVersion: 1.0.0}]",
            "5:60: @.packages[0].minVersion: minVersion `2.0.0` is above maxVersion `1.0.0`",
        ),
        (
            "packages: [{name: a, bundles: [{name: b}], channels: [{name: c}]}]",
            "5:48: @.packages[0].bundles: cannot be used together with `channels` of the package",
        ),
        (
            "packages: [{name: a, bundles: [{name: b}], minVersion: 1.0.0}]",
            "5:48: @.packages[0].bundles: cannot be used together with versions of the package",
        ),
        (
            "packages: [{name: a, bundles: [{name: b}, {name: b}]}]",
            "5:76: @.packages[0].bundles[1].name: duplicate bundle `b`",
        ),
        ("packages: [{name: a, bundles: [b]}]", "5:58: @.packages[0].bundles[0]: needs a mapping"),
        (
            "full: true, packages: [{name: a, bundles: [{name: b}]}]",
            "5:57: @.packages[0].name: package `a` has `bundles` in a `full` catalog",
        ),
        (
            "packages: [{name: a, channels: [{name: c}, {name: c}]}]",
            "5:77: @.packages[0].channels[1].name: duplicate channel `c`",
        ),
        (
            "packages: [{name: a, minVersion: 1.0.0, channels: [{name: c, maxVersion: 2.0.0}]}]",
            "5:78: @.packages[0].channels[0]: a version range of the package and of a channel",
        ),
        (
            "packages: [{name: a, defaultChannel: d, channels: [{name: c}]}]",
            "5:64: @.packages[0].defaultChannel: the default channel `d` is not among `channels`",
        ),
        (
            "full: true, packages: [{name: a, minVersion: 1.0.0}]",
            "5:57: @.packages[0].name: package `a` has a version range in a `full` catalog",
        ),
    ] {
        refused(&one(rest), &[&expected.replace('@', at)]);
    }
    refused(
        &v2("  operators: [{full: true}]\n"),
        &["4:15: mirror.operators[0].catalog: is missing"],
    );
    refused(
        &v2("  operators: [{catalog: a:1}]\n"),
        &["4:25: mirror.operators[0].catalog: the image has no"],
    );
    refused(
        &one("full: false}\n  - {catalog: q.io/a/b:1"),
        &["6:15: mirror.operators[1].catalog: duplicate catalog `q.io/a/b:1`, first on line 5"],
    );
    ok(&one("full: false}\n  - {catalog: q.io/a/b:1, targetTag: x"));
    // Two targets that are one name collide, whatever the sources are called.
    refused(
        &one("targetCatalog: x}\n  - {catalog: q.io/a/c:1, targetCatalog: x"),
        &["6:15: mirror.operators[1].catalog: duplicate catalog `q.io/x:1`"],
    );
    warned(
        &one("skipDependencies: true"),
        &["5:27: mirror.operators[0].skipDependencies: has no effect"],
    );
}

#[test]
fn the_older_fields_belong_to_v1() {
    let old = v1("  operators:
  - catalog: q.io/a/b
    full: true
    targetName: x
    originalRef: z
    packages:
    - {name: a, minBundle: b.v1}
    - {name: c, minVersion: 1.0.0}
");
    warned(
        &old,
        &[
            "7:5: mirror.operators[0].targetName: is deprecated",
            "8:5: mirror.operators[0].originalRef: is deprecated and not used",
        ],
    );
    let config = ok(&old);
    assert_eq!(config.operators[0].packages[0].min_bundle.as_deref(), Some("b.v1"));
    assert_eq!(config.operators[0].target_name.as_ref().unwrap().as_str(), "x");
    refused(
        &v1(
            "  operators: [{catalog: q.io/a/b, packages: [{name: a, minBundle: b, minVersion: 1.0.0}]}]\n",
        ),
        &[
            "4:67: mirror.operators[0].packages[0].minBundle: cannot be used together with `minVersion`",
        ],
    );
    let named = "packages: [{name: a, bundles: [{name: a.v1}, {name: a.v2}]}]";
    let text = v1(&format!("  operators: [{{catalog: q.io/a/b, {named}}}]\n"));
    warned(
        &text,
        &["4:56: mirror.operators[0].packages[0].bundles: is a field of v2alpha1; it is used"],
    );
    let names: Vec<_> =
        ok(&text).operators[0].packages[0].bundles.iter().map(|b| b.name.clone()).collect();
    assert_eq!(names, ["a.v1", "a.v2"]);
    let storage = |rest: &str| format!("{V1}storageConfig: {{{rest}}}\nmirror: {{}}\n");
    refused(
        &storage("local: {path: a}, registry: {imageURL: q.io/a/b}"),
        &["3:35: storageConfig.registry: cannot be used together with `local`"],
    );
    refused(&storage("local: {}"), &["3:24: storageConfig.local.path: is missing"]);
    refused(
        &storage("registry: {imageURL: a}"),
        &["3:38: storageConfig.registry.imageURL: the image"],
    );
    let digest = "4".repeat(64);
    refused(
        &storage(&format!("registry: {{imageURL: \"q.io/a@sha256:{digest}\"}}")),
        &["3:38: storageConfig.registry.imageURL: names a digest"],
    );
    let text = format!("{V2}storageConfig: {{local: {{path: a}}}}\nmirror: {{}}\n");
    refused(&text, &["3:1: storageConfig: is a field of v1alpha2 that v2alpha1 does not have"]);
    assert!(hint(&text).contains("--workspace"));
    // Newer fields in a v1alpha2 file: oc-mirror v2 uses them.
    warned(
        &v1("  additionalImages: [{name: q.io/a/b, targetTag: x}]\n"),
        &["4:39: mirror.additionalImages[0].targetTag: is a field of v2alpha1"],
    );
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
        (
            "url: https://a.b, charts: [{name: a, version: 1.0}]",
            "4:81: @.charts[0].version: needs a text",
        ),
        (
            "url: https://a.b, charts: [{name: a, imagePaths: [1]}]",
            "4:85: @.charts[0].imagePaths[0]: needs",
        ),
        (
            "url: https://a.b, charts: [{name: a, imagePaths: ['{.a[}']}]",
            "4:85: @.charts[0].imagePaths[0]: `{.a[}` is no path that is known here",
        ),
        (
            "url: https://a.b, charts: [{name: a, version: newest}]",
            "4:81: @.charts[0].version: `newest` is neither a version nor a range of versions",
        ),
    ] {
        refused(&one(rest), &[&expected.replace('@', at)]);
    }
    refused(
        &v2("  helm: {local: [{name: a}]}\n"),
        &["4:18: mirror.helm.local[0].path: is missing"],
    );
    let config = ok(&v2("  helm: {local: [{name: a, path: ./a.tgz}]}\n"));
    assert_eq!(config.helm.unwrap().local[0].path, PathBuf::from("./a.tgz"));
}
