//! Registries to test against: Debian's docker-registry, and our own.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use fs_err as fs;

use super::command::{Process, bundle};
use super::wire::Registry;
use super::{free_port, text, tool};

/// A running registry; it ends with this value.
pub struct Server {
    /// How to speak to it.
    pub registry: Registry,
    _process: Process,
}

impl std::ops::Deref for Server {
    type Target = Registry;

    fn deref(&self) -> &Registry {
        &self.registry
    }
}

/// Which registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `docker-registry` of Debian: CNCF distribution 2.8.
    Distribution,
    /// `bundle registry serve`.
    Embedded,
}

impl Server {
    /// Starts a registry with its data in `dir`; `None` after saying that it is not on this machine.
    pub fn start(kind: Kind, dir: &Path) -> Option<Self> {
        match kind {
            Kind::Distribution => Self::distribution(dir, ""),
            Kind::Embedded => Some(Self::embedded(dir)),
        }
    }

    /// The embedded registry.
    #[track_caller]
    pub fn embedded(dir: &Path) -> Self {
        Self::embedded_at(dir, &format!("127.0.0.1:{}", free_port()))
    }

    /// The embedded registry on this `host:port`: to drop it is to kill it with SIGKILL, and this starts it again.
    #[track_caller]
    pub fn embedded_at(dir: &Path, host: &str) -> Self {
        fs::create_dir_all(dir).unwrap();
        let log = fs::File::create(dir.with_extension("log")).unwrap().into_parts().0;
        let child = bundle(dir)
            .args(["registry", "serve", "--http", "--data", text(dir), "--listen", host])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self::wait(host.to_owned(), Process(child), &dir.with_extension("log"))
    }

    /// `docker-registry`; `more` is added to the `http` section of its configuration, as JSON.
    #[track_caller]
    pub fn distribution(dir: &Path, more: &str) -> Option<Self> {
        let program = tool("docker-registry")?;
        fs::create_dir_all(dir).unwrap();
        let host = format!("127.0.0.1:{}", free_port());
        let config = dir.with_extension("yml");
        let written = format!(
            "version: 0.1\nlog: {{level: error}}\n\
             storage: {{filesystem: {{rootdirectory: '{}'}}, delete: {{enabled: true}}}}\n\
             http: {{addr: '{host}'{more}}}\n",
            text(dir)
        );
        fs_write(&config, written.as_bytes());
        let log = dir.with_extension("log");
        let process = Process::logged(Command::new(program).args(["serve", text(&config)]), &log);
        Some(Self::wait(host, process, &log))
    }

    #[track_caller]
    fn wait(host: String, mut process: Process, log: &Path) -> Self {
        for _ in 0..300 {
            if TcpStream::connect(&host).is_ok() {
                return Self { registry: Registry { host }, _process: process };
            }
            if process.0.try_wait().unwrap().is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("no registry on {host}: {}", fs::read_to_string(log).unwrap_or_default());
    }
}

/// Writes a file of a test.
pub fn fs_write(path: &Path, bytes: &[u8]) {
    use std::io::Write;
    fs::File::create(path).unwrap().write_all(bytes).unwrap();
}
