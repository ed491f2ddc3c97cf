//! A real S3 server, versitygw, in a process of its own; also for the campaigns of the whole program.

#![allow(dead_code)] // not every program of tests needs all of it

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use registry::objects::ObjectsSettings;
use registry::server::Settings;
use tempfile::TempDir;

const BUCKET: &str = "mirror";
const ACCESS: &str = "someaccesskey";
pub const SECRET: &str = "not-so-secret-here";

/// What the keys in the bucket begin with.
const PREFIX: &str = "some/registry";

/// The S3 server, killed when it is dropped.
pub struct Gateway {
    child: Child,
    port: u16,
    dir: TempDir,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tool() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).map(|dir| dir.join("versitygw")).find(|f| f.is_file());
    if found.is_none() {
        let why = "`versitygw` is not on this machine: object storage was tested in memory only";
        println!("skipped: {why}");
        if let Some(list) = std::env::var_os("BUNDLE_SKIPS") {
            let mut file = fs_err::OpenOptions::new().append(true).create(true).open(list).unwrap();
            writeln!(file, "{why}").unwrap();
        }
    }
    found
}

impl Gateway {
    pub fn start() -> Option<Self> {
        let tool = tool()?;
        let dir = tempfile::tempdir().unwrap();
        // A directory is a bucket.
        fs_err::create_dir(dir.path().join(BUCKET)).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Self::spawn(&tool, port, dir.path());
        Some(Self { child, port, dir })
    }

    fn spawn(tool: &Path, port: u16, dir: &Path) -> Child {
        let mut child = Command::new(tool)
            .args(["--quiet", "--port", &format!("127.0.0.1:{port}"), "posix"])
            .arg(dir)
            .env("ROOT_ACCESS_KEY", ACCESS)
            .env("ROOT_SECRET_KEY", SECRET)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(child.try_wait().unwrap().is_none(), "the S3 server ended");
            std::thread::sleep(Duration::from_millis(20));
        }
        child
    }

    pub fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn start_again(&mut self) {
        self.child = Self::spawn(&tool().unwrap(), self.port, self.dir.path());
    }

    /// Makes everything that is stored days older: the times of objects are those of files.
    pub fn grow_old(&self) {
        let long_ago = SystemTime::now() - Duration::from_secs(72 * 3600);
        let mut ahead = vec![self.dir.path().join(BUCKET)];
        while let Some(dir) = ahead.pop() {
            for entry in fs_err::read_dir(dir).unwrap() {
                let entry = entry.unwrap();
                match entry.file_type().unwrap() {
                    kind if kind.is_dir() => ahead.push(entry.path()),
                    kind if kind.is_file() => {
                        fs_err::File::open(entry.path()).unwrap().set_modified(long_ago).unwrap();
                    }
                    _ => {}
                }
            }
        }
    }

    /// The keys of all objects below a part of what is stored.
    pub fn keys(&self, below: &str) -> Vec<PathBuf> {
        let (mut keys, mut ahead) =
            (vec![], vec![self.dir.path().join(BUCKET).join(PREFIX).join(below)]);
        while let Some(dir) = ahead.pop() {
            // Directories of keys come and go with these.
            for entry in std::fs::read_dir(dir).into_iter().flatten().map_while(Result::ok) {
                match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    true => ahead.push(entry.path()),
                    false => keys.push(entry.path()),
                }
            }
        }
        keys
    }

    /// The settings of a replica whose data directory lies in `dir`; its keys are put there.
    pub fn settings(&self, dir: &Path) -> Settings {
        fs_err::write(dir.join("access"), format!("{ACCESS}\n")).unwrap();
        fs_err::write(dir.join("secret"), format!("{SECRET}\n")).unwrap();
        Settings {
            objects: Some(ObjectsSettings {
                bucket: BUCKET.to_owned(),
                endpoint: Some(format!("http://127.0.0.1:{}", self.port)),
                prefix: PREFIX.to_owned(),
                allow_http: true,
                access_key_file: Some("../access".into()),
                secret_key_file: Some("../secret".into()),
                ..ObjectsSettings::default()
            }),
            ..Settings::default()
        }
    }
}
