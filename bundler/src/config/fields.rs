//! Reading one mapping of the document, field by field.
//!
//! In: a node of the tree. Out: texts, flags, lists and mappings with their places. Every field that is
//! asked for is known; `done` refuses the others, with the nearest known name. `null` and the empty text
//! mean "not written", as they do to oc-mirror. Names are compared as Go's JSON decoder compares them:
//! `additionalimages` is accepted, with a warning.

use super::ApiVersion;
use super::finding::{Report, Spot, quote};
use super::limits::ARCHIVE_GIB_MAX;
use super::scalar::{Plain, plain};
use super::tree::{Entry, Node, Value, child};
use crate::spelling::distance;

/// A value and its place.
#[derive(Debug, Clone)]
pub(super) struct Item<'a> {
    node: &'a Node,
    pub spot: Spot,
}

/// A text that is not empty, and its place.
#[derive(Debug, Clone)]
pub(super) struct Text {
    pub value: String,
    pub spot: Spot,
}

impl<'a> Item<'a> {
    pub fn root(node: &'a Node) -> Self {
        Self { node, spot: Spot { at: node.at, field: String::new() } }
    }

    /// The mapping here; `example` shows what one looks like.
    pub fn fields(&self, report: &mut Report, example: &str) -> Option<Fields<'a>> {
        match &self.node.value {
            Value::Map(entries) => Some(Fields {
                spot: self.spot.clone(),
                entries,
                used: vec![false; entries.len()],
                known: Vec::new(),
            }),
            _ => {
                let problem = format!("needs a mapping, here is {}", self.node.kind());
                report.error(&self.spot, problem, &format!("write it like `{example}`"));
                None
            }
        }
    }

    /// The values of the list here.
    pub fn items(&self, report: &mut Report) -> Vec<Item<'a>> {
        match &self.node.value {
            Value::List(nodes) => (nodes.iter().enumerate())
                .map(|(n, node)| {
                    let field = format!("{}[{n}]", self.spot.field);
                    Item { node, spot: Spot { at: node.at, field } }
                })
                .collect(),
            _ => {
                let problem = format!("needs a list, here is {}", self.node.kind());
                report.error(
                    &self.spot,
                    problem,
                    "begin each entry with `- ` on a line of its own",
                );
                Vec::new()
            }
        }
    }

    /// The text here; `None` for `null`, the empty text, and after an error.
    pub fn text(&self, report: &mut Report) -> Option<Text> {
        let Value::Scalar { text, plain: unquoted } = &self.node.value else {
            let problem = format!("needs a text, here is {}", self.node.kind());
            report.error(&self.spot, problem, "");
            return None;
        };
        let what = match (unquoted, plain(text)) {
            (false, _) | (true, Plain::Text) => {
                let value = text.clone();
                return (!text.is_empty()).then(|| Text { value, spot: self.spot.clone() });
            }
            (true, Plain::Null) => return None,
            (true, Plain::Number) => "a number",
            (true, Plain::Flag(_) | Plain::OldFlag) => "a boolean",
        };
        let problem = format!("needs a text, and without quotes {} is {what}", quote(text));
        report.error(&self.spot, problem, &format!("write it in quotes: \"{text}\""));
        None
    }

    fn flag(&self, report: &mut Report) -> Option<bool> {
        const HINT: &str = "write `true` or `false`, without quotes";
        if let Value::Scalar { text, plain: true } = &self.node.value {
            match plain(text) {
                Plain::Flag(value) => return Some(value),
                Plain::Null => return None,
                _ => report.error(&self.spot, format!("needs a boolean: {}", quote(text)), HINT),
            }
        } else {
            let problem = format!("needs a boolean, here is {}", self.node.kind());
            report.error(&self.spot, problem, HINT);
        }
        None
    }

    /// A number of GiB above zero.
    fn gib(&self, report: &mut Report) -> Option<u64> {
        const HINT: &str = "write a whole number of GiB above 0, without a unit and without quotes, \
                            or leave the field out";
        let Value::Scalar { text, plain: unquoted } = &self.node.value else {
            let problem = format!("needs a number, here is {}", self.node.kind());
            report.error(&self.spot, problem, HINT);
            return None;
        };
        if !unquoted {
            let problem = format!("needs a number, and in quotes {} is a text", quote(text));
            report.error(&self.spot, problem, HINT);
            return None;
        }
        match text.parse::<i128>() {
            Ok(number) if number <= 0 => {
                report.error(&self.spot, format!("must be above 0: {}", quote(text)), HINT);
                None
            }
            Ok(number) => match u64::try_from(number) {
                Ok(gib) if gib <= ARCHIVE_GIB_MAX => Some(gib),
                _ => {
                    let problem = format!("is larger than {ARCHIVE_GIB_MAX} GiB: {}", quote(text));
                    report.error(&self.spot, problem, HINT);
                    None
                }
            },
            Err(_) => {
                report.error(&self.spot, format!("needs a number: {}", quote(text)), HINT);
                None
            }
        }
    }
}

