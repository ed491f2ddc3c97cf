//! Changes of the files of users, robots and roles, for the commands of this machine.
//!
//! In: names, passwords, roles. Out: files that a running registry reads a moment later. What must hold: one writer at a time; each
//! file is replaced as a whole, with mode 0600; a file that cannot be read is not written over; remarks of people stay, except
//! in roles that are taken away.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use format_spec::digest::to_hex;
use jiff::Timestamp;
use ring::digest;
use rustix::fs::{FlockOperation, flock};

use super::files::{self, LineError};
use super::roles::{Action, Grant, Grants};
use super::state::text;
use super::{AccessError, ROBOTS, ROLES, USERS};
use crate::lasting;
use crate::server::random;

/// The cost of hashes made here: about a quarter of a second.
pub(super) const COST: u32 = 12;

/// Letters of a password that people choose. bcrypt takes no more than 72.
const PASSWORD: std::ops::RangeInclusive<usize> = 8..=72;

/// How long to wait for another writer.
const WAIT: Duration = Duration::from_secs(10);

/// Somebody who may log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The name.
    pub name: String,
    /// Whether it is a robot.
    pub robot: bool,
    /// When a robot's token ends.
    pub expires: Option<Timestamp>,
    /// What was granted.
    pub grants: Vec<Grant>,
}

/// What is granted with one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    Admin,
    /// Pull, push and delete.
    Delete,
    /// Pull and push.
    Push,
    /// Pull.
    Pull,
}

/// Why an account cannot be changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccountError {
    /// The files cannot be read or written.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// No name.
    #[error("not a name to log in with: `{name}`: {problem}")]
    Name {
        /// The name.
        name: String,
        /// Why.
        problem: String,
    },
    /// There already.
    #[error("`{0}` is there already")]
    Exists(String),
    /// Not there.
    #[error("there is no user or robot `{0}`")]
    Unknown(String),
    /// A robot has no password.
    #[error("`{0}` is a robot: it has a token, no password")]
    Robot(String),
    /// The password is of no use.
    #[error("the password cannot be used: {0}")]
    Password(String),
    /// The role is of no use.
    #[error("the role cannot be granted: {0}")]
    Role(String),
    /// There was nothing to take away.
    #[error("`{0}` has no such role")]
    NotGranted(String),
    /// Somebody else writes.
    #[error("another command changes the accounts in `{0}`")]
    Busy(PathBuf),
}

impl From<io::Error> for AccountError {
    fn from(error: io::Error) -> Self {
        Self::Access(error.into())
    }
}

/// The accounts of a data directory, held for one change.
#[derive(Debug)]
pub struct Accounts {
    data: PathBuf,
    /// Of the directory itself: a lock on a file would not outlast its replacement.
    _lock: fs_err::File,
}

impl Accounts {
    /// Takes the accounts of a data directory, which is made when it does not exist.
    ///
    /// # Errors
    /// I/O, or another writer that does not end.
    pub fn open(data: &Path) -> Result<Self, AccountError> {
        use std::os::unix::fs::PermissionsExt;
        if !data.is_dir() {
            lasting::make(data)?;
            fs_err::set_permissions(data, std::fs::Permissions::from_mode(0o700))?;
        }
        let lock = fs_err::File::open(data)?;
        let begun = Instant::now();
        loop {
            match flock(lock.file(), FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { data: data.to_owned(), _lock: lock }),
                Err(rustix::io::Errno::WOULDBLOCK) if begun.elapsed() < WAIT => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(AccountError::Busy(data.to_owned()));
                }
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
    }

