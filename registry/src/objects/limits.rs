//! Limits of a registry over object storage, each with its reason.

use std::time::Duration;

/// Bytes of one piece of a blob. Large enough that a request's cost is small against moving the bytes, small
/// enough to be held in memory until the store has taken it.
pub const PIECE: u64 = 8 * 1024 * 1024;

/// Bytes of one block of a buffer: what arrives is copied into these.
pub const BLOCK: usize = 256 * 1024;

/// Blocks of all uploads together: 16 MiB. Above that, pieces are sent before they are full.
pub const BLOCKS_MAX: usize = 64;

/// Pieces of one blob. With full pieces that is 800 GiB; a client that sends in crumbs is stopped here.
pub const PIECES_MAX: usize = 100_000;

/// Bytes of a blob's pointer: runs of equal pieces take one entry, the worst case has one for each piece.
pub const POINTER_MAX: u64 = 4 * 1024 * 1024;

/// Bytes of the other small objects: a tag, the state of an upload, the version.
pub const SMALL_MAX: u64 = 1024;

/// A buffer to which nothing was added for this long is sent, so that what is told of the upload comes true and
/// its memory is free for others.
pub const IDLE: Duration = Duration::from_secs(3);

/// A buffer older than this is sent although bytes trickle in: otherwise a slow client keeps the memory for as
/// long as it likes.
pub const AGE_MAX: Duration = Duration::from_secs(10);

/// How long somebody who asks for the offset waits for the bytes at hand to be sent.
pub const ASKED: Duration = Duration::from_secs(5);

/// Uploads whose running hash is kept between two requests; the others are read and hashed again.
pub const LIVE_MAX: usize = 1024;

/// From taking an upload over to its pointer. Expiry removes what was silent for a day; whoever slept through
/// that must not finish.
pub const FINISH_TIME: Duration = Duration::from_secs(60 * 60);

/// Requests at one time for one answer.
pub const ASIDE: usize = 16;

/// Idle connections kept to the object store.
pub const IDLE_CONNECTIONS: usize = 64;

/// Time to open a connection to the object store.
pub const CONNECT_TIME: Duration = Duration::from_secs(5);

/// An answer of the object store that does not move for this long is given up; while a piece is sent, this is
/// the time for the whole of it.
pub const READ_TIME: Duration = Duration::from_secs(60);

/// Tries of one request, with waits that double from a tenth of a second.
pub const TRIES: usize = 5;

/// After this time a request is not tried again: the client is told to come back.
pub const RETRY_TIME: Duration = Duration::from_secs(15);
