//! Any bytes as a file of a catalog: objects, or an error; the same wherever they were cut on the way.
#![no_main]

use std::io::Read;

use bundler::catalog::fields::{self, Part};
use bundler::catalog::model::Place;
use bundler::catalog::interned::Names;
use bundler::catalog::objects::Objects;
use libfuzzer_sys::fuzz_target;

const PLACE: Place = Place { file: 0, frame: 0, offset: 0, length: 0 };

/// Gives so many bytes at a time.
struct Pieces<'a>(&'a [u8], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.1.min(buffer.len()).min(self.0.len());
        buffer[..read].copy_from_slice(&self.0[..read]);
        self.0 = &self.0[read..];
        Ok(read)
    }
}

/// All objects, and what ended them.
fn split(reader: impl Read) -> (Vec<String>, Option<String>) {
    let (mut objects, mut found) = (Objects::new(reader), Vec::new());
    loop {
        match objects.next() {
            Ok(Some(object)) => found.push(object.json.to_owned()),
            Ok(None) => return (found, None),
            Err(fault) => return (found, Some(fault.to_string())),
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((size, data)) = data.split_first() else { return };
    let whole = split(data);
    assert_eq!(whole, split(Pieces(data, usize::from(*size) + 1)));
    let mut names = Names::default();
    for json in &whole.0 {
        if let Ok(parsed) = fields::parse(json, PLACE, &mut names) {
            // What is understood is valid for every reader.
            assert!(serde_json::from_str::<serde_json::Value>(json).is_ok());
            if let Part::Bundle { csv: Some(csv), .. } = parsed.part {
                let _ = fields::display_name(csv);
            }
        }
        let _ = fields::images(json.as_bytes());
    }
});
