//! The record of a sequence at the target: what it brought, and in which part each blob stands.
//!
//! In: a sequence that is wholly at the target, and its head and index as they lie on the medium. Out: an artifact of
//! two layers, the bytes of both files, under a tag of its own. The mirror registry's garbage collection goes by these
//! records, and its check names the part that holds a good copy. They are history, not trust: an import never reads
//! one. All are kept; the latest `full` sequence and those after it are what the target still needs.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use format_spec::Digest;
use format_spec::head::HEAD_TYPE;
use format_spec::limits::INDEX_MAX;
use futures_util::future::try_join;
use futures_util::stream::{self, Stream};
use registry::client::BlobSource;
use registry::progress::Progress;
use registry::record;

use crate::against::blob_lack;
use crate::artifact::{self, Layer};
use crate::error::ImportError;
use crate::intake::Found;
use crate::paths::Destination;
use crate::survey;
use crate::verify::Verified;

/// Bytes of a file that are read and sent at a time.
const PIECE: usize = 256 * 1024;

/// The layers of a record, in their order.
fn layers(verified: &Verified) -> [(Layer, &Found); 2] {
    let layer = |kind, digest, file: &Found| Layer { kind, digest, size: file.size };
    let (head, index) = (&verified.sources.head, &verified.sources.index);
    [
        (layer(HEAD_TYPE, verified.digest, head), head),
        (layer(record::INDEX, verified.head.index.digest, index), index),
    ]
}

/// Brings the bytes of the record to the target, where nothing names them yet. With `ask` only what is not there.
pub(crate) async fn send_ahead(
    at: &Destination,
    verified: &Verified,
    ask: bool,
) -> Result<(), ImportError> {
    let [head, index] = layers(verified);
    try_join(send(at, head, ask), send(at, index, ask)).await.map(drop)
}

/// Whether the target has the record, and the bytes of both files.
pub(crate) async fn is_there(at: &Destination, verified: &Verified) -> Result<bool, ImportError> {
    let tag = record::sequence_tag(verified.head.stream, verified.head.sequence);
    let layers = layers(verified).map(|(layer, _)| layer);
    let Some(manifest) = artifact::get(at, &tag).await? else { return Ok(false) };
    if !manifest.layers.iter().map(|layer| layer.digest).eq(layers.map(|layer| layer.digest)) {
        return Ok(false);
    }
    for layer in layers {
        if !survey::has_blob(at, &at.ledger, layer.digest, layer.size).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether the bytes of both files are what they are named, as the target gives them.
pub(crate) async fn arrives(
    at: &Destination,
    verified: &Verified,
    progress: &Progress,
) -> Result<bool, ImportError> {
    for (Layer { digest, size, .. }, _) in layers(verified) {
        if blob_lack(at, &at.ledger, digest, size, progress).await?.is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn send(
    at: &Destination,
    (layer, file): (Layer, &Found),
    ask: bool,
) -> Result<(), ImportError> {
    let Layer { digest, size, .. } = layer;
    if ask && at.client.head_blob(at.host(), &at.ledger, &digest).await?.is_some() {
        return Ok(());
    }
    let source = Arc::new(FileSource(file.clone()));
    match at.client.push_blob(at.host(), &at.ledger, &digest, size, source, None).await {
        Ok(_) => Ok(()),
        Err(error) => Err(explain(file.clone(), digest, error.into()).await),
    }
}

/// A file that is another one by now is the medium's fault, whatever the registry says of what it got.
async fn explain(file: Found, digest: Digest, error: ImportError) -> ImportError {
    let path = file.path();
    match tokio::task::spawn_blocking(move || file.digest(INDEX_MAX)).await {
        Ok(Ok(found)) if found == digest => error,
        Ok(Ok(_)) => {
            let source = io::Error::other("the file changed while it was read");
            ImportError::Read { path, source }
        }
        Ok(Err(unreadable)) => unreadable,
        Err(error) => error.into(),
    }
}

/// Names the record, after its bytes.
pub(crate) async fn write(at: &Destination, verified: &Verified) -> Result<(), ImportError> {
    let (stream, sequence) = (verified.head.stream, verified.head.sequence);
    let layers = layers(verified).map(|(layer, _)| layer);
    // No time: written again it is the same, with the same keys.
    let signers: Vec<String> = verified.signers.iter().map(ToString::to_string).collect();
    let notes = [
        ("vnd.bundle.stream", stream.to_string()),
        ("vnd.bundle.sequence", sequence.to_string()),
        (record::SIGNERS, signers.join(" ")),
    ];
    let tag = record::sequence_tag(stream, sequence);
    artifact::name(at, &tag, record::SEQUENCE, &layers, &notes).await.map(drop)
}

/// A small file of the medium as the source of an upload. The registry compares what it got with the digest that the
/// signature proves.
struct FileSource(Found);

impl BlobSource for FileSource {
    fn open(&self, offset: u64) -> Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>> {
        let file = self.0.clone();
        Box::pin(stream::unfold(Some((None, offset)), move |state| {
            let found = file.clone();
            async move {
                let (open, at) = state?;
                if at >= found.size {
                    return None;
                }
                let read = tokio::task::spawn_blocking(move || read(&found, open, at)).await;
                match read.map_err(io::Error::other).flatten() {
                    Ok((open, bytes)) => {
                        let next = at + bytes.len() as u64;
                        Some((Ok(bytes), Some((Some(open), next))))
                    }
                    Err(error) => Some((Err(error), None)),
                }
            }
        }))
    }
}

fn read(found: &Found, open: Option<File>, at: u64) -> io::Result<(File, Bytes)> {
    let file = open.map_or_else(|| found.open(), Ok)?;
    let left = usize::try_from(found.size - at).unwrap_or(PIECE);
    let mut bytes = vec![0; left.min(PIECE)];
    file.read_exact_at(&mut bytes, at)?;
    Ok((file, bytes.into()))
}
