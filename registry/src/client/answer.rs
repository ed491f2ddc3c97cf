//! The answers of registries: bodies within bounds, and what an answer that is no success means.

use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use reqwest::Response;
use reqwest::header::{self, HeaderMap, HeaderName};

use super::Core;
use super::error::{Fault, Used};
use super::headers::{authority, retry_after};
use super::pace::Pace;
use super::room::{Room, Taken};
use super::transport;
use crate::limits::{ANSWER_MAX, QUOTE_MAX, ROOM_LEAST};

/// A header as text.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Reads a small rest of a body, so that the connection can be used again.
pub(super) async fn drain(mut answer: Response) {
    let read = async {
        let mut got = 0;
        while let Ok(Some(chunk)) = answer.chunk().await {
            got += chunk.len();
            if got > 64 * 1024 {
                break;
            }
        }
    };
    // A server that does not finish loses its connection, nothing else.
    let _ = tokio::time::timeout(Duration::from_secs(2), read).await;
}

/// A whole body of at most `max` bytes, which may stand still for `stall`.
pub(super) async fn bounded(
    core: &Core,
    answer: Response,
    max: u64,
    stall: Duration,
) -> Result<Bytes, Fault> {
    bounded_in(None, core, answer, max, stall).await.map(|(body, _)| body)
}

/// The same, in this room: none of a large body is read before there is room for all of it.
pub(super) async fn bounded_in(
    room: Option<&Room>,
    core: &Core,
    mut answer: Response,
    max: u64,
    stall: Duration,
) -> Result<(Bytes, Taken), Fault> {
    let url = answer.url().clone();
    let expected = answer.content_length();
    if expected.is_some_and(|length| length > max) {
        return Err(Fault::TooLarge { limit: max });
    }
    let mut taken = match (room, expected) {
        (Some(room), Some(length)) => room.take(length).await,
        _ => Taken::default(),
    };
    // Of its length at once: a buffer that grows is there twice while it does.
    let length = expected.and_then(|length| usize::try_from(length).ok());
    let mut body = BytesMut::with_capacity(length.unwrap_or(0));
    let mut pace = Pace::new(stall);
    loop {
        let part = pace.chunk(&mut answer).await?.map_err(|error| match expected {
            Some(expected) => Fault::Short { expected, got: body.len() as u64 },
            None => transport::fault(&url, &error),
        })?;
        let Some(part) = part else { break };
        core.counters.received(part.len());
        if body.len() as u64 + part.len() as u64 > max {
            return Err(Fault::TooLarge { limit: max });
        }
        // Without a length it shows on the way that it is large, not how large.
        if let Some(room) = room
            && taken.is_nothing()
            && (body.len() + part.len()) as u64 > ROOM_LEAST
        {
            taken = room.take(max).await;
        }
        body.extend_from_slice(&part);
    }
    Ok((body.freeze(), taken))
}

/// The fault of an answer that is no success.
pub(super) async fn answer_fault(core: &Core, answer: Response) -> Fault {
    let status = answer.status().as_u16();
    let host = authority(answer.url());
    let wait = text(answer.headers(), &header::RETRY_AFTER)
        .and_then(|line| retry_after(line, SystemTime::now()));
    let body = bounded(core, answer, ANSWER_MAX, Duration::from_secs(5)).await.unwrap_or_default();
    let (codes, detail) = error_text(&body);
    match status {
        400 if is_of_tls(&body) => Fault::SpeaksTls { host },
        404 => Fault::NotFound { codes, detail },
        // Harbor answers so where a project is full.
        403 if is_of_quota(&detail) => Fault::Refused { status, codes, detail },
        401 | 403 => Fault::Unauthorized {
            status,
            detail,
            used: Used::Nothing(String::new()),
            host: String::new(),
        },
        408 | 429 | 500 | 502..=504 => Fault::Busy { status, detail, retry_after: wait },
        _ => Fault::Refused { status, codes, detail },
    }
}

/// Whether a server says that it was spoken to without TLS: Go's, nginx's, Apache's and this registry's words for it.
fn is_of_tls(body: &[u8]) -> bool {
    let body = String::from_utf8_lossy(&body[..body.len().min(4096)]);
    [
        "HTTP request to an HTTPS server",
        "plain HTTP request was sent to HTTPS port",
        "speaking plain HTTP to an SSL-enabled server",
        "registry speaks https on this port",
    ]
    .iter()
    .any(|words| body.contains(words))
}

/// Whether a refusal speaks of storage that is used up, not of rights.
fn is_of_quota(detail: &str) -> bool {
    let detail = detail.to_ascii_lowercase();
    ["quota", "upper limit", "storage limit"].iter().any(|words| detail.contains(words))
}

/// Codes and first message of an error body; a page of HTML says nothing.
fn error_text(body: &[u8]) -> (Vec<String>, String) {
    #[derive(serde::Deserialize, Default)]
    struct Body {
        #[serde(default)]
        errors: Vec<One>,
    }
    #[derive(serde::Deserialize)]
    struct One {
        #[serde(default)]
        code: serde_json::Value,
        #[serde(default)]
        message: serde_json::Value,
    }
    let body: Body = serde_json::from_slice(body).unwrap_or_default();
    let clean = |text: &str| -> String {
        text.chars().filter(|c| !c.is_control()).take(QUOTE_MAX).collect()
    };
    let codes: Vec<String> =
        body.errors.iter().take(8).filter_map(|one| one.code.as_str()).map(clean).collect();
    let message = body.errors.iter().find_map(|one| one.message.as_str()).map(clean);
    let detail = match (codes.first(), message) {
        (Some(code), Some(message)) if !message.is_empty() => format!("{code}: {message}"),
        (Some(code), _) => code.clone(),
        (None, message) => message.unwrap_or_default(),
    };
    (codes, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_bodies_give_codes_and_clean_text() {
        let body = br#"{"errors":[{"code":"DENIED","message":"no\u001b[31m way"}]}"#;
        let (codes, detail) = error_text(body);
        assert_eq!((codes, &*detail), (vec!["DENIED".to_owned()], "DENIED: no[31m way"));
        for odd in ["<html>", "", "{}", r#"{"errors":[{"code":7}]}"#, r#"{"errors":"x"}"#] {
            assert_eq!(error_text(odd.as_bytes()), (vec![], String::new()), "{odd}");
        }
    }
}
