//! What choosing needs of one object.
//!
//! In: its JSON. Out: a part of the [`model`](super::model), with the package that it belongs to. Of a
//! bundle nothing is copied but names, versions and requirements. What must hold: all of it is valid JSON (`shape`).

use std::borrow::Cow;
use std::sync::Arc;

use semver::Version;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::interned::Names;
use super::limits::{self, CONSTRAINT_MAX};
use super::model::{Bundle, Channel, Entry, Gvk, Place, Requirement};
use super::shape::{Few, Properties, Top};
use super::wording::quoted;
use crate::error::fit;

/// The schema of a package, and of the property that has the version of a bundle.
pub const PACKAGE: &str = "olm.package";
/// The schema of a channel, and of the property that has its priority.
pub const CHANNEL: &str = "olm.channel";
/// The schema of a bundle.
pub const BUNDLE: &str = "olm.bundle";
/// The schema of what is deprecated.
pub const DEPRECATIONS: &str = "olm.deprecations";

/// One object.
#[derive(Debug, PartialEq)]
pub struct Parsed<'a> {
    /// The package that it belongs to; none is possible for unknown schemas only.
    pub package: Option<Arc<str>>,
    /// What it is.
    pub part: Part<'a>,
}

/// What an object is.
#[derive(Debug, PartialEq)]
pub enum Part<'a> {
    /// `olm.package`, with its default channel.
    Package(String),
    /// `olm.channel`.
    Channel(Channel),
    /// `olm.bundle`.
    Bundle {
        /// Its name.
        name: Arc<str>,
        /// What is held of it.
        bundle: Bundle,
        /// Its version, where it is one.
        version: Option<Version>,
        /// The JSON that may have its display name ([`display_name`]).
        csv: Option<&'a str>,
    },
    /// `olm.deprecations`.
    Deprecations,
    /// An unknown schema.
    Other,
}

/// Why an object cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{object}{problem}")]
pub struct FieldError {
    /// What it is, as far as it says so; with what ties it to the problem.
    object: String,
    problem: String,
}

/// Reads an object that stands at `object`.
pub fn parse<'a>(
    json: &'a str,
    object: Place,
    names: &mut Names,
) -> Result<Parsed<'a>, FieldError> {
    let plain = |problem: String| FieldError { object: String::new(), problem };
    let top: Top<'a> = serde_json::from_str(json)
        .map_err(|error| plain(format!("it is no valid JSON: {}", fit(&error.to_string()))))?;
    let told = top.told();
    let fault = |problem: String| FieldError { object: told.clone(), problem };
    top.part(object, names).map_err(fault)
}

/// The name that people know a bundle by.
pub fn display_name(csv: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Csv<'a> {
        #[serde(borrow, rename = "displayName")]
        display_name: Option<Cow<'a, str>>,
    }
    let name = serde_json::from_str::<Csv<'_>>(csv).ok()?.display_name?;
    let name = name.trim();
    (!name.is_empty() && name.len() <= NAME_MAX && !name.contains(char::is_control))
        .then(|| name.to_owned())
}

/// The images of a bundle.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Images {
    /// That of the bundle itself; empty when it has none.
    pub bundle: String,
    /// Those that its operator needs: name and image. None is empty.
    pub related: Vec<(String, String)>,
}