    /// Everybody, in the order of their names.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn list(&self) -> Result<Vec<Account>, AccountError> {
        let grants = self.grants()?.grant;
        let of = |name: &str| -> Vec<Grant> {
            grants.iter().filter(|grant| grant.to.iter().any(|to| to == name)).cloned().collect()
        };
        let users = files::users(&self.text(USERS)?).map_err(|wrong| self.line(USERS, wrong))?;
        let robots =
            files::robots(&self.text(ROBOTS)?).map_err(|wrong| self.line(ROBOTS, wrong))?;
        let users = users.into_keys().map(|name| (name, false, None));
        let robots = robots.into_iter().map(|(name, robot)| (name, true, robot.expires));
        let mut accounts: Vec<Account> = users
            .chain(robots)
            .map(|(name, robot, expires)| Account { grants: of(&name), name, robot, expires })
            .collect();
        accounts.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(accounts)
    }

    /// Adds a user.
    ///
    /// # Errors
    /// See [`AccountError`].
    pub fn add_user(&self, name: &str, password: &str) -> Result<(), AccountError> {
        self.new_name(name)?;
        let line = format!("{name}:{}\n", hash(password)?);
        self.append(USERS, &line, |text| files::users(text).map(|_| ()))
    }

    /// Adds a robot; returns its token, which stands nowhere else.
    ///
    /// # Errors
    /// See [`AccountError`].
    pub fn add_robot(
        &self,
        name: &str,
        expires: Option<Timestamp>,
    ) -> Result<String, AccountError> {
        self.new_name(name)?;
        let secret: [u8; 32] = random::bytes()?;
        // The beginning lets scanners of source code find one that was left there.
        let token = format!("bundle-robot-{}", to_hex(&secret));
        let sha256 = to_hex(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        let end = expires.map(|at| format!(":{at}")).unwrap_or_default();
        let line = format!("{name}:{sha256}{end}\n");
        self.append(ROBOTS, &line, |text| files::robots(text).map(|_| ()))?;
        Ok(token)
    }

    /// Gives a user another password.
    ///
    /// # Errors
    /// See [`AccountError`].
    pub fn set_password(&self, name: &str, password: &str) -> Result<(), AccountError> {
        match self.find(name)? {
            Some(account) if account.robot => Err(AccountError::Robot(name.to_owned())),
            Some(_) => self.edit(USERS, name, Some(&format!("{name}:{}", hash(password)?))),
            None => Err(AccountError::Unknown(name.to_owned())),
        }
    }

    /// Removes a user or robot with every role.
    ///
    /// # Errors
    /// See [`AccountError`].
    pub fn remove(&self, name: &str) -> Result<(), AccountError> {
        let account = self.find(name)?.ok_or_else(|| AccountError::Unknown(name.to_owned()))?;
        // First: a role that is left over would be that of the next one with this name.
        if !account.grants.is_empty() {
            self.revoke(name, &[])?;
        }
        self.edit(if account.robot { ROBOTS } else { USERS }, name, None)
    }

    /// Whether a role could be granted to such a name, also before it exists.
    ///
    /// # Errors
    /// See [`AccountError`].
    pub fn check_grant(
        &self,
        name: &str,
        role: Role,
        places: &[String],
    ) -> Result<(), AccountError> {
        // The name of the argument, before the file would be called broken.
        files::check_name(name)
            .map_err(|problem| AccountError::Name { name: name.to_owned(), problem })?;
        let text = Grants { grant: vec![role.grant(name, places)?] }.to_text();
        Grants::parse(&text).map(drop).map_err(|problem| self.roles(problem))
    }

    /// Grants a role. What is granted already stays as it is.
    ///
    /// # Errors
    /// See [`AccountError`].
    pub fn grant(&self, name: &str, role: Role, places: &[String]) -> Result<(), AccountError> {
        let account = self.find(name)?.ok_or_else(|| AccountError::Unknown(name.to_owned()))?;
        let grant = role.grant(name, places)?;
        let same = |it: &Grant| {
            (it.admin, &it.allow, &it.repositories)
                == (grant.admin, &grant.allow, &grant.repositories)
        };
        if account.grants.iter().any(same) {
            return Ok(());
        }
        let added = Grants { grant: vec![grant] }.to_text();
        let before = self.text(ROLES)?;
        let gap = if before.is_empty() { "" } else { "\n" };
        let after = format!("{}{gap}{added}", ended(&before));
        Grants::parse(&after).map_err(|problem| self.roles(problem))?;
        self.write(ROLES, &after)
    }

    /// Takes roles away: all of them, or these patterns.
    ///
    /// # Errors
    /// See [`AccountError`].
    pub fn revoke(&self, name: &str, places: &[String]) -> Result<(), AccountError> {
        let mut kept = Vec::new();
        let mut changed = false;
        for mut grant in self.grants()?.grant {
            if !grant.to.iter().any(|to| to == name) {
                kept.push(grant);
                continue;
            }
            let left: Vec<String> = match places {
                [] => Vec::new(),
                places => {
                    grant.repositories.iter().filter(|it| !places.contains(it)).cloned().collect()
                }
            };
            if !places.is_empty() && (grant.admin || left.len() == grant.repositories.len()) {
                kept.push(grant);
                continue;
            }
            changed = true;
            let own = Grant { to: vec![name.to_owned()], repositories: left, ..grant.clone() };
            grant.to.retain(|to| to != name);
            if !grant.to.is_empty() {
                kept.push(grant);
            }
            if !own.repositories.is_empty() {
                kept.push(own);
            }
        }
        if !changed {
            return Err(AccountError::NotGranted(name.to_owned()));
        }
        self.write(ROLES, &Grants { grant: kept }.to_text())
    }

    fn find(&self, name: &str) -> Result<Option<Account>, AccountError> {
        Ok(self.list()?.into_iter().find(|account| account.name == name))
    }

    fn new_name(&self, name: &str) -> Result<(), AccountError> {
        files::check_name(name)
            .map_err(|problem| AccountError::Name { name: name.to_owned(), problem })?;
        match self.find(name)? {
            Some(_) => Err(AccountError::Exists(name.to_owned())),
            None => Ok(()),
        }
    }

    fn grants(&self) -> Result<Grants, AccountError> {
        Grants::parse(&self.text(ROLES)?).map_err(|problem| self.roles(problem))
    }

    fn text(&self, name: &str) -> Result<String, AccountError> {
        Ok(text(&self.data, name)?.unwrap_or_default())
    }

    fn append(
        &self,
        file: &str,
        line: &str,
        check: impl Fn(&str) -> Result<(), files::Wrong>,
    ) -> Result<(), AccountError> {
        let after = format!("{}{line}", ended(&self.text(file)?));
        check(&after).map_err(|wrong| self.line(file, wrong))?;
        self.write(file, &after)
    }

    /// Replaces or removes the line of a name.
    fn edit(&self, file: &str, name: &str, line: Option<&str>) -> Result<(), AccountError> {
        let mut after = String::new();
        for found in self.text(file)?.lines() {
            let own = found.split_once(':').is_some_and(|(it, _)| it == name);
            if let Some(line) = if own { line } else { Some(found) } {
                after.push_str(line);
                after.push('\n');
            }
        }
        self.write(file, &after)
    }

    fn write(&self, file: &str, text: &str) -> Result<(), AccountError> {
        Ok(lasting::replace(&self.data.join(file), text.as_bytes(), 0o600)?)
    }

    fn line(&self, file: &str, (line, problem): files::Wrong) -> AccountError {
        AccessError::from(LineError { path: self.data.join(file), line, problem }).into()
    }

    fn roles(&self, problem: String) -> AccountError {
        AccessError::Roles { path: self.data.join(ROLES), problem }.into()
    }
}

