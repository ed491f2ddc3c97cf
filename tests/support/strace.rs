//! What a run asked of the kernel that concerns files, in the order in which it happened.
//!
//! In: a command. Out: its calls as `strace` wrote them down. It sees the calls that a library makes without the C library
//! too, which `crash.c` does not. Two moments count of a call, because threads overlap: its begin, which says what was there
//! for it, and its end, from which on others can know of it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::command::Run;

/// Calls that change files or names, make them durable or move the place of the next write. Those that the model does not
/// know are here so that it meets them.
const CALLS: &str = "trace=open,openat,openat2,creat,lseek,write,pwrite64,writev,pwritev,pwritev2,ftruncate,truncate,\
                     fallocate,rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat,rmdir,symlink,\
                     symlinkat,fsync,fdatasync,syncfs,sync,sync_file_range,msync,copy_file_range,sendfile,splice";

/// A call.
#[derive(Debug)]
pub struct Call {
    /// Its name.
    pub name: String,
    /// What it came to; `None` when the process ended in it.
    pub result: Option<i64>,
    arguments: Vec<String>,
}

/// What happened next.
#[derive(Clone, Copy, Debug)]
pub enum Moment {
    /// The call of this number begins.
    Begins(usize),
    /// It ends.
    Ends(usize),
}

/// What a run did.
#[derive(Debug, Default)]
pub struct Record {
    /// Its calls, in the order of their begins.
    pub calls: Vec<Call>,
    /// Their begins and ends.
    pub moments: Vec<Moment>,
}

/// `command` under `strace`, which writes to `record`, with further variables in the environment of the command only.
pub fn recorded(command: &Command, more: &[(&str, OsString)], record: &Path) -> Command {
    let mut traced = Command::new("strace");
    // The kernel stops the process for these calls only. Text in hexadecimal needs no rules of quotation.
    traced.args(["--follow-forks", "--seccomp-bpf", "--decode-fds=path", "-xx", "-qq"]);
    traced.args(["--string-limit=100000000", "-e", CALLS, "-o"]).arg(record);
    for (name, value) in more {
        let mut assigned = OsString::from(format!("{name}="));
        assigned.push(value);
        traced.arg("-E").arg(assigned);
    }
    traced.arg("--").arg(command.get_program()).args(command.get_args()).env_clear();
    for (name, value) in command.get_envs() {
        traced.env(name, value.expect("tests set variables and take none away"));
    }
    if let Some(directory) = command.get_current_dir() {
        traced.current_dir(directory);
    }
    traced.stdin(Stdio::null());
    traced
}

/// Fails where `strace` cannot look into a process: then nothing of this can be tried, and nothing may pass.
#[track_caller]
pub fn needed() {
    let record = tempfile::NamedTempFile::new().unwrap();
    let mut probe = recorded(Command::new("mkdir").arg("/"), &[], record.path());
    probe.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    probe.stderr(Stdio::piped()).stdout(Stdio::null());
    let why = match probe.output() {
        Err(error) => error.to_string(),
        Ok(said) => String::from_utf8_lossy(&said.stderr).into_owned(),
    };
    let seen = Record::read(record.path()).calls.iter().any(|call| call.name == "mkdir");
    assert!(seen, "`strace` (Debian package `strace`) cannot be used here: {why}");
}

/// Runs a command to its end, or until it is killed as `more` says.
#[track_caller]
pub fn run(command: &Command, more: &[(&str, OsString)]) -> (Record, Run) {
    let record =
        tempfile::NamedTempFile::new_in("/dev/shm").or_else(|_| tempfile::NamedTempFile::new());
    let record = record.unwrap();
    // It ends as the process did.
    let run = Run::of(&mut recorded(command, more, record.path()));
    (Record::read(record.path()), run)
}

/// Runs a command that ends of itself only when it is killed as `more` says, and otherwise after `meanwhile`.
#[track_caller]
pub fn run_while<T>(
    command: &Command,
    more: &[(&str, OsString)],
    meanwhile: impl FnOnce() -> T,
) -> (Record, T) {
    let record = tempfile::NamedTempFile::new().unwrap();
    let mut traced = recorded(command, more, record.path());
    let mut child = traced.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let done = meanwhile();
    if child.try_wait().unwrap().is_none() {
        let children = format!("/proc/{0}/task/{0}/children", child.id());
        for traced in fs_err::read_to_string(children).unwrap().split_whitespace() {
            let process = rustix::process::Pid::from_raw(traced.parse().unwrap()).unwrap();
            // It may be gone by now.
            let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
        }
    }
    let _ = child.wait().unwrap();
    (Record::read(record.path()), done)
}

impl Record {
    /// Reads what `strace` wrote.
    #[track_caller]
    pub fn read(path: &Path) -> Self {
        let mut record = Self::default();
        // The call that each thread is in, and what was written of it.
        let mut open: HashMap<String, (usize, String)> = HashMap::new();
        let mut killed = false;
        for line in fs_err::read_to_string(path).unwrap().lines() {
            let (thread, rest) = line.split_once(' ').unwrap_or_else(|| panic!("{line}"));
            let rest = rest.trim_start();
            if rest.starts_with("+++") || rest.starts_with("---") {
                killed |= rest.starts_with("+++ killed");
                continue;
            }
            let (number, text) = if let Some(resumed) = rest.strip_prefix("<... ") {
                let (_, rest) = resumed.split_once(" resumed>").unwrap();
                let (number, begun) = open.remove(thread).unwrap_or_else(|| panic!("{line}"));
                (number, begun + rest)
            } else {
                let number = record.calls.len();
                record.moments.push(Moment::Begins(number));
                let begun = rest.strip_suffix("<unfinished ...>");
                let call = Call::parse(begun.unwrap_or(rest));
                record.calls.push(call.unwrap_or_else(|| panic!("not understood: {line}")));
                if let Some(begun) = begun {
                    open.insert(thread.to_owned(), (number, begun.to_owned()));
                    continue;
                }
                (number, rest.to_owned())
            };
            let call = Call::parse(&text).unwrap_or_else(|| panic!("not understood: {line}"));
            if call.result.is_some() {
                record.moments.push(Moment::Ends(number));
            }
            record.calls[number] = call;
        }
        if killed {
            record.doubt();
        }
        record
    }

