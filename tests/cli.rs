//! The command as a script sees it: what it prints where, and how it exits. No registry, no network.

#![allow(clippy::unwrap_used, reason = "a helper outside of a test function fails its test")]

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Runs `bundle` in a directory of its own, with an environment that says nothing.
fn bundle(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bundle"))
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .env("HOME", directory)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[track_caller]
fn exit(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[track_caller]
fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn help_names_every_command_and_exit_code() {
    let dir = scratch();
    let help = bundle(dir.path(), &["--help"]);
    exit(&help, 0);
    let text = out(&help);
    for word in [
        "init",
        "keys",
        "create",
        "import",
        "mirror",
        "prune",
        "delete",
        "rollback",
        "verify",
        "describe",
        "diff",
        "resources",
        "registry",
        "completion",
        "man",
        "version",
        "68, 69, 70",
        "77",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(help.stderr.is_empty());
    let version = bundle(dir.path(), &["--version"]);
    exit(&version, 0);
    assert_eq!(out(&version), format!("bundle {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn usage_errors_exit_64_and_go_to_stderr() {
    let dir = scratch();
    for line in [
        &[][..],
        &["frobnicate"],
        &["create"],
        &["create", "--config", "c.yaml", "--to", "out", "--size", "4GiB", "--media", "dvd"],
        &["create", "--config", "c.yaml", "--to", "out", "--full", "--since", "3"],
        &["create", "--config", "c.yaml", "--to", "out", "--since", "0"],
        &["create", "--config", "c.yaml", "--to", "out", "--size", "1KiB"],
        &["create", "--config", "c.yaml", "--to", "out", "--label", "novalue"],
        &["create", "--config", "c.yaml", "--to", "out", "--expires", "tomorrow"],
        &["create", "--config", "c.yaml", "--to", "out", "--expires", "2020-01-31T00:00:00Z"],
        &["create", "--config", "missing.yaml", "--to", "out"],
        &["import", "--from", "in", "host/ns"],
        &["import", "--from", "in", "docker://host/ns:tag"],
        &["verify"],
        &["mirror", "--config", "c.yaml", "docker://h"],
        &["registry", "gc"],
        &["keys", "trust", "missing.pem"],
    ] {
        let answer = bundle(dir.path(), line);
        exit(&answer, 64);
        assert!(answer.stdout.is_empty(), "{line:?}: {answer:?}");
        assert!(err(&answer).starts_with("error: "), "{line:?}: {answer:?}");
    }
    // Nothing was made on the way to a refusal.
    assert_eq!(fs_err::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn errors_are_json_when_json_is_asked_for() {
    let dir = scratch();
    for line in [
        &["--output", "json", "mirror"][..],
        &["mirror", "--output=json"],
        &["keys", "trust", "missing.pem", "--output", "json"],
    ] {
        let answer = bundle(dir.path(), line);
        exit(&answer, 64);
        let error = &json(&answer)["error"];
        assert_eq!(error["kind"], "usage");
        assert_eq!(error["exit"], 64);
        assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()));
        assert!(error["hints"].is_array());
    }
}

#[test]
fn flags_of_oc_mirror_are_explained() {
    let dir = scratch();
    let answer = bundle(dir.path(), &["create", "--config", "c.yaml", "--to", "out", "--v2"]);
    exit(&answer, 64);
    assert!(err(&answer).contains("\nhint: leave it out"), "{answer:?}");
    let answer =
        bundle(dir.path(), &["release", "extract", "h/r:1", "--registry-config", "a.json"]);
    exit(&answer, 64);
    assert!(err(&answer).ends_with("\nhint: write `--authfile FILE`\n"), "{answer:?}");
}

#[test]
fn keys_are_made_listed_trusted_and_distrusted() {
    let dir = scratch();
    let made = json(&bundle(dir.path(), &["keys", "new", "--output", "json"]));
    let id = made["id"].as_str().unwrap();
    assert_eq!(made["secret"], "bundle-workspace/keys/default.pem");
    exit(&bundle(dir.path(), &["keys", "new"]), 64);

    let public = made["public"].as_str().unwrap();
    let trusted = bundle(dir.path(), &["keys", "trust", public]);
    exit(&trusted, 0);
    assert!(out(&trusted).contains(id));
    exit(&bundle(dir.path(), &["keys", "trust", "bundle-workspace/keys/default.pem"]), 64);

    let list = json(&bundle(dir.path(), &["keys", "list", "--output", "json"]));
    assert_eq!(list["signing"][0]["id"], id);
    assert_eq!(list["trusted"][0]["id"], id);

    let shown = bundle(dir.path(), &["keys", "show", "default"]);
    assert!(out(&shown).contains("-----BEGIN PUBLIC KEY-----"));
    assert!(out(&shown).contains("openssl pkey -pubin"));

    // An id, or the beginning of it, names a key too; the key that signs and is trusted is one key.
    let digits = id.strip_prefix("sha256:").unwrap();
    let telephone = json(&bundle(dir.path(), &["keys", "show", "--output", "json"]));
    assert_eq!(telephone["id"], id);
    let shown = out(&bundle(dir.path(), &["keys", "show"]));
    let telephone = shown.lines().skip(2).take(2).collect::<Vec<_>>().join("\n");
    assert!(telephone.starts_with(&format!("{} {} ", &digits[..4], &digits[4..8])), "{shown}");
    let words: Vec<&str> = telephone.split_whitespace().collect();
    let shown = bundle(dir.path(), &[&["keys", "show"], &*words].concat());
    assert!(out(&shown).contains(id), "{shown:?}");
    for typed in [id, digits, &digits[..8], &telephone] {
        let shown = bundle(dir.path(), &["keys", "show", typed]);
        exit(&shown, 0);
        assert!(out(&shown).contains(id), "{typed}: {shown:?}");
    }
    exit(&bundle(dir.path(), &["keys", "show", &digits[..7]]), 64);
    let unknown = if digits.starts_with('0') { "11111111" } else { "00000000" };
    let refused = bundle(dir.path(), &["keys", "show", unknown]);
    exit(&refused, 64);
    assert!(err(&refused).contains(&format!("no key begins with `{unknown}`")), "{refused:?}");

    exit(&bundle(dir.path(), &[&["keys", "untrust"], &*words].concat()), 0);
    let list = json(&bundle(dir.path(), &["keys", "list", "--output", "json"]));
    assert_eq!(list["trusted"].as_array().map(Vec::len), Some(0));
}

#[test]
fn a_private_key_never_appears_on_the_screen() {
    let dir = scratch();
    exit(&bundle(dir.path(), &["keys", "new", "--name", "k"]), 0);
    let secret = dir.path().join("bundle-workspace/keys/k.pem");
    let body = fs_err::read_to_string(&secret).unwrap();
    let body = body.lines().nth(1).unwrap();
    for line in [
        &["keys", "show", "k"][..],
        &["keys", "list"],
        &["keys", "show", secret.to_str().unwrap()],
        &["keys", "trust", secret.to_str().unwrap()],
        &["--log-level", "trace", "keys", "show", "k"],
    ] {
        let answer = bundle(dir.path(), line);
        assert!(!out(&answer).contains(body) && !err(&answer).contains(body), "{line:?}");
    }
}

#[test]
fn version_completion_and_man_answer() {
    let dir = scratch();
    let version = json(&bundle(dir.path(), &["version", "--output", "json"]));
    assert_eq!(version["formatVersion"], 1);
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    for shell in ["bash", "zsh", "fish"] {
        let script = bundle(dir.path(), &["completion", shell]);
        exit(&script, 0);
        assert!(out(&script).contains("import"), "{shell}");
    }
    let man = bundle(dir.path(), &["man"]);
    exit(&man, 0);
    assert!(out(&man).contains(".TH bundle 1"));
    exit(&bundle(dir.path(), &["man", "--dir", "man"]), 0);
    for page in ["bundle.1", "bundle-create.1", "bundle-keys-new.1"] {
        assert!(dir.path().join("man").join(page).is_file(), "{page}");
    }
}

#[test]
fn the_manual_has_a_text_for_every_option_and_no_empty_section() {
    let dir = scratch();
    exit(&bundle(dir.path(), &["man", "--dir", "man"]), 0);
    let mut pages: Vec<String> = fs_err::read_dir(dir.path().join("man"))
        .unwrap()
        .map(|entry| fs_err::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    pages.push(out(&bundle(dir.path(), &["man"])));
    for page in pages {
        assert!(page.contains("Credentials file, as `podman login` writes it"), "{page}");
        let lines: Vec<&str> = page.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let next = |n| lines.get(at + n).is_some_and(|next: &&str| !next.starts_with('.'));
            // A paragraph has its heading and its text; a section has something in it.
            assert!(*line != ".TP" || (next(1) && next(2)), "{}: {page}", lines[at + 1]);
            let empty = lines.get(at + 1).is_none_or(|next| next.starts_with(".SH"));
            assert!(!line.starts_with(".SH") || !empty, "{line}: {page}");
        }
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let dir = scratch();
    let mut child = Command::new(env!("CARGO_BIN_EXE_bundle"))
        .args(["completion", "bash"])
        .current_dir(dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let answer = child.wait_with_output().unwrap();
    exit(&answer, 0);
    assert!(answer.stderr.is_empty(), "{answer:?}");
}

/// The golden sequences of the format, and the key that signed them.
fn golden(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("format-spec/vectors").join(name);
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_new_configuration_is_accepted_and_a_broken_one_is_told_whole() {
    let dir = scratch();
    let template = bundle(dir.path(), &["init"]);
    exit(&template, 0);
    let as_json = json(&bundle(dir.path(), &["init", "--output", "json"]));
    assert_eq!(as_json["template"].as_str().unwrap(), out(&template));
    fs_err::write(dir.path().join("new.yaml"), out(&template)).unwrap();
    // The configuration passes, so the next thing that is looked at is what is complained about.
    let create = ["create", "-c", "new.yaml", "--to", "out", "--dry-run", "--ca-file", "no.pem"];
    let answer = bundle(dir.path(), &create);
    exit(&answer, 64);
    assert!(err(&answer).contains("no.pem"), "{answer:?}");

    let broken = "kind: ImageSetConfiguration\nmirror:\n  additionalImages:\n  - name: redis:7\n  \
                  - nmae: quay.io/a/b:1\n";
    fs_err::write(dir.path().join("broken.yaml"), broken).unwrap();
    let create = ["create", "-c", "broken.yaml", "--to", "out", "--output", "json"];
    let answer = bundle(dir.path(), &create);
    exit(&answer, 64);
    let error = json(&answer)["error"].clone();
    let findings = error["findings"].as_array().unwrap();
    assert!(findings.len() >= 2, "{error}");
    assert_eq!(findings[0]["line"], 4);
    assert_eq!(findings[0]["file"], "broken.yaml");
    assert!(!dir.path().join("out").exists());
}

#[test]
fn without_a_trusted_key_nothing_is_looked_at() {
    let dir = scratch();
    let media = golden("media");
    for line in [&["verify", "--from", &media][..], &["import", "--from", &media]] {
        let answer = bundle(dir.path(), line);
        exit(&answer, 67);
        let text = err(&answer);
        assert!(text.contains("hint: name the public key"), "{text}");
        assert!(text.contains("trusted in the workspace `bundle-workspace`"), "{text}");
        assert!(text.contains("name that one: `--workspace DIR`"), "{text}");
        let elsewhere = bundle(dir.path(), &[line, &["--workspace", "other"]].concat());
        assert!(err(&elsewhere).contains("in the workspace `other`"), "{elsewhere:?}");
    }
    assert_eq!(fs_err::read_dir(dir.path()).unwrap().count(), 0);
    // Another key than the one that signed.
    exit(&bundle(dir.path(), &["keys", "new", "--name", "other"]), 0);
    let other = "bundle-workspace/keys/other.pub.pem";
    let answer = bundle(dir.path(), &["verify", "--from", &media, "--trust", other]);
    exit(&answer, 67);
}

#[test]
fn a_medium_is_verified_in_plain_words() {
    let dir = scratch();
    let key = golden("key.pub.pem");
    let from = format!("file://{}", golden("media"));
    let answer = bundle(dir.path(), &["verify", "--from", &from, "--trust", &key]);
    exit(&answer, 0);
    let text = out(&answer);
    assert!(text.contains("All 2 of 2 parts are intact and signed by key sha256:"), "{text}");
    assert!(text.trim_end().ends_with("Safe to import as sequence 2 after 1."), "{text}");

    let copy = dir.path().join("copy");
    fs_err::create_dir(&copy).unwrap();
    for entry in fs_err::read_dir(golden("media")).unwrap() {
        let path = entry.unwrap().path();
        fs_err::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
    }
    let part = copy.join("mirror_seq1_000000.tar");
    let mut bytes = fs_err::read(&part).unwrap();
    bytes[500_000] ^= 1;
    fs_err::write(&part, bytes).unwrap();
    let verify = ["verify", "--from", "copy", "--trust", &key, "--output", "json"];
    let answer = bundle(dir.path(), &verify);
    exit(&answer, 65);
    let report = json(&answer);
    assert_eq!(report["intact"], false);
    assert_eq!(report["findings"][0]["part"], "mirror_seq1_000000.tar");
    assert!(err(&answer).contains("hint: copy only `mirror_seq1_000000.tar` again"), "{answer:?}");

    fs_err::remove_file(&part).unwrap();
    let answer = bundle(dir.path(), &verify);
    exit(&answer, 66);
    // The other sequence is intact, so there is more to say than one error.
    let report = json(&answer);
    assert_eq!(
        (&report["intact"], &report["sequences"][0]["sequence"]),
        (&false.into(), &2.into())
    );
    assert!(report["refused"][0].as_str().unwrap().contains("mirror_seq1_000000.tar"), "{report}");
}

#[test]
fn a_medium_is_described_and_compared() {
    let dir = scratch();
    let media = golden("media");
    let text = out(&bundle(dir.path(), &["describe", "--from", &media]));
    assert!(text.contains("NOT CHECKED") && text.contains("app/web:1.1"), "{text}");
    let key = golden("key.pub.pem");
    let describe = ["describe", "--from", &media, "--trust", &key, "--output", "json"];
    let shown = json(&bundle(dir.path(), &describe));
    assert_eq!(shown["sequences"][1]["signature"], "trusted");
    assert_eq!(shown["sequences"][1]["head"]["sequence"], 2);
    assert_eq!(shown["sequences"][0]["references"][0]["repository"], "app/web");

    let diff = bundle(dir.path(), &["diff", &media, "--trust", &key, "--output", "json"]);
    exit(&diff, 0);
    let diff = json(&diff);
    assert_eq!((&diff["from"]["sequence"], &diff["to"]["sequence"]), (&1.into(), &2.into()));
    assert_eq!(diff["removed"], serde_json::json!(["app/web:1.0"]));
    assert_eq!(diff["added"][1]["name"], "app/web:1.1");
    assert_eq!(diff["signature"], "trusted");
    let unknown = bundle(dir.path(), &["diff", &media, "--since", "7"]);
    exit(&unknown, 64);
    assert!(err(&unknown).contains(&format!("`bundle describe --from {media}`")), "{unknown:?}");
    exit(&bundle(dir.path(), &["diff", "."]), 66);
    // One directory for each sequence, then the wrong way round.
    for number in ["1", "2"] {
        fs_err::create_dir(dir.path().join(number)).unwrap();
    }
    for entry in fs_err::read_dir(&media).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let number = if name.starts_with("mirror_seq1") { "1" } else { "2" };
        fs_err::copy(&path, dir.path().join(number).join(name)).unwrap();
    }
    let newer = "the first one is the newer, sequence 2 before 1";
    for (line, said) in [(["diff", "1", "2"], false), (["diff", "2", "1"], true)] {
        let answer = bundle(dir.path(), &line);
        exit(&answer, 0);
        assert_eq!(err(&answer).contains(newer), said, "{answer:?}");
    }
}

#[test]
fn the_short_help_has_the_commands_own_options() {
    let dir = scratch();
    for command in ["create", "import", "verify", "describe", "diff", "keys", "registry"] {
        let short = out(&bundle(dir.path(), &[command, "-h"]));
        assert!(
            !short.contains("--stall-timeout") && !short.contains("Common options:"),
            "{short}"
        );
        assert!(short.contains("`--help` also shows the common options"), "{short}");
        let long = out(&bundle(dir.path(), &[command, "--help"]));
        let (_, common) = long.split_once("\nCommon options:\n").unwrap();
        assert!(common.contains("--stall-timeout") && !common.contains("--help"), "{long}");
        assert!(!long.contains("also shows the common options"), "{long}");
    }
}

#[test]
fn a_directory_without_its_option_is_told_which_one() {
    let dir = scratch();
    for (line, option) in [
        (&["verify", "a disk"][..], "`--from 'a disk'`"),
        (&["describe", "disk"], "`--from disk`"),
        (&["import", "disk"], "`--from disk`"),
        (&["import", "--from", "disk1", "disk2"], "`--from disk2`"),
        (&["create", "--config", "c.yaml", "disk"], "`--to disk`"),
    ] {
        let answer = bundle(dir.path(), line);
        exit(&answer, 64);
        assert!(
            err(&answer).contains(&format!(
                "\nhint: if that is a directory, its option comes first: {option}"
            )),
            "{answer:?}"
        );
    }
}

#[test]
fn a_target_without_its_scheme_is_told_the_whole_word() {
    let dir = scratch();
    for target in ["localhost:6443/prod", "registry.site/prod", "localhost/prod", "10.0.0.7:5000"] {
        let answer = bundle(dir.path(), &["import", "--from", "m1", target]);
        exit(&answer, 64);
        let hint = format!("\nhint: write the target as `docker://{target}`\n");
        assert!(err(&answer).ends_with(&hint), "{answer:?}");
    }
    for line in [
        ["resources", "docker://h/n", "--as", "mirror.site:8443"],
        ["verify", "--from=m1", "--against", "mirror.site:8443"],
    ] {
        let answer = bundle(dir.path(), &line);
        exit(&answer, 64);
        let hint = "\nhint: write the target as `docker://mirror.site:8443`\n";
        assert!(err(&answer).ends_with(hint), "{answer:?}");
    }
    // What is there is a directory, whatever its name looks like.
    fs_err::create_dir_all(dir.path().join("disk.old/media")).unwrap();
    for directory in ["disk.old/media", "./disk", "../disk", "media/disk1"] {
        let answer = bundle(dir.path(), &["import", "--from", "m1", directory]);
        assert!(err(&answer).ends_with(&format!(" `--from {directory}`\n")), "{answer:?}");
    }
}

#[test]
fn a_text_that_is_no_key_is_told_as_such() {
    let dir = scratch();
    for text in [&b"a letter, not a key\n"[..], b"", b"\xff\x00"] {
        fs_err::write(dir.path().join("letter.txt"), text).unwrap();
        let answer = bundle(dir.path(), &["keys", "trust", "letter.txt"]);
        exit(&answer, 64);
        let text = err(&answer);
        assert!(
            text.starts_with("error: `letter.txt` is no public key: it has no line "),
            "{text}"
        );
    }
}

/// A running command whose first line on stdout was read.
fn start(directory: &Path, arguments: &[&str]) -> (std::process::Child, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_bundle"))
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .env("HOME", directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    if arguments[0] == "registry" {
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    }
    (child, line)
}

fn signal(child: &std::process::Child, name: &str) {
    let done = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(done.success());
}

#[test]
fn a_registry_serves_until_it_is_told_to_stop() {
    let dir = scratch();
    let serve = ["registry", "serve", "--data", "data", "--listen", "127.0.0.1:0"];
    for (name, new) in [("-INT", true), ("-TERM", false)] {
        let (child, line) = start(dir.path(), &serve);
        assert!(line.contains("https://127.0.0.1:") && line.contains("data/tls/ca.crt"), "{line}");
        signal(&child, name);
        let answer = child.wait_with_output().unwrap();
        exit(&answer, 0);
        // A name with a typing error would serve nothing, in silence.
        let said = err(&answer).contains("`data` had no registry: this is a new, empty one");
        assert_eq!(said, new, "{answer:?}");
    }
    for (typed, right) in [
        ("localhost:5077", "127.0.0.1:5077"),
        (":5077", "127.0.0.1:5077"),
        ("5077", "127.0.0.1:5077"),
        ("127.0.0.1", "127.0.0.1:5000"),
        ("::1", "127.0.0.1:5000"),
    ] {
        let answer = bundle(dir.path(), &["registry", "serve", "--data", "new", "--listen", typed]);
        exit(&answer, 64);
        let said = format!("expected an address and a port, as `{right}`");
        assert!(err(&answer).contains(&said), "{answer:?}");
    }
    assert!(!dir.path().join("new").exists());
    let everywhere = ["registry", "serve", "--data", "data", "--listen", "0.0.0.0:0"];
    exit(&bundle(dir.path(), &everywhere), 64);
}

#[test]
fn object_storage_that_cannot_be_used_is_told_with_what_to_mend() {
    let dir = scratch();
    fs_err::write(dir.path().join("key"), "some-key").unwrap();
    let keys = "access-key-file = '../key'\nsecret-key-file = '../key'\n";
    for (n, (objects, code, said)) in [
        (keys.to_owned(), 64, "`bucket` is missing"),
        ("bucket = 'b'".to_owned(), 64, "no credentials"),
        (format!("bucket = 'b'\nendpoint = 'http://192.0.2.1:9'\n{keys}"), 64, "plain HTTP"),
        (
            "bucket = 'b'\naccess-key-file = 'no'\nsecret-key-file = 'no'".to_owned(),
            64,
            "no such file",
        ),
        (
            format!("bucket = 'b'\nendpoint = 'http://127.0.0.1:1'\nallow-http = true\n{keys}"),
            75,
            "hint: see that the `endpoint`",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let data = dir.path().join(n.to_string());
        fs_err::create_dir(&data).unwrap();
        fs_err::write(data.join("registry.toml"), format!("[objects]\n{objects}")).unwrap();
        let serve = ["registry", "serve", "--http", "--data-dir", &n.to_string()];
        let answer = bundle(dir.path(), &[&serve[..], &["--listen", "127.0.0.1:0"]].concat());
        exit(&answer, code);
        let text = err(&answer);
        assert!(text.contains(said) && !text.contains("some-key"), "{n}: {answer:?}");
    }
    for (command, place, code, said) in [
        (&["adopt", "--from", "."][..], "1", 64, "keeps its images in object storage"),
        (&["gc"], "1", 64, "no credentials"),
        (&["fsck"], "1", 64, "no credentials"),
        (&["gc", "--dry-run"], "4", 75, "hint: see that the `endpoint`"),
        (&["fsck", "--quick"], "4", 75, "hint: see that the `endpoint`"),
    ] {
        let answer = bundle(dir.path(), &[&["registry"], command, &["--data-dir", place]].concat());
        exit(&answer, code);
        assert!(err(&answer).contains(said), "{answer:?}");
    }
    // Neither kind of data directory is taken for the other.
    for (version, settings, said) in [
        ("bundle registry store 1", "[objects]\nbucket = 'b'", "holds images in files"),
        ("bundle registry over object storage 1", "", "keeps its content in object storage"),
    ] {
        let data = dir.path().join("data");
        fs_err::create_dir_all(data.join("blobs")).unwrap();
        fs_err::write(data.join("blobs/some"), "x").unwrap();
        fs_err::write(data.join("store-version"), format!("{version}\n")).unwrap();
        fs_err::write(data.join("registry.toml"), settings).unwrap();
        let serve = ["registry", "serve", "--http", "--data-dir", "data"];
        let answer = bundle(dir.path(), &[&serve[..], &["--listen", "127.0.0.1:0"]].concat());
        exit(&answer, 64);
        assert!(err(&answer).contains(said), "{answer:?}");
    }
}

#[test]
fn a_file_in_the_place_of_a_directory_is_named_with_its_option() {
    let dir = scratch();
    let config = "kind: ImageSetConfiguration\napiVersion: mirror.openshift.io/v2alpha1\nmirror:\n  \
                  additionalImages:\n  - name: 127.0.0.1:1/a/b:1\n";
    fs_err::write(dir.path().join("c.yaml"), config).unwrap();
    let create = ["create", "-c", "c.yaml"];
    for (options, option) in [
        (&["--to", "out", "--workspace", "c.yaml"][..], "--workspace"),
        (&["--to", "out", "--workspace", "c.yaml/below"], "--workspace"),
        (&["--to", "c.yaml"], "--to"),
        (&["--to", "c.yaml/below"], "--to"),
    ] {
        let answer = bundle(dir.path(), &[&create[..], options].concat());
        exit(&answer, 73);
        let text = err(&answer);
        assert!(text.contains("error: `c.yaml` is not a directory"), "{options:?}: {answer:?}");
        assert!(text.contains(&format!("`{option} DIR`")), "{options:?}: {answer:?}");
    }
    exit(&bundle(dir.path(), &["keys", "new", "--workspace", "c.yaml"]), 73);
    for command in ["import", "verify", "describe"] {
        let answer = bundle(dir.path(), &[command, "--from", "in", "--workspace", "c.yaml"]);
        exit(&answer, 73);
        assert!(err(&answer).contains("`--workspace DIR`"), "{command}: {answer:?}");
    }
    for (line, option) in [
        (&["diff", "in", "--workspace", "c.yaml"][..], "--workspace"),
        (&["registry", "serve", "--data", "c.yaml"], "--data-dir"),
        (&["man", "--dir", "c.yaml"], "--dir"),
    ] {
        let answer = bundle(dir.path(), line);
        exit(&answer, 73);
        assert!(err(&answer).contains(&format!("`{option} DIR`")), "{answer:?}");
    }
    assert_eq!(fs_err::read_dir(dir.path()).unwrap().count(), 1);
    // The keys' own directories.
    for name in ["keys", "trusted"] {
        let workspace = dir.path().join(format!("with-{name}"));
        fs_err::create_dir(&workspace).unwrap();
        fs_err::write(workspace.join(name), "").unwrap();
        let media = golden("media");
        for line in [
            &["keys", "new"][..],
            &["keys", "list"],
            &["keys", "show"],
            &["create", "-c", "c.yaml", "--to", "out", "--dry-run"],
            &["import", "--from", &media],
            &["describe", "--from", &media],
        ] {
            let here = ["--workspace", workspace.to_str().unwrap()];
            let answer = bundle(dir.path(), &[line, &here].concat());
            exit(&answer, 73);
            let text = err(&answer);
            assert!(text.contains(&format!("{name}` is not a directory")), "{line:?}: {text}");
            assert!(text.contains("hint: move it away, `mv "), "{line:?}: {text}");
        }
    }
}

#[test]
fn a_configuration_that_is_not_there_can_be_begun() {
    let dir = scratch();
    let answer = bundle(dir.path(), &["create", "-c", "no/such.yaml", "--to", "out"]);
    exit(&answer, 64);
    let text = err(&answer);
    assert!(text.starts_with("error: there is no configuration `no/such.yaml`\n"), "{text}");
    assert!(text.contains("`bundle init > imageset-config.yaml`"), "{text}");
}

#[test]
fn keys_say_which_workspace_they_look_at() {
    let dir = scratch();
    let listed = bundle(dir.path(), &["keys", "list"]);
    exit(&listed, 0);
    assert!(out(&listed).starts_with("workspace bundle-workspace\n"), "{listed:?}");
    assert!(out(&listed).contains("storageConfig.local.path"), "{listed:?}");
    let shown = bundle(dir.path(), &["keys", "show"]);
    exit(&shown, 64);
    let text = err(&shown);
    assert!(text.contains("bundle-workspace/keys/default.pub.pem"), "{text}");
    assert!(text.contains("storageConfig.local.path"), "{text}");
    exit(&bundle(dir.path(), &["keys", "new", "--workspace", "of create"]), 0);
    let there = ["keys", "list", "--workspace", "of create"];
    let listed = bundle(dir.path(), &there);
    assert!(
        out(&listed).contains("`bundle keys trust FILE --workspace 'of create'`"),
        "{listed:?}"
    );
    let listed = json(&bundle(dir.path(), &[&there[..], &["--output", "json"]].concat()));
    assert_eq!(listed["workspace"], "of create");
    // A hint's command looks at the same place.
    let shown = bundle(dir.path(), &["keys", "show", "other", "--workspace", "of create"]);
    assert!(err(&shown).contains("`bundle keys list --workspace 'of create'`"), "{shown:?}");
}

#[test]
fn a_public_key_where_a_private_one_is_wanted_is_named_as_such() {
    let dir = scratch();
    let config = "kind: ImageSetConfiguration\napiVersion: mirror.openshift.io/v2alpha1\nmirror:\n  \
                  additionalImages:\n  - name: 127.0.0.1:1/a/b:1\n";
    fs_err::write(dir.path().join("c.yaml"), config).unwrap();
    exit(&bundle(dir.path(), &["keys", "new"]), 0);
    let keys = dir.path().join("bundle-workspace/keys");
    fs_err::copy(keys.join("default.pub.pem"), dir.path().join("alone.pem")).unwrap();
    for (key, next) in [
        ("bundle-workspace/keys/default.pub.pem", "`--key bundle-workspace/keys/default.pem`"),
        ("alone.pem", "`keys/NAME.pem` of this side's workspace"),
    ] {
        let answer = bundle(dir.path(), &["create", "-c", "c.yaml", "--to", "out", "--key", key]);
        exit(&answer, 64);
        let text = err(&answer);
        assert!(text.contains(&format!("`{key}` is the public half of a key")), "{text}");
        assert!(text.contains(next) && !text.contains("chmod"), "{text}");
    }
}

#[test]
fn every_wrong_command_line_has_a_next_step() {
    let dir = scratch();
    let image = "kind: ImageSetConfiguration\napiVersion: mirror.openshift.io/v2alpha1\nmirror:\n  \
                 additionalImages:\n  - name: 127.0.0.1:1/a/b:1\n";
    for (name, text) in [
        ("c.yaml", image),
        (
            "chart.yaml",
            "kind: ImageSetConfiguration\napiVersion: mirror.openshift.io/v2alpha1\nmirror:\n  \
                          helm:\n    local:\n    - {name: chart, pth: chart.tgz}\n",
        ),
        ("broken.yaml", "kind: [\n"),
        ("empty.yaml", ""),
        ("junk.pem", "junk"),
        ("junk.json", "junk"),
    ] {
        fs_err::write(dir.path().join(name), text).unwrap();
    }
    fs_err::create_dir(dir.path().join("empty")).unwrap();
    exit(&bundle(dir.path(), &["keys", "new"]), 0);
    let (media, key) = (golden("media"), golden("key.pub.pem"));
    let secret = "bundle-workspace/keys/default.pem";
    let many = "--label";
    let labels: Vec<String> = (0..65).flat_map(|n| [many.to_owned(), format!("l{n}=x")]).collect();
    let create = ["create", "-c", "c.yaml", "--to", "out"];
    let import = ["import", "--from", media.as_str(), "--trust", key.as_str()];
    let directories = ["--from", "empty"].repeat(1025);
    let mut lines: Vec<Vec<&str>> = vec![
        vec![],
        vec!["frobnicate"],
        vec!["mirror"],
        vec!["registry", "gc"],
        vec!["keys"],
        vec!["version", "--frobnicate"],
        vec!["version", "--v2"],
        vec!["version", "--parallel-blobs", "0"],
        vec!["version", "--plain-http", "http://a"],
        vec!["create"],
        vec!["create", "-c", "missing.yaml", "--to", "out"],
        vec!["create", "-c", "broken.yaml", "--to", "out"],
        vec!["create", "-c", "empty.yaml", "--to", "out"],
        vec!["create", "-c", "chart.yaml", "--to", "out"],
        vec!["keys", "new"],
        vec!["keys", "show", "other"],
        vec!["keys", "show", "no/such/file"],
        vec!["keys", "show", "0123456789"],
        vec!["keys", "show", secret],
        vec!["keys", "show", "junk.pem"],
        vec!["keys", "show", "empty"],
        vec!["keys", "trust", "missing.pem"],
        vec!["keys", "trust", "junk.pem"],
        vec!["keys", "trust", secret],
        vec!["keys", "untrust", "xyz"],
        vec!["keys", "untrust", "0123456789"],
        vec!["verify", "--from", "missing", "--trust", &key],
        vec!["verify", "--from", "c.yaml", "--trust", &key],
        vec!["verify", "--from", &media, "--trust", "missing"],
        vec!["verify", "--from", &media, "--trust", "empty"],
        vec!["verify", "--from", &media, "--trust", "junk.pem"],
        [&["verify", "--trust", &key][..], &directories].concat(),
        vec!["describe", "--from", "missing"],
        vec!["diff", "missing"],
        vec!["diff", &media, "--since", "7"],
        vec!["diff", &media, "--until", "1"],
        vec!["registry", "serve", "--data", "."],
        vec!["registry", "serve", "--data", "new", "--listen", "0.0.0.0:0"],
        vec!["import", "--from", &media, "--trust", &key, "https://host/name"],
    ];
    for more in [
        &["--size", "1"][..],
        &["--size", "4G"],
        &["--media", "tape"],
        &["--media", "dvd", "--size", "1GiB"],
        &["--since", "0"],
        &["--since", "9"],
        &["--since", "1", "--full"],
        &["--label", "a"],
        &["--label", "a=1", "--label", "a=2"],
        &["--expires", "soon"],
        &["--expires", "2001-01-01T00:00:00Z"],
        &["--key", "missing.pem"],
        &["--key", "junk.pem"],
        &["--key", "empty"],
        &["--authfile", "missing"],
        &["--authfile", "junk.json"],
        &["--ca-file", "missing"],
        &["--ca-file", "junk.pem"],
        &["--registries-conf", "missing"],
        &["--registries-conf", "junk.json"],
    ] {
        lines.push([&create[..], more].concat());
    }
    lines.push(create.iter().copied().chain(labels.iter().map(String::as_str)).collect());
    for more in [&["--authfile", "missing"][..], &["--ca-file", "junk.pem"]] {
        lines.push([&import[..], &["docker://127.0.0.1:1/x", "--retry-times", "0"], more].concat());
    }
    for line in lines {
        let answer = bundle(dir.path(), &line);
        exit(&answer, 64);
        let text = err(&answer);
        let next = text.contains("\nhint: ") || text.contains("For more information, try '--help'");
        assert!(text.starts_with("error: ") && next, "{line:?}\n{text}");
    }
}

#[test]
fn a_create_that_could_have_nothing_says_that_nothing_was_written() {
    let dir = scratch();
    // Two images of a registry that is not there.
    let config = "kind: ImageSetConfiguration\napiVersion: mirror.openshift.io/v2alpha1\nmirror:\n  \
                  additionalImages:\n  - name: 127.0.0.1:1/a/b:1\n  - name: 127.0.0.1:1/a/c:1\n";
    fs_err::write(dir.path().join("c.yaml"), config).unwrap();
    let create = ["create", "-c", "c.yaml", "--to", "out", "--retry-times", "0"];
    let answer = bundle(dir.path(), &create);
    exit(&answer, 75);
    let text = err(&answer);
    for image in ["a/b:1", "a/c:1"] {
        assert!(text.contains(&format!("\n  `127.0.0.1:1/{image}`: ")), "{text}");
    }
    assert!(text.trim_end().ends_with("no sequence was written"), "{text}");
    let answer = bundle(dir.path(), &[&create[..], &["--output", "json"]].concat());
    let answer = json(&answer);
    assert_eq!(answer["written"], false);
    assert_eq!(answer["error"]["failures"].as_array().map(Vec::len), Some(2));
}

#[test]
fn an_interrupted_create_says_so_and_can_be_run_again() {
    let dir = scratch();
    // A registry that accepts and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = format!(
        "kind: ImageSetConfiguration\napiVersion: mirror.openshift.io/v2alpha1\nmirror:\n  \
         additionalImages:\n  - name: {}/a/b:1\n",
        silent.local_addr().unwrap()
    );
    fs_err::write(dir.path().join("c.yaml"), config).unwrap();
    let (child, _) = start(dir.path(), &["create", "-c", "c.yaml", "--to", "out"]);
    // It has come as far as the registry.
    let _connection = silent.accept().unwrap();
    signal(&child, "-INT");
    let answer = child.wait_with_output().unwrap();
    exit(&answer, 1);
    assert!(err(&answer).contains("error: interrupted\nhint: run the same command again"));
    assert!(!dir.path().join("out/mirror_seq1.manifest.json").exists());
}

/// Runs `bundle` with something on standard input.
fn bundle_with(directory: &Path, arguments: &[&str], input: &str) -> Output {
    use std::io::Write as _;
    let mut child = Command::new(env!("CARGO_BIN_EXE_bundle"))
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .env("HOME", directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that reads nothing is gone before.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

#[test]
fn users_come_and_go_and_log_in() {
    use registry::server::probe::{Probe, ProbeError, Trust, probe};
    let dir = scratch();
    let user = |arguments: &[&str]| {
        bundle(dir.path(), &[&["registry", "user"], arguments, &["--data-dir", "data"]].concat())
    };
    // The command that the refusal names is the right one.
    let everywhere = ["registry", "serve", "--data-dir", "data", "--listen", "0.0.0.0:0"];
    let refused = bundle(dir.path(), &everywhere);
    exit(&refused, 64);
    let hint = "`bundle registry user add NAME --role admin --data-dir data`";
    assert!(err(&refused).contains(hint), "{refused:?}");
    assert!(!dir.path().join("data").exists());
    exit(&user(&["list"]), 64);

    let added = user(&["add", "root", "--role", "admin", "--output", "json"]);
    exit(&added, 0);
    let password = json(&added)["password"].as_str().unwrap().to_owned();
    assert_eq!(password.len(), 24);
    fs_err::write(dir.path().join("secret"), "correct horse\n").unwrap();
    let from_file = ["--role", "push", "--repository", "team/**", "--password-file", "secret"];
    let added = user(&[&["add", "pusher"], &from_file[..]].concat());
    exit(&added, 0);
    assert!(!out(&added).contains("correct"), "{added:?}");
    let line = ["registry", "user", "add", "x", "--password-stdin", "--data-dir", "data"];
    exit(&bundle_with(dir.path(), &line, "short"), 64);
    exit(&bundle_with(dir.path(), &line, "long enough\n"), 0);
    let robot = user(&["add", "ci", "--robot", "--expires", "30", "--role", "pull"]);
    exit(&robot, 0);
    let token = out(&robot);
    let token = token.split_whitespace().last().unwrap();
    assert!(token.starts_with("bundle-robot-"), "{token}");
    for bad in [
        &["add", "ci"][..],
        &["add", "a:b"],
        &["add", "y", "--role", "admin", "--repository", "a"],
        &["add", "y", "--repository", "a"],
        &["add", "y", "--robot", "--password-stdin"],
        &["passwd", "ci"],
        &["passwd", "nobody"],
        &["remove", "nobody"],
        &["grant", "nobody", "--role", "pull"],
        &["revoke", "x"],
    ] {
        let refused = user(bad);
        exit(&refused, 64);
        let text = err(&refused);
        assert!(text.contains("hint: ") || text.contains("--help"), "{bad:?}: {refused:?}");
    }
    // Nothing of a refused account stays in the way of the right command.
    assert!(!out(&user(&["list"])).lines().any(|line| line.starts_with("y ")));
    // Somebody's directory is not made a registry by a wrong name.
    fs_err::create_dir(dir.path().join("photos")).unwrap();
    fs_err::write(dir.path().join("photos/1.jpg"), "a").unwrap();
    for words in [&["list"][..], &["add", "x"]] {
        let line = [&["registry", "user"], words, &["--data-dir", "photos"]].concat();
        exit(&bundle(dir.path(), &line), 64);
    }
    assert_eq!(fs_err::read_dir(dir.path().join("photos")).unwrap().count(), 1);
    let list = user(&["list"]);
    let text = out(&list);
    for said in [
        "ci  robot  until ",
        "pusher  user  pull+push team/**",
        "root  user  admin",
        "x  user  no role",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }

    // A login, and a new certificate under the running registry.
    let (child, line) =
        start(dir.path(), &["registry", "serve", "--data-dir", "data", "--listen", "127.0.0.1:0"]);
    let port = line.split("127.0.0.1:").nth(1).unwrap();
    let port = port.split(|c: char| !c.is_ascii_digit()).next().unwrap();
    let address = format!("127.0.0.1:{port}").parse().unwrap();
    let ca = dir.path().join("data/tls/ca.crt");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let log_in = |name: &str, login: Option<(&str, &str)>| {
        runtime.block_on(probe(Probe { address, name, trust: Trust::Authority(&ca), login }))
    };
    log_in("localhost", Some(("root", &password))).unwrap();
    log_in("localhost", Some(("ci", token))).unwrap();
    log_in("localhost", None).unwrap();
    let wrong = log_in("localhost", Some(("root", "wrong"))).unwrap_err();
    assert!(matches!(wrong, ProbeError::Login(_)), "{wrong}");
    assert!(log_in("mirror.example", None).is_err());
    let rotate = ["registry", "rotate-cert", "--data-dir", "data", "--name", "mirror.example"];
    let rotated = bundle(dir.path(), &rotate);
    exit(&rotated, 0);
    assert!(out(&rotated).contains("clients have nothing to do"), "{rotated:?}");
    exit(&user(&["remove", "ci"]), 0);
    // Looks at once, and does not end.
    signal(&child, "-HUP");
    for _ in 0..150 {
        let done = log_in("mirror.example", None).is_ok()
            && log_in("localhost", Some(("ci", token))).is_err();
        if done {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    log_in("mirror.example", Some(("root", &password))).unwrap();
    assert!(log_in("localhost", Some(("ci", token))).is_err());
    let rotated = bundle(dir.path(), &[&rotate[..], &["--new-ca", "--output", "json"]].concat());
    assert_eq!(json(&rotated)["newCa"], true);
    signal(&child, "-TERM");
    let answer = child.wait_with_output().unwrap();
    exit(&answer, 0);
    let log = err(&answer);
    assert!(log.contains("login") && !log.contains(&password) && !log.contains(token), "{log}");
}
