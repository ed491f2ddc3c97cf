//! Limits of a registry over object storage, each with its reason.

use std::time::Duration;

/// Bytes of one piece of a blob. Large enough that a request's cost is small against moving the bytes, small
/// enough to be held in memory until the store has taken it.
pub const PIECE: u64 = 8 * 1024 * 1024;

/// Bytes of one block of a buffer: what arrives is copied into these.
pub const BLOCK: usize = 256 * 1024;

/// Blocks of all uploads together: 10 MiB. Above that, pieces are sent before they are full. With 16 MiB, four pushes
/// took 6 MiB more and were no faster.
pub const BLOCKS_MAX: usize = 40;

/// Pulls that ask for the next piece while they send one. A connection to the store has up to half a mebibyte of what it
/// has read; with more pulls than this there are enough of them to keep the store busy.
pub const AHEAD_MAX: usize = 8;

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

/// Large manifests that are read whole at one time, to be hashed before they are sent, to be written anew, or for a list of
/// referrers: 8 MiB.
pub const MANIFESTS_READ: usize = 2;

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

/// What was written longer ago is written anew when somebody relies on it, so that a collection sees it. All replicas
/// and the collections of a bucket rest on the same time, so it is no setting. Each such writing is one request.
pub const TOUCH: Duration = Duration::from_secs(60 * 60);

/// Stores tell the time of an object in whole seconds.
pub const TICK: Duration = Duration::from_secs(2);

/// How long the store's time is reckoned from our own clocks before it is asked again.
pub const CLOCK_TIME: Duration = Duration::from_secs(5 * 60);

/// From the first step of a removal to the last: whoever was slower leaves it.
pub const GOING_TIME: Duration = Duration::from_secs(60);

/// What is being taken away for longer was left by a process that died. Far above [`GOING_TIME`] and the tries of a
/// request, so that no delete of that process is still on its way.
pub const ABANDONED: Duration = Duration::from_secs(15 * 60);

/// How long a request waits for a removal to end before it tells its client to come back.
pub const GOING_WAIT: Duration = Duration::from_secs(5);

/// Tries to change an object that others change at the same time.
pub const HOLD_TRIES: usize = 20;

/// The same for a tag: as many clients may move one at the same time, and each of them is the last one once.
pub const SET_TRIES: usize = 200;

/// A collection says this often that it still runs.
pub const LEASE_RENEW: Duration = Duration::from_secs(60);

/// One that has not for this long is dead, and another may begin. Two at once do no harm, only the same work.
pub const LEASE: Duration = Duration::from_secs(10 * 60);

/// How long an answer to "is the bucket there?" holds, so that whoever asks `/readyz` often costs the store little.
pub const HEALTH_PERIOD: Duration = Duration::from_secs(3);

/// A bucket that has not answered within this time counts as away: whoever asks about health waits for no more.
pub const HEALTH_TIME: Duration = Duration::from_secs(3);