/// The images that an `olm.bundle` names.
pub fn images(json: &[u8]) -> Result<Images, FieldError> {
    #[derive(Deserialize)]
    struct Named {
        name: Option<String>,
        image: Option<String>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Naming {
        image: Option<String>,
        related_images: Option<Few<Named>>,
    }
    let wrong = |problem: String| FieldError { object: String::new(), problem };
    let naming: Naming = serde_json::from_slice(json)
        .map_err(|error| wrong(format!("its images: {}", fit(&error.to_string()))))?;
    let related = naming.related_images.map_or_else(Vec::new, |few| few.0);
    let pair = |named: Named| {
        let image = named.image.filter(|image| !image.is_empty())?;
        Some((named.name.unwrap_or_default(), image))
    };
    let related = related.into_iter().filter_map(pair).collect();
    Ok(Images { bundle: naming.image.unwrap_or_default(), related })
}

/// Characters of a display name.
const NAME_MAX: usize = 200;

impl<'a> Top<'a> {
    /// What an error calls the object.
    fn told(&self) -> String {
        let text = |value: Option<&'a RawValue>| {
            let text: Cow<'a, str> = text(value?).ok()?;
            (!text.is_empty()).then_some(text)
        };
        let Some(schema) = text(self.schema) else { return String::new() };
        let mut told = quoted(&schema);
        if let Some(name) = text(self.name) {
            told += &format!(" {}", quoted(&name));
        }
        if let Some(package) = text(self.package) {
            told += &format!(" of package {}", quoted(&package));
        }
        told + ": "
    }

    fn part(&self, object: Place, names: &mut Names) -> Result<Parsed<'a>, String> {
        let schema = self.needed("schema", self.schema)?;
        let name = || self.needed("name", self.name);
        let package = || self.needed("package", self.package);
        let (package, part) = match &*schema {
            PACKAGE => {
                let default = self.optional("defaultChannel", self.default_channel)?;
                (name()?, Part::Package(default.unwrap_or_default().into_owned()))
            }
            CHANNEL => {
                let name = name()?.into_owned();
                let entries = self.entries.ok_or("it has no `entries`")?;
                let entries = entries_of(entries, names)?;
                let priority = self.properties.priority()?;
                (package()?, Part::Channel(Channel { name, object, priority, entries }))
            }
            BUNDLE => {
                let (name, package) = (names.text(&name()?), package()?);
                let part = self.properties.bundle(&package, name, object, names)?;
                (package, part)
            }
            DEPRECATIONS => (package()?, Part::Deprecations),
            _ => {
                let package = self.optional("package", self.package)?;
                let package = package.filter(|package| !package.is_empty());
                let package = package.map(|package| names.text(&package));
                return Ok(Parsed { package, part: Part::Other });
            }
        };
        Ok(Parsed { package: Some(names.text(&package)), part })
    }

    fn optional(
        &self,
        field: &str,
        value: Option<&'a RawValue>,
    ) -> Result<Option<Cow<'a, str>>, String> {
        let Some(value) = value.filter(|value| value.get() != "null") else { return Ok(None) };
        let text = text(value).map_err(|()| format!("its `{field}` is not a text"))?;
        match text.len() > limits::NAME_MAX {
            true => {
                Err(format!("its `{field}` has {} bytes, at most {}", text.len(), limits::NAME_MAX))
            }
            false => Ok(Some(text)),
        }
    }

    fn needed(&self, field: &str, value: Option<&'a RawValue>) -> Result<Cow<'a, str>, String> {
        let text = self.optional(field, value)?.filter(|text| !text.is_empty());
        text.ok_or_else(|| format!("it has no `{field}`"))
    }
}

fn text(value: &RawValue) -> Result<Cow<'_, str>, ()> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str::<Text<'_>>(value.get()).map(|text| text.0).map_err(|_| ())
}

/// The value of a property.
fn value<'a, T: Deserialize<'a>>(kind: &str, json: &'a RawValue) -> Result<T, String> {
    serde_json::from_str(json.get())
        .map_err(|error| format!("its property `{kind}`: {}", fit(&error.to_string())))
}

