//! The account that runs a registry of the whole machine.
//!
//! In: the machine. Out: the account's name and numbers, or `None` where none can be made. What must hold: the
//! registry does not run as root where that can be helped.
//!
//! A fixed account and not `DynamicUser=`: with that the data has an owner that changes, stands below
//! `/var/lib/private` however it was named, and a copy of it for a backup cannot be put back with its owner.

use std::io::Read as _;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{AtFlags, Dir, Gid, Mode, OFlags, Uid, chownat, fchown, openat};
use rustix::io::Errno;

use super::place::{Machine, NAME};
use super::systemctl::checked;
use crate::failure::{Failure, Kind};

/// Bytes of `/etc/passwd` that are read; one of ten thousand local accounts has less.
const PASSWD_MAX: u64 = 4 * 1024 * 1024;

/// Who owns the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    uid: u32,
    gid: u32,
}

impl Account {
    /// Its name.
    pub const NAME: &str = NAME;

    /// The account, made if it is not there. `None`, with a warning, when this machine makes none.
    pub fn have(machine: &Machine) -> Option<Self> {
        if let Some(account) = Self::find(machine) {
            return Some(account);
        }
        let made = Command::new("useradd")
            .args(["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"])
            .args(["--shell", "/usr/sbin/nologin", "--comment", "mirror registry", NAME])
            .stdin(Stdio::null())
            .output();
        if let Err(failure) = checked("useradd", made) {
            failure.tell();
        }
        let account = Self::find(machine);
        if account.is_none() {
            tracing::warn!(
                "no account `{NAME}` could be made: the registry will run as root, without any of its rights"
            );
        }
        account
    }

    /// The account, if it is there.
    pub fn find(machine: &Machine) -> Option<Self> {
        let mut text = String::new();
        let file = fs_err::File::open(machine.system("/etc/passwd")).ok()?;
        file.take(PASSWD_MAX).read_to_string(&mut text).ok()?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Option<Self> {
        let fields = text
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .find(|fields| fields.first() == Some(&NAME))?;
        Some(Self { uid: fields.get(2)?.parse().ok()?, gid: fields.get(3)?.parse().ok()? })
    }

    /// Gives it the data directory with everything in it, unless it has it already.
    pub fn own(self, data: &Path) -> Result<(), Failure> {
        self.own_all(data).map_err(|error| {
            Failure::io(Kind::Failed, "cannot give the data to the registry's account", &error)
        })
    }

    fn own_all(self, data: &Path) -> std::io::Result<()> {
        let foreign = |entry: std::io::Result<fs_err::DirEntry>| -> std::io::Result<bool> {
            Ok(entry?.metadata()?.uid() != self.uid)
        };
        // What is deeper was made by the registry itself: a store of years is not walked for nothing.
        let mut is_foreign = fs_err::symlink_metadata(data)?.uid() != self.uid;
        for entry in fs_err::read_dir(data)? {
            is_foreign |= foreign(entry)?;
        }
        if is_foreign {
            let top = fs_err::File::open(data)?;
            fchown(&top, Some(self.uid()), Some(self.gid()))?;
            self.give(top.file().as_fd())?;
        }
        Ok(())
    }

    /// Everything in a directory. No link is followed, and no name is looked up twice: the account may have put
    /// something else there.
    fn give(self, directory: BorrowedFd<'_>) -> std::io::Result<()> {
        for entry in Dir::read_from(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let (user, group) = (Some(self.uid()), Some(self.gid()));
            chownat(directory, name, user, group, AtFlags::SYMLINK_NOFOLLOW)?;
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match openat(directory, name, flags, Mode::empty()) {
                Ok(below) => self.give(below.as_fd())?,
                // A file, or a link.
                Err(Errno::NOTDIR | Errno::LOOP) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn uid(self) -> Uid {
        Uid::from_raw(self.uid)
    }

    fn gid(self) -> Gid {
        Gid::from_raw(self.gid)
    }
}

/// Gives the owner of the data everything in it, after root has written there what only root could read elsewhere.
pub fn give_back(data: &Path) -> Result<(), Failure> {
    let Ok(about) = fs_err::metadata(data) else { return Ok(()) };
    if !rustix::process::geteuid().is_root() || about.uid() == 0 {
        return Ok(());
    }
    let give = || {
        let top = fs_err::File::open(data)?;
        Account { uid: about.uid(), gid: about.gid() }.give(top.file().as_fd())
    };
    give().map_err(|error: std::io::Error| {
        Failure::io(Kind::Failed, "cannot give the data to its owner", &error).with_hint(
            "run it again as the user of the registry, or give that user all files: `chown -R`",
        )
    })
}

/// Goes on as the owner of the data, when root calls a command on a registry that runs under its own account: a file
/// that root makes there could not be read by the registry. Returns only where there is nothing to change.
pub fn become_owner(data: &Path) -> Result<(), Failure> {
    use std::os::unix::process::CommandExt as _;
    let Ok(about) = fs_err::metadata(data) else { return Ok(()) };
    if !rustix::process::geteuid().is_root() || about.uid() == 0 {
        return Ok(());
    }
    // Through /proc: the account need not be able to reach the path of this binary.
    let mut words = std::env::args_os();
    let error = Command::new("/proc/self/exe")
        .arg0(words.next().unwrap_or_else(|| NAME.into()))
        .args(words)
        .gid(about.gid())
        .uid(about.uid())
        .exec();
    Err(Failure::io(Kind::Failed, "cannot go on as the owner of the registry's data", &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_is_found_by_its_whole_name() {
        let passwd = "root:x:0:0::/root:/bin/sh\nbundle-registry2:x:1:1::/:/x\nbroken\n\
                      bundle-registry:x:991:990::/nonexistent:/usr/sbin/nologin\n";
        assert_eq!(Account::parse(passwd), Some(Account { uid: 991, gid: 990 }));
        assert_eq!(Account::parse("bundle-registry:x:many:1::/:/x"), None);
        assert_eq!(Account::parse(""), None);
    }
}
