//! How content stays, and how it goes, while several replicas and a collection work on one bucket.
//!
//! In: the key of a link, a pointer, a manifest, a referrer entry or a tag. Out: whether it is there, and stays for the
//! grace; or that it is taken away. Every such object but a tag is written with a word of chance, so that no two writings of
//! it have the same `ETag`.
//!
//! What must hold:
//!
//! - Whoever tells a client "there" has found the object younger than `TOUCH`, or has written it anew under the
//!   condition that it was still the one that was read. So after a look either its time or its tag is new.
//! - Whoever takes it away first changes it to "going", under the condition that it is still the one that was found
//!   old. So of a look and a removal one is told no. Only then it is deleted, and soon, or not at all.
//! - Nobody writes over what is going before it is gone: the delete has no condition. What was left going by a process
//!   that died is taken over after [`ABANDONED`].

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use object_store::{ObjectMeta, PutPayload};

use super::error::ObjectsError;
use super::limits::{
    ABANDONED, GOING_TIME, GOING_WAIT, HOLD_TRIES, POINTER_MAX, SET_TRIES, SMALL_MAX,
};
use super::pointer::Pointer;
use super::{Objects, keys};
use crate::content::ContentDigest;
use crate::store::{StoreError, random_hex};

/// What an object begins with that is being taken away.
const GOING: &[u8] = b"going ";

/// Bytes of such an object; of a link or an entry otherwise, none or 33; of a tag 72 or more.
const GOING_LENGTH: u64 = 39;

/// Between two looks at what is going.
const LOOK: Duration = Duration::from_millis(50);

/// What is at a key.
pub(super) enum There {
    /// Nothing.
    Nothing,
    /// Something that is being taken away; it counts as nothing.
    Going(ObjectMeta),
    /// An object.
    Object(Bytes, ObjectMeta),
}

/// A removal that has begun: nobody relies on the object any more.
pub(super) struct Removal {
    key: String,
    began: (Instant, SystemTime),
}

/// A word that no other writing has.
pub(super) fn word() -> Result<Bytes, StoreError> {
    Ok(Bytes::from(format!("{}\n", random_hex()?)))
}

/// Whether the size of a link, an entry or a tag in a list is that of one that is being taken away.
pub(super) fn is_going(meta: &ObjectMeta) -> bool {
    meta.size == GOING_LENGTH
}

fn contended(key: &str) -> StoreError {
    let detail = "others change it at the same time".to_owned();
    ObjectsError::Unavailable { what: format!("keeping `{key}`"), detail }.into()
}

impl Objects {
    /// What is at a key.
    pub(super) async fn look(&self, key: &str, max: u64) -> Result<There, StoreError> {
        Ok(match self.bucket.get_or_empty(key, max).await? {
            None => There::Nothing,
            Some((bytes, meta)) if bytes.starts_with(GOING) => There::Going(meta),
            Some((bytes, meta)) => There::Object(bytes, meta),
        })
    }

    /// What is at a key, and stays for the grace from now on; `None` for nothing. `anew` is the object written anew.
    pub(super) async fn hold<P: Into<PutPayload>>(
        &self,
        key: &str,
        max: u64,
        anew: impl Fn(&Bytes) -> Result<Option<P>, StoreError>,
    ) -> Result<Option<Bytes>, StoreError> {
        for _ in 0..HOLD_TRIES {
            let There::Object(bytes, meta) = self.look(key, max).await? else { return Ok(None) };
            if self.read_only || self.age(&meta).await? < self.touch {
                return Ok(Some(bytes));
            }
            // Nothing that can be relied on.
            let Some(anew) = anew(&bytes)? else { return Ok(Some(bytes)) };
            if self.bucket.replace(key, &meta, anew).await? {
                return Ok(Some(bytes));
            }
        }
        Err(contended(key))
    }

    /// Whether a link is there and stays.
    pub(super) async fn hold_link(&self, key: &str) -> Result<bool, StoreError> {
        Ok(self.hold(key, SMALL_MAX, |_| word().map(Some)).await?.is_some())
    }

    /// Where the bytes of a blob are that any repository holds; they stay.
    pub(super) async fn hold_pointer(
        &self,
        digest: &ContentDigest,
    ) -> Result<Option<Pointer>, StoreError> {
        let key = keys::blob(digest);
        let anew = |bytes: &Bytes| match Pointer::parse(&key, bytes) {
            Ok(pointer) => pointer.anew().map(Some),
            Err(_) => Ok(None),
        };
        let bytes = self.hold(&key, POINTER_MAX, anew).await?;
        Ok(bytes.and_then(|bytes| Pointer::parse_or_tell(&key, &bytes)))
    }

