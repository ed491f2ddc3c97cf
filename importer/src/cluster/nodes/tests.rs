//! The files of each kind, byte for byte, and what cannot be expressed.

use super::*;

fn pair(source: &str, place: &str) -> Pair {
    let (host, path) = source.split_once('/').unwrap();
    Pair {
        category: Category::Generic,
        host: host.parse().unwrap(),
        path: path.parse().unwrap(),
        place: place.parse().unwrap(),
    }
}

fn pairs(of: &[(&str, &str)]) -> BTreeSet<Pair> {
    of.iter().map(|(source, place)| pair(source, place)).collect()
}

fn secure() -> Access {
    Access { authorities: "PEM\n".to_owned(), plain: false }
}

fn plain() -> Access {
    Access { authorities: String::new(), plain: true }
}

/// The files by name, and the warnings.
fn made(of: &[(&str, &str)], kind: Kind, access: &Access) -> (BTreeMap<String, String>, String) {
    let (pairs, at) = (pairs(of), "m.lan:5000".parse().unwrap());
    let (mut files, mut warnings) = (Files::new(), Vec::new());
    match kind {
        Kind::Containerd => hosts_toml::put(&mut files, &pairs, &at, access, &mut warnings),
        Kind::K3s => registries_yaml::put(&mut files, &pairs, &at, access, &mut warnings),
        kind => {
            let found = mirrors(&pairs, &at, false).remove(&Category::Generic).unwrap();
            registries_conf::put(&mut files, kind, &found, &at, access);
        }
    }
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let files = files.into_iter().map(|(name, bytes)| (name.display().to_string(), text(bytes)));
    (files.collect(), warnings.join("\n"))
}

const HEADER: &str = "# Where images are pulled from: written by `bundle resources`\n";

#[test]
fn registries_conf_has_the_entries_of_mirror_sets() {
    let of = [("quay.io/acme/app", "ns/acme/app"), ("quay.io/acme/old", "ns/new")];
    let (files, _) = made(&of, Kind::Microshift, &secure());
    let names: Vec<_> = files.keys().map(String::as_str).collect();
    let conf = "etc/containers/registries.conf.d/999-microshift-mirror.conf";
    let anchors = "etc/pki/ca-trust/source/anchors/m.lan-5000.crt";
    assert_eq!(names, ["etc/containers/certs.d/m.lan:5000/ca.crt", conf, anchors]);
    let entry = |source: &str, mirror: &str, insecure: &str| {
        format!(
            "\n[[registry]]\nprefix = \"quay.io/{source}\"\nlocation = \"quay.io/{source}\"\n\n[[registry.mirror]]\n\
             location = \"m.lan:5000/{mirror}\"\n{insecure}"
        )
    };
    let expected =
        HEADER.to_owned() + &entry("acme", "ns/acme", "") + &entry("acme/old", "ns/new", "");
    assert_eq!(files[conf], expected);
    // Over plain HTTP both the mirror and what is pulled under its name.
    let (files, _) = made(&of, Kind::Podman, &plain());
    assert_eq!(files.len(), 1);
    let insecure = "insecure = true\n";
    let own = "\n[[registry]]\nprefix = \"m.lan:5000\"\nlocation = \"m.lan:5000\"\n";
    let expected = [
        HEADER,
        own,
        insecure,
        &entry("acme", "ns/acme", insecure),
        &entry("acme/old", "ns/new", insecure),
    ];
    assert_eq!(files["etc/containers/registries.conf.d/999-bundle-mirror.conf"], expected.concat());
}

#[test]
fn hosts_toml_has_one_path_for_a_host() {
    let of = [("docker.io/library/redis", "ns/library/redis"), ("q.io:8443/a/b", "a/b")];
    let (files, warnings) = made(&of, Kind::Containerd, &secure());
    assert_eq!(warnings, "");
    let text = |server: &str, mirror: &str, ca: &str| {
        format!(
            "{HEADER}server = \"https://{server}\"\n\n[host.\"https://m.lan:5000/v2{mirror}\"]\n\
             capabilities = [\"pull\", \"resolve\"]\noverride_path = true\nca = \"{ca}\"\n"
        )
    };
    let file = |host: &str| &files[&format!("etc/containerd/certs.d/{host}/hosts.toml")];
    let ca = "../m.lan:5000/ca.crt";
    assert_eq!(*file("docker.io"), text("registry-1.docker.io", "/ns", ca));
    assert_eq!(*file("q.io:8443"), text("q.io:8443", "", ca));
    assert_eq!(*file("m.lan:5000"), text("m.lan:5000", "", "ca.crt"));
    assert_eq!(files["etc/containerd/certs.d/m.lan:5000/ca.crt"], "PEM\n");
    let (files, _) = made(&of, Kind::Containerd, &plain());
    let own = &files["etc/containerd/certs.d/m.lan:5000/hosts.toml"];
    assert!(own.contains("server = \"http://m.lan:5000\"\n\n[host.\"http://m.lan:5000/v2\"]\n"));
}

