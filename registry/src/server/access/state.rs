//! What the files of users, robots and roles say together, and when a change of them counts.
//!
//! In: the files. Out: a [`State`]. What must hold: a file that is gone, or empty for a moment as while an editor saves it, locks
//! nobody out, and keeps no change of the other files from counting; what a person means takes effect within seconds.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, Instant};

use super::files::{self, LineError, Robot};
use super::roles::{Grants, Roles};
use super::token::Signer;
use super::{AccessError, ROBOTS, ROLES, USERS};
use crate::regular;
use crate::server::watch::Stamp;

/// Bytes of one of these files: tens of thousands of entries.
const FILE_MAX: u64 = 4 * 1024 * 1024;

/// A file that is empty for as long is meant to be: the last user was removed. An editor is through within this time.
const EMPTY_TIME: Duration = Duration::from_secs(4);

const FILES: [&str; 3] = [USERS, ROBOTS, ROLES];

/// The text of each file; `None` where there is none.
type Texts = [Option<String>; FILES.len()];

/// What the files say.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Whether anybody was ever named; if not, this machine alone is served, and everybody on it may do everything.
    pub(super) guarded: bool,
    pub(super) users: HashMap<String, String>,
    pub(super) robots: HashMap<String, Robot>,
    pub(super) roles: Roles,
    /// What tokens of a name must carry.
    pub(super) marks: HashMap<String, String>,
    texts: Texts,
}

impl State {
    /// Reads all three files; one that is not there is as one that is empty.
    pub(super) fn load(data: &Path, signer: &Signer) -> Result<Self, AccessError> {
        Self::of(data, signer, read(data)?)
    }

    fn of(data: &Path, signer: &Signer, texts: Texts) -> Result<Self, AccessError> {
        let guarded = texts.iter().any(Option::is_some);
        let line = |name: &str| {
            let path = data.join(name);
            move |(line, problem)| LineError { path, line, problem }
        };
        let [users, robots, roles] = texts.each_ref().map(|it| it.as_deref().unwrap_or_default());
        let users = files::users(users).map_err(line(USERS))?;
        let robots = files::robots(robots).map_err(line(ROBOTS))?;
        if let Some(name) = robots.keys().find(|name| users.contains_key(*name)) {
            let problem = format!("`{name}` is a user as well");
            return Err(LineError { path: data.join(ROBOTS), line: 1, problem }.into());
        }
        let wrong = |problem| AccessError::Roles { path: data.join(ROLES), problem };
        let roles = Roles::of(&Grants::parse(roles).map_err(wrong)?).map_err(wrong)?;
        let mut marks = HashMap::with_capacity(users.len() + robots.len());
        for (name, hash) in &users {
            marks.insert(name.clone(), signer.mark(&format!("{name}:{hash}")));
        }
        for (name, robot) in &robots {
            marks.insert(name.clone(), signer.mark(&format!("{name}:{:?}", robot.sha256)));
        }
        Ok(Self { guarded, users, robots, roles, marks, texts })
    }
}

/// The files as they were looked at last.
pub(super) struct Seen {
    stamps: [Stamp; FILES.len()],
    /// Since when a file is empty that was not.
    empty: [Option<Instant>; FILES.len()],
    /// Why not all of what the files say now counts.
    pub(super) problem: Option<String>,
}

impl Seen {
    /// The files as they are now.
    pub(super) fn of(data: &Path) -> Self {
        Self { stamps: stamps(data), empty: [None; FILES.len()], problem: None }
    }

    /// What the files say now, where that is something else or may be; `None` when nothing changed. A problem that is
    /// found is told of once.
    pub(super) fn look(
        &mut self,
        data: &Path,
        signer: &Signer,
        before: &State,
        now: Instant,
    ) -> Option<State> {
        let found = stamps(data);
        let waited = |since: &Option<Instant>| since.is_some_and(|at| now - at >= EMPTY_TIME);
        if found == self.stamps && !self.empty.iter().any(waited) {
            return None;
        }
        self.stamps = found;
        let after = read(data).and_then(|texts| {
            let (texts, problem) = self.kept(data, texts, before, now);
            Ok((State::of(data, signer, texts)?, problem))
        });
        let (after, problem) = match after {
            Ok((after, problem)) => (Some(after), problem),
            Err(error) => (None, Some(error.to_string())),
        };
        if let Some(problem) = &problem {
            tracing::error!("{problem}: what was said before still holds");
        }
        self.problem = problem;
        after
    }