    /// Counts as under way what only seems to have ended. When a process is killed, `strace` cannot ask any more what a call
    /// came to, and may write down what another one did: seen as a write of fewer bytes than asked, to a file with room.
    fn doubt(&mut self) {
        let last = self.moments.iter().rposition(|moment| matches!(moment, Moment::Begins(_)));
        // Nothing began after these, so nothing rests on them.
        let ended = self.moments.drain(last.map_or(0, |last| last + 1)..);
        for moment in ended {
            let (Moment::Begins(number) | Moment::Ends(number)) = moment;
            self.calls[number].result = None;
        }
        for call in &mut self.calls {
            let writes = matches!(&*call.name, "write" | "pwrite64") && call.succeeded();
            if writes && call.result != Some(call.number(2)) {
                call.result = None;
            }
        }
        let calls = &self.calls;
        self.moments.retain(|moment| match moment {
            Moment::Begins(_) => true,
            Moment::Ends(number) => calls[*number].result.is_some(),
        });
    }

    /// Calls that had begun when the process ended. The kernel may have done what they ask for, or a part of it.
    pub fn under_way(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(|call| call.result.is_none())
    }
}

impl Call {
    fn parse(text: &str) -> Option<Self> {
        let (name, rest) = text.split_once('(')?;
        // A call that did not end has no result, or `?`.
        let end = rest.rfind(") ").unwrap_or(rest.len());
        let result = rest[end..].split_once("= ").and_then(|(_, result)| integer(result));
        Some(Self { name: name.to_owned(), result, arguments: arguments(&rest[..end]) })
    }

    /// What it was, without the bytes.
    pub fn brief(&self) -> String {
        let arguments =
            self.arguments.iter().enumerate().map(|(number, text)| match self.file(number) {
                Some(path) => path.display().to_string(),
                None => text.chars().take(40).collect(),
            });
        format!("{}({})", self.name, arguments.collect::<Vec<_>>().join(", "))
    }

    /// Whether it did what it was asked.
    pub fn succeeded(&self) -> bool {
        self.result.is_some_and(|result| result >= 0)
    }

    /// Whether it has so many arguments and one more.
    pub fn has(&self, argument: usize) -> bool {
        argument < self.arguments.len()
    }

    /// An argument as it was written down.
    #[track_caller]
    pub fn text(&self, argument: usize) -> &str {
        self.arguments.get(argument).unwrap_or_else(|| panic!("no argument {argument}: {self:?}"))
    }

    /// An argument that is a number, or the number of a file.
    #[track_caller]
    pub fn number(&self, argument: usize) -> i64 {
        integer(self.text(argument)).unwrap_or_else(|| panic!("no number: {self:?}"))
    }

    /// The file or directory that an argument of a number names, when it is one that has a name.
    pub fn file(&self, argument: usize) -> Option<PathBuf> {
        let (_, path) = self.text(argument).split_once('<')?;
        let path = path.strip_suffix('>')?;
        let path = PathBuf::from(OsString::from_vec(unhex(path)?));
        path.is_absolute().then_some(path)
    }

    /// A path, relative to the directory in argument `base`, or in a call without one to `here`.
    #[track_caller]
    pub fn path(&self, base: Option<usize>, argument: usize, here: &Path) -> PathBuf {
        let base = base.and_then(|base| self.file(base)).unwrap_or_else(|| here.to_owned());
        base.join(OsString::from_vec(self.bytes(argument)))
    }

    /// The bytes that a call writes, from one buffer or several.
    #[track_caller]
    pub fn bytes(&self, argument: usize) -> Vec<u8> {
        // Every second piece stands between quotes, whatever is around them.
        let quoted = self.text(argument).split('"').skip(1).step_by(2);
        let bytes = quoted.map(|text| unhex(text).unwrap_or_else(|| panic!("cut off: {self:?}")));
        bytes.collect::<Vec<_>>().concat()
    }
}

/// The number that a text begins with.
fn integer(text: &str) -> Option<i64> {
    let end = text.char_indices().find(|(at, c)| !(c.is_ascii_digit() || (*at == 0 && *c == '-')));
    text[..end.map_or(text.len(), |(at, _)| at)].parse().ok()
}

/// Bytes written as `\x2f\x74…`.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(4);
    digits
        .map(|digits| match digits {
            [b'\\', b'x', digits @ ..] => {
                u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
            }
            _ => None,
        })
        .collect()
}

/// Parts at the commas that are in no brackets.
fn arguments(text: &str) -> Vec<String> {
    let mut depth = 0;
    let parts = text.split(|c| {
        match c {
            '[' | '{' => depth += 1,
            ']' | '}' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    });
    parts.map(|part| part.trim().to_owned()).collect()
}
