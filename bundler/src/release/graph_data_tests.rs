//! Archives of graph data, good ones and others.

use std::io::Write as _;

use super::*;
use crate::release::testing::data;

/// One entry of a made archive.
pub(crate) type Made<'a> = (&'a str, EntryType, &'a [u8]);

pub(crate) const CHANNEL: Made<'_> =
    ("channels/stable-4.14.yaml", EntryType::Regular, b"name: stable-4.14\n");

/// An archive of these entries, as somebody's tar would have it.
pub(crate) fn archive(entries: &[Made<'_>], time: u64) -> Vec<u8> {
    let mut tar = Vec::new();
    for (name, kind, bytes) in entries {
        let mut header = Header::new_gnu();
        let field = &mut header.as_gnu_mut().unwrap().name;
        field[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        header.set_uid(time);
        header.set_gid(7);
        header.set_mtime(time);
        header.set_cksum();
        tar.extend_from_slice(header.as_bytes());
        tar.extend_from_slice(bytes);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    let mut gzip =
        GzBuilder::new().mtime(u32::try_from(time).unwrap()).write(Vec::new(), Compression::fast());
    gzip.write_all(&tar).unwrap();
    gzip.finish().unwrap()
}

/// Names, kinds and contents of the layer, and everything that has to be the same in each entry.
fn listing(layer: &Layer) -> Vec<(String, bool, Vec<u8>)> {
    let mut tar = tar::Archive::new(MultiGzDecoder::new(&*layer.bytes));
    let entries = tar.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let header = entry.header();
        assert_eq!(
            (header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap()),
            (0, 0, 0)
        );
        let directory = header.entry_type().is_dir();
        assert_eq!(header.mode().unwrap(), if directory { 0o755 } else { 0o644 });
        let name = entry.path().unwrap().display().to_string();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        (name, directory, bytes)
    });
    entries.collect()
}

#[test]
fn the_same_files_are_the_same_bytes() {
    let version: Made<'_> = ("version", EntryType::Regular, b"1.2.0\n");
    let raw: Made<'_> = ("./raw/", EntryType::Directory, b"");
    let global: Made<'_> = ("pax_global_header", EntryType::XGlobalHeader, b"18 comment=abcdef\n");
    let one = Layer::of(&archive(&[global, CHANNEL, raw, version], 1_700_000_000)).unwrap();
    let other =
        Layer::of(&archive(&[version, raw, ("raw", EntryType::Directory, b""), CHANNEL], 5))
            .unwrap();
    assert_eq!((one.digest, one.diff_id), (other.digest, other.diff_id));
    let names: Vec<_> =
        listing(&one).into_iter().map(|(name, directory, _)| (name, directory)).collect();
    let root = |name: &str| format!("var/lib/cincinnati-graph-data/{name}");
    let expected = [
        (root(""), true),
        (root("channels/"), true),
        (root("channels/stable-4.14.yaml"), false),
        (root("raw/"), true),
        (root("version"), false),
    ];
    assert_eq!(names, expected);
    // Of another version of the compression the digest would be another one, and the image new to every target.
    assert_eq!(one.digest.to_string(), GOLDEN);
}

const GOLDEN: &str = "sha256:3e330e1f75a0c2474d9354156da1023e1fe007177415fbad6297c0ea6a7a9816";

#[test]
fn nothing_lands_elsewhere() {
    for (name, kind, part) in [
        ("../x", EntryType::Regular, "leads upwards"),
        ("channels/../../x", EntryType::Regular, "leads upwards"),
        ("/etc/passwd", EntryType::Regular, "begins at the root"),
        ("channels/.wh.x", EntryType::Regular, "take files away"),
        ("channels/a\nb", EntryType::Regular, "control characters"),
        ("link", EntryType::Symlink, "neither a file nor a directory"),
        ("link", EntryType::Link, "neither a file nor a directory"),
        ("pipe", EntryType::Fifo, "neither a file nor a directory"),
        ("./", EntryType::Regular, "without a name"),
        ("channels", EntryType::Regular, "a file and a directory"),
        ("channels/stable-4.14.yaml/", EntryType::Directory, "a file and a directory"),
        (&"d".repeat(99), EntryType::Regular, ""),
    ] {
        let made = Layer::of(&archive(&[CHANNEL, (name, kind, b"")], 0));
        match made {
            Ok(_) => assert_eq!(part, "", "{name}"),
            Err(error) => {
                assert!(!part.is_empty() && error.to_string().contains(part), "{name}: {error}");
            }
        }
    }
    let long = format!("{}/{}", "a".repeat(50), "b".repeat(45));
    let deep = format!("{long}/{long}");
    assert!(name(long.as_bytes()).is_ok());
    assert_eq!(name(format!("{deep}/{deep}").as_bytes()), Err("whose name is too long"));
}

#[test]
fn other_documents_are_no_graph_data() {
    let is_archive = |error: &GraphDataError| matches!(error, GraphDataError::Archive(_));
    for other in [&b"<html>sorry</html>"[..], b"", &[0x1f, 0x8b]] {
        let error = Layer::of(other).unwrap_err();
        assert!(is_archive(&error) || matches!(error, GraphDataError::NoChannels), "{error}");
    }
    let good = archive(&[CHANNEL], 0);
    let error = Layer::of(&good[..good.len() / 2]).unwrap_err();
    assert!(is_archive(&error), "{error}");
    for entries in [
        &[][..],
        &[("channels/", EntryType::Directory, &b""[..])],
        &[("version", EntryType::Regular, b"1")],
    ] {
        let error = Layer::of(&archive(entries, 0)).unwrap_err();
        assert!(matches!(error, GraphDataError::NoChannels), "{error}");
    }
    // Much of nothing: a size that a small archive can claim, and decompression could make true.
    let mut header = Header::new_gnu();
    header.set_path("zeros").unwrap();
    header.set_size(GRAPH_FILES_BYTES_MAX + 1);
    header.set_cksum();
    let mut gzip = GzBuilder::new().write(Vec::new(), Compression::fast());
    gzip.write_all(header.as_bytes()).unwrap();
    let error = Layer::of(&gzip.finish().unwrap()).unwrap_err();
    assert!(matches!(error, GraphDataError::TooMuch { .. }), "{error}");
}

#[test]
fn the_real_data_has_a_layer() {
    let Some(path) = data("cincinnati/graph-data.tar.gz") else { return };
    let layer = Layer::of(&fs_err::read(path).unwrap()).unwrap();
    let files = listing(&layer);
    let channel =
        files.iter().find(|(name, ..)| name.ends_with("/channels/stable-4.9.yaml")).unwrap();
    assert_eq!(channel.2.len(), 970);
    assert_eq!(files.iter().filter(|(_, directory, _)| !directory).count(), 635);
    assert!(files.is_sorted());
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(at in 0_usize..2000, byte: u8, bytes: Vec<u8>) {
        let _ = Layer::of(&bytes);
        // Inside the compression, where the checksum would end it early.
        let mut tar = Vec::new();
        MultiGzDecoder::new(&*archive(&[CHANNEL], 0)).read_to_end(&mut tar).unwrap();
        let at = at % tar.len();
        tar[at] = byte;
        let mut gzip = GzBuilder::new().write(Vec::new(), Compression::none());
        gzip.write_all(&tar).unwrap();
        let _ = Layer::of(&gzip.finish().unwrap());
    }
}
