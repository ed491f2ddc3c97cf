//! `registries.conf.d`, version 2, for what pulls with containers/image: podman, CRI-O, MicroShift.
//!
//! The longest prefix that fits is the one that counts, so entries are those of a cluster's mirror sets. Mirrors are for
//! tags and digests both, and the source is asked after them.

use std::fmt::Write as _;
use std::path::PathBuf;

use registry::reference::RegistryHost;

use super::super::Kind;
use super::super::files::Files;
use super::super::mirrors::Mirrors;
use super::Access;

/// The file, with the authority where the kind looks for it.
pub(super) fn put(
    files: &mut Files,
    kind: Kind,
    mirrors: &Mirrors,
    at: &RegistryHost,
    access: &Access,
) {
    // The last name wins where two files have the same prefix.
    let name = match kind {
        Kind::Microshift => "999-microshift-mirror.conf",
        _ => "999-bundle-mirror.conf",
    };
    let directory = PathBuf::from("etc/containers/registries.conf.d");
    files.insert(directory.join(name), text(mirrors, at, access.plain).into_bytes());
    let Some(authority) = access.authority() else { return };
    let own = format!("etc/containers/certs.d/{at}/ca.crt");
    files.insert(own.into(), authority.to_vec());
    if kind != Kind::Podman {
        let anchor = format!("etc/pki/ca-trust/source/anchors/{}.crt", file_name(at));
        files.insert(anchor.into(), authority.to_vec());
    }
}

/// A registry as a part of a file's name.
fn file_name(at: &RegistryHost) -> String {
    at.as_str().replace(':', "-")
}

/// Names of hosts and repositories have no character that TOML would take for more than itself.
fn text(mirrors: &Mirrors, at: &RegistryHost, plain: bool) -> String {
    let insecure = if plain { "insecure = true\n" } else { "" };
    let mut text = "# Where images are pulled from: written by `bundle resources`\n".to_owned();
    // Writing to a String cannot fail.
    if plain {
        let _ = write!(text, "\n[[registry]]\nprefix = \"{at}\"\nlocation = \"{at}\"\n{insecure}");
    }
    for (source, mirrors) in mirrors {
        let _ = write!(text, "\n[[registry]]\nprefix = \"{source}\"\nlocation = \"{source}\"\n");
        for mirror in mirrors {
            let _ = write!(text, "\n[[registry.mirror]]\nlocation = \"{mirror}\"\n{insecure}");
        }
    }
    text
}
