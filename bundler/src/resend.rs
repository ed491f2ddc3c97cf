//! A sequence once more: its medium was lost, and the other side waits for it.
//!
//! In: the history's head, signatures and index of the sequence, and the registries that its content came from. Out:
//! the same files, byte for byte; the page for the courier is made anew. The history does not move. What must hold:
//! nothing is published whose cell tables are not the ones that were signed.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use format_spec::head::{ContentClass, Failure, Head};
use format_spec::index::Index;
use format_spec::limits::HEAD_MAX;
use format_spec::part::{FileName, PartLayout, Piece};
use format_spec::{Digest, Sequence, codec};
use registry::lasting;
use registry::reference::Reference;

use crate::config::ImageSource;
use crate::create::{CreateOptions, Filled, REQUESTS, Stream, fill, lock_medium};
use crate::durable;
use crate::error::{CreateError, fit};
use crate::history::{Known, Record};
use crate::layout::LayoutImage;
use crate::lists;
use crate::made;
use crate::origin::{Loss, Origin, Origins};
use crate::plan::{Content, Few, Item, Plan};
use crate::publish;
use crate::report::{Created, File, Summary, Written};
use crate::resolve::Resolved;
use crate::slots;
use crate::space;

/// Writes sequence `sequence` of `stream` again.
pub async fn resend(
    stream: Stream,
    options: CreateOptions,
    sequence: Sequence,
) -> Result<Created, CreateError> {
    let history = stream.history;
    let last = history.last().map_or(0, |link| link.sequence.get());
    if sequence.get() > last {
        return Err(CreateError::Since { since: sequence, last });
    }
    let record = history.record(sequence)?;
    let (head, index) = opened(&record)?;
    let requests = REQUESTS.max(options.parallel_images);
    let origins = Origins::new(options.client.clone(), requests);
    let (wishes, _) = lists::read(&options.images, &origins, options.max_nested_paths).await?;
    let at_hand = wishes.iter().map(|wish| (wish.name.as_str(), wish.source.origin())).collect();
    let plan = Arc::new(again(&head, index, &at_hand)?);

    let write = CreateError::file("write the sequence");
    lasting::make(&options.to).map_err(CreateError::file("make the output directory"))?;
    let _medium = lock_medium(&options.to)?;
    // An earlier try may have ended between its first and its last name. Nothing is fetched for it any more, and once it
    // has its names no run would know that its journal is of no use.
    if publish::is_written(&head, &record, &options.to) {
        slots::forget(&slots::path(&options.workspace.join("history")));
    }
    let begun = publish::resume(&head, &record, &options.to).map_err(&write)?;
    let files = if begun {
        publish::files(&record, &head, &options.to)
    } else {
        let there = options.to.join(FileName::Head(sequence).to_string());
        if durable::read(&there, HEAD_MAX).ok().flatten().is_some_and(|there| there == record.head)
        {
            return Err(CreateError::Present { directory: options.to.clone(), sequence });
        }
        publish::refuse_occupied(&options.to, head.stream, sequence)?;
        space::check(&options.to, &plan, &Known::default(), &Resolved::default())?;
        let (tables, slots) = match fill(&options, &origins, &plan).await? {
            Filled::Complete(tables, slots) => (tables, slots),
            Filled::Without(lost) => return Err(gone(sequence, &plan.index, &lost)),
        };
        let same = head.parts.iter().map(|part| part.table).eq(tables);
        if !same {
            return Err(CreateError::Layout(
                "the parts came out otherwise than they were signed".to_owned(),
            ));
        }
        options.progress.phase("publishing");
        publish::again(&record, &head, &plan.index, &options, slots)?
    };
    Ok(Created::Written(Written {
        stream: head.stream,
        sequence,
        kind: head.kind,
        digest: Digest::of(&record.head),
        totals: head.totals,
        bytes_new: head.totals.bytes,
        read_back: options.read_back && !begun,
        files: files.into_iter().map(|(name, bytes)| File { name, bytes }).collect(),
        // What could not be had was told when it was made.
        summary: Summary::default(),
    }))
}

/// The head and index of a record, which must fit each other.
fn opened(record: &Record) -> Result<(Head, Index), CreateError> {
    let damaged = |problem: String| CreateError::History {
        path: PathBuf::from(format!("history/seq{}", record.sequence)),
        problem,
    };
    let head = Head::parse(&record.head).map_err(|error| damaged(error.to_string()))?;
    if Digest::of(&record.index) != head.index.digest {
        return Err(damaged("the index is not the one that was signed".to_owned()));
    }
    let index = codec::decode(&record.index).map_err(|error| damaged(error.to_string()))?;
    index.validate(&head).map_err(|error| damaged(error.to_string()))?;
    Ok((head, index))
}

