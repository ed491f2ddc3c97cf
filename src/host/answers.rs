//! Whether an installed registry serves, and the wait until it does.
//!
//! In: its settings, and a login where one is known. Out: it answers over TLS, as its clients would ask it; or why not. What must
//! hold: a wrong password or certificate ends the wait at once, only what may still come is waited for.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use registry::server::certificate;
use registry::server::probe::{Probe, ProbeError, Trust, probe};
use registry::server::settings::Settings;
use tokio_util::sync::CancellationToken;

use super::place::Place;
use crate::failure::{Failure, Kind};
use crate::output::plain_lines;

/// How long a registry may take to its first answer: a start takes less than a second, a machine that has
/// just booted some.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(100);

/// Bytes of a log that are shown.
const LOG_SHOWN: usize = 4000;

/// What is asked of a registry.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Its data directory.
    pub data: &'a Path,
    /// Its settings.
    pub settings: &'a Settings,
    /// User and password.
    pub login: Option<(&'a str, &'a str)>,
}

impl Question<'_> {
    /// Where it listens.
    fn address(&self) -> SocketAddr {
        self.settings.listen()
    }

    /// Asks once.
    pub async fn ask(&self) -> Result<(), ProbeError> {
        let brought = self.settings.tls.pair(self.data);
        let own = certificate::directory(self.data).join(certificate::CA);
        probe(Probe {
            address: self.address(),
            name: self.settings.hostname.as_deref().unwrap_or("localhost"),
            trust: match &brought {
                Some((certificate, _)) => Trust::Exactly(certificate),
                None => Trust::Authority(&own),
            },
            login: self.login,
        })
        .await
    }

    /// Asks until it answers. `ended` says why it never will.
    pub async fn wait(
        &self,
        cancel: &CancellationToken,
        mut ended: impl FnMut() -> Option<String>,
    ) -> Result<(), Failure> {
        let began = Instant::now();
        loop {
            let error = match self.ask().await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if cancel.is_cancelled() {
                return Err(Failure::new(Kind::Interrupted, "interrupted"));
            }
            if let Some(why) = ended() {
                return Err(Failure::new(Kind::Failed, format!("the registry ended: {why}")));
            }
            if !error.may_pass() || began.elapsed() > PATIENCE {
                return Err(Failure::of(Kind::Unavailable, &error)
                    .with_hint("run the same command again with `--log-level debug`"));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// A registry that is started to see whether it would serve, where nobody keeps one. It is stopped again.
pub struct Trial {
    child: Child,
    log: tempfile::NamedTempFile,
}

impl Trial {
    /// Starts it with the command that a person is told.
    pub fn start(place: &Place) -> Result<Self, Failure> {
        let fault = |error: std::io::Error| {
            Failure::io(Kind::Failed, &format!("cannot run `{}`", place.program.display()), &error)
        };
        let log = tempfile::NamedTempFile::new().map_err(fault)?;
        let child = Command::new(&place.program)
            .args(["registry", "serve", "--data-dir"])
            .arg(&place.data)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.reopen().map_err(fault)?)
            .spawn()
            .map_err(fault)?;
        Ok(Self { child, log })
    }

    /// Why it ended, if it did.
    pub fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        let log = fs_err::read(self.log.path()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_SHOWN)..]).into_owned();
        Some(format!("{status}\n{}", plain_lines(log.trim())))
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        use rustix::process::{Pid, Signal, kill_process};
        // Orderly: it has nothing to do, and ends within milliseconds. One that ended is gone already.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}
