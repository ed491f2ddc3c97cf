//! JSON as the containers tools read it in policies and signatures: strictly.
//!
//! In: bytes, already bounded. Out: the document. What must hold: a key that is there twice is an error and not the first or
//! the last of them, and nothing stands behind the document.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Json {
    Null,
    Text(String),
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
    Bool(bool),
    /// A number that is whole.
    Whole,
    /// Another number.
    Fraction,
}

impl Json {
    /// Reads one document.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }

    /// What it is, for a message.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
            Self::Bool(_) => "a truth",
            Self::Whole | Self::Fraction => "a number",
        }
    }

    /// The members of an object that has exactly these.
    pub(super) fn exactly<const N: usize>(self, names: [&str; N]) -> Result<[Self; N], String> {
        let Self::Object(members) = self else {
            return Err(format!("{} stands where an object belongs", self.kind()));
        };
        let mut values = names.map(|_| None);
        for (name, value) in members {
            match names.iter().position(|known| *known == name) {
                Some(at) => values[at] = Some(value),
                None => return Err(format!("it has the unknown field {}", super::quoted(&name))),
            }
        }
        if let Some(at) = values.iter().position(Option::is_none) {
            return Err(format!("it has no field `{}`", names[at]));
        }
        Ok(values.map(|value| value.unwrap_or(Self::Null)))
    }

    /// The text.
    pub(super) fn text(self) -> Result<String, String> {
        match self {
            Self::Text(text) => Ok(text),
            other => Err(format!("{} stands where a text belongs", other.kind())),
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Json, E> {
        Ok(Json::Bool(truth))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Json, E> {
        Ok(Json::Whole)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Json, E> {
        Ok(Json::Whole)
    }

    fn visit_f64<E>(self, number: f64) -> Result<Json, E> {
        Ok(if number.fract() == 0.0 { Json::Whole } else { Json::Fraction })
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Json, E> {
        Ok(Json::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut members = Vec::new();
        let mut seen = std::collections::HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if !seen.insert(name.clone()) {
                return Err(A::Error::custom(format_args!(
                    "the key {} is there twice",
                    super::quoted(&name)
                )));
            }
            members.push((name, map.next_value()?));
        }
        Ok(Json::Object(members))
    }
}
