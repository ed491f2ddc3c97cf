//! What a check has found so far, whether it looks at files or at a bucket.
//!
//! In: findings, one at a time, and later what leads to them in each repository. Out: the findings of the report, in
//! order. What must hold: a list is bounded and its number is not; findings of one kind hide none of another.

use std::collections::{BTreeMap, HashMap, HashSet};

use format_spec::{Digest, Repository, Tag};

use super::super::{Holder, Pinned};
use super::{FINDINGS_MAX, Finding, FindingKind, NAMED_MAX, Report, words};
use crate::content::ContentDigest;
use crate::outline::Outline;

/// What was found.
#[derive(Default)]
pub(crate) struct Findings {
    found: BTreeMap<(FindingKind, String), Finding>,
    of_kind: BTreeMap<FindingKind, usize>,
    more: u64,
}

/// Which manifests of one repository are hit by what.
pub(crate) struct Hits<'a> {
    contents: &'a HashSet<ContentDigest>,
    // From the contents up to the indexes.
    hit: HashMap<ContentDigest, HashSet<ContentDigest>>,
    parents: Vec<(ContentDigest, Vec<ContentDigest>)>,
}

impl Findings {
    /// Notes a finding; one about the same content in a further repository is the same.
    pub(crate) fn note(
        &mut self,
        kind: FindingKind,
        what: String,
        digest: Option<ContentDigest>,
        repository: Option<&Repository>,
        detail: String,
    ) {
        let key = (kind, what);
        if !self.found.contains_key(&key) {
            let of_kind = self.of_kind.entry(kind).or_default();
            if *of_kind >= FINDINGS_MAX {
                self.more += u64::from(kind.is_damage());
                return;
            }
            *of_kind += 1;
        }
        let finding = self.found.entry(key).or_insert_with_key(|(kind, what)| {
            // Whoever asked for the check shows what it found.
            tracing::debug!(%what, detail, "{}", words(*kind));
            Finding {
                kind: *kind,
                what: what.clone(),
                digest,
                detail,
                repositories: Vec::new(),
                repository_count: 0,
                tags: Vec::new(),
                tag_count: 0,
                holder: None,
                repaired: false,
            }
        });
        if let Some(repository) = repository {
            finding.hit_repository(repository);
        }
    }

    /// The contents that are damaged or missing.
    pub(crate) fn contents(&self) -> HashSet<ContentDigest> {
        self.found
            .values()
            .filter(|finding| finding.kind.is_damage() && finding.kind != FindingKind::TagDamaged)
            .filter_map(|finding| finding.digest)
            .collect()
    }

    /// Fills in what is hit in one repository: by the manifests, which blobs it links, and what its tags stand for.
    pub(crate) fn hit(
        &mut self,
        repository: &Repository,
        hits: Hits<'_>,
        links: &dyn Fn(&ContentDigest) -> bool,
        tags: impl IntoIterator<Item = (Tag, ContentDigest)>,
    ) {
        let hit = hits.settled();
        let named: HashSet<ContentDigest> = hit.values().flatten().copied().collect();
        // The others were found in a repository.
        let bytes = |finding: &&mut Finding| finding.kind == FindingKind::BlobDamaged;
        for finding in self.found.values_mut().filter(bytes) {
            let Some(digest) = finding.digest else { continue };
            if named.contains(&digest) || links(&digest) {
                finding.hit_repository(repository);
            }
        }
        for (tag, digest) in tags {
            let by = hit.get(&digest);
            for finding in self.found.values_mut() {
                let Some(of) = finding.digest else { continue };
                let here = finding.repositories.iter().any(|one| one == repository.as_str())
                    || finding.repositories.len() >= NAMED_MAX;
                let dangling = finding.kind == FindingKind::TagDangling;
                if here && !dangling && by.is_some_and(|by| by.contains(&of)) {
                    finding.hit_tag(repository, tag.as_str());
                }
            }
        }
    }

    /// Notes the streams of which it is not known what they need.
    pub(crate) fn records(&mut self, streams: Vec<Pinned>) {
        for stream in streams {
            let Some(problem) = stream.unknown() else { continue };
            let what = stream.repository.to_string();
            self.note(FindingKind::RecordUnusable, what, None, Some(&stream.repository), problem);
        }
    }

    /// Puts them into the report.
    pub(crate) fn into_report(self, report: &mut Report) {
        report.findings = self.found.into_values().collect();
        report.more_findings = self.more;
    }
}

impl<'a> Hits<'a> {
    /// By these contents.
    pub(crate) fn of(contents: &'a HashSet<ContentDigest>) -> Self {
        Self { contents, hit: HashMap::new(), parents: Vec::new() }
    }

    /// Takes in a manifest of the repository; without one, what is there under its name cannot be read.
    pub(crate) fn manifest(&mut self, digest: ContentDigest, manifest: Option<&Outline>) {
        if self.contents.contains(&digest) {
            self.hit.entry(digest).or_default().insert(digest);
        }
        let Some(manifest) = manifest else { return };
        let blobs = manifest.blobs.iter().map(|blob| blob.digest);
        let by: Vec<ContentDigest> = blobs.filter(|blob| self.contents.contains(blob)).collect();
        if !by.is_empty() {
            self.hit.entry(digest).or_default().extend(by);
        }
        if !manifest.children.is_empty() {
            self.parents.push((digest, manifest.children.clone()));
        }
    }

    fn settled(mut self) -> HashMap<ContentDigest, HashSet<ContentDigest>> {
        // Indexes of indexes are as deep as they are; each round goes up one level.
        for _ in 0..self.parents.len() {
            let mut grew = false;
            for (parent, children) in &self.parents {
                let by: HashSet<ContentDigest> = children
                    .iter()
                    .filter_map(|child| self.hit.get(child))
                    .flatten()
                    .copied()
                    .collect();
                if !by.is_empty() {
                    let of_parent = self.hit.entry(*parent).or_default();
                    let before = of_parent.len();
                    of_parent.extend(by);
                    grew |= of_parent.len() > before;
                }
            }
            if !grew {
                break;
            }
        }
        self.hit
    }
}

impl Report {
    /// The contents of the findings that media can carry.
    pub(crate) fn on_media(&self) -> HashSet<Digest> {
        let found = self.findings.iter().filter_map(|finding| finding.digest);
        found.filter_map(|digest| digest.sha256()).collect()
    }

    /// Says where good copies are.
    pub(crate) fn held(&mut self, holders: &HashMap<Digest, Holder>) {
        for finding in &mut self.findings {
            let digest = finding.digest.and_then(|digest| digest.sha256());
            finding.holder = digest.and_then(|digest| holders.get(&digest).cloned());
        }
    }
}

impl Finding {
    fn hit_repository(&mut self, repository: &Repository) {
        if self.repositories.last().is_some_and(|last| last == repository.as_str()) {
            return;
        }
        self.repository_count += 1;
        if self.repositories.len() < NAMED_MAX {
            self.repositories.push(repository.to_string());
        }
    }

    fn hit_tag(&mut self, repository: &Repository, tag: &str) {
        self.tag_count += 1;
        if self.tags.len() < NAMED_MAX {
            self.tags.push(format!("{repository}:{tag}"));
        }
    }
}
