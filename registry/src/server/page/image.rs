//! An image: what is pulled for it, how it runs, what is attached to it.
//!
//! In: a repository and a tag or digest. Out: layers or platforms, configuration, signatures, commands to copy. What
//! must hold: lists are cut at a fixed length and say so.

use format_spec::{Repository, Tag};
use maud::{Markup, html};

use super::attached;
use super::frame::{Column, column, cut, facts, named_values, table};
use super::limits::{ROWS, VALUE};
use super::look::{Config, Look, Seen, Summary, is_attestation, layers, platform, pulled};
use super::{Drawn, StoreError, View, show};
use crate::content::ContentDigest;
use crate::manifest::{ImageManifest, IndexManifest, Manifest};

/// What an image is asked for by.
pub(super) enum Reference {
    Tag(Tag),
    Digest(ContentDigest),
}

pub(super) fn draw(view: &View, repository: &Repository, reference: &Reference) -> Drawn {
    if !view.sees(repository.as_str()) {
        return Ok(None);
    }
    let mut look = Look::new(view.store(), repository);
    let (name, digest) = match reference {
        Reference::Digest(digest) => (format!("{repository}@{}", show::short(digest)), *digest),
        Reference::Tag(tag) => match view.store().resolve_tag(repository, tag)? {
            Some(digest) => (format!("{repository}:{tag}"), digest),
            None => return Ok(None),
        },
    };
    let Some(seen) = look.manifest(&digest)? else { return Ok(None) };
    let summary = look.summarize(&seen)?;
    let body = match &seen.manifest {
        Manifest::Image(image) => image_parts(&mut look, repository, image)?,
        Manifest::Index(index) => index_parts(&mut look, repository, index)?,
    };
    let whole = match reference {
        Reference::Tag(tag) => format!("{repository}:{tag}"),
        Reference::Digest(digest) => format!("{repository}@{digest}"),
    };
    let content = html! {
        nav aria-label="Path" {
            ol.path {
                li { a href="/" { "Repositories" } }
                li { a href=(show::repository_at(repository)) { (repository) } }
            }
        }
        h1 { code { (name) } }
        span.whole { (digest) }
        (about(&seen, &summary))
        h2 { "Pull it" }
        (commands(view, &whole, repository, &digest))
        (body)
        (attached_to(view, repository, &digest)?)
        (annotations(&seen.manifest))
    };
    Ok(Some((name, content)))
}

fn about(seen: &Seen, summary: &Summary) -> Markup {
    let children = seen.manifest.children().len();
    facts(&[
        (
            "Kind",
            html! { span title=(seen.media_type) { (show::clip(show::media(&seen.media_type), 60)) } },
        ),
        (
            if children > 0 { "Size, all platforms" } else { "Size" },
            html! { @match summary.bytes { Some(n) => (show::bytes(n)), None => { "too large to add up here" } } },
        ),
        (
            if summary.platforms.len() > 1 { "Platforms" } else { "Platform" },
            html! {
                @match summary.platforms.as_slice() {
                    [] => { "–" }
                    [one] => (one),
                    many => (show::count(many.len(), "platform", "platforms")),
                }
            },
        ),
        ("Created", show::time(summary.created)),
    ])
}

fn commands(view: &View, whole: &str, repository: &Repository, digest: &ContentDigest) -> Markup {
    let host = &view.host;
    // Without TLS each of them has to be told.
    let (podman, skopeo, oc) = match view.plain {
        true => ("--tls-verify=false ", "--src-tls-verify=false ", "--insecure "),
        false => ("", "", ""),
    };
    let file = repository.as_str().rsplit('/').next().unwrap_or("image");
    let commands = [
        ("podman", format!("podman pull {podman}{host}/{whole}")),
        ("skopeo", format!("skopeo copy {skopeo}docker://{host}/{whole} oci-archive:{file}.tar")),
        ("oc", format!("oc image info {oc}{host}/{repository}@{digest}")),
    ];
    html! {
        ul.commands {
            @for (tool, command) in commands { li { span { (tool) } code { (command) } } }
        }
    }
}

fn image_parts(
    look: &mut Look<'_>,
    repository: &Repository,
    image: &ImageManifest<ContentDigest>,
) -> Result<Markup, StoreError> {
    let config = look.config(image)?.unwrap_or_default();
    const COLUMNS: [Column; 5] = [
        Column { name: "#", class: "number" },
        column("Digest"),
        Column { name: "Size", class: "number" },
        column("Form"),
        Column { name: "Made by", class: "free" },
    ];
    let mut history = config.history.iter();
    let mut rows = Vec::new();
    for (number, layer) in image.layers.iter().take(ROWS).enumerate() {
        let here = look.store.shown_blob(repository, &layer.digest)?.is_some();
        rows.push(vec![
            html! { (number + 1) },
            show::digest(&layer.digest),
            show::bytes(layer.size),
            html! {
                span title=(layer.media_type) { (show::clip(show::media(&layer.media_type), 60)) }
                @if !here { " " span.badge.warn { "not here" } }
            },
            html! {
                @match history.next().filter(|step| !step.is_empty()) {
                    Some(step) => { code title=(show::clip(step, VALUE)) { (show::clip(step, 90)) } }
                    None => { span.soft { "–" } }
                }
            },
        ]);
    }
    Ok(html! {
        h2 { "Layers" small { (image.layers.len()) ", " (show::size(layers(image))) } }
        (table("Layers, the lowest first", &COLUMNS, &rows))
        (cut(image.layers.len()))
        (configuration(&config))
    })
}

