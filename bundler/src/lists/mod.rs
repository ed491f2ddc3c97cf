//! Images that no configuration names: lists, mapping files, directories and archives of other tools (`--images`).
//!
//! In: paths. Out: wishes, as for additional images; what cannot be understood is a failure with its file and line, and the rest
//! goes on. What must hold: no two lines become one name at the target without a word.
//!
//! 1. `place` looks what a path is; 2. `file` and `line` read lists, `dir` and `archive` what holds images; 3. patterns of tags are
//!    looked up at their registry.

mod archive;
mod dir;
mod file;
mod limits;
mod line;
mod place;

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use format_spec::head::ContentClass;
use format_spec::{Digest, Repository, Tag};
use regex::Regex;
use registry::client::ErrorKind as WireKind;

use crate::destination::{self, nest};
use crate::error::fit;
use crate::layout::LayoutImage;
use crate::origin::{Held, Origins, Source};
use crate::resolve::Resolved;
use crate::wish::Wish;

use file::{From, Line, Name};
use limits::ENTRIES_MAX;
use place::{Content, Found};

/// A path that holds no images.
#[derive(Debug, thiserror::Error)]
#[error("cannot take images from `{}`: {problem}", .path.display())]
pub struct ListError {
    /// The path.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: String,
}

/// What was read.
#[derive(Debug, Default)]
pub struct Lists {
    places: HashMap<String, String>,
    failures: Vec<(String, Option<WireKind>, String)>,
    warnings: Vec<String>,
}

/// An image on its way to a wish.
struct One {
    /// File and line, or the path.
    place: String,
    text: String,
    source: Source<'static>,
    name: Result<Name, String>,
}

/// Reads the paths, and makes wishes of what is there.
pub async fn read(
    paths: &[PathBuf],
    origins: &Origins,
    max_nested_paths: usize,
) -> Result<(Vec<Wish<'static>>, Lists), ListError> {
    let mut lists = Lists::default();
    let mut ones = Vec::new();
    for path in paths {
        let (path, mut warnings) = (path.clone(), Vec::new());
        let opened = tokio::task::spawn_blocking({
            let path = path.clone();
            move || place::open(&path, &mut warnings).map(|content| (content, warnings))
        });
        let failed = |error: tokio::task::JoinError| ListError { path, problem: error.to_string() };
        let (content, warnings) = opened.await.map_err(failed)??;
        lists.warnings.extend(warnings);
        match content {
            Content::Images(found) => ones.extend(found.into_iter().map(|one| of_place(one, None))),
            Content::Layout(written) => ones.push(of_layout(&written, format!("oci:{written}"))),
            Content::List { file, lines } => {
                for line in lines {
                    ones.extend(lists.line(&file, line, origins).await);
                }
            }
        }
        if ones.len() > ENTRIES_MAX {
            let path = paths.first().cloned().unwrap_or_default();
            return Err(ListError { path, problem: format!("more than {ENTRIES_MAX} images") });
        }
    }
    let mut claims: HashMap<(Repository, Tag), (String, String)> = HashMap::new();
    let mut wishes = Vec::with_capacity(ones.len());
    for one in ones {
        wishes.extend(lists.wish(one, max_nested_paths, &mut claims));
    }
    Ok((wishes, lists))
}

impl Lists {
    fn fail(&mut self, place: &str, text: &str, kind: Option<WireKind>, problem: &str) {
        self.failures.push((text.to_owned(), kind, format!("{place}: {problem}")));
    }

