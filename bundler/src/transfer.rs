//! The courtesy files: for people, never trusted, never read by import.
//!
//! In: a head and what it binds. Out: one page for the person who carries the medium, and the lists
//! of a dry run.

use std::fmt::Write;

use format_spec::head::{Head, Kind};
use format_spec::index::Index;
use format_spec::keys::SecretKey;
use format_spec::{Digest, Sequence};
use registry::reference::Reference;

use crate::destination::Destination;
use crate::plan;

/// Rows of a list on the page: beyond them a person reads `bundle describe`.
const ROWS: usize = 2000;

/// Steps of a stream's first sequence: nobody on the other side has its key yet.
const FETCH_KEY: &str = "<li>Once, for a new stream: take the public key too (<code>keys/default.pub.pem</code> of the \
     workspace, or the public half of the key that signs), by another way than this medium.</li>\n";
const TRUST_KEY: &str = "<li>Once, on the other side: <code>bundle keys trust KEY.pub.pem</code>. Compare by telephone \
     the id that it says with the key above.</li>\n";

/// `mirror_seqN.TRANSFER.html`: who, what, which files, how to check. No script, no outside link.
pub fn page(
    head: &Head,
    digest: Digest,
    index: &Index,
    keys: &[SecretKey],
    seal: usize,
) -> Vec<u8> {
    let mut page = String::new();
    let first = head.sequence == Sequence::FIRST;
    let kind = match head.kind {
        Kind::Full => "full: stands alone",
        Kind::Incremental => "incremental: needs all earlier sequences",
    };
    let _ = write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <title>Sequence {n} of stream {stream}</title>\n\
         <style>body{{font-family:sans-serif;max-width:60em;margin:2em auto}}\
         table{{border-collapse:collapse}}td,th{{border:1px solid #999;padding:.2em .6em;\
         text-align:left}}code{{word-break:break-all}}</style></head><body>\n\
         <h1>Transfer of sequence {n}</h1>\n\
         <p>This page is for people. It is not signed and nothing reads it.</p>\n<table>\n",
        n = head.sequence,
        stream = head.stream,
    );
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(page, "<tr><th>{}</th><td>{}</td></tr>", escape(name), escape(value));
    };
    row("Stream", &head.stream.to_string());
    row("Sequence", &head.sequence.to_string());
    row("Kind", kind);
    row(
        "Follows",
        &head.previous.map_or("nothing".to_owned(), |p| format!("sequence {}", p.sequence)),
    );
    row("Written", &head.created);
    for (name, time) in [
        ("To be imported before", &head.expires),
        ("The next one is expected by", &head.next_expected),
    ] {
        if let Some(time) = time {
            row(name, time);
        }
    }
    row("Digest of the head", &digest.to_string());
    for key in keys {
        row("Signed by key", &key.public().id().to_string());
    }
    row("References", &head.totals.references.to_string());
    row("Removed references", &head.totals.removals.to_string());
    row("Blobs and manifests", &(head.totals.blobs + head.totals.manifests).to_string());
    row("Bytes of content", &head.totals.bytes.to_string());
    for (name, value) in &head.labels {
        row(name, value);
    }
    page.push_str("</table>\n<h2>Files</h2>\n<table><tr><th>File</th><th>Bytes</th></tr>\n");
    for part in &head.parts {
        let _ = writeln!(page, "<tr><td>{}</td><td>{}</td></tr>", part.name, part.bytes);
    }
    let _ = writeln!(
        page,
        "<tr><td>mirror_seq{n}.index</td><td>{}</td></tr>\n\
         <tr><td>mirror_seq{n}.manifest.json</td><td>{}</td></tr>\n\
         <tr><td>mirror_seq{n}.manifest.sig</td><td>{seal}</td></tr>\n</table>",
        head.index.bytes,
        head.to_bytes().len(),
        n = head.sequence,
    );
    let _ = write!(
        page,
        "<h2>Steps</h2>\n<ol><li>Copy all files to the medium. Do not rename or change them.</li>\n\
         <li>Check: <code>bundle verify --from DIR --trust KEY.pub.pem</code></li>\n{}\
         <li>Carry, record seal and serial numbers.</li>\n{}\
         <li>Import: <code>bundle import --from DIR docker://HOST/NAMESPACE</code></li></ol>\n\
         <p>Name: ____________________ Date: ____________ Medium: ____________________ \
         Seal: ____________</p>\n<h2>Content</h2>\n<ul>\n",
        if first { FETCH_KEY } else { "" },
        if first { TRUST_KEY } else { "" },
    );
    for reference in index.references.iter().take(ROWS) {
        let name = plan::show(
            index.repository(reference.repository),
            reference.tag.as_ref(),
            &reference.digest,
        );
        let _ = writeln!(page, "<li>{} from {}</li>", escape(&name), escape(&reference.source));
    }
    if index.references.len() > ROWS {
        let _ = writeln!(page, "<li>and {} more</li>", index.references.len() - ROWS);
    }
    page.push_str("</ul>\n");
    if !head.failures.is_empty() {
        page.push_str("<h2>Asked for and not carried</h2>\n<ul>\n");
        for failure in head.failures.iter().take(ROWS) {
            let (reference, reason) = (escape(&failure.reference), escape(&failure.reason));
            let _ = writeln!(page, "<li>{reference}: {reason}</li>");
        }
        page.push_str("</ul>\n");
    }
    page.push_str("</body></html>\n");
    page.into_bytes()
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// `mapping.txt`: one `docker://source=file://name` a line, as oc-mirror writes it for a medium.
pub fn mapping<'a>(images: impl IntoIterator<Item = (&'a str, &'a Destination)>) -> String {
    let mut text = String::new();
    for (source, Destination { repository, tag }) in images {
        let source = with_transport(source);
        let _ = writeln!(text, "{source}=file://{repository}:{tag}");
    }
    text
}

/// A source with its transport. What is on this machine has one already, as `oci://` and `dir:`.
pub fn with_transport(source: &str) -> String {
    match source.parse::<Reference>() {
        Ok(_) => format!("docker://{source}"),
        Err(_) => source.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_stays_text() {
        assert_eq!(escape("<script>\"&\u{1b}[1m"), "&lt;script&gt;&quot;&amp; [1m");
    }

    #[test]
    fn mapping_lines() {
        let named = |repository: &str, tag: &str| Destination {
            repository: repository.parse().unwrap(),
            tag: tag.parse().unwrap(),
        };
        let (a, b) = (named("a", "1"), named("b", "latest"));
        let pairs = [("q.io/a:1", &a), ("oci:///srv/b", &b)];
        assert_eq!(mapping(pairs), "docker://q.io/a:1=file://a:1\noci:///srv/b=file://b:latest\n");
    }
}
