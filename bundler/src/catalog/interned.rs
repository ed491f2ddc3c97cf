//! Names that are held once, however often a catalog has them, and what is held of a catalog in all.

use std::collections::HashSet;
use std::mem::size_of;
use std::sync::Arc;

use super::limits::MODEL_MAX;
use super::model::Gvk;

/// Bytes that an allocation with its count and its place in a set takes beside its content.
const EACH: usize = 48;

/// The names of a catalog.
#[derive(Debug, Default)]
pub struct Names {
    texts: HashSet<Arc<str>>,
    gvks: HashSet<Arc<Gvk>>,
    held: usize,
}

impl Names {
    /// This text.
    pub fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return Arc::clone(known);
        }
        let new: Arc<str> = text.into();
        self.texts.insert(Arc::clone(&new));
        self.held = self.held.saturating_add(EACH + text.len());
        new
    }

    /// This interface.
    pub fn gvk(&mut self, gvk: Gvk) -> Arc<Gvk> {
        if let Some(known) = self.gvks.get(&gvk) {
            return Arc::clone(known);
        }
        let length = gvk.group.len() + gvk.version.len() + gvk.kind.len();
        let new = Arc::new(gvk);
        self.gvks.insert(Arc::clone(&new));
        self.held = self.held.saturating_add(EACH + size_of::<Gvk>() + length);
        new
    }

    /// So many of these are held beside the names.
    pub fn hold<T>(&mut self, count: usize) {
        self.held = self.held.saturating_add(size_of::<T>().saturating_mul(count));
    }

    /// Bytes that are held, as far as they are counted.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Whether that is more than any catalog has.
    pub fn are_too_many(&self) -> bool {
        self.held > MODEL_MAX
    }
}
