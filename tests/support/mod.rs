//! What the end-to-end tests share: the command, registries, images and a relay with faults.
//!
//! Everything runs on loopback with ports of the kernel's choice and in directories of its own. A tool
//! that is missing makes a test say so and pass; `scripts/test.sh` lists those at its end.

// Each test file is a crate of its own and uses a part of this.
#![allow(dead_code)]
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout)]

pub mod catalogs;
pub mod charts;
pub mod command;
pub mod crash;
pub mod faulty;
pub mod figures;
pub mod image;
pub mod loss;
pub mod openshift;
pub mod operators;
pub mod pages;
pub mod power;
pub mod profiles;
pub mod proxy;
pub mod relay;
pub mod releases;
pub mod server;
pub mod site;
pub mod strace;
#[path = "../../bundler/src/release/test_key.rs"]
pub mod test_key;
pub mod tls;
pub mod wire;

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fs_err as fs;

/// A port that is free now, and that no connection takes by itself before it is used: below those that the kernel gives out.
pub fn free_port() -> u16 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        // Test processes beside each other begin far apart.
        let port = 12_000 + (std::process::id().wrapping_mul(977).wrapping_add(next)) % 20_000;
        let port = u16::try_from(port).unwrap();
        if TcpListener::bind(("0.0.0.0", port)).is_ok() {
            return port;
        }
    }
}

/// A listener on a port of the kernel's choice, and its `host:port`.
pub fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    (listener, host)
}

/// Answers each connection on a thread of its own, as long as the process lives. One that breaks is the client's to
/// notice.
pub fn serve<T>(listener: TcpListener, answer: impl Fn(TcpStream) -> T + Send + Sync + 'static) {
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let answer = Arc::clone(&answer);
            std::thread::spawn(move || drop(answer(stream)));
        }
    });
}

/// Says that a test, or a part of it, did not run, and why.
pub fn skip(why: &str) {
    eprintln!("skipped: {why}");
    if let Some(list) = std::env::var_os("BUNDLE_SKIPS") {
        let mut file = fs::OpenOptions::new().append(true).create(true).open(list).unwrap();
        writeln!(file, "{why}").unwrap();
    }
}

/// Where a program is, or `None` after saying that the test is skipped.
pub fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file());
    if found.is_none() {
        skip(&format!("`{name}` is not on this machine"));
    }
    found
}

/// Whether this process may mount file systems.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A small file system in memory. Root only.
pub struct Tmpfs(pub PathBuf);

impl Tmpfs {
    /// Mounts one of so many bytes; `None` after saying why not.
    pub fn mount(at: &Path, bytes: u64) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let option = format!("size={bytes}");
        if !is_root() || !run(&["mount", "-t", "tmpfs", "-o", &option, "tmpfs", text(at)]) {
            skip("no right to mount a small file system: a full disk is not tried");
            return None;
        }
        Some(Self(at.to_owned()))
    }

    /// Gives it another size, or other options.
    pub fn remount(&self, option: &str) {
        let option = format!("remount,{option}");
        assert!(run(&["mount", "-o", &option, text(&self.0)]));
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        run(&["umount", "-l", text(&self.0)]);
    }
}

/// A FAT32 file system, as on a memory stick. Root only, and not every kernel knows it.
pub struct Fat(pub PathBuf);

impl Fat {
    /// Makes and mounts one of 64 MiB; `None` after saying why not.
    pub fn mount(at: &Path) -> Option<Self> {
        const WHY: &str = "no FAT file system can be mounted here: a real stick is not tried";
        let make = tool("mkfs.vfat")?;
        let image = at.with_extension("img");
        fs::create_dir_all(at).unwrap();
        fs::File::create(&image).unwrap().into_parts().0.set_len(64 << 20).unwrap();
        let made = run(&[text(&make), "-F", "32", text(&image)]);
        if !made
            || !is_root()
            || !run(&["mount", "-t", "vfat", "-o", "loop", text(&image), text(at)])
        {
            skip(WHY);
            return None;
        }
        Some(Self(at.to_owned()))
    }
}

impl Drop for Fat {
    fn drop(&mut self) {
        run(&["umount", "-l", text(&self.0)]);
    }
}

fn run(argv: &[&str]) -> bool {
    let status = std::process::Command::new(argv[0])
        .args(&argv[1..])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

/// A path as text.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Names, contents and modification times of a directory's files, to see whether anything changed.
pub fn snapshot(dir: &Path) -> Vec<(String, Vec<u8>, std::time::SystemTime)> {
    let mut files: Vec<_> = files(dir)
        .into_iter()
        .map(|name| {
            let path = dir.join(&name);
            let time = fs::metadata(&path).unwrap().modified().unwrap();
            (name, fs::read(&path).unwrap(), time)
        })
        .collect();
    files.sort();
    files
}

/// The names of a directory's files, sorted.
pub fn files(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Every file and directory below a directory, by its path there, sorted.
pub fn tree(dir: &Path) -> Vec<String> {
    use std::os::unix::fs::FileTypeExt as _;
    fn walk(root: &Path, below: &Path, found: &mut Vec<String>) {
        let Ok(entries) = fs::read_dir(root.join(below)) else { return };
        for entry in entries.map(Result::unwrap) {
            let kind = entry.file_type().unwrap();
            // What a killed registry leaves of its control socket holds nothing.
            if kind.is_socket() {
                continue;
            }
            let path = below.join(entry.file_name());
            found.push(text(&path).to_owned());
            if kind.is_dir() {
                walk(root, &path, found);
            }
        }
    }
    let mut found = Vec::new();
    walk(dir, Path::new(""), &mut found);
    found.sort();
    found
}

/// Makes a directory with everything below it the same as another.
pub fn mirror(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    if !from.exists() {
        return;
    }
    fs::create_dir_all(to).unwrap();
    for path in tree(from) {
        let (from, to) = (from.join(&path), to.join(&path));
        let rights = fs::metadata(&from).unwrap().permissions();
        if from.is_dir() {
            fs::create_dir_all(&to).unwrap();
        } else {
            fs::copy(&from, &to).unwrap();
        }
        fs::set_permissions(&to, rights).unwrap();
    }
}

/// Copies the files of a directory into another.
pub fn copy_files(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for name in files(from) {
        fs::copy(from.join(&name), to.join(&name)).unwrap();
        let mut rights = fs::metadata(to.join(&name)).unwrap().permissions();
        #[expect(clippy::permissions_set_readonly_false, reason = "a copy of the test's own")]
        rights.set_readonly(false);
        fs::set_permissions(to.join(&name), rights).unwrap();
    }
}

/// Bytes that do not repeat: xorshift64, so a seed always gives the same.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