fn entries_of(json: &RawValue, names: &mut Names) -> Result<Vec<Entry>, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Written<'a> {
        #[serde(borrow)]
        name: Option<Cow<'a, str>>,
        #[serde(borrow)]
        replaces: Option<Cow<'a, str>>,
        #[serde(borrow)]
        skips: Option<Few<Cow<'a, str>>>,
        #[serde(borrow)]
        skip_range: Option<Cow<'a, str>>,
    }
    let written: Option<Few<Written<'_>>> = serde_json::from_str(json.get())
        .map_err(|error| format!("its `entries`: {}", fit(&error.to_string())))?;
    let mut entries = Vec::new();
    for (at, entry) in written.map_or_else(Vec::new, |few| few.0).into_iter().enumerate() {
        let mut text = |text: Option<Cow<'_, str>>| {
            text.filter(|text| !text.is_empty()).map(|text| names.text(&text))
        };
        let name = text(entry.name).ok_or_else(|| format!("its entry {} has no name", at + 1))?;
        let (replaces, skip_range) = (text(entry.replaces), text(entry.skip_range));
        let skips = entry.skips.map_or_else(Vec::new, |few| few.0);
        let skips: Vec<Arc<str>> = skips.into_iter().filter_map(|skip| text(Some(skip))).collect();
        entries.push(Entry { name, replaces, skips, skip_range });
    }
    entries.shrink_to_fit();
    names.hold::<Entry>(entries.len());
    names.hold::<Arc<str>>(entries.iter().map(|entry| entry.skips.len()).sum());
    Ok(entries)
}

impl<'a> Properties<'a> {
    /// Type and value of each.
    fn each(&self) -> impl Iterator<Item = Result<(Cow<'a, str>, &'a RawValue), String>> {
        const ODD: &str = "its `properties` are not a list of objects";
        let odd = self.odd.then(|| Err(ODD.to_owned()));
        odd.into_iter().chain(self.list.iter().enumerate().map(|(at, property)| {
            let number = at + 1;
            let kind = property.kind.and_then(|kind| text(kind).ok());
            let kind = kind.filter(|kind| !kind.is_empty());
            let kind = kind.ok_or_else(|| format!("its property {number} has no `type`"))?;
            let value = property.value.filter(|value| value.get() != "null");
            let none = || format!("its property {number}, {}, has no `value`", quoted(&kind));
            Ok((kind.clone(), value.ok_or_else(none)?))
        }))
    }

    /// The priority of a channel.
    fn priority(&self) -> Result<Option<i64>, String> {
        #[derive(Deserialize)]
        struct Priority {
            priority: Option<i64>,
        }
        let mut found = None;
        for property in self.each() {
            let (kind, json) = property?;
            if kind == CHANNEL {
                found = value::<Priority>(CHANNEL, json)?.priority.or(found);
            }
        }
        Ok(found)
    }

