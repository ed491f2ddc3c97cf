//! The objects of one file of a catalog, one after the other, each as JSON.
//!
//! In: the bytes of the file, as they come. Out: its top-level objects: JSON, with white space between them or without,
//! documents of YAML, or both; the content says which, for the name of a file does not. What must hold: where the bytes were
//! cut on the way changes nothing; no more is held than one object. That the JSON is valid is for
//! [`fields`](super::fields) to see: here only its ends are looked for.

use std::fmt;
use std::io::{self, Read};

use memchr::{memchr, memchr_iter, memchr2};

use super::limits::{DEPTH_MAX, OBJECT_MAX};
use super::yaml::{self, Root, YamlError};

/// Bytes that are had at first.
const ROOM: usize = 16 * 1024;

/// One object of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Object<'a> {
    /// Its JSON, which is not yet known to be valid.
    pub json: &'a str,
    /// Where it is.
    pub spot: Spot,
}

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot {
    /// The number of the object, from 1.
    pub number: u32,
    /// The line, from 1.
    pub line: u64,
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "object {} in line {}", self.number, self.line)
    }
}

/// Why a file cannot be read on.
#[derive(Debug, thiserror::Error)]
#[error("{spot}: {problem}")]
pub struct Fault {
    /// Where.
    pub spot: Spot,
    /// Why.
    pub problem: Problem,
}

/// What is wrong with an object, or in its place.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The bytes do not come.
    #[error(transparent)]
    Io(io::Error),
    /// It has no end.
    #[error("it is larger than {OBJECT_MAX} bytes")]
    TooLarge,
    /// It is nested too deep.
    #[error("it is nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
    /// The file ends within it.
    #[error("the file ends within it")]
    Cut,
    /// It is not text.
    #[error("it is not valid UTF-8")]
    NotText,
    /// It is something else.
    #[error("{0} stands where an object belongs")]
    NotAnObject(&'static str),
    /// It is no valid YAML.
    #[error("{0}")]
    Yaml(YamlError),
}

/// The objects of a file.
pub struct Objects<R> {
    reader: R,
    ended: bool,
    /// What was read is `buffer[start..end]`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// A document of YAML as JSON.
    converted: Vec<u8>,
    /// The line that `start` is in, and whether nothing of it was taken yet.
    line: u64,
    fresh: bool,
    number: u32,
}

/// How an object is written.
enum Form {
    Json,
    Yaml,
}

impl<R: Read> Objects<R> {
    /// Reads from here.
    pub fn new(reader: R) -> Self {
        Self {
            reader,
            ended: false,
            buffer: vec![0; ROOM],
            start: 0,
            end: 0,
            converted: Vec::new(),
            line: 1,
            fresh: true,
            number: 0,
        }
    }

    /// Where the bytes come from.
    pub fn into_reader(self) -> R {
        self.reader
    }

