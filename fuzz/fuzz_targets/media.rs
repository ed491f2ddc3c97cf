//! A signed sequence with any bytes of its files changed, its files cut or grown: `verify` calls it intact only when
//! nothing of it is.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use format_spec::keys::PublicKey;
use libfuzzer_sys::fuzz_target;
use registry::progress::Progress;

struct Media {
    directory: tempfile::TempDir,
    files: Vec<(PathBuf, Vec<u8>)>,
    key: PublicKey,
}

static MEDIA: LazyLock<Media> = LazyLock::new(|| {
    let vectors = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../format-spec/vectors"));
    let directory = tempfile::tempdir().expect("a directory");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(vectors.join("tiny")).expect("the vectors") {
        let entry = entry.expect("an entry");
        let to = directory.path().join(entry.file_name());
        files.push((to, std::fs::read(entry.path()).expect("a file")));
    }
    files.sort();
    let key = std::fs::read_to_string(vectors.join("key.pub.pem")).expect("the key");
    let key = PublicKey::from_pem(&key).expect("a public key");
    Media { directory, files, key }
});

fuzz_target!(|data: &[u8]| {
    let media = &*MEDIA;
    let mut files: Vec<Vec<u8>> = media.files.iter().map(|(_, bytes)| bytes.clone()).collect();
    // Five bytes a change: which file, what, where, the value.
    for change in data.chunks_exact(5) {
        let file = usize::from(change[0] >> 4) % files.len();
        let bytes = &mut files[file];
        let place =
            usize::from(u16::from_le_bytes([change[1], change[2]])) * 3 + usize::from(change[3]);
        match change[0] & 3 {
            0 => bytes.truncate(place),
            1 if bytes.len() < 1 << 20 => bytes.push(change[4]),
            _ if place < bytes.len() => bytes[place] = change[4],
            _ => {}
        }
    }
    for ((path, _), bytes) in media.files.iter().zip(&files) {
        std::fs::write(path, bytes).expect("a write");
    }
    let whole = media.files.iter().zip(&files).all(|((_, good), now)| good == now);
    let from = [media.directory.path().to_owned()];
    let report = importer::verify(&from, std::slice::from_ref(&media.key), &Progress::default());
    assert_eq!(report.is_ok_and(|report| report.is_intact()), whole);
});
