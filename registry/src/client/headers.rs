//! Headers of the distribution protocol: `Link`, `Range`, `Content-Range`, `Location`, `Retry-After`,
//! `Content-Length`.
//!
//! In: header text from a registry that may lie. Out: typed values, or nothing. What must hold: a
//! `Location` or `Link` never leads to another origin (CVE-2026-50151, CVE-2026-49349).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::header::{CONTENT_LENGTH, HeaderMap};
use url::Url;

use super::error::Fault;
use crate::limits::RETRY_AFTER_MAX;

/// Whether two URLs have the same scheme, host and port.
pub(super) fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme()
        && a.host_str() == b.host_str()
        && a.port_or_known_default() == b.port_or_known_default()
}

/// `host[:port]` of a URL, for messages and as a key.
pub(super) fn authority(url: &Url) -> String {
    match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => String::new(),
    }
}

/// `Content-Length` as a number; the answer to HEAD has it without a body.
pub(super) fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The URL that a `Location` of an upload names; it must be the registry's own.
pub(super) fn upload_location(request: &Url, location: &str) -> Result<Url, Fault> {
    let mut url = request
        .join(location)
        .map_err(|_| Fault::Protocol("the upload's `Location` is not a URL".into()))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Fault::Protocol("the upload's `Location` carries a user name".into()));
    }
    url.set_fragment(None);
    if same_origin(request, &url) {
        return Ok(url);
    }
    // A registry behind a proxy that ends TLS may not know that it is spoken to over TLS. The bytes
    // still go to our own origin, so nothing is lost.
    if request.scheme() == "https"
        && url.scheme() == "http"
        && request.host_str() == url.host_str()
        && request.port() == url.port()
    {
        tracing::debug!(
            host = authority(request),
            "the upload's location says http, staying with https"
        );
        let mut own = request.clone();
        own.set_path(url.path());
        own.set_query(url.query());
        return Ok(own);
    }
    Err(Fault::Protocol(format!(
        "the upload's `Location` leads to another origin, `{}://{}`",
        url.scheme(),
        authority(&url)
    )))
}

/// The next page of a listing: the target of `rel="next"`, on the same origin.
pub(super) fn next_page(request: &Url, link: &str) -> Result<Option<Url>, Fault> {
    let mut rest = link;
    while let Some(open) = rest.find('<') {
        let Some(close) = rest[open..].find('>') else { break };
        let target = &rest[open + 1..open + close];
        let after = &rest[open + close + 1..];
        let end = after.find('<').unwrap_or(after.len());
        let next = after[..end].split([';', ',']).any(|parameter| {
            parameter.split_once('=').is_some_and(|(name, value)| {
                name.trim().eq_ignore_ascii_case("rel")
                    && value
                        .trim()
                        .trim_matches('"')
                        .split_ascii_whitespace()
                        .any(|rel| rel.eq_ignore_ascii_case("next"))
            })
        });
        if next {
            let url = request
                .join(target)
                .map_err(|_| Fault::Protocol("the `Link` of the next page is not a URL".into()))?;
            let proxied = request.scheme() == "https"
                && url.scheme() == "http"
                && authority(request) == authority(&url);
            if same_origin(request, &url) {
                return Ok(Some(url));
            }
            if proxied {
                let mut own = request.clone();
                own.set_path(url.path());
                own.set_query(url.query());
                return Ok(Some(own));
            }
            return Err(Fault::Protocol(format!(
                "the `Link` of the next page leads to another origin, `{}`",
                authority(&url)
            )));
        }
        rest = &after[end..];
    }
    Ok(None)
}

/// Bytes that an upload has, from its `Range: 0-N` (inclusive; some write `bytes=0-N`). Absent means
/// none; anything else is not understood.
pub(super) fn upload_offset(range: Option<&str>) -> Option<u64> {
    let Some(range) = range else { return Some(0) };
    let range = range.trim();
    let range = range.strip_prefix("bytes=").or(range.strip_prefix("bytes ")).unwrap_or(range);
    let (first, last) = range.split_once('-')?;
    if number(first)? != 0 {
        return None;
    }
    // `0--1` is how some servers write nothing; `0-0` is one byte by the rule, but distribution
    // answers it for an empty upload too, so the caller treats it as nothing.
    if last == "-1" {
        return Some(0);
    }
    number(last)?.checked_add(1)
}

/// First byte and total of `Content-Range: bytes a-b/total`.
pub(super) fn content_range(header: &str) -> Option<(u64, u64, Option<u64>)> {
    let body = header.trim().strip_prefix("bytes ")?;
    let (span, total) = body.split_once('/')?;
    let (first, last) = span.trim().split_once('-')?;
    let (first, last) = (number(first)?, number(last)?);
    let total = match total.trim() {
        "*" => None,
        total => Some(number(total)?),
    };
    (first <= last && total.is_none_or(|total| last < total)).then_some((first, last, total))
}