#[test]
fn what_containerd_cannot_express_is_told_and_leads_nowhere() {
    let of = [("q.io/a/app", "ns/a/app"), ("q.io/a/old", "ns/new"), ("q.io/b/app", "ns/b/app")];
    let (files, warnings) = made(&of, Kind::Containerd, &Access { plain: false, ..secure() });
    assert!(files["etc/containerd/certs.d/q.io/hosts.toml"].contains("/v2/ns\"]"));
    assert!(warnings.contains("`q.io/a/old` (at `m.lan:5000/ns/new`)"), "{warnings}");
    assert!(!warnings.contains("`q.io/a/app`"), "{warnings}");
    // What stands at the place of the renamed one is another image: nothing for the host.
    let taken = [&of[..], &[("r.io/a/old", "ns/a/old")]].concat();
    let (files, warnings) = made(&taken, Kind::Containerd, &secure());
    assert!(!files.contains_key("etc/containerd/certs.d/q.io/hosts.toml"), "{files:?}");
    assert!(files.contains_key("etc/containerd/certs.d/r.io/hosts.toml"), "{files:?}");
    assert!(warnings.contains("nothing is written for the host"), "{warnings}");
    // Neither where all were renamed.
    let (files, warnings) = made(&[("q.io/a/old", "ns/new")], Kind::Containerd, &secure());
    assert!(files.is_empty() && warnings.contains("`q.io/a/old`"), "{files:?} {warnings}");
}

#[test]
fn registries_yaml_rewrites_a_host_or_each_repository() {
    let of = [("q.io/a/app", "ns/a/app"), ("q.io/b/c.d", "ns/b/c.d")];
    let (files, warnings) = made(&of, Kind::K3s, &secure());
    let text = &files["etc/rancher/k3s/registries.yaml"];
    assert_eq!(
        *text,
        "mirrors:\n  q.io:\n    endpoint:\n    - https://m.lan:5000\n    rewrite:\n      \"^(.*)$\": \"ns/$1\"\n\
         configs:\n  m.lan:5000:\n    tls:\n      ca_file: \"/etc/rancher/mirror-ca.crt\"\n"
    );
    assert_eq!(warnings, "");
    assert_eq!(*text, files["etc/rancher/rke2/registries.yaml"]);
    assert_eq!(files["etc/rancher/mirror-ca.crt"], "PEM\n");
    // No two expressions fit one name.
    let (files, _) = made(&[&of[..], &[("q.io/a", "ns/z")]].concat(), Kind::K3s, &plain());
    let text = &files["etc/rancher/k3s/registries.yaml"];
    for line in ["\"^a/app$\": ns/a/app", "\"^b/c[.]d$\": ns/b/c.d", "\"^a$\": ns/z"] {
        assert!(text.contains(line), "{text}");
    }
    assert!(text.contains("- http://m.lan:5000\n"), "{text}");
    let (_, warnings) = made(&[("q.io/a", "ns/z"), ("q.io/a", "ns/y")], Kind::K3s, &secure());
    assert!(warnings.contains("`q.io/a` (at `m.lan:5000/ns/z`)"), "{warnings}");
}

#[test]
fn of_a_file_with_authorities_only_certificates_are_taken() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("ca.pem");
    let certificate = "-----BEGIN CERTIFICATE-----\nAAAA\nBBBB\n-----END CERTIFICATE-----\n";
    let key = "-----BEGIN PRIVATE KEY-----\nCCCC\n-----END PRIVATE KEY-----\n";
    fs_err::write(&path, format!("a name\r\n{certificate}{key}{certificate}")).unwrap();
    assert_eq!(certificates(&path).unwrap(), certificate.repeat(2));
    fs_err::write(&path, key).unwrap();
    assert!(certificates(&path).is_err());
}
