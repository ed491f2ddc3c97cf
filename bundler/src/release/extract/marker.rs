//! The places in a program where a release says what it is.
//!
//! `openshift-install` and `oc` have room for the reference of the release image, and for the version, as the constants
//! `\0_RELEASE_IMAGE_LOCATION_\0XXX…\0` and `\0_RELEASE_VERSION_LOCATION_\0XXX…\0`. Who takes them out of a release writes the value
//! over the beginning of such a constant, and a zero byte behind it; a program that nobody wrote into believes to be of no release.
//!
//! In: the bytes of a program, as they come, and values. Out: the same number of bytes. What must hold: nothing but the first
//! place of each kind is changed, wherever the pieces end; a value that does not fit is an error.

use std::io::{self, Write};

use regex::bytes::Regex;

/// Bytes of the longest place. Real ones have about 320 and 90.
const PLACE_MAX: usize = 4096;

/// Bytes that are looked at together.
const WINDOW: usize = 1024 * 1024;

/// What is written into a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// The release image, by digest.
    Image,
    /// The version of the release.
    Version,
}

impl Mark {
    fn word(self) -> &'static str {
        match self {
            Self::Image => "IMAGE",
            Self::Version => "VERSION",
        }
    }
}

/// A value that does not fit into its place.
#[derive(Debug, thiserror::Error)]
#[error("the place for it in the program has room for {room} bytes, `{value}` has {}", .value.len())]
pub(super) struct NoRoom {
    value: String,
    room: usize,
}

/// One kind of place, until it is found.
#[derive(Debug)]
struct Place {
    mark: Mark,
    pattern: Regex,
    value: String,
}

/// Writes values into what passes.
#[derive(Debug)]
pub(super) struct Marking<W> {
    to: W,
    places: Vec<Place>,
    window: Vec<u8>,
}

impl<W: Write> Marking<W> {
    pub(super) fn new(to: W, values: impl IntoIterator<Item = (Mark, String)>) -> Self {
        let place = |(mark, value): (Mark, String)| {
            // At least so many that it is no name of the place, which stands in the program too.
            let word = mark.word();
            let pattern = format!(r"(?-u)\x00_RELEASE_{word}_LOCATION_\x00X{{32,}}\x00");
            Place { mark, pattern: Regex::new(&pattern).expect("a fixed pattern"), value }
        };
        Self { to, places: values.into_iter().map(place).collect(), window: Vec::new() }
    }

    /// Passes on what is left. Says which places were not found.
    pub(super) fn finish(mut self) -> io::Result<(W, Vec<Mark>)> {
        self.look()?;
        self.to.write_all(&self.window)?;
        Ok((self.to, self.places.iter().map(|place| place.mark).collect()))
    }

    /// Writes the values into the places that are whole in the window.
    fn look(&mut self) -> io::Result<()> {
        let window = &mut self.window;
        let mut fault = None;
        self.places.retain(|Place { pattern, value, .. }| {
            let Some(found) = pattern.find(window) else { return true };
            let range = found.range();
            // A zero byte ends it.
            if value.len() >= range.len() {
                fault = Some(NoRoom { value: value.clone(), room: range.len() - 1 });
                return false;
            }
            window[range.start..][..value.len()].copy_from_slice(value.as_bytes());
            window[range.start + value.len()] = 0;
            false
        });
        fault.map_or(Ok(()), |fault| Err(io::Error::other(fault)))
    }
}

impl<W: Write> Write for Marking<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.places.is_empty() && self.window.is_empty() {
            return self.to.write(bytes);
        }
        self.window.extend_from_slice(bytes);
        if self.window.len() >= WINDOW {
            self.look()?;
            // A place that begins at the end goes on in what comes.
            let keep = if self.places.is_empty() { 0 } else { PLACE_MAX };
            let done = self.window.len() - keep;
            self.to.write_all(&self.window[..done])?;
            self.window.drain(..done);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A place as programs have it.
    fn place(word: &str, room: usize) -> Vec<u8> {
        let mut place = format!("\0_RELEASE_{word}_LOCATION_\0").into_bytes();
        place.resize(place.len() + room, b'X');
        place.push(0);
        place
    }

    fn marked(
        program: &[u8],
        pieces: usize,
        values: &[(Mark, &str)],
    ) -> io::Result<(Vec<u8>, Vec<Mark>)> {
        let values = values.iter().map(|(mark, value)| (*mark, (*value).to_owned()));
        let mut marking = Marking::new(Vec::new(), values);
        for piece in program.chunks(pieces) {
            marking.write_all(piece)?;
        }
        marking.finish()
    }

    const IMAGE: &str = "quay.io/openshift-release-dev/ocp-release@sha256:00";

    #[test]
    fn values_stand_where_programs_look_for_them() {
        let (image, version) = (place("IMAGE", 300), place("VERSION", 64));
        // The name of the place, and one that begins otherwise, are none.
        let others =
            [&b"\0_RELEASE_IMAGE_LOCATION_\0"[..], b"!_RELEASE_IMAGE_LOCATION_\0", &image[26..]]
                .concat();
        let program = [&others, &image[..], b"code", &version, &image].concat();
        let values = [(Mark::Image, IMAGE), (Mark::Version, "4.18.5")];
        let (out, missing) = marked(&program, 100, &values).unwrap();
        assert!(missing.is_empty());
        assert_eq!(out.len(), program.len());
        let written = |value: &str, place: &[u8]| {
            let mut bytes = place.to_vec();
            bytes[..value.len()].copy_from_slice(value.as_bytes());
            bytes[value.len()] = 0;
            bytes
        };
        // The second place of a kind stays, as whoever reads the first has what it needs.
        let expected =
            [&others, &written(IMAGE, &image)[..], b"code", &written("4.18.5", &version), &image]
                .concat();
        assert!(out == expected);

        let (same, missing) = marked(b"a program", 3, &values).unwrap();
        assert_eq!((same, missing), (b"a program".to_vec(), vec![Mark::Image, Mark::Version]));
        let long = "x".repeat(image.len());
        let error = marked(&program, 7, &[(Mark::Image, &long)]).unwrap_err().to_string();
        assert!(error.contains("has room for 326 bytes"), "{error}");
        assert!(marked(&program, 7, &[(Mark::Image, &long[1..])]).is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn wherever_a_place_stands_it_is_found(
            before in (WINDOW - 700)..(WINDOW + 700),
            pieces in prop_oneof![Just(1_000_usize), Just(65_536), Just(3_000_000)],
        ) {
            let mut program = vec![b'a'; before];
            program.extend(place("IMAGE", 300));
            program.resize(program.len() + 2 * WINDOW, b'b');
            let (out, missing) = marked(&program, pieces, &[(Mark::Image, IMAGE)]).unwrap();
            prop_assert!(missing.is_empty());
            prop_assert_eq!(out.len(), program.len());
            prop_assert!(&out[before..before + IMAGE.len()] == IMAGE.as_bytes());
            prop_assert!(out[before + IMAGE.len() + 1..] == program[before + IMAGE.len() + 1..]);
        }
    }
}
