//! Where every byte of a sequence stands: file names, the layout of the parts, tar headers.
//!
//! In: the sizes of what is carried, in order, and the size limit of a part. Out: for every item its
//! pieces, for every part its exact size, before one byte is fetched. A part is a canonical POSIX
//! ustar archive (POSIX.1-1988, as `pax` interchange format "ustar" in POSIX.1-2017) of regular
//! files: the reader computes every header and compares, so no two tar readers can disagree about
//! what a part holds (CVE-2025-62518, CVE-2026-33055).
//!
//! ```text
//! 0            header of the cell table, 512 bytes
//! 512          the cell table: 32 bytes for each cell, padded to 512
//! data_offset  cell 0, cell 1 … 64 KiB each: member headers, pieces and padding, two zero blocks
//! ```

use std::fmt;
use std::str::FromStr;

use crate::digest::{Digest, clip};
use crate::limits::{BLOCK, CELL, PART_MAX, PART_MIN, PARTS_MAX, PIECE_MAX};
use crate::names::Sequence;

/// Bytes of the end-of-archive marker: two zero blocks.
pub const END: u64 = 2 * BLOCK;

/// The least of a blob that is worth a piece of its own at the end of a part.
const PIECE_LEAST: u64 = CELL as u64;

/// One of the files of a sequence on the medium.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileName {
    /// `mirror_seqN.manifest.json`
    Head(Sequence),
    /// `mirror_seqN.manifest.sig`
    Seal(Sequence),
    /// `mirror_seqN.index`
    Index(Sequence),
    /// `mirror_seqN_NNNNNN.tar`
    Part(Sequence, u32),
    /// `mirror_seqN.SHA256SUMS`
    Sums(Sequence),
    /// `mirror_seqN.TRANSFER.html`
    Transfer(Sequence),
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head(n) => write!(f, "mirror_seq{n}.manifest.json"),
            Self::Seal(n) => write!(f, "mirror_seq{n}.manifest.sig"),
            Self::Index(n) => write!(f, "mirror_seq{n}.index"),
            Self::Part(n, part) => write!(f, "mirror_seq{n}_{part:06}.tar"),
            Self::Sums(n) => write!(f, "mirror_seq{n}.SHA256SUMS"),
            Self::Transfer(n) => write!(f, "mirror_seq{n}.TRANSFER.html"),
        }
    }
}

impl FileName {
    /// The sequence that the name speaks of. A name is a hint: only the head's content counts.
    pub fn sequence(&self) -> Sequence {
        match self {
            Self::Head(n)
            | Self::Seal(n)
            | Self::Index(n)
            | Self::Part(n, _)
            | Self::Sums(n)
            | Self::Transfer(n) => *n,
        }
    }
}

/// A file name that no sequence has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a sequence's file: `{0}`")]
pub struct NotAFileName(String);

impl FromStr for FileName {
    type Err = NotAFileName;

    fn from_str(text: &str) -> Result<Self, NotAFileName> {
        parse_file_name(text).ok_or_else(|| NotAFileName(clip(text)))
    }
}

fn parse_file_name(text: &str) -> Option<FileName> {
    let rest = text.strip_prefix("mirror_seq")?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = rest.split_at(digits);
    let sequence = Sequence::new(number.parse().ok()?)?;
    let name = match rest {
        ".manifest.json" => FileName::Head(sequence),
        ".manifest.sig" => FileName::Seal(sequence),
        ".index" => FileName::Index(sequence),
        ".SHA256SUMS" => FileName::Sums(sequence),
        ".TRANSFER.html" => FileName::Transfer(sequence),
        _ => {
            let part = rest.strip_prefix('_')?.strip_suffix(".tar")?;
            FileName::Part(sequence, part.parse().ok()?)
        }
    };
    // Only the canonical spelling: no leading zeros, no signs.
    (name.to_string() == text).then_some(name)
}

/// A run of bytes of one blob or manifest in one part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// The number of the part.
    pub part: u32,
    /// Where the bytes begin in the file of the part. The member's header stands 512 bytes before.
    pub offset: u64,
    /// How many bytes.
    pub size: u64,
}

/// One part of a layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartLayout {
    /// Bytes of the whole file.
    pub bytes: u64,
}

impl PartLayout {
    /// The part whose members, headers and padding included, take `payload` bytes.
    fn for_payload(payload: u64) -> Self {
        let data = payload + END;
        Self { bytes: table_bytes(data.div_ceil(CELL as u64)) + data }
    }

    /// Number of cells. `None` when no part has this size.
    pub fn cells(&self) -> Option<u64> {
        if !self.bytes.is_multiple_of(BLOCK) {
            return None;
        }
        // bytes = table(c) + data with c = ceil(data / CELL): solve by trying the two candidates.
        let guess = self.bytes / (CELL as u64 + 32);
        (guess.saturating_sub(1)..=guess + 2).find(|cells| {
            let table = table_bytes(*cells);
            self.bytes
                .checked_sub(table)
                .is_some_and(|data| data >= END && data.div_ceil(CELL as u64) == *cells)
        })
    }

