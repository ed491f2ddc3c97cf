//! What is left of a package: the objects of the rebuilt catalog.
//!
//! In: a package, what is taken of it, the store. Out: its objects in the order package, channels, bundles, others,
//! deprecations. What must hold: an object of which nothing is left out keeps its bytes; of the others only what is left out
//! is missing, entries keep the updates they name.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::model::{Package, Place};
use super::select::Picked;
use super::store::{Store, StoreError};
use crate::error::fit;

/// An object of the rebuilt catalog.
#[derive(Debug)]
pub enum Object {
    /// As it stands in the store.
    Kept(Place),
    /// Without what is left out.
    Less(Vec<u8>),
}

/// Why it cannot be said what is left.
#[derive(Debug, thiserror::Error)]
pub enum LeftError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An object that cannot be understood though it could before.
    #[error("an object of package `{package}` cannot be written anew: {problem}")]
    Object {
        /// The package.
        package: String,
        /// What is wrong.
        problem: String,
    },
}

impl Object {
    /// Its bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Kept(place) => place.length.into(),
            Self::Less(bytes) => bytes.len() as u64,
        }
    }

    /// Its JSON.
    pub fn json(&self, store: &Store) -> Result<Bytes, StoreError> {
        match self {
            Self::Kept(place) => store.object(*place),
            Self::Less(bytes) => Ok(Bytes::copy_from_slice(bytes)),
        }
    }
}

/// What is left of a package.
pub fn objects(
    store: &Store,
    package: &Package,
    picked: &Picked,
) -> Result<Vec<Object>, LeftError> {
    let wrong = |error: serde_json::Error| LeftError::Object {
        package: picked.name.clone(),
        problem: fit(&error.to_string()),
    };
    let mut objects = Vec::with_capacity(picked.channels.len() + picked.bundles.len() + 2);
    objects.push(match picked.default_channel == package.default_channel {
        true => Object::Kept(package.object),
        false => {
            let json = store.object(package.object)?;
            Object::Less(with_default(&json, &picked.default_channel).map_err(wrong)?)
        }
    });
    for kept in &picked.channels {
        let Some(channel) = package.channels.get(kept.place) else { continue };
        if kept.entries.len() == channel.entries.len() {
            objects.push(Object::Kept(channel.object));
            continue;
        }
        let json = store.object(channel.object)?;
        let mut entries = kept.entries.iter().map(|entry| entry.place).peekable();
        let is_kept = |place: usize, _: &RawValue| entries.next_if(|kept| *kept == place).is_some();
        objects.push(Object::Less(with_entries(&json, is_kept).map_err(wrong)?.0));
    }
    let mut bundles: Vec<Place> = (picked.bundles.iter())
        .filter_map(|name| Some(package.bundles.get(name)?.object))
        .collect();
    // As they lie, so that no part of the store is read twice.
    bundles.sort_unstable();
    objects.extend(bundles.into_iter().map(Object::Kept));
    objects.extend(package.others.iter().copied().map(Object::Kept));
    if let Some(place) = package.deprecations {
        let json = store.object(place)?;
        let is_kept = |_: usize, entry: &RawValue| is_about_kept(entry, picked);
        let (less, left, all) = with_entries(&json, is_kept).map_err(wrong)?;
        match left {
            _ if left == all => objects.push(Object::Kept(place)),
            0 => {}
            _ => objects.push(Object::Less(less)),
        }
    }
    Ok(objects)
}

type Fields = BTreeMap<String, Box<RawValue>>;

fn with_default(json: &[u8], channel: &str) -> Result<Vec<u8>, serde_json::Error> {
    let mut fields: Fields = serde_json::from_slice(json)?;
    let value = serde_json::value::to_raw_value(channel)?;
    fields.insert("defaultChannel".to_owned(), value);
    serde_json::to_vec(&fields)
}

/// The object with some of its `entries`, how many those are, and how many there were.
fn with_entries(
    json: &[u8],
    mut is_kept: impl FnMut(usize, &RawValue) -> bool,
) -> Result<(Vec<u8>, usize, usize), serde_json::Error> {
    const ENTRIES: &str = "entries";
    let mut fields: Fields = serde_json::from_slice(json)?;
    let entries: Vec<Box<RawValue>> = match fields.get(ENTRIES) {
        None => Vec::new(),
        Some(entries) => serde_json::from_str::<Option<_>>(entries.get())?.unwrap_or_default(),
    };
    let all = entries.len();
    let left: Vec<_> = entries
        .into_iter()
        .enumerate()
        .filter(|(place, entry)| is_kept(*place, entry))
        .map(|(_, entry)| entry)
        .collect();
    let count = left.len();
    fields.insert(ENTRIES.to_owned(), serde_json::value::to_raw_value(&left)?);
    Ok((serde_json::to_vec(&fields)?, count, all))
}

/// Whether an entry of `olm.deprecations` is about something that is kept. One that says nothing is.
fn is_about_kept(entry: &RawValue, picked: &Picked) -> bool {
    #[derive(Deserialize)]
    struct Reference {
        schema: Option<String>,
        name: Option<String>,
    }
    #[derive(Deserialize)]
    struct Entry {
        reference: Option<Reference>,
    }
    let reference = serde_json::from_str::<Entry>(entry.get()).ok().and_then(|it| it.reference);
    reference.is_none_or(|Reference { schema, name }| {
        picked.keeps(&schema.unwrap_or_default(), &name.unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    #[test]
    fn what_is_left_keeps_its_spelling() {
        let json = br#"{"schema":"olm.channel", "entries":[ {"name":"a", "skips" : ["x"]},{"name":"b"},{"name":"c","n":1.50} ],"big":123456789012345678901234567890}"#;
        let (less, left, all) = with_entries(json, |place, _| place != 1).unwrap();
        assert_eq!((left, all), (2, 3));
        assert_eq!(
            std::str::from_utf8(&less).unwrap(),
            r#"{"big":123456789012345678901234567890,"entries":[{"name":"a", "skips" : ["x"]},{"name":"c","n":1.50}],"schema":"olm.channel"}"#
        );
        let none = with_entries(br#"{"entries":null}"#, |_, _| true).unwrap();
        assert_eq!((none.1, none.2), (0, 0));
        let other = with_default(br#"{"schema":"olm.package","icon":{"a":1}}"#, "fast").unwrap();
        let expected = json!({"schema": "olm.package", "icon": {"a": 1}, "defaultChannel": "fast"});
        assert_eq!(read(&other), expected);
    }
}
