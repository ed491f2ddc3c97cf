//! Runs that end with SIGKILL: at a moment, or at the n-th call that changes a disk or sends a byte.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::command::Run;
use super::text;

/// The library that counts calls (`crash.c`), built once in a test process.
fn library() -> &'static PathBuf {
    static BUILT: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = BUILT.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("crash.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/crash.c");
        // The compiler without which this workspace was not built either.
        let mut compiler = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
        compiler.args(["-shared", "-fPIC", "-O1", "-o", text(&path), source, "-ldl"]);
        let _ = Run::of(&mut compiler).ok();
        (directory, path)
    });
    path
}

/// Runs a command to its end and says how many points it passed.
#[track_caller]
pub fn points(command: &mut Command) -> usize {
    points_while(command, |command| drop(Run::of(command).ok()))
}

/// The same of a command that is run, and ended, by `run`.
#[track_caller]
pub fn points_while(command: &mut Command, run: impl FnOnce(&mut Command)) -> usize {
    let count = tempfile::NamedTempFile::new().unwrap();
    command.env("LD_PRELOAD", library()).env("BUNDLE_CRASH_AT", i64::MAX.to_string());
    run(command.env("BUNDLE_CRASH_COUNT", count.path()));
    fs_err::read_to_string(count.path()).unwrap().trim().parse().unwrap()
}

/// What in its environment kills a command at its `n`th point.
pub fn killing(n: usize) -> [(&'static str, OsString); 2] {
    [("LD_PRELOAD", library().into()), ("BUNDLE_CRASH_AT", n.to_string().into())]
}

/// Runs a command and kills it at its `n`th point. Says whether it got so far.
#[track_caller]
pub fn killed_at(command: &mut Command, n: usize) -> bool {
    command.envs(killing(n));
    let run = Run::of(command).one_of(&[0, -1]);
    run.code == -1
}

/// Runs a command and kills it after `delay`. Says whether it was still running.
pub fn killed_after(command: &mut Command, delay: Duration) -> bool {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while start.elapsed() < delay {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap().code().is_none()
}
