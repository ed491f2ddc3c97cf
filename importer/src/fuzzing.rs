//! The importer's parsers of foreign bytes, for the fuzz targets only.

use format_spec::StreamId;

use crate::ledger::Record;

/// What a target, or a workspace, has as a record.
pub fn record(bytes: &[u8]) {
    let _ = Record::parse(bytes, StreamId::from_bytes([7; 16]));
}
