//! Why a target does not take an import, and everything that a person has to do there, in one message.
//!
//! In: what [`readiness`](crate::readiness) found. Out: the error's words and its next steps.

use std::fmt;

use registry::client::Product;
use registry::reference::RegistryHost;

use crate::error::some;
use crate::limits::FILES_NAMED;
use crate::paths::Destination;
use crate::profile::{Profile, how};

/// Why a target does not take an import, with everything that is to be done.
#[derive(Debug)]
pub struct Unready {
    host: RegistryHost,
    product: Product,
    /// What has to be made there.
    pub(crate) missing: Vec<String>,
    /// The registry only said that this account may not.
    pub(crate) denied: bool,
    /// Repositories with too many components, and how many are taken.
    pub(crate) deep: Vec<String>,
    pub(crate) most: usize,
    /// Repositories with too few.
    pub(crate) shallow: Vec<String>,
    /// `--max-nested-paths` as it was given; 0 when it was not.
    nested: usize,
    /// The registry's own words.
    pub(crate) said: String,
}

impl Unready {
    pub(crate) fn new(at: &Destination, product: Product) -> Self {
        let (host, nested) = (at.host().clone(), at.nested);
        Self {
            host,
            product,
            missing: Vec::new(),
            denied: false,
            deep: Vec::new(),
            most: 0,
            shallow: Vec::new(),
            nested,
            said: String::new(),
        }
    }

    pub(crate) fn is_nothing(&self) -> bool {
        self.missing.is_empty() && self.deep.is_empty() && self.shallow.is_empty()
    }

    /// Whether the account may be the cause, and nothing else is.
    pub(crate) fn is_of_rights(&self) -> bool {
        self.denied && self.deep.is_empty() && self.shallow.is_empty()
    }

    /// What to do next.
    pub(crate) fn hint(&self) -> String {
        let profile = Profile::of(self.product);
        let mut steps = Vec::new();
        if !self.shallow.is_empty() {
            let form = profile.form.trim_end_matches("/NAME");
            steps.push(format!(
                "put everything below one namespace: `docker://{}/{form}`",
                self.host
            ));
        }
        if !self.deep.is_empty() {
            // A command that is completed with what was typed would name the option twice.
            let command = if self.nested == 0 { "bundle import " } else { "" };
            steps.push(format!(
                "join the components beyond with `-`: `{command}--max-nested-paths {}`",
                self.most
            ));
        }
        if !self.missing.is_empty() {
            let named = &self.missing[..self.missing.len().min(FILES_NAMED)];
            steps.push(how(self.product, &self.host, named));
            if profile.made == Some(1) || profile.made == Some(2) {
                let form = profile.form.trim_end_matches("/NAME");
                steps.push(format!(
                    "or put everything below one that exists: `docker://{}/{form}`",
                    self.host
                ));
            }
        }
        let again = if self.missing.is_empty() { "" } else { ", then run the same command again" };
        steps.join("; ") + again + ". Nothing was written"
    }
}

impl fmt::Display for Unready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, missing, deep, shallow, .. } = self;
        let Profile { noun, form, least, .. } = Profile::of(self.product);
        let quoted = |names: &[String]| some(names.iter().map(|name| format!("`{name}`")));
        let mut parts = Vec::new();
        if !missing.is_empty() {
            let what = match missing.len() {
                1 => format!("the {noun}"),
                many => format!("{many} {}", plural(noun)),
            };
            let what = if self.denied {
                format!("lacks {what}, or closes it to this account")
            } else {
                format!("lacks {what} that no push makes there")
            };
            parts.push(format!("`{host}` {what}: {}", quoted(missing)));
        }
        if !deep.is_empty() {
            let most = self.most;
            parts.push(format!(
                "`{host}` takes paths of at most {most} components: {}",
                quoted(deep)
            ));
        }
        if !shallow.is_empty() {
            parts.push(format!(
                "`{host}` takes paths of at least {least} components, `{form}`: {}",
                quoted(shallow)
            ));
        }
        f.write_str(&parts.join("; "))?;
        if self.said.is_empty() { Ok(()) } else { write!(f, " (the registry says: {})", self.said) }
    }
}

fn plural(noun: &str) -> String {
    match noun.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None => format!("{noun}s"),
    }
}
