//! The server's limits, each with its reason.

use std::time::Duration;

/// Connections at one time. With about 1 MiB each at most, half a gigabyte in the worst case; one that
/// does nothing makes room for the next, and when all are at work that waits.
pub const CONNECTIONS_MAX: usize = 512;

/// Connections of one address (of version 6: of one network). A proxy or a gateway that stands for a site has one address, so it
/// is much; what is left over is for the others. Loopback has no such limit.
pub const CONNECTIONS_SHARE: usize = CONNECTIONS_MAX / 4 * 3;

/// From an accepted connection to its first request, with the TLS handshake. Clients connect when they want something; who
/// does not is not waited for as one who may come back.
pub const FIRST_TIME: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 30 });

/// For so long a new connection that asked for nothing yet is no more in the way than others: a handshake over a slow link
/// takes some round trips.
pub const GREETING_TIME: Duration = Duration::from_secs(3);

/// Between two looks for a connection that can make room, when all are taken and none could.
pub const FULL_LOOK: Duration = Duration::from_millis(100);

/// Bytes read from or written to a socket at once. Large steps keep the cost of a step small against
/// copying and hashing; a connection holds up to two, so larger ones are memory.
pub const STEP: usize = 128 * 1024;

/// Bytes of a connection's requests, and of its answers, that wait in memory at one time; above [`HEAD_MAX`].
pub const WAITING: usize = 96 * 1024;

/// Header fields of a request; clients send about ten.
pub const HEADERS_MAX: usize = 64;

/// Bytes of a request line with all header fields. The longest honest ones carry a token of some
/// kilobytes and ten `tag` parameters.
pub const HEAD_MAX: usize = 64 * 1024;

/// From the end of a request to the last header byte of the next, idle connections included. Above
/// the 90 s after which common clients close their side, so that they close first.
pub const HEAD_TIME: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 120 });

/// A body or an answer that does not move for this long is given up; there is no limit on the whole.
/// Short in the tests beside the code, which wait for it.
pub const STALL: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 60 });

/// What running requests get when the server stops.
pub const STOP_TIME: Duration = Duration::from_secs(5);

/// Bytes of a refused request's body that are read and thrown away so that the client sees the
/// answer instead of a reset connection.
pub const DRAIN_MAX: u64 = 16 * 1024 * 1024;

/// The time for that.
pub const DRAIN_TIME: Duration = Duration::from_secs(10);

/// Entries of one page of a list. Ten thousand of the longest tags are 1.3 MB (CVE-2023-2253).
pub const PAGE_MAX: usize = 10_000;

/// Bytes of one page of referrers, about.
pub const REFERRERS_PAGE: usize = 1024 * 1024;

/// `tag` parameters of one manifest push (OCI distribution specification: at least 10).
pub const TAG_PARAMETERS_MAX: usize = 32;

/// A manifest above this is read and hashed on a thread of its own: 4 MiB take 5 ms, in which an asynchronous thread serves
/// a hundred others.
pub const MANIFEST_ASIDE: u64 = 256 * 1024;

/// Such manifests at one time: the other processors go on serving.
pub const LARGE_MANIFESTS_MAX: usize = 2;

/// A manifest above this is not held while it is sent or arrives. Usual ones have 1 to 20 KiB; so much every connection may
/// hold.
pub const MANIFEST_HELD: u64 = crate::parsing::USUAL as u64;

/// Bytes of large manifests that have arrived and are being stored: two of the largest.
pub const MANIFESTS_ROOM: usize = 8 * 1024 * 1024;

/// For so long a large manifest waits for room; then its client is told to come again.
pub const ROOM_TIME: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 10 });

/// Lists of referrers that are made at one time over object storage, each from one manifest after the other; over files it is
/// parsing that is limited.
pub const REFERRERS_MADE: usize = 8;

/// Bodies that have a step of [`STEP`] bytes in memory at one time: 4 MiB for all, also when they are done.
pub const LARGE_STEPS_MAX: usize = 32;

/// The step of those beyond: hundreds of slow clients hold two each.
pub const SMALL_STEP: usize = 32 * 1024;

/// Lines that wait for the writer of a log. With the longest paths and agents 10 MB.
pub const LOG_QUEUE: usize = 4096;

/// Bytes of lines that go out in one write.
pub const LOG_WRITE: usize = 64 * 1024;

/// A pause of the writer after each write: at ten thousand requests a second one write for 200 lines instead of
/// as many, and nobody looks at a log faster.
pub const LOG_REST: Duration = Duration::from_millis(20);

/// How long the end of the process waits for the last lines of a log.
pub const LOG_CLOSE: Duration = Duration::from_secs(5);

/// How often the writer of a log looks whether its file was moved.
pub const LOG_LOOK: Duration = Duration::from_secs(1);

/// Characters of a path, or of any text of an event, in a log. The longest honest one is an upload in a
/// repository with a long name, of below 400.
pub const LOG_PATH: usize = 1024;

/// Characters of a user agent in a log.
pub const LOG_AGENT: usize = 256;

/// Bytes at the end of an audit log that are read at the start: more than any line has.
pub const AUDIT_TAIL: u64 = 64 * 1024;

/// How often unfinished uploads are looked through.
pub const EXPIRY_PERIOD: Duration = Duration::from_secs(60 * 60);

/// From an accepted connection to the end of its TLS handshake; an honest one takes some round trips.
pub const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// How often certificate, users and roles are looked at for changes.
pub const LOOK_PERIOD: Duration = Duration::from_secs(3);

/// How often a certificate that ends soon is warned of.
pub const WARNING_PERIOD: Duration = Duration::from_secs(60 * 60);
