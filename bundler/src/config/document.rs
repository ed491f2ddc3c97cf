//! A YAML or JSON document that somebody else wrote, as plain values.
//!
//! In: its text. Out: values, read with the same care as a configuration (one document, no key twice, bounded nesting and
//! number of values), for readers that know which fields they want and pass over the rest.

use serde_json::{Map, Value};

use super::finding::{ConfigErrors, Report};
use super::scalar::{Plain, plain};
use super::tree::{self, Node};

/// The document; or what is wrong with it, in one line. Numbers stay the texts that they are.
pub(crate) fn read(text: &str, name: &str) -> Result<Value, String> {
    let mut report = Report::new(name);
    let root = tree::read(text, &mut report);
    match (root, report.finish()) {
        (Some(root), Ok(_)) => Ok(value(root)),
        (_, Err(ConfigErrors::Invalid { findings, .. })) if !findings.is_empty() => {
            Err(findings[0].to_string())
        }
        _ => Err(format!("{name}: it cannot be read")),
    }
}

fn value(node: Node) -> Value {
    match node.value {
        tree::Value::List(items) => Value::Array(items.into_iter().map(value).collect()),
        tree::Value::Map(entries) => {
            let entries = entries.into_iter().map(|entry| (entry.key, value(entry.node)));
            Value::Object(entries.collect::<Map<_, _>>())
        }
        tree::Value::Scalar { text, plain: false } => Value::String(text),
        tree::Value::Scalar { text, plain: true } => match plain(&text) {
            Plain::Null => Value::Null,
            Plain::Flag(flag) => Value::Bool(flag),
            Plain::Number | Plain::OldFlag | Plain::Text => Value::String(text),
        },
    }
}
