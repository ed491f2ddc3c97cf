//! The command as a script sees it: what it prints where, and how it exits. No registry, no network.

use std::path::Path;
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
        "verify",
        "describe",
        "diff",
        "registry",
        "completion",
        "man",
        "version",
        "68, 69, 70",
        "77",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
    for later in ["mirror ", "prune", "resources"] {
        assert!(!text.contains(&format!("\n  {later}")), "{later}");
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
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
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

    exit(&bundle(dir.path(), &["keys", "untrust", id]), 0);
    let list = json(&bundle(dir.path(), &["keys", "list", "--output", "json"]));
    assert_eq!(list["trusted"].as_array().map(Vec::len), Some(0));
}

#[test]
fn a_private_key_never_appears_on_the_screen() {
    let dir = scratch();
    exit(&bundle(dir.path(), &["keys", "new", "--name", "k"]), 0);
    let secret = dir.path().join("bundle-workspace/keys/k.pem");
    let body = std::fs::read_to_string(&secret).unwrap();
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
