//! Sizes of parts, as people write them and as media need them.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use format_spec::head::Totals;
use format_spec::limits::{PART_MAX, PART_MIN};
pub use registry::size::show;

/// Bytes of a medium that are not for parts: the file system, and copies of head, index, checksums
/// and label, so that a single medium describes itself.
const RESERVE: u64 = 64 * 1024 * 1024;

/// The smaller of the single-layer discs: DVD+R (DVD-R has 4,707,319,808 bytes).
const DVD: u64 = 4_700_372_992;

/// A BD-R or BD-RE formatted with the usual spare area; without one it has 25,025,314,816 bytes.
const BD: u64 = 24_220_008_448;

/// The most bytes that a part file may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartSize(u64);

/// Why a text is not a part size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// Not a number with a known suffix.
    #[error(
        "write bytes, or a whole number with B, KB, MB, GB, TB (powers of 1000) or KiB, MiB, GiB, TiB{}",
        .near.iter().map(|near| format!(", here {near}")).collect::<String>()
    )]
    Unknown {
        /// What may be meant.
        near: Option<String>,
    },
    /// Below what makes sense or above what the format allows.
    #[error("a part has from {} to {}", show(PART_MIN), show(PART_MAX))]
    Range,
}

impl PartSize {
    /// The limit in bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for PartSize {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, suffix) = text.split_at(digits);
        let unknown = || SizeError::Unknown { near: near(text) };
        let number: u64 = number.parse().map_err(|_| unknown())?;
        let unit: u64 = match suffix.trim_start().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "kb" => 1000,
            "mb" => 1000 * 1000,
            "gb" => 1000 * 1000 * 1000,
            "tb" => 1000 * 1000 * 1000 * 1000,
            "kib" => 1 << 10,
            "mib" => 1 << 20,
            "gib" => 1 << 30,
            "tib" => 1 << 40,
            // `4G` means 1000 to some tools and 1024 to others.
            _ => return Err(unknown()),
        };
        let bytes = number.checked_mul(unit).ok_or(SizeError::Range)?;
        if (PART_MIN..=PART_MAX).contains(&bytes) { Ok(Self(bytes)) } else { Err(SizeError::Range) }
    }
}

/// How `4G` or `4.7GB` is written here.
fn near(text: &str) -> Option<String> {
    let end = text.bytes().take_while(|c| c.is_ascii_digit() || *c == b'.').count();
    let (number, suffix) = text.split_at(end);
    let suffix = suffix.trim_start().to_ascii_uppercase();
    let unit = suffix.get(..1)?;
    let at = ["K", "M", "G", "T"].iter().position(|known| *known == unit)?;
    let Some((whole, fraction)) = number.split_once('.') else {
        let number: u64 = number.parse().ok()?;
        return (suffix == unit).then(|| format!("`{number}{unit}iB` or `{number}{unit}B`"));
    };
    // In the next smaller unit it may be a whole number.
    let smaller = ["", "K", "M", "G"][at];
    let fraction: u64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    let (power, ending) = match &suffix[1..] {
        "" | "B" => (1000, "B"),
        "IB" if at > 0 => (1024, "iB"),
        _ => return None,
    };
    let number = whole.parse::<u64>().ok()?.checked_mul(power)? + fraction * power / 1000;
    Some(format!("`{number}{smaller}{ending}`"))
}

/// A kind of medium or scanner, and with it the largest part.
///
/// `dvd` and `bd` divide the disc, because a file in ISO 9660 without multi-extent ends at
/// 4,294,965,248 bytes: two parts fill a DVD and six a Blu-ray disc, a single part would waste 400 MB of
/// the first, and damage costs one small part instead of a whole disc.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Media {
    /// Memory sticks: files of at most 4 GiB - 1
    Fat32,
    /// ISO 9660 images without multi-extent: files of at most 4,294,965,248 bytes
    Iso,
    /// DVD-R or DVD+R, one layer: two parts a disc, 2,316,632,064 bytes each
    Dvd,
    /// BD-R or BD-RE, one layer: six parts a disc, 4,025,483,264 bytes each
    Bd,
    /// Scanners with ClamAV's hard limit: files of at most 2 GiB - 1
    Clamav,
}

impl Media {
    /// The most bytes of one part.
    pub const fn part_bytes(self) -> u64 {
        match self {
            Self::Fat32 => 4_294_967_295,
            Self::Iso => 4_294_965_248,
            Self::Dvd => (DVD - RESERVE) / 2,
            Self::Bd => (BD - RESERVE) / 6,
            Self::Clamav => 2_147_483_647,
        }
    }

