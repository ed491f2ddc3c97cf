//! `bundle describe`: what is on a medium.
//!
//! Reads heads and indexes only, so it takes no time however large the parts are; and says whether
//! anybody who is trusted here signed what it shows.

use std::fmt::Write as _;
use std::path::PathBuf;

use format_spec::head::{ContentClass, Head, Kind};
use format_spec::index::{Index, ReferenceEntry, Removal};
use format_spec::keys::PublicKey;
use format_spec::{Digest, Repository, Tag};
use importer::{ImportError, OfferedCatalog, Opened};
use serde::Serialize;
use serde_json::json;

use super::Context;
use crate::cli;
use crate::failure::{Exit, Failure};
use crate::keyring::Keyring;
use crate::output::plain;
use crate::size;

/// Show what the sequences in a directory hold
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A directory with sequences; repeatable
    #[arg(long, value_name = "DIR", required = true, value_parser = cli::directory)]
    from: Vec<PathBuf>,
    /// Trust this public key, or the keys in this directory, besides those of the workspace; repeatable
    #[arg(long, value_name = "FILE|DIR")]
    trust: Vec<PathBuf>,
}

/// A sequence in JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    /// Digest of the head.
    digest: Digest,
    /// `trusted`, or `unchecked` when no key is trusted here.
    signature: &'static str,
    /// The trusted keys that signed.
    signers: Vec<String>,
    head: &'a Head,
    /// The same in the words of oc-mirror v1.
    metadata: serde_json::Value,
    references: Vec<Reference<'a>>,
    removals: Vec<Name<'a>>,
    /// Operator catalogs that stand once it is imported, whichever sequence carries them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    catalogs: Vec<OfferedCatalog>,
}

/// A name at the target, below the target's namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Name<'a> {
    repository: &'a Repository,
    tag: Option<&'a Tag>,
    digest: &'a Digest,
}

#[derive(Debug, Serialize)]
struct Reference<'a> {
    #[serde(flatten)]
    name: Name<'a>,
    source: &'a str,
    class: format_spec::head::ContentClass,
}

pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    super::refuse_other_than_directory("--workspace", &context.common.workspace)?;
    let trusted = Keyring::open(&context.common.workspace)?.gather(&args.trust)?;
    let sequences = open(args.from, trusted).await?;
    let shown: Vec<Shown<'_>> = sequences.iter().map(Shown::of).collect();
    let mut text = String::new();
    for sequence in &shown {
        // Writing to a String cannot fail.
        let _ = sequence.write(&mut text);
    }
    context.output.print(&json!({ "sequences": shown }), &text)?;
    Ok(Exit::DONE)
}

/// The sequences in these directories, by number; with their signatures checked when there is a key to
/// check them with.
pub async fn open(from: Vec<PathBuf>, trusted: Vec<PublicKey>) -> Result<Vec<Opened>, Failure> {
    let read = move || {
        let keys = (!trusted.is_empty()).then_some(trusted.as_slice());
        importer::open(&from, keys)
    };
    let opened = tokio::task::spawn_blocking(read).await.map_err(ImportError::Task)?;
    let mut sequences = opened?;
    sequences.sort_by_key(|opened| (opened.head.stream, opened.head.sequence));
    Ok(sequences)
}

impl<'a> Name<'a> {
    /// The name that a reference sets.
    pub fn set(index: &'a Index, entry: &'a ReferenceEntry) -> Self {
        let repository = index.repository(entry.repository);
        Self { repository, tag: entry.tag.as_ref(), digest: &entry.digest }
    }

    /// The name that a removal takes away.
    pub fn removed(index: &'a Index, entry: &'a Removal) -> Self {
        let repository = index.repository(entry.repository);
        Self { repository, tag: entry.tag.as_ref(), digest: &entry.digest }
    }

    /// `repository:tag`, or `repository@digest` without a tag.
    pub fn text(&self) -> String {
        match self.tag {
            Some(tag) => format!("{}:{tag}", self.repository),
            None => format!("{}@{}", self.repository, self.digest),
        }
    }

    /// The manifest that it names.
    pub fn digest(&self) -> Digest {
        *self.digest
    }
}

/// What `describe` of oc-mirror v1 shows of an image set. The digests of manifests and layers of each image are not in the index.
fn metadata(head: &Head, index: &Index) -> serde_json::Value {
    let associations = index.references.iter().map(|entry| {
        let kind = match entry.class {
            ContentClass::Release => "ocpReleaseContent",
            ContentClass::Operator => "operatorRelatedImage",
            ContentClass::Additional | ContentClass::Helm => "generic",
        };
        json!({ "name": entry.source, "path": index.repository(entry.repository), "id": entry.digest,
            "tagSymlink": entry.tag, "type": kind })
    });
    let associations: Vec<_> = associations.collect();
    let timestamp = head.created.parse::<jiff::Timestamp>().map_or(0, jiff::Timestamp::as_second);
    json!({ "uid": head.stream, "singleUse": false,
        "pastMirror": { "timestamp": timestamp, "sequence": head.sequence, "associations": associations } })
}

