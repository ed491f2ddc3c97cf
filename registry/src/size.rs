//! A number of bytes as a person writes it into the settings or a command line: `500GiB`, `2TB`, `1048576`.
//!
//! In and out: text. What must hold: what is written is read as the same number.

use std::fmt;
use std::str::FromStr;

use serde::de::{Error as _, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Units in bytes. `G` alone means 1000 to some tools and 1024 to others, so it is none.
const UNITS: [(&str, u64); 11] = [
    ("PiB", 1 << 50),
    ("PB", 1_000_000_000_000_000),
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1000),
    ("B", 1),
];

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(u64);

impl Size {
    /// So many bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// As a number.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

/// Why a text is no number of bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// The unit is none of ours.
    #[error(
        "unknown unit `{0}`: write KB, MB, GB, TB, PB (powers of 1000), KiB, MiB, GiB, TiB, PiB, or plain bytes"
    )]
    Unit(String),
    /// No number before the unit.
    #[error("expected bytes, or a whole number with a unit, as `500GiB`")]
    Number,
    /// More than any disk has.
    #[error("more bytes than can be counted")]
    Large,
}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        // `1.5GiB` has no unknown unit.
        if number.is_empty() || unit.starts_with(['.', ',']) {
            return Err(SizeError::Number);
        }
        let unit = unit.trim_start();
        let factor = match unit {
            "" => 1,
            unit => UNITS
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(unit))
                .map(|(_, factor)| *factor)
                .ok_or_else(|| SizeError::Unit(unit.chars().take(20).collect()))?,
        };
        let number: u64 = number.parse().map_err(|_| SizeError::Large)?;
        let bytes = number.checked_mul(factor).filter(|bytes| i64::try_from(*bytes).is_ok());
        bytes.map(Self).ok_or(SizeError::Large)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |unit: &&(&str, u64)| self.0 >= unit.1 && self.0.is_multiple_of(unit.1);
        match UNITS.iter().find(whole) {
            Some((name, factor)) if *factor > 1 => write!(f, "{}{name}", self.0 / factor),
            _ => write!(f, "{}", self.0),
        }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes, or a whole number with a unit, as `500GiB`")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Size, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: serde::de::Error>(self, bytes: u64) -> Result<Size, E> {
                i64::try_from(bytes).map_err(|_| E::custom(SizeError::Large))?;
                Ok(Size(bytes))
            }

            fn visit_i64<E: serde::de::Error>(self, bytes: i64) -> Result<Size, E> {
                let wrong = |_| E::invalid_value(Unexpected::Signed(bytes), &self);
                u64::try_from(bytes).map(Size).map_err(wrong)
            }
        }
        deserializer.deserialize_any(Either).map_err(D::Error::custom)
    }
}

/// Bytes for people: `1.5 GiB`, `512 B`.
pub fn show(bytes: u64) -> String {
    const SHOWN: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    // In tenths, in whole numbers: 1023.99 must not become `1024.0`.
    let mut tenths = u128::from(bytes) * 10 / 1024;
    let mut unit = 0;
    while tenths >= 10240 && unit + 1 < SHOWN.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, SHOWN[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_unknown_units_are_named() {
        for (text, bytes, written) in [
            ("500GiB", 500 << 30, "500GiB"),
            ("2TB", 2_000_000_000_000, "2TB"),
            ("1024 mib", 1 << 30, "1GiB"),
            ("1000", 1000, "1KB"),
            ("1001B", 1001, "1001"),
            ("0", 0, "0"),
        ] {
            let size: Size = text.parse().unwrap();
            assert_eq!((size.bytes(), size.to_string().as_str()), (bytes, written), "{text}");
            assert_eq!(written.parse(), Ok(size));
        }
        for (text, said) in [
            ("4G", "`G`"),
            ("4 GiBs", "`GiBs`"),
            ("1.5GiB", "whole number"),
            ("-1", "whole number"),
            ("GiB", "whole number"),
            ("99999999999999999999", "more bytes"),
            ("9000PiB", "more bytes"),
        ] {
            let error = text.parse::<Size>().unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
        assert_eq!(show(3 << 29), "1.5 GiB");
        assert_eq!(show((1 << 20) - 1), "1023.9 KiB");
    }
}
