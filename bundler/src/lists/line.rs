//! One line of a list of images or of a mapping file.
//!
//! In: the text of a line, without its end. Out: images, each with the names that it gets, or what is wrong. The rules are those
//! of `oc image mirror -f`: `SRC=DST` once or several times, or `SRC DST [DST…]`; `#` begins a comment wherever it stands. A
//! line of one word is a list's: the image keeps its name.

/// What a line asks for: an image, and its new names where it has some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked<'a> {
    pub(super) source: &'a str,
    /// Empty: it keeps its name.
    pub(super) names: Vec<&'a str>,
}

/// Reads a line. A comment and an empty line ask for nothing.
pub(super) fn read(line: &str) -> Result<Vec<Asked<'_>>, &'static str> {
    let line = line.split('#').next().unwrap_or_default();
    let words: Vec<&str> = line.split_whitespace().collect();
    if words.is_empty() {
        return Ok(Vec::new());
    }
    let pairs: Vec<(&str, &str)> = words.iter().filter_map(|word| word.split_once('=')).collect();
    if pairs.is_empty() {
        let (source, names) = (words[0], words[1..].to_vec());
        return Ok(vec![Asked { source, names }]);
    }
    if pairs.len() < words.len() {
        return Err("it has pairs `SRC=DST` and words that are none");
    }
    let mut asked: Vec<Asked<'_>> = Vec::new();
    for (source, name) in pairs {
        if source.is_empty() || name.is_empty() || name.contains('=') {
            return Err("expected `SRC=DST`");
        }
        match asked.iter_mut().find(|one| one.source == source) {
            Some(one) => one.names.push(name),
            None => asked.push(Asked { source, names: vec![name] }),
        }
    }
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked<'a>(source: &'a str, names: &[&'a str]) -> Asked<'a> {
        Asked { source, names: names.to_vec() }
    }

    #[test]
    fn images_alone_pairs_and_words() {
        for nothing in ["", "   ", "# quay.io/a:1", "\t# x=y"] {
            assert_eq!(read(nothing), Ok(Vec::new()), "{nothing:?}");
        }
        assert_eq!(read(" quay.io/a:1 # the first"), Ok(vec![asked("quay.io/a:1", &[])]));
        assert_eq!(read("a.io/x:1=m.lan/y:1"), Ok(vec![asked("a.io/x:1", &["m.lan/y:1"])]));
        assert_eq!(
            read("a.io/x=m.lan/y a.io/x=m.lan/z b.io/x=m.lan/w"),
            Ok(vec![asked("a.io/x", &["m.lan/y", "m.lan/z"]), asked("b.io/x", &["m.lan/w"])])
        );
        assert_eq!(
            read("a.io/x:1 m.lan/y:1 m.lan/z:1"),
            Ok(vec![asked("a.io/x:1", &["m.lan/y:1", "m.lan/z:1"])])
        );
    }

    #[test]
    fn what_is_neither_is_an_error() {
        for wrong in ["=m.lan/y", "a.io/x=", "a=b=c", "a.io/x:1 m.lan/y=z"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
