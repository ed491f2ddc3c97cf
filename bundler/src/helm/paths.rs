//! JSONPath as `kubectl` has it, as far as `imagePaths` use it.
//!
//! In: `{.spec.containers[*].image}`. Out: the values that it leads to. Known are names, quoted names, `*`, numbers, spans
//! (`[1:3]`), several in one bracket, `..` and filters that compare (`[?(@.name=="x")]`).

use serde_json::Value;

/// A path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonPath(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Names(Vec<String>),
    Numbers(Vec<i64>),
    Span(Option<i64>, Option<i64>),
    All,
    /// The value itself and everything below it.
    Below,
    Filter(Box<JsonPath>, Option<(bool, Value)>),
}

/// What is no path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PathError(&'static str);

/// Values that a path may lead to.
const FOUND_MAX: usize = 10_000;

impl std::str::FromStr for JsonPath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let text = text.trim();
        let inner = match text.strip_prefix('{') {
            Some(rest) => rest.strip_suffix('}').ok_or(PathError("its `{` has no `}`"))?,
            None => text,
        };
        if inner.contains(['{', '}']) {
            return Err(PathError(
                "only one expression is known, without `range` and text around it",
            ));
        }
        let path = Reader { rest: inner.trim() }.path()?;
        match path.0.is_empty() {
            true => Err(PathError("it leads nowhere")),
            false => Ok(path),
        }
    }
}

struct Reader<'t> {
    rest: &'t str,
}

impl<'t> Reader<'t> {
    fn path(mut self) -> Result<JsonPath, PathError> {
        let mut steps = Vec::new();
        self.rest = self.rest.strip_prefix(['$', '@']).unwrap_or(self.rest);
        // `spec.image` is meant as `.spec.image`.
        if self.rest.starts_with(|c: char| c.is_alphanumeric() || c == '_') {
            steps.push(Step::Names(vec![self.name()?]));
        }
        while !self.rest.is_empty() {
            if let Some(rest) = self.rest.strip_prefix("..") {
                steps.push(Step::Below);
                self.rest = rest;
                if !self.rest.starts_with('[') {
                    steps.push(self.member()?);
                }
            } else if let Some(rest) = self.rest.strip_prefix('.') {
                self.rest = rest;
                if self.rest.is_empty() && steps.is_empty() {
                    break;
                }
                if !self.rest.starts_with('[') {
                    steps.push(self.member()?);
                }
            } else if let Some(rest) = self.rest.strip_prefix('[') {
                self.rest = rest;
                steps.push(self.bracket()?);
            } else {
                return Err(PathError("a name is expected behind `.`, and nothing else"));
            }
        }
        Ok(JsonPath(steps))
    }

    fn member(&mut self) -> Result<Step, PathError> {
        if let Some(rest) = self.rest.strip_prefix('*') {
            self.rest = rest;
            return Ok(Step::All);
        }
        Ok(Step::Names(vec![self.name()?]))
    }

    /// A name up to the next `.` or `[`; `\.` is a dot in it.
    fn name(&mut self) -> Result<String, PathError> {
        let (mut name, mut end) = (String::new(), self.rest.len());
        let mut letters = self.rest.char_indices();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '\\' => name.extend(letters.next().map(|(_, letter)| letter)),
                '.' | '[' => {
                    end = at;
                    break;
                }
                ' ' | ']' | ')' | '(' | '\'' | '"' => {
                    return Err(PathError(
                        "a name with such a letter stands in brackets and quotes: `['a b']`",
                    ));
                }
                letter => name.push(letter),
            }
        }
        self.rest = &self.rest[end..];
        if name.is_empty() { Err(PathError("a name is missing")) } else { Ok(name) }
    }

    fn bracket(&mut self) -> Result<Step, PathError> {
        if let Some(rest) = self.rest.strip_prefix("?(") {
            let (inside, rest) = until(rest, ")]")?;
            self.rest = rest;
            return filter(inside);
        }
        let (inside, rest) = until(self.rest, "]")?;
        self.rest = rest;
        let inside = inside.trim();
        if inside == "*" {
            return Ok(Step::All);
        }
        if inside.starts_with(['\'', '"']) {
            return Ok(Step::Names(pieces(inside).map(unquoted).collect::<Result<_, _>>()?));
        }
        let number = |text: &str| {
            let number = text.trim().parse::<i64>();
            number.map_err(|_| PathError("in brackets stands `*`, a number or a name in quotes"))
        };
        if let Some((from, to)) = inside.split_once(':') {
            let end =
                |text: &str| if text.trim().is_empty() { Ok(None) } else { number(text).map(Some) };
            return Ok(Step::Span(end(from)?, end(to)?));
        }
        Ok(Step::Numbers(inside.split(',').map(number).collect::<Result<_, _>>()?))
    }
}

