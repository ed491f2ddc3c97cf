//! Archives with a program, as people download them: `tar.gz`, and `zip` for Windows.
//!
//! In: a program as a file, a text for people. Out: the archive. What must hold: the same program gives the same archive,
//! whenever and wherever it is made; nothing is held but a window.

use std::io::{self, Read, Seek, SeekFrom, Write};

use flate2::write::{DeflateEncoder, GzEncoder};
use flate2::{Compression, Crc};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Programs do not become much smaller with more effort.
const LEVEL: Compression = Compression::new(3);

/// The name of the text for people.
const README: &str = "README.md";

/// What goes into an archive.
pub(super) struct Contents<'a> {
    /// The program.
    pub(super) program: &'a mut fs_err::File,
    /// Its name there, and further names for it.
    pub(super) name: &'a str,
    pub(super) links: &'a [&'a str],
    /// The text.
    pub(super) readme: &'a str,
    /// When the program was made, in seconds since 1970.
    pub(super) modified: u64,
}

/// Writes a `tar.gz`.
pub(super) fn tarball(contents: Contents<'_>, to: impl Write) -> io::Result<()> {
    let Contents { program, name, links, readme, modified } = contents;
    let mut builder = tar::Builder::new(GzEncoder::new(to, LEVEL));
    let header = |kind, mode, size| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_mtime(modified);
        header
    };
    let text = header(tar::EntryType::Regular, 0o644, readme.len() as u64);
    builder.append_data(&mut { text }, README, readme.as_bytes())?;
    let size = program.seek(SeekFrom::End(0))?;
    program.rewind()?;
    let file = header(tar::EntryType::Regular, 0o755, size);
    builder.append_data(&mut { file }, name, &mut *program)?;
    for link in links {
        let mut entry = header(tar::EntryType::Link, 0o755, 0);
        builder.append_link(&mut entry, link, name)?;
    }
    builder.into_inner()?.finish()?.flush()
}

/// Writes a `zip`. Every size is known before its header, so that any reader takes it.
pub(super) fn zip(contents: Contents<'_>, to: impl Write + Seek) -> io::Result<()> {
    let Contents { program, name, readme, modified, .. } = contents;
    let mut zip = Zip { to, entries: Vec::new(), time: dos_time(modified) };
    // Windows' own editor shows lines only so.
    let readme = readme.replace('\n', "\r\n");
    zip.add(README, 0o644, &mut readme.as_bytes())?;
    program.rewind()?;
    zip.add(name, 0o755, program)?;
    zip.finish()
}

/// A zip that is written.
struct Zip<W> {
    to: W,
    entries: Vec<ZipEntry>,
    time: [u8; 4],
}

/// What the directory at its end says of a file.
struct ZipEntry {
    name: String,
    mode: u32,
    at: u32,
    crc: u32,
    packed: u32,
    size: u32,
}

impl ZipEntry {
    /// What both of its headers have: version, flags, method, time, digest, sizes, lengths of the name and of nothing more.
    fn common(&self, time: [u8; 4]) -> Vec<u8> {
        // Version 2.0; a name in ASCII; deflated.
        let mut bytes = [20_u16, 0, 8].map(u16::to_le_bytes).concat();
        bytes.extend(time);
        bytes.extend([self.crc, self.packed, self.size].map(u32::to_le_bytes).concat());
        bytes.extend(u16::try_from(self.name.len()).unwrap_or_default().to_le_bytes());
        bytes.extend(0_u16.to_le_bytes());
        bytes
    }
}

impl<W: Write + Seek> Zip<W> {
    fn add(&mut self, name: &str, mode: u32, content: &mut dyn Read) -> io::Result<()> {
        let at = number(self.to.stream_position()?)?;
        let mut entry = ZipEntry { name: name.to_owned(), mode, at, crc: 0, packed: 0, size: 0 };
        self.local(&entry)?;
        let from = self.to.stream_position()?;
        let mut encoder = DeflateEncoder::new(&mut self.to, LEVEL);
        let (mut crc, mut buffer) = (Crc::new(), vec![0; 64 * 1024]);
        let mut size = 0_u64;
        loop {
            let read = content.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            crc.update(&buffer[..read]);
            size += read as u64;
            encoder.write_all(&buffer[..read])?;
        }
        encoder.finish()?;
        let end = self.to.stream_position()?;
        entry.crc = crc.sum();
        (entry.size, entry.packed) = (number(size)?, number(end - from)?);
        self.to.seek(SeekFrom::Start(at.into()))?;
        self.local(&entry)?;
        self.to.seek(SeekFrom::Start(end))?;
        self.entries.push(entry);
        Ok(())
    }

    fn local(&mut self, entry: &ZipEntry) -> io::Result<()> {
        self.to.write_all(b"PK\x03\x04")?;
        self.to.write_all(&entry.common(self.time))?;
        self.to.write_all(entry.name.as_bytes())
    }

