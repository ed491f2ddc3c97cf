//! The one place that speaks to the object store: small objects, pieces, lists.
//!
//! In: keys below the prefix. Out: bytes, or a fault that names what was tried. What must hold: every read is
//! bounded; an object that may exist only once is made with a condition, and an answer that was lost on the way
//! is told from a real conflict by what is stored.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    Error, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions,
    PutPayload, UpdateVersion,
};

use super::error::{ObjectsError, code};
use crate::store::StoreError;

/// Tries of a conditional write whose answer was lost.
const CREATE_TRIES: usize = 3;

/// A bucket, or the part of it below a prefix.
#[derive(Clone)]
pub(super) struct Bucket {
    store: Arc<dyn ObjectStore>,
    prefix: String,
}

impl Bucket {
    pub(super) fn new(store: Arc<dyn ObjectStore>, prefix: &str) -> Self {
        let prefix = prefix.trim_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Self { store, prefix }
    }

    fn path(&self, key: &str) -> Result<Path, StoreError> {
        let full = format!("{}{key}", self.prefix);
        Path::parse(&full).map_err(|_| {
            ObjectsError::Settings(format!("`{full}` cannot be a key of an object")).into()
        })
    }

    /// The key of an object in a list.
    pub(super) fn key(&self, meta: &ObjectMeta) -> String {
        let full = meta.location.as_ref();
        full.strip_prefix(self.prefix.as_str()).unwrap_or(full).to_owned()
    }

    /// A small object; `None` when there is none.
    pub(super) async fn get(&self, key: &str, max: u64) -> Result<Option<Bytes>, StoreError> {
        Ok(self.get_with_meta(key, max).await?.map(|(bytes, _)| bytes))
    }

    /// The same with what the store knows of it.
    pub(super) async fn get_with_meta(
        &self,
        key: &str,
        max: u64,
    ) -> Result<Option<(Bytes, ObjectMeta)>, StoreError> {
        match self.get_up_to(key, max).await? {
            None => Ok(None),
            Some((Some(bytes), meta)) => Ok(Some((bytes, meta))),
            Some((None, _)) => {
                let detail = format!("it is larger than {max} bytes");
                Err(ObjectsError::Damaged { key: key.to_owned(), detail }.into())
            }
        }
    }

    /// The same for what may be damaged without harm to others: one that is too large, and so not what it should be, is
    /// empty.
    pub(super) async fn get_or_empty(
        &self,
        key: &str,
        max: u64,
    ) -> Result<Option<(Bytes, ObjectMeta)>, StoreError> {
        let got = self.get_up_to(key, max).await?;
        Ok(got.map(|(bytes, meta)| (bytes.unwrap_or_default(), meta)))
    }

    async fn get_up_to(
        &self,
        key: &str,
        max: u64,
    ) -> Result<Option<(Option<Bytes>, ObjectMeta)>, StoreError> {
        let path = self.path(key)?;
        let got = match self.store.get(&path).await {
            Ok(got) => got,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(fault("reading", key, &error)),
        };
        let meta = got.meta.clone();
        if meta.size > max {
            return Ok(Some((None, meta)));
        }
        let bytes = got.bytes().await.map_err(|error| fault("reading", key, &error))?;
        Ok(Some((Some(bytes), meta)))
    }

    /// Whether an object is there, and how large it is.
    pub(super) async fn head(&self, key: &str) -> Result<Option<u64>, StoreError> {
        Ok(self.meta(key).await?.map(|meta| meta.size))
    }

