//! One document of YAML as JSON.
//!
//! In: its text. Out: the same as JSON, as the readers of catalogs understand it: scalars without quotes mean what they mean in
//! YAML 1.1, merge keys are merged. What must hold: no alias makes more of a document than an object may be; no key is
//! there twice, unless that is asked for.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Write as _;
use std::ops::Range;

use memchr::memchr;
use saphyr_parser::{Event, Parser, ScalarStyle, StrInput, Tag};
use serde_json::value::RawValue;

use super::limits::{DEPTH_MAX, OBJECT_MAX};
use super::wording::quoted;

/// What a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    /// A mapping.
    Object,
    /// Comments, or nothing at all.
    Nothing,
    /// Something else.
    Other(&'static str),
}

/// Why a document cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum YamlError {
    /// It is written wrong.
    #[error("bad YAML in line {line}: {problem}")]
    Syntax {
        /// The line, from 1.
        line: u64,
        /// What is wrong.
        problem: String,
    },
    /// It is too large, what its aliases repeat included.
    #[error("it is larger than {OBJECT_MAX} bytes, aliases included")]
    TooLarge,
    /// It is nested too deep.
    #[error("it is nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
}

/// Writes the document to `out`, which is empty.
pub fn to_json(text: &str, out: &mut Vec<u8>) -> Result<Root, YamlError> {
    write(text, out, false)
}

/// The same, with keys that may be there twice: whoever reads the JSON takes the last one, as readers of manifests do.
pub fn to_json_loose(text: &str, out: &mut Vec<u8>) -> Result<Root, YamlError> {
    write(text, out, true)
}

fn write(text: &str, out: &mut Vec<u8>, twice: bool) -> Result<Root, YamlError> {
    if let Some(at) = memchr(0, text.as_bytes()) {
        // The parser would take it for the end.
        let line = 1 + text[..at].matches('\n').count() as u64;
        return Err(YamlError::Syntax { line, problem: "a null byte".to_owned() });
    }
    let parser = Parser::new_from_str(text);
    let anchors = HashMap::new();
    let mut writer = Writer { parser, out, anchors, merged: 0, line: 1, twice };
    writer.document()
}

struct Writer<'t, 'o> {
    parser: Parser<'t, StrInput<'t>>,
    out: &'o mut Vec<u8>,
    /// Where in `out` the value of an anchor is.
    anchors: HashMap<usize, Range<usize>>,
    /// Bytes that merge keys made us read again.
    merged: usize,
    line: u64,
    /// Whether a key may be there twice.
    twice: bool,
}

