//! The entries of a layer's tar, one after the other.
//!
//! In: unpacked bytes, as they come. Out: for each entry its path, its kind and, for one that is wanted, its content. Both
//! long forms of names are read (GNU's and PAX). What must hold: nothing of an entry that is not wanted is held, and no
//! number in a header decides how much memory is taken. The `tar` crate holds a long name of any length.

use std::io::{self, Read};

use super::limits::{ENTRIES_MAX, EXTENDED_MAX, PATH_MAX};

const BLOCK: usize = 512;

/// Why a tar cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The bytes could not be had, or not be unpacked.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is no tar, or a damaged one.
    #[error("it is not a valid tar: {0}")]
    Malformed(&'static str),
    /// It has more of something than any layer.
    #[error("it has {0}")]
    TooMuch(&'static str),
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// Anything else: a link, a device, a file with holes.
    Other,
}

/// One entry.
#[derive(Debug)]
pub struct Entry {
    /// Its path as it is written there.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Bytes of its content.
    pub size: u64,
    /// When it was last changed, in seconds since 1970.
    pub modified: u64,
}

/// A tar that is read.
pub struct Tarball<R> {
    reader: R,
    /// Bytes of the last entry that were not read yet, and those that fill its last block.
    left: u64,
    padding: u64,
    entries: u64,
}

impl<R: Read> Tarball<R> {
    /// Reads from here.
    pub fn new(reader: R) -> Self {
        Self { reader, left: 0, padding: 0, entries: 0 }
    }

    /// What it reads from.
    pub fn reader(&self) -> &R {
        &self.reader
    }

    /// The next entry; `None` at the end.
    pub fn entry(&mut self) -> Result<Option<Entry>, TarError> {
        let (mut long_path, mut extended) = (None, Extended::default());
        loop {
            self.skip()?;
            let Some(header) = self.header()? else { return Ok(None) };
            self.entries += 1;
            if self.entries > ENTRIES_MAX {
                return Err(TarError::TooMuch("more entries than any layer"));
            }
            let kind = header[156];
            let mut size = number(&header[124..136])?;
            // What says nothing usable is of the beginning: nothing depends on it.
            let modified = number(&header[136..148]).unwrap_or(0);
            match kind {
                b'L' => {
                    self.begin(size);
                    let mut path = self.content(PATH_MAX)?;
                    path.truncate(until_zero(&path).len());
                    long_path = Some(path);
                    continue;
                }
                b'x' => {
                    self.begin(size);
                    extended = Extended::parse(&self.content(EXTENDED_MAX)?)?;
                    continue;
                }
                // The target of a link; what holds for all entries, which is comments in layers.
                b'K' | b'g' => {
                    self.begin(size);
                    continue;
                }
                _ => {}
            }
            if kind == b'S' {
                self.sparse(&header)?;
            }
            size = extended.size.unwrap_or(size);
            // Whatever their headers say, these have no content.
            if matches!(kind, b'1'..=b'6') {
                size = 0;
            }
            let own = || own_path(&header);
            let path = extended.path.or(long_path).unwrap_or_else(own);
            let kind = match kind {
                // Before POSIX a directory was a file whose name ends so.
                0 | b'0' | b'7' if path.ends_with(b"/") => Kind::Directory,
                0 | b'0' | b'7' if !extended.sparse => Kind::File,
                b'5' => Kind::Directory,
                _ => Kind::Other,
            };
            self.begin(size);
            return Ok(Some(Entry { path, kind, size, modified }));
        }
    }

    /// The content of the entry that was given last.
    pub fn content(&mut self, max: u64) -> Result<Vec<u8>, TarError> {
        if self.left > max {
            return Err(TarError::TooMuch("a file that is larger than it can be"));
        }
        let mut content = Vec::new();
        let read = (&mut self.reader).take(self.left).read_to_end(&mut content)?;
        self.left -= read as u64;
        if self.left > 0 {
            return Err(TarError::Malformed("it ends within a file"));
        }
        Ok(content)
    }

    /// The next bytes of the content of the entry that was given last, as many as fit in `buffer`; 0 at its end.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, TarError> {
        let want = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        loop {
            match self.reader.read(&mut buffer[..want]) {
                Ok(0) => return Err(TarError::Malformed("it ends within a file")),
                Ok(read) => {
                    self.left -= read as u64;
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn begin(&mut self, size: u64) {
        self.left = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    /// Goes over what is left of the last entry.
    fn skip(&mut self) -> Result<(), TarError> {
        let count = self.left.saturating_add(self.padding);
        let read = io::copy(&mut (&mut self.reader).take(count), &mut io::sink())?;
        (self.left, self.padding) = (0, 0);
        if read == count { Ok(()) } else { Err(TarError::Malformed("it ends within a file")) }
    }

    /// A header whose checksum is right; `None` at the end.
    fn header(&mut self) -> Result<Option<[u8; BLOCK]>, TarError> {
        let Some(block) = self.block()? else { return Ok(None) };
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let said = number(&block[148..156])?;
        let field = |at: usize| (148..156).contains(&at);
        let bytes = || block.iter().enumerate().map(|(at, b)| if field(at) { b' ' } else { *b });
        let sum: u64 = bytes().map(u64::from).sum();
        // Some old writers added up signed bytes.
        let signed: i64 = bytes().map(|byte| i64::from(byte.cast_signed())).sum();
        if said != sum && i64::try_from(said) != Ok(signed) {
            return Err(TarError::Malformed("a header has a wrong checksum"));
        }
        Ok(Some(block))
    }

    /// The next block; `None` when there are no more bytes, which some writers end with.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, TarError> {
        let mut block = [0; BLOCK];
        let mut at = 0;
        while at < BLOCK {
            match self.reader.read(&mut block[at..]) {
                Ok(0) if at == 0 => return Ok(None),
                Ok(0) => return Err(TarError::Malformed("it ends within a header")),
                Ok(read) => at += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Some(block))
    }

    /// Goes over the further headers of a file with holes in GNU's old form.
    fn sparse(&mut self, header: &[u8; BLOCK]) -> Result<(), TarError> {
        let mut more = header[482] != 0;
        while more {
            let block = self.block()?.ok_or(TarError::Malformed("it ends within a header"))?;
            more = block[504] != 0;
        }
        Ok(())
    }
}

/// What an extended header says.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    size: Option<u64>,
    sparse: bool,
}

impl Extended {
    /// Records of the form `LENGTH KEY=VALUE\n`.
    fn parse(mut bytes: &[u8]) -> Result<Self, TarError> {
        const WRONG: TarError = TarError::Malformed("an extended header");
        let mut out = Self::default();
        while !bytes.is_empty() && bytes[0] != 0 {
            let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let length: Option<usize> =
                std::str::from_utf8(&bytes[..digits]).ok().and_then(|text| text.parse().ok());
            let length = length.filter(|length| *length > digits + 2).ok_or(WRONG)?;
            let (record, rest) = bytes.split_at_checked(length).ok_or(WRONG)?;
            bytes = rest;
            let record = record[digits..].strip_prefix(b" ").ok_or(WRONG)?;
            let record = record.strip_suffix(b"\n").ok_or(WRONG)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or(WRONG)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            match key {
                b"path" => out.path = Some(value.to_vec()),
                b"size" => {
                    let text = std::str::from_utf8(value).ok();
                    out.size = Some(text.and_then(|text| text.parse().ok()).ok_or(WRONG)?);
                }
                _ if key.starts_with(b"GNU.sparse.") => out.sparse = true,
                _ => {}
            }
        }
        Ok(out)
    }
}

/// The path in a header: a name, and in POSIX' form what stands before it.
fn own_path(header: &[u8; BLOCK]) -> Vec<u8> {
    let name = until_zero(&header[..100]);
    let prefix = until_zero(&header[345..500]);
    // GNU has other things there.
    if prefix.is_empty() || &header[257..263] != b"ustar\0" {
        return name.to_vec();
    }
    [prefix, b"/", name].concat()
}

fn until_zero(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    &bytes[..end]
}

/// A number in octal digits, or GNU's form for large ones.
fn number(field: &[u8]) -> Result<u64, TarError> {
    const WRONG: TarError = TarError::Malformed("a number in a header");
    if field[0] & 0x80 != 0 {
        let mut value: u64 = u64::from(field[0] & 0x7f);
        for byte in &field[1..] {
            value = value.checked_mul(256).ok_or(WRONG)? + u64::from(*byte);
        }
        return Ok(value);
    }
    let digits = until_zero(field).trim_ascii();
    digits.iter().try_fold(0_u64, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8).map(|v| v + u64::from(digit - b'0')).ok_or(WRONG),
        _ => Err(WRONG),
    })
}
