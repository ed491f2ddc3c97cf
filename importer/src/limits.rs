//! Limits of an import, each with its reason. Limits of the format stand in `format_spec::limits`.

use std::time::Duration;

/// Entries read from one directory of a medium: ten times the most parts of a sequence.
pub const ENTRIES_MAX: usize = 1_000_000;

/// Directories that one import reads from.
pub const DIRECTORIES_MAX: usize = 1024;

/// Cells read and hashed in one step: 1 MiB, the sixteen that the vector hash takes at once.
pub const GROUP: usize = 16;

/// Bytes of one page of a cell table: the unit in which a table is held in memory. One page covers
/// 128 MiB of payload, so memory does not grow with the size of a part.
pub const TABLE_PAGE: usize = 64 * 1024;

/// Pages of cell tables held for one part: six uploads from one part meet at most six pages, and a
/// neighbour each.
pub const TABLE_PAGES_HELD: usize = 12;

/// Proven cells held because the next blob begins in them: small blobs share a cell, and hashing it
/// again for each would cost 64 KiB a blob. 2 MiB.
pub const EDGES_HELD: usize = 32;

/// Buffers of 1 MiB kept for the next read: for six uploads one being read, one waiting, one sent.
pub const BUFFERS_HELD: usize = 20;

/// A blob of at least so many bytes is gone on with where an earlier run stopped: below it, asking and noting is not
/// worth the while.
pub const RESUMED_LEAST: u64 = 64 * 1024 * 1024;

/// Bytes that are read of the addresses of uploads: those of thousands.
pub const UPLOADS_MAX: u64 = 1024 * 1024;

/// Buffers of 1 MiB that a verification has proven and not yet hashed as content.
pub const BUFFERS_AHEAD: usize = 4;

/// Parts whose files stay open: below every default limit of open files (1024), with room for
/// sockets.
pub const FILES_HELD: usize = 256;

/// Questions ("is this blob there") in flight at one registry.
pub const QUESTIONS: usize = 32;

/// Names that are asked about at a registry that is not known, before it counts as one that makes repositories by
/// itself: each question costs two requests.
pub const PROBES: usize = 32;

/// Tags of one repository that are looked at before anything of it is removed: each costs a request.
pub const PRUNED_TAGS_MAX: usize = 20_000;

/// Manifests that are read at one time to see what they name: 4 MiB each at most.
pub const MANIFESTS_READ: usize = 8;

/// Repositories into which one blob is mounted at a time.
pub const MOUNTS: usize = 4;

/// Manifests and tags written at one time. Each is small: what counts is the way to the registry and
/// back.
pub const MANIFEST_PUTS: usize = 24;

/// KiB of manifests in memory while they are written: one of the largest, or all that are written at one time
/// when they are of the usual size. Parsed, one takes several times its bytes.
pub const MANIFEST_ROOM: u32 = 4 * 1024;

/// Waits before what was written is read back: some registries show it only a moment after they took it.
pub const READ_BACKS: [Duration; 3] =
    [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(3)];

/// How often a manifest is sent again after the registry said that its blobs are not there: a
/// garbage collection raced the import (reference: registries, resume).
pub const RESENDS: u32 = 3;

/// Rollbacks that the record of a stream tells of: the last ones, 600 bytes each.
pub const ROLLBACKS_TOLD: usize = 16;

/// Bytes of a ledger record or a lease, which this program writes with less than 16 KiB.
pub const RECORD_MAX: u64 = 64 * 1024;

/// Bytes of the record of what was deleted. A release has 200 names of 200 bytes; this is 400 of them.
pub const DELETED_MAX: u64 = 16 * 1024 * 1024;

/// Streams in one target's ledger. A site follows one or a few.
pub const STREAMS_MAX: usize = 256;

/// Time between two signs of life of an importer that holds a lease.
pub const LEASE_BEAT: Duration = Duration::from_secs(20);

/// A lease of another host that shows no sign of life for so long is dead: three beats.
pub const LEASE_DEAD: Duration = Duration::from_secs(60);

/// Time between two looks at the lease of another host.
pub const LEASE_LOOK: Duration = Duration::from_secs(2);

/// Time to give a lease back at the end, or to remove an old one; a registry that is gone must not hold the command.
pub const LEASE_RELEASE: Duration = Duration::from_secs(10);

/// Findings that a verification lists; a medium with more is to be copied again as a whole.
pub const FINDINGS_MAX: usize = 1000;

/// Files named in one message: who goes back for them wants to know all.
pub const FILES_NAMED: usize = 100;

/// Images named in one message.
pub const IMAGES_NAMED: usize = 5;

/// Bytes of one object for a cluster, as YAML. `oc apply` keeps what it was given in an annotation, and all annotations of
/// an object together have at most 262,144 bytes; oc-mirror v1 stays below the same number.
pub const OBJECT_MAX: usize = 250_000;

/// Bytes of one signature file of a release. Those of today have 900; a key of 16,384 bits would make 4,096.
pub const SIGNATURE_MAX: usize = 64 * 1024;

/// Bytes of the archive of a Helm chart: as whoever carries one takes.
pub const CHART_MAX: u64 = 32 * 1024 * 1024;

/// Bytes of all resources that a sequence states. A thousand releases with their signatures take 2 MiB.
pub const RESOURCES_MAX: u64 = 64 * 1024 * 1024;

/// Records of sequences that are looked at together for the last full one: most targets have fewer.
pub const RECORDS_AT_ONCE: usize = 8;

/// Bytes of a file with authorities that nodes are given. All those of a system have 250,000.
pub const AUTHORITIES_MAX: u64 = 4 * 1024 * 1024;

/// Files that are remembered of an earlier writing of cluster resources: more than a thousand releases have.
pub const WRITTEN_MAX: u64 = 1024 * 1024;
