//! Where the files of an installed registry are.
//!
//! In: the machine, and a data directory if one was named. Out: a [`Place`]. What must hold: every path outside of
//! the data directory is a constant, so that a file which the registry's own user can write never says what root
//! replaces or removes; the record of an installation is the unit, which only its owner can write.
//!
//! ```text
//! of the system    /etc/systemd/system/bundle-registry.service   /usr/local/bin/bundle-registry
//! of a user        ~/.config/systemd/user/bundle-registry.service   DIR/bin/bundle
//! without systemd  none                                             DIR/bin/bundle
//! ```

use std::path::{Path, PathBuf};

use registry::server::settings;

use super::unit::Record;
use crate::failure::{Failure, Kind};

/// The unit, and the account that runs it for the system.
pub const NAME: &str = "bundle-registry";

/// Moves every absolute path of this file below a directory, as `DESTDIR` does; for tests and images of a machine.
const ROOT: &str = "BUNDLE_HOST_ROOT";

/// What is known of this machine.
#[derive(Debug, Clone)]
pub struct Machine {
    root: PathBuf,
    home: Option<PathBuf>,
    is_root: bool,
}

/// Who starts the registry and keeps it running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeper {
    /// systemd, for the machine.
    System,
    /// systemd, for one user.
    User,
    /// Nobody that this program knows: a person, another init, a container.
    Nobody,
}

impl Keeper {
    /// The name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Nobody => "none",
        }
    }
}

/// Where one registry is.
#[derive(Debug, Clone)]
pub struct Place {
    /// Who keeps it running.
    pub keeper: Keeper,
    /// The data directory, absolute.
    pub data: PathBuf,
    /// The copy of this program that it runs.
    pub program: PathBuf,
    /// Its unit, where systemd keeps it.
    pub unit: Option<PathBuf>,
}

impl Machine {
    /// This one.
    pub fn here() -> Self {
        let path = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        Self {
            root: path(ROOT).map_or_else(|| PathBuf::from("/"), PathBuf::from),
            home: path("HOME").map(PathBuf::from),
            is_root: rustix::process::geteuid().is_root(),
        }
    }

    /// Whether this process may change the whole machine.
    pub fn is_root(&self) -> bool {
        self.is_root
    }

    /// A path of the system.
    pub fn system(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Whether systemd is the init of this machine: this directory is its own test (`sd_booted`).
    pub fn has_systemd(&self) -> bool {
        self.system("/run/systemd/system").is_dir()
    }

    /// Whether this user's systemd goes on without a login.
    pub fn lingers(&self) -> bool {
        let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
        let directory = self.system("/var/lib/systemd/linger");
        user.is_ok_and(|user| !user.contains('/') && directory.join(user).exists())
    }

    /// Whether the firewall of Fedora and RHEL runs, which lets nobody in unasked.
    pub fn has_firewalld(&self) -> bool {
        self.system("/run/firewalld.pid").exists()
    }

    /// A path below the home directory.
    pub fn home(&self, below: &str) -> Result<PathBuf, Failure> {
        let home = self.home.as_ref().filter(|home| home.is_absolute()).ok_or_else(|| {
            Failure::usage("there is no home directory: the variable HOME names none")
                .with_hint("name the directory with `--data-dir DIR`, or set HOME")
        })?;
        Ok(home.join(below))
    }

    /// The data directory when none is named.
    pub fn default_data(&self, system: bool) -> Result<PathBuf, Failure> {
        match system {
            true => Ok(self.system("/var/lib/bundle-registry")),
            false => self.home(".local/share/bundle-registry"),
        }
    }

    /// Where a unit of this keeper stands.
    pub fn unit(&self, keeper: Keeper) -> Result<Option<PathBuf>, Failure> {
        let file = format!("{NAME}.service");
        match keeper {
            Keeper::System => Ok(Some(self.system("/etc/systemd/system").join(file))),
            Keeper::User => Ok(Some(self.home(".config/systemd/user")?.join(file))),
            Keeper::Nobody => Ok(None),
        }
    }

    /// A registry with its data there.
    pub fn place(&self, keeper: Keeper, data: &Path) -> Result<Place, Failure> {
        let data = absolute(data)?;
        // Below /usr/local/bin SELinux lets systemd run a file; below /var and /home it does not.
        let program = match keeper {
            Keeper::System => self.system("/usr/local/bin").join(NAME),
            Keeper::User | Keeper::Nobody => data.join("bin/bundle"),
        };
        Ok(Place { keeper, unit: self.unit(keeper)?, program, data })
    }

    /// What the unit of this keeper says, if there is one of ours.
    pub fn record(&self, keeper: Keeper) -> Result<Option<Record>, Failure> {
        match self.unit(keeper)? {
            Some(unit) => Record::read(&unit),
            None => Ok(None),
        }
    }

    /// Refuses to change what takes root as somebody else.
    pub fn must_be_allowed(&self, place: &Place) -> Result<(), Failure> {
        if place.keeper == Keeper::System && !self.is_root {
            return Err(Failure::usage(
                "this registry belongs to the machine, and changing it takes root",
            )
            .with_hint("run the same command as root"));
        }
        Ok(())
    }

    /// The registry that is meant: the one with its data in `data`, or the only one that is to be expected.
    pub fn find(&self, data: Option<&Path>) -> Result<Place, Failure> {
        let data = data.map(absolute).transpose()?;
        let mut keepers = [Keeper::System, Keeper::User];
        if !self.is_root {
            keepers.reverse();
        }
        for keeper in keepers {
            // Without a home there is no unit of a user.
            let Ok(Some(record)) = self.record(keeper) else { continue };
            if data.as_ref().is_none_or(|data| *data == record.data) {
                return self.place(keeper, &record.data);
            }
        }
        if let Some(data) = data {
            return self.place(Keeper::Nobody, &data);
        }
        let usual = [self.is_root, !self.is_root].map(|system| self.default_data(system));
        let held = usual.iter().flatten().find(|data| data.join(settings::FILE).exists());
        match held {
            Some(data) => self.place(Keeper::Nobody, data),
            None => self.place(Keeper::Nobody, &self.default_data(self.is_root)?),
        }
    }
}

impl Place {
    /// Whether something was installed there: its unit, or its program with its settings.
    pub fn is_installed(&self) -> bool {
        match &self.unit {
            Some(unit) => unit.exists(),
            None => self.program.exists() && self.data.join(settings::FILE).exists(),
        }
    }

