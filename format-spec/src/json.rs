//! Strict JSON: what is checked before a signed document becomes a value.
//!
//! RFC 8259 leaves duplicate names and number ranges to the reader, so two readers can see two
//! documents in the same bytes. Here duplicate names, floats, integers beyond 2^53 − 1, nesting
//! beyond [`DEPTH_MAX`] and trailing bytes are refused, and lists and objects that nobody needs so long.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{
    Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess,
    Visitor,
};

use crate::limits::{DEPTH_MAX, INTEGER_MAX, ITEMS_MAX, MEMBERS_MAX, STRING_MAX};

/// Why bytes are not a strict JSON document of the wanted shape.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct JsonError(String);

impl From<serde_json::Error> for JsonError {
    fn from(error: serde_json::Error) -> Self {
        // The message quotes the document, which nobody may have signed.
        Self(crate::digest::printable(&error.to_string(), 300))
    }
}

/// Parses `bytes` strictly.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, JsonError> {
    check(bytes)?;
    value(bytes)
}

/// Checks that `bytes` are one strict JSON document, of any shape.
pub(crate) fn check(bytes: &[u8]) -> Result<(), JsonError> {
    let mut strict = serde_json::Deserializer::from_slice(bytes);
    Strict { depth: DEPTH_MAX }.deserialize(&mut strict)?;
    Ok(strict.end()?)
}

/// The value in `bytes` that [`check`] has passed.
pub(crate) fn value<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, JsonError> {
    Ok(serde_json::from_slice(bytes)?)
}

/// Any JSON object. Derived structs also read themselves from an array of their fields, which is a
/// second spelling of the same document; a field of this type in a throw-away struct forbids it.
pub(crate) struct Object;

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Object)
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// Walks a document and keeps nothing.
#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(Self { depth }),
            None => Err(E::custom(format_args!("nested deeper than {DEPTH_MAX}"))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value without floats")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<(), E> {
        self.visit_u64(number.unsigned_abs())
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<(), E> {
        if number > INTEGER_MAX {
            return Err(E::custom("an integer beyond 2^53 − 1"));
        }
        Ok(())
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        at_most(text.len(), STRING_MAX, "bytes in one string")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        let mut count = 0;
        while items.next_element_seed(inner)?.is_some() {
            count += 1;
            at_most(count, ITEMS_MAX, "items in one list")?;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        let mut names = BTreeSet::new();
        while let Some(Name(name)) = map.next_key()? {
            at_most(name.len(), STRING_MAX, "bytes in one string")?;
            map.next_value_seed(inner)?;
            if let Some(name) = names.replace(name) {
                return Err(serde::de::Error::custom(format_args!(
                    "the name `{}` stands twice in one object",
                    crate::digest::clip(&name)
                )));
            }
            at_most(names.len(), MEMBERS_MAX, "names in one object")?;
        }
        Ok(())
    }
}

/// What is counted stays within a limit, before there is much of it.
fn at_most<E: serde::de::Error>(count: usize, limit: usize, what: &str) -> Result<(), E> {
    if count > limit {
        return Err(E::custom(format_args!("more than {limit} {what}")));
    }
    Ok(())
}

/// The name of a member, escapes resolved.
struct Name(String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strict(text: &str) -> bool {
        parse::<serde_json::Value>(text.as_bytes()).is_ok()
    }

    #[test]
    fn strictness() {
        assert!(strict(r#"{"a":[1,true,null,"x",{"b":-3}]}"#));
        for bad in [
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"x":{"a":1,"a":1}}"#,
            "1.5",
            "1e3",
            "-0",
            r#""\ud800""#,
            "9007199254740992",
            "-9007199254740992",
            "{} {}",
            "{}x",
            "\u{feff}{}",
            "",
        ] {
            assert!(!strict(bad), "{bad}");
        }
        assert!(strict(&format!("{}{}", "[".repeat(16), "]".repeat(16))));
        assert!(!strict(&format!("{}{}", "[".repeat(17), "]".repeat(17))));
        assert!(!strict(&"[".repeat(100_000)));
        let text = |n| format!("\"{}\"", "a".repeat(n));
        assert!(strict(&text(STRING_MAX)));
        assert!(!strict(&text(STRING_MAX + 1)));
        assert!(!strict(&format!("{{{}:0}}", text(STRING_MAX + 1))));
        let list = |n: usize| format!("[{}]", vec!["0"; n].join(","));
        assert!(strict(&list(ITEMS_MAX)));
        assert!(!strict(&list(ITEMS_MAX + 1)));
        let object = |n| {
            let members: Vec<String> = (0..n).map(|n| format!("\"{n}\":0")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert!(strict(&object(MEMBERS_MAX)));
        assert!(!strict(&object(MEMBERS_MAX + 1)));
    }
}
