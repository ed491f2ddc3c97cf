//! A registry in operation, through the binary: signals, and what its logs hold afterwards.

// Helpers outside of `#[test]` functions are tests all the same.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use format_spec::Digest;
use fs_err as fs;
use serde_json::Value;

use support::command::{Process, Run, bundle, memory, sh};
use support::site::Site;
use support::{free_port, noise, text, tool, wire};

/// `bundle registry serve` that a test sends signals to.
fn serve(dir: &Path, settings: &str) -> (Process, String) {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("registry.toml"), settings).unwrap();
    let host = format!("127.0.0.1:{}", free_port());
    let log = fs::File::create(dir.with_extension("err")).unwrap().into_parts().0;
    let child = bundle(dir)
        .args(["registry", "serve", "--http", "--data-dir", text(dir), "--listen", &host])
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .unwrap();
    let process = Process(child);
    wait(|| TcpStream::connect(&host).is_ok());
    (process, host)
}

/// Waits until something is so; the limit only keeps a failure from hanging.
#[track_caller]
fn wait(what: impl Fn() -> bool) {
    for _ in 0..6000 {
        if what() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it did not happen");
}

fn signal(process: &Process, name: &str) {
    sh("kill", &[name, &process.0.id().to_string()]);
}

fn lines(path: &Path) -> Vec<Value> {
    let Ok(text) = fs::read_to_string(path) else { return Vec::new() };
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn sigterm_finishes_what_is_under_way_and_the_logs_have_it() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("data");
    let (mut process, host) = serve(&dir, "[log]\naccess = \"log/access.jsonl\"\n");
    let data = noise(7, 300_000);
    let digest = Digest::of(&data);
    let mut push = TcpStream::connect(&host).unwrap();
    write!(
        push,
        "POST /v2/a/blobs/uploads/?digest={digest} HTTP/1.1\r\nhost: x\r\ncontent-length: 300000\r\n\r\n"
    )
    .unwrap();
    push.write_all(&data[..100_000]).unwrap();
    let uploads = dir.join("uploads");
    wait(|| fs::read_dir(&uploads).is_ok_and(|mut files| files.next().is_some()));
    signal(&process, "-TERM");
    // It takes no more connections, and waits for this one.
    wait(|| TcpStream::connect(&host).is_err());
    push.write_all(&data[100_000..]).unwrap();
    let mut answer = String::new();
    push.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert!(process.0.wait().unwrap().success());
    let access = lines(&dir.join("log/access.jsonl"));
    assert_eq!(access.last().unwrap()["bytesIn"], 300_000);
    assert_eq!(access.last().unwrap()["status"], 201);
    let audit = lines(&dir.join("log/audit.jsonl"));
    let actions: Vec<_> = audit.iter().map(|line| line["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["start", "stop"]);
}

#[test]
fn sighup_begins_new_logs_and_the_documented_check_follows_the_chain() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("data");
    let (mut process, host) = serve(&dir, "[log]\naccess = \"log/access.jsonl\"\n");
    let [access, audit] = ["access", "audit"].map(|name| dir.join(format!("log/{name}.jsonl")));
    let [old_access, old_audit] =
        ["access", "audit"].map(|name| dir.join(format!("log/{name}.jsonl.1")));
    let delete = |tag: &str| {
        let path = format!("/v2/a/manifests/{tag}");
        assert_eq!(wire::request(&host, "DELETE", &path, &[], b"").unwrap().status, 404);
    };
    delete("v1");
    wait(|| lines(&audit).len() == 2 && !lines(&access).is_empty());
    fs::rename(&access, &old_access).unwrap();
    fs::rename(&audit, &old_audit).unwrap();
    signal(&process, "-HUP");
    wait(|| access.exists() && !lines(&audit).is_empty());
    delete("v2");
    signal(&process, "-TERM");
    assert!(process.0.wait().unwrap().success());
    assert!(lines(&access).iter().any(|line| line["path"] == "/v2/a/manifests/v2"));
    let actions: Vec<_> =
        lines(&audit).iter().map(|line| line["action"].as_str().unwrap().to_owned()).collect();
    assert_eq!(actions, ["new-file", "delete", "stop"]);

    let Some(python) = tool("python3") else { return };
    let page = fs::read_to_string("docs/operations.md").unwrap();
    let script = page.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
    let check = |files: &[&Path]| {
        let mut command = std::process::Command::new(&python);
        Run::of(command.args(["-c", script]).args(files).stdin(Stdio::null()))
    };
    let run = check(&[&old_audit, &audit]).ok();
    assert!(run.stdout.contains("5 lines"), "{run}");
    let changed = fs::read_to_string(&old_audit).unwrap().replace("v1", "v9");
    fs::write(&old_audit, changed).unwrap();
    check(&[&old_audit, &audit]).code(1);
}

#[test]
fn a_log_that_cannot_be_written_is_told_with_its_setting() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("data");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("registry.toml"), "[log]\naccess = \"tmp\"\n").unwrap();
    let mut command = bundle(home.path());
    command.args(["registry", "serve", "--http", "--data-dir", text(&dir)]);
    command.args(["--listen", "127.0.0.1:0"]);
    Run::of(&mut command).refused(&[1, 73]).says("log.access");
}