/// What stands before the end of a bracket that is in no quotes, and what behind it.
fn until<'t>(text: &'t str, end: &str) -> Result<(&'t str, &'t str), PathError> {
    let mut quote = None;
    for (at, letter) in text.char_indices() {
        match quote {
            Some(open) if letter == open => quote = None,
            Some(_) => {}
            None if matches!(letter, '\'' | '"') => quote = Some(letter),
            None if text[at..].starts_with(end) => {
                return Ok((&text[..at], &text[at + end.len()..]));
            }
            None => {}
        }
    }
    Err(PathError("a bracket is not closed"))
}

/// Names in quotes, between commas.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut open = None;
    text.split(move |letter: char| {
        match open {
            Some(quote) if letter == quote => open = None,
            None if matches!(letter, '\'' | '"') => open = Some(letter),
            _ => {}
        }
        open.is_none() && letter == ','
    })
}

fn unquoted(text: &str) -> Result<String, PathError> {
    let text = text.trim();
    let inside = |quote| text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    let found = inside('\'').or_else(|| inside('"')).filter(|name| !name.is_empty());
    found.map(ToOwned::to_owned).ok_or(PathError("a name in brackets has no quotes around it"))
}

fn filter(text: &str) -> Result<Step, PathError> {
    let (path, compared) = match text.split_once("==") {
        Some((path, value)) => (path, Some((true, value))),
        None => match text.split_once("!=") {
            Some((path, value)) => (path, Some((false, value))),
            None => (text, None),
        },
    };
    let path = path.trim();
    if !path.starts_with('@') || path.contains(['<', '>', '&', '|']) {
        return Err(PathError("a filter compares a path that begins with `@` by `==` or `!=`"));
    }
    let compared = match compared {
        None => None,
        Some((equal, value)) => Some((equal, literal(value.trim())?)),
    };
    Ok(Step::Filter(Box::new(Reader { rest: path }.path()?), compared))
}

fn literal(text: &str) -> Result<Value, PathError> {
    unquoted(text).map(Value::String).or_else(|_| {
        let value = serde_json::from_str(text);
        value.map_err(|_| PathError("a filter compares with a text in quotes or a number"))
    })
}

impl JsonPath {
    /// The values that it leads to.
    pub fn find<'v>(&self, root: &'v Value) -> Vec<&'v Value> {
        let mut found = vec![root];
        for step in &self.0 {
            let mut next = Vec::new();
            for value in found {
                step.take(value, &mut next);
                if next.len() > FOUND_MAX {
                    next.truncate(FOUND_MAX);
                    break;
                }
            }
            found = next;
        }
        found
    }
}

impl Step {
    fn take<'v>(&self, value: &'v Value, to: &mut Vec<&'v Value>) {
        match (self, value) {
            (Self::Names(names), Value::Object(map)) => {
                to.extend(names.iter().filter_map(|name| map.get(name)));
            }
            (Self::Numbers(numbers), Value::Array(list)) => {
                to.extend(
                    numbers.iter().filter_map(|number| list.get(place(*number, list.len())?)),
                );
            }
            (Self::Span(from, to_end), Value::Array(list)) => {
                let clamp = |number: i64| match number < 0 {
                    true => list
                        .len()
                        .saturating_sub(number.unsigned_abs().try_into().unwrap_or(usize::MAX)),
                    false => usize::try_from(number).unwrap_or(usize::MAX).min(list.len()),
                };
                let (from, end) = (from.map_or(0, clamp), to_end.map_or(list.len(), clamp));
                to.extend(list.get(from..end).into_iter().flatten());
            }
            (Self::All, Value::Array(list)) => to.extend(list),
            (Self::All, Value::Object(map)) => to.extend(map.values()),
            (Self::Below, value) => below(value, to),
            (Self::Filter(path, compared), Value::Array(list)) => {
                to.extend(list.iter().filter(|value| {
                    let found = path.find(value);
                    match compared {
                        None => !found.is_empty(),
                        Some((equal, wanted)) => {
                            !found.is_empty() && found.contains(&wanted) == *equal
                        }
                    }
                }));
            }
            _ => {}
        }
    }
}

