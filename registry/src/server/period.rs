//! A span of time as a person writes it into the settings or a command line: `24h`, `90m`, `7d`.
//!
//! In and out: text. What must hold: what is written is read as the same time.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Units in seconds, the largest first.
const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];

/// The longest: a century is meant for ever.
const MAX: u64 = 100 * 365 * 86_400;

/// A span of time in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(u64);

impl Period {
    /// So many hours.
    pub const fn hours(hours: u64) -> Self {
        Self(hours * 3600)
    }

    /// As the standard library has it.
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.0)
    }
}

/// Why a text is no span of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a whole number with `s`, `m`, `h` or `d`, as `24h`")]
pub struct PeriodError;

impl FromStr for Period {
    type Err = PeriodError;

    fn from_str(text: &str) -> Result<Self, PeriodError> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(PeriodError)?;
        let total = number.parse().ok().and_then(|number: u64| number.checked_mul(*seconds));
        total.filter(|total| *total <= MAX).map(Self).ok_or(PeriodError)
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |unit: &&(&str, u64)| self.0 >= unit.1 && self.0.is_multiple_of(unit.1);
        let (name, seconds) = UNITS.iter().find(whole).unwrap_or(&("s", 1));
        write!(f, "{}{name}", self.0 / seconds)
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// How often something happens by itself: a [`Period`], or `never`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Every(pub Option<Period>);

impl Serialize for Every {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(period) => period.serialize(serializer),
            None => serializer.serialize_str("never"),
        }
    }
}

impl<'de> Deserialize<'de> for Every {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "never" => Ok(Self(None)),
            text => text
                .parse()
                .map(|period| Self(Some(period)))
                .map_err(|error| serde::de::Error::custom(format!("{error}, or `never`"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for (text, seconds) in
            [("0s", 0), ("90s", 90), ("2m", 120), ("24h", 86_400), ("7d", 604_800)]
        {
            assert_eq!(text.parse::<Period>().unwrap().duration(), Duration::from_secs(seconds));
        }
        assert_eq!(Period::hours(24).to_string(), "1d");
        for shown in ["0s", "90s", "2m", "25h", "7d"] {
            assert_eq!(shown.parse::<Period>().unwrap().to_string(), shown);
        }
        for bad in ["", "24", "h", "-1h", "1.5h", "24 h", "24H", "99999999999999999999s", "40000d"]
        {
            assert_eq!(bad.parse::<Period>(), Err(PeriodError), "{bad}");
        }
    }
}