    /// The texts, where a file that named somebody and is gone, or empty for a moment, says what it said before.
    fn kept(
        &mut self,
        data: &Path,
        mut texts: Texts,
        before: &State,
        now: Instant,
    ) -> (Texts, Option<String>) {
        let mut problems = Vec::new();
        for (at, text) in texts.iter_mut().enumerate() {
            let old = &before.texts[at];
            let named = old.as_deref().is_some_and(names_somebody);
            let why = match text.as_deref() {
                None if named => "is gone",
                // One that named nobody says all the same that not everybody may come.
                None => {
                    text.clone_from(old);
                    continue;
                }
                Some(now) if named && !names_somebody(now) => "names nobody",
                _ => {
                    self.empty[at] = None;
                    continue;
                }
            };
            let path = data.join(FILES[at]);
            if text.is_some() {
                let since = *self.empty[at].get_or_insert(now);
                if now - since >= EMPTY_TIME {
                    tracing::warn!(path = %path.display(), "the file goes on naming nobody: that counts now");
                    self.empty[at] = None;
                    continue;
                }
            }
            problems.push(format!("`{}` {why}", path.display()));
            text.clone_from(old);
        }
        (texts, (!problems.is_empty()).then(|| problems.join(", ")))
    }
}

/// Whether a text has a line that is no remark.
fn names_somebody(text: &str) -> bool {
    text.lines().map(str::trim).any(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Whether anybody was ever named.
pub(in crate::server) fn has_files(data: &Path) -> bool {
    FILES.iter().any(|name| data.join(name).exists())
}

fn stamps(data: &Path) -> [Stamp; FILES.len()] {
    FILES.map(|name| Stamp::of(&data.join(name)))
}

fn read(data: &Path) -> Result<Texts, AccessError> {
    Ok([text(data, USERS)?, text(data, ROBOTS)?, text(data, ROLES)?])
}

/// The text of a file in the data directory.
pub(super) fn text(data: &Path, name: &str) -> Result<Option<String>, AccessError> {
    let path = data.join(name);
    let file = match regular::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut text = String::new();
    file.take(FILE_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_MAX {
        let text = format!("`{}` is larger than {FILE_MAX} bytes", path.display());
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, text).into());
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$2y$05$abcdefghijklmnopqrstuuFbbMbxa5VZSoRDsJlYlXbQ3kBkgZVPS";

    #[test]
    fn a_file_that_is_gone_or_empty_for_a_moment_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (data, path) = (dir.path(), |name: &str| dir.path().join(name));
        let signer = Signer::open(data, true).unwrap();
        let write = |name: &str, text: &str| fs_err::write(path(name), text).unwrap();
        write(USERS, &format!("alice:{HASH}\nbob:{HASH}\n"));
        write(ROLES, "[[grant]]\nto = [\"alice\"]\nadmin = true\n");
        write(ROBOTS, "# none yet\n");
        let mut seen = Seen::of(data);
        let mut state = State::load(data, &signer).unwrap();
        let began = Instant::now();
        let at = |seconds: u64| began + Duration::from_secs(seconds);
        assert!(seen.look(data, &signer, &state, at(0)).is_none());

        // Gone: it holds for as long as that lasts, and the others are read.
        fs_err::rename(path(USERS), path("users.bak")).unwrap();
        write(ROBOTS, &format!("ci:{}\n", "ab".repeat(32)));
        for seconds in [3, 600] {
            if let Some(after) = seen.look(data, &signer, &state, at(seconds)) {
                state = after;
            }
            assert_eq!((state.users.len(), state.robots.len()), (2, 1));
            assert!(state.guarded && seen.problem.as_ref().unwrap().contains("users` is gone"));
        }
        fs_err::rename(path("users.bak"), path(USERS)).unwrap();
        state = seen.look(data, &signer, &state, at(603)).unwrap();
        assert_eq!((state.users.len(), &seen.problem), (2, &None));

        // Empty: for a moment only.
        for name in [USERS, ROLES] {
            let before = fs_err::read_to_string(path(name)).unwrap();
            write(name, "");
            state = seen.look(data, &signer, &state, at(700)).unwrap();
            assert!(seen.problem.as_ref().unwrap().contains("names nobody"));
            assert!(
                state.users.len() == 2
                    && state.roles.may("alice", super::super::roles::Action::Push, "a")
            );
            write(name, &before);
            state = seen.look(data, &signer, &state, at(703)).unwrap();
            assert_eq!(seen.problem, None);
        }
        write(USERS, "# nobody any more\n");
        state = seen.look(data, &signer, &state, at(800)).unwrap();
        assert_eq!(state.users.len(), 2);
        assert!(seen.look(data, &signer, &state, at(803)).is_none());
        state = seen.look(data, &signer, &state, at(806)).unwrap();
        assert_eq!((state.users.len(), &seen.problem), (0, &None));
        assert!(state.guarded && seen.look(data, &signer, &state, at(809)).is_none());

        // All of them: not even then may everybody do everything.
        for name in FILES {
            fs_err::remove_file(path(name)).unwrap();
        }
        state = seen.look(data, &signer, &state, at(900)).unwrap();
        assert!(state.guarded && state.robots.len() == 1);

        // What is no file is not waited for.
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        mknodat(CWD, path(USERS), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        assert!(seen.look(data, &signer, &state, at(903)).is_none());
        assert!(seen.problem.as_ref().unwrap().contains("users` is a pipe"));
        let error = State::load(data, &signer).unwrap_err().to_string();
        assert!(error.contains("users` is a pipe"), "{error}");
    }
}
