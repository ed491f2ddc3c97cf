//! The configuration of nodes, through the binary: real clients pull by it under the names of sources that are away.

#![allow(clippy::unwrap_used)]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use fs_err as fs;
use serde_json::{Value, json};
use support::command::{Process, Run, sh};
use support::image::Pushed;
use support::releases::tar;
use support::server::{Server, fs_write};
use support::site::Site;
use support::tls::TlsRelay;
use support::{is_root, skip, text, tool};

/// A source that no machine has: nothing can be pulled from there.
const SOURCE: &str = "quay.example.test";

/// A target with the images of a MicroShift release, whose source is away.
struct Mirrored {
    site: Site,
    /// Names at the source, and the digests that stand behind them.
    images: Vec<(String, String)>,
}

/// Carries the lists of a release of MicroShift, and a mapping that renames, into `HOST/team`.
fn mirrored(more: &str) -> Mirrored {
    let site = Site::new();
    let source = Server::embedded(&site.path("away"));
    let push =
        |repository: &str, tag: &str| source.image(repository, tag, &[&tar(&[(tag, b"bytes")])]);
    let coredns = push("microshift/art", "coredns");
    let by_arch =
        |arch: &str| source.image_for("microshift/art", None, arch, &[&tar(&[(arch, b"bytes")])]);
    let (amd, arm) = (by_arch("amd64"), by_arch("arm64"));
    let router =
        source.index("microshift/art", Some("router"), &[(&amd, "amd64"), (&arm, "arm64")]);
    let lvms = push("lvms4/topolvm", "v4.18");
    let single = push("pause", "3.9");
    push("other/app", "1");
    let by_digest = |image: &Pushed| format!("{SOURCE}/{}@{}", image.repo, image.digest);
    let (coredns_name, router_name) = (by_digest(&coredns), by_digest(&router));
    let release = json!({"release": {"base": "4.18.1"},
        "images": {"coredns": coredns_name, "haproxy-router": router_name}});
    fs_write(&site.path("release-x86_64.json"), release.to_string().as_bytes());
    let refs = format!("{SOURCE}/lvms4/topolvm:v4.18\n{SOURCE}/pause:3.9\n{more}");
    fs_write(&site.path("refs.txt"), refs.as_bytes());
    let conf = site.path("sources.conf");
    let entry = format!("[[registry]]\nprefix = \"{SOURCE}\"\nlocation = \"{}\"\n", source.host);
    fs_write(&conf, entry.as_bytes());
    let path = |name: &str| text(&site.path(name)).to_owned();
    site.bundle(&[
        "create",
        "--images",
        &path("release-x86_64.json"),
        "--images",
        &path("refs.txt"),
        "--registries-conf",
        text(&conf),
        "--to",
        &path("media"),
        "--workspace",
        &path("connected"),
    ])
    .ok();
    let target = format!("{}/team", site.target.host);
    site.import_into(&target, "media", &[]).ok();
    let images = vec![
        (coredns_name, coredns.digest.to_string()),
        (router_name, router.digest.to_string()),
        (format!("{SOURCE}/lvms4/topolvm:v4.18"), lvms.digest.to_string()),
        (format!("{SOURCE}/lvms4/topolvm@{}", lvms.digest), lvms.digest.to_string()),
        (format!("{SOURCE}/pause:3.9"), single.digest.to_string()),
    ];
    // The source ends here.
    Mirrored { site, images }
}

impl Mirrored {
    /// `bundle resources` for nodes; returns where their files are.
    #[track_caller]
    fn resources(&self, kinds: &str, more: &[&str]) -> (PathBuf, Run) {
        let (to, target) =
            (self.site.path("out"), format!("docker://{}/team", self.site.target.host));
        let workspace = self.site.path("disconnected");
        let fixed = ["resources", &target, "--for", kinds, "--workspace", text(&workspace)];
        let to_option = ["--to", text(&to)];
        let run = self.site.bundle(&[&fixed, &to_option[..], more].concat()).ok();
        (to.join("nodes"), run)
    }

    /// The same for a target over plain HTTP.
    #[track_caller]
    fn plain(&self, kinds: &str) -> (PathBuf, Run) {
        let host = self.site.target.host.clone();
        self.resources(kinds, &["--plain-http", &host])
    }

