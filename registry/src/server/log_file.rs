//! Lines for people and their tools: a file that grows, written apart from the requests.
//!
//! In: lines, from any thread. Out: a file below the data directory, stdout or stderr. What must hold: who has a line
//! never waits for the disk; what had to be dropped is counted and told in the log itself; after the file was
//! moved, or on SIGHUP, a new one is begun, so that any tool can rotate it; a line is there as a whole or not; a log
//! that cannot be written holds up no end of the process. A pipe by name is no place for lines: whoever reads it
//! decides when the writer goes on. What the process was given as its output may be one.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fs_err::os::unix::fs::OpenOptionsExt;

use super::limits::{LOG_CLOSE, LOG_LOOK, LOG_QUEUE, LOG_REST, LOG_WRITE};
use crate::regular;

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// A file.
    File(PathBuf),
    /// The program's own output.
    Stdout,
    /// The program's own log.
    Stderr,
}

/// How lines become the bytes of the log. The writer calls it, one line after the other.
pub(super) trait Form: Send + 'static {
    /// A file was opened; what it ends with decides how it goes on. Returns lines to begin with.
    fn opened(&mut self, path: &Path) -> io::Result<Vec<String>>;

    /// Adds a line to the bytes, with its line feed.
    fn add(&mut self, line: &str, to: &mut Vec<u8>);

    /// The line that says that others were dropped.
    fn dropped(&self, lines: u64) -> String;

    /// The bytes since the last call are in the log (`true`), or nowhere (`false`).
    fn settle(&mut self, written: bool);
}

enum Message {
    Line(String),
    Reopen,
}

/// A log that is being written.
pub(super) struct LogFile {
    queue: Mutex<Option<SyncSender<Message>>>,
    lost: Arc<AtomicU64>,
    dropped: Arc<AtomicU64>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl LogFile {
    /// Opens the log.
    ///
    /// # Errors
    /// The file cannot be opened, or no thread be had.
    pub(super) fn open(place: Place, form: impl Form) -> io::Result<Self> {
        let (queue, lines) = sync_channel(LOG_QUEUE);
        let (lost, dropped) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let mut writer = Writer {
            place,
            form,
            file: None,
            bytes: Vec::new(),
            waiting: 0,
            told: 0,
            lost: Arc::clone(&lost),
            dropped: Arc::clone(&dropped),
        };
        writer.reopen()?;
        writer.write();
        let writer =
            std::thread::Builder::new().name("log".to_owned()).spawn(move || writer.run(&lines))?;
        Ok(Self { queue: Mutex::new(Some(queue)), lost, dropped, writer: Mutex::new(Some(writer)) })
    }

    /// Adds a line, without its line feed. It is dropped when the writer is far behind.
    pub(super) fn line(&self, line: String) {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(queue) = queue.as_ref() else { return };
        if let Err(TrySendError::Full(_)) = queue.try_send(Message::Line(line)) {
            self.lost.fetch_add(1, Ordering::Relaxed);
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Begins a new file where the old one was moved away.
    pub(super) fn reopen(&self) {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = queue.as_ref() {
            // Full: the writer looks by itself from time to time.
            let _ = queue.try_send(Message::Reopen);
        }
    }

    /// Lines dropped since the start.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Writes what is waiting and ends. Blocks, and not for long.
    pub(super) fn close(&self) {
        self.close_within(LOG_CLOSE);
    }

    fn close_within(&self, time: Duration) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(writer) = writer else { return };
        let until = Instant::now() + time;
        while !writer.is_finished() {
            if Instant::now() >= until {
                // A disk that does not answer. Its last lines are not worth a process that does not end.
                tracing::error!("a log does not take its last lines: they are given up");
                return;
            }
            std::thread::sleep(LOG_REST / 4);
        }
        if writer.join().is_err() {
            tracing::error!("the writer of a log broke off");
        }
    }
}

impl Drop for LogFile {
    fn drop(&mut self) {
        self.close();
    }
}

struct Writer<F> {
    place: Place,
    form: F,
    file: Option<File>,
    bytes: Vec<u8>,
    /// Lines in these bytes.
    waiting: u64,
    /// Lost ones of which they tell.
    told: u64,
    /// Lines of which the log does not tell yet that they are lost.
    lost: Arc<AtomicU64>,
    dropped: Arc<AtomicU64>,
}

impl<F: Form> Writer<F> {
    fn run(mut self, lines: &Receiver<Message>) {
        let mut looked = Instant::now();
        let mut told = false;
        while let Ok(first) = lines.recv() {
            if looked.elapsed() >= LOG_LOOK {
                looked = Instant::now();
                if self.moved() {
                    self.try_reopen();
                }
            }
            self.take(first);
            while self.bytes.len() < LOG_WRITE
                && let Ok(message) = lines.try_recv()
            {
                self.take(message);
            }
            let lost = self.lost.swap(0, Ordering::Relaxed);
            if lost > 0 {
                let line = self.form.dropped(lost);
                self.form.add(&line, &mut self.bytes);
                self.told += lost;
            }
            match self.write() {
                true => told = false,
                false => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::error!(
                            place = ?self.place,
                            "a log cannot be written: its lines are dropped and counted until it can"
                        );
                    }
                }
            }
            // Lines that come close together go out together.
            std::thread::sleep(LOG_REST);
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Line(line) => self.add(&line),
            Message::Reopen => {
                if self.write() {
                    self.try_reopen();
                }
            }
        }
    }

