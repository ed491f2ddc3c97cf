//! Which questions about attached manifests need not be asked.
//!
//! In: what earlier sequences carried, and a source repository's own list of its tags. Out: the tags that may stand
//! there for what is attached to a manifest. What must hold: what no sequence has carried is asked for name by
//! name. A cache lists what it holds, and a signature that is not listed would be left behind in silence; so a list
//! only tells whether something came to a manifest since, and counts for nothing when it lacks a tag that is
//! known to be there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use format_spec::{Digest, Repository, Tag};
use tokio::sync::OnceCell;

use crate::history::{Known, Name};
use crate::lock;
use crate::node::Reader;
use crate::origin::{Origin, Origins};

/// Tags kept of all lists together; what comes after them is asked for name by name.
const KEPT: usize = 20_000;

/// The lists of a run, each asked for once.
pub(crate) struct Listed<'a> {
    known: &'a Known,
    lists: Mutex<HashMap<Origin, Arc<OnceCell<List>>>>,
    room: Mutex<usize>,
}

/// The tags of a repository, in their order; none when there is no list that counts.
type List = Option<Box<[Tag]>>;

/// One image, as it is listed at its source and carried to the target.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) listed: &'a Listed<'a>,
    /// The tag that the image was just read by, if it was one.
    pub(crate) tag: Option<&'a Tag>,
    /// Its repository at the target.
    pub(crate) repository: &'a Repository,
}

impl<'a> Listed<'a> {
    pub(crate) fn new(known: &'a Known) -> Self {
        Self { known, lists: Mutex::default(), room: Mutex::new(KEPT) }
    }

    async fn of(&self, origins: &Origins, origin: &Origin) -> Arc<OnceCell<List>> {
        let cell = Arc::clone(lock(&self.lists).entry(origin.clone()).or_default());
        cell.get_or_init(async || {
            let mut tags = origins.tags(origin).await?;
            let mut room = lock(&self.room);
            *room = room.checked_sub(tags.len())?;
            tags.sort_unstable();
            Some(tags.into())
        })
        .await;
        cell
    }
}

impl Place<'_> {
    /// Of `tags`, which stand for what is attached to `subject`, those that may be there.
    pub(crate) async fn may_hold(
        &self,
        reader: Reader<'_>,
        subject: &Digest,
        tags: [Tag; 4],
    ) -> Vec<Tag> {
        let known = self.listed.known;
        let (Some(own), true) = (self.tag, known.has_manifest(self.repository, subject)) else {
            return tags.into();
        };
        let list = self.listed.of(reader.origins, reader.origin).await;
        let there = |tag: &Tag| match list.get() {
            Some(Some(list)) => list.binary_search(tag).is_ok(),
            _ => true,
        };
        let carried = |tag| known.reference(self.repository, &Name::Tag(tag)).is_some();
        let asked = |tag: &Tag| !there(own) || there(tag) || carried(tag.clone());
        tags.into_iter().filter(asked).collect()
    }
}
