//! The text form of keys: `-----BEGIN PGP PUBLIC KEY BLOCK-----`, base64, a checksum.
//!
//! In: a file. Out: its bytes, those of several blocks one after the other. A file in the binary form passes as it is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::OpenPgpError;

const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
const END: &str = "-----END PGP PUBLIC KEY BLOCK-----";
const PRIVATE: &str = "-----BEGIN PGP PRIVATE KEY BLOCK-----";

/// The bytes of a file of keys.
pub fn bare(file: &[u8]) -> Result<Vec<u8>, OpenPgpError> {
    // No text begins with such a byte.
    if file.first().is_some_and(|first| first & 0x80 != 0) {
        return Ok(file.to_vec());
    }
    let text = std::str::from_utf8(file).map_err(|_| OpenPgpError::Malformed("not a key file"))?;
    let mut lines = text.lines().map(str::trim);
    let mut out = Vec::new();
    let mut blocks = 0;
    while let Some(line) = lines.next() {
        if line == PRIVATE {
            return Err(OpenPgpError::Private);
        }
        // What stands around the blocks is for people.
        if line == BEGIN {
            block(&mut lines, &mut out)?;
            blocks += 1;
        }
    }
    if blocks == 0 {
        return Err(OpenPgpError::Malformed("there is no public key in it"));
    }
    Ok(out)
}

fn block<'a>(
    lines: &mut impl Iterator<Item = &'a str>,
    out: &mut Vec<u8>,
) -> Result<(), OpenPgpError> {
    const WRONG: OpenPgpError = OpenPgpError::Malformed("a line of a key is not base64");
    let decode = |text: &str| STANDARD.decode(text).map_err(|_| WRONG);
    let mut text = String::new();
    let mut checksum = None;
    let mut head = true;
    for line in lines {
        if line == END {
            let bytes = decode(&text)?;
            if checksum.is_some_and(|checksum| checksum != crc24(&bytes)) {
                return Err(OpenPgpError::Checksum);
            }
            out.extend(bytes);
            return Ok(());
        }
        // `Comment: …` and the like, up to an empty line, which some leave out.
        if head && (line.is_empty() || line.contains(": ")) {
            head = !line.is_empty();
        } else if let Some(sum) = line.strip_prefix('=').filter(|sum| sum.len() == 4) {
            let sum = decode(sum)?;
            checksum = Some(sum.iter().fold(0, |all, byte| all << 8 | u32::from(*byte)));
        } else if checksum.is_some() && !line.is_empty() {
            return Err(OpenPgpError::Malformed("a line behind the checksum"));
        } else {
            head = false;
            text.push_str(line);
        }
    }
    Err(OpenPgpError::Truncated)
}

/// The checksum of RFC 4880, section 6.1.
fn crc24(bytes: &[u8]) -> u32 {
    let mut sum = 0x00b7_04ce;
    for byte in bytes {
        sum ^= u32::from(*byte) << 16;
        for _ in 0..8 {
            sum <<= 1;
            if sum & 0x0100_0000 != 0 {
                sum ^= 0x0186_4cfb;
            }
        }
    }
    sum & 0x00ff_ffff
}