    /// The images that a line means.
    async fn line(&mut self, file: &Path, line: Line, origins: &Origins) -> Vec<One> {
        let place = format!("{}:{}", file.display(), line.number);
        let Line { text, meant, .. } = line;
        let (from, name) = match meant {
            Ok(meant) => meant,
            Err(problem) => {
                self.fail(&place, &text, None, &problem);
                return Vec::new();
            }
        };
        match from {
            From::Registry(reference) => {
                let text = reference.to_string();
                let source = Source::Registry(Cow::Owned(reference));
                let name = named(name, &source);
                vec![One { place, text, source, name }]
            }
            From::Layout(written) => {
                let mut one = of_layout(&written, place);
                if let Some(name) = name {
                    one.name = one.name.map(|own| Name { tag: name.tag.or(own.tag), ..name });
                }
                vec![one]
            }
            From::Tags(reference, pattern) => {
                let (host, repository) = (&reference.registry, &reference.repository);
                let found = match origins.all_tags(host, repository).await {
                    Ok(Some(tags)) => tags,
                    Ok(None) => {
                        let problem = format!("there is no repository `{reference}`");
                        self.fail(&place, &text, Some(WireKind::NotFound), &problem);
                        return Vec::new();
                    }
                    Err(error) => {
                        self.fail(&place, &text, Some(error.kind()), &error.to_string());
                        return Vec::new();
                    }
                };
                let is_meant = glob(&pattern);
                let tags: Vec<Tag> =
                    found.into_iter().filter(|tag| is_meant(tag) && is_of_an_image(tag)).collect();
                if tags.is_empty() {
                    let problem = format!("no tag of `{reference}` is like `{pattern}`");
                    self.fail(&place, &text, Some(WireKind::NotFound), &problem);
                }
                let one = |tag: Tag| {
                    let mut reference = reference.clone();
                    reference.tag = Some(tag);
                    let text = reference.to_string();
                    let source = Source::Registry(Cow::Owned(reference));
                    let name = named(name.clone(), &source);
                    One { place: place.clone(), text, source, name }
                };
                tags.into_iter().map(one).collect()
            }
            From::Filed(repository, which) => {
                let looked = {
                    let file = file.to_owned();
                    tokio::task::spawn_blocking(move || filed(&file, &repository, &which)).await
                };
                match looked.map_err(|error| error.to_string()).flatten() {
                    Ok(found) => {
                        let renamed = |mut one: Found| {
                            if let (Some(name), Ok(own)) = (&name, &one.name) {
                                let tag = name.tag.clone().or_else(|| own.tag.clone());
                                one.name = Ok(Name { repository: name.repository.clone(), tag });
                            }
                            of_place(one, Some(place.clone()))
                        };
                        found.into_iter().map(renamed).collect()
                    }
                    Err(problem) => {
                        self.fail(&place, &text, Some(WireKind::NotFound), &problem);
                        Vec::new()
                    }
                }
            }
        }
    }

    /// The wish for an image; none where it has no name, or one that another image has.
    fn wish(
        &mut self,
        one: One,
        max_nested_paths: usize,
        claims: &mut HashMap<(Repository, Tag), (String, String)>,
    ) -> Option<Wish<'static>> {
        let One { place, text, source, name } = one;
        let nested = name.and_then(|Name { repository, tag }| {
            let repository =
                nest(&repository, max_nested_paths).map_err(|error| error.to_string())?;
            Ok((repository, tag))
        });
        let (repository, tag) = match nested {
            Ok(name) => name,
            Err(problem) => {
                self.fail(
                    &place,
                    &text,
                    None,
                    &format!("it has no valid name at the target: {problem}"),
                );
                return None;
            }
        };
        let tag = match tag {
            Some(tag) => Some(tag),
            None => destination::tag(&source).ok().flatten(),
        };
        if let Some(tag) = &tag {
            match claims.get(&(repository.clone(), tag.clone())) {
                Some((first, at)) if *first == text => {
                    self.warnings.push(format!("{place}: `{text}` stands at {at} too"));
                    return None;
                }
                Some((first, at)) => {
                    let problem = format!(
                        "its name at the target, `{repository}:{tag}`, is that of `{first}` ({at})"
                    );
                    self.fail(&place, &text, None, &problem);
                    return None;
                }
                None => {
                    claims.insert((repository.clone(), tag.clone()), (text.clone(), place.clone()))
                }
            };
        }
        if place != text {
            self.places.entry(text.clone()).or_insert(place);
        }
        let class = ContentClass::Additional;
        Some(Wish { name: text, source, class, platforms: Cow::Borrowed(&[]), repository, tag })
    }

    /// Tells what became of the lists, with files and lines.
    pub(crate) fn note(self, resolved: &mut Resolved) {
        for failure in &mut resolved.failures {
            if failure.class == ContentClass::Additional
                && let Some(place) = self.places.get(&failure.reference)
            {
                failure.reason = fit(&format!("{place}: {}", failure.reason));
            }
        }
        for (text, kind, problem) in self.failures {
            resolved.fail(&fit(&text), ContentClass::Additional, kind, fit(&problem));
        }
        resolved.warnings.extend(self.warnings);
        resolved.places = self.places;
    }
}