    fn add(&mut self, line: &str) {
        self.form.add(line, &mut self.bytes);
        self.waiting += 1;
    }

    /// Whether the file has another place, or none.
    fn moved(&self) -> bool {
        let (Place::File(path), Some(file)) = (&self.place, &self.file) else { return false };
        let here = file.metadata().map(|file| (file.dev(), file.ino()));
        let there = fs_err::metadata(path).map(|file| (file.dev(), file.ino()));
        match (here, there) {
            (Ok(here), Ok(there)) => here != there,
            (_, Err(error)) => error.kind() == io::ErrorKind::NotFound,
            (Err(_), _) => true,
        }
    }

    /// On failure the old file is gone on with.
    fn try_reopen(&mut self) {
        if let Err(error) = self.reopen() {
            tracing::error!(%error, "cannot begin a new log: the old file is gone on with");
        }
    }

    fn reopen(&mut self) -> io::Result<()> {
        let Place::File(path) = &self.place else { return Ok(()) };
        if let Some(parent) = path.parent() {
            fs_err::create_dir_all(parent)?;
        }
        let mut options = fs_err::OpenOptions::new();
        // Names of users and of what they work on: for the owner.
        options.append(true).create(true);
        options.mode(0o600);
        let file = regular::open_log(&mut options, path)?;
        let begin = self.form.opened(path)?;
        self.file = Some(file.into_parts().0);
        for line in begin {
            self.add(&line);
        }
        Ok(())
    }

    /// Writes the waiting bytes; `false` when they are lost, and counted as such.
    fn write(&mut self) -> bool {
        if self.bytes.is_empty() {
            return true;
        }
        let written = match (&self.place, &mut self.file) {
            (Place::Stdout, _) => {
                let mut stdout = io::stdout();
                stdout.write_all(&self.bytes).and_then(|()| stdout.flush()).is_ok()
            }
            (Place::Stderr, _) => io::stderr().write_all(&self.bytes).is_ok(),
            (Place::File(_), Some(file)) => append(file, &self.bytes).is_ok(),
            (Place::File(_), None) => false,
        };
        self.bytes.clear();
        self.form.settle(written);
        let (waiting, told) = (std::mem::take(&mut self.waiting), std::mem::take(&mut self.told));
        if !written {
            self.lost.fetch_add(waiting + told, Ordering::Relaxed);
            self.dropped.fetch_add(waiting, Ordering::Relaxed);
        }
        written
    }
}

/// All of the bytes, or none.
fn append(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    let before = file.metadata()?.len();
    file.write_all(bytes).inspect_err(|_| {
        // The start of a line must not stay. If even this fails, what reads the log sees a torn line.
        let _ = file.set_len(before);
    })
}

/// Waits for what is asked, at most this long; for tests.
#[cfg(test)]
pub(super) fn wait_for(what: impl Fn() -> bool) -> bool {
    let until = Instant::now() + std::time::Duration::from_secs(60);
    while Instant::now() < until {
        if what() {
            return true;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::access_log::Plain;
    use super::*;

    fn make_pipe(path: &Path) {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    }

    fn open(path: &Path) -> io::Result<LogFile> {
        LogFile::open(Place::File(path.to_owned()), Plain)
    }

    #[test]
    fn a_pipe_is_no_log_and_one_that_takes_its_place_holds_nothing_up() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("access.log"), dir.path().join("old"));
        make_pipe(&path);
        let error = open(&path).err().unwrap();
        assert!(error.to_string().contains("is a pipe"), "{error}");
        fs_err::remove_file(&path).unwrap();

        let log = open(&path).unwrap();
        log.line("before".to_owned());
        assert!(wait_for(|| fs_err::read(&path).unwrap() == b"before\n"));
        fs_err::rename(&path, &moved).unwrap();
        make_pipe(&path);
        log.reopen();
        log.line("behind".to_owned());
        log.close();
        // The old file is gone on with.
        assert_eq!(fs_err::read(&moved).unwrap(), b"before\nbehind\n");
        // What throws lines away is a choice.
        open(Path::new("/dev/null")).unwrap().close();
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        let log = open(Path::new("/dev/full")).unwrap();
        for line in ["a", "b", "c"] {
            log.line(line.to_owned());
        }
        log.close();
        assert_eq!(log.dropped(), 3);
    }

    #[test]
    fn a_writer_that_hangs_does_not_hold_up_the_end() {
        struct Hangs(std::sync::mpsc::Receiver<()>);
        impl Form for Hangs {
            fn opened(&mut self, _: &Path) -> io::Result<Vec<String>> {
                Ok(Vec::new())
            }
            fn add(&mut self, _: &str, _: &mut Vec<u8>) {
                let _ = self.0.recv();
            }
            fn dropped(&self, _: u64) -> String {
                String::new()
            }
            fn settle(&mut self, _: bool) {}
        }
        let dir = tempfile::tempdir().unwrap();
        let (release, held) = std::sync::mpsc::channel();
        let log = LogFile::open(Place::File(dir.path().join("log")), Hangs(held)).unwrap();
        log.line("a".to_owned());
        log.close_within(Duration::from_millis(50));
        drop(release);
    }
}
