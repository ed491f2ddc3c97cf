//! How the registry is, for a person.
//!
//! In: what `/readyz` and the control socket say. Out: the same in words. What must hold: no paths.

use maud::html;

use super::frame::facts;
use super::limits::COUNTED;
use super::{Drawn, View, show};
use crate::server::health;

pub(super) fn draw(view: &View) -> Drawn {
    let status = health::status(&view.app);
    let reasons = health::reasons(&view.app);
    let (blobs, repositories) = view.store().counts(COUNTED)?;
    let counted = |count: Option<usize>| match count {
        Some(count) => count.to_string(),
        None => format!("more than {COUNTED}"),
    };
    let mut pairs = vec![
        ("Version", html! { (status.version) }),
        ("Running for", html! { (show::duration(status.uptime)) }),
        ("Repositories", html! { (counted(repositories)) }),
        ("Blobs", html! { (counted(blobs)) }),
        ("Unfinished uploads", html! { (status.uploads) }),
        ("Changes", html! { (if status.read_only { "refused: read-only" } else { "taken" }) }),
    ];
    if let Some(last) = status.last_collection {
        pairs.push((
            "Garbage collected",
            html! { (show::time(jiff::Timestamp::from_second(last.time).ok())) " " small { (show::size(last.freed)) " freed" } },
        ));
    }
    if let Some(days) = status.certificate_days {
        pairs.push((
            "Certificate",
            html! {
                @if days < 0 { "has ended" } @else { (show::count(usize::try_from(days).unwrap_or(0), "day left", "days left")) }
            },
        ));
    }
    let space = status.free_bytes.zip(status.total_bytes).filter(|(_, total)| *total > 0);
    if let Some((free, total)) = space {
        pairs.push((
            "Free space",
            html! { (show::bytes(free)) " " small { "of " (show::size(total)) } },
        ));
    }
    if let Some(quota) = status.quota_bytes {
        pairs.push((
            "Quota",
            html! {
                (show::bytes(quota)) " "
                small {
                    @match status.used_bytes {
                        Some(used) => { (show::size(used)) " used" }
                        None => { "what is stored is being counted" }
                    }
                }
            },
        ));
    }
    Ok(Some((
        "Health".to_owned(),
        html! {
            h1 { "Health" }
            @if reasons.is_empty() {
                div.note.good role="status" { p { strong { "Ready." } " Everything is as it should be." } }
            } @else {
                div.note.bad role="alert" {
                    p { strong { "Not ready." } }
                    @for reason in &reasons { p { (reason) } }
                }
            }
            (facts(&pairs))
            @if let Some((free, total)) = space {
                @let used = (u128::from(total - free.min(total)) * 1000 / u128::from(total)).to_string();
                h2 { "Space" }
                div.meter aria-hidden="true" {
                    svg viewBox="0 0 1000 10" preserveAspectRatio="none" {
                        rect width=(used) height="10" {}
                    }
                }
                p.soft { (show::size(total - free.min(total))) " used, " (show::size(free)) " free on the file system of the data" }
            }
            h2 { "For programs" }
            p {
                a href="/readyz" { code { "/readyz" } } " says the same in JSON, "
                a href="/healthz" { code { "/healthz" } } " that the process answers, "
                a href="/metrics" { code { "/metrics" } } " has counters for Prometheus."
            }
        },
    )))
}