impl<'t> Writer<'t, '_> {
    fn document(&mut self) -> Result<Root, YamlError> {
        let first = loop {
            match self.next()? {
                Event::StreamStart | Event::Nothing | Event::DocumentStart(_) => {}
                Event::StreamEnd | Event::DocumentEnd => return Ok(Root::Nothing),
                event => break event,
            }
        };
        let root = match &first {
            Event::MappingStart(..) => Root::Object,
            Event::SequenceStart(..) => Root::Other("a list"),
            Event::Scalar(text, ScalarStyle::Plain, ..) if text.is_empty() => Root::Nothing,
            _ => Root::Other("a single value"),
        };
        if root != Root::Object {
            return Ok(root);
        }
        self.node(first, 1)?;
        loop {
            match self.next()? {
                Event::StreamEnd => return Ok(root),
                Event::DocumentEnd | Event::Nothing => {}
                _ => return Err(self.syntax("another document begins without a line `---`")),
            }
        }
    }

    fn next(&mut self) -> Result<Event<'t>, YamlError> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => {
                self.line = span.start.line() as u64;
                Ok(event)
            }
            Some(Err(error)) => {
                if error.info().contains("recursion limit") {
                    return Err(YamlError::TooDeep);
                }
                self.line = error.marker().line() as u64;
                Err(self.syntax(error.info()))
            }
            None => Ok(Event::StreamEnd),
        }
    }

    fn node(&mut self, event: Event<'t>, depth: usize) -> Result<(), YamlError> {
        if depth > DEPTH_MAX {
            return Err(YamlError::TooDeep);
        }
        let from = self.out.len();
        let anchor = match event {
            Event::Alias(id) => {
                let range = self.anchor(id)?;
                self.room(range.len())?;
                self.out.extend_from_within(range);
                return Ok(());
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.scalar(&text, style, tag.as_deref())?;
                anchor
            }
            Event::SequenceStart(anchor, tag) => {
                self.tagged(tag.as_deref(), "seq")?;
                self.list(depth)?;
                anchor
            }
            Event::MappingStart(anchor, tag) => {
                self.tagged(tag.as_deref(), "map")?;
                self.mapping(depth)?;
                anchor
            }
            _ => return Err(self.syntax("a value is missing")),
        };
        self.room(0)?;
        if anchor != 0 {
            self.anchors.insert(anchor, from..self.out.len());
        }
        Ok(())
    }

    fn list(&mut self, depth: usize) -> Result<(), YamlError> {
        self.out.push(b'[');
        let mut first = true;
        loop {
            match self.next()? {
                Event::SequenceEnd => break,
                event => {
                    self.comma(&mut first);
                    self.node(event, depth + 1)?;
                }
            }
        }
        self.out.push(b']');
        Ok(())
    }

    fn mapping(&mut self, depth: usize) -> Result<(), YamlError> {
        self.out.push(b'{');
        let (mut first, mut seen, mut merges) = (true, HashSet::new(), Vec::new());
        loop {
            let key = match self.next()? {
                Event::MappingEnd => break,
                Event::Scalar(text, style, 0, tag) => {
                    if style == ScalarStyle::Plain && text == "<<" && tag.is_none() {
                        self.merge(&mut merges)?;
                        continue;
                    }
                    self.key(&text, style, tag.as_deref())?
                }
                _ => return Err(self.syntax("a key is not a text")),
            };
            self.comma(&mut first);
            self.text(&key);
            self.out.push(b':');
            let event = self.next()?;
            if !seen.insert(key.clone()) && !self.twice {
                return Err(self.syntax(&format!("the key {} is there twice", quoted(&key))));
            }
            self.node(event, depth + 1)?;
        }
        for range in merges {
            self.merge_in(range, &mut seen, &mut first)?;
        }
        self.out.push(b'}');
        Ok(())
    }

    /// What follows `<<`: an alias, or a list of aliases.
    fn merge(&mut self, merges: &mut Vec<Range<usize>>) -> Result<(), YamlError> {
        const WRONG: &str = "`<<` takes an alias of a mapping, or a list of such aliases";
        match self.next()? {
            Event::Alias(id) => merges.push(self.anchor(id)?),
            Event::SequenceStart(0, None) => loop {
                match self.next()? {
                    Event::Alias(id) => merges.push(self.anchor(id)?),
                    Event::SequenceEnd => break,
                    _ => return Err(self.syntax(WRONG)),
                }
            },
            _ => return Err(self.syntax(WRONG)),
        }
        if merges.iter().all(|range| self.out[range.start] == b'{') {
            Ok(())
        } else {
            Err(self.syntax(WRONG))
        }
    }

    /// Adds the entries of a mapping whose keys are not there yet.
    fn merge_in(
        &mut self,
        range: Range<usize>,
        seen: &mut HashSet<String>,
        first: &mut bool,
    ) -> Result<(), YamlError> {
        self.merged = self.merged.saturating_add(range.len());
        if self.merged > OBJECT_MAX {
            return Err(YamlError::TooLarge);
        }
        let source = self.out[range].to_vec();
        let entries: BTreeMap<String, &RawValue> =
            serde_json::from_slice(&source).map_err(|error| self.syntax(&error.to_string()))?;
        for (key, value) in entries {
            if !seen.contains(&key) {
                self.comma(first);
                self.text(&key);
                self.out.push(b':');
                self.out.extend_from_slice(value.get().as_bytes());
                seen.insert(key);
            }
        }
        Ok(())
    }

    /// A key is a text, whatever it means.
    fn key(
        &mut self,
        text: &str,
        style: ScalarStyle,
        tag: Option<&Tag>,
    ) -> Result<String, YamlError> {
        let is_text = self.is_text(style, tag)?;
        Ok(match scalar(text) {
            Scalar::Flag(flag) if !is_text => flag.to_string(),
            Scalar::Integer(number) if !is_text => number.to_string(),
            _ => text.to_owned(),
        })
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        tag: Option<&Tag>,
    ) -> Result<(), YamlError> {
        if self.is_text(style, tag)? {
            self.text(text);
            return Ok(());
        }
        let written = match scalar(text) {
            Scalar::Text => {
                self.text(text);
                return Ok(());
            }
            Scalar::Null => self.out.write_all(b"null"),
            Scalar::Flag(flag) => write!(self.out, "{flag}"),
            Scalar::Integer(number) => write!(self.out, "{number}"),
            // As other readers write what is whole.
            Scalar::Float(number) if number.fract() == 0.0 && number.abs() < 1e21 => {
                write!(self.out, "{number:.0}")
            }
            Scalar::Float(number) if number.is_finite() => {
                serde_json::to_writer(&mut *self.out, &number).map_err(Into::into)
            }
            Scalar::Float(_) => return Err(self.syntax("a number that is none in JSON")),
        };
        written.expect("memory takes it");
        Ok(())
    }

    fn text(&mut self, text: &str) {
        serde_json::to_writer(&mut *self.out, text).expect("memory takes it");
    }

    fn comma(&mut self, first: &mut bool) {
        if !std::mem::take(first) {
            self.out.push(b',');
        }
    }

    fn anchor(&self, id: usize) -> Result<Range<usize>, YamlError> {
        let range = self.anchors.get(&id).cloned();
        range.ok_or_else(|| self.syntax("an alias refers to the value it stands in"))
    }

    /// Whether a scalar is a text for the way it is written.
    fn is_text(&self, style: ScalarStyle, tag: Option<&Tag>) -> Result<bool, YamlError> {
        let Some(tag) = tag else { return Ok(style != ScalarStyle::Plain) };
        let suffix = tag.suffix.as_str();
        match tag.is_yaml_core_schema() {
            true if suffix == "str" => Ok(true),
            true if matches!(suffix, "int" | "bool" | "float" | "null") => Ok(false),
            false if tag.handle.is_empty() && suffix == "!" => Ok(true),
            _ => Err(self.odd(tag)),
        }
    }

    fn tagged(&self, tag: Option<&Tag>, own: &str) -> Result<(), YamlError> {
        match tag {
            Some(tag) if !(tag.is_yaml_core_schema() && tag.suffix == own) => Err(self.odd(tag)),
            _ => Ok(()),
        }
    }

    fn odd(&self, tag: &Tag) -> YamlError {
        self.syntax(&format!("the tag {} has no meaning here", quoted(&tag.to_string())))
    }

    fn room(&self, more: usize) -> Result<(), YamlError> {
        if self.out.len() + more > OBJECT_MAX { Err(YamlError::TooLarge) } else { Ok(()) }
    }

    fn syntax(&self, problem: &str) -> YamlError {
        YamlError::Syntax { line: self.line, problem: problem.to_owned() }
    }
}