    /// Discs for this many parts; `None` for media without a size of their own.
    pub const fn discs(self, parts: u64) -> Option<u64> {
        match self {
            Self::Dvd => Some(parts.div_ceil(2)),
            Self::Bd => Some(parts.div_ceil(6)),
            Self::Fat32 | Self::Iso | Self::Clamav => None,
        }
    }
}

impl fmt::Display for Media {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fat32 => "FAT32 stick",
            Self::Iso => "ISO 9660 image",
            Self::Dvd => "DVD",
            Self::Bd => "Blu-ray disc",
            Self::Clamav => "scanner",
        })
    }
}

/// A number and its noun: `1 part`, `2 parts`.
pub fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// `1 repository`, `2 repositories`.
#[cfg(feature = "serve")]
pub fn repositories(number: u64) -> String {
    if number == 1 { "1 repository".to_owned() } else { format!("{number} repositories") }
}

/// What a sequence carries: `3 references, 4 manifests, 9 blobs: 1.2 GiB`.
pub fn totals(totals: &Totals) -> String {
    format!(
        "{}, {}, {}: {}",
        count(totals.references, "reference"),
        count(totals.manifests, "manifest"),
        count(totals.blobs, "blob"),
        show(totals.bytes)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        let read = |text: &str| text.parse::<PartSize>().map(PartSize::bytes);
        assert_eq!(read("4GiB"), Ok(4 << 30));
        assert_eq!(read("700MB"), Ok(700_000_000));
        assert_eq!(read("700 mb"), Ok(700_000_000));
        assert_eq!(read("1048576"), Ok(PART_MIN));
        assert_eq!(read("1048576B"), Ok(PART_MIN));
        for unknown in
            ["", "4G", "4.5GiB", "-1", "GiB", "1 2", "0x10", "4GiBs", "99999999999999999999"]
        {
            assert!(matches!(read(unknown), Err(SizeError::Unknown { .. })), "{unknown}");
        }
        for (typed, meant) in [
            ("4G", Some("`4GiB` or `4GB`")),
            ("700 m", Some("`700MiB` or `700MB`")),
            ("4.7GB", Some("`4700MB`")),
            ("4.7g", Some("`4700MB`")),
            ("4.5GiB", Some("`4608MiB`")),
            ("1.5KB", Some("`1500B`")),
            ("1.5KiB", None),
            ("4.x", None),
            ("4é", None),
            ("-4G", None),
            ("99999999999999999999.1G", None),
        ] {
            let error = read(typed).unwrap_err();
            assert_eq!(error, SizeError::Unknown { near: meant.map(ToOwned::to_owned) }, "{typed}");
        }
        for range in ["0", "1048575", "1KiB", "257GiB", "1TiB", "18446744073709551615TiB"] {
            assert_eq!(read(range), Err(SizeError::Range), "{range}");
        }
    }

    #[test]
    fn presets_fit_their_media_and_the_documentation() {
        for media in Media::value_variants() {
            assert!((PART_MIN..=PART_MAX).contains(&media.part_bytes()), "{media}");
        }
        assert_eq!(Media::Dvd.part_bytes(), 2_316_632_064);
        assert_eq!(Media::Bd.part_bytes(), 4_025_483_264);
        assert!(Media::Bd.part_bytes() <= Media::Iso.part_bytes());
        assert_eq!(Media::Dvd.discs(3), Some(2));
        assert_eq!(Media::Bd.discs(6), Some(1));
        assert_eq!(Media::Fat32.discs(6), None);
    }

    #[test]
    fn bytes_are_shown_for_people() {
        assert_eq!(show(0), "0 B");
        assert_eq!(show(1023), "1023 B");
        assert_eq!(show(1024), "1.0 KiB");
        assert_eq!(show((1 << 20) - 1), "1023.9 KiB");
        assert_eq!(show(3 << 29), "1.5 GiB");
        assert_eq!(count(1, "part"), "1 part");
        assert_eq!(count(0, "part"), "0 parts");
    }

    proptest! {
        #[test]
        fn any_text_is_a_size_or_an_error(text in ".{0,30}") {
            if let Ok(size) = text.parse::<PartSize>() {
                prop_assert!((PART_MIN..=PART_MAX).contains(&size.bytes()));
            }
        }

        #[test]
        fn every_number_of_bytes_is_shown(bytes: u64) {
            prop_assert!(show(bytes).len() <= 12);
        }
    }
}
