//! A list of images in a file: a reference a line, a mapping file of `oc image mirror` and `oc adm catalog mirror`, or the list of a
//! MicroShift release in JSON.
//!
//! In: the bytes of a file. Out: what each line asks for, with its number; or what is wrong with the line. Nothing is looked up.

use std::collections::BTreeMap;

use format_spec::{Repository, Tag};
use registry::reference::{Reference, ReferenceError};
use serde::Deserialize;

use super::line;

/// Where an image of a list comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum From {
    /// A registry. Without tag and digest: `latest`, and in a mapping all tags.
    Registry(Reference),
    /// The tags of a repository that fit this pattern.
    Tags(Reference, String),
    /// An OCI layout on this machine.
    Layout(String),
    /// A repository of a `v2` directory, and a tag, a pattern of tags, or a digest of it; all when it is empty.
    Filed(Repository, String),
}

/// The name at the target that a mapping gives. Without a tag the source's is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) repository: Repository,
    pub(super) tag: Option<Tag>,
}

/// What a line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// From 1.
    pub(super) number: usize,
    /// The source, as it is written.
    pub(super) text: String,
    /// What it means, or why nothing.
    pub(super) meant: Result<(From, Option<Name>), String>,
}

#[derive(Deserialize)]
struct MicroShift {
    images: BTreeMap<String, String>,
}

/// Reads a list. An error says what is wrong with the whole of it.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<Line>, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        format!("line {line} is not UTF-8 text")
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim_start().starts_with('{') {
        return json(text);
    }
    Ok(text.lines().enumerate().flat_map(|(at, text)| of_line(at + 1, text)).collect())
}

/// The list of a MicroShift release: `{"release": …, "images": {NAME: REFERENCE}}`.
fn json(text: &str) -> Result<Vec<Line>, String> {
    let list: MicroShift = serde_json::from_str(text).map_err(|error| {
        format!("line {}: {error}; expected `{{\"images\": {{NAME: REFERENCE}}}}`, as a MicroShift release has it", error.line())
    })?;
    let number = |value: &str| {
        let at =
            serde_json::to_string(value).ok().and_then(|quoted| text.find(&quoted)).unwrap_or(0);
        1 + text[..at].matches('\n').count()
    };
    let line = |value: String| Line {
        number: number(&value),
        meant: source(&value, false).map(|from| (from, None)),
        text: value,
    };
    let mut lines: Vec<Line> = list.images.into_values().map(line).collect();
    lines.sort_by(|a, b| (a.number, &a.text).cmp(&(b.number, &b.text)));
    Ok(lines)
}

fn of_line(number: usize, text: &str) -> Vec<Line> {
    let asked = match line::read(text) {
        Ok(asked) => asked,
        Err(problem) => {
            let text = text.trim().to_owned();
            return vec![Line { number, text, meant: Err(problem.to_owned()) }];
        }
    };
    let mut lines = Vec::new();
    for one in asked {
        let line = |meant| Line { number, text: one.source.to_owned(), meant };
        let from = match source(one.source, !one.names.is_empty()) {
            Ok(from) => from,
            Err(problem) => {
                lines.push(line(Err(problem)));
                continue;
            }
        };
        if one.names.is_empty() {
            lines.push(line(Ok((from, None))));
            continue;
        }
        let mut problems: Vec<String> = Vec::new();
        for text in &one.names {
            match named(text, &from) {
                Ok(name) => lines.push(line(Ok((from.clone(), Some(name))))),
                Err(problem) if problems.contains(&problem) => {}
                Err(problem) => problems.push(problem),
            }
        }
        if !problems.is_empty() {
            lines.push(line(Err(problems.join("; "))));
        }
    }
    lines
}

/// Understands a new name of an image from this source.
fn named(text: &str, from: &From) -> Result<Name, String> {
    let name = name(text)?;
    match (from, &name.tag) {
        (From::Tags(..), Some(_)) => {
            Err(format!("`{text}` has a tag, and its source means several"))
        }
        _ => Ok(name),
    }
}

