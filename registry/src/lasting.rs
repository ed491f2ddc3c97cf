//! Directories and small files whose names survive a loss of power.
//!
//! In: a path. Out: that directory, and each one above it that had to be made; or that file, replaced as a whole. What must hold: a file in it can be made durable by
//! syncing the file and its directory, whatever was there before. The sync of a directory covers the names in it and not its
//! own, so a workspace made without this is lost with everything that was synced in it.

use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// Makes a directory and those above it that are missing.
///
/// # Errors
/// Something else has one of the names, or I/O.
pub fn make(path: &Path) -> io::Result<()> {
    let path = std::path::absolute(path)?;
    let mut missing: Vec<&Path> = Vec::new();
    let mut there: &Path = &path;
    while !there.is_dir() {
        missing.push(there);
        there = there.parent().unwrap_or(there);
    }
    // It may be a moment old: made by a run that was killed before it could sync the name.
    sync_name(there)?;
    for directory in missing.into_iter().rev() {
        match fs_err::create_dir(directory) {
            // Somebody else was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => {}
            made => made?,
        }
        sync_name(directory)?;
    }
    Ok(())
}

/// The same for `path`, which is below `root`: on the way there nothing is a link. Who carries a disk must not be led out of it
/// by what somebody else put there.
///
/// # Errors
/// A link or something else has one of the names, or I/O.
pub fn make_within(root: &Path, path: &Path) -> io::Result<()> {
    let below = path.strip_prefix(root).map_err(io::Error::other)?;
    let mut at = root.to_owned();
    for name in below {
        at.push(name);
        match fs_err::symlink_metadata(&at) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => {
                let problem = format!("`{}` is a link or a file, and no directory", at.display());
                return Err(io::Error::new(io::ErrorKind::NotADirectory, problem));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        }
    }
    make(path)
}

/// Makes the names in a directory durable. File systems without that operation (some FUSE mounts answer EINVAL) get the
/// next best thing, the sync of the whole file system.
///
/// # Errors
/// I/O.
pub fn sync(directory: &Path) -> io::Result<()> {
    let handle = fs_err::File::open(directory)?;
    match handle.sync_all() {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            rustix::fs::syncfs(handle.file())?;
            Ok(())
        }
        other => other,
    }
}

/// What begins the name of a file that is being written; a crash may leave one.
pub const UNFINISHED: &str = ".unfinished-";

/// Writes a small file, replacing what is there as a whole: a reader sees the old bytes or the new ones.
///
/// # Errors
/// I/O.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    let named = |error: io::Error| {
        io::Error::new(error.kind(), format!("cannot write `{}`: {error}", path.display()))
    };
    // Made with the rights of its owner only: a secret is never readable, not even for a moment.
    let mut file =
        tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(directory).map_err(named)?;
    file.write_all(bytes).map_err(named)?;
    let rights = std::fs::Permissions::from_mode(mode);
    file.as_file().set_permissions(rights).map_err(named)?;
    keep_owner(file.as_file(), directory).map_err(named)?;
    file.as_file().sync_all().map_err(named)?;
    file.persist(path).map_err(|error| named(error.error))?;
    sync(directory)
}

/// Makes a directory that is its owner's alone, in one that is there. Root gives it to the owner of that one, and follows no link
/// there: whoever may write there would choose what is changed, and where keys are written.
///
/// # Errors
/// Something else has the name, or I/O.
pub fn make_private(path: &Path) -> io::Result<()> {
    refuse_link(path)?;
    make(path)?;
    let above = path.parent().unwrap_or(path);
    let flags = match owner_of_another(above)? {
        Some(_) => OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        None => OFlags::DIRECTORY | OFlags::CLOEXEC,
    };
    let directory = std::fs::File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let named = |error: io::Error| {
        let text = format!("cannot set the rights of `{}`: {error}", path.display());
        io::Error::new(error.kind(), text)
    };
    directory.set_permissions(std::fs::Permissions::from_mode(0o700)).map_err(named)?;
    keep_owner(&directory, above).map_err(named)
}

