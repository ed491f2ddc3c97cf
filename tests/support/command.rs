//! The command under test: run with a clean environment, its answer checked.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// `bundle` in `home`, with nothing of the caller's environment that could change what it does.
pub fn bundle(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bundle"));
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .env("NO_COLOR", "1")
        .current_dir(home)
        .stdin(Stdio::null());
    command
}

/// What a run left behind.
#[derive(Debug)]
pub struct Run {
    /// The exit code; -1 when a signal ended it.
    pub code: i32,
    /// Data.
    pub stdout: String,
    /// Progress, logs, errors.
    pub stderr: String,
    line: String,
}

impl Run {
    /// Runs a command to its end.
    #[must_use]
    pub fn of(command: &mut Command) -> Self {
        let line = format!("{command:?}");
        let output = command.output().unwrap_or_else(|error| panic!("{line}: {error}"));
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            line,
        }
    }

    /// Runs a command to its end, and says the most memory that it had, in KiB. Looked at every millisecond: what is
    /// held while megabytes are hashed is not missed.
    #[must_use]
    pub fn watched(command: &mut Command) -> (Self, u64) {
        let line = format!("{command:?}");
        let [stdout, stderr] = [(); 2].map(|()| tempfile::NamedTempFile::new().unwrap());
        command.stdout(stdout.reopen().unwrap()).stderr(stderr.reopen().unwrap());
        let mut child = command.spawn().unwrap();
        let mut most = 0;
        let code = loop {
            most = most.max(memory(&child));
            if let Some(status) = child.try_wait().unwrap() {
                break status.code().unwrap_or(-1);
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        let text = |file: tempfile::NamedTempFile| {
            String::from_utf8_lossy(&fs_err::read(file.path()).unwrap()).into_owned()
        };
        (Self { code, stdout: text(stdout), stderr: text(stderr), line }, most)
    }

    /// It must have succeeded.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.code(0)
    }

    /// It must have ended with this code.
    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        self.one_of(&[code])
    }

    /// It must have ended with one of these codes.
    #[track_caller]
    pub fn one_of(self, codes: &[i32]) -> Self {
        assert!(codes.contains(&self.code), "code {}, expected {codes:?}\n{self}", self.code);
        assert!(!self.stderr.contains("panicked"), "{self}");
        self
    }

    /// It must have been refused with one of these codes, an error and a next step.
    #[track_caller]
    pub fn refused(self, codes: &[i32]) -> Self {
        let run = self.one_of(codes);
        assert!(run.stderr.contains("error:"), "no error\n{run}");
        assert!(run.stderr.contains("hint:"), "no hint\n{run}");
        run
    }

    /// What it said, on either stream, must contain this.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        let found = self.stderr.contains(text) || self.stdout.contains(text);
        assert!(found, "expected it to say `{text}`\n{self}");
        self
    }

    /// Its standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}\n{self}"))
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}\ncode {}\n-- stdout\n{}\n-- stderr\n{}",
            self.line, self.code, self.stdout, self.stderr
        )
    }
}

/// Runs another program; panics when it fails.
#[track_caller]
pub fn sh(program: impl AsRef<OsStr>, arguments: &[&str]) -> String {
    Run::of(Command::new(program).args(arguments).stdin(Stdio::null())).ok().stdout
}

/// The most memory that a process had so far, in KiB; 0 when it has ended, or has not begun: the kernel lets `spawn` go on
/// a moment before the child has memory of its own, and until then what it tells is that of the test.
pub fn memory(child: &Child) -> u64 {
    let program = |id: &str| std::fs::read_link(format!("/proc/{id}/exe")).ok();
    if program(&child.id().to_string()) == program("self") {
        return 0;
    }
    let status = fs_err::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// A child process that ends with the test.
pub struct Process(pub Child);

impl Process {
    /// Starts a command that has no input, and whose words go into a file.
    pub fn logged(command: &mut Command, log: &Path) -> Self {
        let log = fs_err::File::create(log).unwrap().into_parts().0;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Self(command.spawn().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
