//! Listings: tags and referrers, page by page.
//!
//! In: a repository or a digest. Out: all entries, or an error; never a part that looks whole. What must
//! hold: pages, entries and bytes are bounded, and the next page is on the same origin.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use format_spec::{Digest, Repository, Tag};
use reqwest::Method;
use reqwest::header::{ACCEPT, HeaderValue, LINK};
use serde::Deserialize;
use url::Url;

use super::error::{Failed, Fault};
use super::headers::next_page;
use super::session::Session;
use super::token::Scopes;
use super::{Client, ClientError, Core, ErrorKind};
use crate::limits::{PAGE_MAX, PAGES_MAX, REFERRERS_MAX, TAGS_MAX};
use crate::manifest::{Descriptor, Manifest};
use crate::media_type::OCI_INDEX;
use crate::reference::RegistryHost;

/// How long and how large the answer may be to a question that others can be asked instead of.
const FEW_WITHIN: Duration = Duration::from_secs(10);
const FEW_BYTES: u64 = 256 * 1024;

const API_THERE: u8 = 1;
const API_MISSING: u8 = 2;

impl Client {
    /// All tags of a repository, in the registry's order; `None` when there is no such repository.
    /// Tags outside the grammar are left out. Mirrors are not asked: theirs may be a part.
    pub async fn list_tags(
        &self,
        host: &RegistryHost,
        repository: &Repository,
    ) -> Result<Option<Vec<Tag>>, ClientError> {
        let core = &*self.core;
        let run = async {
            // `insecure` and `blocked` entries hold here too: the last place is the registry itself.
            let place = core.places(host, repository, false)?.pop();
            let place = place.ok_or_else(|| Fault::Protocol("no place to pull from".into()))?;
            let session = core.session(&place.registry, place.insecure).await?;
            tags(core, &session, &place.repository).await
        };
        match run.await {
            Ok(tags) => Ok(Some(tags)),
            Err(failed) if failed.fault.kind() == ErrorKind::NotFound => Ok(None),
            Err(failed) => {
                Err(ClientError::new("list tags of", format!("{host}/{repository}"), failed))
            }
        }
    }

    /// All tags of a repository, where one short answer holds them. `None` where it does not, where it cannot be had
    /// at once, and where `registries.conf` lets another registry stand in for this one: its list may be a part.
    pub async fn list_few_tags(
        &self,
        host: &RegistryHost,
        repository: &Repository,
    ) -> Option<Vec<Tag>> {
        let core = &*self.core;
        let run = async {
            let [place] = &core.places(host, repository, false)?[..] else { return Ok(None) };
            if (&place.registry, &place.repository) != (host, repository) {
                return Ok(None);
            }
            let session = core.session(&place.registry, place.insecure).await?;
            let url = session.url(&format!("{repository}/tags/list?n=1000"))?;
            let asked = page(core, &session, repository, url, "application/json", FEW_BYTES);
            let (body, next) = asked.await?;
            let mut list = Vec::new();
            read_tags(&body, &mut list)?;
            Ok::<_, Failed>(next.is_none().then_some(list))
        };
        match tokio::time::timeout(FEW_WITHIN, run).await {
            Ok(Ok(list)) => list,
            Ok(Err(failed)) => {
                tracing::debug!(%host, %repository, error = %failed.fault, "no list of tags");
                None
            }
            Err(_) => None,
        }
    }

