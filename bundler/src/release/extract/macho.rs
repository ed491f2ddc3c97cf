//! The signature that a program for macOS needs to run at all, after bytes of it were changed.
//!
//! macOS on arm64 ends programs whose pages do not have the digests that stand in them. Those that the Go compiler writes are
//! signed ad hoc: no key, only these digests (Mach-O: `LC_CODE_SIGNATURE` names a superblob at the end of the file, in which a code
//! directory has one SHA-256 for each page).
//!
//! In: a program as a file. Out: the same with the digests that its pages have. What must hold: a program that a key has
//! signed, or that is no such program, is left as it is.

use std::io;
use std::os::unix::fs::FileExt;

use format_spec::Digest;

/// `MH_MAGIC_64`, little endian.
const MAGIC: u32 = 0xfeed_facf;
const LC_CODE_SIGNATURE: u32 = 0x1d;
/// Superblob and code directory, big endian.
const SUPERBLOB: u32 = 0xfade_0cc0;
const CODE_DIRECTORY: u32 = 0xfade_0c02;
/// The slot of the code directory, and that of a signature by a key.
const SLOT_DIRECTORY: u32 = 0;
const SLOT_SIGNATURE: u32 = 0x1_0000;
/// Flag: signed ad hoc.
const AD_HOC: u32 = 2;
const SHA256: u8 = 2;

/// Bytes of all load commands: real programs have below 10 KiB.
const COMMANDS_MAX: usize = 1024 * 1024;
/// Bytes of a signature: 32 for each page of 4 KiB of the largest program.
const SIGNATURE_MAX: usize = 64 * 1024 * 1024;

/// What became of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signed {
    /// Its digests are right now.
    Anew,
    /// It has no signature of this kind.
    Not,
}

/// Makes the digests in an ad-hoc signature those of the pages.
pub(super) fn sign(file: &fs_err::File) -> io::Result<Signed> {
    let Some((offset, mut blob)) = signature(file)? else { return Ok(Signed::Not) };
    let directory = Directory::of(&blob).filter(|directory| directory.code <= offset);
    let Some(directory) = directory else { return Ok(Signed::Not) };
    let mut page = vec![0; directory.page];
    for (number, at) in directory.hashes().enumerate() {
        let from = number as u64 * directory.page as u64;
        let left = directory.code.saturating_sub(from);
        let page = &mut page[..directory.page.min(usize::try_from(left).unwrap_or(usize::MAX))];
        file.file().read_exact_at(page, from)?;
        let digest = Digest::of(page);
        blob[at..at + 32].copy_from_slice(digest.as_bytes());
    }
    file.file().write_all_at(&blob, offset)?;
    Ok(Signed::Anew)
}

/// Where the signature of a program stands, and its bytes.
fn signature(file: &fs_err::File) -> io::Result<Option<(u64, Vec<u8>)>> {
    let length = file.metadata()?.len();
    let mut header = [0; 32];
    if length < header.len() as u64 {
        return Ok(None);
    }
    file.file().read_exact_at(&mut header, 0)?;
    let size = little(&header, 20).unwrap_or_default() as usize;
    if little(&header, 0) != Some(MAGIC) || size > COMMANDS_MAX || length < 32 + size as u64 {
        return Ok(None);
    }
    let mut commands = vec![0; size];
    file.file().read_exact_at(&mut commands, 32)?;
    let mut rest = &commands[..];
    while let (Some(command), Some(size)) = (little(rest, 0), little(rest, 4)) {
        if command == LC_CODE_SIGNATURE {
            let (Some(offset), Some(size)) = (little(rest, 8), little(rest, 12)) else { break };
            let fits = u64::from(offset) + u64::from(size) <= length;
            if !fits || size as usize > SIGNATURE_MAX {
                break;
            }
            let mut blob = vec![0; size as usize];
            file.file().read_exact_at(&mut blob, offset.into())?;
            return Ok(Some((offset.into(), blob)));
        }
        match rest.get(size as usize..) {
            Some(next) if size >= 8 => rest = next,
            _ => break,
        }
    }
    Ok(None)
}

/// A code directory of digests that nobody signed.
struct Directory {
    /// Where the digests stand in the signature.
    first: usize,
    count: usize,
    /// Bytes that they cover, and of one page.
    code: u64,
    page: usize,
}

