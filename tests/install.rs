//! A registry is installed, used, upgraded and removed, through the binary: for a user, for a machine with a stand-in for
//! systemd, and over a stand-in for ssh.

#![allow(clippy::unwrap_used)]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fs_err as fs;
use rcgen::{CertificateParams, KeyPair};
use support::command::{Process, Run, bundle, sh};
use support::server::{Server, fs_write};
use support::{free_port, is_root, noise, skip, text, tool};

/// A home and a machine of its own, without systemd at first.
struct Host {
    dir: tempfile::TempDir,
    port: u16,
}

impl Host {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // A registry's own account passes through.
        sh("chmod", &["755", text(dir.path())]);
        fs::create_dir_all(dir.path().join("home")).unwrap();
        Self { dir, port: free_port() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Where the tests install for a user.
    fn data(&self) -> PathBuf {
        self.path("home/.local/share/bundle-registry")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = bundle(&self.path("home"));
        command
            .env("BUNDLE_HOST_ROOT", self.path("root"))
            .env("BUNDLE_SSH", self.path("bin/ssh"))
            .env("USER", "tester")
            .env("PATH", format!("{}:{path}", text(&self.path("bin"))))
            .arg("registry")
            .args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Run {
        Run::of(&mut self.command(arguments))
    }

    fn install(&self, more: &[&str]) -> Run {
        let host = format!("localhost:{}", self.port);
        let mut arguments = vec!["install", "--hostname", &host];
        arguments.extend(more);
        self.run(&arguments)
    }

    /// Runs the printed command until the registry is well.
    fn serve(&self, line: &str) -> Process {
        let served = self.begin(line);
        self.wait_for(&["status"], 0);
        served
    }

    fn begin(&self, line: &str) -> Process {
        Command::new("sh")
            .args(["-c", &format!("exec {line}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map(Process)
            .unwrap()
    }

    /// Asks until it ends with this code; the limit only keeps a failure from hanging.
    #[track_caller]
    fn wait_for(&self, arguments: &[&str], code: i32) -> Run {
        let began = std::time::Instant::now();
        loop {
            let run = self.run(arguments);
            if run.code == code {
                return run;
            }
            assert!(began.elapsed().as_secs() < 60, "code {code} does not come\n{run}");
        }
    }

    /// What stands in for a tool of the machine; it writes its arguments down.
    fn stand_in(&self, name: &str, script: &str) {
        let path = self.path("bin").join(name);
        let calls = self.path(&format!("{name}.calls"));
        let text = format!("#!/bin/sh\necho \"$*\" >>'{}'\n{script}\n", text(&calls));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs_write(&path, text.as_bytes());
        sh("chmod", &["755", support::text(&path)]);
    }

    fn calls(&self, name: &str) -> String {
        fs::read_to_string(self.path(&format!("{name}.calls"))).unwrap_or_default()
    }

    /// A machine on which systemd runs: it starts what stands in the unit.
    fn with_systemd(&self, unit: &Path) {
        fs::create_dir_all(self.path("root/run/systemd/system")).unwrap();
        let script = r#"
            [ "$1" = --user ] && shift
            end() {
                pid=$(cat PIDFILE 2>/dev/null) || return 0
                kill "$pid" 2>/dev/null
                while grep -q '^State:.[RSD]' "/proc/$pid/status" 2>/dev/null; do sleep 0.02; done
                rm -f PIDFILE
            }
            case $1 in
            start|restart)
                [ -f BROKEN ] && { echo 'Job for bundle-registry.service failed.' >&2; exit 1; }
                end
                (eval "exec setsid $(sed -n 's/^ExecStart=//p' UNIT)") >LOG 2>&1 </dev/null &
                echo $! >PIDFILE ;;
            disable) end ;;
            is-active) [ -f PIDFILE ] && echo active || { echo inactive; exit 3; } ;;
            esac"#;
        let script = script
            .replace("PIDFILE", text(&self.path("pid")))
            .replace("BROKEN", text(&self.path("broken")))
            .replace("LOG", text(&self.path("log")))
            .replace("UNIT", text(unit));
        self.stand_in("systemctl", &script);
        self.stand_in("journalctl", "echo 'last words of the registry'");
        self.stand_in("loginctl", "");
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if self.path("pid").exists() {
            let _ = Command::new(self.path("bin/systemctl")).arg("disable").status();
        }
    }
}

#[test]
fn a_user_installs_uses_and_removes_a_registry() {
    let host = Host::new();
    let quota = ["--user", "--quota", "500GiB", "--output", "json"];
    let answer = host.install(&quota).ok().json();
    let (name, data) = (format!("localhost:{}", host.port), host.data());
    let settings = fs::read_to_string(data.join("registry.toml")).unwrap();
    assert!(settings.contains("quota = \"500GiB\""), "{settings}");
    assert_eq!(answer["url"], format!("https://{name}"));
    assert_eq!((&answer["keeper"], &answer["running"]), (&"none".into(), &false.into()));
    let password = answer["password"].as_str().unwrap();
    assert_eq!(password.len(), 24);
    for file in ["registry.toml", "users", "tls/ca.key", "tls/server.key"] {
        let mode = sh("stat", &["-c", "%a", text(&data.join(file))]);
        assert_eq!(mode.trim(), "600", "{file}");
    }
    // Again: it says what is there.
    host.install(&["--user"]).refused(&[64]).says("installed already").says("upgrade");
    host.run(&["status"]).code(1).says("does not run");

    // The printed command is a shell's.
    let served = host.serve(answer["serve"].as_str().unwrap());
    // Every command finds the registry that is installed.
    host.run(&["user", "list"]).ok().says("init");
    host.run(&["fsck"]).ok();
    host.run(&["gc", "--dry-run"]).ok();
    let status = host.run(&["status", "--output", "json"]).ok().json();
    assert_eq!((&status["healthy"], &status["users"]), (&true.into(), &1.into()));
    assert!(status["certificate"]["daysLeft"].as_i64().unwrap() > 300);
    assert!(status["freeBytes"].as_u64().unwrap() > 0);
    push_and_pull(&host, &name, password);
    pull_with_the_robot(&host, &name, &answer);
    // Who cannot look into the data directory pastes the certificate.
    let told = host.run(&["trust", "--output", "json"]).ok().json();
    assert_eq!(told["caPem"], fs::read_to_string(data.join("tls/ca.crt")).unwrap());
    let first = told["told"][0]["lines"].as_str().unwrap();
    sh("sh", &["-c", &format!("cd '{}' && {first}", text(&host.path("home")))]);
    assert_eq!(told["caPem"], fs::read_to_string(host.path("home/ca.crt")).unwrap());
    assert!(!told.to_string().contains("\"auth\""), "{told}");
    // A new authority is shown when the command ends, and the one before is kept.
    let old = fs::read(data.join("tls/ca.crt")).unwrap();
    let new = host.run(&["rotate-cert", "--new-ca"]).ok().says("shows it now");
    new.says("bundle registry trust --data-dir");
    assert_eq!(fs::read(data.join("tls/ca.crt.old")).unwrap(), old);
    host.run(&["status"]).ok();
    let add = format!("registry user add NAME --robot --role pull --data-dir {}", text(&data));
    host.run(&["trust"]).ok().says(&format!("{} {add}", text(&data.join("bin/bundle"))));
    fs::create_dir_all(data.join("quarantine/blobs")).unwrap();
    fs_write(&data.join("quarantine/blobs/some"), b"damaged");
    host.run(&["status"]).ok().says("1 file in quarantine").says("bundle registry fsck");
    host.run(&["user", "remove", "init"]).refused(&[64]).says("--auto-approve");
    host.run(&["user", "add", "a:b", "--role", "push"]).refused(&[64]).says("not a name");
    host.run(&["uninstall", "--auto-approve"]).refused(&[75]).says("runs");
    host.run(&["upgrade"]).ok().says("stop it, and start it again");
    drop(served);

    host.run(&["uninstall"]).refused(&[64]).says("--auto-approve");
    assert!(data.join("bin/bundle").exists());
    host.run(&["uninstall", "--auto-approve"]).ok().says("kept");
    assert!(data.join("users").exists() && !data.join("bin").exists());
    host.run(&["uninstall", "--auto-approve"]).refused(&[64]).says("no registry is installed");
    // What was kept is taken up: the settings without a flag, the users as they were.
    let again = host.run(&["install", "--user", "--output", "json"]).ok().json();
    assert_eq!((&again["host"], &again["password"]), (&name.into(), &serde_json::Value::Null));
    fs_write(&data.join("notes.txt"), b"somebody's own");
    let gone = host.run(&["uninstall", "--delete-data", "--auto-approve", "--output", "json"]).ok();
    assert!(gone.json()["bytes"].as_u64().unwrap() > 1000);
    assert_eq!(support::tree(&data), ["notes.txt"]);
}

/// The pull secret is that of a robot that may pull, and not the administrator's.
fn pull_with_the_robot(host: &Host, name: &str, answer: &serde_json::Value) {
    let token = answer["robot"]["token"].as_str().unwrap();
    let entry = base64(&format!("cluster:{token}"));
    assert!(answer["told"].to_string().contains(&entry), "{answer}");
    assert!(!answer["told"].to_string().contains(answer["password"].as_str().unwrap()));
    host.run(&["user", "list"]).ok().says("cluster  robot  pull");
    // Whose command it was stands in the audit log at once.
    let mut command = host.command(&["user", "add", "audited", "--robot"]);
    Run::of(command.env("SUDO_USER", "some-person")).ok();
    host.run(&["user", "passwd", "nobody"]).refused(&[64]);
    host.run(&["user", "remove", "audited"]).ok();
    // No command waits for a log.
    let began = std::time::Instant::now();
    let log = loop {
        let log = fs::read_to_string(host.data().join("log/audit.jsonl")).unwrap();
        if log.contains("account-removed") || began.elapsed().as_secs() > 60 {
            break log;
        }
    };
    let uid = sh("id", &["-u"]);
    for (action, sudo) in
        [("account-added", ", by sudo as it says of some-person"), ("account-removed", "")]
    {
        let about = |line: &&str| line.contains(action) && line.contains("audited");
        let line = log.lines().find(about).unwrap_or_else(|| panic!("{action}\n{log}"));
        assert!(line.contains(&format!("(uid {}){sudo}\"", uid.trim())), "{line}");
    }
    let Some(skopeo) = tool("skopeo") else { return };
    let (certs, creds) = (host.path("certs"), format!("cluster:{token}"));
    let image = format!("docker://{name}/team/app:1");
    sh(&skopeo, &["inspect", "--raw", "--cert-dir", text(&certs), "--creds", &creds, &image]);
    let from = format!("dir:{}", text(&host.path("pulled")));
    let to = format!("docker://{name}/team/app:2");
    let push = ["copy", "-q", "--dest-cert-dir", text(&certs), "--dest-creds", &creds, &from, &to];
    assert_ne!(Run::of(Command::new(skopeo).args(push)).code, 0);
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// skopeo logs in with what was printed, pushes, and pulls the same bytes.
fn push_and_pull(host: &Host, name: &str, password: &str) {
    let Some(skopeo) = tool("skopeo") else { return };
    let certs = host.path("certs");
    fs::create_dir_all(&certs).unwrap();
    fs::copy(host.data().join("tls/ca.crt"), certs.join("ca.crt")).unwrap();
    let auth = host.path("auth.json");
    let login = |password: &str| {
        let script = r#"printf %s "$0" | exec skopeo login --cert-dir "$1" --authfile "$2" -u init --password-stdin "$3""#;
        let arguments = ["-c", script, password, text(&certs), text(&auth), name];
        Run::of(Command::new("sh").args(arguments))
    };
    assert_ne!(login("wrong").code, 0);
    login(password).ok();
    let source = Server::embedded(&host.path("source"));
    source.image("team/app", "1", &[&noise(1, 300_000)]);
    let (from, to) =
        (format!("docker://{}/team/app:1", source.host), format!("docker://{name}/team/app:1"));
    let (auth, certs) = (text(&auth), text(&certs));
    let plain = "--src-tls-verify=false";
    sh(
        &skopeo,
        &[
            "copy",
            "-q",
            "--preserve-digests",
            plain,
            "--dest-cert-dir",
            certs,
            "--dest-authfile",
            auth,
            &from,
            &to,
        ],
    );
    let raw = |arguments: &[&str]| sh(&skopeo, &[&["inspect", "--raw"], arguments].concat());
    let pushed = raw(&["--cert-dir", certs, "--authfile", auth, &to]);
    assert_eq!(pushed, raw(&["--tls-verify=false", &from]));
    let pulled = format!("dir:{}", text(&host.path("pulled")));
    sh(&skopeo, &["copy", "-q", "--src-cert-dir", certs, "--src-authfile", auth, &to, &pulled]);
    let counted = host.run(&["status", "--output", "json"]).ok().json();
    assert_eq!((&counted["repositories"], &counted["blobs"]), (&1.into(), &2.into()));
}

/// A certificate that signs itself, and its key.
fn certificate(host: &Host, file: &str, names: &[&str]) -> (PathBuf, PathBuf) {
    let (certificate, key) = (host.path(&format!("{file}.crt")), host.path(&format!("{file}.key")));
    let pair = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let own = CertificateParams::new(names).unwrap().self_signed(&pair).unwrap();
    fs_write(&certificate, own.pem().as_bytes());
    fs_write(&key, pair.serialize_pem().as_bytes());
    (certificate, key)
}

#[test]
fn a_certificate_of_the_site_is_judged_before_anything_is_made() {
    let host = Host::new();
    let (good, key) = certificate(&host, "good", &["localhost"]);
    let (other, other_key) = certificate(&host, "other", &["elsewhere.example"]);
    let install = |certificate: &Path, key: &Path, more: &[&str]| {
        let own = ["--user", "--sslCert", text(certificate), "--sslKey", text(key)];
        host.install(&[&own, more].concat())
    };
    install(&good, &other_key, &[]).refused(&[64]).says("good.crt").says("other.key");
    install(&other, &other_key, &[]).refused(&[64]).says("`localhost`").says("elsewhere.example");
    install(&good, &host.path("none.key"), &[]).refused(&[64, 73]).says("none.key");
    host.install(&["--user", "--sslCert", text(&good)]).code(64).says("--ssl-key");
    assert!(!host.data().exists());
    let told = install(&good, &key, &[]).ok();
    // One that signed itself is its own authority.
    let told = told.says("unless it trusts that authority already").says("BEGIN CERTIFICATE");
    assert!(!told.stdout.contains(text(&host.data().join("tls"))), "{told}");
    let copied = fs::read(host.data().join("tls/site.crt")).unwrap();
    assert_eq!(copied, fs::read(&good).unwrap());
    host.run(&["uninstall", "--delete-data", "--auto-approve"]).ok();
    assert!(!host.data().exists());
    // Asked for by name, one of another name is taken.
    install(&other, &other_key, &["--sslCheckSkip"]).ok();
}

#[test]
fn a_status_says_what_helps_and_not_more() {
    let host = Host::new();
    let (good, key) = certificate(&host, "good", &["localhost"]);
    let (other, other_key) = certificate(&host, "other", &["elsewhere.example"]);
    let own = ["--user", "--ssl-cert", text(&good), "--ssl-key", text(&key), "--output", "json"];
    let answer = host.install(&own).ok().json();
    let line = answer["serve"].as_str().unwrap();
    let (data, served) = (host.data(), host.serve(line));
    let bring = |certificate: &Path, key: &Path| {
        fs::copy(key, data.join("tls/site.key")).unwrap();
        fs::copy(certificate, data.join("tls/site.crt")).unwrap();
    };
    // What is of no use is not taken; a restart would end in a refusal.
    bring(&other, &other_key);
    let run = host.wait_for(&["status"], 1).says("is not for `localhost`");
    assert!(!run.stdout.contains("restart it"), "{run}");
    let run = run.says("write the new one over").says("without a restart");
    assert!(run.stdout.contains("leave it running until the file is mended"), "{run}");
    bring(&good, &key);
    host.wait_for(&["status"], 0);
    drop(served);

    // Settings count after a restart, and say so. What a person has settled is no fault.
    let settings = data.join("registry.toml");
    let served = host.serve(line);
    let before = fs::read_to_string(&settings).unwrap();
    fs_write(&settings, before.replace("read-only = false", "read-only = true").as_bytes());
    host.run(&["status"]).ok().says("counts after a restart");
    drop(served);
    let served = host.serve(line);
    let told = host.run(&["status", "--output", "json"]).ok().json();
    assert_eq!(told["process"]["readOnly"], true);
    let notes = told["notes"].to_string();
    assert!(notes.contains("`read-only = true` in registry.toml"), "{notes}");
    assert!(!notes.contains("restart"), "{notes}");
    host.run(&["gc", "--dry-run"]).ok();
    drop(served);
    host.run(&["status"]).code(1).says("does not run");

    // A certificate of our own without the name that was settled since.
    fs_write(
        &settings,
        before
            .replace("hostname = \"localhost\"", "hostname = \"mirror.site\"")
            .replace("[tls]\ncertificate = \"tls/site.crt\"\nkey = \"tls/site.key\"\n", "")
            .as_bytes(),
    );
    let served = host.begin(line);
    host.wait_for(&["status"], 0);
    fs_write(
        &settings,
        fs::read_to_string(&settings).unwrap().replace("mirror.site", "new.site").as_bytes(),
    );
    let run = host
        .run(&["status"])
        .code(1)
        .says("is not for `new.site`")
        .says("bundle registry rotate-cert --data-dir");
    assert!(!run.stdout.contains("restart it"), "{run}");
    host.run(&["rotate-cert"]).ok();
    host.wait_for(&["status"], 0);
    drop(served);
}

#[test]
fn an_installation_over_kept_data_keeps_its_names() {
    let host = Host::new();
    host.install(&["--user", "--name", "second.site"]).ok();
    host.run(&["rotate-cert", "--name", "third.site"]).ok();
    host.run(&["uninstall", "--auto-approve"]).ok();
    let port = format!("new.site:{}", host.port);
    host.run(&["install", "--user", "--hostname", &port]).ok().says("`localhost` stays a name");
    let told = host.run(&["status", "--output", "json"]).code(1).json();
    let names = told["certificate"]["names"].to_string();
    for name in ["new.site", "localhost", "second.site", "third.site"] {
        assert!(names.contains(name), "{name}: {names}");
    }
    let settings = fs::read_to_string(host.data().join("registry.toml")).unwrap();
    assert!(settings.contains("names = [\"second.site\", \"localhost\"]"), "{settings}");
}

#[test]
fn a_slip_is_answered_with_the_command_that_helps() {
    let host = Host::new();
    let none = host.path("none");
    let none = text(&none);
    let mut said = Vec::new();
    for line in [
        &["status"][..],
        &["fsck"],
        &["gc"],
        &["upgrade"],
        &["uninstall", "--auto-approve"],
        &["rotate-cert"],
        &["trust"],
        &["user", "list"],
        &["user", "remove", "a"],
        &["user", "grant", "a", "--role", "pull"],
        &["user", "revoke", "a"],
        &["user", "passwd", "a"],
    ] {
        let run = host.run(&[line, &["--data-dir", none]].concat()).refused(&[64]);
        said.push(run.says(&format!("bundle registry install --data-dir {none}")).stderr);
    }
    said.dedup();
    assert_eq!(said.len(), 1, "{said:#?}");
    assert!(!host.path("none").exists());

    for word in ["--password", "--password=hunter22"] {
        let add = ["user", "add", "a", "--data-dir", none, word, "hunter22"];
        let run = host.run(&add).refused(&[64]).says("`--password-stdin`");
        assert!(!run.stderr.contains("hunter22"), "{run}");
    }

    // A directory that this user may not write, and one that another registry uses.
    let data = host.path("data");
    fs::create_dir(&data).unwrap();
    let listen = ["--http", "--listen", "127.0.0.1:0"];
    let program = text(Path::new(env!("CARGO_BIN_EXE_bundle"))).to_owned();
    let served = host.begin(&format!(
        "{program} registry serve --data-dir '{}' {}",
        text(&data),
        listen.join(" ")
    ));
    host.wait_for(&["status", "--data-dir", text(&data)], 0);
    let again = host.run(&[&["serve", "--data-dir", text(&data)], &listen[..]].concat());
    again
        .refused(&[75])
        .says(&format!("process {}", served.0.id()))
        .says(&format!("bundle registry status --data-dir {}", text(&data)));
    drop(served);
    if !is_root() {
        sh("chmod", &["500", text(&data)]);
        let run = host.run(&["rotate-cert", "--data-dir", text(&data)]);
        assert!(!run.stderr.contains("--workspace"), "{run}");
        sh("chmod", &["700", text(&data)]);
    }
}

#[test]
fn flags_of_the_mirror_registry_for_openshift_work_or_are_explained() {
    let host = Host::new();
    let data = host.path("quay");
    let name = format!("localhost:{}", host.port);
    fs_write(&host.path("word"), b"a long password\n");
    let old =
        ["install", "--user", "--quayHostname", &name, "--quayRoot", text(&data), "--autoApprove"];
    let secret = [&old[..], &["--initUser", "admin", "--initPassword", "hunter22"]].concat();
    let refused = host.run(&secret).refused(&[64]).says("--init-password-stdin");
    assert!(!refused.stderr.contains("hunter22"), "{refused}");
    for (flag, told) in [
        ("--quayStorage=/x", "one directory"),
        ("--sqliteStorage=/x", "one directory"),
        ("--image-archive=x.tar", "images"),
        ("--askBecomePass", "root"),
        ("--additionalArgs=x", "Ansible"),
    ] {
        host.run(&[&old[..], &[flag]].concat()).refused(&[64]).says(told);
    }
    assert!(!data.exists());
    let word = host.path("word");
    let own = [&old[..], &["--initUser", "admin", "--init-password-file", text(&word)]].concat();
    let told = host.run(&own).ok().says("admin").says(&name);
    assert!(!told.stdout.contains("a long password"), "{told}");
    host.run(&["upgrade", "--quayHostname", "x", "--data-dir", text(&data)])
        .refused(&[64])
        .says("registry.toml");
    host.run(&["upgrade", "--quayRoot", text(&data)]).ok();
    host.run(&["uninstall", "--quayRoot", text(&data), "--autoApprove", "--delete-data"]).ok();
    assert!(!data.exists());
}

#[test]
fn root_follows_no_link_in_the_data_of_another() {
    if !is_root() {
        return skip("not root: it has the rights of nobody else");
    }
    let host = Host::new();
    let (data, elsewhere) = (host.path("data"), host.path("elsewhere"));
    fs::create_dir_all(&data).unwrap();
    fs::create_dir_all(&elsewhere).unwrap();
    let give = || sh("chown", &["-Rh", "4242:4343", text(&data)]);
    give();
    let here = ["--user", "--data-dir", text(&data)];
    let tls = data.join("tls");
    std::os::unix::fs::symlink(&elsewhere, &tls).unwrap();
    sh("chmod", &["755", text(&elsewhere)]);
    host.install(&here).refused(&[1]).says("tls` is a link");
    assert_eq!(sh("stat", &["-c", "%a", text(&elsewhere)]).trim(), "755");
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);

    // Without it the data is the owner's, and the registry that runs as that one can use it.
    fs::remove_file(&tls).unwrap();
    host.install(&here).ok();
    assert_eq!(sh("stat", &["-c", "%u:%g:%a", text(&tls)]).trim(), "4242:4343:700");

    // What only root may read does not come into the copy that everybody may.
    fs_write(&elsewhere.join("secret"), b"nobody's business\n");
    fs::remove_file(tls.join("ca.crt")).unwrap();
    std::os::unix::fs::symlink(elsewhere.join("secret"), tls.join("ca.crt")).unwrap();
    let rotate = ["rotate-cert", "--new-ca", "--data-dir", text(&data)];
    host.run(&rotate).refused(&[1]).says("ca.crt` is a link");
    assert!(!tls.join("ca.crt.old").exists());
    fs::rename(&tls, host.path("moved")).unwrap();
    std::os::unix::fs::symlink(host.path("moved"), &tls).unwrap();
    host.run(&rotate).refused(&[1]).says("tls` is a link");
    host.run(&rotate[..1].iter().chain(&rotate[2..]).copied().collect::<Vec<_>>())
        .refused(&[1])
        .says("tls` is a link");
}

#[test]
fn an_installation_that_fails_leaves_nothing() {
    let host = Host::new();
    let taken = std::net::TcpListener::bind(("0.0.0.0", host.port)).unwrap();
    host.install(&["--user"]).refused(&[1]).says("in use").says("--port");
    drop(taken);
    host.install(&["--user", "--init-user", "a b"]).refused(&[64]);
    host.install(&["--user", "--name", "no name!"]).refused(&[64]);
    host.install(&["--user", "--quota", "500G"]).code(64).says("unknown unit `G`");
    fs_write(&host.path("short"), b"x");
    host.install(&["--user", "--init-password-file", text(&host.path("short"))]).refused(&[64]);
    assert!(!host.data().exists());
    fs::create_dir_all(host.data()).unwrap();
    fs_write(&host.data().join("mine.txt"), b"x");
    host.install(&["--user"]).refused(&[64]).says("mine.txt");

    // systemd cannot start it.
    let unit = host.path("home/.config/systemd/user/bundle-registry.service");
    host.with_systemd(&unit);
    fs::remove_file(host.data().join("mine.txt")).unwrap();
    host.install(&["--user", "--port", "1"]).refused(&[64]).says("two ports");
    fs_write(&host.path("broken"), b"");
    host.install(&["--user"]).code(1).says("failed").says("last words of the registry");
    assert!(!unit.exists());
    assert_eq!(support::tree(&host.data()), Vec::<String>::new());
    assert!(host.calls("systemctl").contains("--user disable --now bundle-registry"));
    fs::remove_file(host.path("broken")).unwrap();
    host.install(&["--user"]).ok();
}

#[test]
fn object_storage_is_begun_in_a_new_directory_or_after_installing() {
    let host = Host::new();
    let nobody = free_port();
    let objects = format!(
        "# the site's own words\n[objects] # of this site\nbucket = \"mirror\"\nendpoint = \"http://127.0.0.1:{nobody}\"\n\
         allow-http = true\naccess-key-file = \"s3-access-key\"\nsecret-key-file = \"./keys/s3-secret-key\"\n"
    );
    let prepare = |data: &Path| {
        fs::create_dir_all(data.join("keys")).unwrap();
        fs_write(&data.join("s3-access-key"), b"some-key\n");
        fs_write(&data.join("keys/s3-secret-key"), b"some-secret\n");
        fs_write(&data.join("registry.toml"), objects.as_bytes());
    };
    let serve = |data: &Path| {
        let run = host.run(&["serve", "--data-dir", text(data)]);
        // Not refused: nobody answers at the endpoint.
        run.refused(&[75]).says("the `endpoint` of `[objects]`")
    };

    // The keys first. What fails leaves everything as a person wrote it.
    let data = host.path("new");
    prepare(&data);
    let before = support::tree(&data);
    let install = ["--user", "--data-dir", text(&data)];
    host.install(&[&install[..], &["--quota", "5GiB"]].concat()).refused(&[64]).says("quota");
    assert_eq!(support::tree(&data), before);
    host.install(&install).code(1).says("object store");
    assert_eq!(support::tree(&data), before);
    assert_eq!(fs::read_to_string(data.join("registry.toml")).unwrap(), objects);
    serve(&data);
    // What nothing names is somebody else's.
    fs_write(&data.join("mine.txt"), b"x");
    host.install(&install).refused(&[64]).says("mine.txt");
    host.run(&["serve", "--data-dir", text(&data)]).refused(&[64]);

    // Installed first: nothing was ever stored there.
    host.install(&["--user"]).ok();
    let data = host.data();
    prepare(&data);
    serve(&data);
    let blob = data.join("blobs/sha256/aa/some-blob");
    fs_write(&blob, b"x");
    host.run(&["serve"]).refused(&[64]).says("holds images in files");
    fs::remove_file(blob).unwrap();
    host.run(&["status"]).code(1).says("bucket `mirror` at http://127.0.0.1").says("not asked");
    let gone = host.run(&["uninstall", "--delete-data", "--auto-approve"]).ok();
    gone.says("the bucket `mirror` at http://127.0.0.1").says("keeps everything");
}

#[test]
fn what_a_person_wrote_into_the_settings_stays_or_is_kept_beside() {
    let host = Host::new();
    let file = host.data().join("registry.toml");
    fs::create_dir_all(host.data()).unwrap();
    fs_write(&file, b"# ours\n[log]\naccess = \"log/access.jsonl\" # for the audit");
    let before = support::tree(&host.data());
    let taken = std::net::TcpListener::bind(("0.0.0.0", host.port)).unwrap();
    host.install(&["--user", "--quota", "5GiB"]).refused(&[1]).says("in use");
    drop(taken);
    assert_eq!(support::tree(&host.data()), before);
    host.install(&["--user", "--quota", "5GiB"]).ok();
    let settings = fs::read_to_string(&file).unwrap();
    for line in
        ["# ours\n", "# for the audit\n", "hostname = \"localhost\"\n", "quota = \"5GiB\"\n"]
    {
        assert!(settings.contains(line), "{line}: {settings}");
    }
    assert!(!host.data().join("registry.toml.old").exists());

    // The same again is not written; another name is, and what was there is kept.
    host.run(&["uninstall", "--auto-approve"]).ok();
    host.install(&["--user"]).ok();
    assert_eq!(fs::read_to_string(&file).unwrap(), settings);
    host.run(&["uninstall", "--auto-approve"]).ok();
    let other = format!("new.site:{}", host.port);
    let told = host.run(&["install", "--user", "--hostname", &other]).ok();
    told.says("without its comments").says("registry.toml.old");
    assert_eq!(fs::read_to_string(host.data().join("registry.toml.old")).unwrap(), settings);
    let anew = fs::read_to_string(&file).unwrap();
    assert!(anew.contains("new.site") && anew.contains("5GiB"), "{anew}");
}

#[test]
fn systemd_keeps_a_registry_of_the_machine() {
    if !is_root() {
        return skip("not root: a registry of the machine is not installed");
    }
    let host = Host::new();
    let unit = host.path("root/etc/systemd/system/bundle-registry.service");
    let (data, program) = (
        host.path("root/var/lib/bundle-registry"),
        host.path("root/usr/local/bin/bundle-registry"),
    );
    host.with_systemd(&unit);
    let passwd = host.path("root/etc/passwd");
    fs::create_dir_all(passwd.parent().unwrap()).unwrap();
    let line = "bundle-registry:x:4242:4343::/nonexistent:/usr/sbin/nologin";
    host.stand_in("useradd", &format!("echo '{line}' >>'{}'", text(&passwd)));
    let answer = host.install(&["--output", "json"]).ok().json();
    assert_eq!((&answer["keeper"], &answer["running"]), (&"system".into(), &true.into()));
    let calls = host.calls("systemctl");
    assert!(
        calls.contains("daemon-reload\nenable bundle-registry\nstart bundle-registry\n"),
        "{calls}"
    );
    assert!(host.calls("useradd").contains("--system"));
    // The data is the account's, and so is the process.
    for path in [&data, &data.join("users"), &data.join("store-version"), &data.join("control")] {
        assert_eq!(sh("stat", &["-c", "%u:%g", text(path)]).trim(), "4242:4343", "{path:?}");
    }
    host.run(&["status"]).ok().says("system unit, active");
    // What root changes, the registry can read.
    let dir = text(&data).to_owned();
    host.run(&["user", "add", "reader", "--role", "pull", "--data-dir", &dir]).ok();
    assert_eq!(sh("stat", &["-c", "%u", text(&data.join("users"))]).trim(), "4242");
    if let Some(analyze) = tool("systemd-analyze") {
        let run = Run::of(Command::new(analyze).args(["verify", "--man=no", text(&unit)])).ok();
        assert!(!run.stderr.contains("bundle-registry"), "{run}");
    }
    host.run(&["install", "--data-dir", text(&host.path("other"))]).refused(&[64]).says(&dir);

    // An upgrade that does not come up leaves the unit as it was; the next one writes it.
    let text_of_unit = fs::read_to_string(&unit).unwrap() + "# by hand\n";
    fs_write(&unit, text_of_unit.as_bytes());
    fs::remove_file(&program).unwrap();
    fs_write(&program, b"#!/bin/sh\necho bundle 0.0.1\n");
    fs_write(&host.path("broken"), b"");
    host.run(&["upgrade"]).code(1).says("as they were before");
    assert_eq!(fs::read_to_string(&unit).unwrap(), text_of_unit);
    assert!(fs::metadata(&program).unwrap().len() < 100);
    fs::remove_file(host.path("broken")).unwrap();
    let upgraded = host.run(&["upgrade", "--output", "json"]).ok().json();
    assert_eq!(upgraded["version"], env!("CARGO_PKG_VERSION"));
    assert!(!fs::read_to_string(&unit).unwrap().contains("by hand"));
    assert!(!program.with_extension("before").exists());
    host.run(&["status"]).ok();
    fs_write(&data.join("store-version"), b"bundle registry store 99\n");
    host.run(&["upgrade"]).refused(&[64]).says("99");
    fs_write(&data.join("store-version"), b"bundle registry store 1\n");

    host.run(&["uninstall", "--auto-approve"]).ok().says("kept");
    assert!(!unit.exists() && !program.exists() && data.join("users").exists());
    assert!(host.calls("systemctl").ends_with("disable --now bundle-registry\ndaemon-reload\n"));
}

#[test]
fn lingering_is_turned_off_only_if_the_installation_turned_it_on() {
    for before in [false, true] {
        let host = Host::new();
        host.with_systemd(&host.path("home/.config/systemd/user/bundle-registry.service"));
        let marker = host.path("root/var/lib/systemd/linger/tester");
        if before {
            fs::create_dir_all(marker.parent().unwrap()).unwrap();
            fs_write(&marker, b"");
        }
        host.install(&["--user", "--linger"]).ok();
        host.run(&["upgrade"]).ok();
        host.run(&["uninstall", "--auto-approve"]).ok();
        let expected = if before { "" } else { "enable-linger\ndisable-linger\n" };
        assert_eq!(host.calls("loginctl"), expected);
    }
}

#[test]
fn it_installs_on_another_machine() {
    let host = Host::new();
    let home = host.path("there");
    fs::create_dir_all(&home).unwrap();
    host.stand_in(
        "ssh",
        &format!("for last; do :; done\nHOME='{0}' TMPDIR='{0}' exec sh -c \"$last\"", text(&home)),
    );
    let (good, key) = certificate(&host, "good", &["localhost"]);
    let mut command = host.command(&[
        "install",
        "--user",
        "-H",
        "mirror.example",
        "-u",
        "admin",
        "-k",
        "id_test",
    ]);
    command.args([
        "--hostname",
        &format!("localhost:{}", host.port),
        "--init-password-stdin",
        "--data-dir",
    ]);
    let data = home.join("data here");
    command.arg(&data).args(["--ssl-cert", text(&good), "--ssl-key", text(&key)]);
    fs_write(&host.path("word"), b"a long password\n");
    command.stdin(fs::File::open(host.path("word")).unwrap().into_parts().0);
    Run::of(&mut command).ok().says(&format!("https://localhost:{}", host.port));
    let calls = host.calls("ssh");
    assert!(calls.contains("-i id_test") && calls.contains("-- admin@mirror.example"), "{calls}");
    assert!(!calls.contains("a long password"), "{calls}");
    assert!(data.join("users").exists() && data.join("tls/site.key").exists());
    // What was sent is gone.
    assert_eq!(support::tree(&home).iter().filter(|path| path.starts_with("bundle.")).count(), 0);
    // Its refusal is this one's.
    let again = ["install", "--user", "--target-host", "mirror.example", "--data-dir", text(&data)];
    host.run(&again).refused(&[64]).says("installed already");
    host.stand_in("ssh", "exit 255");
    host.run(&again).refused(&[75]).says("ssh mirror.example");
    host.run(&["install", "--target-host=-oProxyCommand=x"]).refused(&[64]);
}
