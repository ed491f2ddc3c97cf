//! Layers made by hand, with everything that layers do to each other.

use proptest::prelude::*;

use super::super::layer_testing::{entry, file, gzip, tar};
use super::*;

const FILE: &str = "release-manifests/image-references";
const OTHER: &str = "release-manifests/release-metadata";

fn read(stored: &[u8]) -> Result<Vec<Found>, LayerError> {
    scan(stored, &Digest::of(stored), &[FILE, OTHER], &mut (1 << 30))
}

fn content(text: &str) -> Found {
    Found::File(text.as_bytes().to_vec())
}

#[test]
fn every_form_of_a_layer_is_read() {
    let plain = tar(&[file("etc/passwd", "x"), file(FILE, "refs"), file(OTHER, "meta")]);
    let mut halves = gzip(&plain[..1000]);
    halves.extend(gzip(&plain[1000..]));
    let packed = zstd::encode_all(&plain[..], 3).unwrap();
    for stored in [plain.clone(), gzip(&plain), halves, packed] {
        assert_eq!(read(&stored).unwrap(), [content("refs"), content("meta")]);
    }
    for path in ["./release-manifests/image-references", "/release-manifests//image-references"] {
        assert_eq!(read(&tar(&[file(path, "refs")])).unwrap()[0], content("refs"), "{path}");
    }
    // Writers that end without empty blocks.
    assert_eq!(read(&file(FILE, "refs")).unwrap()[0], content("refs"));
    assert_eq!(read(b"").unwrap(), [Found::Nothing, Found::Nothing]);
}

#[test]
fn long_names_are_read_in_both_forms() {
    let gnu = [entry("././@LongLink", b'L', format!("{FILE}\0").as_bytes()), file("cut", "refs")];
    let record = format!("path={FILE}\n");
    let record = format!("{} {record}", record.len() + 3);
    let pax = [entry("x", b'x', record.as_bytes()), file("cut", "refs")];
    let posix = {
        let mut header = file("image-references", "refs");
        header[345..345 + 17].copy_from_slice(b"release-manifests");
        let sum: u32 = header[..512]
            .iter()
            .enumerate()
            .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
            .sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        header
    };
    for layer in [tar(&gnu), tar(&pax), tar(&[posix])] {
        assert_eq!(read(&layer).unwrap()[0], content("refs"));
    }
    let endless = entry("././@LongLink", b'L', &vec![b'a'; 5000]);
    assert!(matches!(read(&tar(&[endless])), Err(LayerError::Tar(TarError::TooMuch(_)))));
}

#[test]
fn whiteouts_hide_what_is_below_and_nothing_of_their_own_layer() {
    for (path, expected) in [
        ("release-manifests/.wh.image-references", [Found::Gone, Found::Nothing]),
        (".wh.release-manifests", [Found::Gone, Found::Gone]),
        ("release-manifests/.wh..wh..opq", [Found::Gone, Found::Gone]),
        (".wh..wh..opq", [Found::Gone, Found::Gone]),
        ("release-manifests", [Found::Gone, Found::Gone]),
        ("release-manifest/.wh..wh..opq", [Found::Nothing, Found::Nothing]),
        (".wh.release", [Found::Nothing, Found::Nothing]),
    ] {
        assert_eq!(read(&tar(&[file(path, "")])).unwrap(), expected, "{path}");
        for both in [[file(path, ""), file(FILE, "own")], [file(FILE, "own"), file(path, "")]] {
            assert_eq!(read(&tar(&both)).unwrap()[0], content("own"), "{path}");
        }
    }
    let directory = entry("release-manifests/", b'5', b"");
    assert_eq!(read(&tar(&[directory])).unwrap(), [Found::Nothing, Found::Nothing]);
    let twice = tar(&[file(FILE, "first"), file(FILE, "last")]);
    assert_eq!(read(&twice).unwrap()[0], content("last"));
    for kind in [b'1', b'2', b'5'] {
        assert_eq!(read(&tar(&[entry(FILE, kind, b"")])).unwrap()[0], Found::NotAFile);
    }
    let elsewhere = tar(&[file("a/../release-manifests/image-references", "refs")]);
    assert_eq!(read(&elsewhere).unwrap()[0], Found::Nothing);
}

#[test]
fn nothing_is_said_of_a_layer_that_is_not_whole() {
    let plain = tar(&[file(FILE, "refs")]);
    let mut stored = gzip(&plain);
    let digest = Digest::of(&stored);
    let check = |stored: &[u8]| scan(stored, &digest, &[FILE], &mut (1 << 30));
    check(&stored).unwrap();
    for end in [0, 1, 20, stored.len() - 1] {
        assert!(matches!(check(&stored[..end]), Err(LayerError::Digest(_))), "cut at {end}");
    }
    // Behind the tar and behind the compressed stream too.
    stored.push(0);
    assert!(matches!(check(&stored), Err(LayerError::Digest(_))));
    assert!(matches!(check(&gzip(&tar(&[file(FILE, "evil")]))), Err(LayerError::Digest(_))));
    // A fault of the way is told as such.
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("gone"))
        }
    }
    let broken = scan(Broken, &digest, &[FILE], &mut (1 << 30));
    assert!(matches!(broken, Err(LayerError::Tar(TarError::Io(_)))));
}

#[test]
fn what_is_too_large_is_refused() {
    let large = tar(&[file("etc/large", &"x".repeat(1 << 20))]);
    let stored = gzip(&large);
    let digest = Digest::of(&stored);
    let mut left = 1 << 19;
    let refused = scan(&stored[..], &digest, &[FILE], &mut left);
    assert!(matches!(refused, Err(LayerError::TooLarge)), "{refused:?}");
    let too_long = tar(&[file(FILE, &"x".repeat(5 << 20))]);
    assert!(matches!(read(&too_long), Err(LayerError::Tar(TarError::TooMuch(_)))));
    let mut bad = tar(&[file(FILE, "refs")]);
    bad[150] ^= 1;
    assert!(matches!(read(&bad), Err(LayerError::Tar(TarError::Malformed(_)))));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..1200),
        kind in any::<u8>(),
        size in any::<u64>(),
    ) {
        let _ = read(&bytes);
        let mut odd = entry("x", kind, &bytes);
        odd[124..136].copy_from_slice(&[&[0x80, 0, 0, 0][..], &size.to_be_bytes()].concat());
        let sum: u32 = odd[..512].iter().enumerate()
            .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) }).sum();
        odd[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        let _ = read(&odd);
    }
}