/// One mapping, while its fields are being asked for.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    pub spot: Spot,
    entries: &'a [Entry],
    used: Vec<bool>,
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    fn knows(&mut self, name: &'static str) {
        if !self.known.contains(&name) {
            self.known.push(name);
        }
    }

    /// The value of a field; `None` when it is missing or `null`.
    pub fn take(&mut self, report: &mut Report, name: &'static str) -> Option<Item<'a>> {
        self.knows(name);
        self.find(report, name).filter(|item| !item.node.is_null())
    }

    /// A text; `None` when it is missing or empty.
    pub fn text(&mut self, report: &mut Report, name: &'static str) -> Option<Text> {
        self.take(report, name)?.text(report)
    }

    /// A text that must be there.
    pub fn required(&mut self, report: &mut Report, name: &'static str) -> Option<Text> {
        self.knows(name);
        let Some(item) = self.find(report, name) else {
            let spot = self.below(name);
            report.error(&spot, "is missing", &format!("add `{name}: …` here"));
            return None;
        };
        let empty = item.node.is_null()
            || matches!(&item.node.value, Value::Scalar { text, .. } if text.is_empty());
        if empty {
            report.error(&item.spot, "is empty", "");
            return None;
        }
        item.text(report)
    }

    /// A flag; `false` when it is missing.
    pub fn flag(&mut self, report: &mut Report, name: &'static str) -> bool {
        self.take(report, name).and_then(|item| item.flag(report)).unwrap_or(false)
    }

    /// A size in GiB above zero.
    pub fn gib(&mut self, report: &mut Report, name: &'static str) -> Option<u64> {
        self.take(report, name)?.gib(report)
    }

    /// The values of a list; none when it is missing.
    pub fn list(&mut self, report: &mut Report, name: &'static str) -> Vec<Item<'a>> {
        self.take(report, name).map(|item| item.items(report)).unwrap_or_default()
    }

    /// A mapping inside this one.
    pub fn map(
        &mut self,
        report: &mut Report,
        name: &'static str,
        example: &str,
    ) -> Option<Fields<'a>> {
        self.take(report, name)?.fields(report, example)
    }

    /// Whether a field is written, `null` included; it counts as neither used nor known.
    pub fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|entry| entry.key.eq_ignore_ascii_case(name))
    }

    /// Says that `name` came with v2alpha1 when a v1alpha2 file has it: oc-mirror v2 reads such a file,
    /// oc-mirror v1 refuses it. To be called before the field is taken.
    pub fn came_with_v2(&mut self, report: &mut Report, version: ApiVersion, name: &'static str) {
        if version == ApiVersion::V1Alpha2
            && let Some(spot) = self.key_spot(name)
        {
            const HINT: &str = "write `apiVersion: mirror.openshift.io/v2alpha1` at the top";
            report.warn(
                &spot,
                "is a field of v2alpha1; it is used, though oc-mirror v1 refuses it",
                HINT,
            );
        }
    }

    /// Opens a field of v1alpha2 in a v1alpha2 file, and refuses it in a v2alpha1 file. Returns
    /// whether it may be taken.
    pub fn went_with_v1(
        &mut self,
        report: &mut Report,
        version: ApiVersion,
        name: &'static str,
        hint: &str,
    ) -> bool {
        if version == ApiVersion::V1Alpha2 {
            return true;
        }
        self.refuse(report, name, "is a field of v1alpha2 that v2alpha1 does not have", hint);
        false
    }

    /// Refuses a field by name, if it is written.
    pub fn refuse(&mut self, report: &mut Report, name: &str, problem: &str, hint: &str) {
        for (n, entry) in self.entries.iter().enumerate() {
            if entry.key.eq_ignore_ascii_case(name) {
                self.used[n] = true;
                let spot = Spot { at: entry.at, field: child(&self.spot.field, &entry.key) };
                report.error(&spot, problem, hint);
            }
        }
    }

    /// Where the key of a field stands. Who asks knows the field.
    pub fn key_spot(&mut self, name: &'static str) -> Option<Spot> {
        self.knows(name);
        let entry = self.entries.iter().find(|entry| entry.key.eq_ignore_ascii_case(name))?;
        Some(Spot { at: entry.at, field: child(&self.spot.field, &entry.key) })
    }

    /// The place of a field that is not there: the mapping's own.
    pub fn below(&self, name: &str) -> Spot {
        Spot { at: self.spot.at, field: child(&self.spot.field, name) }
    }

    /// Whether no field is written.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Refuses every field that nobody asked for.
    pub fn done(self, report: &mut Report) {
        for (entry, used) in self.entries.iter().zip(&self.used) {
            if *used {
                continue;
            }
            let spot = Spot { at: entry.at, field: child(&self.spot.field, &entry.key) };
            let all = self.known.join(", ");
            let hint = match nearest(&entry.key, &self.known) {
                Some(name) => format!("did you mean `{name}`? The fields here are: {all}"),
                None => format!("the fields here are: {all}"),
            };
            report.error(&spot, format!("unknown field {}", quote(&entry.key)), &hint);
        }
    }

    fn find(&mut self, report: &mut Report, name: &str) -> Option<Item<'a>> {
        let mut found = None;
        for (n, entry) in self.entries.iter().enumerate() {
            if !entry.key.eq_ignore_ascii_case(name) {
                continue;
            }
            self.used[n] = true;
            let field = child(&self.spot.field, name);
            let key = Spot { at: entry.at, field: field.clone() };
            if entry.key != name {
                let problem = format!("is written {}", quote(&entry.key));
                report.warn(&key, problem, &format!("the field is called `{name}`"));
            }
            if found.is_some() {
                let problem = format!("{} repeats a field of this mapping", quote(&entry.key));
                report.error(&key, problem, "keep one of them");
                continue;
            }
            // Nothing stands nowhere: its place is that of the key.
            let at = if entry.node.is_null() { entry.at } else { entry.node.at };
            found = Some(Item { node: &entry.node, spot: Spot { at, field } });
        }
        found
    }
}

/// The known name that is at most two edits away.
fn nearest(word: &str, known: &[&'static str]) -> Option<&'static str> {
    if word.len() > 64 {
        return None;
    }
    let word = word.to_ascii_lowercase();
    known
        .iter()
        .map(|name| (distance(&word, &name.to_ascii_lowercase()), *name))
        .filter(|(edits, name)| *edits <= 2 && *edits < name.len())
        .min()
        .map(|(_, name)| name)
}
