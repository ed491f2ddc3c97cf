//! The outer form of an object, gone through once as it lies there.
//!
//! In: its JSON. Out: the fields that mean something, as they are written. What must hold: whatever else it has is valid JSON and
//! is not copied; no key is there twice, whatever the case it is written in, for readers differ about which one counts; no
//! list is longer than any real one.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::limits::LIST_MAX;
use super::wording::quoted;

/// An object, read once and as a whole.
#[derive(Default)]
pub(super) struct Top<'a> {
    pub(super) schema: Option<&'a RawValue>,
    pub(super) name: Option<&'a RawValue>,
    pub(super) package: Option<&'a RawValue>,
    pub(super) default_channel: Option<&'a RawValue>,
    pub(super) entries: Option<&'a RawValue>,
    pub(super) properties: Properties<'a>,
}

/// The properties of an object, of whatever form they are: only some schemas have them.
#[derive(Default)]
pub(super) struct Properties<'a> {
    pub(super) list: Vec<Property<'a>>,
    /// Whether they are something else than a list of objects.
    pub(super) odd: bool,
}

#[derive(Default)]
pub(super) struct Property<'a> {
    pub(super) kind: Option<&'a RawValue>,
    pub(super) value: Option<&'a RawValue>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Top<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(TopVisitor)
    }
}

struct TopVisitor;

impl<'de> Visitor<'de> for TopVisitor {
    type Value = Top<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Top<'de>, A::Error> {
        let mut top = Top::default();
        let mut seen = Seen::default();
        while let Some(Key(key)) = map.next_key()? {
            match &*key {
                "schema" => top.schema = Some(map.next_value()?),
                "name" => top.name = Some(map.next_value()?),
                "package" => top.package = Some(map.next_value()?),
                "defaultChannel" => top.default_channel = Some(map.next_value()?),
                "entries" => top.entries = Some(map.next_value()?),
                "properties" => top.properties = map.next_value()?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            seen.add(key)?;
        }
        Ok(top)
    }
}

/// The keys of one mapping. Readers in Go take them in any case, and the last one counts.
#[derive(Default)]
struct Seen<'a> {
    few: Vec<Cow<'a, str>>,
    many: HashSet<String>,
}

impl<'a> Seen<'a> {
    fn add<E: de::Error>(&mut self, key: Cow<'a, str>) -> Result<(), E> {
        const FEW: usize = 16;
        let twice = if self.few.len() < FEW {
            self.few.iter().any(|other| other.eq_ignore_ascii_case(&key))
        } else {
            if self.many.is_empty() {
                self.many.extend(self.few.iter().map(|key| key.to_ascii_lowercase()));
            }
            !self.many.insert(key.to_ascii_lowercase())
        };
        if twice {
            return Err(E::custom(format_args!("the key {} is there twice", quoted(&key))));
        }
        if self.few.len() < FEW {
            self.few.push(key);
        }
        Ok(())
    }
}

/// A key, borrowed where it can be.
struct Key<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Key<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E: de::Error>(self, key: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(key)))
            }

            fn visit_str<E: de::Error>(self, key: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(key.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Properties<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PropertiesVisitor)
    }
}

/// Scalars where something else is expected, which is told later, if ever.
macro_rules! odd {
    ($value:ty, $odd:expr) => {
        fn visit_bool<E>(self, _: bool) -> Result<$value, E> {
            Ok($odd)
        }

        fn visit_i64<E>(self, _: i64) -> Result<$value, E> {
            Ok($odd)
        }

        fn visit_u64<E>(self, _: u64) -> Result<$value, E> {
            Ok($odd)
        }

        fn visit_f64<E>(self, _: f64) -> Result<$value, E> {
            Ok($odd)
        }

        fn visit_str<E>(self, _: &str) -> Result<$value, E> {
            Ok($odd)
        }
    };
}

/// Takes whatever comes, so that it is gone through once.
struct PropertiesVisitor;

impl<'de> Visitor<'de> for PropertiesVisitor {
    type Value = Properties<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("properties")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Properties<'de>, A::Error> {
        let mut properties = Properties::default();
        while let Some(Element(property)) = seq.next_element()? {
            match property {
                Some(_) if properties.list.len() == LIST_MAX => return Err(too_many()),
                Some(property) => properties.list.push(property),
                None => properties.odd = true,
            }
        }
        Ok(properties)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Properties<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Properties { list: Vec::new(), odd: true })
    }

    fn visit_unit<E>(self) -> Result<Properties<'de>, E> {
        Ok(Properties::default())
    }

    odd!(Properties<'de>, Properties { list: Vec::new(), odd: true });
}

/// One of the properties; `None` is something else than an object.
struct Element<'a>(Option<Property<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Element<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ElementVisitor)
    }
}

struct ElementVisitor;

impl<'de> Visitor<'de> for ElementVisitor {
    type Value = Element<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a property")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Element<'de>, A::Error> {
        let (mut property, mut seen) = (Property::default(), Seen::default());
        while let Some(Key(key)) = map.next_key()? {
            match &*key {
                "type" => property.kind = Some(map.next_value()?),
                "value" => property.value = Some(map.next_value()?),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            seen.add(key)?;
        }
        Ok(Element(Some(property)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Element<'de>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Element(None))
    }

    fn visit_unit<E>(self) -> Result<Element<'de>, E> {
        Ok(Element(None))
    }

    odd!(Element<'de>, Element(None));
}

/// A list of no more elements than any real one.
pub(super) struct Few<T>(pub(super) Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Few<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FewVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for FewVisitor<T> {
            type Value = Few<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Few<T>, A::Error> {
                let mut few = Vec::new();
                while let Some(element) = seq.next_element()? {
                    if few.len() == LIST_MAX {
                        return Err(too_many());
                    }
                    few.push(element);
                }
                Ok(Few(few))
            }
        }
        deserializer.deserialize_seq(FewVisitor(PhantomData))
    }
}

fn too_many<E: de::Error>() -> E {
    E::custom(format_args!("a list of more than {LIST_MAX} elements"))
}
