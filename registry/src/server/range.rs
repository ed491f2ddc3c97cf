//! The `Range` of a download and the `Content-Range` of an upload's chunk.
//!
//! In: header text. Out: positions that fit the blob. Grammar: RFC 9110 section 14; chunks: OCI
//! distribution specification, "Pushing a blob in chunks" (`<start>-<end>`, inclusive).

/// What part of a blob is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// All of it.
    All,
    /// `length` bytes from `start`; at least one.
    Part {
        /// The first byte.
        start: u64,
        /// How many.
        length: u64,
    },
    /// Nothing that is there.
    Unsatisfiable,
}

/// Reads a `Range` for a blob of `size` bytes. Several ranges, other units and malformed text count as
/// no range (RFC 9110 allows to ignore them); a reversed one is refused, as the conformance suite wants.
pub fn wanted(range: Option<&str>, size: u64) -> Wanted {
    let Some((first, last)) = range
        .and_then(|range| range.trim().strip_prefix("bytes="))
        .and_then(|spec| spec.trim().split_once('-'))
    else {
        return Wanted::All;
    };
    match (number(first), number(last)) {
        (Some(start), _) if start >= size && (last.is_empty() || number(last).is_some()) => {
            Wanted::Unsatisfiable
        }
        (Some(start), None) if last.is_empty() => Wanted::Part { start, length: size - start },
        (Some(start), Some(last)) if last < start => Wanted::Unsatisfiable,
        (Some(start), Some(last)) => Wanted::Part { start, length: last.min(size - 1) - start + 1 },
        (None, Some(0)) if first.is_empty() => Wanted::Unsatisfiable,
        (None, Some(_)) if first.is_empty() && size == 0 => Wanted::Unsatisfiable,
        (None, Some(suffix)) if first.is_empty() => {
            let length = suffix.min(size);
            Wanted::Part { start: size - length, length }
        }
        _ => Wanted::All,
    }
}

/// Reads the `Content-Range` of a chunk: first position and number of bytes. `None` when malformed.
pub fn chunk(range: &str) -> Option<(u64, u64)> {
    let range = range.trim();
    // Some clients write the form of RFC 9110, `bytes 0-9/*`.
    let range = range.strip_prefix("bytes ").or(range.strip_prefix("bytes=")).unwrap_or(range);
    let range = range.split_once('/').map_or(range, |(range, _)| range);
    let (first, last) = range.split_once('-')?;
    let (first, last) = (number(first)?, number(last)?);
    Some((first, last.checked_sub(first)?.checked_add(1)?))
}

fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_range() {
        let part = |start, length| Wanted::Part { start, length };
        for (text, expected) in [
            ("bytes=500-1499", part(500, 1000)),
            ("bytes=500-", part(500, 1548)),
            ("bytes=-500", part(1548, 500)),
            ("bytes=2000-5000", part(2000, 48)),
            ("bytes=500-0", Wanted::Unsatisfiable),
            ("bytes=5000-10000", Wanted::Unsatisfiable),
            ("bytes=2048-", Wanted::Unsatisfiable),
            ("bytes=2047-", part(2047, 1)),
            ("bytes=0-0", part(0, 1)),
            ("bytes=-0", Wanted::Unsatisfiable),
            ("bytes=-9999", part(0, 2048)),
            ("bytes=0-99999999999999999999999", part(0, 2048)),
            ("bytes=99999999999999999999999-", Wanted::Unsatisfiable),
            ("bytes=0-1,5-6", Wanted::All),
            ("bytes=a-b", Wanted::All),
            ("bytes=-", Wanted::All),
            ("bytes=+1-2", Wanted::All),
            ("items=0-1", Wanted::All),
            ("", Wanted::All),
        ] {
            assert_eq!(wanted(Some(text), 2048), expected, "{text}");
        }
        assert_eq!(wanted(None, 2048), Wanted::All);
        assert_eq!(wanted(Some("bytes=0-"), 0), Wanted::Unsatisfiable);
        assert_eq!(wanted(Some("bytes=-1"), 0), Wanted::Unsatisfiable);
    }

    #[test]
    fn chunks_are_inclusive() {
        assert_eq!(chunk("0-0"), Some((0, 1)));
        assert_eq!(chunk("10-19"), Some((10, 10)));
        assert_eq!(chunk("bytes 10-19/*"), Some((10, 10)));
        for bad in ["", "-", "5", "5-4", "a-b", "0-18446744073709551615", "-1-2"] {
            assert_eq!(chunk(bad), None, "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_part_lies_inside(text in "bytes=[0-9]{0,3}-[0-9]{0,3}", size in 0_u64..500) {
            if let Wanted::Part { start, length } = wanted(Some(&text), size) {
                assert!(length > 0 && start + length <= size);
            }
            let _ = chunk(&text);
        }
    }
}
