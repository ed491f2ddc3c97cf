//! A blob on its way from its origin straight into another place: the source of an upload.
//!
//! In: an origin and a digest. Out: pieces, from any byte on, so that a try that broke goes on where it was. What must hold: what
//! arrives damaged from the origin never ends as a whole blob.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use format_spec::Digest;
use format_spec::hash::Hasher;
use futures_util::stream::{self, Stream, StreamExt, TryStreamExt};
use registry::client::BlobSource;
use registry::filing::Damaged;
use registry::progress::Progress;

use crate::origin::{BlobReader, Origin, OriginError, Origins};

/// Bytes that are moved at a time.
const PIECE: usize = 256 * 1024;

/// A blob at its origin, as the source of an upload.
pub(crate) struct FromOrigin {
    origins: Origins,
    origin: Origin,
    digest: Digest,
    size: u64,
    progress: Arc<Progress>,
    /// The furthest byte that was handed out, so that a second try counts once.
    reached: Arc<AtomicU64>,
}

impl FromOrigin {
    /// A blob of so many bytes.
    pub(crate) fn new(
        origins: &Origins,
        origin: &Origin,
        (digest, size): (Digest, u64),
        progress: &Arc<Progress>,
    ) -> Self {
        let (origins, origin) = (origins.clone(), origin.clone());
        let (progress, reached) = (Arc::clone(progress), Arc::default());
        Self { origins, origin, digest, size, progress, reached }
    }
}

impl BlobSource for FromOrigin {
    fn open(&self, offset: u64) -> Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>> {
        let (origins, origin) = (self.origins.clone(), self.origin.clone());
        let (digest, size) = (self.digest, self.size);
        let (progress, reached) = (Arc::clone(&self.progress), Arc::clone(&self.reached));
        let pieces = stream::unfold(Some(None), move |state| {
            let (origins, origin) = (origins.clone(), origin.clone());
            async move {
                let next = async {
                    let reader: Option<BlobReader> = state?;
                    let opened = match reader {
                        Some(reader) => Ok(reader),
                        None => origins.blob(&origin, &digest, size, offset).await,
                    };
                    let mut reader = match opened {
                        Ok(reader) => reader,
                        Err(error) => return Some(Err(error)),
                    };
                    let mut piece = vec![0; PIECE];
                    match reader.read(&mut piece).await {
                        Ok(0) => None,
                        Ok(read) => {
                            piece.truncate(read);
                            Some(Ok((Bytes::from(piece), reader)))
                        }
                        Err(error) => Some(Err(error)),
                    }
                };
                match next.await? {
                    Ok((piece, reader)) => Some((Ok(piece), Some(Some(reader)))),
                    Err(error) => Some((Err(told(error)), None)),
                }
            }
        });
        let mut at = offset;
        let counted = pieces.inspect_ok(move |piece| {
            at += piece.len() as u64;
            let before = reached.fetch_max(at, Ordering::Relaxed);
            progress.skip(at.saturating_sub(before));
        });
        // The rest of one that was begun is compared by who has its beginning.
        match offset {
            0 => Box::pin(compared(counted, digest)),
            _ => Box::pin(counted),
        }
    }
}

/// Passes pieces on, the last one only when all of them have the digest: what is damaged at its source must not look as if the
/// target had damaged it.
fn compared(
    pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    wanted: Digest,
) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let begin = Some((Box::pin(pieces), Hasher::new(), None::<Bytes>));
    stream::unfold(begin, move |state| async move {
        let (mut pieces, mut hasher, mut held) = state?;
        loop {
            match pieces.next().await {
                Some(Ok(piece)) => {
                    hasher.update(&piece);
                    if let Some(before) = held.replace(piece) {
                        return Some((Ok(before), Some((pieces, hasher, held))));
                    }
                }
                Some(Err(error)) => return Some((Err(error), None)),
                None => {
                    let found = hasher.finish();
                    if found != wanted {
                        return Some((Err(io::Error::other(Damaged { wanted, found })), None));
                    }
                    return held.map(|last| (Ok(last), None));
                }
            }
        }
    })
}

/// An error of an origin as one of the system, so that what stands behind it can be found.
fn told(error: OriginError) -> io::Error {
    match error {
        OriginError::Wire(error) => io::Error::other(error),
        OriginError::Shelf(error) => error,
        error => io::Error::other(error),
    }
}