    /// The next object; `None` at the end.
    #[expect(clippy::should_implement_trait, reason = "what it gives is borrowed from it")]
    pub fn next(&mut self) -> Result<Option<Object<'_>>, Fault> {
        loop {
            let begun = self.begin();
            let spot = Spot { number: self.number.saturating_add(1), line: self.line };
            let fault = |problem| Fault { spot, problem };
            let Some(form) = begun.map_err(fault)? else { return Ok(None) };
            let length = match form {
                Form::Json => self.json().map_err(fault)?,
                Form::Yaml => self.document().map_err(fault)?,
            };
            let from = self.start;
            self.take(length);
            let bytes = &self.buffer[from..from + length];
            let text = || std::str::from_utf8(bytes).map_err(|_| fault(Problem::NotText));
            if let Form::Yaml = form {
                self.converted.clear();
                match yaml::to_json(text()?, &mut self.converted) {
                    Ok(Root::Object) => {}
                    Ok(Root::Nothing) => continue,
                    Ok(Root::Other(what)) => return Err(fault(Problem::NotAnObject(what))),
                    Err(YamlError::TooLarge) => return Err(fault(Problem::TooLarge)),
                    Err(YamlError::TooDeep) => return Err(fault(Problem::TooDeep)),
                    Err(YamlError::Syntax { line, problem }) => {
                        let line = spot.line + line.saturating_sub(1);
                        let problem = Problem::Yaml(YamlError::Syntax { line, problem });
                        return Err(Fault { spot, problem });
                    }
                }
            }
            self.number = spot.number;
            let bytes = match form {
                Form::Json => &self.buffer[from..from + length],
                Form::Yaml => &self.converted[..],
            };
            let json = std::str::from_utf8(bytes).map_err(|_| fault(Problem::NotText))?;
            return Ok(Some(Object { json, spot }));
        }
    }

    /// Goes over what stands between objects. How the next one is written; `None` at the end.
    fn begin(&mut self) -> Result<Option<Form>, Problem> {
        // Behind the white space at the beginning of a line, which belongs to a document of YAML.
        let mut at = 0;
        loop {
            let Some(byte) = self.byte(at)? else {
                self.take(at);
                return Ok(None);
            };
            match byte {
                b'\n' => {
                    self.take(at + 1);
                    at = 0;
                }
                b' ' | b'\t' | b'\r' => at += 1,
                b'#' => {
                    self.take(at);
                    self.skip_line()?;
                    at = 0;
                }
                b'%' if self.fresh && at == 0 => self.skip_line()?,
                b'-' | b'.' if (at == 0 || !self.fresh) && self.is_marker(at)? => {
                    self.take(at + 3);
                    at = 0;
                }
                0xef if self.number == 0 && self.follows(at, "\u{feff}".as_bytes())? => {
                    // Nothing of the line was taken: what stands behind it is at its beginning.
                    let fresh = self.fresh && at == 0;
                    self.take(at + 3);
                    (self.fresh, at) = (fresh, 0);
                }
                b'{' if self.is_json(at)? => {
                    self.take(at);
                    return Ok(Some(Form::Json));
                }
                b'[' => return Err(Problem::NotAnObject("a list")),
                b'<' => return Err(Problem::NotAnObject("a web page")),
                0 => return Err(Problem::NotAnObject("a null byte")),
                _ => {
                    if !self.fresh {
                        self.take(at);
                    }
                    return Ok(Some(Form::Yaml));
                }
            }
        }
    }

    /// Whether a brace begins an object of JSON; in YAML other things than a quoted text may follow.
    fn is_json(&mut self, brace: usize) -> Result<bool, Problem> {
        let mut at = brace + 1;
        loop {
            match self.byte(at)? {
                Some(b' ' | b'\t' | b'\r' | b'\n') => at += 1,
                byte => return Ok(matches!(byte, None | Some(b'"' | b'}'))),
            }
        }
    }

    /// The length of the object of JSON that begins here.
    fn json(&mut self) -> Result<usize, Problem> {
        let (mut at, mut depth, mut text) = (0, 0_usize, false);
        loop {
            let bytes = &self.buffer[self.start..self.end];
            while at < bytes.len() {
                if text {
                    match memchr2(b'"', b'\\', &bytes[at..]) {
                        None => at = bytes.len(),
                        // What is behind a backslash may not have come yet.
                        Some(found) if bytes[at + found] == b'\\' => at += found + 2,
                        Some(found) => (at, text) = (at + found + 1, false),
                    }
                    continue;
                }
                match bytes[at] {
                    b'"' => text = true,
                    b'{' | b'[' => {
                        depth += 1;
                        if depth > DEPTH_MAX {
                            return Err(Problem::TooDeep);
                        }
                    }
                    b'}' | b']' => {
                        depth -= 1;
                        if depth == 0 {
                            return Ok(at + 1);
                        }
                    }
                    _ => {}
                }
                at += 1;
            }
            if !self.fill()? {
                return Err(Problem::Cut);
            }
        }
    }

    /// The length of the document of YAML that begins here.
    fn document(&mut self) -> Result<usize, Problem> {
        let mut at = 0;
        loop {
            match memchr(b'\n', &self.buffer[self.start + at..self.end]) {
                Some(found) => {
                    at += found + 1;
                    if self.is_marker(at)? {
                        return Ok(at);
                    }
                }
                None => {
                    at = self.end - self.start;
                    if !self.fill()? {
                        return Ok(at);
                    }
                }
            }
        }
    }

    /// Whether the line that begins here begins a document, or ends one.
    fn is_marker(&mut self, at: usize) -> Result<bool, Problem> {
        Ok((self.follows(at, b"---")? || self.follows(at, b"...")?)
            && matches!(self.byte(at + 3)?, None | Some(b' ' | b'\t' | b'\r' | b'\n')))
    }

    fn follows(&mut self, at: usize, bytes: &[u8]) -> Result<bool, Problem> {
        for (place, byte) in bytes.iter().enumerate() {
            if self.byte(at + place)? != Some(*byte) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Goes to the end of the line, however long it is.
    fn skip_line(&mut self) -> Result<(), Problem> {
        loop {
            let waiting = self.end - self.start;
            match memchr(b'\n', &self.buffer[self.start..self.end]) {
                Some(found) => {
                    self.take(found);
                    return Ok(());
                }
                None => self.take(waiting),
            }
            if !self.fill()? {
                return Ok(());
            }
        }
    }

    /// One of the bytes that come next; `None` behind the last.
    fn byte(&mut self, at: usize) -> Result<Option<u8>, Problem> {
        while self.start + at >= self.end {
            if !self.fill()? {
                return Ok(None);
            }
        }
        Ok(Some(self.buffer[self.start + at]))
    }

    /// Takes bytes away.
    fn take(&mut self, length: usize) {
        let taken = &self.buffer[self.start..self.start + length];
        if let Some(last) = taken.last() {
            self.fresh = *last == b'\n';
            self.line += memchr_iter(b'\n', taken).count() as u64;
        }
        self.start += length;
    }

    /// Reads on; `false` at the end.
    fn fill(&mut self) -> Result<bool, Problem> {
        if self.ended {
            return Ok(false);
        }
        if self.end == self.buffer.len() {
            if self.start > 0 {
                self.buffer.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, self.end - self.start);
            } else if self.buffer.len() < OBJECT_MAX {
                self.buffer.resize(self.buffer.len() * 2, 0);
            } else {
                return Err(Problem::TooLarge);
            }
        }
        loop {
            match self.reader.read(&mut self.buffer[self.end..]) {
                Ok(0) => {
                    self.ended = true;
                    return Ok(false);
                }
                Ok(read) => {
                    self.end += read;
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Problem::Io(error)),
            }
        }
    }
}

#[cfg(test)]
#[path = "objects_tests.rs"]
mod tests;