/// Refuses a link that root would follow in the directory of another user.
///
/// # Errors
/// It is one, or I/O.
pub fn refuse_link(path: &Path) -> io::Result<()> {
    let above = path.parent().unwrap_or(path);
    let is_link = fs_err::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
    if !is_link || owner_of_another(above)?.is_none() {
        return Ok(());
    }
    let text = format!(
        "`{}` is a link in the directory of another user, where root follows none",
        path.display()
    );
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}

/// What root writes into the directory of a registry that runs under its own account must be readable by it.
fn keep_owner(file: &std::fs::File, directory: &Path) -> io::Result<()> {
    match owner_of_another(directory)? {
        Some((user, group)) => std::os::unix::fs::fchown(file, Some(user), Some(group)),
        None => Ok(()),
    }
}

/// Whose directory it is, with the group, where root is at work in that of another.
fn owner_of_another(directory: &Path) -> io::Result<Option<(u32, u32)>> {
    use std::os::unix::fs::MetadataExt;
    let about = fs_err::metadata(directory)?;
    let another = rustix::process::geteuid().is_root() && about.uid() != 0;
    Ok(another.then(|| (about.uid(), about.gid())))
}

/// Makes the name of a directory durable, which stands in the one above it.
fn sync_name(directory: &Path) -> io::Result<()> {
    let Some(above) = directory.parent() else { return Ok(()) };
    match sync(above) {
        // A directory that may be passed through and not be read, as that of all homes can be.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            rustix::fs::syncfs(fs_err::File::open(directory)?.file())?;
            Ok(())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_with_its_rights() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        for text in ["long content", "short"] {
            replace(&path, text.as_bytes(), 0o600).unwrap();
            assert_eq!(fs_err::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(fs_err::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs_err::read_dir(dir.path()).unwrap().count(), 1);
        let error = replace(&dir.path().join("none/key"), b"", 0o600).unwrap_err().to_string();
        assert!(error.contains("none/key"), "{error}");
    }

    #[test]
    fn root_follows_no_link_in_the_directory_of_another() {
        use std::os::unix::fs::{MetadataExt, chown, symlink};
        let dir = tempfile::tempdir().unwrap();
        let (data, elsewhere) = (dir.path().join("data"), dir.path().join("elsewhere"));
        for made in [&data, &elsewhere] {
            fs_err::create_dir(made).unwrap();
            fs_err::set_permissions(made, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let rights = |path: &Path| fs_err::metadata(path).unwrap().permissions().mode() & 0o777;
        let (own, link) = (data.join("own"), data.join("link"));
        symlink(&elsewhere, &link).unwrap();
        make_private(&own).unwrap();
        assert_eq!(rights(&own), 0o700);
        if !rustix::process::geteuid().is_root() {
            println!("skipped: not root");
            return;
        }
        chown(&data, Some(4242), Some(4343)).unwrap();
        make_private(&data.join("given")).unwrap();
        let about = fs_err::metadata(data.join("given")).unwrap();
        assert_eq!((about.uid(), about.gid(), rights(&data.join("given"))), (4242, 4343, 0o700));
        for refused in [make_private(&link), refuse_link(&link)] {
            let error = refused.unwrap_err().to_string();
            assert!(error.contains("link` is a link"), "{error}");
        }
        assert_eq!(rights(&elsewhere), 0o755);
        // One's own leads where one wants.
        chown(&data, Some(0), Some(0)).unwrap();
        make_private(&link).unwrap();
        assert_eq!(rights(&elsewhere), 0o700);
    }

    #[test]
    fn directories_are_made_once_and_never_over_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/../c");
        for _ in 0..2 {
            make(&deep).unwrap();
        }
        assert!(dir.path().join("a/c").is_dir());
        fs_err::write(dir.path().join("file"), "x").unwrap();
        assert!(make(&dir.path().join("file")).is_err());
        assert!(make(&dir.path().join("file/below")).is_err());
    }
}
