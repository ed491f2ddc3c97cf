//! Tags, repositories and referrers as lists.
//!
//! In: `n`, `last` and filters. Out: one page of JSON and a `Link` to the next. What must hold: a page
//! is bounded whatever `n` says (CVE-2023-2253).

use std::sync::Arc;

use format_spec::Repository;
use http::header::LINK;
use http::request::Parts;
use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::App;
use super::access::Caller;
use super::answer::{Answer, Fault, field};
use super::limits::{PAGE_MAX, REFERRERS_PAGE};
use super::route::Query;
use crate::content::ContentDigest;
use crate::media_type::OCI_INDEX;
use crate::store::Referrer;

/// GET of the tags of a repository.
pub(super) async fn tags(
    app: &Arc<App>,
    parts: &Parts,
    repository: Repository,
) -> Result<Answer, Fault> {
    let (last, limit) = page(parts)?;
    let page = app.store.tags(repository.clone(), last, limit).await?.ok_or_else(|| {
        Fault::new(StatusCode::NOT_FOUND, "NAME_UNKNOWN", "the repository is unknown")
    })?;
    let next = page.entries.last().filter(|_| page.more).cloned();
    let body = json!({ "name": repository.as_str(), "tags": page.entries });
    let answer = Answer::json(StatusCode::OK, "application/json", &body);
    Ok(link(answer, &format!("/v2/{repository}/tags/list"), limit, next))
}

/// GET of the repositories that the caller may pull from.
pub(super) async fn catalog(
    app: &Arc<App>,
    parts: &Parts,
    caller: Caller,
) -> Result<Answer, Fault> {
    let (last, limit) = page(parts)?;
    let visible = move |name: &str| caller.sees(name);
    let page = app.store.visible_repositories(last, limit, visible).await?;
    let next = page.entries.last().filter(|_| page.more).cloned();
    let body = json!({ "repositories": page.entries });
    let answer = Answer::json(StatusCode::OK, "application/json", &body);
    Ok(link(answer, "/v2/_catalog", limit, next))
}

/// GET of the manifests that refer to one. One that is unknown has none.
pub(super) async fn referrers(
    app: &Arc<App>,
    parts: &Parts,
    repository: Repository,
    subject: ContentDigest,
) -> Result<Answer, Fault> {
    only_get(parts)?;
    let query = Query::new(parts.uri.query());
    let kind = query.get("artifactType").filter(|kind| !kind.is_empty());
    let last = query.get("last").map(|last| last.parse()).transpose().map_err(
        |error: crate::content::ContentDigestError| Fault::bad_digest(error.to_string()),
    )?;
    let (name, wanted) = (repository.clone(), kind.clone());
    let page = app.store.referrers(name, subject, wanted, last, REFERRERS_PAGE).await?;
    let body = json!({
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": page.entries.iter().map(descriptor).collect::<Vec<_>>(),
    });
    let mut answer = Answer::json(StatusCode::OK, OCI_INDEX, &body);
    if kind.is_some() {
        answer = answer.header(field::FILTERS, "artifactType");
    }
    if let Some(last) = &page.next {
        let mut next = url::form_urlencoded::Serializer::new(String::new());
        if let Some(kind) = &kind {
            next.append_pair("artifactType", kind);
        }
        next.append_pair("last", &last.to_string());
        let next = next.finish();
        let path = format!("</v2/{repository}/referrers/{subject}?{next}>; rel=\"next\"");
        answer = answer.header(LINK, path);
    }
    Ok(answer)
}

fn descriptor(referrer: &Referrer) -> Value {
    let mut map = Map::new();
    map.insert("mediaType".into(), json!(referrer.media_type));
    map.insert("digest".into(), json!(referrer.digest.to_string()));
    map.insert("size".into(), json!(referrer.size));
    if let Some(kind) = &referrer.artifact_type {
        map.insert("artifactType".into(), json!(kind));
    }
    if !referrer.annotations.is_empty() {
        map.insert("annotations".into(), json!(referrer.annotations));
    }
    Value::Object(map)
}

fn only_get(parts: &Parts) -> Result<(), Fault> {
    match parts.method {
        Method::GET | Method::HEAD => Ok(()),
        _ => Err(Fault::unsupported("lists have GET only")),
    }
}

/// Where the page begins and how long it may be.
fn page(parts: &Parts) -> Result<(String, usize), Fault> {
    only_get(parts)?;
    let query = Query::new(parts.uri.query());
    let limit = match query.get("n") {
        None => PAGE_MAX,
        Some(n) if n.is_empty() || !n.bytes().all(|c| c.is_ascii_digit()) => {
            let text = "`n` is not a number";
            return Err(Fault::new(StatusCode::BAD_REQUEST, "UNSUPPORTED", text));
        }
        // All digits: what does not fit is larger than the limit.
        Some(n) => n.parse().unwrap_or(PAGE_MAX).min(PAGE_MAX),
    };
    Ok((query.get("last").unwrap_or_default(), limit))
}

fn link(answer: Answer, path: &str, limit: usize, next: Option<String>) -> Answer {
    let Some(last) = next else { return answer };
    let query = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("n", &limit.to_string())
        .append_pair("last", &last)
        .finish();
    answer.header(LINK, format!("<{path}?{query}>; rel=\"next\""))
}
