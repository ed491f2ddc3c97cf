//! Streams of objects in every form that files have, cut at every place.

use proptest::prelude::*;

use super::*;

/// Gives a few bytes at a time.
struct Pieces<'a> {
    bytes: &'a [u8],
    sizes: Vec<usize>,
    at: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = self.sizes[self.at % self.sizes.len()].max(1);
        self.at += 1;
        let read = size.min(buffer.len()).min(self.bytes.len());
        buffer[..read].copy_from_slice(&self.bytes[..read]);
        self.bytes = &self.bytes[read..];
        Ok(read)
    }
}

/// The objects with their places, and how it ended.
fn split(reader: impl Read) -> (Vec<(Spot, String)>, Option<String>) {
    let mut objects = Objects::new(reader);
    let mut found = Vec::new();
    loop {
        match objects.next() {
            Ok(Some(object)) => found.push((object.spot, object.json.to_owned())),
            Ok(None) => return (found, None),
            Err(fault) => return (found, Some(fault.to_string())),
        }
    }
}

fn all(text: &str) -> Vec<String> {
    let (found, fault) = split(text.as_bytes());
    assert_eq!(fault, None, "{text}");
    found.into_iter().map(|(_, json)| json).collect()
}

fn fault(text: &[u8]) -> String {
    split(text).1.unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(text)))
}

#[test]
fn every_form_of_a_file_is_read() {
    for text in [
        "{\"a\":1}{\"b\":2}",
        "{\"a\":1}\n{\"b\":2}\n",
        "\u{feff}{\"a\":1} \r\n\t {\"b\":2}",
        "---\n{\"a\":1}\n---\n{\"b\":2}\n---\n",
        "{\"a\":1}---\n{\"b\":2}",
        "# of both\n{\"a\":1}\n# and\n{\"b\":2}",
        "a: 1\n---\nb: 2\n",
        "\u{feff}---\na: 1\n...\n---\n# nothing\n---\nb: 2",
        "%YAML 1.2\n--- # first\na: 1\n--- \nb: 2\n",
        "--- {a: 1}\n---\n  b: 2\n",
        "{a: 1}\n---\n{\n  b: 2}",
        "{\"a\":1}\nb: 2\n",
        "a: 1\n---\n{\"b\":2}{}",
    ] {
        let expected: &[&str] = if text.ends_with("{}") {
            &[r#"{"a":1}"#, r#"{"b":2}"#, "{}"]
        } else {
            &[r#"{"a":1}"#, r#"{"b":2}"#]
        };
        assert_eq!(all(text), expected, "{text:?}");
    }
    for nothing in ["", "\u{feff}", "\n\n", "---\n---\n", "# only words", "---\nnull\n"] {
        if nothing.contains("null") {
            assert!(fault(nothing.as_bytes()).contains("a single value"));
        } else {
            assert!(all(nothing).is_empty(), "{nothing:?}");
        }
    }
    // What is in texts ends nothing.
    let odd = r#"{"a":"}{\"\\","b":["]",{"c":"---"}]}"#;
    assert_eq!(all(&odd.repeat(2)), [odd, odd]);
    assert_eq!(all("a: |\n  ---\n  {\nb: '{'\n"), ["{\"a\":\"---\\n{\\n\",\"b\":\"{\"}"]);
}

#[test]
fn places_are_told() {
    let text = "# one\n{\"a\":\n1}\n{}\n\n---\nb: 2\n---\nc: 3\n";
    let spots: Vec<(u32, u64)> =
        split(text.as_bytes()).0.iter().map(|(spot, _)| (spot.number, spot.line)).collect();
    assert_eq!(spots, [(1, 2), (2, 4), (3, 7), (4, 9)]);
    assert_eq!(fault(b"{}\n{}\n{\"a\""), "object 3 in line 3: the file ends within it");
    let yaml = fault(b"{}\n---\na: 1\nb: [\n");
    assert!(yaml.starts_with("object 2 in line 3: bad YAML in line "), "{yaml}");
    assert!(fault(b"{}\n---\na: 1\na: 2\n").contains("bad YAML in line 4: the key `a`"));
}

#[test]
fn what_is_no_object_is_told() {
    let deep = |open: &str| format!("{{\"a\":{}", open.repeat(10_000));
    for (text, word) in [
        (&b"[{}]"[..], "a list stands where an object belongs"),
        (b"- a\n", "a list"),
        (b"text", "a single value"),
        (b"7", "a single value"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"\0\0\0\0", "a null byte"),
        (b"SQLite format 3\0\x10", "a null byte"),
        (b"{} x", "object 2 in line 1: a single value"),
        (b"{\"a\":\"\xff\"}", "not valid UTF-8"),
        (b"a: \xff", "not valid UTF-8"),
        (b"\xff\xfe{\0}\0", "not valid UTF-8"),
        (b"{", "the file ends within it"),
        (b"{\"a\\", "the file ends within it"),
        (deep("[").as_bytes(), "nested deeper than 128"),
        (deep("{\"a\":").as_bytes(), "nested deeper than 128"),
        (format!("a: {}", "[".repeat(10_000)).as_bytes(), "nested deeper than 128"),
    ] {
        let said = fault(text);
        assert!(
            said.contains(word),
            "{}: {said}",
            String::from_utf8_lossy(&text[..20.min(text.len())])
        );
    }
}

#[test]
fn what_has_no_end_is_not_held() {
    for beginning in ["{\"a\":\"", "a: ", "a: \"", "{a: ", "   "] {
        let filler = if beginning == "   " { b' ' } else { b'x' };
        let endless = beginning.as_bytes().chain(io::repeat(filler).take(64 << 20));
        let mut objects = Objects::new(endless);
        let error = objects.next().unwrap_err();
        assert!(matches!(error.problem, Problem::TooLarge), "{error}");
        assert!(objects.buffer.len() <= OBJECT_MAX);
    }
    // Comments are gone over, however long they are.
    let comment = b"#".chain(io::repeat(b'x').take(64 << 20)).chain(&b"\n{\"a\":1}"[..]);
    let mut objects = Objects::new(comment);
    assert_eq!(objects.next().unwrap().unwrap().json, "{\"a\":1}");
    assert!(objects.next().unwrap().is_none() && objects.buffer.len() == ROOM);
}

#[test]
fn a_fault_of_the_way_is_told_as_such() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("gone"))
        }
    }
    let error = Objects::new(b"{\"a\"".chain(Broken)).next().unwrap_err();
    assert!(matches!(error.problem, Problem::Io(_)), "{error}");
}

