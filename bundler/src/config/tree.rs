//! The YAML document as a tree that knows the line and column of every key and value.
//!
//! In: the text of one file. Out: the root of its single document, with anchors, aliases and merge keys
//! resolved. Refused here, with the place: bad syntax, a second document, duplicate keys, keys that are
//! no texts, tags, nesting deeper than `DEPTH_MAX`, more than `NODES_MAX` values. JSON is a subset.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, StrInput, Tag};

use super::finding::{Report, Spot, quote};
use super::limits::{DEPTH_MAX, NODES_MAX};
use super::scalar::{Plain, plain};

/// A place in the file: line and column in characters, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl Position {
    pub(super) const START: Self = Self { line: 1, column: 1 };
}

#[derive(Debug, Clone)]
pub(super) struct Node {
    pub at: Position,
    pub value: Value,
    /// Values below and including this one: what an alias to it costs.
    size: usize,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    /// A scalar; `plain` when it was written without quotes and without the tag `!!str`.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub key: String,
    pub at: Position,
    pub node: Node,
}

impl Node {
    /// Whether this is `null`, which stands for "not written".
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if plain(text) == Plain::Null)
    }

    /// What this is, for a message.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
            Value::Scalar { plain: false, .. } => "a text",
            Value::Scalar { text, .. } => match plain(text) {
                Plain::Null => "nothing",
                Plain::Flag(_) => "a boolean",
                Plain::Number => "a number",
                Plain::OldFlag | Plain::Text => "a text",
            },
        }
    }
}

/// The root of the single document of `text`; `None` when `report` says why not.
pub(super) fn read(text: &str, report: &mut Report) -> Option<Node> {
    let mut builder = Builder {
        parser: Parser::new_from_str(text),
        anchors: HashMap::new(),
        nodes: 0,
        at: Position::START,
        report,
    };
    match builder.document() {
        Ok(root) => Some(root),
        Err(fault) => {
            report.error(&fault.spot, fault.problem, &fault.hint);
            None
        }
    }
}

/// What ends the reading. Duplicate keys do not: they are reported and the reading goes on.
struct Fault {
    spot: Spot,
    problem: String,
    hint: String,
}

struct Builder<'a, 'r> {
    parser: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    /// Where the last event began.
    at: Position,
    report: &'r mut Report,
}

