//! Strict JSON: what two readers could read differently is refused.
//!
//! In: bytes from outside, already bounded, and what of the document is wanted. Out: a tree of that, without duplicate
//! keys (the first or the last would win, depending on the reader: GHSA-qq97-vm5h-rrhg is of that kind) and without
//! deep nesting. What must hold: the whole document is looked at, and only what is wanted is built; a document of many
//! small values is refused before it costs many times its bytes.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::limits::VALUES_MAX;

/// What is wanted of a value. Of anything else only [`Node::Other`] is kept: that it is there.
#[derive(Debug)]
pub(crate) enum Want {
    /// Nothing.
    Nothing,
    /// A text, number or truth.
    Scalar,
    /// These members of an object.
    Fields(&'static [(&'static str, Want)]),
    /// All members of an object.
    Members(&'static Want),
    /// All items of a list.
    Items(&'static Want),
    /// Each item of a list by itself: it is handed over under this name, and not kept. Of the list it is kept that it is
    /// there.
    Each(&'static str, &'static Want),
    #[cfg_attr(not(feature = "server"), allow(dead_code))]
    /// That it is a list or an object of texts: of one that is not, the first that is none is kept.
    Texts,
}

/// A value of a document; texts stay where they are as far as they can.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node<'a> {
    Null,
    Bool(bool),
    /// A whole number that is not negative.
    Number(u64),
    Text(Cow<'a, str>),
    List(Vec<Self>),
    Object(Object<'a>),
    /// Another number, or a value of another kind than what is wanted.
    Other,
}

/// The wanted members of an object.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Object<'a>(Vec<(Cow<'a, str>, Node<'a>)>);

impl<'a> Object<'a> {
    /// The value of a member that is wanted and there.
    pub(crate) fn get(&self, key: &str) -> Option<&Node<'a>> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// All of them, as they stand in the document.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Node<'a>)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value))
    }
}

impl<'a> Node<'a> {
    /// The text.
    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The whole number.
    pub(crate) fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The member of an object.
    #[cfg(feature = "server")]
    pub(crate) fn get(&self, key: &str) -> Option<&Node<'a>> {
        match self {
            Self::Object(object) => object.get(key),
            _ => None,
        }
    }
}

/// What takes the items of [`Want::Each`]: the name that is said there, the number of the item, the item.
type Take<'t> = dyn Fn(&'static str, usize, &Node<'_>) + 't;

/// Parses one JSON document: no duplicate keys, at most `depth` levels and [`VALUES_MAX`] values, nothing after it.
pub(crate) fn parse<'a>(
    bytes: &'a [u8],
    depth: usize,
    want: &'static Want,
) -> Result<Node<'a>, serde_json::Error> {
    parse_each(bytes, depth, want, &|_, _, _| {})
}

/// The same where lists are handed over item by item. What comes of them holds only when the whole document does.
pub(crate) fn parse_each<'a>(
    bytes: &'a [u8],
    depth: usize,
    want: &'static Want,
    take: &Take<'_>,
) -> Result<Node<'a>, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let left = Cell::new(VALUES_MAX);
    let node = Level { depth, left: &left, take, want }.deserialize(&mut reader)?;
    reader.end()?;
    Ok(node)
}

/// How many levels and values may still come, and what is wanted of the next one.
struct Level<'c> {
    depth: usize,
    left: &'c Cell<usize>,
    take: &'c Take<'c>,
    want: &'static Want,
}