fn configuration(config: &Config) -> Markup {
    let joined = |words: &[String]| show::clip(&serde_json::json!(words).to_string(), VALUE);
    let lists = [("Entrypoint", &config.entrypoint), ("Command", &config.command)];
    let texts = [("User", &config.user), ("Directory", &config.directory)];
    let more = [("Ports", &config.ports), ("Volumes", &config.volumes)];
    let none = lists.iter().chain(&more).all(|(_, list)| list.is_empty())
        && texts.iter().all(|(_, text)| text.is_empty());
    html! {
        @if !none {
            h2 { "Configuration" }
            dl.pairs {
                @for (name, list) in lists {
                    @if !list.is_empty() { dt { (name) } dd { code { (joined(list)) } } }
                }
                @for (name, text) in texts {
                    @if !text.is_empty() { dt { (name) } dd { code { (show::clip(text, VALUE)) } } }
                }
                @for (name, list) in more {
                    @if !list.is_empty() { dt { (name) } dd { code { (show::clip(&list.join(" "), VALUE)) } } }
                }
            }
        }
        @if !config.environment.is_empty() {
            h2 { "Environment" small { (config.environment.len()) } }
            dl.pairs {
                @for line in config.environment.iter().take(ROWS) {
                    @let (name, value) = line.split_once('=').unwrap_or((line, ""));
                    dt { code { (show::clip(name, VALUE)) } }
                    dd { code { (show::clip(value, VALUE)) } }
                }
            }
            (cut(config.environment.len()))
        }
        (named_values("Labels", config.labels.iter()))
    }
}

fn annotations(manifest: &Manifest<ContentDigest>) -> Markup {
    let annotations = match manifest {
        Manifest::Image(image) => &image.annotations,
        Manifest::Index(index) => &index.annotations,
    };
    named_values("Annotations", annotations.iter())
}

fn index_parts(
    look: &mut Look<'_>,
    repository: &Repository,
    index: &IndexManifest<ContentDigest>,
) -> Result<Markup, StoreError> {
    const COLUMNS: [Column; 4] = [
        Column { name: "Platform", class: "name" },
        column("Digest"),
        Column { name: "Size", class: "number" },
        column("Kind"),
    ];
    let mut rows = Vec::new();
    for child in index.manifests.iter().take(ROWS) {
        let seen = look.manifest(&child.digest)?;
        let name = match platform(child) {
            Some(name) => name,
            None if is_attestation(child) => "attestation".to_owned(),
            None => "any".to_owned(),
        };
        let bytes = seen.as_ref().map(|seen| match &seen.manifest {
            Manifest::Image(image) => pulled(image, seen.bytes),
            Manifest::Index(_) => seen.bytes,
        });
        rows.push(vec![
            html! {
                @if seen.is_some() { a href=(show::digest_at(repository, &child.digest)) { (name) } }
                @else { (name) }
            },
            show::digest(&child.digest),
            html! { @match bytes { Some(n) => (show::bytes(n)), None => { span.soft { "–" } } } },
            html! {
                span.badge title=(child.media_type) { (show::clip(show::media(&child.media_type), 60)) }
                @if seen.is_none() && !look.spent() { " " span.badge.warn { "not here" } }
            },
        ]);
    }
    Ok(html! {
        h2 { "Platforms" small { (index.manifests.len()) } }
        (table("Platforms", &COLUMNS, &rows))
        (cut(index.manifests.len()))
    })
}

fn attached_to(
    view: &View,
    repository: &Repository,
    digest: &ContentDigest,
) -> Result<Markup, StoreError> {
    let (things, more) = attached::all(view.store(), repository, digest)?;
    const COLUMNS: [Column; 4] = [
        Column { name: "What", class: "name" },
        column("Digest"),
        Column { name: "Manifest", class: "number" },
        Column { name: "Where, or what it calls itself", class: "free" },
    ];
    let rows: Vec<Vec<Markup>> = things
        .iter()
        .map(|thing| {
            vec![
                html! { a href=(show::digest_at(repository, &thing.digest)) { (thing.what) } },
                show::digest(&thing.digest),
                html! { @match thing.bytes { Some(n) => (show::bytes(n)), None => { span.soft { "–" } } } },
                html! { code { (show::clip(&thing.told, 200)) } },
            ]
        })
        .collect();
    Ok(html! {
        h2 { "Signatures and SBOMs" @if !rows.is_empty() { small { (rows.len()) @if more { "+" } } } }
        @if rows.is_empty() {
            p.soft { "Nothing is attached to this digest." }
        } @else {
            (table("What is attached to this image", &COLUMNS, &rows))
            p.soft { "The registry keeps them and does not judge them: “signed” means that a signature is here, not that it is good." }
        }
    })
}