    /// Refuses to go on where nothing is installed.
    pub fn must_be_installed(&self) -> Result<(), Failure> {
        if self.is_installed() {
            return Ok(());
        }
        let shown = crate::output::plain(&self.data.display().to_string());
        Err(Failure::usage(format!("no registry is installed in `{shown}`")).with_hint(
            "name the directory that it was installed in: `--data-dir DIR`; or make one: \
             `bundle registry install`",
        ))
    }
}

/// A path that stays the same wherever a command is run. One with control characters is refused: it would be
/// several lines of a unit.
fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    let whole = std::path::absolute(path)
        .map_err(|error| Failure::io(Kind::Usage, "cannot use the data directory", &error))?;
    // `a/../b` and links, as far as the path exists: the same directory must not have two names.
    let whole = fs_err::canonicalize(&whole).unwrap_or(whole);
    match whole.to_str() {
        Some(text) if !text.contains(char::is_control) => Ok(whole),
        _ => Err(Failure::usage("the data directory has a name that is not plain text")
            .with_hint("name one without control characters: `--data-dir DIR`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(dir: &Path, is_root: bool) -> Machine {
        Machine { root: dir.join("root"), home: Some(dir.join("home")), is_root }
    }

    #[test]
    fn the_unit_says_which_registry_is_meant() {
        let dir = tempfile::tempdir().unwrap();
        let root = machine(dir.path(), true);
        assert_eq!(root.find(None).unwrap().data, dir.path().join("root/var/lib/bundle-registry"));
        let data = dir.path().join("elsewhere");
        let place = root.place(Keeper::System, &data).unwrap();
        let unit = place.unit.clone().unwrap();
        fs_err::create_dir_all(unit.parent().unwrap()).unwrap();
        let record = Record { version: "1".into(), data: data.clone(), lingers: false };
        fs_err::write(&unit, format!("[Service]\n{}", record.to_text())).unwrap();
        let found = root.find(None).unwrap();
        assert_eq!((found.keeper, &found.data), (Keeper::System, &data));
        assert!(found.is_installed());
        assert_eq!(found.program, dir.path().join("root/usr/local/bin/bundle-registry"));
        // Another directory is another registry, which nobody keeps.
        let other = root.find(Some(&dir.path().join("other"))).unwrap();
        assert_eq!(other.keeper, Keeper::Nobody);
        assert!(other.must_be_installed().is_err());
    }

    #[test]
    fn a_user_finds_the_own_one_first() {
        let dir = tempfile::tempdir().unwrap();
        let user = machine(dir.path(), false);
        let own = dir.path().join("home/.local/share/bundle-registry");
        assert_eq!(user.find(None).unwrap().data, own);
        fs_err::create_dir_all(own.join("bin")).unwrap();
        fs_err::write(own.join(settings::FILE), "").unwrap();
        fs_err::write(own.join("bin/bundle"), "").unwrap();
        assert!(user.find(None).unwrap().is_installed());
        assert!(user.place(Keeper::User, Path::new("a\nb")).is_err());
        let lost = Machine { home: None, ..user };
        assert!(lost.find(None).unwrap_err().tell() == crate::failure::Failure::usage("").tell());
    }
}
