//! Flags of `oc adm release`, and what they are called here.

/// What to do about an argument of `oc adm release mirror` or `extract`; `None` when nobody knows it.
pub fn advice(argument: &str) -> Option<&'static str> {
    let name = argument.split('=').next().unwrap_or(argument);
    Some(match name {
        "-a" | "--registry-config" => "write `--authfile FILE`",
        "--insecure" => {
            "name the registry: `--insecure-tls HOST`, or better its authority: `--ca-file FILE`; `--plain-http HOST`"
        }
        "--certificate-authority" => "write `--ca-file FILE`",
        "--skip-verification" => {
            "leave it out: digests are always compared; a release without a valid signature is taken with \
             `--accept-unsigned-releases`"
        }
        "--max-per-registry" => "use `--parallel-blobs N`",
        "--keep-manifest-list" => "leave it out: lists for several architectures always stay whole",
        "--filter-by-os" => {
            "leave it out: lists stay whole, and the machine that a program is for is `--command-os linux/arm64`"
        }
        "--apply-release-image-signature" | "--overwrite" => {
            "no cluster is asked here: `--release-image-signature-to-dir DIR` writes the file, then `oc apply -f FILE`"
        }
        "--to-image-stream" => {
            "no cluster is asked here: mirror to a registry, `--to HOST/REPOSITORY`"
        }
        "--cloud" | "--credentials-requests" | "--included" | "--install-config" => {
            "not part of this version: `--to DIR` writes all manifests, those of the kind `CredentialsRequest` among them"
        }
        "--git" => {
            "not part of this version: `--file image-references` names the source of each component"
        }
        "--signing-key" => "leave it out, then `gpg --armor --detach-sign sha256sum.txt`",
        _ => return super::advice(argument),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_oc_are_explained() {
        for flag in [
            "-a",
            "--insecure=true",
            "--apply-release-image-signature",
            "--to-image-stream",
            "--git=x",
            "--quiet",
        ] {
            assert!(advice(flag).is_some(), "{flag}");
        }
        assert!(advice("--frobnicate").is_none());
    }
}