    /// What is at a key once nobody is taking it away.
    pub(super) async fn settled(&self, key: &str, max: u64) -> Result<There, StoreError> {
        let began = Instant::now();
        loop {
            let there = self.look(key, max).await?;
            let There::Going(meta) = &there else { return Ok(there) };
            if self.age(meta).await? >= ABANDONED {
                return Ok(there);
            }
            if began.elapsed() > GOING_WAIT {
                let detail = "a collection is removing it".to_owned();
                let what = format!("writing `{key}`");
                return Err(ObjectsError::Unavailable { what, detail }.into());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Writes over what was found at a key; `false` when it is another by now.
    pub(super) async fn write_over(
        &self,
        key: &str,
        there: &There,
        payload: impl Into<PutPayload>,
    ) -> Result<bool, StoreError> {
        match there {
            There::Nothing => self.bucket.create(key, payload.into()).await,
            There::Going(meta) | There::Object(_, meta) => {
                self.bucket.replace(key, meta, payload).await
            }
        }
    }

    /// Writes an object, whatever is there; it stays.
    pub(super) async fn write<P: Into<PutPayload>>(
        &self,
        key: &str,
        max: u64,
        anew: impl Fn() -> Result<P, StoreError>,
    ) -> Result<(), StoreError> {
        // Mostly there is none.
        if self.bucket.create(key, anew()?.into()).await? {
            return Ok(());
        }
        for _ in 0..HOLD_TRIES {
            let there = self.settled(key, max).await?;
            if self.write_over(key, &there, anew()?).await? {
                return Ok(());
            }
        }
        Err(contended(key))
    }

    /// Writes a tag, of which the last writer counts. Under a condition all the same: a write of a process that died must not
    /// come after one that was answered, nor a removal take away what it has not read.
    pub(super) async fn set(&self, key: &str, bytes: &Bytes) -> Result<(), StoreError> {
        for _ in 0..SET_TRIES {
            let there = self.settled(key, SMALL_MAX).await?;
            if self.write_over(key, &there, bytes.clone()).await? {
                return Ok(());
            }
        }
        Err(contended(key))
    }

    /// Makes a link or an entry; it stays.
    pub(super) async fn keep(&self, key: &str) -> Result<(), StoreError> {
        self.write(key, SMALL_MAX, word).await
    }

    /// Begins to take an object away that is still the one that was read; `None` when it is another by now.
    pub(super) async fn begin_removal(
        &self,
        key: &str,
        meta: &ObjectMeta,
    ) -> Result<Option<Removal>, StoreError> {
        let began = (Instant::now(), SystemTime::now());
        let going = Bytes::from([GOING, &word()?].concat());
        let changed = self.bucket.replace(key, meta, going).await?;
        Ok(changed.then(|| Removal { key: key.to_owned(), began }))
    }

    /// Deletes it.
    pub(super) async fn end_removal(&self, removal: &Removal) -> Result<(), StoreError> {
        // Both clocks: one stands still while the machine sleeps, the other may be set.
        let slept = removal.began.1.elapsed().unwrap_or(GOING_TIME);
        if removal.began.0.elapsed().max(slept) >= GOING_TIME {
            // Somebody else may have taken it over and made it anew.
            let what = format!("removing `{}`", removal.key);
            let detail = "it took too long: it reads as missing, and is left to others".to_owned();
            return Err(ObjectsError::Unavailable { what, detail }.into());
        }
        self.bucket.discard(&removal.key).await
    }

    /// Takes an object away that is still the one that was read; `false` when it is another by now.
    pub(super) async fn take_away(&self, key: &str, meta: &ObjectMeta) -> Result<bool, StoreError> {
        let Some(removal) = self.begin_removal(key, meta).await? else { return Ok(false) };
        self.end_removal(&removal).await?;
        Ok(true)
    }

    /// Takes away what a client wants removed; `false` when there is nothing.
    pub(super) async fn remove(&self, key: &str, max: u64) -> Result<bool, StoreError> {
        for _ in 0..HOLD_TRIES {
            let There::Object(_, meta) = self.look(key, max).await? else { return Ok(false) };
            if self.take_away(key, &meta).await? {
                return Ok(true);
            }
        }
        Err(contended(key))
    }

    /// How long ago an object was written, by the clock of the store.
    pub(super) async fn age(&self, meta: &ObjectMeta) -> Result<Duration, StoreError> {
        let now = self.clock.now(&self.bucket).await?;
        Ok(now.duration_since(meta.last_modified.into()).unwrap_or_default())
    }
}
