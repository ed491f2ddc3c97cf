//! The answer of a command: text or JSON on stdout, through one writer.
//!
//! In: a value for machines and a text for people. Out: one of the two. The shapes of the JSON are
//! described in `docs/json-output.md`.

use std::io::{self, Write};

use clap::ValueEnum;
use serde::Serialize;

use crate::failure::{Failure, Kind};

/// How a command answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON document.
    Json,
}

/// Writes answers to stdout.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    format: Format,
}

impl Output {
    /// A writer of this format.
    pub const fn new(format: Format) -> Self {
        Self { format }
    }

    /// Whether the answer is JSON.
    pub fn is_json(self) -> bool {
        self.format == Format::Json
    }

    /// Writes the answer. A reader that went away (`bundle … | head`) is no failure. Errors: stdout
    /// cannot be written.
    pub fn print(self, value: &impl Serialize, text: &str) -> Result<(), Failure> {
        let mut bytes = match self.format {
            Format::Text => text.as_bytes().to_vec(),
            Format::Json => {
                serde_json::to_vec_pretty(value).map_err(|error| fault(&error.into()))?
            }
        };
        if !bytes.ends_with(b"\n") {
            bytes.push(b'\n');
        }
        self.bytes(&bytes)
    }

    /// Writes these bytes, as they are, in place of an answer in text.
    pub fn bytes(self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other.map_err(|error| fault(&error)),
        }
    }
}

fn fault(error: &io::Error) -> Failure {
    Failure::io(Kind::Failed, "cannot write to stdout", error)
}

/// A text from outside, fit for a terminal: control characters are shown, not obeyed.
pub fn plain(text: &str) -> String {
    shown(text, is_obeyed)
}

/// As [`plain`], of a text with lines of its own.
pub fn plain_lines(text: &str) -> String {
    shown(text, |c| c != '\n' && is_obeyed(c))
}

fn shown(text: &str, escape: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if escape(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// Control characters, and those that turn the direction of what follows.
fn is_obeyed(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(plain("ä · b"), "ä · b");
        assert_eq!(plain_lines("a\n\u{1b}b\n\u{202e}c"), "a\n\\u{1b}b\n\\u{202e}c");
    }
}