/// Something that may stand in a file, or not.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "{}",
            "{\"a\":1}",
            "{\"a\":\"\\\"}\\\\\"}",
            "{\"a\":[{\"b\":\"---\"}]}",
            "\n",
            " ",
            "---",
            "---\n",
            "\n---\n",
            "...\n",
            "a: 1\n",
            "a: |\n  ---\n",
            "- a\n",
            "# x\n",
            "\u{feff}",
            "{a: b}\n",
            "\r\n",
            "%YAML 1.2\n",
            "[",
            "<",
            "\\",
            "\"",
            "{",
            "}",
        ])
        .prop_map(str::to_owned),
        "[a-z{}\\[\\]\"\\\\:,\n# -]{0,12}",
        (1_usize..40_000).prop_map(|n| format!("{{\"k\":\"{}\"}}", "v".repeat(n))),
    ]
}

proptest! {
    #[test]
    fn where_the_bytes_were_cut_changes_nothing(
        pieces in prop::collection::vec(piece(), 0..12),
        sizes in prop::collection::vec(1_usize..5000, 1..6),
    ) {
        let text = pieces.concat();
        let whole = split(text.as_bytes());
        let cut = split(Pieces { bytes: text.as_bytes(), sizes, at: 0 });
        prop_assert_eq!(&whole, &cut);
        let bytewise = split(Pieces { bytes: &text.as_bytes()[..text.len().min(3000)], sizes: vec![1], at: 0 });
        if text.len() <= 3000 {
            prop_assert_eq!(&whole, &bytewise);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = split(&bytes[..]);
    }

    #[test]
    fn objects_come_out_as_they_are(
        objects in prop::collection::vec(("[a-z\"\\\\{}\\[\\]\n\u{e4}]{0,30}", any::<bool>()), 0..8),
    ) {
        let (mut text, mut expected) = (String::new(), Vec::new());
        for (value, pretty) in objects {
            let object = serde_json::json!({"name": value, "list": [value]});
            let json = if pretty { serde_json::to_string_pretty(&object) } else { serde_json::to_string(&object) };
            expected.push(json.unwrap());
            text.push_str(expected.last().unwrap());
        }
        prop_assert_eq!(all(&text), expected);
    }
}