    fn finish(mut self) -> io::Result<()> {
        let at = self.to.stream_position()?;
        for entry in &self.entries {
            self.to.write_all(b"PK\x01\x02")?;
            // Made on Unix, whose modes stand in the upper half of the attributes.
            self.to.write_all(&[20, 3])?;
            self.to.write_all(&entry.common(self.time))?;
            self.to.write_all(&[0; 6])?;
            self.to.write_all(&((0o100_000 | entry.mode) << 16).to_le_bytes())?;
            self.to.write_all(&entry.at.to_le_bytes())?;
            self.to.write_all(entry.name.as_bytes())?;
        }
        let end = self.to.stream_position()?;
        let count = u16::try_from(self.entries.len()).unwrap_or(u16::MAX).to_le_bytes();
        self.to.write_all(b"PK\x05\x06\0\0\0\0")?;
        self.to.write_all(&[count, count].concat())?;
        self.to.write_all(&number(end - at)?.to_le_bytes())?;
        self.to.write_all(&number(at)?.to_le_bytes())?;
        self.to.write_all(&[0; 2])
    }
}

/// A number of a zip, which has four bytes for each.
fn number(value: u64) -> io::Result<u32> {
    u32::try_from(value).map_err(|_| io::Error::other("it is too large for a zip"))
}

/// Time and date as a zip has them, in UTC: of two seconds, from 1980 on.
fn dos_time(seconds: u64) -> [u8; 4] {
    let first = (0, 1 << 5 | 1);
    let time = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    let packed = time.and_then(|time| {
        let at = time.to_zoned(TimeZone::UTC);
        let year = u16::try_from(at.year()).ok()?.checked_sub(1980).filter(|year| *year < 128)?;
        let part = |value: i8| u16::try_from(value).unwrap_or_default();
        let time = part(at.hour()) << 11 | part(at.minute()) << 5 | (part(at.second()) / 2);
        Some((time, year << 9 | part(at.month()) << 5 | part(at.day())))
    });
    let (time, date) = packed.unwrap_or(first);
    let [a, b] = time.to_le_bytes();
    let [c, d] = date.to_le_bytes();
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::process::Command;

    use super::*;

    fn program(content: &[u8]) -> (tempfile::TempDir, fs_err::File) {
        let dir = tempfile::tempdir().unwrap();
        let mut file = super::super::drafts::create(&dir.path().join("oc"), 0o600).unwrap();
        file.write_all(content).unwrap();
        (dir, file)
    }

    fn contents<'a>(
        program: &'a mut fs_err::File,
        name: &'a str,
        links: &'a [&'a str],
    ) -> Contents<'a> {
        Contents { program, name, links, readme: "# One\ntwo\n", modified: 1_700_000_001 }
    }

    #[test]
    fn a_tarball_has_program_text_and_links() {
        let content: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
        let (_dir, mut file) = program(&content);
        let mut made = || {
            let mut out = Vec::new();
            tarball(contents(&mut file, "oc", &["kubectl"]), &mut out).unwrap();
            out
        };
        let out = made();
        assert_eq!(made(), out);
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(&out[..]));
        let mut seen = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let header = entry.header();
            let about = (header.mode().unwrap(), header.mtime().unwrap());
            let link = entry.link_name().unwrap().map(|link| link.display().to_string());
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            seen.push((entry.path().unwrap().display().to_string(), about, link, bytes));
        }
        let time = 1_700_000_001;
        assert_eq!(
            seen,
            [
                ("README.md".to_owned(), (0o644, time), None, b"# One\ntwo\n".to_vec()),
                ("oc".to_owned(), (0o755, time), None, content),
                ("kubectl".to_owned(), (0o755, time), Some("oc".to_owned()), Vec::new()),
            ]
        );
    }

    #[test]
    fn other_programs_read_the_zip() {
        let content: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        let (dir, mut file) = program(&content);
        let mut made = || {
            let mut out = Cursor::new(Vec::new());
            zip(contents(&mut file, "oc.exe", &["kubectl"]), &mut out).unwrap();
            out.into_inner()
        };
        let out = made();
        assert_eq!(made(), out);
        let path = dir.path().join("a.zip");
        crate::durable::write(&path, &out).unwrap();
        let script = "import sys, zipfile\n\
                      z = zipfile.ZipFile(sys.argv[1])\n\
                      assert z.testzip() is None\n\
                      for i in z.infolist(): print(i.filename, oct(i.external_attr >> 16), i.date_time, i.file_size)\n\
                      print(z.read('README.md'))\n";
        let run = Command::new("python3").args(["-c", script]).arg(&path).output();
        let Ok(run) = run else { return println!("skipped: no python3") };
        let said = String::from_utf8(run.stdout).unwrap();
        assert_eq!(
            said,
            "README.md 0o100644 (2023, 11, 14, 22, 13, 20) 12\n\
             oc.exe 0o100755 (2023, 11, 14, 22, 13, 20) 400000\n\
             b'# One\\r\\ntwo\\r\\n'\n",
            "{}",
            String::from_utf8_lossy(&run.stderr)
        );
    }

    #[test]
    fn times_before_and_after_all_are_the_first() {
        let first = [0, 0, 1 << 5 | 1, 0];
        assert_eq!(dos_time(0), first);
        assert_eq!(dos_time(u64::MAX), first);
        assert_ne!(dos_time(1_700_000_000), first);
    }
}