impl Level<'_> {
    fn down<E: Error>(&self, want: &'static Want) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| E::custom("nested too deeply"))?;
        Ok(Self { depth, left: self.left, take: self.take, want })
    }

    fn scalar<'a>(&self, node: impl FnOnce() -> Node<'a>) -> Node<'a> {
        match self.want {
            Want::Scalar => node(),
            _ => Node::Other,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Level<'_> {
    type Value = Node<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node<'de>, D::Error> {
        let left = self.left.get().checked_sub(1);
        self.left.set(left.ok_or_else(|| {
            D::Error::custom(format_args!("it has more than {VALUES_MAX} values"))
        })?);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level<'_> {
    type Value = Node<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Node<'de>, E> {
        Ok(self.scalar(|| Node::Bool(value)))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Node<'de>, E> {
        Ok(Node::Other)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Node<'de>, E> {
        Ok(self.scalar(|| Node::Number(value)))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Node<'de>, E> {
        Ok(Node::Other)
    }

    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<Node<'de>, E> {
        Ok(self.scalar(|| Node::Text(Cow::Borrowed(value))))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Node<'de>, E> {
        Ok(self.scalar(|| Node::Text(Cow::Owned(value.to_owned()))))
    }

    fn visit_unit<E: Error>(self) -> Result<Node<'de>, E> {
        Ok(Node::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node<'de>, A::Error> {
        let (mut list, mut number) = (Vec::new(), 0);
        let of_items = match self.want {
            Want::Items(want) | Want::Each(_, want) => want,
            Want::Texts => &Want::Scalar,
            _ => &Want::Nothing,
        };
        while let Some(item) = items.next_element_seed(self.down(of_items)?)? {
            match self.want {
                Want::Items(_) => list.push(item),
                Want::Each(name, _) => (self.take)(name, number, &item),
                Want::Texts if list.is_empty() && item.as_str().is_none() => list.push(item),
                _ => {}
            }
            number += 1;
        }
        match self.want {
            Want::Items(_) | Want::Each(..) | Want::Texts => {
                list.shrink_to_fit();
                Ok(Node::List(list))
            }
            _ => Ok(Node::Other),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Node<'de>, A::Error> {
        let mut keys: Vec<Cow<'de, str>> = Vec::new();
        let mut kept = Vec::new();
        while let Some(key) = items.next_key_seed(Key)? {
            let want = match self.want {
                Want::Fields(fields) => {
                    fields.iter().find(|(name, _)| *name == key).map(|(_, want)| want)
                }
                Want::Members(want) => Some(*want),
                Want::Texts => Some(&Want::Scalar),
                _ => None,
            };
            let value = items.next_value_seed(self.down(want.unwrap_or(&Want::Nothing))?)?;
            let keep = match self.want {
                Want::Texts => kept.is_empty() && value.as_str().is_none(),
                _ => want.is_some(),
            };
            if keep {
                kept.push((key.clone(), value));
            }
            keys.push(key);
        }
        // Sorted in place: a set would cost twice as much, in small pieces that the allocator keeps for a while.
        keys.sort_unstable();
        if let Some(twice) = keys.windows(2).find(|keys| keys[0] == keys[1]) {
            let key: String = twice[0].chars().take(100).collect();
            return Err(A::Error::custom(format_args!("key `{key}` stands twice")));
        }
        match self.want {
            Want::Fields(_) | Want::Members(_) | Want::Texts => {
                kept.shrink_to_fit();
                Ok(Node::Object(Object(kept)))
            }
            _ => Ok(Node::Other),
        }
    }
}