impl Directory {
    /// `None` for every other form.
    fn of(blob: &[u8]) -> Option<Self> {
        if big(blob, 0)? != SUPERBLOB {
            return None;
        }
        let slots = (0..big(blob, 8)?.min(64) as usize)
            .map(|slot| Some((big(blob, 12 + 8 * slot)?, big(blob, 16 + 8 * slot)? as usize)));
        let slots: Vec<(u32, usize)> = slots.collect::<Option<_>>()?;
        let at = slots.iter().find(|(kind, _)| *kind == SLOT_DIRECTORY)?.1;
        // An empty one, of 8 bytes, is what some tools write beside an ad-hoc signature.
        let by_a_key = |(kind, at): &(u32, usize)| {
            *kind == SLOT_SIGNATURE && big(blob, at.saturating_add(4)).is_none_or(|size| size > 8)
        };
        let directory = blob.get(at..)?;
        let (hashes, count) = (big(directory, 16)? as usize, big(directory, 28)? as usize);
        let [hash_size, hash_type, _, page] = *directory.get(36..40)? else { return None };
        let usual = big(directory, 0)? == CODE_DIRECTORY
            && big(directory, 12)? & AD_HOC != 0
            && !slots.iter().any(by_a_key)
            && (hash_size, hash_type) == (32, SHA256)
            && (12..=16).contains(&page);
        let page = 1_usize.checked_shl(page.into())?;
        let code = u64::from(big(directory, 32)?);
        let first = at.checked_add(hashes)?;
        let whole = first.checked_add(count.checked_mul(32)?)? <= blob.len();
        (usual && whole && code.div_ceil(page as u64) == count as u64).then_some(Self {
            first,
            count,
            code,
            page,
        })
    }

    fn hashes(&self) -> impl Iterator<Item = usize> {
        (0..self.count).map(|number| self.first + 32 * number)
    }
}

fn little(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn big(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const CODE: usize = 9000;

    /// A small program as the Go compiler writes them, with digests that are wrong.
    fn program(flags: u32, key: bool) -> Vec<u8> {
        let mut file = Vec::new();
        for word in [MAGIC, 0x0100_000c, 0, 2, 2, 8 + 16, 0, 0] {
            file.extend(word.to_le_bytes());
        }
        // A command of no interest, then that of the signature.
        file.extend([0x1b_u32, 8].map(u32::to_le_bytes).concat());
        let slots = 1 + u32::from(key);
        let directory = 12 + 8 * slots;
        let ident = b"a.out\0";
        let hashes = 44 + ident.len();
        let size = directory as usize + hashes + 3 * 32 + if key { 64 } else { 0 };
        for word in
            [LC_CODE_SIGNATURE, 16, u32::try_from(CODE).unwrap(), u32::try_from(size).unwrap()]
        {
            file.extend(word.to_le_bytes());
        }
        file.resize(CODE, 7);
        let begin = file.len();
        let mut put = |words: &[u32]| words.iter().for_each(|word| file.extend(word.to_be_bytes()));
        put(&[SUPERBLOB, u32::try_from(size).unwrap(), slots, SLOT_DIRECTORY, directory]);
        if key {
            put(&[SLOT_SIGNATURE, u32::try_from(size).unwrap() - 64]);
        }
        let length = u32::try_from(hashes + 3 * 32).unwrap();
        put(&[
            CODE_DIRECTORY,
            length,
            0x20400,
            flags,
            u32::try_from(hashes).unwrap(),
            44,
            0,
            3,
            u32::try_from(CODE).unwrap(),
        ]);
        file.extend([32, SHA256, 0, 12]);
        file.extend([0; 4]);
        file.extend(ident);
        file.resize(begin + size, 0);
        if key {
            let at = file.len() - 64;
            file[at..at + 8].copy_from_slice(&[0xfade_0b01_u32, 64].map(u32::to_be_bytes).concat());
        }
        file
    }

    fn signed(bytes: &[u8]) -> (Signed, Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        let mut file = super::super::drafts::create(&path, 0o600).unwrap();
        file.write_all(bytes).unwrap();
        (sign(&file).unwrap(), fs_err::read(&path).unwrap())
    }

    #[test]
    fn digests_are_those_of_the_pages_and_other_signatures_stay() {
        let before = program(AD_HOC | 0x2_0000, false);
        let (outcome, after) = signed(&before);
        assert_eq!(outcome, Signed::Anew);
        assert_eq!(after[..CODE], before[..CODE]);
        let hashes: Vec<u8> = [&after[..4096], &after[4096..8192], &after[8192..CODE]]
            .iter()
            .flat_map(|page| *Digest::of(page).as_bytes())
            .collect();
        assert_eq!(after[after.len() - 96..], hashes[..]);
        // Once more changes nothing.
        assert_eq!(signed(&after).1, after);

        let mut odd =
            vec![program(AD_HOC, true), program(0, false), b"#!/bin/sh\n".to_vec(), Vec::new()];
        let mut elf = before.clone();
        elf[..4].copy_from_slice(b"\x7fELF");
        odd.push(elf);
        odd.extend((0..before.len()).step_by(97).map(|at| before[..at].to_vec()));
        for bytes in odd {
            assert_eq!(signed(&bytes), (Signed::Not, bytes));
        }
    }

    #[test]
    fn no_change_of_a_header_makes_it_panic() {
        let good = program(AD_HOC, false);
        for at in (0..64).chain(CODE..CODE + 100) {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bytes = good.clone();
                bytes[at] = value;
                let dir = tempfile::tempdir().unwrap();
                let mut file = super::super::drafts::create(&dir.path().join("p"), 0o600).unwrap();
                file.write_all(&bytes).unwrap();
                let _ = sign(&file);
            }
        }
    }
}