/// What a scalar without quotes means in YAML 1.1.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Scalar {
    Null,
    Flag(bool),
    Integer(i128),
    Float(f64),
    Text,
}

fn scalar(text: &str) -> Scalar {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Scalar::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Scalar::Flag(true);
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Scalar::Flag(false);
        }
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF"
        | "-.inf" | "-.Inf" | "-.INF" => return Scalar::Float(f64::NAN),
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return Scalar::Text;
    }
    let digits = text.replace('_', "");
    if let Some(number) = integer(&digits) {
        return number;
    }
    match float(text) {
        true => digits.parse().map_or(Scalar::Text, Scalar::Float),
        false => Scalar::Text,
    }
}

/// A whole number, decimal or by its prefix; one that is too large for 64 bits is a float to others.
fn integer(text: &str) -> Option<Scalar> {
    let (negative, body) = match text.strip_prefix('-') {
        Some(body) => (true, body),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let prefixed = [("0x", 16), ("0X", 16), ("0b", 2), ("0B", 2), ("0o", 8), ("0O", 8)];
    let (digits, radix) = match prefixed
        .iter()
        .find_map(|(prefix, radix)| body.strip_prefix(prefix).map(|digits| (digits, *radix)))
    {
        Some(found) => found,
        None if body.len() > 1 && body.starts_with('0') => (&body[1..], 8),
        None => (body, 10),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| (byte as char).is_digit(radix)) {
        return None;
    }
    let value = i128::from_str_radix(digits, radix).ok().map(|n| if negative { -n } else { n });
    match value.filter(|n| (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(n)) {
        Some(number) => Some(Scalar::Integer(number)),
        None if radix == 10 => text.parse().ok().map(Scalar::Float),
        None => None,
    }
}

/// Whether it has the form of a float: digits, a point, an exponent with its sign or without.
fn float(text: &str) -> bool {
    let body = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match body.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (body, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let some = mantissa.bytes().any(|byte| byte.is_ascii_digit());
    let exponent = exponent.is_none_or(|text| {
        let body = text.strip_prefix(['+', '-']).unwrap_or(text);
        !body.is_empty() && body.bytes().all(|byte| byte.is_ascii_digit())
    });
    some && digits(whole) && digits(part) && exponent
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> String {
        let mut out = Vec::new();
        match to_json(text, &mut out) {
            Ok(Root::Object) => String::from_utf8(out).unwrap(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn scalars_mean_what_they_mean_to_readers_of_catalogs() {
        for (yaml, expected) in [
            ("1", "1"),
            ("-0x1F", "-31"),
            ("017", "15"),
            ("1_000", "1000"),
            ("08", "8"),
            ("1.10", "1.1"),
            ("1.0", "1"),
            ("1e3", "1000"),
            (".5", "0.5"),
            ("1e300", "1e+300"),
            ("18446744073709551615", "18446744073709551615"),
            ("yes", "true"),
            ("Off", "false"),
            ("~", "null"),
            ("", "null"),
            ("1.2.3", "\"1.2.3\""),
            ("4.18-rc", "\"4.18-rc\""),
            ("2024-01-02", "\"2024-01-02\""),
            ("<0.2.0", "\"<0.2.0\""),
            ("'1'", "\"1\""),
            ("!!str 1", "\"1\""),
            ("|\n  a\n  b\n", "\"a\\nb\\n\""),
            ("[1, {b: c}]", "[1,{\"b\":\"c\"}]"),
        ] {
            assert_eq!(json(&format!("a: {yaml}")), format!("{{\"a\":{expected}}}"), "{yaml}");
        }
        assert_eq!(json("1: a\ntrue: b\n'no': c"), r#"{"1":"a","true":"b","no":"c"}"#);
        assert_eq!(json("a: \"\\t\\u00e4\""), "{\"a\":\"\\t\u{e4}\"}");
    }

    #[test]
    fn aliases_and_merge_keys_are_filled_in() {
        let yaml = "a: &x {b: 1, c: 2}\nd: *x\ne: {<<: *x, c: 3}\nf: [*x]\n";
        let expected =
            r#"{"a":{"b":1,"c":2},"d":{"b":1,"c":2},"e":{"c":3,"b":1},"f":[{"b":1,"c":2}]}"#;
        assert_eq!(json(yaml), expected);
        let two = "a: &x {b: 1}\nc: &y {b: 2, d: 3}\ne:\n  <<: [*x, *y]\n";
        assert!(json(two).ends_with(r#""e":{"b":1,"d":3}}"#), "{}", json(two));
        for wrong in ["a: &x [1]\nb: {<<: *x}", "b: {<<: {a: 1}}", "a: &x {b: *x}", "a: *x"] {
            assert!(json(wrong).contains("Syntax"), "{wrong}: {}", json(wrong));
        }
    }

    #[test]
    fn what_grows_too_large_is_refused() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        let mut merges = String::new();
        for n in 1..12 {
            let before = vec![format!("*a{}", n - 1); 10].join(", ");
            bomb.push_str(&format!("a{n}: &a{n} [{before}]\n"));
        }
        assert_eq!(json(&bomb), "Err(TooLarge)");
        merges.push_str(&format!("big: &big {{t: \"{}\"}}\n", "x".repeat(1 << 20)));
        for n in 0..40 {
            merges.push_str(&format!("n{n}: {{t: 1, <<: *big}}\n"));
        }
        assert_eq!(json(&merges), "Err(TooLarge)");
        assert_eq!(json(&format!("a: {}", "[".repeat(200))), "Err(TooDeep)");
        let deep: String = (0..200).map(|n| format!("{}a:\n", " ".repeat(n))).collect();
        assert_eq!(json(&deep), "Err(TooDeep)");
    }

    #[test]
    fn other_documents_are_told() {
        assert_eq!(json("# only this\n"), "Ok(Nothing)");
        assert_eq!(json("- a\n"), "Ok(Other(\"a list\"))");
        assert_eq!(json("a\n"), "Ok(Other(\"a single value\"))");
        for (wrong, word) in [
            ("a: 1\na: 2", "there twice"),
            ("a: b: c", "Syntax"),
            ("a: \0", "null byte"),
            ("a: !x 1", "no meaning"),
            ("? [a]\n: b", "not a text"),
            ("a: .inf", "none in JSON"),
            ("a: 1\nb: c: d", "line: 2"),
        ] {
            assert!(json(wrong).contains(word), "{wrong}: {}", json(wrong));
        }
    }
}
