//! A small document and its two spellings: YAML for people, JSON for programs.
//!
//! In: a tree of maps, lists, texts and numbers. Out: bytes. What must hold: the same tree gives the same bytes, keys in
//! the order in which they were put; every text reads back as that text, in YAML 1.1 and 1.2 alike: what could be taken
//! for a number, a truth value, a date or syntax stands in quotes.

use std::fmt::Write as _;

use serde_json::{Map, Number, Value};

/// A part of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    /// A text.
    Text(String),
    /// A number.
    Number(Number),
    /// `true` or `false`.
    Flag(bool),
    /// Nothing.
    Null,
    /// A list.
    List(Vec<Node>),
    /// Names and values, in this order.
    Map(Vec<(String, Node)>),
}

impl From<Value> for Node {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(flag) => Self::Flag(flag),
            Value::Number(number) => Self::Number(number),
            Value::String(text) => Self::Text(text),
            Value::Array(items) => Self::List(items.into_iter().map(Self::from).collect()),
            Value::Object(pairs) => Self::from(pairs),
        }
    }
}

impl From<Map<String, Value>> for Node {
    fn from(pairs: Map<String, Value>) -> Self {
        Self::Map(pairs.into_iter().map(|(name, value)| (name, value.into())).collect())
    }
}

/// A text.
pub(crate) fn text(text: impl Into<String>) -> Node {
    Node::Text(text.into())
}

/// A list of texts.
pub(crate) fn texts<'a>(texts: impl IntoIterator<Item = &'a String>) -> Node {
    Node::List(texts.into_iter().map(text).collect())
}

