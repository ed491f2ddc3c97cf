//! The update graph's data as a layer of an image.
//!
//! In: the archive that the update service gives away (`tar.gz` with `channels/`, `blocked-edges/` and more), of which
//! nobody signed anything. Out: one layer with the same files below `/var/lib/cincinnati-graph-data`. What must hold: the
//! same files give the same bytes, whatever order, times and owners they came with; nothing lands outside of that
//! directory; only directories and regular files are taken.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use flate2::{Compression, GzBuilder};
use format_spec::Digest;
use tar::{EntryType, Header};

use super::limits::{GRAPH_DATA_MAX, GRAPH_FILES_BYTES_MAX, GRAPH_FILES_MAX};

/// Where the files stand in the image, without the slash in front.
const ROOT: &str = "var/lib/cincinnati-graph-data";

/// Why an archive gives no graph data.
#[derive(Debug, thiserror::Error)]
pub enum GraphDataError {
    /// Not a `tar.gz`, or a broken one.
    #[error("the graph data is not an archive as the update service has it (`tar.gz`): {0}")]
    Archive(io::Error),
    /// Something in it that is not taken.
    #[error("the graph data has an entry that is not taken, {problem}: `{path}`")]
    Entry {
        /// Its name.
        path: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// Over a limit.
    #[error("the graph data has more than {limit} {what}")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// It is an archive of something else.
    #[error("the archive has no `channels` directory with channels, so it is no graph data")]
    NoChannels,
}

/// A layer, ready to stand in an image.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Its bytes, compressed.
    pub bytes: Bytes,
    /// Their digest.
    pub digest: Digest,
    /// The digest of the bytes before they were compressed.
    pub diff_id: Digest,
}

impl Layer {
    /// Makes the layer. Takes a moment: not for a thread that serves others.
    pub fn of(archive: &[u8]) -> Result<Self, GraphDataError> {
        let tar = pack(&files(archive)?);
        let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::new(9));
        let packed = gzip.write_all(&tar).and_then(|()| gzip.finish());
        let bytes = Bytes::from(packed.expect("memory takes every write"));
        Ok(Self { digest: Digest::of(&bytes), diff_id: Digest::of(&tar), bytes })
    }
}

/// Files by their names below [`ROOT`]; a directory has no bytes and a slash at its end.
type Files = BTreeMap<String, Vec<u8>>;

/// Reads the archive.
fn files(archive: &[u8]) -> Result<Files, GraphDataError> {
    if archive.len() as u64 > GRAPH_DATA_MAX {
        return Err(GraphDataError::TooMuch { what: "bytes", limit: GRAPH_DATA_MAX });
    }
    // One byte more than allowed tells a file that is cut from one that is too long.
    let most = GRAPH_FILES_BYTES_MAX + GRAPH_FILES_MAX as u64 * 1024;
    let mut tar = tar::Archive::new(MultiGzDecoder::new(archive).take(most));
    let mut files = Files::new();
    let (mut count, mut left) = (0, GRAPH_FILES_BYTES_MAX);
    for entry in tar.entries().map_err(GraphDataError::Archive)? {
        let mut entry = entry.map_err(GraphDataError::Archive)?;
        count += 1;
        if count > GRAPH_FILES_MAX {
            return Err(GraphDataError::TooMuch { what: "files", limit: GRAPH_FILES_MAX as u64 });
        }
        let kind = entry.header().entry_type();
        // What `git archive` says about the commit.
        if kind == EntryType::XGlobalHeader {
            continue;
        }
        let raw = entry.path_bytes().into_owned();
        let refuse = |problem| {
            let path = String::from_utf8_lossy(&raw).escape_debug().take(200).collect();
            GraphDataError::Entry { path, problem }
        };
        let name = name(&raw).map_err(refuse)?;
        match kind {
            EntryType::Directory => directories(&mut files, &name),
            EntryType::Regular | EntryType::Continuous => {
                if name.is_empty() {
                    return Err(refuse("a file without a name"));
                }
                if entry.size() > left {
                    return Err(GraphDataError::TooMuch {
                        what: "bytes of files",
                        limit: GRAPH_FILES_BYTES_MAX,
                    });
                }
                left -= entry.size();
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).map_err(GraphDataError::Archive)?;
                if let Some((above, _)) = name.rsplit_once('/') {
                    directories(&mut files, above);
                }
                files.insert(name, bytes);
            }
            _ => return Err(refuse("which is neither a file nor a directory")),
        }
    }
    // A name cannot be both.
    let both = files
        .keys()
        .find(|name| name.ends_with('/') && files.contains_key(name.trim_end_matches('/')));
    if let Some(both) = both {
        let problem = "which is a file and a directory";
        return Err(GraphDataError::Entry { path: both.clone(), problem });
    }
    let is_channel = |name: &String| name.starts_with("channels/") && !name.ends_with('/');
    if files.keys().any(is_channel) { Ok(files) } else { Err(GraphDataError::NoChannels) }
}

/// The name of an entry as it stands below [`ROOT`]: plain components only.
fn name(raw: &[u8]) -> Result<String, &'static str> {
    let text = std::str::from_utf8(raw).map_err(|_| "whose name is no UTF-8")?;
    if text.starts_with('/') {
        return Err("whose name begins at the root");
    }
    if text.chars().any(char::is_control) {
        return Err("whose name has control characters");
    }
    let components: Vec<&str> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if components.contains(&"..") {
        return Err("whose name leads upwards");
    }
    // A whiteout in a layer takes away files of the layers below.
    if components.iter().any(|part| part.starts_with(".wh.")) {
        return Err("whose name would take files away");
    }
    let name = components.join("/");
    match header(&format!("{name}/"), 0) {
        Some(_) => Ok(name),
        None => Err("whose name is too long"),
    }
}

/// Adds a directory and those above it.
fn directories(files: &mut Files, name: &str) {
    let mut above = String::new();
    for part in name.split('/').filter(|part| !part.is_empty()) {
        above.push_str(part);
        above.push('/');
        files.entry(above.clone()).or_default();
    }
}

/// The header of an entry; `None` when its name does not fit ustar.
fn header(name: &str, size: u64) -> Option<Header> {
    let mut header = Header::new_ustar();
    let directory = name.is_empty() || name.ends_with('/');
    header.set_path(format!("{ROOT}/{name}")).ok()?;
    header.set_entry_type(if directory { EntryType::Directory } else { EntryType::Regular });
    header.set_mode(if directory { 0o755 } else { 0o644 });
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    Some(header)
}

/// The files as a tar, in the order of their names.
fn pack(files: &Files) -> Vec<u8> {
    const BLOCK: usize = 512;
    let mut tar = Vec::new();
    let mut put = |name: &str, bytes: &[u8]| {
        let header = header(name, bytes.len() as u64).expect("looked at when it was read");
        tar.extend_from_slice(header.as_bytes());
        tar.extend_from_slice(bytes);
        tar.resize(tar.len().next_multiple_of(BLOCK), 0);
    };
    put("", b"");
    for (name, bytes) in files {
        put(name, bytes);
    }
    tar.resize(tar.len() + 2 * BLOCK, 0);
    tar
}

#[cfg(test)]
#[path = "graph_data_tests.rs"]
pub(crate) mod tests;