    /// Where the first cell begins. `None` when no part has this size.
    pub fn data_offset(&self) -> Option<u64> {
        self.cells().map(table_bytes)
    }
}

/// Bytes of the cell table's member: header, table, padding.
fn table_bytes(cells: u64) -> u64 {
    BLOCK + padded(cells * 32)
}

/// `size` rounded up to whole tar blocks.
pub fn padded(size: u64) -> u64 {
    size.div_ceil(BLOCK) * BLOCK
}

/// Why a layout cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// The part size is outside the limits.
    #[error("a part of {0} bytes is not possible: from {PART_MIN} to {PART_MAX} bytes are")]
    PartSize(u64),
    /// More parts than a sequence may have.
    #[error("the content needs more than {PARTS_MAX} parts: choose larger parts")]
    TooManyParts,
    /// The same content is asked for twice, or a size is over the limit.
    #[error("content of {0} bytes is over the limit of a blob")]
    BlobSize(u64),
}

/// The layout of a sequence: pieces for each item, in the order given, and the parts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layout {
    /// For each item its pieces, in order.
    pub pieces: Vec<Vec<Piece>>,
    /// The parts, by number.
    pub parts: Vec<PartLayout>,
}

impl Layout {
    /// Lays items of these sizes out, in this order, in parts of at most `limit` bytes, headers
    /// included. The same input gives the same layout.
    pub fn plan(sizes: &[u64], limit: u64) -> Result<Self, LayoutError> {
        if !(PART_MIN..=PART_MAX).contains(&limit) {
            return Err(LayoutError::PartSize(limit));
        }
        let capacity = payload_capacity(limit);
        let mut layout = Self { pieces: Vec::with_capacity(sizes.len()), parts: Vec::new() };
        // Offsets are relative to the data of the part until its table's size is known.
        let mut first_in_part = (0, 0);
        let mut used = 0;
        for (item, size) in sizes.iter().enumerate() {
            if *size > crate::limits::BLOB_MAX {
                return Err(LayoutError::BlobSize(*size));
            }
            // Nearly all have one: there may be a million items.
            layout.pieces.push(Vec::with_capacity(1));
            let mut left = *size;
            loop {
                let room = (capacity - used).saturating_sub(BLOCK);
                let whole = padded(left) <= room && left <= PIECE_MAX;
                let take = if whole { left } else { left.min(room / BLOCK * BLOCK).min(PIECE_MAX) };
                if !whole && take < PIECE_LEAST {
                    layout.close(used, &mut first_in_part)?;
                    used = 0;
                    continue;
                }
                let part = u32::try_from(layout.parts.len()).expect("bounded by PARTS_MAX");
                layout.pieces[item].push(Piece { part, offset: used + BLOCK, size: take });
                used += BLOCK + padded(take);
                left -= take;
                if left == 0 {
                    break;
                }
            }
        }
        if used > 0 {
            layout.close(used, &mut first_in_part)?;
        }
        Ok(layout)
    }

    /// Ends the current part: its size is known now, so its pieces get their place in the file.
    fn close(&mut self, used: u64, first: &mut (usize, usize)) -> Result<(), LayoutError> {
        if self.parts.len() == PARTS_MAX {
            return Err(LayoutError::TooManyParts);
        }
        let part = PartLayout::for_payload(used);
        let data = part.data_offset().expect("made for this payload");
        let (mut item, mut piece) = *first;
        while item < self.pieces.len() {
            for placed in &mut self.pieces[item][piece..] {
                placed.offset += data;
            }
            *first = (item, self.pieces[item].len());
            item += 1;
            piece = 0;
        }
        self.parts.push(part);
        Ok(())
    }
}

/// The most payload, in whole blocks, that a part of `limit` bytes holds.
fn payload_capacity(limit: u64) -> u64 {
    let fits = |payload| PartLayout::for_payload(payload).bytes <= limit;
    // A longer payload can need a longer table: shrink until the part fits, then take back what
    // only the longer table had used.
    let mut payload = limit / BLOCK * BLOCK;
    while !fits(payload) {
        payload -= padded(PartLayout::for_payload(payload).bytes - limit);
    }
    while fits(payload + BLOCK) {
        payload += BLOCK;
    }
    payload
}

/// The name of a member: `blobs/sha256/<hex>`, or `blobs/sha256/<hex>.NNNNNN` for one of several
/// pieces, numbered from 0.
pub fn member_name(digest: &Digest, piece: Option<usize>) -> String {
    match piece {
        None => format!("blobs/sha256/{}", digest.hex()),
        Some(number) => format!("blobs/sha256/{}.{number:06}", digest.hex()),
    }
}

/// The name of the cell table's member, which says which part this is.
pub fn table_name(sequence: Sequence, part: u32) -> String {
    format!("mirror_seq{sequence}_{part:06}.cells")
}