    /// The manifests that refer to this one, at most [`REFERRERS_MAX`]. `None` where the registry has
    /// no referrers API: there the index under the tag `sha256-<hex>` names them (distribution
    /// specification 1.1, "Unavailable Referrers API").
    pub async fn referrers(
        &self,
        host: &RegistryHost,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<Vec<Descriptor>>, ClientError> {
        let core = &*self.core;
        let run = async {
            let places = core.places(host, repository, true)?;
            core.at_places(&format!("{host}/{repository}"), places, |session, repository| {
                let digest = *digest;
                Box::pin(async move { referrers(core, &session, &repository, &digest).await })
            })
            .await
        };
        run.await.map_err(|failed| {
            ClientError::new("list referrers of", format!("{host}/{repository}@{digest}"), failed)
        })
    }
}

/// One page of a listing, and where the next one is.
async fn page(
    core: &Core,
    session: &Session,
    repository: &Repository,
    url: Url,
    accept: &'static str,
    max: u64,
) -> Result<(Bytes, Option<Url>), Failed> {
    let scopes = Scopes::pull(repository);
    let mut request = session.request(core, Method::GET, url.clone(), &scopes);
    request.headers.insert(ACCEPT, HeaderValue::from_static(accept));
    let (headers, body, _) = session.fetch(core, &request, max).await?;
    let mut next = None;
    for line in headers.get_all(LINK) {
        if let Ok(line) = line.to_str()
            && let Some(found) = next_page(&url, line)?
        {
            next = Some(found);
        }
    }
    Ok((body, next))
}

/// Fetches page after page; `take` reads one.
async fn pages(
    core: &Core,
    session: &Session,
    repository: &Repository,
    first: Url,
    accept: &'static str,
    mut take: impl FnMut(Bytes) -> Result<(), Fault>,
) -> Result<(), Failed> {
    let mut seen = HashSet::new();
    let mut url = first;
    for _ in 0..PAGES_MAX {
        if !seen.insert(url.clone()) {
            return Err(Fault::Protocol("the pages of the listing go in a circle".into()).into());
        }
        let (body, next) = page(core, session, repository, url, accept, PAGE_MAX).await?;
        take(body)?;
        match next {
            Some(next) => url = next,
            None => return Ok(()),
        }
    }
    Err(Fault::Protocol(format!("the listing has more than {PAGES_MAX} pages")).into())
}

async fn tags(core: &Core, session: &Session, repository: &Repository) -> Result<Vec<Tag>, Failed> {
    let mut list = Vec::new();
    let first = session.url(&format!("{repository}/tags/list?n=1000"))?;
    pages(core, session, repository, first, "application/json", |body| read_tags(&body, &mut list))
        .await?;
    // Pages may overlap when tags move meanwhile.
    let mut seen = HashSet::new();
    list.retain(|tag: &Tag| seen.insert(tag.clone()));
    Ok(list)
}

/// Adds the tags of one page.
fn read_tags(body: &[u8], list: &mut Vec<Tag>) -> Result<(), Fault> {
    #[derive(Deserialize)]
    struct Page {
        #[serde(default)]
        tags: Option<Vec<String>>,
    }
    let page: Page = serde_json::from_slice(body)
        .map_err(|_| Fault::Protocol("the list of tags is not the expected JSON".into()))?;
    for tag in page.tags.unwrap_or_default() {
        match tag.parse() {
            Ok(tag) => list.push(tag),
            Err(error) => tracing::debug!(%error, "tag left out"),
        }
    }
    if list.len() > TAGS_MAX {
        return Err(Fault::Protocol(format!("the repository has more than {TAGS_MAX} tags")));
    }
    Ok(())
}

async fn referrers(
    core: &Core,
    session: &Session,
    repository: &Repository,
    digest: &Digest,
) -> Result<Option<Vec<Descriptor>>, Failed> {
    if session.referrers_api.load(Ordering::Relaxed) == API_MISSING {
        return Ok(None);
    }
    match by_api(core, session, repository, digest).await {
        Ok(list) => {
            session.referrers_api.store(API_THERE, Ordering::Relaxed);
            Ok(Some(list))
        }
        Err(failed) => {
            let fault = &failed.fault;
            // A redirect is no word about the API: a login page is one, and what is attached would stay behind.
            let answered = match fault {
                Fault::NotFound { .. } => true,
                Fault::Refused { status, .. } => *status >= 400,
                _ => false,
            };
            let known = session.referrers_api.load(Ordering::Relaxed) == API_THERE;
            if !answered {
                return Err(failed);
            }
            // An unknown repository or manifest is also 404 where the API is there.
            let about_name = fault.codes().iter().any(|code| code.ends_with("_UNKNOWN"));
            if !known && !about_name {
                session.referrers_api.store(API_MISSING, Ordering::Relaxed);
            }
            Ok(None)
        }
    }
}

async fn by_api(
    core: &Core,
    session: &Session,
    repository: &Repository,
    digest: &Digest,
) -> Result<Vec<Descriptor>, Failed> {
    let mut list = Vec::new();
    let first = session.url(&format!("{repository}/referrers/{digest}"))?;
    pages(core, session, repository, first, OCI_INDEX, |body| add(&body, &mut list)).await?;
    Ok(list)
}

fn add(body: &[u8], list: &mut Vec<Descriptor>) -> Result<(), Fault> {
    let page = Manifest::parse(body, Some(OCI_INDEX))
        .map_err(|error| Fault::Protocol(format!("the list of referrers: {error}")))?;
    list.extend_from_slice(page.children());
    if list.len() > REFERRERS_MAX {
        return Err(Fault::Protocol(format!("more than {REFERRERS_MAX} referrers")));
    }
    Ok(())
}