/// Understands a source. In a mapping one without a tag means all tags.
fn source(text: &str, in_mapping: bool) -> Result<From, String> {
    if let Some(path) = text.strip_prefix("oci:") {
        return Ok(From::Layout(path.strip_prefix("//").unwrap_or(path).to_owned()));
    }
    if let Some(path) = text.strip_prefix("file://") {
        let path = path.trim_start_matches('/');
        let (repository, which) = match path.split_once('@') {
            Some((repository, digest)) => {
                let digest: Result<format_spec::Digest, _> = digest.parse();
                (repository, digest.map_err(|error| format!("{error} in `{text}`"))?.to_string())
            }
            None => {
                let (repository, tag) = path.split_once(':').unwrap_or((path, ""));
                (repository, tag.to_owned())
            }
        };
        let repository = repository.parse().map_err(|error| format!("{error} in `{text}`"))?;
        return Ok(From::Filed(repository, which));
    }
    refuse_scheme(text)?;
    // A pattern stands where a tag would, behind the last colon of the last component.
    let last = text.rfind('/').map_or(0, |at| at + 1);
    if let Some((before, pattern)) = text[last..].split_once(':')
        && !pattern.contains('@')
        && pattern.contains(['*', '?'])
    {
        let all = &text[..last + before.len()];
        let reference = all.parse().map_err(|error| format!("{error}"))?;
        return Ok(From::Tags(reference, pattern.to_owned()));
    }
    let mut reference: Reference = text.parse().map_err(|error| match &error {
        // What is no image of Docker Hub either.
        ReferenceError::NoHost { suggestion, .. } if suggestion.parse::<Reference>().is_err() => {
            format!("expected an image, `HOST/PATH:TAG`: `{text}`")
        }
        _ => error.to_string(),
    })?;
    if reference.tag.is_none() && reference.digest.is_none() {
        if in_mapping {
            return Ok(From::Tags(reference, "*".to_owned()));
        }
        reference.tag = "latest".parse().ok();
    }
    Ok(From::Registry(reference))
}

/// Understands a name at the target. Its host is that of another mirror: images go where the import is told.
fn name(text: &str) -> Result<Name, String> {
    let (repository, tag) = match text.strip_prefix("file://") {
        Some(path) => {
            let path = path.trim_start_matches('/');
            let (repository, tag) = path.split_once(':').unwrap_or((path, ""));
            let repository = repository.parse().map_err(|error| format!("{error} in `{text}`"))?;
            let tag = match tag {
                "" => None,
                tag => Some(tag.parse().map_err(|error| format!("{error} in `{text}`"))?),
            };
            (repository, tag)
        }
        None => {
            refuse_scheme(text)?;
            let reference: Reference = text.parse().map_err(|error| match error {
                ReferenceError::NoHost { .. } => {
                    format!("a new name begins with a registry, `HOST/{text}`: `{text}`")
                }
                _ => error.to_string(),
            })?;
            if reference.digest.is_some() {
                return Err(format!("a new name has a tag, not a digest: `{text}`"));
            }
            (reference.repository, reference.tag)
        }
    };
    Ok(Name { repository, tag })
}