    /// What the store knows of an object; `None` when there is none.
    pub(super) async fn meta(&self, key: &str) -> Result<Option<ObjectMeta>, StoreError> {
        match self.store.head(&self.path(key)?).await {
            Ok(meta) => Ok(Some(meta)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(fault("looking for", key, &error)),
        }
    }

    /// Writes an object, replacing what is there as a whole.
    pub(super) async fn put(&self, key: &str, payload: PutPayload) -> Result<(), StoreError> {
        let written = self.store.put(&self.path(key)?, payload).await;
        written.map(drop).map_err(|error| fault("writing", key, &error))
    }

    /// Makes an empty object.
    pub(super) async fn mark(&self, key: &str) -> Result<(), StoreError> {
        self.put(key, PutPayload::new()).await
    }

    /// Makes an object; `false` when another one has the key. The same bytes under it are as good as ours.
    pub(super) async fn create(&self, key: &str, payload: PutPayload) -> Result<bool, StoreError> {
        let path = self.path(key)?;
        let mut tries = 1;
        loop {
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            match self.store.put_opts(&path, payload.clone(), options).await {
                Ok(_) => return Ok(true),
                Err(Error::AlreadyExists { .. }) => return self.same(key, &path, &payload).await,
                Err(Error::Generic { .. }) if tries < CREATE_TRIES => tries += 1,
                Err(error) => return Err(fault("writing", key, &error)),
            }
        }
    }

    async fn same(&self, key: &str, path: &Path, payload: &PutPayload) -> Result<bool, StoreError> {
        let got = match self.store.get(path).await {
            Ok(got) => got,
            Err(error) if is_absent(&error) => return Ok(false),
            Err(error) => return Err(fault("reading", key, &error)),
        };
        if got.meta.size != payload.content_length() as u64 {
            return Ok(false);
        }
        let mut ours = payload.iter().cloned();
        let mut block = Bytes::new();
        let mut theirs = got.into_stream();
        while let Some(mut chunk) =
            theirs.try_next().await.map_err(|error| fault("reading", key, &error))?
        {
            while !chunk.is_empty() {
                if block.is_empty() {
                    let Some(next) = ours.next() else { return Ok(false) };
                    block = next;
                    continue;
                }
                let length = block.len().min(chunk.len());
                if block.split_to(length) != chunk.split_to(length) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Replaces an object when it is still the one that was read; returns what the store knows of the new one,
    /// `None` when it is another. `payload` must differ from everything ever written there.
    pub(super) async fn replace(
        &self,
        key: &str,
        old: &ObjectMeta,
        payload: impl Into<PutPayload>,
    ) -> Result<bool, StoreError> {
        let (path, payload) = (self.path(key)?, payload.into());
        let version = UpdateVersion { e_tag: old.e_tag.clone(), version: old.version.clone() };
        let mut tries = 1;
        loop {
            let mode = PutMode::Update(version.clone());
            let options = PutOptions { mode, ..PutOptions::default() };
            match self.store.put_opts(&path, payload.clone(), options).await {
                Ok(_) => return Ok(true),
                Err(Error::Precondition { .. } | Error::NotFound { .. }) => {
                    return Ok(self.same(key, &path, &payload).await.unwrap_or(false));
                }
                Err(Error::Generic { .. }) if tries < CREATE_TRIES => tries += 1,
                Err(error) => return Err(fault("writing", key, &error)),
            }
        }
    }

    /// Removes an object that may be gone already.
    pub(super) async fn discard(&self, key: &str) -> Result<(), StoreError> {
        match self.store.delete(&self.path(key)?).await {
            Ok(()) => Ok(()),
            Err(error) if is_absent(&error) => Ok(()),
            Err(error) => Err(fault("removing", key, &error)),
        }
    }

    /// The bytes `range` of an object, as they come.
    pub(super) async fn read(
        &self,
        key: &str,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, object_store::Result<Bytes>>, StoreError> {
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        let got = self.store.get_opts(&self.path(key)?, options).await;
        match got {
            Ok(got) => Ok(got.into_stream()),
            Err(error) if is_absent(&error) => {
                let detail = "it is gone, and a blob needs it".to_owned();
                Err(ObjectsError::Damaged { key: key.to_owned(), detail }.into())
            }
            Err(error) => Err(fault("reading", key, &error)),
        }
    }

    /// The names of what has something below it, directly below `prefix`.
    pub(super) async fn below(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let path = self.path(prefix)?;
        let listed = self.store.list_with_delimiter(Some(&path)).await;
        let listed = listed.map_err(|error| fault("listing", prefix, &error))?;
        let names = listed.common_prefixes.iter().filter_map(|path| path.filename());
        Ok(names.map(str::to_owned).collect())
    }

    /// What is below `prefix` and after the key `after`, in the order of the keys.
    pub(super) fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
    ) -> Result<BoxStream<'static, Result<ObjectMeta, StoreError>>, StoreError> {
        let path = self.path(prefix)?;
        // What cannot be a key is not left out here; the caller looks at every name anyway.
        let after = after.and_then(|after| Path::parse(format!("{}{after}", self.prefix)).ok());
        let listed = match after {
            Some(after) => self.store.list_with_offset(Some(&path), &after),
            None => self.store.list(Some(&path)),
        };
        let prefix = prefix.to_owned();
        Ok(listed.map_err(move |error| fault("listing", &prefix, &error)).boxed())
    }
}

/// Whether an error says that there is no such object. Some stores say 404 of other things too, as of an account.
fn is_absent(error: &Error) -> bool {
    let code = code(error);
    matches!(error, Error::NotFound { .. }) && code.is_none_or(|code| code == "NoSuchKey")
}

fn fault(what: &str, key: &str, error: &Error) -> StoreError {
    ObjectsError::of(format!("{what} `{key}`"), error).into()
}