    /// The path of a policy that takes everything.
    fn policy(&self) -> String {
        let path = self.site.path("policy.json");
        fs_write(&path, br#"{"default": [{"type": "insecureAcceptAnything"}]}"#);
        text(&path).to_owned()
    }

    /// skopeo, with this `registries.conf` and nothing else that the machine says.
    fn skopeo(&self, program: &Path, conf: &Path) -> Command {
        let mut command = Command::new(program);
        command.env("HOME", self.site.path("home")).stdin(Stdio::null()).args([
            "--policy",
            &self.policy(),
            "--registries-conf",
            text(conf),
        ]);
        command
    }

    /// Copies every image with skopeo.
    fn copies(&self, program: &Path, conf: &Path) {
        for (number, (name, digest)) in self.images.iter().enumerate() {
            let to = self.site.path(&format!("copied-{number}"));
            let mut command = self.skopeo(program, conf);
            command.args(["copy", "-q", "--all", "--preserve-digests"]);
            command.args([&format!("docker://{name}"), &format!("dir:{}", text(&to))]);
            Run::of(&mut command).ok();
            let bytes = fs::read(to.join("manifest.json")).unwrap();
            assert_eq!(format_spec::Digest::of(&bytes).to_string(), *digest, "{name}");
            fs::remove_dir_all(&to).unwrap();
        }
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn skopeo_pulls_a_release_of_microshift_under_the_names_of_its_source() {
    let Some(skopeo) = tool("skopeo") else { return };
    let mirrored = mirrored("");
    let (nodes, run) = mirrored.plain("microshift,cri-o");
    run.says("over plain HTTP").says("its README.txt says");
    let conf = "etc/containers/registries.conf.d/999-microshift-mirror.conf";
    mirrored.copies(&skopeo, &nodes.join("microshift").join(conf));
    let conf = "etc/containers/registries.conf.d/999-bundle-mirror.conf";
    mirrored.copies(&skopeo, &nodes.join("cri-o").join(conf));
    let readme = read(&nodes.join("microshift/README.txt"));
    let host = &mirrored.site.target.host;
    let login = format!("podman login --authfile /etc/crio/openshift-pull-secret {host}`");
    assert!(readme.contains(&login), "{readme}");
    // Without the file the source is asked, which is away.
    let empty = mirrored.site.path("empty.conf");
    fs_write(&empty, b"");
    let mut command = mirrored.skopeo(&skopeo, &empty);
    let name = format!("docker://{SOURCE}/pause:3.9");
    assert_ne!(Run::of(command.args(["inspect", "--raw", &name])).code, 0);
}

#[test]
fn a_repository_that_was_renamed_is_found() {
    let Some(skopeo) = tool("skopeo") else { return };
    let renamed = format!(
        "{SOURCE}/other/app:1=mirror.example.com/renamed/app:1\n{SOURCE}/pause:3.9=mirror.example.com/p:3\n"
    );
    let mirrored = mirrored(&renamed);
    let (nodes, run) = mirrored.plain("podman,containerd,k3s");
    let conf = nodes.join("podman/etc/containers/registries.conf.d/999-bundle-mirror.conf");
    let mut command = mirrored.skopeo(&skopeo, &conf);
    command.args(["inspect", "--raw", &format!("docker://{SOURCE}/other/app:1")]);
    let raw = Run::of(&mut command).ok().stdout.into_bytes();
    let there = mirrored.site.target.registry.manifest("team/renamed/app", "1").unwrap();
    assert_eq!(raw, there);
    mirrored.copies(&skopeo, &conf);
    // containerd has one path for a host.
    let host = &mirrored.site.target.host;
    run.says(&format!("`{SOURCE}/other/app` (at `{host}/team/renamed/app`)"));
    // k3s an expression for each repository.
    let yaml = read(&nodes.join("k3s/etc/rancher/k3s/registries.yaml"));
    assert!(yaml.contains("\"^other/app$\": "), "{yaml}");
}

#[test]
fn podman_pulls() {
    let Some(podman) = tool("podman") else { return };
    if !is_root() {
        return skip("podman is tried as root");
    }
    let mirrored = mirrored("");
    let (nodes, _) = mirrored.plain("podman");
    let conf = nodes.join("podman/etc/containers/registries.conf.d/999-bundle-mirror.conf");
    let path = |name: &str| text(&mirrored.site.path(name)).to_owned();
    for (name, _) in &mirrored.images {
        let mut command = Command::new(&podman);
        command
            .env("CONTAINERS_REGISTRIES_CONF", &conf)
            .args(["--storage-driver", "vfs", "--root", &path("root"), "--runroot", &path("run")])
            .args([
                "pull",
                "-q",
                "--arch",
                "amd64",
                "--signature-policy",
                &mirrored.policy(),
                name,
            ]);
        Run::of(command.stdin(Stdio::null())).ok();
    }
}

/// A containerd of its own, which ends with this value.
struct Containerd {
    ctr: PathBuf,
    socket: PathBuf,
    _process: Process,
}

impl Containerd {
    fn start(site: &Site) -> Option<Self> {
        let (program, ctr) = (tool("containerd")?, tool("ctr")?);
        if !is_root() {
            skip("containerd is tried as root");
            return None;
        }
        // A socket's path has at most 107 bytes.
        let socket = site.path("c.sock");
        let config = site.path("containerd.toml");
        let text_of = format!(
            "version = 2\nroot = \"{}\"\nstate = \"{}\"\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = \"{}\"\n[ttrpc]\naddress = \"{}\"\n",
            text(&site.path("c-root")),
            text(&site.path("c-state")),
            text(&socket),
            text(&site.path("c.ttrpc"))
        );
        fs_write(&config, text_of.as_bytes());
        let mut command = Command::new(program);
        command.args(["--config", text(&config)]);
        let process = Process::logged(&mut command, &site.path("containerd.log"));
        let started = Self { ctr, socket, _process: process };
        for _ in 0..200 {
            if started.run(&["version"]).code == 0 {
                return Some(started);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("no containerd: {}", read(&site.path("containerd.log")));
    }

    fn run(&self, arguments: &[&str]) -> Run {
        let mut command = Command::new(&self.ctr);
        command.args(["--address", text(&self.socket)]).args(arguments);
        Run::of(command.stdin(Stdio::null()))
    }

    /// Pulls an image, all its platforms: the content alone, or unpacked too.
    fn pull(&self, hosts: &Path, name: &str) -> Run {
        self.run(&[
            "images",
            "pull",
            "--snapshotter",
            "native",
            "--platform",
            "linux/amd64",
            "--hosts-dir",
            text(hosts),
            name,
        ])
    }
}

#[test]
fn containerd_pulls_by_plain_http_and_by_tls() {
    let mirrored = mirrored("");
    let Some(containerd) = Containerd::start(&mirrored.site) else { return };
    let (nodes, _) = mirrored.plain("containerd");
    let hosts = nodes.join("containerd/etc/containerd/certs.d");
    for (name, digest) in &mirrored.images {
        containerd.pull(&hosts, name).ok();
        containerd.run(&["images", "list"]).ok().says(name).says(digest);
        containerd.run(&["images", "remove", "--sync", name]).ok();
    }
    // Under its name at the target too.
    let own = format!("{}/team/pause:3.9", mirrored.site.target.host);
    containerd.pull(&hosts, &own).ok();

    let relay = TlsRelay::start(&mirrored.site.target.host, &mirrored.site.path("ca.pem"));
    let told = format!("docker://{}/team", relay.host);
    let ca = text(&relay.certificate);
    mirrored.resources("containerd", &["--as", &told, "--ca-file", ca]);
    for (name, _) in &mirrored.images {
        containerd.pull(&hosts, name).ok();
    }
    containerd.pull(&hosts, &format!("{}/team/pause:3.9", relay.host)).ok();
}

#[test]
fn the_authority_lies_where_clients_look_for_it() {
    let Some(skopeo) = tool("skopeo") else { return };
    let mirrored = mirrored("");
    let relay = TlsRelay::start(&mirrored.site.target.host, &mirrored.site.path("ca.pem"));
    let told = format!("docker://{}/team", relay.host);
    let ca = text(&relay.certificate);
    let (nodes, _) = mirrored.resources("podman,microshift,k3s", &["--as", &told, "--ca-file", ca]);
    let etc = nodes.join("podman/etc/containers");
    let conf = etc.join("registries.conf.d/999-bundle-mirror.conf");
    assert!(!read(&conf).contains("insecure"));
    // A person's own `certs.d` is of the same form as that of /etc.
    let own = mirrored.site.path("home/.config/containers");
    let name = format!("docker://{SOURCE}/pause:3.9");
    let inspect = || {
        let mut command = mirrored.skopeo(&skopeo, &conf);
        Run::of(command.args(["inspect", "--raw", &name]))
    };
    assert_ne!(inspect().code, 0, "nobody trusts it yet");
    fs::create_dir_all(&own).unwrap();
    sh("cp", &["-r", text(&etc.join("certs.d")), text(&own)]);
    mirrored.copies(&skopeo, &conf);
    let certificate = read(&relay.certificate).replace("\r\n", "\n");
    let anchor = relay.host.replace(':', "-") + ".crt";
    let anchor = nodes.join("microshift/etc/pki/ca-trust/source/anchors").join(anchor);
    assert_eq!(read(&anchor), certificate);
    assert_eq!(read(&nodes.join("k3s/etc/rancher/mirror-ca.crt")), certificate);
}

/// A file as Python reads it, where it has what is needed.
fn parsed(module: &str, path: &Path) -> Option<Value> {
    let python = tool("python3")?;
    let call = match module {
        "yaml" => "yaml.safe_load(open(sys.argv[1]))",
        _ => "tomllib.load(open(sys.argv[1], 'rb'))",
    };
    let script = format!("import json, sys, {module}; print(json.dumps({call}))");
    let run = Run::of(Command::new(python).args(["-c", &script, text(path)]));
    if run.stderr.contains("ModuleNotFoundError") {
        skip(&format!("Python has no `{module}`: a file is not read back"));
        return None;
    }
    Some(run.ok().json())
}

#[test]
fn every_text_reads_back() {
    let mirrored = mirrored("");
    let host = &mirrored.site.target.host;
    let (nodes, _) = mirrored.plain("podman,containerd,k3s");
    let conf = nodes.join("podman/etc/containers/registries.conf.d/999-bundle-mirror.conf");
    if let Some(conf) = parsed("tomllib", &conf) {
        let entry = |source: &str| {
            json!({"prefix": format!("{SOURCE}/{source}"), "location": format!("{SOURCE}/{source}"),
                "mirror": [{"location": format!("{host}/team/{source}"), "insecure": true}]})
        };
        let own = json!({"prefix": host, "location": host, "insecure": true});
        let entries = json!([own, entry("lvms4"), entry("microshift"), entry("pause")]);
        assert_eq!(conf, json!({"registry": entries}));
    }
    let hosts = nodes.join(format!("containerd/etc/containerd/certs.d/{SOURCE}/hosts.toml"));
    if let Some(hosts) = parsed("tomllib", &hosts) {
        let mirror = json!({"capabilities": ["pull", "resolve"], "override_path": true});
        let mirror = json!({format!("http://{host}/v2/team"): mirror});
        assert_eq!(hosts, json!({"server": format!("https://{SOURCE}"), "host": mirror}));
    }
    if let Some(yaml) = parsed("yaml", &nodes.join("k3s/etc/rancher/k3s/registries.yaml")) {
        let endpoint = json!([format!("http://{host}")]);
        let expected = json!({"mirrors": {
            SOURCE: {"endpoint": endpoint, "rewrite": {"^(.*)$": "team/$1"}},
            host: {"endpoint": endpoint}}});
        assert_eq!(yaml, expected);
    }
}

#[test]
fn each_kind_stands_by_itself() {
    let mirrored = mirrored("");
    let listed = |run: &Run| -> Vec<String> {
        let files = run.json()["files"].as_array().unwrap().clone();
        files.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    };
    // Without the option nothing is for nodes.
    let target = format!("docker://{}/team", mirrored.site.target.host);
    let (workspace, out) = (mirrored.site.path("disconnected"), mirrored.site.path("out"));
    let fixed = ["resources", &target, "--workspace", text(&workspace), "--to", text(&out)];
    mirrored.site.bundle(&fixed).ok();
    assert!(out.join("idms-oc-mirror.yaml").exists() && !out.join("nodes").exists());
    // One kind leaves those of others as they are.
    let json = ["--output", "json", "--plain-http", &mirrored.site.target.host];
    let (_, run) = mirrored.resources("podman", &json);
    assert_eq!(
        listed(&run),
        [
            "nodes/podman/README.txt",
            "nodes/podman/etc/containers/registries.conf.d/999-bundle-mirror.conf"
        ]
    );
    mirrored.resources("k3s", &json);
    mirrored.site.bundle(&fixed).ok();
    for name in ["idms-oc-mirror.yaml", "nodes/podman/README.txt", "nodes/k3s/README.txt"] {
        assert!(out.join(name).exists(), "{name}");
    }
    let (_, run) = mirrored.resources("openshift,podman", &json);
    assert_eq!(listed(&run).len(), 4);
    // A form of what is not asked for means nothing; a target that is every node itself is told.
    let forms = [&fixed[..], &["--for", "podman", "--icsp"]].concat();
    mirrored.site.bundle(&forms).refused(&[64]).says("`--icsp` is about the files for clusters");
    mirrored.resources("podman", &[]).1.says("is every node itself");
    let kinds = [&fixed[..], &["--for", "docker"]].concat();
    mirrored.site.bundle(&kinds).code(64).says("containerd");
}