fn refuse_scheme(text: &str) -> Result<(), String> {
    match text.split_once("://") {
        Some((scheme, _)) if scheme != "docker" => {
            Err(format!("the transport `{scheme}` is not supported in lists: `{text}`"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn one(text: &str) -> Result<(From, Option<Name>), String> {
        let mut lines = read(text.as_bytes()).unwrap();
        assert_eq!(lines.len(), 1, "{text}");
        lines.remove(0).meant
    }

    fn name(repository: &str, tag: Option<&str>) -> Name {
        Name { repository: repository.parse().unwrap(), tag: tag.map(|tag| tag.parse().unwrap()) }
    }

    #[test]
    fn lists_keep_names_and_mappings_give_them() {
        let reference = |text: &str| text.parse::<Reference>().unwrap();
        assert_eq!(one("quay.io/a/b:1"), Ok((From::Registry(reference("quay.io/a/b:1")), None)));
        assert_eq!(one("quay.io/a/b"), Ok((From::Registry(reference("quay.io/a/b:latest")), None)));
        let by_digest = format!("docker://quay.io/a/b@{DIGEST}=docker://localhost:55000/x/b:2");
        let from = From::Registry(reference(&format!("quay.io/a/b@{DIGEST}")));
        assert_eq!(one(&by_digest), Ok((from, Some(name("x/b", Some("2"))))));
        assert_eq!(
            one("quay.io/a/b=m.lan:5000/x/b"),
            Ok((From::Tags(reference("quay.io/a/b"), "*".to_owned()), Some(name("x/b", None))))
        );
        assert_eq!(
            one("quay.io:443/a/b:v1.* m.lan/x/b"),
            Ok((
                From::Tags(reference("quay.io:443/a/b"), "v1.*".to_owned()),
                Some(name("x/b", None))
            ))
        );
        let filed = From::Filed("openshift/release".parse().unwrap(), "4.18.1-x86_64".to_owned());
        assert_eq!(
            one("file://openshift/release:4.18.1-x86_64=m.lan/ocp/release"),
            Ok((filed, Some(name("ocp/release", None))))
        );
        assert_eq!(one("quay.io/a/b:1=file:///x/b:1").unwrap().1, Some(name("x/b", Some("1"))));
    }

    #[test]
    fn what_is_wrong_stands_with_its_line() {
        let text = "# head\nquay.io/a:1\n\nredis:7\nquay.io/a@sha256:12\nq.io/x:1*=m.lan/y:1\ns3://b/c:1\nq.io/x:1=m.lan/y@sha256:1\n";
        let lines = read(text.as_bytes()).unwrap();
        let wrong: Vec<usize> =
            lines.iter().filter(|line| line.meant.is_err()).map(|line| line.number).collect();
        assert_eq!(wrong, [4, 5, 6, 7, 8]);
        assert!(lines[1].meant.as_ref().unwrap_err().contains("docker.io/library/redis:7"));
        assert_eq!(read(b"quay.io/a:1\n\xff").unwrap_err(), "line 2 is not UTF-8 text");
    }

    #[test]
    fn a_line_that_is_wrong_is_told_once() {
        let told = |text: &str| {
            let lines = read(text.as_bytes()).unwrap();
            let told = lines.into_iter().filter_map(|line| line.meant.err());
            told.collect::<Vec<_>>()
        };
        assert_eq!(told("SRC DST DST"), ["expected an image, `HOST/PATH:TAG`: `SRC`"]);
        assert_eq!(told("redis:7 m.lan/a:1 m.lan/b:1").len(), 1);
        let names = "a new name begins with a registry, `HOST/foo:1`: `foo:1`; a new name begins with a registry, `HOST/bar:2`: `bar:2`";
        assert_eq!(told("quay.io/a/b:1 foo:1 foo:1 bar:2"), [names]);
        // A name that is right counts.
        let lines = read(b"quay.io/a/b:1 foo:1 m.lan/b:1").unwrap();
        assert_eq!(lines.iter().filter(|line| line.meant.is_ok()).count(), 1);
    }

    #[test]
    fn the_list_of_a_microshift_release() {
        let text = format!(
            "{{\n \"release\": {{\"base\": \"4.18.1\"}},\n \"images\": {{\n  \"z\": \"quay.io/o/art@{DIGEST}\",\n  \"a\": \"nothing\"\n }}\n}}"
        );
        let lines = read(text.as_bytes()).unwrap();
        assert_eq!(lines.iter().map(|line| line.number).collect::<Vec<_>>(), [4, 5]);
        assert!(lines[0].meant.is_ok() && lines[1].meant.is_err());
        assert!(read(b"{\"image\": {}}").unwrap_err().starts_with("line 1: "));
    }
}
