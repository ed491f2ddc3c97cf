//! Flags of the mirror registry for OpenShift, and what they are called here. Those with a meaning here are accepted as
//! they are written there; these have none.

/// What to do about an argument of `bundle registry` that the other tool knows; `None` when nobody does.
pub fn advice(argument: &str) -> Option<&'static str> {
    let name = argument.split('=').next().unwrap_or(argument);
    Some(match name {
        "--quayStorage" | "--sqliteStorage" | "--pgStorage" => {
            "leave it out: everything of a registry is in one directory, `--data-dir DIR`"
        }
        "--image-archive" | "-i" => {
            "leave it out: the registry is this one binary, there are no images to bring"
        }
        "--askBecomePass" | "-K" => {
            "leave it out: run the command as root; on another machine, `--target-host root@HOST`, or \
             `--system` with a user who needs no password for `sudo`"
        }
        "--additionalArgs" => "leave it out: no Ansible is run that could take them",
        "--no-color" | "-c" => "leave it out: set NO_COLOR in the environment",
        "--verbose" | "-v" => "use `--log-level debug`",
        "--initPassword" | "--init-password" => {
            "a password does not belong on a command line, which every process can read: give it by standard \
             input, `--init-password-stdin`, or by a file, `--init-password-file FILE`; or leave it out: one is \
             made and shown once"
        }
        "--password" | "--passwd" | "--pass" => {
            "a password does not belong on a command line, which every process can read: give it by standard \
             input, `--password-stdin`, or by a file, `--password-file FILE` (`install`: `--init-password-stdin`, \
             `--init-password-file FILE`); or leave it out: one is made and shown once"
        }
        "--quayHostname" | "--hostname" | "--port" | "--initUser" | "--init-user" | "--sslCert"
        | "--ssl-cert" | "--sslKey" | "--ssl-key" | "--sslCheckSkip" => {
            "leave it out: only `bundle registry install` takes it, and what it was told then stands in the \
             `registry.toml` of the data directory"
        }
        "--targetHostname" | "--target-host" | "-H" | "--targetUsername" | "--target-user"
        | "--ssh-key" | "-k" => {
            "log in there and run the same command on that machine: only `bundle registry install` goes over ssh"
        }
        "--autoApprove" | "--auto-approve" => "leave it out: nothing is asked",
        "--user" | "--system" => "leave it out: it is known from the installation",
        _ => return super::advice(argument),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_of_the_other_registry_is_explained() {
        for flag in [
            "--quayStorage=/x",
            "--sqliteStorage",
            "--image-archive",
            "-i",
            "--askBecomePass",
            "-K",
            "--initPassword=x",
            "--additionalArgs",
            "--no-color",
            "-v",
        ] {
            assert!(advice(flag).is_some(), "{flag}");
        }
        assert!(advice("--frobnicate").is_none());
        assert!(advice("--dest-creds").is_some());
    }
}
