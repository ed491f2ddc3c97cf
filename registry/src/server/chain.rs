//! The chain of the audit log: lines that hang together.
//!
//! In: events. Out: lines of JSON with a number each and the SHA-256 of the line before, so that a line that
//! was changed, taken out or put in shows. What must hold: the chain goes on over restarts and rotation. It cannot
//! show that lines are missing at the end, or that all was written anew: for that the last hash must also be known
//! elsewhere.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use format_spec::Digest;
use serde_json::Value;

use super::audit::Event;
use super::limits::AUDIT_TAIL;
use super::log_file::Form;

/// What the first line of all stands on.
const NOTHING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Where the chain stands.
#[derive(Debug, Clone, PartialEq, Eq)]
struct End {
    sequence: u64,
    hash: String,
}

/// Puts lines into the chain.
pub(super) struct Chain {
    /// The last line in the log.
    settled: End,
    /// The last line in the bytes that are to be written.
    end: End,
    begun: bool,
}

impl Chain {
    /// A chain whose beginning the file tells.
    pub(super) fn new() -> Self {
        let end = End { sequence: 0, hash: NOTHING.to_owned() };
        Self { settled: end.clone(), end, begun: false }
    }
}

impl Form for Chain {
    fn opened(&mut self, path: &Path) -> io::Result<Vec<String>> {
        let action = match self.begun {
            false => {
                if let Some(end) = last(path)? {
                    self.settled = end.clone();
                    self.end = end;
                }
                "start"
            }
            // The new file's first line: from here on a restart finds the chain in it.
            true => "new-file",
        };
        self.begun = true;
        let detail = Some(concat!("bundle ", env!("CARGO_PKG_VERSION")));
        Ok(vec![Event { action, outcome: "ok", detail, ..Event::default() }.line()])
    }

    fn add(&mut self, line: &str, to: &mut Vec<u8>) {
        let sequence = self.end.sequence + 1;
        // Before the event's own fields, and by hand: the order of the bytes is what is hashed.
        let rest = line.strip_prefix('{').unwrap_or(line);
        let line = format!("{{\"sequence\":{sequence},\"previous\":\"{}\",{rest}", self.end.hash);
        self.end = End { sequence, hash: Digest::of(line.as_bytes()).hex() };
        to.extend_from_slice(line.as_bytes());
        to.push(b'\n');
    }

    fn dropped(&self, lines: u64) -> String {
        let detail = format!("{lines} events are not in this log");
        Event { action: "lost", outcome: "failed", detail: Some(&detail), ..Event::default() }
            .line()
    }

    fn settle(&mut self, written: bool) {
        match written {
            true => self.settled = self.end.clone(),
            false => self.end = self.settled.clone(),
        }
    }
}

/// The end of the chain in a file; `None` when it is empty. A line that a crash has torn is a line as well:
/// what comes after it stands on its bytes.
fn last(path: &Path) -> io::Result<Option<End>> {
    let mut file = fs_err::OpenOptions::new().read(true).append(true).open(path)?;
    let length = file.metadata()?.len();
    if length == 0 {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(length.saturating_sub(AUDIT_TAIL)))?;
    let mut tail = Vec::new();
    file.by_ref().take(AUDIT_TAIL).read_to_end(&mut tail)?;
    if tail.pop() != Some(b'\n') {
        io::Write::write_all(&mut file, b"\n")?;
        return last(path);
    }
    let mut lines = tail.rsplit(|byte| *byte == b'\n');
    let hash = Digest::of(lines.clone().next().unwrap_or_default()).hex();
    let sequence = lines
        .find_map(|line| serde_json::from_slice::<Value>(line).ok()?.get("sequence")?.as_u64());
    Ok(Some(End { sequence: sequence.unwrap_or(0), hash }))
}

#[cfg(test)]
mod tests {
    use super::super::log_file::{LogFile, Place, wait_for};
    use super::*;

    /// What the documentation says a person does: numbers without a gap, each hash that of the line before.
    fn check(bytes: &[u8], from: &mut (u64, String)) -> Result<(), String> {
        for line in bytes.strip_suffix(b"\n").unwrap_or(bytes).split(|byte| *byte == b'\n') {
            if let Ok(value) = serde_json::from_slice::<Value>(line) {
                from.0 += 1;
                if value["sequence"] != from.0 || value["previous"] != *from.1 {
                    return Err(format!("{} does not follow", value["sequence"]));
                }
            }
            from.1 = Digest::of(line).hex();
        }
        Ok(())
    }

    fn push(log: &LogFile, tag: &str) {
        let event =
            Event { action: "push", outcome: "ok", reference: Some(tag), ..Event::default() };
        log.line(event.line());
    }

    #[test]
    fn the_chain_holds_over_restart_rotation_and_a_torn_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log/audit.jsonl");
        let open = || LogFile::open(Place::File(path.clone()), Chain::new()).unwrap();
        let log = open();
        push(&log, "v1");
        log.close();
        let log = open();
        push(&log, "v2");
        let old = dir.path().join("log/audit.jsonl.1");
        assert!(wait_for(|| fs_err::read_to_string(&path).unwrap().contains("v2")));
        fs_err::rename(&path, &old).unwrap();
        log.reopen();
        push(&log, "v3");
        log.close();
        // A crash in the middle of a line.
        let mut torn = fs_err::OpenOptions::new().append(true).open(&path).unwrap();
        io::Write::write_all(&mut torn, b"{\"sequence\":99,\"prev").unwrap();
        let log = open();
        push(&log, "v4");
        log.close();

        let mut from = (0, NOTHING.to_owned());
        let (first, second) = (fs_err::read(&old).unwrap(), fs_err::read(&path).unwrap());
        check(&first, &mut from).unwrap();
        check(&second, &mut from).unwrap();
        // start v1 start v2 | new-file v3 torn start v4
        assert_eq!(from.0, 8);
        assert!(String::from_utf8_lossy(&first).lines().count() == 4);

        let changed = String::from_utf8(first.clone()).unwrap().replace("v1", "v9");
        check(changed.as_bytes(), &mut (0, NOTHING.to_owned())).unwrap_err();
        let without: Vec<&[u8]> = first.split_inclusive(|byte| *byte == b'\n').skip(1).collect();
        check(&without.concat(), &mut (0, NOTHING.to_owned())).unwrap_err();
    }

    #[test]
    fn a_moved_file_is_noticed_without_a_signal() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let log = LogFile::open(Place::File(path.clone()), Chain::new()).unwrap();
        fs_err::rename(&path, dir.path().join("old")).unwrap();
        let mut number = 0;
        assert!(wait_for(|| {
            push(&log, "v");
            std::thread::sleep(std::time::Duration::from_millis(50));
            path.exists()
        }));
        number += usize::from(path.exists());
        log.close();
        assert_eq!(number, 1);
        let text = fs_err::read_to_string(&path).unwrap();
        assert!(text.lines().next().unwrap().contains("new-file"), "{text}");
    }

    #[test]
    fn what_a_client_chooses_is_bounded_and_stays_one_line() {
        let long = "x\n\"".repeat(100_000);
        let event = Event { action: "push", reference: Some(&long), ..Event::default() };
        let mut bytes = Vec::new();
        Chain::new().add(&event.line(), &mut bytes);
        assert!(bytes.len() < 16 * 1024);
        assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 1);
        serde_json::from_slice::<Value>(&bytes).unwrap();
    }
}