    fn bundle(
        &self,
        package: &str,
        name: Arc<str>,
        object: Place,
        names: &mut Names,
    ) -> Result<Part<'a>, String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct OfPackage<'a> {
            #[serde(borrow)]
            package_name: Cow<'a, str>,
            #[serde(borrow)]
            version: Cow<'a, str>,
        }
        let (mut own, mut csv) = (None, None);
        let (mut provides, mut requires) = (Vec::new(), Vec::new());
        for property in self.each() {
            let (kind, json) = property?;
            match &*kind {
                PACKAGE if own.is_some() => {
                    return Err("it has more than one property `olm.package`".to_owned());
                }
                PACKAGE => own = Some(value::<OfPackage<'_>>(PACKAGE, json)?),
                "olm.gvk" => provides.push(names.gvk(value::<WrittenGvk<'_>>(&kind, json)?.gvk())),
                "olm.gvk.required" => {
                    let gvk = value::<WrittenGvk<'_>>(&kind, json)?.gvk();
                    requires.push(Requirement::Gvk(names.gvk(gvk)));
                }
                "olm.package.required" => {
                    requires.push(value::<WrittenPackage<'_>>(&kind, json)?.requirement());
                }
                "olm.constraint" => {
                    if json.get().len() > CONSTRAINT_MAX {
                        let max = CONSTRAINT_MAX;
                        return Err(format!(
                            "its property `olm.constraint` is larger than {max} bytes"
                        ));
                    }
                    let constraint = value::<Constraint<'_>>(&kind, json)?;
                    requires.push(constraint.requirement(names)?);
                }
                "olm.csv.metadata" => csv = Some(json.get()),
                _ => {}
            }
        }
        let own = own.ok_or("it has no property `olm.package`, which has the version")?;
        if own.package_name != package {
            let other = quoted(&own.package_name);
            return Err(format!("its property `olm.package` names another package: {other}"));
        }
        // One that is none matters to who compares it.
        let version = own.version.parse().ok();
        provides.shrink_to_fit();
        requires.shrink_to_fit();
        names.hold::<Bundle>(2);
        names.hold::<Arc<Gvk>>(provides.len());
        names.hold::<Requirement>(requires.len());
        let written = names.text(&own.version);
        let bundle = Bundle { object, version: written, provides, requires };
        Ok(Part::Bundle { name, bundle, version, csv })
    }
}

#[derive(Deserialize)]
struct WrittenGvk<'a> {
    #[serde(borrow, default)]
    group: Cow<'a, str>,
    #[serde(borrow)]
    version: Cow<'a, str>,
    #[serde(borrow)]
    kind: Cow<'a, str>,
}

impl WrittenGvk<'_> {
    fn gvk(&self) -> Gvk {
        let Self { group, version, kind } = self;
        Gvk { group: group.to_string(), version: version.to_string(), kind: kind.to_string() }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenPackage<'a> {
    #[serde(borrow)]
    package_name: Cow<'a, str>,
    #[serde(borrow, default)]
    version_range: Cow<'a, str>,
}

impl WrittenPackage<'_> {
    fn requirement(&self) -> Requirement {
        let (name, range) = (self.package_name.to_string(), self.version_range.to_string());
        Requirement::Package { name, range }
    }
}

/// The value of `olm.constraint`: one of these.
#[derive(Deserialize)]
struct Constraint<'a> {
    #[serde(borrow)]
    gvk: Option<WrittenGvk<'a>>,
    #[serde(borrow)]
    package: Option<WrittenPackage<'a>>,
    #[serde(borrow)]
    all: Option<Constraints<'a>>,
    #[serde(borrow)]
    any: Option<Constraints<'a>>,
    #[serde(borrow, alias = "none")]
    not: Option<Constraints<'a>>,
    #[serde(borrow)]
    cel: Option<Cel<'a>>,
}

#[derive(Deserialize)]
struct Constraints<'a> {
    #[serde(borrow, default)]
    constraints: Vec<Constraint<'a>>,
}

#[derive(Deserialize)]
struct Cel<'a> {
    #[serde(borrow)]
    rule: Cow<'a, str>,
}

impl Constraint<'_> {
    fn requirement(&self, names: &mut Names) -> Result<Requirement, String> {
        let mut several = |list: &Constraints<'_>| -> Result<Vec<Requirement>, String> {
            names.hold::<Requirement>(list.constraints.len());
            list.constraints.iter().map(|one| one.requirement(names)).collect()
        };
        let all = self.all.as_ref().map(|list| several(list).map(Requirement::All));
        let any = self.any.as_ref().map(|list| several(list).map(Requirement::Any));
        let not = self.not.as_ref().map(|list| several(list).map(Requirement::Not));
        let gvk = self.gvk.as_ref().map(|gvk| Ok(Requirement::Gvk(names.gvk(gvk.gvk()))));
        let package = self.package.as_ref().map(|package| Ok(package.requirement()));
        let cel = self.cel.as_ref().map(|cel| Ok(Requirement::Cel(cel.rule.to_string())));
        let mut said = [all, any, not, gvk, package, cel].into_iter().flatten();
        match (said.next(), said.next()) {
            (Some(one), None) => one,
            (None, _) => Err("its property `olm.constraint` says none of `all`, `any`, `not`, \
                              `gvk`, `package`, `cel`"
                .to_owned()),
            (Some(_), Some(_)) => {
                Err("its property `olm.constraint` says several things at once".to_owned())
            }
        }
    }
}

#[cfg(test)]
#[path = "fields_tests.rs"]
mod tests;