impl Role {
    fn grant(self, name: &str, places: &[String]) -> Result<Grant, AccountError> {
        let allow = match self {
            Self::Admin if !places.is_empty() => {
                let text = "an admin may do everything, in every repository";
                return Err(AccountError::Role(text.to_owned()));
            }
            Self::Admin => vec![],
            Self::Delete => vec![Action::Pull, Action::Push, Action::Delete],
            Self::Push => vec![Action::Pull, Action::Push],
            Self::Pull => vec![Action::Pull],
        };
        let admin = self == Self::Admin;
        let repositories = match places {
            [] if admin => vec![],
            [] => vec!["**".to_owned()],
            places => places.to_vec(),
        };
        for place in &repositories {
            super::pattern::Pattern::parse(place).map_err(AccountError::Role)?;
        }
        Ok(Grant { to: vec![name.to_owned()], admin, allow, repositories })
    }
}

/// A password that nobody can guess: 24 letters, 120 bits.
///
/// # Errors
/// The system has no random bytes.
pub fn generate_password() -> io::Result<String> {
    // 32 letters, none of which is read as another one.
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let bytes: [u8; 24] = random::bytes()?;
    Ok(bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte & 31)])).collect())
}

fn hash(password: &str) -> Result<String, AccountError> {
    if !PASSWORD.contains(&password.len()) {
        let text = format!(
            "it has {} bytes, and from {} to {} are taken",
            password.len(),
            PASSWORD.start(),
            PASSWORD.end()
        );
        return Err(AccountError::Password(text));
    }
    if password.chars().any(char::is_control) {
        return Err(AccountError::Password(
            "it has a control character or several lines".to_owned(),
        ));
    }
    bcrypt::hash_with_result(password, COST)
        .map(|parts| parts.format_for_version(bcrypt::Version::TwoY))
        .map_err(|error| AccountError::Password(error.to_string()))
}

