//! Flags of oc-mirror, `oc adm release`, `oc image mirror`, `oc adm catalog mirror` and skopeo, and what they are called here.
//!
//! People come with scripts. A flag of theirs that has no meaning here is refused, and the refusal says
//! what to write instead; nothing is accepted and ignored.

pub mod registry;
pub mod release;

/// What to do about a command that another tool has, below a group of ours or alone; `None` when nobody has it.
pub fn command(group: Option<&str>, name: &str) -> Option<&'static str> {
    Some(match (group, name) {
        (Some("list"), "charts" | "helm") => {
            "charts are named under `helm` of the configuration: `bundle create --config FILE --to DIR --dry-run` lists them with \
             their images, `bundle list updates --config FILE` those that are new"
        }
        (Some("release"), "info") => {
            "the components and where they come from: `bundle release extract --from IMAGE --file image-references`; which releases \
             there are: `bundle list releases --channel CHANNEL`"
        }
        (Some("list" | "release" | "registry" | "keys"), _) => return None,
        (_, "copy" | "sync") => {
            "over a gap: `bundle create --images PATH --to DIR`, then `bundle import --from DIR docker://HOST/NAMESPACE`; straight \
             into a registry: `bundle mirror --images PATH docker://HOST/NAMESPACE`. PATH is a list with an image a line, or a \
             directory or archive that skopeo wrote"
        }
        (_, "image") => {
            "the mapping file of `oc image mirror -f` is `bundle mirror --images FILE docker://HOST/NAMESPACE`, over a gap \
             `bundle create --images FILE --to DIR`; a single pair is a line `SRC=DST` of such a file"
        }
        (_, "adm") => {
            "`oc adm release mirror` is `bundle release mirror`, `oc adm release extract` is `bundle release extract`; instead of \
             `oc adm catalog mirror` name the catalog under `operators` of a configuration, or take its `mapping.txt` with `bundle create \
             --images`"
        }
        (_, "login" | "logout") => {
            "logging in is left to `podman login HOST` and the like; another file than theirs: `--authfile FILE`"
        }
        _ => return None,
    })
}

