//! The command `bundle`: carries container images across an air gap on media that somebody carries.
//!
//! In: arguments. Out: data on stdout, progress and log on stderr, an exit code of [`failure`].
//!
//! 1. [`cli`] turns arguments into a command, [`old_flags`] explains those of other tools;
//! 2. [`logging`] opens the log, [`interrupt`] turns signals into a stop that can be resumed;
//! 3. [`commands`] has one file a subcommand; each asks one of the crates `bundler`, `importer` or
//!    `registry` to do the work, while [`progress`] draws;
//! 4. [`output`] writes the answer, or [`failure`] says what is wrong and what to do next, in commands
//!    that [`typed`] completes.

#![cfg_attr(not(all(feature = "create", feature = "import", feature = "serve")), allow(dead_code))]

mod cli;
mod commands;
#[cfg(feature = "import")]
mod consent;
mod failure;
#[cfg(feature = "serve")]
mod host;
mod interrupt;
mod keyring;
mod logging;
mod old_flags;
mod output;
mod progress;
#[cfg(feature = "create")]
mod signing;
mod size;
mod typed;
mod wire;

use std::process::ExitCode;

/// Buffers of some hundred KiB come and go with every chunk from the wire. The C libraries give them back to
/// the kernel each time and have their pages faulted in again: half a million times for 2 GB in the static binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use commands::Context;
use failure::{Failure, Kind};
use output::Output;

/// Threads that wait for disks, of a server: as many syncs as a disk can join. Each keeps some memory of its own, and a
/// registry with 64 pushes at once held 10 MiB more for 64 of them.
const SERVER_THREADS: usize = 24;

/// And of every other command, which has few.
const THREADS: usize = 512;

fn main() -> ExitCode {
    let cli = match cli::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(stop) => return stop.report(),
    };
    logging::start(cli.common.log_level, cli.command.serves());
    let output = Output::new(cli.common.output);
    match run(cli, output) {
        Ok(exit) => exit.into(),
        Err(failure) => failure.for_line(std::env::args_os()).report(output),
    }
}

fn run(cli: cli::Cli, output: Output) -> Result<failure::Exit, Failure> {
    let waiting = if cli.command.serves() { SERVER_THREADS } else { THREADS };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(waiting)
        .enable_all()
        .build()
        .map_err(|error| Failure::io(Kind::Failed, "cannot start", &error))?;
    let result = runtime.block_on(async {
        let cancel = interrupt::watch()?;
        let context = Context::new(cli.common, output, cancel.clone());
        tokio::select! {
            result = cli.command.run(context) => result.map_err(|f| interrupt::explain(f, &cancel)),
            failure = interrupt::impatience(&cancel) => Err(failure),
        }
    });
    // A blocking read of a slow disk must not keep an interrupted command alive.
    runtime.shutdown_background();
    result
}
