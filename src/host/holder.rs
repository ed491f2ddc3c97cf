//! Which process uses a data directory.
//!
//! In: the directory, of which another process holds the lock. Out: that process, where the kernel shows it. What must hold:
//! it is for people only; nothing is decided by it.

use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Bytes of `/proc/locks`; a machine with ten thousand locks has less.
const LOCKS_MAX: u64 = 1024 * 1024;

/// The process that holds the lock.
pub fn of(data: &Path) -> Option<u32> {
    let inode = fs_err::metadata(data.join("lock")).ok()?.ino();
    let mut text = String::new();
    let file = fs_err::File::open("/proc/locks").ok()?;
    file.take(LOCKS_MAX).read_to_string(&mut text).ok()?;
    find(&text, inode)
}

/// `1: FLOCK  ADVISORY  WRITE 4711 08:01:131 0 EOF`. A line with `->` waits for the one above it. The number of the device
/// is not that of `stat` on every file system, so the inode decides.
fn find(text: &str, inode: u64) -> Option<u32> {
    let inode = inode.to_string();
    text.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, "WRITE", pid, place, ..] = words.as_slice() else { return None };
        // 0 and -1 are processes of another container.
        let pid: u32 = pid.parse().ok().filter(|pid| *pid > 0)?;
        (place.rsplit(':').next() == Some(&inode)).then_some(pid)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_the_file_says_who() {
        let text = "1: POSIX  ADVISORY  WRITE 11 fe:00:131 0 EOF\n\
                    2: FLOCK  ADVISORY  READ  12 fe:00:131 0 EOF\n\
                    3: FLOCK  ADVISORY  WRITE 0 fe:00:131 0 EOF\n\
                    4: -> FLOCK  ADVISORY  WRITE 14 fe:00:131 0 EOF\n\
                    5: FLOCK  ADVISORY  WRITE 15 fe:00:1310 0 EOF\n\
                    6: FLOCK  ADVISORY  WRITE 16 fe:00:131 0 EOF\nodd\n";
        assert_eq!(find(text, 131), Some(16));
        assert_eq!(find(text, 7), None);
    }

    #[test]
    fn a_lock_of_this_process_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let store = registry::store::Store::open(dir.path()).unwrap();
        // Where the kernel shows locks at all.
        if let Some(pid) = of(dir.path()) {
            assert_eq!(pid, std::process::id());
        }
        drop(store);
        assert_eq!(of(dir.path()), None);
    }
}
