//! What a person does with the files of a kind of nodes.

use super::super::Kind;
use super::super::files::Site;
use super::Access;

/// The text of README.txt.
pub(super) fn text(kind: Kind, site: &Site, access: &Access) -> String {
    let at = &site.target.registry;
    let place = match &site.target.namespace {
        Some(namespace) => format!("{at}/{namespace}"),
        None => at.to_string(),
    };
    let authority = match (access.plain, access.authority()) {
        (true, _) => "the registry speaks plain HTTP; it needs none",
        (false, Some(_)) => "the authority of the registry's certificate is among the files",
        (false, None) => {
            "none was given (`--ca-file`): nodes have to trust the registry's certificate already"
        }
    };
    format!(
        "Images are mirrored at {place}. These files tell {name} so.\n\
         \n\
         1. Copy the directory `etc` into the root of every node, as root: `cp -r etc /`. An import of further images may need\n\
         \x20  it again.\n\
         2. Trust: {authority}.\n\
         3. {login}\n\
         4. {apply}\n",
        name = name(kind),
        login = login(kind, at.as_str()),
        apply = apply(kind, access),
    )
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Openshift => "OpenShift",
        Kind::Microshift => "MicroShift",
        Kind::Crio => "CRI-O",
        Kind::Podman => "podman",
        Kind::Containerd => "containerd",
        Kind::K3s => "k3s and RKE2",
    }
}

/// How credentials get onto a node: a person writes them there, they are in none of the files.
fn login(kind: Kind, at: &str) -> String {
    let with = |file: &str| {
        format!(
            "Where the registry wants a login, on every node: `podman login --authfile {file} {at}`,\n   which asks for the \
             password and adds it to the file. Keep that at mode 600."
        )
    };
    match kind {
        Kind::Podman | Kind::Openshift => with("$HOME/.config/containers/auth.json"),
        Kind::Microshift => with("/etc/crio/openshift-pull-secret"),
        Kind::Crio => format!(
            "{}\n   A file in /etc/crio/crio.conf.d says where it is:\n\n       [crio.image]\n       \
             global_auth_file = \"/etc/crio/auth.json\"\n",
            with("/etc/crio/auth.json")
        ),
        Kind::Containerd => format!(
            "Where the registry wants a login, on every node in /etc/containerd/config.toml, at mode 600 (in version 2 of\n   \
             containerd the plugin is `io.containerd.cri.v1.images`):\n\n       \
             [plugins.\"io.containerd.grpc.v1.cri\".registry.configs.\"{at}\".auth]\n       username = \"…\"\n       \
             password = \"…\"\n"
        ),
        Kind::K3s => format!(
            "Where the registry wants a login, in `registries.yaml` of every node, at mode 600, below `configs`:\n\n       \
             \"{at}\":\n         auth:\n           username: …\n           password: …\n"
        ),
    }
}

fn apply(kind: Kind, access: &Access) -> String {
    let trust = match access.authority() {
        Some(_) => "`update-ca-trust`, then ",
        None => "",
    };
    match kind {
        Kind::Podman | Kind::Openshift => "The next pull goes by it.".to_owned(),
        Kind::Microshift => format!("{trust}`systemctl restart crio microshift`."),
        Kind::Crio => format!("{trust}`systemctl restart crio`."),
        Kind::Containerd => {
            "/etc/containerd/config.toml has to name the directory (in version 2 of containerd the plugin is\n   \
             `io.containerd.cri.v1.images`), then `systemctl restart containerd`:\n\n       \
             [plugins.\"io.containerd.grpc.v1.cri\".registry]\n       config_path = \"/etc/containerd/certs.d\"\n\n   \
             `ctr images pull` takes it as `--hosts-dir /etc/containerd/certs.d`."
                .to_owned()
        }
        Kind::K3s => {
            "`systemctl restart k3s` (`k3s-agent`, `rke2-server`, `rke2-agent`). Where image archives lie in `agent/images` of\n   \
             the node's data too, an empty file `.cache.json` beside them keeps newer versions from importing them at each start."
                .to_owned()
        }
    }
}
