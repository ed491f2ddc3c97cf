//! A manifest that comes in.
//!
//! In: the body of a request. Out: its bytes, with the room that they take. What must hold: a body above the limit is refused
//! as soon as that is seen; a large one lies in a file without a name until all of it is there, so that who sends slowly
//! takes no memory and is in nobody's way; the large ones that are in memory share one room.

use std::fs::File;
use std::os::unix::fs::FileExt;

use bytes::{Bytes, BytesMut};
use format_spec::limits::MANIFEST_MAX;
use http::StatusCode;
use http::header::{CONTENT_LENGTH, RETRY_AFTER};
use http::request::Parts;
use http_body_util::BodyExt;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::account::Received;
use super::answer::Fault;
use super::limits::{MANIFEST_HELD, MANIFESTS_ROOM, ROOM_TIME, STALL};
use super::{App, header};
use crate::parsing;
use crate::store::StoreError;

/// Room for the bytes of large manifests, in KiB.
static ROOM: Semaphore = Semaphore::const_new(MANIFESTS_ROOM / 1024);

/// Reads the body of a request that brings a manifest.
pub(super) async fn read(app: &App, parts: &Parts, body: &mut Received) -> Result<Bytes, Fault> {
    let too_large = || {
        let text = format!("a manifest has at most {MANIFEST_MAX} bytes");
        Fault::new(StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID", text)
    };
    let announced = header(parts, CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    if announced.is_some_and(|length| length > MANIFEST_MAX) {
        return Err(too_large());
    }
    let broken = |text: String| Fault::new(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", text);
    let mut arriving = Arriving { length: 0, held: BytesMut::new(), file: None };
    loop {
        let frame = timeout(STALL, body.frame()).await;
        let frame =
            frame.map_err(|_| broken(format!("nothing arrived for {} s", STALL.as_secs())))?;
        let Some(frame) = frame else { return arriving.whole().await };
        let frame = frame.map_err(|error| broken(format!("the body ended early: {error}")))?;
        if let Some(data) = frame.data_ref() {
            if arriving.length + data.len() as u64 > MANIFEST_MAX {
                return Err(too_large());
            }
            arriving.add(app, data)?;
        }
    }
}

/// What has arrived.
struct Arriving {
    length: u64,
    /// All of it, as long as that is little.
    held: BytesMut,
    file: Option<File>,
}

impl Arriving {
    fn add(&mut self, app: &App, data: &[u8]) -> Result<(), StoreError> {
        let length = self.length + data.len() as u64;
        if length <= MANIFEST_HELD {
            self.held.extend_from_slice(data);
        } else {
            app.store.has_space(length - self.length)?;
            let file = match &self.file {
                Some(file) => file,
                None => {
                    let file = tempfile::tempfile_in(&app.data)?;
                    file.write_all_at(&std::mem::take(&mut self.held), 0)?;
                    self.file.insert(file)
                }
            };
            file.write_all_at(data, self.length)?;
        }
        self.length = length;
        Ok(())
    }

    /// All of it, where it is large as soon as there is room for it.
    async fn whole(self) -> Result<Bytes, Fault> {
        let Some(file) = self.file else { return Ok(self.held.freeze()) };
        let units = u32::try_from(self.length.div_ceil(1024)).unwrap_or(u32::MAX);
        let Ok(Ok(room)) = timeout(ROOM_TIME, ROOM.acquire_many(units)).await else {
            let text = "too many large manifests are being pushed; try again in a moment";
            return Err(Fault::new(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", text)
                .field(RETRY_AFTER, "5"));
        };
        let length = usize::try_from(self.length).unwrap_or(usize::MAX);
        let read = parsing::at_turn(length, move || {
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, 0)?;
            Ok::<_, StoreError>(Bytes::from_owner(Large { bytes, _room: room }))
        });
        Ok(read.await.map_err(StoreError::from)??)
    }
}

/// The bytes of a large manifest, and the room they take until nobody needs them any more.
struct Large {
    bytes: Vec<u8>,
    _room: SemaphorePermit<'static>,
}

impl AsRef<[u8]> for Large {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// All of the room.
#[cfg(test)]
pub(super) async fn room() -> SemaphorePermit<'static> {
    let units = u32::try_from(MANIFESTS_ROOM / 1024).unwrap_or(u32::MAX);
    ROOM.acquire_many(units).await.expect("it is never closed")
}
