//! How single values look: sizes, times, digests, names in addresses.
//!
//! In: values. Out: text, or a piece of the page. What must hold: everything goes through the template, which escapes
//! it; a digest is shortened for the eye and whole in the `title`.

use format_spec::Repository;
use jiff::Timestamp;
use maud::{Markup, html};

use crate::content::ContentDigest;

/// Bytes as a person reads them: in the units of the commands.
pub(super) fn size(bytes: u64) -> String {
    crate::size::show(bytes)
}

/// Bytes, with the exact number in the title.
pub(super) fn bytes(bytes: u64) -> Markup {
    html! { span title=(format!("{bytes} bytes")) { (size(bytes)) } }
}

/// A digest: its first digits, and the whole one in the title.
pub(super) fn digest(digest: &ContentDigest) -> Markup {
    html! { code title=(digest) { (short(digest)) } }
}

/// The first digits of a digest.
pub(super) fn short(digest: &ContentDigest) -> String {
    digest.hex()[..12].to_owned()
}

/// A time: its day, and all of it in the title. What images made to be reproducible say is no time.
pub(super) fn time(time: Option<Timestamp>) -> Markup {
    html! {
        @match time.filter(|time| time.as_second() > 24 * 3600) {
            Some(time) => {
                time datetime=(format!("{time:.0}")) title=(format!("{time:.0}")) {
                    (time.strftime("%Y-%m-%d"))
                }
            }
            None => { span.soft { "–" } }
        }
    }
}

/// How long something took or lasts, in two of its largest units.
pub(super) fn duration(seconds: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    let first = UNITS.iter().position(|(unit, _)| seconds >= *unit).unwrap_or(3);
    let (unit, name) = UNITS[first];
    let whole = format!("{} {name}", seconds / unit);
    match UNITS.get(first + 1) {
        Some((below, name)) if seconds % unit >= *below => {
            format!("{whole} {} {name}", seconds % unit / below)
        }
        _ => whole,
    }
}

/// How many of something.
pub(super) fn count(n: usize, one: &str, many: &str) -> String {
    match n {
        1 => format!("1 {one}"),
        n => format!("{n} {many}"),
    }
}

/// The address of a repository's page. Names need no escapes in a path.
pub(super) fn repository_at(repository: &Repository) -> String {
    format!("/ui/repository/{repository}")
}

/// The address of the page of an image by its tag.
pub(super) fn tag_at(repository: &Repository, tag: &str) -> String {
    format!("/ui/image/{repository}:{tag}")
}

/// The address of the page of an image by its digest.
pub(super) fn digest_at(repository: &Repository, digest: &ContentDigest) -> String {
    format!("/ui/image/{repository}@{digest}")
}

/// At most so many characters of a text.
pub(super) fn clip(text: &str, characters: usize) -> String {
    let mut clipped: String = text.chars().take(characters).collect();
    if clipped.len() < text.len() {
        clipped.push('…');
    }
    clipped
}

/// A document without characters that show nothing themselves and change how others show, or that some browser may
/// stumble over: what came from an image has U+FFFD in their place.
pub(super) fn harmless(document: String) -> String {
    let odd = |c: char| {
        c.is_control() && c != '\n' && c != '\t'
            || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
            || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
    };
    match document.contains(odd) {
        true => document.replace(odd, "\u{fffd}"),
        false => document,
    }
}

/// What a media type is, in a word or two.
pub(super) fn media(media_type: &str) -> &str {
    use crate::media_type as known;
    match media_type {
        known::OCI_MANIFEST => "OCI image",
        known::OCI_INDEX => "OCI index",
        known::DOCKER_MANIFEST => "Docker image",
        known::DOCKER_LIST => "Docker list",
        known::OCI_LAYER => "tar",
        known::OCI_LAYER_GZIP | known::DOCKER_LAYER_GZIP => "tar, gzip",
        known::OCI_LAYER_ZSTD => "tar, zstd",
        known::DOCKER_FOREIGN_LAYER => "foreign",
        known::OCI_CONFIG | known::DOCKER_CONFIG => "image config",
        known::OCI_EMPTY => "empty",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_shows_nothing_is_replaced() {
        let odd = "\0\u{1b}[2J\u{7f}\u{85}\u{202e}\u{2066}\u{200b}\u{feff}\u{e0041}";
        let shown = harmless(format!("<p>a\n\t{odd} ä…–</p>"));
        let r = '\u{fffd}';
        assert_eq!(shown, format!("<p>a\n\t{r}{r}[2J{r}{r}{r}{r}{r}{r}{r} ä…–</p>"));
    }

    #[test]
    fn durations_have_two_units() {
        let shown = [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (61, "1 min 1 s"),
            (3600, "1 h"),
            (86_399, "23 h 59 min"),
            (90_061, "1 d 1 h"),
            (86_461, "1 d"),
        ];
        for (seconds, text) in shown {
            assert_eq!(duration(seconds), text);
        }
    }
}