fn number(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|c| c.is_ascii_digit())).then(|| text.parse().ok())?
}

/// The wait that a `Retry-After` asks for: seconds or an HTTP date, capped.
pub(super) fn retry_after(header: &str, now: SystemTime) -> Option<Duration> {
    let header = header.trim();
    let wait = match number(header) {
        Some(seconds) => Duration::from_secs(seconds),
        None => {
            let date = jiff::fmt::rfc2822::parse(header).ok()?;
            let at = u64::try_from(date.timestamp().as_second()).ok()?;
            let now = now.duration_since(UNIX_EPOCH).ok()?.as_secs();
            Duration::from_secs(at.saturating_sub(now))
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn base() -> Url {
        "https://reg.example.com/v2/a/blobs/uploads/".parse().unwrap()
    }

    #[test]
    fn upload_locations_stay_at_home() {
        for (location, expected) in [
            (
                "/v2/a/blobs/uploads/1?_state=x",
                "https://reg.example.com/v2/a/blobs/uploads/1?_state=x",
            ),
            ("1", "https://reg.example.com/v2/a/blobs/uploads/1"),
            ("https://reg.example.com:443/u", "https://reg.example.com/u"),
            ("http://reg.example.com/u?q=1", "https://reg.example.com/u?q=1"),
        ] {
            assert_eq!(upload_location(&base(), location).unwrap().as_str(), expected);
        }
        for location in [
            "https://evil.example.com/u",
            "//evil.example.com/u",
            "https://reg.example.com:444/u",
            "http://reg.example.com:80x/u",
            "http://reg.example.com:8080/u",
            "ftp://reg.example.com/u",
            "https://u:p@reg.example.com/u",
        ] {
            assert!(upload_location(&base(), location).is_err(), "{location}");
        }
        let plain: Url = "http://reg.lan:5000/v2/".parse().unwrap();
        assert!(upload_location(&plain, "https://reg.lan:5000/u").is_err());
    }

    #[test]
    fn links_name_the_next_page() {
        let next = |link: &str| next_page(&base(), link).map(|url| url.map(String::from));
        let expected = Some("https://reg.example.com/v2/a/tags/list?last=b&n=2".to_owned());
        for link in [
            r#"</v2/a/tags/list?last=b&n=2>; rel="next""#,
            r#"<https://x.example.com/>; rel="prev", </v2/a/tags/list?last=b&n=2>; rel=next"#,
            r#"</v2/a/tags/list?last=b&n=2>;title="x";REL="first next""#,
            r#"<http://reg.example.com/v2/a/tags/list?last=b&n=2>; rel="next""#,
        ] {
            assert_eq!(next(link).unwrap(), expected, "{link}");
        }
        assert_eq!(next(r#"</x>; rel="prev""#).unwrap(), None);
        assert_eq!(next("nonsense").unwrap(), None);
        assert!(next(r#"<https://evil.example.com/x>; rel="next""#).is_err());
    }

    #[test]
    fn ranges_are_inclusive() {
        for (range, expected) in [
            (None, Some(0)),
            (Some("0-0"), Some(1)),
            (Some("0-1023"), Some(1024)),
            (Some("bytes=0-9"), Some(10)),
            (Some("0--1"), Some(0)),
            (Some("1-5"), None),
            (Some("0-"), None),
            (Some("x"), None),
            (Some("0-18446744073709551615"), None),
        ] {
            assert_eq!(upload_offset(range), expected, "{range:?}");
        }
        assert_eq!(content_range("bytes 5-9/10"), Some((5, 9, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, 9, None)));
        for bad in ["bytes 9-5/10", "bytes 5-10/10", "bytes */10", "5-9/10", "bytes +5-9/10"] {
            assert_eq!(content_range(bad), None, "{bad}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_capped() {
        let now = UNIX_EPOCH + Duration::from_secs(1_445_412_480);
        assert_eq!(retry_after("7", now), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("99999999", now), Some(RETRY_AFTER_MAX));
        let date = "Wed, 21 Oct 2015 07:28:30 GMT";
        assert_eq!(retry_after(date, now), Some(Duration::from_secs(30)));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
    }

    proptest! {
        #[test]
        fn nothing_panics_and_nothing_leaves(text in "\\PC{0,80}") {
            if let Ok(url) = upload_location(&base(), &text) {
                prop_assert!(same_origin(&base(), &url));
            }
            if let Ok(Some(url)) = next_page(&base(), &text) {
                prop_assert!(same_origin(&base(), &url));
            }
            let _ = (upload_offset(Some(&text)), content_range(&text));
            let _ = retry_after(&text, UNIX_EPOCH);
        }
    }
}
