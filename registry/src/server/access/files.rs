//! The files that say who there is: `users` and `robots`.
//!
//! In: their text. Out: names with what proves them, or the first line that cannot be used. What must hold: a name stands once; only
//! hashes that cost a thief time are taken; no hash is ever shown.

use std::collections::HashMap;
use std::path::PathBuf;

use format_spec::digest::from_hex;
use jiff::Timestamp;

/// The lowest cost of bcrypt, and the highest: a login would take seconds above it, and an attacker's too.
const COSTS: std::ops::RangeInclusive<u32> = 4..=15;

/// The longest name.
const NAME_MAX: usize = 128;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use `{path}`, line {line}: {problem}")]
pub struct LineError {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: String,
}

/// A line's problem, without the file.
pub(super) type Wrong = (usize, String);

/// A robot: a program that logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Robot {
    /// SHA-256 of its token.
    pub sha256: [u8; 32],
    /// When the token ends.
    pub expires: Option<Timestamp>,
}

/// Whether a name may log in: it stands in files between colons, and in HTTP's Basic before one.
///
/// # Errors
/// Why not.
pub fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > NAME_MAX {
        return Err(format!("a name has 1 to {NAME_MAX} letters"));
    }
    if !name.bytes().all(|c| c.is_ascii_graphic() && !b":\"\\#`,".contains(&c)) {
        return Err("a name has letters and digits of ASCII, and any of . _ - + @ /".to_owned());
    }
    Ok(())
}

/// Reads `users`: htpasswd lines with bcrypt hashes.
pub(super) fn users(text: &str) -> Result<HashMap<String, String>, Wrong> {
    let mut users = HashMap::new();
    for (line, name, hash) in lines(text)? {
        cost(hash).map_err(|problem| (line, problem))?;
        if users.insert(name.to_owned(), hash.to_owned()).is_some() {
            return Err((line, format!("`{name}` stands there twice")));
        }
    }
    Ok(users)
}

/// Reads `robots`: names with the SHA-256 of their tokens, and when they end.
pub(super) fn robots(text: &str) -> Result<HashMap<String, Robot>, Wrong> {
    let mut robots = HashMap::new();
    for (line, name, rest) in lines(text)? {
        let wrong = |problem: &str| (line, problem.to_owned());
        let (hex, expires) = match rest.split_once(':') {
            Some((hex, time)) => {
                let time: Timestamp =
                    time.parse().map_err(|_| wrong("expected a time as 2027-01-31T00:00:00Z"))?;
                (hex, Some(time))
            }
            None => (rest, None),
        };
        let mut sha256 = [0; 32];
        from_hex(hex, &mut sha256)
            .ok_or_else(|| wrong("expected the SHA-256 of a token: 64 hexadecimal digits"))?;
        if robots.insert(name.to_owned(), Robot { sha256, expires }).is_some() {
            return Err((line, format!("`{name}` stands there twice")));
        }
    }
    Ok(robots)
}

/// Lines as `name:rest`, without empty ones and remarks.
fn lines(text: &str) -> Result<Vec<(usize, &str, &str)>, Wrong> {
    let mut lines = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim_end();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, rest) =
            line.split_once(':').ok_or_else(|| (at + 1, "expected `name:…`".to_owned()))?;
        check_name(name).map_err(|problem| (at + 1, problem))?;
        lines.push((at + 1, name, rest));
    }
    Ok(lines)
}

/// The cost of a bcrypt hash.
pub(super) fn cost(hash: &str) -> Result<u32, String> {
    let other = || {
        "the password is not a bcrypt hash (`$2y$…`); `bundle registry user passwd` and `htpasswd -B` make one"
            .to_owned()
    };
    let rest = ["$2y$", "$2b$", "$2a$"].iter().find_map(|kind| hash.strip_prefix(kind));
    let (digits, body) = rest.and_then(|rest| rest.split_once('$')).ok_or_else(other)?;
    let letters = |c: u8| c.is_ascii_alphanumeric() || c == b'.' || c == b'/';
    if digits.len() != 2 || body.len() != 53 || !body.bytes().all(letters) {
        return Err(other());
    }
    match digits.parse() {
        Ok(cost) if COSTS.contains(&cost) => Ok(cost),
        Ok(cost) => Err(format!(
            "the cost of the bcrypt hash is {cost}; from {} to {} is taken",
            COSTS.start(),
            COSTS.end()
        )),
        Err(_) => Err(other()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HASH: &str = "$2y$05$abcdefghijklmnopqrstuuFbbMbxa5VZSoRDsJlYlXbQ3kBkgZVPS";

    #[test]
    fn users_are_read_and_every_fault_has_its_line() {
        let text = format!("# people\n\nalice:{HASH}\nbob+ci@x:{}\r\n", HASH.replace("2y", "2b"));
        assert_eq!(users(&text).unwrap().len(), 2);
        assert_eq!(users("").unwrap().len(), 0);
        for (bad, line, told) in [
            (format!("a:{HASH}\na:{HASH}"), 2, "twice"),
            ("a:secret".to_owned(), 1, "bcrypt"),
            ("a:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=".to_owned(), 1, "bcrypt"),
            ("\na:$apr1$x$y".to_owned(), 2, "bcrypt"),
            (format!("a:{}", HASH.replace("$05", "$31")), 1, "31"),
            (format!("a:{}", HASH.replace("2y", "2x")), 1, "bcrypt"),
            (format!("a:{HASH}:x"), 1, "bcrypt"),
            (format!("a b:{HASH}"), 1, "name"),
            (format!(":{HASH}"), 1, "name"),
            ("alice".to_owned(), 1, "name:"),
        ] {
            let (at, problem) = users(&bad).unwrap_err();
            assert_eq!(at, line, "{bad}");
            assert!(problem.contains(told), "{bad}: {problem}");
            assert!(!problem.contains("secret") && !problem.contains("W6ph"), "{problem}");
        }
    }

    #[test]
    fn robots_have_a_token_and_perhaps_an_end() {
        let hex = "ab".repeat(32);
        let found = robots(&format!("ci:{hex}\nold:{hex}:2020-01-01T00:00:00Z\n")).unwrap();
        assert_eq!(found["ci"], Robot { sha256: [0xab; 32], expires: None });
        assert!(found["old"].expires.unwrap() < Timestamp::now());
        for bad in ["ci:ab", "ci:", &format!("ci:{hex}:soon"), &format!("ci:{hex}\nci:{hex}")] {
            assert!(robots(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[ -~\n:$]{0,200}", more in "\\PC{0,50}") {
            for text in [&text, &more] {
                let _ = (users(text), robots(text), cost(text), check_name(text));
            }
        }
    }
}