/// A text whose last line is ended.
fn ended(text: &str) -> String {
    match text {
        "" => String::new(),
        text if text.ends_with('\n') => text.to_owned(),
        text => format!("{text}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn accounts_come_change_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("new");
        let accounts = Accounts::open(&data).unwrap();
        accounts.add_user("alice", "correct horse").unwrap();
        let token = accounts.add_robot("ci", None).unwrap();
        assert_eq!(token.len(), "bundle-robot-".len() + 64);
        for file in [USERS, ROBOTS] {
            let mode = fs_err::metadata(data.join(file)).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{file}");
            let text = fs_err::read_to_string(data.join(file)).unwrap();
            assert!(!text.contains("correct") && !text.contains(&token), "{text}");
        }
        assert!(matches!(accounts.add_user("ci", "correct horse"), Err(AccountError::Exists(_))));
        assert!(matches!(accounts.add_robot("alice", None), Err(AccountError::Exists(_))));

        let before = fs_err::read_to_string(data.join(USERS)).unwrap();
        fs_err::write(data.join(USERS), format!("# people\n{}", before.trim_end())).unwrap();
        accounts.set_password("alice", "another one").unwrap();
        let after = fs_err::read_to_string(data.join(USERS)).unwrap();
        assert!(after.starts_with("# people\nalice:$2y$12$"), "{after}");
        assert!(!after.contains(before.trim_end()));
        assert!(matches!(accounts.set_password("ci", "x"), Err(AccountError::Robot(_))));
        assert!(matches!(accounts.set_password("bob", "x"), Err(AccountError::Unknown(_))));
        accounts.remove("alice").unwrap();
        assert_eq!(fs_err::read_to_string(data.join(USERS)).unwrap(), "# people\n");
        assert!(matches!(accounts.remove("alice"), Err(AccountError::Unknown(_))));
    }

    #[test]
    fn roles_are_granted_and_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let accounts = Accounts::open(dir.path()).unwrap();
        accounts.add_robot("a", None).unwrap();
        accounts.add_robot("b", Some("2030-01-01T00:00:00Z".parse().unwrap())).unwrap();
        let places = ["x/**".to_owned(), "y".to_owned()];
        let text = "# remark\n[[grant]]\nto = [\"a\", \"b\"]\nallow = [\"pull\"]\nrepositories = [\"x/**\", \"y\"]";
        fs_err::write(dir.path().join(ROLES), text).unwrap();
        accounts.grant("a", Role::Pull, &places).unwrap();
        assert_eq!(fs_err::read_to_string(dir.path().join(ROLES)).unwrap(), text);
        accounts.grant("a", Role::Admin, &[]).unwrap();
        let after = fs_err::read_to_string(dir.path().join(ROLES)).unwrap();
        assert!(after.starts_with("# remark") && after.contains("admin = true"), "{after}");

        accounts.revoke("a", &places[..1]).unwrap();
        let list = accounts.list().unwrap();
        assert_eq!(list[0].grants.len(), 2);
        assert_eq!(list[1].grants[0].repositories, places);
        assert!(list[1].robot && list[1].expires.is_some());
        accounts.revoke("a", &[]).unwrap();
        assert!(accounts.list().unwrap()[0].grants.is_empty());
        assert!(matches!(accounts.revoke("a", &[]), Err(AccountError::NotGranted(_))));
        accounts.remove("b").unwrap();
        assert_eq!(accounts.grants().unwrap(), Grants::default());

        let bad = ["X".to_owned()];
        assert!(matches!(accounts.grant("a", Role::Pull, &bad), Err(AccountError::Role(_))));
        assert!(matches!(accounts.grant("a", Role::Admin, &places), Err(AccountError::Role(_))));
        assert!(matches!(accounts.grant("c", Role::Pull, &[]), Err(AccountError::Unknown(_))));
    }

    #[test]
    fn passwords_and_names_of_no_use_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let accounts = Accounts::open(dir.path()).unwrap();
        for bad in ["short", &"a".repeat(73), "tab\tulator", "two\nlines of it"] {
            let refused = accounts.add_user("a", bad).unwrap_err();
            assert!(matches!(refused, AccountError::Password(_)), "{refused}");
            assert!(!refused.to_string().contains(bad), "{refused}");
        }
        for bad in ["", "a b", "a:b", "ä"] {
            assert!(
                matches!(accounts.add_robot(bad, None), Err(AccountError::Name { .. })),
                "{bad}"
            );
        }
        fs_err::write(dir.path().join(USERS), "alice:plain\n").unwrap();
        assert!(accounts.add_user("bob", "correct horse").is_err());
        assert_eq!(fs_err::read_to_string(dir.path().join(USERS)).unwrap(), "alice:plain\n");
        assert_ne!(generate_password().unwrap(), generate_password().unwrap());
        assert_eq!(generate_password().unwrap().len(), 24);
    }

    #[test]
    fn writers_wait_for_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_owned();
        let writers: Vec<_> = (0..8)
            .map(|n| {
                let path = path.clone();
                std::thread::spawn(move || {
                    Accounts::open(&path).unwrap().add_robot(&format!("r{n}"), None).unwrap();
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        assert_eq!(Accounts::open(dir.path()).unwrap().list().unwrap().len(), 8);
    }
}
