//! The same installation on another machine, over the system's `ssh`.
//!
//! In: `user@host`, this binary, the arguments of the installation and what goes to its standard input. Out: what the
//! machine there says, and its exit code. What must hold: no secret is an argument of any process, here or there; what
//! was copied is removed again; a word that a person typed is one word there too.
//!
//! 1. one connection is opened and shared, so that a password is asked for once;
//! 2. `uname` there must be that of this binary; a directory of its own is made;
//! 3. this binary and the certificate's files go through standard input into it;
//! 4. the installation runs there with the password on its standard input, and the directory is removed.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::failure::{Failure, Kind};
use crate::output::plain_lines;
use crate::typed::quoted;

/// Names another program instead of `ssh`.
const PROGRAM: &str = "BUNDLE_SSH";

/// What ssh itself ends with.
const SSH_FAILED: i32 = 255;

/// Makes the directory there: below /tmp unless that runs no programs.
const PREPARE: &str = r#"set -e
umask 077
for base in "${TMPDIR:-/tmp}" "$HOME"; do
  dir=$(mktemp -d "$base/bundle.XXXXXX") || continue
  printf '#!/bin/sh\n' >"$dir/try" && chmod 700 "$dir/try" && "$dir/try" && rm "$dir/try" && break
  rm -rf "$dir"; dir=
done
[ -n "$dir" ]
uname -sm
id -u
printf '%s\n' "$dir"
"#;

/// A machine that ssh reaches.
pub struct Remote {
    program: OsString,
    target: String,
    key: Option<PathBuf>,
    /// The socket of the shared connection.
    shared: tempfile::TempDir,
}

/// What is ready there.
#[derive(Debug)]
pub struct Prepared {
    directory: String,
    is_root: bool,
}

impl Remote {
    /// A machine; nothing is done yet.
    pub fn new(target: String, key: Option<PathBuf>) -> Result<Self, Failure> {
        if target.is_empty() || target.starts_with('-') || target.contains(char::is_whitespace) {
            return Err(Failure::usage(format!("`{target}` is no machine that ssh reaches"))
                .with_hint("write it as for ssh: `--target-host USER@HOST`"));
        }
        let shared = tempfile::Builder::new().prefix("bundle-ssh.").tempdir().map_err(|error| {
            Failure::io(Kind::Failed, "cannot make a directory for the connection", &error)
        })?;
        let program = std::env::var_os(PROGRAM).unwrap_or_else(|| "ssh".into());
        Ok(Self { program, target, key, shared })
    }

    fn ssh(&self, script: &str) -> Command {
        let mut command = Command::new(&self.program);
        if let Some(key) = &self.key {
            command.arg("-i").arg(key);
        }
        let socket = self.shared.path().join("c");
        command
            .args(["-o", "ControlMaster=auto", "-o", "ControlPersist=60", "-o"])
            .arg(format!("ControlPath={}", socket.display()))
            .args(["--", &self.target])
            // The login shell there may be any; this is one word for it.
            .arg(format!("sh -c {}", quoted(script)));
        command
    }

    /// Makes a directory there; refuses another kind of machine.
    pub fn prepare(&self) -> Result<Prepared, Failure> {
        let output = self
            .ssh(PREPARE)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| self.unstarted(&error))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut lines = text.lines().rev();
        let (Some(directory), Some(user), Some(kind), true) =
            (lines.next(), lines.next(), lines.next(), output.status.success())
        else {
            return Err(self.broken("cannot make a directory there", output.status));
        };
        let prepared = Prepared { directory: directory.to_owned(), is_root: user == "0" };
        let own = format!("Linux {}", std::env::consts::ARCH);
        if kind != own {
            self.clear(&prepared);
            let kind = plain_lines(kind);
            return Err(Failure::usage(format!(
                "`{}` is `{kind}`, this binary is for `{own}`",
                self.target
            ))
            .with_hint(
                "take a binary for that machine there, and run `bundle registry install` on it",
            ));
        }
        Ok(prepared)
    }

    /// Writes a file there; `name` is ours. Gives its path there.
    pub fn send(&self, prepared: &Prepared, name: &str, from: &Path) -> Result<String, Failure> {
        let path = format!("{}/{name}", prepared.directory);
        let file = fs_err::File::open(from)
            .map_err(|error| Failure::io(Kind::Usage, "cannot read a file to send", &error))?;
        let script = format!("umask 077; cat >{path}; chmod 700 {path}", path = quoted(&path));
        let status = self
            .ssh(&script)
            .stdin(Stdio::from(file.into_parts().0))
            .stdout(Stdio::null())
            .status()
            .map_err(|error| self.unstarted(&error))?;
        match status.success() {
            true => Ok(path),
            false => Err(self.broken(&format!("cannot write `{path}` there"), status)),
        }
    }

    /// Runs the binary there; its words are shown as they come. Gives its exit code. `elevate`: through `sudo` where
    /// the login is not root's.
    pub fn run(
        &self,
        prepared: &Prepared,
        arguments: &[String],
        elevate: bool,
        input: Option<&str>,
    ) -> Result<u8, Failure> {
        let words: Vec<String> = arguments.iter().map(|word| quoted(word)).collect();
        let sudo = if elevate && !prepared.is_root { "sudo -n " } else { "" };
        let script = format!(
            "{sudo}{}/bundle {}; code=$?; rm -rf {}; exit $code",
            quoted(&prepared.directory),
            words.join(" "),
            quoted(&prepared.directory)
        );
        let mut child = self
            .ssh(&script)
            .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
            .spawn()
            .map_err(|error| self.unstarted(&error))?;
        feed(&mut child, input);
        let status = child.wait().map_err(|error| self.unstarted(&error))?;
        match status.code() {
            Some(SSH_FAILED) | None => Err(self.broken("the connection was lost", status)),
            Some(code) => Ok(u8::try_from(code).unwrap_or(1)),
        }
    }

    /// Removes what was sent, as far as that goes.
    pub fn clear(&self, prepared: &Prepared) {
        let script = format!("rm -rf {}", quoted(&prepared.directory));
        let _ = self.ssh(&script).stdin(Stdio::null()).stdout(Stdio::null()).status();
    }

    fn unstarted(&self, error: &std::io::Error) -> Failure {
        let program = self.program.to_string_lossy();
        Failure::io(Kind::Failed, &format!("cannot run `{program}`"), error).with_hint(
            "install an ssh client, or carry this binary there and run it on the machine itself",
        )
    }

    fn broken(&self, what: &str, status: ExitStatus) -> Failure {
        Failure::new(Kind::Unavailable, format!("`{}`: {what} ({status})", self.target)).with_hint(
            format!("`ssh {}` must work; then run the same command again", quoted(&self.target)),
        )
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        // Ends the shared connection; without one it only says so.
        let socket = self.shared.path().join("c");
        if socket.exists() {
            let _ = Command::new(&self.program)
                .arg("-o")
                .arg(format!("ControlPath={}", socket.display()))
                .args(["-O", "exit", "--", &self.target])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
        }
    }
}

/// One that ended early says why by itself.
fn feed(child: &mut Child, input: Option<&str>) {
    if let (Some(mut pipe), Some(input)) = (child.stdin.take(), input) {
        let _ = pipe.write_all(input.as_bytes()).and_then(|()| pipe.write_all(b"\n"));
    }
}