fn place(number: i64, length: usize) -> Option<usize> {
    match usize::try_from(number) {
        Ok(at) => Some(at),
        Err(_) => length.checked_sub(usize::try_from(number.unsigned_abs()).ok()?),
    }
}

fn below<'v>(value: &'v Value, to: &mut Vec<&'v Value>) {
    if to.len() > FOUND_MAX {
        return;
    }
    to.push(value);
    match value {
        Value::Array(list) => list.iter().for_each(|value| below(value, to)),
        Value::Object(map) => map.values().for_each(|value| below(value, to)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_lead_where_kubectl_takes_them() {
        let value = json!({
            "kind": "X", "a.b/c": "dotted",
            "spec": {"image": "q.io/a:1", "list": [
                {"name": "one", "image": "q.io/1:1", "env": [{"value": "x"}, {"value": "y"}]},
                {"name": "two", "image": "q.io/2:1"}, {"name": "three"}]},
        });
        for (path, expected) in [
            ("{.spec.image}", json!(["q.io/a:1"])),
            ("{ .spec.image }", json!(["q.io/a:1"])),
            (".spec.image", json!(["q.io/a:1"])),
            ("spec.image", json!(["q.io/a:1"])),
            ("{$.spec.image}", json!(["q.io/a:1"])),
            ("{.spec.list[*].image}", json!(["q.io/1:1", "q.io/2:1"])),
            ("{.spec.list[0].env[*].value}", json!(["x", "y"])),
            ("{.spec.list[-1].name}", json!(["three"])),
            ("{.spec.list[0,2].name}", json!(["one", "three"])),
            ("{.spec.list[1:].name}", json!(["two", "three"])),
            ("{.spec.list[:-1].name}", json!(["one", "two"])),
            ("{.spec['list'][0]['name','image']}", json!(["one", "q.io/1:1"])),
            ("{['a.b/c']}", json!(["dotted"])),
            ("{.a\\.b/c}", json!(["dotted"])),
            ("{.spec.list[?(@.name==\"two\")].image}", json!(["q.io/2:1"])),
            ("{.spec.list[?(@.name!='two')].name}", json!(["one", "three"])),
            ("{.spec.list[?(@.env)].name}", json!(["one"])),
            ("{..image}", json!(["q.io/a:1", "q.io/1:1", "q.io/2:1"])),
            ("{.spec.list[*].env.*.value}", json!(["x", "y"])),
            ("{.spec.none[*].x}", json!([])),
        ] {
            let parsed: JsonPath = path.parse().unwrap_or_else(|error| panic!("{path}: {error}"));
            assert_eq!(json!(parsed.find(&value)), expected, "{path}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for path in [
            "",
            "{}",
            "{.a",
            "{.a[}",
            "{.a[x]}",
            "{range .a[*]}{.b}{end}",
            "{.a}{.b}",
            "{.a[?(@.b<3)]}",
            "{.a b}",
            "{.a[?(x==1)]}",
            "{.a..}",
        ] {
            assert!(path.parse::<JsonPath>().is_err(), "{path}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(path in "\\{?[.a*\\[\\]'\"0-9:,?(@)=!$ -]{0,20}\\}?") {
            if let Ok(path) = path.parse::<JsonPath>() {
                path.find(&json!({"a": [{"a": "x"}, [1, 2, {"a": []}]]}));
            }
        }
    }
}