/// A map in the order of its pairs.
pub(crate) fn map<const N: usize>(pairs: [(&str, Node); N]) -> Node {
    Node::Map(pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// Several documents in one YAML file.
pub(crate) fn yaml(documents: &[Node]) -> Vec<u8> {
    let mut out = String::new();
    for (number, document) in documents.iter().enumerate() {
        if number > 0 {
            out.push_str("---\n");
        }
        block(&mut out, document, 0, false);
    }
    out.into_bytes()
}

/// One document as JSON.
pub(crate) fn json(document: &Node) -> Vec<u8> {
    let mut out = String::new();
    object(&mut out, document, 0);
    out.push('\n');
    out.into_bytes()
}

/// The bytes that a document takes as YAML.
pub(crate) fn yaml_len(document: &Node) -> usize {
    yaml(std::slice::from_ref(document)).len()
}

/// Writes a node as lines; `begun` when its first line is behind a dash already.
fn block(out: &mut String, node: &Node, indent: usize, begun: bool) {
    match node {
        Node::Map(pairs) if !pairs.is_empty() => {
            for (number, (name, value)) in pairs.iter().enumerate() {
                if number > 0 || !begun {
                    pad(out, indent);
                }
                out.push_str(&scalar(name));
                out.push(':');
                below(out, value, indent);
            }
        }
        Node::List(items) if !items.is_empty() => {
            for (number, item) in items.iter().enumerate() {
                if number > 0 || !begun {
                    pad(out, indent);
                }
                out.push_str("- ");
                block(out, item, indent + 2, true);
            }
        }
        leaf => {
            if !begun {
                pad(out, indent);
            }
            inline(out, leaf);
            out.push('\n');
        }
    }
}

/// Writes the value of a name: behind it, or as a block on the lines below.
fn below(out: &mut String, value: &Node, indent: usize) {
    match value {
        Node::Map(pairs) if !pairs.is_empty() => {
            out.push('\n');
            block(out, value, indent + 2, false);
        }
        // A list stands as deep as its name, as `oc` writes it.
        Node::List(items) if !items.is_empty() => {
            out.push('\n');
            block(out, value, indent, false);
        }
        leaf => {
            out.push(' ');
            inline(out, leaf);
            out.push('\n');
        }
    }
}

fn inline(out: &mut String, node: &Node) {
    match node {
        Node::Text(text) => out.push_str(&scalar(text)),
        Node::Number(number) => {
            let _ = write!(out, "{number}");
        }
        Node::Flag(flag) => {
            let _ = write!(out, "{flag}");
        }
        Node::Null => out.push_str("null"),
        Node::List(_) => out.push_str("[]"),
        Node::Map(_) => out.push_str("{}"),
    }
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

/// A text as YAML: plain where nobody can take it for anything else, else in double quotes.
fn scalar(text: &str) -> String {
    if is_plain(text) { text.to_owned() } else { quoted(text) }
}

fn is_plain(text: &str) -> bool {
    // What begins with a letter is no number and no date; these words are truth values or nothing to somebody.
    const WORDS: &[&str] = &["true", "false", "yes", "no", "on", "off", "y", "n", "null"];
    let inner = |c: u8| c.is_ascii_alphanumeric() || b"._/@-+=:".contains(&c);
    text.as_bytes().first().is_some_and(u8::is_ascii_alphabetic)
        && text.bytes().all(inner)
        && !text.ends_with(':')
        && !WORDS.contains(&&*text.to_ascii_lowercase())
}

/// A JSON string is a YAML scalar in double quotes, but for the characters that YAML takes for line ends.
fn quoted(text: &str) -> String {
    let json = Value::from(text).to_string();
    json.replace('\u{85}', "\\u0085")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
        .replace('\u{7f}', "\\u007f")
        .replace('\u{feff}', "\\ufeff")
}

fn object(out: &mut String, node: &Node, indent: usize) {
    let line = |out: &mut String, number: usize, indent: usize| {
        out.push_str(if number > 0 { ",\n" } else { "\n" });
        pad(out, indent);
    };
    match node {
        Node::Map(pairs) if !pairs.is_empty() => {
            out.push('{');
            for (number, (name, value)) in pairs.iter().enumerate() {
                line(out, number, indent + 2);
                let _ = write!(out, "{}: ", quoted(name));
                object(out, value, indent + 2);
            }
            line(out, 0, indent);
            out.push('}');
        }
        Node::List(items) if !items.is_empty() => {
            out.push('[');
            for (number, item) in items.iter().enumerate() {
                line(out, number, indent + 2);
                object(out, item, indent + 2);
            }
            line(out, 0, indent);
            out.push(']');
        }
        Node::Text(text) => out.push_str(&quoted(text)),
        leaf => inline(out, leaf),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Node {
        let item = |source: &str| {
            map([("source", text(source)), ("mirrors", texts(&["m.lan:5000/a".to_owned()]))])
        };
        map([
            ("kind", text("K")),
            ("metadata", map([("name", text("n-0")), ("labels", map([("a.b/c", text(""))]))])),
            (
                "spec",
                map([
                    ("replicas", Node::Number(2.into())),
                    ("list", Node::List(vec![item("q.io/a"), item("10.0.0.1:5000/b")])),
                    ("none", Node::List(Vec::new())),
                    ("empty", Node::Map(Vec::new())),
                ]),
            ),
        ])
    }

    #[test]
    fn yaml_looks_as_people_expect() {
        let expected = "\
kind: K
metadata:
  name: n-0
  labels:
    a.b/c: \"\"
spec:
  replicas: 2
  list:
  - source: q.io/a
    mirrors:
    - m.lan:5000/a
  - source: \"10.0.0.1:5000/b\"
    mirrors:
    - m.lan:5000/a
  none: []
  empty: {}
";
        assert_eq!(String::from_utf8(yaml(&[sample()])).unwrap(), expected);
        let two = String::from_utf8(yaml(&[text("a"), text("b")])).unwrap();
        assert_eq!(two, "a\n---\nb\n");
    }

    #[test]
    fn json_is_json() {
        let value: Value = serde_json::from_slice(&json(&sample())).unwrap();
        assert_eq!(value["spec"]["list"][1]["source"], "10.0.0.1:5000/b");
        assert_eq!(value["spec"]["replicas"], 2);
        assert_eq!(value["spec"]["none"], serde_json::json!([]));
    }

    #[test]
    fn what_others_wrote_stays_what_it_is() {
        let value = serde_json::json!({
            "a": {"flag": true, "none": null, "below": -5, "yes": "yes", "digits": "10"},
            "b": [{"no": false}, [1, []], "x"],
        });
        let expected = "\
a:
  below: -5
  digits: \"10\"
  flag: true
  none: null
  \"yes\": \"yes\"
b:
- \"no\": false
- - 1
  - []
- x
";
        let node = Node::from(value.clone());
        assert_eq!(String::from_utf8(yaml(std::slice::from_ref(&node))).unwrap(), expected);
        assert_eq!(serde_json::from_slice::<Value>(&json(&node)).unwrap(), value);
    }

    #[test]
    fn what_could_be_something_else_is_quoted() {
        for odd in [
            "",
            "1",
            "1.2",
            "0x1f",
            "1e3",
            "12:30:45",
            "2001-01-01",
            "true",
            "Yes",
            "n",
            "null",
            "~",
            "a: b",
            "a #b",
            "a:",
            "-",
            "- a",
            "@a",
            "*a",
            "&a",
            "a\nb",
            "\u{85}",
            "\u{2028}",
            "\"",
            "'",
            "{}",
            "é",
            ".5",
            "=",
            "!x",
        ] {
            assert!(scalar(odd).starts_with('"'), "{odd:?}");
        }
        for plain in ["idms-release-0", "quay.io/a/b", "m.lan:5000/a", "owGbwMvM+x/a=="] {
            assert_eq!(scalar(plain), plain);
        }
    }
}