/// What to do about an argument that another tool knows; `None` when nobody does.
pub fn advice(argument: &str) -> Option<&'static str> {
    // `--flag=value` is told apart from the flag.
    let name = argument.split('=').next().unwrap_or(argument);
    if name.starts_with("file://") {
        return Some(
            "write the medium's directory as `--to DIR` (create) or `--from DIR` (import)",
        );
    }
    if name.starts_with("docker://") {
        return Some(
            "create writes to a directory, `--to DIR`, and the target is named on the other side: `bundle import --from DIR \
             docker://HOST/NAMESPACE`; straight from registry to registry: `bundle mirror --config FILE docker://HOST/NAMESPACE`",
        );
    }
    Some(match name {
        "-c" | "--config" => {
            "only the connected side reads a configuration (`bundle create`, `mirror`, `list updates`); import needs none"
        }
        "--from" => {
            "a medium is read on the other side: `bundle import --from DIR docker://HOST/NAMESPACE`; create writes one: `--to DIR`"
        }
        "--values" => "name the chart too: `--helm-values CHART=FILE` of `bundle create`",
        "--set" => "name the chart too: `--helm-set CHART=NAME=VALUE` of `bundle create`",
        "--kube-version" => "write `--helm-kube-version VERSION`",
        "--api-versions" => "write `--helm-api-versions VERSION`",
        "--v1" | "--v2" => "leave it out: both versions of the configuration are read",
        "--cache-dir" | "--dir" | "-d" | "--rootless-storage-path" => {
            "leave it out: there is no cache; `--workspace DIR` holds the state"
        }
        "-p" | "--port" => "leave it out: no local registry is needed to create",
        "--src-tls-verify" | "--dest-tls-verify" | "--source-skip-tls" | "--dest-skip-tls" => {
            "name the registry: `--insecure-tls HOST`, or better its authority: `--ca-file FILE`"
        }
        "--source-use-http" | "--dest-use-http" => "name the registry: `--plain-http HOST`",
        "--src-cert-dir" | "--dest-cert-dir" => "use `--ca-file FILE`, or a `certs.d` directory",
        "--src-creds"
        | "--dest-creds"
        | "--src-username"
        | "--dest-username"
        | "--src-password"
        | "--dest-password"
        | "--src-registry-token"
        | "--dest-registry-token"
        | "--password"
        | "--username"
        | "-u" => {
            "secrets do not belong on a command line: use `podman login HOST`, or `--authfile FILE`"
        }
        "--policy"
        | "--secure-policy"
        | "--registries.d"
        | "--enable-operator-secure-policy"
        | "--oci-insecure-signature-policy" => {
            "the connected side applies a policy: `--policy FILE` of `bundle create`, `mirror` and `release mirror`"
        }
        "--force-cache-delete" => {
            "leave it out: there is no cache; blobs go with the registry's own garbage collection"
        }
        "--delete-v1-images" => {
            "leave it out: what imports of this program brought is known from its records; what another tool brought, that one deletes"
        }
        "--delete-signatures" => "leave it out: signatures go with their images",
        "--oci-registries-config" => "write `--registries-conf FILE`",
        "--strict-archive" => "leave it out: no part is ever larger than its limit",
        "--image-timeout" => {
            "use `--stall-timeout SECONDS`: an image may take as long as bytes flow"
        }
        "--dry-run-manifest-lists" => "use `--dry-run`",
        "--ignore-history" => "use `--full`",
        "--skip-missing" | "--continue-on-error" => {
            "leave it out: what cannot be had is recorded and the rest is carried, unless `--strict`"
        }
        "--skip-verification" | "--skip-metadata-check" => {
            "leave it out: verification and the order of sequences cannot be turned off"
        }
        "--skip-pruning" => {
            "it belongs to where content is removed: `bundle import` and `bundle mirror`"
        }
        "--ignore-release-signature" => {
            "leave it out: a release without a signature is not carried"
        }
        "-a" | "--registry-config" => "write `--authfile FILE`",
        "--insecure" => {
            "name the registry: `--insecure-tls HOST`, or for plain HTTP `--plain-http HOST`"
        }
        "--filter-by-os" => "for programs of another system: `--command-os SYSTEM`",
        "--credentials-requests" | "--included" | "--cloud" | "--install-config" => {
            "leave it out: all manifests are extracted, and nothing chooses among them in this version"
        }
        "--manifests-only" | "--to-manifests" => {
            "after an import: `bundle resources docker://HOST/NAMESPACE --to DIR`"
        }
        "-f" | "--filename" | "--src" => {
            "a list or mapping file is `bundle create --images FILE --to DIR`; straight into a registry: \
             `bundle mirror --images FILE docker://HOST/NAMESPACE`"
        }
        "--from-dir" => {
            "a directory with `v2` below it is `bundle create --images DIR --to MEDIUM`"
        }
        "--all" | "--keep-manifest-list" | "--preserve-digests" | "--multi-arch" | "--scoped" => {
            "leave it out: images are carried with all platforms, digests and paths, unless the configuration names `platforms`"
        }
        "--keep-going" => {
            "leave it out: what cannot be had is recorded and the rest is carried, unless `--strict`"
        }
        "--override-arch" | "--override-os" | "--override-variant" | "--index-filter-by-os" => {
            "name `platforms` of the image in the configuration; without, all are carried"
        }
        "--skip-mount" | "--skip-multiple-scopes" => "leave it out: it has no counterpart here",
        "--git" | "--signing-key" | "--sign-by" => "not part of this version",
        "--skip-cleanup"
        | "--skip-image-pin"
        | "--rebuild-catalogs"
        | "--build-catalog-cache"
        | "--force" => "leave it out: it has no counterpart here",
        "--max-per-registry" => "use `--parallel-blobs N`",
        "--verbose" | "-v" | "--quiet" => "use `--log-level LEVEL`",
        "--cpu-prof" | "--mem-prof" => "leave it out",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_other_tools_are_explained() {
        for (group, name) in [
            (None, "copy"),
            (None, "sync"),
            (None, "image"),
            (None, "adm"),
            (None, "login"),
            (Some("list"), "charts"),
            (Some("release"), "info"),
            (Some("--workspace=x"), "copy"),
        ] {
            assert!(command(group, name).is_some(), "{name}");
        }
        for (group, name) in [(None, "frobnicate"), (Some("registry"), "copy"), (None, "charts")] {
            assert!(command(group, name).is_none(), "{name}");
        }
    }

    #[test]
    fn flags_of_other_tools_are_explained() {
        for flag in [
            "--v2",
            "--dest-skip-tls=true",
            "file://out",
            "--cache-dir",
            "-p",
            "-c",
            "docker://h/n",
            "--registry-config",
            "-a",
            "--included",
            "--filename=list.txt",
            "--keep-manifest-list",
            "--to-manifests",
            "--from",
            "--values",
        ] {
            assert!(advice(flag).is_some(), "{flag}");
        }
        for unknown in ["--frobnicate", "", "=", "out"] {
            assert!(advice(unknown).is_none(), "{unknown}");
        }
    }
}