/// The one header that a regular file of this name and size has: mode 0444, owner and group 0,
/// time 0, no user or group name, no prefix.
///
/// `size` is at most [`PIECE_MAX`] and `name` at most 100 bytes, which every name made here is.
pub fn header(name: &str, size: u64) -> [u8; 512] {
    assert!(name.len() <= 100 && size <= PIECE_MAX, "a name and size of this format");
    let mut block = [0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..108].copy_from_slice(b"0000444\0");
    block[108..116].copy_from_slice(b"0000000\0");
    block[116..124].copy_from_slice(b"0000000\0");
    block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    block[136..148].copy_from_slice(b"00000000000\0");
    block[148..156].copy_from_slice(b"        ");
    block[156] = b'0';
    block[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// The cell table's member: header, table, padding. Its digest stands in the head.
pub fn table_member(sequence: Sequence, part: u32, cells: &[Digest]) -> Vec<u8> {
    let size = cells.len() * 32;
    let mut member = Vec::with_capacity(512 + size.next_multiple_of(512));
    member.extend_from_slice(&header(&table_name(sequence, part), size as u64));
    for cell in cells {
        member.extend_from_slice(cell.as_bytes());
    }
    member.resize(512 + size.next_multiple_of(512), 0);
    member
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(sizes: &[u64], limit: u64) -> Layout {
        let layout = Layout::plan(sizes, limit).unwrap();
        let mut by_part = vec![Vec::new(); layout.parts.len()];
        for (item, pieces) in layout.pieces.iter().enumerate() {
            assert_eq!(pieces.iter().map(|p| p.size).sum::<u64>(), sizes[item]);
            assert!(!pieces.is_empty());
            for piece in pieces {
                by_part[piece.part as usize].push(*piece);
            }
        }
        for (part, pieces) in layout.parts.iter().zip(by_part) {
            assert!(part.bytes <= limit, "{} > {limit}", part.bytes);
            let mut at = part.data_offset().unwrap();
            for piece in pieces {
                assert_eq!(piece.offset, at + BLOCK);
                at += BLOCK + padded(piece.size);
            }
            assert_eq!(at + END, part.bytes);
            let cells = part.cells().unwrap();
            let data = part.bytes - part.data_offset().unwrap();
            assert_eq!(cells, data.div_ceil(CELL as u64));
        }
        layout
    }

    #[test]
    fn a_blob_larger_than_a_part_goes_on_in_the_next() {
        let layout = check(&[10 * PART_MIN], PART_MIN);
        assert!(layout.parts.len() > 10);
        assert_eq!(layout.pieces[0].len(), layout.parts.len());
    }

    #[test]
    fn sizes_at_the_edges() {
        for size in [0, 1, 511, 512, 513, 65_535, 65_536, 65_537] {
            check(&[size, size, size], PART_MIN);
        }
        let capacity = payload_capacity(PART_MIN);
        for delta in -1025_i64..1025 {
            check(&[capacity.checked_add_signed(delta).unwrap(), 3], PART_MIN);
        }
        assert!(check(&[], PART_MIN).parts.is_empty());
        // Above the octal size field of ustar a blob is in pieces even without a part limit.
        assert_eq!(check(&[20 << 30], PART_MAX).pieces[0].len(), 3);
    }

    #[test]
    fn capacity_is_the_most_that_fits() {
        for limit in (PART_MIN..PART_MIN + 200_000).step_by(509).chain([PART_MAX, PART_MAX - 1]) {
            let capacity = payload_capacity(limit);
            assert!(PartLayout::for_payload(capacity).bytes <= limit);
            assert!(PartLayout::for_payload(capacity + BLOCK).bytes > limit);
        }
    }

    #[test]
    fn limits_are_refused() {
        assert_eq!(Layout::plan(&[1], PART_MIN - 1), Err(LayoutError::PartSize(PART_MIN - 1)));
        assert!(Layout::plan(&[1], u64::MAX).is_err());
    }

    #[test]
    fn names_round_trip_and_nothing_else_parses() {
        let seven = Sequence::new(7).unwrap();
        for name in [
            FileName::Head(seven),
            FileName::Seal(seven),
            FileName::Index(seven),
            FileName::Part(seven, 12),
            FileName::Part(seven, 1_234_567),
            FileName::Sums(seven),
            FileName::Transfer(seven),
        ] {
            assert_eq!(name.to_string().parse(), Ok(name));
        }
        for bad in [
            "mirror_seq07.index",
            "mirror_seq0.index",
            "mirror_seq7_0.tar",
            "mirror_seq7_+00001.tar",
            "mirror_seq.index",
            "mirror_seq99999999999999999999.index",
            "MIRROR_SEQ7.INDEX",
        ] {
            assert!(bad.parse::<FileName>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_layout_keeps_its_promises(
            sizes in proptest::collection::vec(0_u64..5_000_000, 0..60),
            limit in PART_MIN..8_000_000_u64,
        ) {
            check(&sizes, limit);
        }

        #[test]
        fn sizes_that_no_part_has_are_known(bytes in 0_u64..10_000_000) {
            let part = PartLayout { bytes };
            if let (Some(cells), Some(offset)) = (part.cells(), part.data_offset()) {
                prop_assert_eq!((bytes - offset).div_ceil(CELL as u64), cells);
            }
        }

        #[test]
        fn file_names_never_panic(text in ".{0,60}") {
            let _ = text.parse::<FileName>();
        }
    }
}
