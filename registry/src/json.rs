//! Strict JSON: what two readers could read differently is refused.
//!
//! In: bytes from outside, already bounded. Out: a tree without duplicate keys (the first or the last
//! would win, depending on the reader: GHSA-qq97-vm5h-rrhg is of that kind) and without deep nesting.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Parses one JSON document: no duplicate keys, at most `depth` levels, nothing after it.
pub(crate) fn parse(bytes: &[u8], depth: usize) -> Result<Value, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Level(depth).deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// How many levels may still be opened.
struct Level(usize);

impl Level {
    fn down<E: Error>(&self) -> Result<Self, E> {
        self.0.checked_sub(1).map(Self).ok_or_else(|| E::custom("nested too deeply"))
    }
}

impl<'de> DeserializeSeed<'de> for Level {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self.down()?)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = items.next_key::<String>()? {
            let value = items.next_value_seed(self.down()?)?;
            if map.contains_key(&key) {
                let key: String = key.chars().take(100).collect();
                return Err(A::Error::custom(format_args!("key `{key}` stands twice")));
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn duplicates_depth_and_trailing_bytes_are_refused() {
        assert!(parse(br#"{"a":{"b":[1,2,-3,1.5,null,true,"x"]}}"#, 4).is_ok());
        for bad in [&br#"{"a":1,"a":1}"#[..], br#"[{"x":{"a":1,"a":2}}]"#, b"{} {}", b"", b"[1,]"] {
            assert!(parse(bad, 16).is_err());
        }
        let deep = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(parse(deep(16).as_bytes(), 16).is_ok());
        assert!(parse(deep(17).as_bytes(), 16).is_err());
        assert!(parse("[".repeat(1 << 20).as_bytes(), 16).is_err());
    }

    proptest! {
        #[test]
        fn it_agrees_with_serde_json_on_what_it_accepts(text in r#"[\[\]{}:,"ab0-9. ]{0,40}"#) {
            if let Ok(value) = parse(text.as_bytes(), 16) {
                prop_assert_eq!(value, serde_json::from_str::<Value>(&text).unwrap());
            }
        }
    }
}
