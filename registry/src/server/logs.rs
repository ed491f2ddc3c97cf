//! The two logs of a registry: `access` and `audit`.
//!
//! In: the section `[log]` of the settings. Out: lines in their places. What must hold: a name is a file below
//! the data directory, `stdout`, `stderr` or `off`; on SIGHUP both files are begun anew; at the end nothing waits.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::access_log::{self, Plain};
use super::account::Account;
use super::audit::Event;
use super::chain::Chain;
use super::log_file::{LogFile, Place};

/// The section `[log]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LogSettings {
    /// Where a line for each request goes: a file, `stdout`, `stderr` or `off`, which is the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<String>,
    /// Where changes and refusals go: a file, `stdout`, `stderr` or `off`. The default is [`AUDIT`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit: Option<String>,
}

impl LogSettings {
    /// Whether nothing is said.
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The audit log when nothing is said.
pub const AUDIT: &str = "log/audit.jsonl";

/// The logs of a registry.
pub(super) struct Logs {
    access: Option<LogFile>,
    audit: Option<LogFile>,
}

/// Why a log cannot be written, with its name in the settings.
pub(super) type LogFault = (&'static str, PathBuf, io::Error);

impl Logs {
    /// Opens what the settings name. `read_only`: nothing in the data directory is touched unasked.
    pub(super) fn open(
        data: &Path,
        settings: &LogSettings,
        read_only: bool,
    ) -> Result<Self, LogFault> {
        let unasked = if read_only { "off" } else { AUDIT };
        let place = |name: &str| match name {
            "off" | "" => None,
            // Whatever these are: a pipe, or the socket of the journal, cannot be opened by its name.
            "stdout" | "/dev/stdout" => Some(Place::Stdout),
            "stderr" | "/dev/stderr" => Some(Place::Stderr),
            file => Some(Place::File(data.join(file))),
        };
        let path = |place: &Place| match place {
            Place::File(path) => path.clone(),
            Place::Stdout => PathBuf::from("stdout"),
            Place::Stderr => PathBuf::from("stderr"),
        };
        let access = place(settings.access.as_deref().unwrap_or("off"))
            .map(|place| {
                let path = path(&place);
                LogFile::open(place, Plain).map_err(|error| ("log.access", path, error))
            })
            .transpose()?;
        let audit = place(settings.audit.as_deref().unwrap_or(unasked))
            .map(|place| {
                let path = path(&place);
                LogFile::open(place, Chain::new()).map_err(|error| ("log.audit", path, error))
            })
            .transpose()?;
        Ok(Self { access, audit })
    }

    /// Writes a request down.
    pub(super) fn access(&self, account: &Account) {
        if let Some(log) = &self.access {
            log.line(access_log::line(account));
        }
    }

    /// Writes an event down.
    pub(super) fn audit(&self, event: &Event<'_>) {
        if let Some(log) = &self.audit {
            log.line(event.line());
        }
    }

    /// Lines that were dropped, of the access log and of the audit log.
    pub(super) fn dropped(&self) -> (u64, u64) {
        let dropped = |log: &Option<LogFile>| log.as_ref().map_or(0, LogFile::dropped);
        (dropped(&self.access), dropped(&self.audit))
    }

    /// Writes what waits, and the end. Blocks.
    pub(super) fn close(&self) {
        self.audit(&Event { action: "stop", outcome: "ok", ..Event::default() });
        for log in [&self.access, &self.audit].into_iter().flatten() {
            log.close();
        }
    }

    /// Begins new files where the old ones were moved away.
    pub(super) fn reopen(&self) {
        for log in [&self.access, &self.audit].into_iter().flatten() {
            log.reopen();
        }
    }
}

/// The time for a line of a log.
pub(super) fn now() -> String {
    format!("{:.3}", jiff::Timestamp::now())
}