/// The key of a member, which stays where it is unless it has escapes.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E: Error>(self, key: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    /// All of a document of few levels.
    static ALL: Want = Want::Members(&Want::Members(&Want::Scalar));

    #[test]
    fn duplicates_depth_and_trailing_bytes_are_refused() {
        for want in [&ALL, &Want::Nothing] {
            let parse = |bytes: &[u8], depth| parse(bytes, depth, want).map(drop);
            assert!(parse(br#"{"a":{"b":[1,2,-3,1.5,null,true,"x"]}}"#, 4).is_ok());
            for bad in [
                &br#"{"a":1,"a":1}"#[..],
                br#"{"a":1,"\u0061":1}"#,
                br#"[{"x":{"a":1,"a":2}}]"#,
                br#"{"a":[[{"a":[],"b":{},"a":0}]]}"#,
                b"{} {}",
                b"",
                b"[1,]",
                b"\"\xff\"",
            ] {
                assert!(parse(bad, 16).is_err(), "{}", String::from_utf8_lossy(bad));
            }
            let deep = |n: usize| "[".repeat(n) + &"]".repeat(n);
            assert!(parse(deep(16).as_bytes(), 16).is_ok());
            assert!(parse(deep(17).as_bytes(), 16).is_err());
            assert!(parse("[".repeat(1 << 20).as_bytes(), 16).is_err());
        }
    }

    #[test]
    fn only_what_is_wanted_is_built() {
        static WANT: Want = Want::Fields(&[
            ("text", Want::Scalar),
            ("list", Want::Items(&Want::Fields(&[("n", Want::Scalar)]))),
            ("there", Want::Nothing),
            ("map", Want::Members(&Want::Scalar)),
        ]);
        let text = br#"{"x":[{"":0}],"text":"a\u00e9","list":[{"n":1,"m":[2]},3],"there":{"y":[]},"map":{"k":"v","l":[1]}}"#;
        let node = parse(text, 16, &WANT).unwrap();
        let Node::Object(object) = &node else { panic!() };
        assert_eq!(
            object.iter().map(|(key, _)| key).collect::<Vec<_>>(),
            ["text", "list", "there", "map"]
        );
        assert_eq!(object.get("text").unwrap().as_str(), Some("aé"));
        assert_eq!(object.get("there"), Some(&Node::Other));
        let item = Object(vec![("n".into(), Node::Number(1))]);
        assert_eq!(object.get("list"), Some(&Node::List(vec![Node::Object(item), Node::Other])));
        let map = vec![("k".into(), Node::Text("v".into())), ("l".into(), Node::Other)];
        assert_eq!(object.get("map"), Some(&Node::Object(Object(map))));
        // Of another kind than what is wanted.
        let node = parse(br#"{"text":{"a":1},"list":{"n":1},"map":[1]}"#, 16, &WANT).unwrap();
        let Node::Object(object) = node else { panic!() };
        assert!(object.iter().all(|(_, value)| *value == Node::Other));
    }

    #[test]
    fn items_are_handed_over_one_by_one_and_texts_are_only_looked_at() {
        static WANT: Want = Want::Fields(&[
            ("list", Want::Each("it", &Want::Fields(&[("n", Want::Scalar), ("t", Want::Texts)]))),
            ("map", Want::Texts),
        ]);
        let parse = |text: &str| {
            let taken = RefCell::new(vec![]);
            let node = parse_each(text.as_bytes(), 16, &WANT, &|name, number, item| {
                let n = item.get("n").and_then(Node::as_u64);
                taken.borrow_mut().push((name, number, n, format!("{:?}", item.get("t"))));
            });
            let Node::Object(object) = node.unwrap() else { panic!() };
            let texts = |name| format!("{:?}", object.get(name));
            (taken.into_inner(), texts("list"), texts("map"))
        };
        let (there, none) = ("Some(List([]))".to_owned(), "None".to_owned());
        let (taken, list, map) =
            parse(r#"{"list":[{"n":1,"t":["a","\u0061"]},{"n":2},3],"map":{"k":"v","l":"\n"}}"#);
        let item = |number, n: Option<u64>, t: &String| ("it", number, n, t.clone());
        assert_eq!(
            taken,
            [item(0, Some(1), &there), item(1, Some(2), &none), item(2, None, &none)]
        );
        assert_eq!((list, map), (there, "Some(Object(Object([])))".to_owned()));
        // The first that is no text is kept, so that it can be told.
        let (taken, list, map) =
            parse(r#"{"list":[{"t":["a",1,2]},{"t":{"a":[]}}],"map":{"a":"","b":null,"c":1}}"#);
        assert_eq!(
            (taken[0].3.as_str(), list.as_str()),
            ("Some(List([Number(1)]))", "Some(List([]))")
        );
        assert_eq!(taken[1].3, r#"Some(Object(Object([("a", Other)])))"#);
        assert_eq!(map, r#"Some(Object(Object([("b", Null)])))"#);
        let (taken, list, map) = parse(r#"{"list":{"n":1},"map":[1]}"#);
        assert!(taken.is_empty());
        assert_eq!((list.as_str(), map.as_str()), ("Some(Other)", "Some(List([Number(1)]))"));
    }

    #[test]
    fn many_small_values_are_refused_wherever_they_stand() {
        let of = |n: usize| format!(r#"{{"x":[{}0]}}"#, r#"{"":0},"#.repeat(n));
        assert!(parse(of(VALUES_MAX / 2 - 2).as_bytes(), 16, &ALL).is_ok());
        let error = parse(of(VALUES_MAX / 2).as_bytes(), 16, &ALL).unwrap_err().to_string();
        assert!(error.contains("more than") && error.contains("values"), "{error}");
        assert!(parse(format!("[{}0]", "0,".repeat(VALUES_MAX)).as_bytes(), 16, &ALL).is_err());
    }

    proptest! {
        #[test]
        fn it_agrees_with_serde_json_on_what_it_accepts(text in r#"[\[\]{}:,"ab0-9. ]{0,40}"#) {
            if let Ok(node) = parse(text.as_bytes(), 16, &ALL) {
                let value = serde_json::from_str::<Value>(&text).unwrap();
                match (node, value) {
                    (Node::Object(object), Value::Object(map)) => {
                        prop_assert_eq!(object.iter().count(), map.len());
                        for (key, node) in object.iter() {
                            let value = &map[key];
                            prop_assert_eq!(matches!(node, Node::Object(_)), value.is_object());
                        }
                    }
                    (node, value) => {
                        prop_assert!(!value.is_object());
                        prop_assert!(matches!(node, Node::Other | Node::Null));
                    }
                }
            }
        }
    }
}
