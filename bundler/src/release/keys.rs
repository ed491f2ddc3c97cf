//! The keys whose signatures of releases count.
//!
//! In: files that a person named, or none. Out: public keys: all of those files, and only of them; without a file the one key
//! that the published releases are signed with. What must hold: a file that was named and cannot be used is an error, and
//! never a reason to trust something else.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::limits::{KEYS_FILE_MAX, KEYS_MAX};
use super::openpgp::{OpenPgpError, PublicKey, key};

/// Red Hat release key 2, fingerprint 567E347AD0044ADE55BA8A5F199E2F91FD431D51: its modulus, which a test proves with
/// the fingerprint.
const MODULUS: &str = "\
    a1d80e1bd0ef6dfafcc2f55ad5b4bd402af5168bd38f0a392f47b5ddf03b49c5e78c679785d07b73206e7ca834726f051ef3\
    d159a6b0757dfb942b3744f8770bdc56cd59248e5d58d921eaec757c87dcdbe72cb2c5d033510768b1ddb5c6f5187f457a45\
    b0dc43a7608431d52f6d80b313bf4ad449d44d58752f439fd36dc5b4f4995d7d1cbbb3dbe43239957e587a85cee91a2876b2\
    06609b150505a7ad6c38c4d4dca2751f34f93410666d127cef1f6cf23e82615c617e35cbbd5f06da96761d7b5d0e0af49601\
    9e734c2a682cc4ef4235a96c27565c9cc29ba1befe1c7dba991ee78e87e488ed626e1d4c85539dcdf0bc388e0e004a4733a5\
    f6b10e08880eb86b43c51c5c4248eb0bec6f839564aa7eef054c96f691de74e53e3e81770c638cf9daaff9e34a06f87d605f\
    6e805010064706eef89982f184306194a7336037b5e74b5823fc33e8f6664448e62729c7af7b6b480bcee9da1aa3af1387b8\
    8edf91961e348700a1af37ac196d1576810d885600a4b53dc5d2d7fec9ccfd24cbb7742fa5dbbbf21fe64a964292b05089d7\
    b7249192eada55fb8adc1a5af97d5779c5a2db82581d5b65357d36e71c757b057318d0939569f5b2440dd8e3a84135780bcf\
    ea1694d6e834d662eadde3e7c4d0e2452594056ee85f5d8c2646554e80de62efb35320964941f6058f7f1cfc8bf9bd904fa2\
    43ba99f7eb393bf730759581";
const EXPONENT: [u8; 3] = [1, 0, 1];
/// 22 October 2009.
const CREATED: u32 = 1_256_212_795;

/// Why a file of keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// It cannot be read; the system's answer names it.
    #[error("cannot read the keys of releases: {0}")]
    Read(std::io::Error),
    /// It is no such file.
    #[error("the keys of releases in `{}` cannot be used: {error}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: OpenPgpError,
    },
    /// It has no key that can verify.
    #[error(
        "`{}` has no key that can verify a release{}",
        .path.display(),
        .left_out.iter().map(|why| format!("; {why}")).collect::<String>()
    )]
    None {
        /// The file.
        path: PathBuf,
        /// Why those that it has cannot.
        left_out: Vec<String>,
    },
    /// They are too many or too large.
    #[error("`{}` is too large for a file of keys", .0.display())]
    TooLarge(PathBuf),
}

/// The keys that count, and what a person should know about them.
#[derive(Debug)]
pub struct Trusted {
    /// The keys.
    pub keys: Vec<PublicKey>,
    /// Keys of the files that cannot be used.
    pub warnings: Vec<String>,
}

impl Trusted {
    /// All keys of `files`; without files the built-in one.
    pub fn of(files: &[PathBuf]) -> Result<Self, KeysError> {
        if files.is_empty() {
            return Ok(Self { keys: vec![built_in()], warnings: Vec::new() });
        }
        let mut trusted = Self { keys: Vec::new(), warnings: Vec::new() };
        for path in files {
            let bytes = read(path)?;
            let file = |error| KeysError::File { path: path.clone(), error };
            let found = key::read(&bytes).map_err(file)?;
            if found.usable.is_empty() {
                return Err(KeysError::None { path: path.clone(), left_out: found.left_out });
            }
            let told = found.left_out.iter().map(|why| format!("`{}`: {why}", path.display()));
            trusted.warnings.extend(told);
            trusted.keys.extend(found.usable);
            if trusted.keys.len() > KEYS_MAX {
                return Err(KeysError::TooLarge(path.clone()));
            }
        }
        Ok(trusted)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, KeysError> {
    let file = registry::regular::open(path).map_err(KeysError::Read)?;
    let mut bytes = Vec::new();
    file.take(KEYS_FILE_MAX + 1).read_to_end(&mut bytes).map_err(KeysError::Read)?;
    if bytes.len() as u64 > KEYS_FILE_MAX {
        return Err(KeysError::TooLarge(path.to_owned()));
    }
    Ok(bytes)
}

/// The key of the releases that Red Hat publishes.
pub fn built_in() -> PublicKey {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => byte - b'0',
        _ => byte - b'a' + 10,
    };
    let pairs = MODULUS.as_bytes().chunks_exact(2);
    let modulus: Vec<u8> = pairs.map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect();
    PublicKey::rsa(&modulus, &EXPONENT, CREATED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_key_is_the_one_with_the_published_fingerprint() {
        let key = built_in();
        assert_eq!(key.fingerprint().to_string(), "567E347AD0044ADE55BA8A5F199E2F91FD431D51");
    }

    #[test]
    fn a_named_file_counts_alone_or_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        assert!(matches!(Trusted::of(std::slice::from_ref(&path)), Err(KeysError::Read(_))));
        for bad in [&b""[..], b"text", b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n", b"\xff"] {
            crate::durable::write(&path, bad).unwrap();
            assert!(Trusted::of(std::slice::from_ref(&path)).is_err(), "{bad:?}");
        }
        crate::durable::write(&path, b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n").unwrap();
        let error = Trusted::of(&[path]).unwrap_err().to_string();
        assert!(error.contains("private key"), "{error}");
        assert_eq!(Trusted::of(&[]).unwrap().keys, [built_in()]);
    }
}
