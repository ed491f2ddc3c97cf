//! Tokens: what a login grants for some minutes, signed by this registry.
//!
//! In: what was granted. Out: a JWT (RFC 7519) with HMAC-SHA-256, and back. What must hold: only what this key signed is read, in exactly
//! the form that it signs (no other algorithm is ever tried); the key survives a restart, and nobody else may read it.

use std::io::{self, Read as _};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde::{Deserialize, Serialize};

use super::scope::Scope;
use crate::server::random;
use crate::{lasting, regular};

/// The key's file in the data directory.
pub(super) const KEY: &str = "token.key";

/// Bytes of the key.
const KEY_BYTES: u64 = 32;

/// How long a token is good for. The roles are asked at each request anyway.
pub(super) const LIFE: Duration = Duration::from_secs(10 * 60);

/// What clocks that are set meanwhile may differ by.
const SKEW: u64 = 60;

/// `{"alg":"HS256","typ":"JWT"}`
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    /// Whose it is; empty for nobody's.
    pub(super) sub: String,
    /// What the password or robot's token was, without telling: a new one ends the tokens of the old one.
    pub(super) mark: String,
    /// Seconds since 1970 when it was made.
    pub(super) iat: u64,
    /// And when it ends.
    pub(super) exp: u64,
    /// What was granted.
    pub(super) access: Vec<Scope>,
}

/// Signs and reads tokens.
pub(super) struct Signer(hmac::Key);

impl Signer {
    /// The key of a data directory, made when there is none. One that cannot be kept (the data is read-only) lasts as
    /// long as the process.
    pub(super) fn open(data: &Path, may_write: bool) -> io::Result<Self> {
        let path = data.join(KEY);
        let read = regular::open(&path).and_then(|file| {
            let mut bytes = Vec::new();
            file.take(KEY_BYTES + 1).read_to_end(&mut bytes)?;
            Ok(bytes)
        });
        let bytes = match read {
            Ok(bytes) if bytes.len() == 32 => bytes,
            Ok(_) if may_write => Self::make(&path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound && may_write => {
                Self::make(&path)?
            }
            Ok(_) => random::bytes::<32>()?.to_vec(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                random::bytes::<32>()?.to_vec()
            }
            Err(error) => return Err(error),
        };
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    fn make(path: &Path) -> io::Result<Vec<u8>> {
        let bytes: [u8; 32] = random::bytes()?;
        lasting::replace(path, &bytes, 0o600)?;
        Ok(bytes.to_vec())
    }

    /// A short proof of a text, which tells nothing about it.
    pub(super) fn mark(&self, text: &str) -> String {
        let tag = hmac::sign(&self.0, format!("mark\0{text}").as_bytes());
        URL_SAFE_NO_PAD.encode(&tag.as_ref()[..12])
    }

    /// A token, and the second since 1970 in which it was made.
    pub(super) fn sign(&self, sub: &str, mark: &str, access: Vec<Scope>) -> (String, u64) {
        let iat = now();
        let (sub, mark) = (sub.to_owned(), mark.to_owned());
        let claims = Claims { sub, mark, iat, exp: iat + LIFE.as_secs(), access };
        (self.write(&claims), iat)
    }

    fn write(&self, claims: &Claims) -> String {
        let claims = serde_json::to_vec(claims).expect("claims are text and numbers");
        let signed = format!("{HEADER}.{}", URL_SAFE_NO_PAD.encode(claims));
        let tag = hmac::sign(&self.0, signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
    }

    /// What a token of ours says, while it is good.
    pub(super) fn read(&self, token: &str) -> Option<Claims> {
        let (signed, tag) = token.rsplit_once('.')?;
        let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
        hmac::verify(&self.0, signed.as_bytes(), &tag).ok()?;
        let body = signed.strip_prefix(HEADER)?.strip_prefix('.')?;
        let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).ok()?).ok()?;
        let now = now();
        // One from a future that a wrong clock once showed would last until then.
        (claims.exp > now && claims.iat <= now + SKEW).then_some(claims)
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::access::roles::Action;
    use proptest::prelude::*;

    fn signer(dir: &Path) -> Signer {
        Signer::open(dir, true).unwrap()
    }

    #[test]
    fn a_token_outlives_a_restart_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let access = vec![Scope::repository("a/b", &[Action::Pull, Action::Push])];
        let (token, _) = signer(dir.path()).sign("alice", "m", access.clone());
        let claims = signer(dir.path()).read(&token).unwrap();
        assert_eq!((claims.sub.as_str(), claims.mark.as_str()), ("alice", "m"));
        assert_eq!(claims.access, access);
        let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
        assert_eq!(header, br#"{"alg":"HS256","typ":"JWT"}"#);

        fs_err::remove_file(dir.path().join(KEY)).unwrap();
        assert_eq!(signer(dir.path()).read(&token), None);
        assert_ne!(signer(dir.path()).mark("x"), signer(dir.path()).mark("y"));
    }

    #[test]
    fn times_that_cannot_be_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let signer = signer(dir.path());
        let claims =
            |iat, exp| Claims { sub: "a".into(), mark: "m".into(), iat, exp, access: vec![] };
        let at = now();
        for (iat, exp, good) in [
            (at, at + 60, true),
            (at + 30, at + 90, true),
            (at - 700, at - 100, false),
            (at + 3600, at + 4200, false),
            (at, u64::MAX, true),
        ] {
            assert_eq!(
                signer.read(&signer.write(&claims(iat, exp))).is_some(),
                good,
                "{iat} {exp}"
            );
        }
    }

    #[test]
    fn no_other_algorithm_is_believed() {
        let dir = tempfile::tempdir().unwrap();
        let signer = signer(dir.path());
        let (token, _) = signer.sign("alice", "m", vec![]);
        let body = token.split('.').nth(1).unwrap();
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        assert_eq!(signer.read(&format!("{none}.{body}.")), None);
        let tag =
            URL_SAFE_NO_PAD.encode(hmac::sign(&signer.0, format!("{none}.{body}").as_bytes()));
        assert_eq!(signer.read(&format!("{none}.{body}.{tag}")), None);
    }

    proptest! {
        #[test]
        fn what_is_not_ours_is_nothing(text in "\\PC{0,80}", at in 0_usize..400, with in "[A-Za-z0-9_.-]") {
            let dir = tempfile::tempdir().unwrap();
            let signer = signer(dir.path());
            prop_assert_eq!(signer.read(&text), None);
            let (token, _) = signer.sign("alice", "m", vec![Scope::catalog()]);
            let at = at % token.len();
            let mut changed = token.clone();
            changed.replace_range(at..=at, &with);
            // The last letter of a piece has bits that stand for nothing, and the reader refuses those set.
            prop_assert!(changed == token || signer.read(&changed).is_none());
        }
    }
}