/// As in a container, where it cannot be opened by name.
#[test]
fn logs_go_to_the_output_whatever_it_is() {
    let home = tempfile::tempdir().unwrap();
    let settings = "[log]\naccess = \"/dev/stdout\"\naudit = \"stdout\"\n";
    let (mut process, host) = serve(&home.path().join("data"), settings);
    wire::request(&host, "GET", "/v2/", &[], &[]).unwrap();
    signal(&process, "-TERM");
    let mut text = String::new();
    process.0.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(process.0.wait().unwrap().success());
    let asked = text.lines().find(|line| line.contains("\"GET\"")).expect(&text);
    serde_json::from_str::<Value>(asked).unwrap();
    assert!(text.contains("\"action\":\"stop\""), "{text}");
}

#[test]
fn a_quota_that_is_too_small_ends_an_import_and_a_mirror_with_what_to_do() {
    let site = Site::new();
    site.source.image("team/app", "1", &[&noise(1, 150_000), &noise(2, 90_000)]);
    site.images(&["team/app:1"]);
    site.create("media", &[]).ok();
    let data = site.path("small");
    let settings = |quota: &str| format!("[storage]\nquota = \"{quota}\"\nreserve = 0\n");
    let (process, host) = serve(&data, &settings("200KiB"));
    let run = site.import_into(&host, "media", &[]).code(73);
    run.says("its quota is 200.0 KiB")
        .says("`bundle registry gc --untagged`")
        .says("then run the same command again");
    let mirror = |host: &str| {
        let (config, place) = (site.path("imageset.yaml"), site.path("straight"));
        let words = ["mirror", "--config", text(&config), "--workspace", text(&place)];
        let mut command = site.command(&words);
        Run::of(command.arg(format!("docker://{host}/straight")).args(["--retry-delay", "20ms"]))
    };
    let run = mirror(&host).code(73);
    run.says("its quota is 200.0 KiB").says("then run the same command again");
    let status = || site.bundle(&["registry", "status", "--data-dir", text(&data)]);
    let run = status().says("quota        200.0 KiB, ");
    assert!(run.stdout.contains(" used\n"), "{run}");
    if tool("skopeo").is_some() {
        let run = Run::of(std::process::Command::new("skopeo").args([
            "copy",
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
            &format!("docker://{}/team/app:1", site.source.host),
            &format!("docker://{host}/team/copy:1"),
        ]));
        assert_ne!(run.code, 0, "{run}");
        run.says("its quota is 200.0 KiB");
    }
    drop(process);

    let (_process, host) = serve(&data, &settings("2MiB"));
    site.import_into(&host, "media", &[]).ok();
    mirror(&host).ok();
    status().says("quota        2.0 MiB, ");
    let document =
        site.bundle(&["registry", "status", "--data-dir", text(&data), "--output", "json"]).json();
    assert_eq!(document["quotaBytes"], 2 << 20);
    assert!(document["process"]["usedBytes"].as_u64().unwrap() > 240_000, "{document}");
}

/// Manifests of the smallest values that there may be, as many at one time as clients may send, on top of what a registry takes
/// anyway.
#[test]
fn the_worst_manifests_at_one_time_take_little_memory() {
    const CLIENTS: usize = 8;
    let texts = |seed: usize, many: usize| {
        let one = |n: usize| format!("\"{:x}\":\"\"", n * 7 + seed);
        (0..many).map(one).collect::<Vec<_>>().join(",")
    };
    let children = |seed: usize| {
        let child =
            r#"{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:"#;
        let rest = r#"","size":1,"platform":{"os":"linux","architecture":"a"}}"#;
        let one = |n: usize| format!("{child}{:064x}{rest}", n * 100 + seed);
        (0..20_000).map(one).collect::<Vec<_>>().join(",")
    };
    let manifest = |seed: usize| {
        let (manifests, annotations) = match seed % 2 {
            0 => (children(seed), String::new()),
            _ => (String::new(), texts(seed, 199_000)),
        };
        let kind = "application/vnd.oci.image.index.v1+json";
        let mut text = format!(
            r#"{{"schemaVersion":2,"mediaType":"{kind}","manifests":[{manifests}],"annotations":{{{annotations}}}}}"#
        );
        text.extend(std::iter::repeat_n(' ', (4 << 20) - text.len()));
        text
    };
    let dir = tempfile::tempdir().unwrap();
    let (process, host) = serve(&dir.path().join("data"), "");
    let before = memory(&process.0);
    std::thread::scope(|scope| {
        for seed in 0..CLIENTS {
            let (host, manifest) = (&host, manifest(seed));
            scope.spawn(move || {
                let path = format!("/v2/worst/manifests/t{seed}");
                let put = || wire::request(host, "PUT", &path, &[], manifest.as_bytes()).unwrap();
                // Who waited for too long comes again.
                while put().status != 201 {
                    std::thread::sleep(Duration::from_millis(500));
                }
            });
        }
    });
    let more = memory(&process.0) - before;
    println!("{more} KiB");
    assert!(more < 56 << 10, "{more} KiB");
}
