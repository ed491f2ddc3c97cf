//! The log: on stderr, of our crates only, at the level that was asked for.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::progress;

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What made the command fail.
    Error,
    /// What a person should look at.
    Warn,
    /// The steps.
    Info,
    /// Every request.
    Debug,
    /// Everything.
    Trace,
}

/// Starts the log. The libraries below ours speak only when something is wrong: their debug lines
/// name headers, and with them tokens.
///
/// The requests that the embedded registry answers are news only to a person who serves it.
pub fn start(level: LogLevel, serving: bool) {
    let level = match level {
        LogLevel::Off => "off",
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    let others = if matches!(level, "off" | "error") { level } else { "warn" };
    let ours = ["bundle", "bundler", "importer", "registry", "format_spec", "audit"];
    let mut filter =
        ours.iter().fold(others.to_owned(), |all, name| format!("{all},{name}={level}"));
    // It calls a certificate that the next look takes an error; what cannot be taken is told by us.
    if !matches!(level, "debug" | "trace") {
        filter.push_str(",rustls=off,rustls_platform_verifier=off");
    }
    if level == "info" && !serving {
        filter.push_str(",registry::server=warn,registry::store=warn,audit=warn");
    }
    let terminal = io::stderr().is_terminal();
    let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let log = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(AroundTheBar)
        .with_ansi(colour)
        .with_target(false);
    // A second start would be a fault of ours, and the first log is as good.
    let _ = if terminal { log.without_time().try_init() } else { log.try_init() };
}

/// Writes a line to stderr without tearing the progress bar.
struct AroundTheBar;

impl Write for AroundTheBar {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        progress::aside(|| io::stderr().write_all(line)).map(|()| line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

impl MakeWriter<'_> for AroundTheBar {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}