impl<'a> Shown<'a> {
    fn of(opened: &'a Opened) -> Self {
        let index = &opened.index;
        let references = index.references.iter().map(|entry| Reference {
            name: Name::set(index, entry),
            source: &entry.source,
            class: entry.class,
        });
        Self {
            digest: opened.digest,
            signature: if opened.signers.is_empty() { "unchecked" } else { "trusted" },
            signers: opened.signers.iter().map(ToString::to_string).collect(),
            head: &opened.head,
            metadata: metadata(&opened.head, index),
            references: references.collect(),
            removals: index.removals.iter().map(|entry| Name::removed(index, entry)).collect(),
            catalogs: importer::catalogs(&index.resources),
        }
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let Self { head, .. } = self;
        let kind = match head.kind {
            Kind::Full => "full: it stands alone",
            Kind::Incremental => "incremental: it needs the ones before",
        };
        writeln!(text, "sequence {} ({kind})", head.sequence)?;
        match self.signers.as_slice() {
            [] => writeln!(
                text,
                "  signature  NOT CHECKED: nothing below is proven; name the key with `--trust FILE`"
            )?,
            signers => writeln!(text, "  signature  trusted: {}", signers.join(", "))?,
        }
        writeln!(text, "  stream     {}", head.stream)?;
        writeln!(text, "  digest     {}", self.digest)?;
        if let Some(link) = head.previous {
            writeln!(text, "  after      sequence {}, {}", link.sequence, link.digest)?;
        }
        if let Some(link) = head.base {
            let base = link.sequence;
            writeln!(
                text,
                "  since      sequence {base}: for a target that stands there or later"
            )?;
        }
        let (tool, version) = (plain(&head.tool.name), plain(&head.tool.version));
        writeln!(text, "  created    {} by {tool} {version}", plain(&head.created))?;
        for (name, value) in [("expires", &head.expires), ("next", &head.next_expected)] {
            if let Some(time) = value {
                writeln!(text, "  {name:<9}  {}", plain(time))?;
            }
        }
        for (name, value) in &head.labels {
            writeln!(text, "  label      {}={}", plain(name), plain(value))?;
        }
        let totals = &head.totals;
        writeln!(text, "  carries    {}", size::totals(totals))?;
        if totals.required > 0 {
            let required = size::count(totals.required, "blob");
            writeln!(text, "  needs      {required} of earlier sequences")?;
        }
        let bytes = head.parts.iter().map(|part| part.bytes).sum();
        writeln!(
            text,
            "  parts      {} of {} in all",
            size::count(head.parts.len() as u64, "part"),
            size::show(bytes)
        )?;
        for part in &head.parts {
            writeln!(text, "    {}  {}", part.name, size::show(part.bytes))?;
        }
        self.write_names(text)
    }

    fn write_names(&self, text: &mut String) -> std::fmt::Result {
        for (n, OfferedCatalog { name, source, packages }) in self.catalogs.iter().enumerate() {
            if n == 0 {
                writeln!(text, "  catalogs once it is imported")?;
            }
            write!(text, "    {}", plain(name))?;
            if let Some(source) = source {
                write!(text, "  from {}", plain(source))?;
            }
            writeln!(text)?;
            if !packages.is_empty() {
                let count = size::count(packages.len() as u64, "package");
                writeln!(text, "      {count}: {}", plain(&packages.join(", ")))?;
            }
        }
        for (n, reference) in self.references.iter().enumerate() {
            if n == 0 {
                writeln!(text, "  sets")?;
            }
            let digest = reference.name.digest().short();
            let source = plain(reference.source);
            writeln!(text, "    {}  {digest}  from {source}", reference.name.text())?;
        }
        for (n, removal) in self.removals.iter().enumerate() {
            if n == 0 {
                writeln!(text, "  removes")?;
            }
            writeln!(text, "    {}", removal.text())?;
        }
        for (n, failure) in self.head.failures.iter().enumerate() {
            if n == 0 {
                writeln!(text, "  could not be had")?;
            }
            let (reference, reason) = (plain(&failure.reference), plain(&failure.reason));
            writeln!(text, "    {reference}  {reason}")?;
        }
        Ok(())
    }
}
