//! Calls of `systemctl` and `loginctl`.
//!
//! In: whose manager is meant. Out: what it did, or a failure with its own words and the last lines of the journal.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::place::{Keeper, NAME, Place};
use crate::failure::{Failure, Kind};
use crate::output::plain_lines;

/// Characters of a tool's answer that are shown.
const SHOWN: usize = 4000;

/// The manager that knows the unit.
#[derive(Debug, Clone)]
pub struct Systemctl {
    user: bool,
}

impl Systemctl {
    /// The manager of this place; `None` when nobody keeps the registry.
    pub fn of(place: &Place) -> Option<Self> {
        match place.keeper {
            Keeper::System => Some(Self { user: false }),
            Keeper::User => Some(Self { user: true }),
            Keeper::Nobody => None,
        }
    }

    /// Whether the manager answers: that of a user does not where nobody logged in.
    pub fn answers(&self) -> Result<(), Failure> {
        self.call(&["show-environment"]).map(drop).map_err(|failure| match self.user {
            true => failure.with_hint(
                "the systemd of this user does not run: log in as the user itself (ssh, console; not `su` \
                 or `sudo`), or let it run always: `loginctl enable-linger USER` as root",
            ),
            false => failure,
        })
    }

    /// Reads the units again.
    pub fn reload(&self) -> Result<(), Failure> {
        self.call(&["daemon-reload"]).map(drop)
    }

    /// Starts the registry now and at every boot; waits until it says that it is ready.
    pub fn enable(&self) -> Result<(), Failure> {
        self.call(&["enable", NAME])?;
        self.call(&["start", NAME]).map(drop).map_err(|failure| self.with_journal(failure))
    }

    /// Starts it again, with the unit and the program as they are now.
    pub fn restart(&self) -> Result<(), Failure> {
        self.call(&["restart", NAME]).map(drop).map_err(|failure| self.with_journal(failure))
    }

    /// Stops it, now and for the next boot.
    pub fn disable(&self) -> Result<(), Failure> {
        self.call(&["disable", "--now", NAME]).map(drop)
    }

    /// Stops it and forgets it, as far as that goes.
    pub fn forget(&self) {
        if let Err(failure) = self.disable() {
            failure.tell();
        }
    }

    /// `active`, `failed`, `inactive` and the like.
    pub fn state(&self) -> String {
        let word = self.run(&["is-active", NAME]).map(|output| text(&output.stdout));
        word.ok().filter(|word| !word.is_empty()).unwrap_or_else(|| "unknown".to_owned())
    }

    /// Why it will not start any more, if so.
    pub fn has_failed(&self) -> Option<String> {
        (self.state() == "failed").then(|| format!("`{}` says why", self.journal()))
    }

    /// What a person writes to read the log.
    pub fn journal(&self) -> String {
        format!("journalctl {}-u {NAME}", if self.user { "--user " } else { "" })
    }

    fn with_journal(&self, failure: Failure) -> Failure {
        let mut command = Command::new("journalctl");
        if self.user {
            command.arg("--user");
        }
        let lines = command
            .args(["-u", NAME, "-n", "15", "--no-pager", "-o", "cat"])
            .stdin(Stdio::null())
            .output();
        let lines = lines.map(|output| text(&output.stdout)).unwrap_or_default();
        match lines.is_empty() {
            true => failure.with_hint(format!("`{}` says why", self.journal())),
            false => failure.with_detail(&format!("\n{lines}")),
        }
    }

    fn run(&self, arguments: &[&str]) -> std::io::Result<Output> {
        let mut command = Command::new("systemctl");
        if self.user {
            command.arg("--user");
            point_to_runtime(&mut command);
        }
        command.args(arguments).stdin(Stdio::null()).output()
    }

    fn call(&self, arguments: &[&str]) -> Result<Output, Failure> {
        let user = if self.user { "--user " } else { "" };
        checked(&format!("systemctl {user}{}", arguments.join(" ")), self.run(arguments))
    }
}

/// The manager of a user is reached through this directory; `sudo` and `su` leave its variable out.
fn point_to_runtime(command: &mut Command) {
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        let directory = format!("/run/user/{}", rustix::process::geteuid().as_raw());
        if Path::new(&directory).is_dir() {
            command.env("XDG_RUNTIME_DIR", directory);
        }
    }
}

/// Turns lingering of this user on or off: without it the user's systemd ends with the last login. Says whether that
/// worked.
pub fn linger(on: bool) -> bool {
    let verb = if on { "enable-linger" } else { "disable-linger" };
    let called = Command::new("loginctl").arg(verb).stdin(Stdio::null()).output();
    match checked(&format!("loginctl {verb}"), called) {
        Ok(_) => true,
        Err(failure) => {
            failure.tell();
            false
        }
    }
}

/// The outcome of a tool, its own words included when it failed.
pub fn checked(line: &str, called: std::io::Result<Output>) -> Result<Output, Failure> {
    let output = called
        .map_err(|error| Failure::io(Kind::Failed, &format!("cannot run `{line}`"), &error))?;
    if output.status.success() {
        return Ok(output);
    }
    let words = text(&output.stderr);
    Err(Failure::new(Kind::Failed, format!("`{line}` failed ({}): {words}", output.status)))
}

fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    plain_lines(text.trim()).chars().take(SHOWN).collect()
}