impl<'a> Builder<'a, '_> {
    fn document(&mut self) -> Result<Node, Fault> {
        const EMPTY: &str = "`bundle init` prints a configuration to start from";
        let root = loop {
            match self.next("")? {
                Event::StreamStart | Event::Nothing | Event::DocumentStart(_) => {}
                Event::StreamEnd | Event::DocumentEnd => {
                    return Err(self.fault("", "the file is empty", EMPTY));
                }
                event => break self.node(event, "", 1)?,
            }
        };
        if root.is_null() {
            return Err(self.fault("", "the file is empty", EMPTY));
        }
        loop {
            match self.next("")? {
                Event::StreamEnd => return Ok(root),
                Event::DocumentStart(_) => {
                    const ONE: &str = "keep one configuration per file and name each with --config";
                    return Err(self.fault("", "a second YAML document begins here", ONE));
                }
                _ => {}
            }
        }
    }

    fn next(&mut self, field: &str) -> Result<Event<'a>, Fault> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => {
                self.at = position(span.start.line(), span.start.col());
                Ok(event)
            }
            Some(Err(error)) => Err(syntax(&error, field)),
            None => Ok(Event::StreamEnd),
        }
    }

    fn node(&mut self, event: Event<'a>, field: &str, depth: usize) -> Result<Node, Fault> {
        let at = self.at;
        if depth > DEPTH_MAX {
            let problem = format!("lists and mappings are nested deeper than {DEPTH_MAX}");
            return Err(self.fault(field, problem, ""));
        }
        self.count(1, field)?;
        let before = self.nodes;
        let (anchor, value) = match event {
            Event::Alias(id) => return self.alias(id, field),
            Event::Scalar(text, style, anchor, tag) => {
                let tagged = self.scalar_tag(tag.as_deref(), field)?;
                let plain = style == ScalarStyle::Plain && !tagged;
                (anchor, Value::Scalar { text: text.into_owned(), plain })
            }
            Event::SequenceStart(anchor, tag) => {
                self.no_tag(tag.as_deref(), "seq", field)?;
                (anchor, self.list(field, depth)?)
            }
            Event::MappingStart(anchor, tag) => {
                self.no_tag(tag.as_deref(), "map", field)?;
                (anchor, self.map(field, depth)?)
            }
            _ => return Err(self.fault(field, "a value is missing here", "")),
        };
        let node = Node { at, value, size: 1 + self.nodes - before };
        if anchor != 0 {
            self.count(node.size, field)?;
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, field: &str, depth: usize) -> Result<Value, Fault> {
        let mut items = Vec::new();
        loop {
            let item = format!("{field}[{}]", items.len());
            match self.next(&item)? {
                Event::SequenceEnd => return Ok(Value::List(items)),
                event => items.push(self.node(event, &item, depth + 1)?),
            }
        }
    }

    fn map(&mut self, field: &str, depth: usize) -> Result<Value, Fault> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen: HashMap<String, u32> = HashMap::new();
        let mut merges = Vec::new();
        loop {
            let (key, style) = match self.next(field)? {
                Event::MappingEnd => break,
                Event::Scalar(key, style, _, _) => (key.into_owned(), style),
                _ => {
                    const HINT: &str = "write every key as a plain word";
                    return Err(self.fault(field, "a key is not a text", HINT));
                }
            };
            let at = self.at;
            let path = child(field, &key);
            let event = self.next(&path)?;
            let node = self.node(event, &path, depth + 1)?;
            if key == "<<" && style == ScalarStyle::Plain {
                merges.push((Spot { at, field: path }, node));
                continue;
            }
            if let Some(first) = seen.get(&key) {
                let problem = format!("duplicate key {}, first on line {first}", quote(&key));
                self.report.error(&Spot { at, field: path }, problem, "keep one of them");
                continue;
            }
            seen.insert(key.clone(), at.line);
            entries.push(Entry { key, at, node });
        }
        for (spot, node) in merges {
            self.merge(&mut entries, &mut seen, node, &spot)?;
        }
        Ok(Value::Map(entries))
    }

    /// `<<: *anchor` or `<<: [*one, *two]`: keys that are not written here, the first source wins.
    fn merge(
        &mut self,
        entries: &mut Vec<Entry>,
        seen: &mut HashMap<String, u32>,
        node: Node,
        spot: &Spot,
    ) -> Result<(), Fault> {
        let sources = match node.value {
            Value::Map(_) => vec![node],
            Value::List(items) => items,
            Value::Scalar { .. } => Vec::new(),
        };
        if sources.is_empty() || !sources.iter().all(|s| matches!(s.value, Value::Map(_))) {
            const HINT: &str = "`<<` takes an alias of a mapping, or a list of such aliases";
            let problem = "a merge key needs a mapping".to_owned();
            return Err(Fault { spot: spot.clone(), problem, hint: HINT.to_owned() });
        }
        for source in sources {
            let Value::Map(merged) = source.value else { continue };
            for entry in merged {
                if !seen.contains_key(&entry.key) {
                    seen.insert(entry.key.clone(), entry.at.line);
                    entries.push(entry);
                }
            }
        }
        Ok(())
    }

    fn alias(&mut self, id: usize, field: &str) -> Result<Node, Fault> {
        let Some(size) = self.anchors.get(&id).map(|node| node.size) else {
            return Err(self.fault(field, "an alias refers to the value it stands in", ""));
        };
        self.count(size, field)?;
        Ok(self.anchors[&id].clone())
    }

    fn count(&mut self, more: usize, field: &str) -> Result<(), Fault> {
        self.nodes = self.nodes.saturating_add(more);
        if self.nodes > NODES_MAX {
            let problem = format!("more than {NODES_MAX} values, aliases included");
            return Err(self.fault(field, problem, ""));
        }
        Ok(())
    }

    /// Whether a tag makes a text of the scalar.
    fn scalar_tag(&self, tag: Option<&Tag>, field: &str) -> Result<bool, Fault> {
        let Some(tag) = tag else { return Ok(false) };
        let is_text = (tag.is_yaml_core_schema() && tag.suffix == "str")
            || (tag.handle.is_empty() && tag.suffix == "!");
        if is_text { Ok(true) } else { Err(self.tag_fault(tag, field)) }
    }

    fn no_tag(&self, tag: Option<&Tag>, own: &str, field: &str) -> Result<(), Fault> {
        match tag {
            Some(tag) if !(tag.is_yaml_core_schema() && tag.suffix == own) => {
                Err(self.tag_fault(tag, field))
            }
            _ => Ok(()),
        }
    }

    fn tag_fault(&self, tag: &Tag, field: &str) -> Fault {
        let problem = format!("the YAML tag {} has no meaning here", quote(&tag.to_string()));
        self.fault(field, problem, "remove the tag; put a text in quotes instead")
    }

    fn fault(&self, field: &str, problem: impl Into<String>, hint: &str) -> Fault {
        let spot = Spot { at: self.at, field: field.to_owned() };
        Fault { spot, problem: problem.into(), hint: hint.to_owned() }
    }
}

/// The path of a key below a field.
pub(super) fn child(field: &str, key: &str) -> String {
    // A key comes from the file: in a path it is shown as in a message.
    let odd = key.len() > 64 || key.is_empty() || key.contains(|c: char| c.is_control());
    let shown = if odd { quote(key) } else { key.to_owned() };
    if field.is_empty() { shown } else { format!("{field}.{shown}") }
}

fn position(line: usize, column: usize) -> Position {
    let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Position { line: small(line.max(1)), column: small(column.saturating_add(1)) }
}

fn syntax(error: &ScanError, field: &str) -> Fault {
    let marker = error.marker();
    let info = error.info();
    let hint = if info.contains("tab") {
        "indent with spaces; YAML forbids tabs there"
    } else if info.contains("anchor") {
        "an alias `*name` needs an anchor `&name` before it"
    } else {
        "check the indentation and the quotes of this line and of the one before"
    };
    Fault {
        spot: Spot { at: position(marker.line(), marker.col()), field: field.to_owned() },
        problem: format!("bad YAML: {info}"),
        hint: hint.to_owned(),
    }
}