/// An image at hand. Its place is its own name where no list names it.
fn of_place(found: Found, place: Option<String>) -> One {
    let Found { text, shelf, digest, name } = found;
    let source = Source::Shelf(Held(shelf), digest);
    One { place: place.unwrap_or_else(|| text.clone()), text, source, name }
}

fn of_layout(written: &str, place: String) -> One {
    let image = LayoutImage::of(Path::new(written));
    let source = Source::Layout(image);
    let name = named(None, &source);
    One { place, text: format!("oci://{written}"), source, name }
}

/// The name of an image: that of the mapping, or its own.
fn named(name: Option<Name>, source: &Source<'_>) -> Result<Name, String> {
    let own = || destination::tag(source).map_err(|error| error.to_string());
    match name {
        Some(Name { repository, tag: Some(tag) }) => Ok(Name { repository, tag: Some(tag) }),
        Some(Name { repository, tag: None }) => Ok(Name { repository, tag: own()? }),
        None => Ok(Name { repository: destination::repository(None, source, 0)?, tag: own()? }),
    }
}

/// The images of a `v2` directory beside a list, or in the current directory.
fn filed(list: &Path, repository: &Repository, which: &str) -> Result<Vec<Found>, String> {
    let beside =
        list.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let here = Path::new(".");
    let has =
        |root: &&Path| registry::filed::Filed::new(root, repository.clone()).directory().is_dir();
    let Some(root) = [beside, here].into_iter().find(has) else {
        return Err(format!(
            "there is no `v2/{repository}`, neither in `{}`, beside the list, nor in the current directory",
            beside.display()
        ));
    };
    let by_digest = which.parse::<Digest>().ok();
    let is_meant = glob(if which.is_empty() { "*" } else { which });
    let all = by_digest.is_some() || which.is_empty();
    let found = place::filed(root, repository, |tag| by_digest.is_some() || is_meant(tag), all);
    let mut found = found.map_err(|error| error.to_string())?;
    if let Some(digest) = by_digest {
        found.retain(|one| one.digest == digest);
        found.truncate(1);
        for one in &mut found {
            one.name = Ok(Name { repository: repository.clone(), tag: None });
        }
    }
    match found.is_empty() {
        true => Err(format!(
            "`{}` has no `{which}`",
            root.join("v2").join(repository.as_str()).display()
        )),
        false => Ok(found),
    }
}

/// Whether a tag is like a pattern of `*` and `?`.
fn glob(pattern: &str) -> impl Fn(&Tag) -> bool + use<> {
    let expression = regex::escape(pattern).replace("\\*", ".*").replace("\\?", ".");
    let regex = Regex::new(&format!("^(?:{expression})$")).ok();
    move |tag: &Tag| regex.as_ref().is_some_and(|regex| regex.is_match(tag.as_str()))
}

/// Signatures and the like have tags of their own; they come along with what they are attached to.
fn is_of_an_image(tag: &Tag) -> bool {
    let attached = tag.as_str().strip_prefix("sha256-").and_then(|rest| rest.get(..64));
    attached.is_none_or(|hex| !hex.bytes().all(|c| c.is_ascii_hexdigit()))
}
