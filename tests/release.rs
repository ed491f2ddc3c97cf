//! One release by itself, through the binary: what is in it, as files.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

#[path = "support/mod.rs"]
mod support;

use format_spec::Digest;
use fs_err as fs;
use serde_json::{Value, json};
use support::command::Run;
use support::image::Pushed;
use support::releases::{COMPONENTS, RELEASES, Releases, graph, names, resources, tar};
use support::server::fs_write;
use support::text;

const REFERENCES: &str = "release-manifests/image-references";
const METADATA: &str = "release-manifests/release-metadata";

impl Releases {
    /// `bundle release extract` from the source's registry.
    fn extract(&self, payload: &Pushed, more: &[&str]) -> Run {
        let from = format!("{}/{RELEASES}@{}", self.site.source.host, payload.digest);
        let store = self.site.path("store");
        self.release_command(&["extract", "--from", &from, "--signature-store", text(&store)], more)
    }

    /// The same from media.
    fn extract_media(&self, media: &[&str], more: &[&str]) -> Run {
        let mut words =
            vec!["extract".to_owned(), "--trust".to_owned(), text(&self.site.key()).to_owned()];
        for one in media {
            words.extend(["--from".to_owned(), text(&self.site.path(one)).to_owned()]);
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.release_command(&words, more)
    }

    fn read(&self, path: &str) -> Vec<u8> {
        fs::read(self.site.path(path)).unwrap()
    }
}

/// A release with some manifests besides what each has.
fn with_manifests(
    releases: &Releases,
    version: &str,
    components: &[(String, Digest)],
    more: &[(&str, &[u8])],
) -> Pushed {
    let references = releases.references(version, components);
    let metadata = json!({"kind": "cincinnati-metadata-v0", "version": version, "previous": []});
    let metadata = serde_json::to_vec(&metadata).unwrap();
    let mut files: Vec<(&str, &[u8])> = vec![(REFERENCES, &references), (METADATA, &metadata)];
    files.extend(more);
    let payload = releases.payload(&files);
    let name = format!("quay.io/{RELEASES}:{version}-x86_64");
    releases.store(&payload, 1, &releases.key.sign(&payload.digest.to_string(), &name));
    payload
}

/// The names in a directory.
fn listed(releases: &Releases, path: &str) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(releases.site.path(path))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn the_manifests_of_a_release_come_out_of_a_registry_and_off_a_medium() {
    let Some(releases) = Releases::new() else { return };
    let components = releases.components(&names(), "4.10.0");
    let more: [(&str, &[u8]); 4] = [
        ("release-manifests/0000_50_one.yaml", b"kind: One\n"),
        ("./release-manifests/0000_50_two.yaml", b"kind: Two\n"),
        ("release-manifests/deeper/three.yaml", b"kind: Three\n"),
        ("release-manifests/../../outside", b"out"),
    ];
    let payload = with_manifests(&releases, "4.10.0", &components, &more);
    let expected = ["0000_50_one.yaml", "0000_50_two.yaml", "image-references", "release-metadata"];
    let references = releases.references("4.10.0", &components);

    let to = releases.site.path("out/manifests");
    let run = releases.extract(&payload, &["--to", text(&to), "--output", "json"]).ok();
    assert_eq!(listed(&releases, "out/manifests"), expected);
    assert_eq!(releases.read("out/manifests/image-references"), references);
    assert_eq!(releases.read("out/manifests/0000_50_two.yaml"), b"kind: Two\n");
    let answer = run.json();
    let image = format!("{}/{RELEASES}@{}", releases.site.source.host, payload.digest);
    let release = json!({"version": "4.10.0", "architecture": "amd64", "digest": payload.digest.to_string(),
        "image": image, "signed": true});
    assert_eq!(answer["release"], release);
    assert_eq!(answer["files"][0], json!({"name": "0000_50_one.yaml", "bytes": 10}));
    assert_eq!(answer["files"].as_array().unwrap().len(), 4);
    assert_eq!(answer["directory"], text(&to));

    // Nothing is replaced unasked, and nothing half-done stays.
    fs_write(&to.join("0000_50_one.yaml"), b"mine");
    fs::remove_file(to.join("0000_50_two.yaml")).unwrap();
    releases
        .extract(&payload, &["--to", text(&to)])
        .refused(&[73])
        .says("is there already")
        .says("--overwrite");
    assert_eq!(releases.read("out/manifests/0000_50_one.yaml"), b"mine");
    assert!(!to.join("0000_50_two.yaml").exists());
    assert_eq!(listed(&releases, "out/manifests").len(), 3);
    releases.extract(&payload, &["--to", text(&to), "--overwrite"]).ok().says("4 files in");
    assert_eq!(releases.read("out/manifests/0000_50_one.yaml"), b"kind: One\n");

    let one = releases.extract(&payload, &["--file", "image-references"]).ok();
    assert_eq!(one.stdout.as_bytes(), references);
    let json =
        releases.extract(&payload, &["--file=0000_50_one.yaml", "--output", "json"]).ok().json();
    assert_eq!(json["content"], "kind: One\n");
    assert!(json.get("files").is_none());
    releases.extract(&payload, &["--file", "none.yaml"]).refused(&[2]).says("no file `none.yaml`");
    releases.extract(&payload, &["--file", "../x"]).refused(&[64]);

    // The same off a medium, without a registry and without a store of signatures.
    releases.configure(&payload, "");
    releases.create("media", &[]).ok();
    let off = releases.site.path("off");
    let run = releases.extract_media(&["media"], &["--to", text(&off), "--output", "json"]).ok();
    assert_eq!(listed(&releases, "off"), expected);
    assert_eq!(releases.read("off/image-references"), references);
    assert_eq!(run.json()["release"], release);
    let one = releases
        .extract_media(&["media"], &["--file", "image-references", "--release", "4.10.0"])
        .ok();
    assert_eq!(one.stdout.as_bytes(), references);
    releases
        .extract_media(&["media"], &["--release", "4.10.1"])
        .refused(&[64])
        .says("4.10.0-x86_64");
    assert!(!releases.site.path("elsewhere").exists());
}

/// The file of a blob in the source's registry.
fn blob_file(releases: &Releases, digest: &str) -> std::path::PathBuf {
    let hex = digest.strip_prefix("sha256:").unwrap();
    let found = support::tree(&releases.site.path("source"));
    let is_it =
        |path: &&String| path.contains(hex) && releases.site.path("source").join(path).is_file();
    let mut files = found.iter().filter(is_it).map(|path| releases.site.path("source").join(path));
    files.find(|path| Digest::of(&fs::read(path).unwrap()).hex() == hex).unwrap()
}

/// The layers of an image, the uppermost last.
fn layers(image: &Pushed) -> Vec<String> {
    let manifest: Value = serde_json::from_slice(&image.bytes).unwrap();
    let layers = manifest["layers"].as_array().unwrap();
    layers.iter().map(|layer| layer["digest"].as_str().unwrap().to_owned()).collect()
}

/// Changes a byte of a file.
fn flip(path: &std::path::Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::remove_file(path).unwrap();
    fs_write(path, &bytes);
}

#[test]
fn what_is_not_proven_is_not_written() {
    let Some(releases) = Releases::new() else { return };
    let components = releases.components(&["a".to_owned()], "1");
    let payload = with_manifests(
        &releases,
        "4.16.0",
        &components,
        &[("release-manifests/x.yaml", b"kind: X\n")],
    );
    releases.configure(&payload, "");
    releases.create("media", &[]).ok();
    let out = releases.site.path("out");
    let to = ["--to", text(&out)];
    let nothing = || assert!(!out.exists() || listed(&releases, "out").is_empty());

    // A medium of which a part is damaged, is missing, or whose key nobody trusts.
    let part = releases.site.path("media/mirror_seq1_000000.tar");
    let whole = fs::read(&part).unwrap();
    let at = whole.windows(8).position(|bytes| bytes == b"kind: X\n").unwrap();
    flip(&part, at);
    releases
        .extract_media(&["media"], &to)
        .refused(&[65])
        .says("mirror_seq1_000000.tar")
        .says("openshift/release-images");
    nothing();
    fs::remove_file(&part).unwrap();
    releases.extract_media(&["media"], &to).refused(&[66]).says("mirror_seq1_000000.tar");
    fs_write(&part, &whole);
    let media = releases.site.path("media");
    releases
        .release_command(&["extract", "--from", text(&media)], &to)
        .refused(&[67])
        .says("no key is trusted");
    nothing();

    // A registry that has something else in the lower layer, which decides nothing about the files that prove the release.
    let lower = blob_file(&releases, &layers(&payload)[0]);
    flip(&lower, 10);
    releases.extract(&payload, &to).refused(&[65]).says("another digest");
    nothing();
    flip(&lower, 10);

    // Nobody trusted signed it.
    fs::rename(releases.site.path("store"), releases.site.path("away")).unwrap();
    fs::create_dir_all(releases.site.path("store")).unwrap();
    releases
        .extract(&payload, &to)
        .refused(&[67])
        .says("--accept-unsigned-releases")
        .says("--signature-store");
    nothing();
    let run = releases
        .extract(&payload, &[&to[..], &["--accept-unsigned-releases", "--output", "json"]].concat())
        .ok();
    assert_eq!(run.json()["release"]["signed"], false);
    fs::remove_dir_all(&out).unwrap();

    // The file that clusters are given has the signatures too.
    releases.site.import("media", &[]).ok();
    let map = releases.site.path("disconnected/cluster-resources/signature-configmap.json");
    let from = format!("{}/openshift/release-images:4.16.0-x86_64", releases.site.target.host);
    let words = ["extract", &*from, "--signature-store", text(&map)];
    releases.release_command(&words, &to).ok();
    assert_eq!(releases.read("out/x.yaml"), b"kind: X\n");

    // What is no release, and what is not there.
    releases.site.source.image("team/app", "1", &[b"app"]);
    let host = &releases.site.source.host;
    let other = releases.site.path("other");
    fs::create_dir(&other).unwrap();
    let of = |image: &str| {
        let from = format!("{host}/{image}");
        releases.release_command(
            &["extract", &from, "--accept-unsigned-releases", "--signature-store", text(&other)],
            &to,
        )
    };
    of("team/app:1").refused(&[2]).says("layer").says("tar");
    of("team/none:1").refused(&[2]).says("team/none:1");
    releases.release_command(&["extract", "/no/where"], &to).refused(&[64]).says("no directory");
    releases.release_command(&["extract", "4.16.0"], &to).refused(&[64]).says("ocp-release");
    releases.release_command(&["extract"], &to).refused(&[64]).says("--from");
}

#[test]
fn a_release_that_is_spread_over_sequences_is_found_in_all_of_them() {
    let Some(releases) = Releases::new() else { return };
    let components = releases.components(&["a".to_owned()], "1");
    let first = with_manifests(&releases, "4.16.0", &components, &[]);
    releases.configure(&first, "");
    releases.create("one", &[]).ok();
    let second = with_manifests(
        &releases,
        "4.16.1",
        &components,
        &[("release-manifests/x.yaml", b"kind: X\n")],
    );
    releases.configure(&second, "");
    releases.create("two", &[]).ok();
    let out = releases.site.path("out");
    let to = ["--to", text(&out)];
    // The lower layer is that of the first release, and came with it.
    releases
        .extract_media(&["two"], &to)
        .refused(&[66])
        .says("an earlier one did")
        .says("--from DIR");
    releases
        .extract_media(&["two", "one"], &to)
        .refused(&[64])
        .says("4.16.0-x86_64")
        .says("4.16.1-x86_64");
    releases.extract_media(&["two", "one"], &[&to[..], &["--release", "4.16.1"]].concat()).ok();
    assert_eq!(listed(&releases, "out"), ["image-references", "release-metadata", "x.yaml"]);
    let older = releases.site.path("older");
    releases
        .extract_media(&["one", "two"], &["--release", "4.16.0-x86_64", "--to", text(&older)])
        .ok();
    assert_eq!(listed(&releases, "older"), ["image-references", "release-metadata"]);
}

#[test]
fn of_an_increment_the_release_is_meant_that_it_carries() {
    let Some(releases) = Releases::new() else { return };
    let components = releases.components(&["a".to_owned()], "1");
    let old = releases.release("4.16.0", &components);
    releases.configure(&old, "");
    // A plan counts the names of a release, and lists them for programs.
    let run = releases.create("one", &["--dry-run"]).ok().says("release 4.16.0-x86_64: 2 images");
    let run = run.says("  set     2 names of releases: `--output json` has all\n");
    assert!(!run.stdout.contains("openshift/release:"), "{run}");
    let json = releases.create("one", &["--dry-run", "--output", "json"]).ok().json();
    assert_eq!(json["references"][0]["class"], "release");
    releases.create("one", &[]).ok();
    // The workspace that signs is asked to verify.
    let (one, own) = (releases.site.path("one"), releases.site.path("connected"));
    let verify = ["verify", "--from", text(&one), "--workspace", text(&own)];
    let key = releases.site.key();
    releases.site.bundle(&verify).refused(&[67]).says(&format!("`--trust {}`", text(&key)));
    let new = releases.release("4.16.1", &components);
    let service = graph(&releases, &[("4.16.0", &old), ("4.16.1", &new)]);
    releases.site.configure(
        "  platform:\n    channels:\n    - {name: stable-4.16, minVersion: 4.16.0, maxVersion: 4.16.1}\n",
    );
    let (keys, store) = (releases.site.path("keys.pgp"), releases.site.path("store"));
    let mut command = releases.site.command(&[]);
    command.env("UPDATE_URL_OVERRIDE", &service).args(releases.site.create_arguments("two"));
    command.args(["--release-keys", text(&keys), "--signature-store", text(&store)]);
    Run::of(&mut command).ok();
    assert!(resources(&releases.index("two", 2)).contains_key("release/4.16.0-x86_64"));

    let out = releases.site.path("out");
    let to = ["--to", text(&out)];
    let old = [&to[..], &["--release", "4.16.0"]].concat();
    let run = releases.extract_media(&["two"], &old).refused(&[66]);
    run.says("an earlier sequence has `4.16.0-x86_64`").says("--from DIR");
    // Without more said it is the one that is there; its lower layer came with the other one.
    releases.extract_media(&["two"], &to).refused(&[66]).says("an earlier one did");
    releases.extract_media(&["two", "one"], &to).refused(&[64]).says("several releases are there");
    releases.extract_media(&["two", "one"], &old).ok();
}

/// A program with the places in which releases are named.
fn program(name: &str, image: bool) -> Vec<u8> {
    let place =
        |word: &str, room: usize| format!("\0_RELEASE_{word}_LOCATION_\0{}\0", "X".repeat(room));
    let mut program = support::noise(7, 300_000);
    program.extend(name.as_bytes());
    program.extend(place("VERSION", 64).as_bytes());
    if image {
        program.extend(place("IMAGE", 300).as_bytes());
    }
    program.extend(support::noise(8, 50_000));
    program
}

/// A file of an image: its path and content.
type File = (String, Vec<u8>);

/// Components as a release has them, for `arch`, with programs in their images.
fn programs(releases: &Releases, arch: &str) -> Vec<(String, Digest)> {
    let name = |path: &str| format!("{path} for {arch}");
    let oc = |path: &str| (path.to_owned(), program(&name(path), false));
    let install = |path: &str| (path.to_owned(), program(&name(path), true));
    let share = |path: &str| format!("usr/share/openshift/{path}");
    let images: [(&str, Vec<File>); 6] = [
        ("cli", vec![oc("usr/bin/oc")]),
        (
            "cli-artifacts",
            [
                "mac/oc",
                "mac_arm64/oc",
                "linux_amd64/oc",
                "linux_amd64/oc.rhel9",
                "linux_arm64/oc",
                "windows/oc.exe",
            ]
            .map(|path| oc(&share(path)))
            .into(),
        ),
        ("installer", vec![install("usr/bin/openshift-install")]),
        ("installer-artifacts", vec![install(&share("mac/openshift-install"))]),
        ("baremetal-installer", vec![install("usr/bin/openshift-install")]),
        (
            "cloud-credential-operator",
            vec![("usr/bin/ccoctl".to_owned(), b"ccoctl, as it is".to_vec())],
        ),
    ];
    let push = |(component, files): (&str, Vec<File>)| {
        let mut files: Vec<(&str, &[u8])> =
            files.iter().map(|(path, bytes)| (&**path, &**bytes)).collect();
        // Below lies what does not count, above what hides nothing.
        let below = tar(&[(files[0].0, b"an older one"), ("etc/os-release", component.as_bytes())]);
        files.push(("etc/.wh.os-release", b""));
        let image = releases.site.source.image_for(
            COMPONENTS,
            None,
            arch,
            &[&below, &tar(&files), &tar(&[])],
        );
        (component.to_owned(), image.digest)
    };
    images.into_iter().map(push).collect()
}

/// What a program is in which these stand.
fn marked(program: &[u8], values: &[(&str, &str)]) -> Vec<u8> {
    let mut out = program.to_vec();
    for (word, value) in values {
        let name = format!("\0_RELEASE_{word}_LOCATION_\0");
        let at = program.windows(name.len()).position(|bytes| bytes == name.as_bytes()).unwrap();
        out[at..at + value.len()].copy_from_slice(value.as_bytes());
        out[at + value.len()] = 0;
    }
    out
}

#[test]
fn programs_come_out_of_the_images_of_components_and_know_their_release() {
    use std::os::unix::fs::PermissionsExt as _;
    let Some(releases) = Releases::new() else { return };
    let components = programs(&releases, "amd64");
    let payload = with_manifests(&releases, "4.18.5", &components, &[]);
    releases.configure(&payload, "");
    releases.create("media", &[]).ok();
    let image = format!("{}/{RELEASES}@{}", releases.site.source.host, payload.digest);
    let linux = ["--command-os", "linux"];
    let install = marked(
        &program("usr/bin/openshift-install for amd64", true),
        &[("VERSION", "4.18.5"), ("IMAGE", &image)],
    );
    let oc = marked(&program("usr/bin/oc for amd64", false), &[("VERSION", "4.18.5")]);

    for (place, from_media) in [("bin", false), ("off", true)] {
        let to = releases.site.path(place);
        let take = |more: &[&str]| {
            let more = [&["--to", text(&to)], more].concat();
            if from_media {
                releases.extract_media(&["media"], &more)
            } else {
                releases.extract(&payload, &more)
            }
        };
        let run =
            take(&[&["--command", "openshift-install", "--output", "json"][..], &linux].concat())
                .ok();
        let answer = run.json();
        assert_eq!(answer["files"], json!([{"name": "openshift-install", "bytes": install.len()}]));
        assert_eq!(answer["release"]["image"], *image);
        take(&[&["--command=oc"][..], &linux].concat()).ok().says("oc  ");
        take(&[&["--command=ccoctl"][..], &linux].concat()).ok();
        take(&["--command=openshift-install-fips", "--command-os=linux/amd64"]).ok();
        take(&["--command=oc", "--command-os=windows"]).ok();
        assert_eq!(
            listed(&releases, place),
            ["ccoctl", "oc", "oc.exe", "openshift-install", "openshift-install-fips"]
        );
        let read = |name: &str| releases.read(&format!("{place}/{name}"));
        assert!(read("oc") == oc);
        assert!(read("openshift-install") == install);
        assert!(read("openshift-install-fips") == install);
        assert_eq!(read("ccoctl"), b"ccoctl, as it is");
        assert!(fs::metadata(to.join("oc")).unwrap().permissions().mode() & 0o111 != 0);
        take(&[&["--command=oc"][..], &linux].concat())
            .refused(&[73])
            .says("is there already")
            .says("--overwrite");
        take(&[&["--command=oc", "--overwrite"][..], &linux].concat()).ok();
    }

    let archives = |place: &str, more: &[&str]| {
        let to = releases.site.path(place);
        releases.extract(&payload, &[&["--tools", "--to", text(&to)], more].concat())
    };
    archives("tools", &["--command-os", "*"]).ok();
    let expected = [
        "ccoctl-linux-4.18.5.tar.gz",
        "openshift-client-linux-4.18.5.tar.gz",
        "openshift-client-linux-amd64-rhel9-4.18.5.tar.gz",
        "openshift-client-linux-arm64-4.18.5.tar.gz",
        "openshift-client-mac-4.18.5.tar.gz",
        "openshift-client-mac-arm64-4.18.5.tar.gz",
        "openshift-client-windows-4.18.5.zip",
        "openshift-install-linux-4.18.5.tar.gz",
        "openshift-install-mac-4.18.5.tar.gz",
        "release.txt",
        "sha256sum.txt",
    ];
    assert_eq!(listed(&releases, "tools"), expected);
    let about = String::from_utf8(releases.read("tools/release.txt")).unwrap();
    assert!(about.contains(&format!("\nPull From: {image}\n")), "{about}");
    assert!(about.contains("\n  cli-artifacts "), "{about}");
    let tools = releases.site.path("tools");
    let sums = std::process::Command::new("sha256sum")
        .args(["-c", "--quiet", "sha256sum.txt"])
        .current_dir(&tools)
        .status();
    assert!(sums.unwrap().success());
    let out = releases.site.path("unpacked");
    fs::create_dir_all(&out).unwrap();
    let archive = tools.join("openshift-client-linux-4.18.5.tar.gz");
    support::command::sh("tar", &["-xzf", text(&archive), "-C", text(&out)]);
    assert_eq!(listed(&releases, "unpacked"), ["README.md", "kubectl", "oc"]);
    assert!(releases.read("unpacked/kubectl") == oc);
    // The same again is the same, to the byte.
    archives("again", &["--command-os", "*"]).ok();
    for name in expected {
        assert!(
            releases.read(&format!("again/{name}")) == releases.read(&format!("tools/{name}")),
            "{name}"
        );
    }
    archives("linux", &linux).ok();
    assert_eq!(listed(&releases, "linux").len(), 6);
}

#[test]
fn what_is_no_program_of_the_release_is_named_and_nothing_is_written() {
    let Some(releases) = Releases::new() else { return };
    let source = &releases.site.source;
    let image = |layers: &[&[u8]]| source.image_for(COMPONENTS, None, "amd64", layers);
    let oc = program("oc", false);
    let whole = tar(&[("usr/bin/oc", &oc)]);
    let escaping: [(&str, &[u8]); 3] =
        [("usr/bin/../../../oc", b"x"), ("../oc", b"x"), ("/etc/oc", b"x")];
    let mut link = tar(&[("usr/bin/oc", b"")]);
    link[156] = b'2';
    link[157..168].copy_from_slice(b"/etc/passwd");
    let sum: u32 =
        (0..512).map(|at| if (148..156).contains(&at) { 32 } else { u32::from(link[at]) }).sum();
    link[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let unmarked = tar(&[("usr/bin/openshift-install", b"an installer that nobody can tell")]);
    let hidden = image(&[&whole, &tar(&[("usr/.wh.bin", b"")])]);
    let cases = [
        ("hidden", hidden, "oc", "no file `usr/bin/oc`"),
        ("escaping", image(&[&tar(&escaping)]), "oc", "no file `usr/bin/oc`"),
        ("link", image(&[&whole, &link]), "oc", "no file `usr/bin/oc`"),
        ("empty", image(&[]), "oc", "no file `usr/bin/oc`"),
        ("broken", image(&[b"no tar at all"]), "oc", "tar"),
        ("none", image(&[&whole]), "ccoctl", "no component `cloud-credential-operator`"),
        ("unmarked", image(&[&unmarked]), "openshift-install", "no place for the release"),
        ("unknown", image(&[&whole]), "vim", "openshift-baremetal-install"),
        ("system", image(&[&whole]), "ccoctl", "for mac/amd64"),
    ];
    let out = releases.site.path("out");
    for (version, (case, component, command, says)) in cases.iter().enumerate() {
        let component_name = if *command == "openshift-install" { "installer" } else { "cli" };
        let components = [(component_name.to_owned(), component.digest)];
        let payload = with_manifests(&releases, &format!("4.18.{version}"), &components, &[]);
        let system = if *case == "system" { "mac" } else { "linux" };
        let words = ["--command", command, "--command-os", system, "--to", text(&out)];
        eprintln!("{case}");
        releases.extract(&payload, &words).refused(&[2, 64]).says(says);
        assert!(!out.exists() || listed(&releases, "out").is_empty(), "{case}");
    }

    // A layer that is another one than its digest says: told, and nothing of it stays.
    let component = image(&[&tar(&[("usr/bin/oc", &program("another", false))])]);
    let payload =
        with_manifests(&releases, "4.18.90", &[("cli".to_owned(), component.digest)], &[]);
    flip(&blob_file(&releases, &layers(&component)[0]), 100_000);
    let words = ["--command", "oc", "--command-os", "linux", "--to", text(&out)];
    releases.extract(&payload, &words).refused(&[65]).says("another digest");
    assert!(listed(&releases, "out").is_empty());
    let both = releases.extract(&payload, &["--command", "oc", "--tools"]);
    both.code(64);
    releases.extract(&payload, &["--command-os", "linux"]).refused(&[64]).says("--tools");

    // What a release lacks of what it should have is told, and the rest written.
    let component = image(&[&whole]);
    let payload =
        with_manifests(&releases, "4.18.91", &[("cli".to_owned(), component.digest)], &[]);
    let words = ["--tools", "--command-os", "linux", "--to", text(&out), "--output", "json"];
    let run = releases.extract(&payload, &words).code(2);
    let missing = json!([{"name": "openshift-install-linux-4.18.91.tar.gz", "reason": "the release has no component `installer`"}]);
    assert_eq!(run.json()["missing"], missing);
    let made = ["openshift-client-linux-4.18.91.tar.gz", "release.txt", "sha256sum.txt"];
    assert_eq!(listed(&releases, "out"), made);
}

#[test]
fn a_mirror_that_clusters_are_told_of_has_the_components() {
    let Some(releases) = Releases::new() else { return };
    let components = programs(&releases, "amd64");
    let payload = with_manifests(&releases, "4.18.5", &components, &[]);
    releases.configure(&payload, "");
    releases.create("media", &[]).ok();
    releases.site.import("media", &[]).ok();
    fs::remove_dir_all(releases.site.path("source")).unwrap();
    let from =
        format!("docker://{}/openshift/release-images:4.18.5-x86_64", releases.site.target.host);
    let resources = releases.site.path("disconnected/cluster-resources");
    let (map, idms) =
        (resources.join("signature-configmap.yaml"), resources.join("idms-oc-mirror.yaml"));
    let out = releases.site.path("out");
    let take = |more: &[&str]| {
        let words = ["extract", &*from, "--signature-store", text(&map)];
        let more = [
            &["--command", "openshift-install", "--command-os", "linux", "--to", text(&out)],
            more,
        ]
        .concat();
        releases.release_command(&words, &more)
    };
    take(&[]).refused(&[2, 75]).says(COMPONENTS).says("--idms-file FILE");
    take(&["--idms-file", text(&idms)]).ok();
    // It knows the release under the name by which it was taken, as the registry is there.
    let image =
        format!("{}/openshift/release-images@{}", releases.site.target.host, payload.digest);
    let program = program("usr/bin/openshift-install for amd64", true);
    let expected = marked(&program, &[("VERSION", "4.18.5"), ("IMAGE", &image)]);
    assert!(releases.read("out/openshift-install") == expected);
    take(&["--icsp-file", text(&map), "--overwrite"]).refused(&[64]).says("has no mirror");
}

#[test]
fn of_a_release_for_all_architectures_the_programs_are_those_for_the_machine() {
    let Some(releases) = Releases::new() else { return };
    let source = &releases.site.source;
    let arches = ["amd64", "arm64"];
    let each: Vec<Vec<(String, Digest)>> =
        arches.iter().map(|arch| programs(&releases, arch)).collect();
    let list = |of: [Digest; 2], repo: &str| {
        let children = of.map(|digest| {
            let bytes = source.manifest(repo, &digest.to_string()).unwrap();
            let media_type = support::image::OCI_MANIFEST;
            Pushed { repo: repo.to_owned(), media_type, digest, size: bytes.len(), bytes }
        });
        source.index(repo, None, &[(&children[0], arches[0]), (&children[1], arches[1])])
    };
    let components: Vec<(String, Digest)> = (0..each[0].len())
        .map(|at| (each[0][at].0.clone(), list([each[0][at].1, each[1][at].1], COMPONENTS).digest))
        .collect();
    let references = releases.references("4.18.5", &components);
    let image = |arch: &str| {
        source
            .image_for(
                RELEASES,
                None,
                arch,
                &[&tar(&[(REFERENCES, &references), ("etc/arch", arch.as_bytes())])],
            )
            .digest
    };
    let payload = list([image("amd64"), image("arm64")], RELEASES);
    let digest = payload.digest.to_string();
    releases.store(&payload, 1, &releases.key.sign(&digest, "q.io/r:4.18.5-multi"));
    let out = releases.site.path("out");
    for arch in arches {
        let words =
            ["--command", "openshift-install", "--overwrite", "--to", text(&out), "--command-os"];
        let run = releases
            .extract(
                &payload,
                &[&words[..], &[&*format!("linux/{arch}"), "--output", "json"]].concat(),
            )
            .ok();
        assert_eq!(run.json()["release"]["architecture"], "multi");
        let name = format!("usr/bin/openshift-install for {arch}");
        let read = releases.read("out/openshift-install");
        assert!(read.windows(name.len()).any(|bytes| bytes == name.as_bytes()), "{arch}");
    }
    let out = releases.site.path("other");
    let words =
        ["--command", "openshift-install", "--to", text(&out), "--command-os", "linux/s390x"];
    releases.extract(&payload, &words).refused(&[2]).says("no image for linux/s390x");
}