/// The plan that the sequence was made by: every place stands in the index, and the origins of the content in
/// the references, or `at_hand`.
fn again(head: &Head, index: Index, at_hand: &HashMap<&str, Origin>) -> Result<Plan, CreateError> {
    let mut numbers: HashMap<Origin, u32> = HashMap::new();
    let mut origins: Vec<Origin> = Vec::new();
    let mut of_repository: Vec<Few> = vec![Few::new(); index.repositories.len()];
    for reference in &index.references {
        let known = at_hand.get(reference.source.as_str()).cloned();
        let Some(origin) = known.or_else(|| origin_of(&reference.source)) else { continue };
        // What was made here has its other blobs where its base is.
        let base = made::base_of(&origin);
        for origin in [Some(origin), base].into_iter().flatten() {
            let number = *numbers.entry(origin).or_insert_with_key(|origin| {
                origins.push(origin.clone());
                u32::try_from(origins.len() - 1).expect("bounded by the index limits")
            });
            let known = &mut of_repository[reference.repository as usize];
            if !known.contains(&number) {
                known.push(number);
            }
        }
    }
    let origins_of = |repositories: &[u32]| -> Result<Few, CreateError> {
        let mut found = Few::new();
        for origin in repositories.iter().flat_map(|id| &of_repository[*id as usize]) {
            if !found.contains(origin) {
                found.push(*origin);
            }
        }
        if found.is_empty() {
            return Err(CreateError::Layout(
                "the references of the sequence do not say where its content came from: what came from directories and \
                 archives is named again with `--images`"
                    .to_owned(),
            ));
        }
        Ok(found)
    };
    let mut items: Vec<(Piece, Item)> = Vec::new();
    for (entry, manifest) in (0..).zip(&index.manifests) {
        let origins = origins_of(&manifest.repositories)?;
        let (digest, size, content) = (manifest.digest, manifest.size, Content::Manifest(None));
        let item = Item { digest, size, content, origins, entry };
        items.push((manifest.pieces[0], item));
    }
    for (entry, blob) in (0..).zip(&index.blobs) {
        let origins = origins_of(&blob.repositories)?;
        let (digest, size, content) = (blob.digest, blob.size, Content::Blob);
        items.push((blob.pieces[0], Item { digest, size, content, origins, entry }));
    }
    items.sort_by_key(|(first, _)| (first.part, first.offset));
    Ok(Plan {
        items: items.into_iter().map(|(_, item)| item).collect(),
        origins,
        resources_stand: false,
        parts: head.parts.iter().map(|part| PartLayout { bytes: part.bytes }).collect(),
        known_bytes: 0,
        warnings: Vec::new(),
        index,
    })
}

/// The place that a reference of the index came from.
fn origin_of(source: &str) -> Option<Origin> {
    if let Some(path) = source.strip_prefix("oci://") {
        let written = PathBuf::from(path);
        return Some(Origin::Layout(LayoutImage::of(&written).path));
    }
    let reference: Reference = source.parse().ok()?;
    Some(crate::origin::Source::of(&ImageSource::Registry(reference)).origin())
}

/// What is gone at its origins: the sequence cannot be made again as it was.
fn gone(sequence: Sequence, index: &Index, lost: &BTreeMap<Digest, Loss>) -> CreateError {
    let mut failures = Vec::new();
    let mut causes = Vec::new();
    for (digest, loss) in lost {
        let blob = index.blobs.iter().find(|blob| blob.digest == *digest);
        let manifest = index.manifests.iter().find(|entry| entry.digest == *digest);
        let repositories = blob
            .map(|blob| &blob.repositories)
            .or(manifest.map(|entry| &entry.repositories))
            .map_or(&[][..], Vec::as_slice);
        let reference = index.references.iter().find(|r| repositories.contains(&r.repository));
        failures.push(Failure {
            reference: reference.map_or_else(|| digest.to_string(), |r| r.source.clone()),
            class: reference.map_or(ContentClass::Additional, |r| r.class),
            reason: fit(&format!("{digest}: {}", loss.reason)),
        });
        causes.push(loss.kind);
    }
    CreateError::Gone { sequence, failures, causes }
}
