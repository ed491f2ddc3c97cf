//! Bad input: each fault has its exit code, says which file or image and what to do next, and leaves the target
//! as it was.

#![allow(clippy::unwrap_used)]

mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use support::command::Run;
use support::relay::Relay;
use support::server::{Server, fs_write};
use support::site::Site;
use support::tls::TlsRelay;
use support::{copy_files, files, is_root, listener, mirror, noise, serve, text, tool};

/// A site with a first sequence in `media`: two images, several parts' worth of cells.
fn prepared() -> Site {
    let site = Site::new();
    site.source.image("team/app", "1", &[&noise(1, 150_000), &noise(2, 3_000)]);
    site.source.image("team/tool", "1", &[&noise(3, 70_000)]);
    site.images(&["team/app:1", "team/tool:1"]);
    site.create("media", &[]).ok();
    site
}

/// An import that must be refused before any request reaches the target.
#[track_caller]
fn untouched(site: &Site, media: &str, codes: &[i32]) -> Run {
    let relay = Relay::start(&site.target.host, u64::MAX);
    let run = site.import_into(&relay.host, media, &[]).refused(codes);
    assert_eq!(relay.connections(), 0, "the target was asked\n{run}");
    run
}

/// An import that must be refused and may have moved blobs, but nothing with a name.
#[track_caller]
fn untagged(site: &Site, media: &str, codes: &[i32]) -> Run {
    let run = site.import(media, &[]).refused(codes);
    let tags = site.target.all_tags();
    assert!(tags.is_empty(), "{tags:?} are tagged\n{run}");
    run
}

/// A copy of `media` to spoil.
fn copied(site: &Site, name: &str) -> PathBuf {
    let copy = site.path(name);
    let _ = fs_err::remove_dir_all(&copy);
    copy_files(&site.path("media"), &copy);
    copy
}

fn flip(file: &Path, at: usize, bit: u8) {
    let mut bytes = fs_err::read(file).unwrap();
    bytes[at] ^= 1 << bit;
    fs_write(file, &bytes);
}

const PART: &str = "mirror_seq1_000000.tar";
const HEAD: &str = "mirror_seq1.manifest.json";
const SEAL: &str = "mirror_seq1.manifest.sig";
const INDEX: &str = "mirror_seq1.index";

/// Where to flip: the first and last bytes, both sides of every 512 up to 4 KiB and of every cell, and samples between.
fn places(length: usize, samples: usize) -> Vec<usize> {
    let mut at: Vec<usize> = (0..length).step_by((length / samples).max(1)).collect();
    at.extend((0..length.min(4096)).step_by(512).flat_map(|n| [n.saturating_sub(1), n, n + 1]));
    at.extend((0..length).step_by(65_536).flat_map(|n| [n.saturating_sub(1), n, n + 512]));
    at.extend([length - 1, length - 512.min(length), length - 1024.min(length)]);
    at.retain(|n| *n < length);
    at.sort_unstable();
    at.dedup();
    at
}

#[test]
fn a_changed_bit_anywhere_is_found_and_the_file_named() {
    let site = prepared();
    let copy = copied(&site, "flipped");
    for (name, samples, codes) in
        [(PART, 60, [65, 65]), (HEAD, 60, [65, 67]), (SEAL, 60, [65, 67]), (INDEX, 60, [65, 65])]
    {
        let file = copy.join(name);
        let whole = fs_err::read(&file).unwrap();
        for at in places(whole.len(), samples) {
            flip(&file, at, u8::try_from(at % 8).unwrap());
            let run = site.verify(&copy).refused(&codes);
            assert!(run.stderr.contains(name), "byte {at} of {name} is not named\n{run}");
            fs_write(&file, &whole);
        }
    }
    site.verify(&copy).ok();
}

#[test]
fn a_changed_bit_is_refused_at_import_before_it_is_used() {
    let site = prepared();
    for name in [HEAD, SEAL, INDEX] {
        let copy = copied(&site, "flipped");
        let length = fs_err::metadata(copy.join(name)).unwrap().len();
        flip(&copy.join(name), usize::try_from(length / 2).unwrap(), 3);
        untouched(&site, "flipped", &[65, 67]).says(name);
    }
    let length =
        usize::try_from(fs_err::metadata(site.path("media").join(PART)).unwrap().len()).unwrap();
    for at in places(length, 12) {
        let copy = copied(&site, "flipped");
        flip(&copy.join(PART), at, 0);
        untagged(&site, "flipped", &[65]).says(PART);
    }
    // The sound copy goes in afterwards.
    site.import("media", &[]).ok();
    site.same(&["team/app:1", "team/tool:1"]);
}

#[test]
fn the_image_of_a_damaged_layer_is_named() {
    let site = prepared();
    let copy = copied(&site, "flipped");
    let layer = noise(3, 70_000);
    let bytes = fs_err::read(copy.join(PART)).unwrap();
    let at = bytes.windows(64).position(|window| window == &layer[..64]).unwrap();
    flip(&copy.join(PART), at + 30_000, 5);
    site.verify(&copy).refused(&[65]).says(PART).says("team/tool");
    untagged(&site, "flipped", &[65]).says(PART).says("team/tool");
}

#[test]
fn junk_at_its_limit_takes_little_memory() {
    let site = prepared();
    let key = site.key();
    let verify = |media: &Path| {
        let (media, key) = (text(media), text(&key));
        Run::watched(&mut site.command(&["verify", "--from", media, "--trust", key]))
    };
    let heads = copied(&site, "heads");
    for n in 1..=4 {
        let name = |ending| heads.join(format!("mirror_seq{n}.manifest.{ending}"));
        fs_write(&name("json"), &noise(n, 32 << 20));
        // It names a trusted key, so the head is read to its end before it is refused.
        if n > 1 {
            fs_err::copy(heads.join(SEAL), name("sig")).unwrap();
        }
    }
    // Texts and names of a byte or two take many times that in memory.
    let strings = |n: usize| vec!["\"\""; n].join(",");
    let names = |n: usize| (0..n).map(|n| format!("\"{n:x}\":0")).collect::<Vec<_>>().join(",");
    for (number, (from, to)) in [
        ("\"crit\": [", strings(8_000_000)),
        ("\"failures\": [", vec![r#"{"reference":"","class":8,"reason":""}"#; 700_000].join(",")),
        ("\"labels\": {", names(2_500_000)),
        ("\"labels\": {", format!("\"a\":0}},\"x\":{{{}", names(2_500_000))),
    ]
    .into_iter()
    .enumerate()
    {
        let copy = copied(&site, &format!("tiny-{number}"));
        let head = fs_err::read_to_string(copy.join(HEAD)).unwrap();
        assert!(head.contains(from), "{head}");
        fs_write(&copy.join(HEAD), head.replacen(from, &(from.to_owned() + &to), 1).as_bytes());
        // Without a key, everything that somebody wrote is looked at.
        let mut command = site.command(&["describe", "--from", text(&copy)]);
        let (run, most) = Run::watched(&mut command);
        let run = run.refused(&[65]);
        assert!(most < 64 << 10, "{most} KiB: {run}");
    }
    let index = copied(&site, "index");
    fs_err::OpenOptions::new()
        .write(true)
        .open(index.join(INDEX))
        .unwrap()
        .into_parts()
        .0
        .set_len(512 << 20)
        .unwrap();
    let seal = copied(&site, "seal");
    fs_write(&seal.join(SEAL), &noise(9, 64 << 10));
    for (media, code) in [(heads, 67), (index, 65), (seal, 67)] {
        let (run, most) = verify(&media);
        let _ = run.code(code);
        // The bar for any input.
        assert!((1..64 << 10).contains(&most), "{most} KiB for {media:?}");
    }
}

#[test]
fn courtesy_files_are_never_trusted_nor_needed() {
    let site = prepared();
    let copy = copied(&site, "stripped");
    for name in files(&copy) {
        if ![PART, HEAD, SEAL, INDEX].contains(&name.as_str()) {
            fs_write(&copy.join(&name), b"anything <script>");
        }
    }
    site.verify(&copy).ok();
    site.import("stripped", &[]).ok();
}

#[test]
fn a_missing_file_is_named() {
    let site = prepared();
    for (name, codes) in [(PART, [66, 66]), (INDEX, [66, 66]), (SEAL, [66, 67]), (HEAD, [66, 66])] {
        let copy = copied(&site, "missing");
        fs_err::remove_file(copy.join(name)).unwrap();
        untouched(&site, "missing", &codes).says(name);
        site.verify(&copy).refused(&codes).says(name);
    }
    fs_err::create_dir(site.path("empty")).unwrap();
    untouched(&site, "empty", &[66]);
    untouched(&site, "not-there", &[64, 66]);
}

#[test]
fn a_truncated_or_extended_file_is_named() {
    let site = prepared();
    for name in [PART, HEAD, SEAL, INDEX] {
        let whole = fs_err::read(site.path("media").join(name)).unwrap();
        for length in [0, 1, 511, 512, 513, whole.len() / 2, whole.len() - 1] {
            let copy = copied(&site, "short");
            fs_write(&copy.join(name), &whole[..length.min(whole.len() - 1)]);
            untouched(&site, "short", &[65, 66, 67]).says(name);
        }
        for more in [1, 511, 512, 65_536] {
            let copy = copied(&site, "long");
            let mut longer = whole.clone();
            longer.resize(whole.len() + more, 0);
            fs_write(&copy.join(name), &longer);
            untouched(&site, "long", &[65, 66, 67]).says(name);
        }
    }
}

#[test]
fn parts_renamed_among_each_other_or_from_another_sequence() {
    let site = Site::new();
    site.source.image("team/app", "1", &[&noise(1, 2_500_000)]);
    site.images(&["team/app:1"]);
    site.create("media", &["--size", "1MiB"]).ok();
    site.source.image("team/app", "2", &[&noise(2, 2_500_000)]);
    site.images(&["team/app:1", "team/app:2"]);
    site.create("second", &["--size", "1MiB"]).ok();

    let (first, next) = (PART, "mirror_seq1_000001.tar");
    let copy = copied(&site, "swapped");
    fs_err::rename(copy.join(first), copy.join("x")).unwrap();
    fs_err::rename(copy.join(next), copy.join(first)).unwrap();
    fs_err::rename(copy.join("x"), copy.join(next)).unwrap();
    untagged(&site, "swapped", &[65, 66, 67]).says("mirror_seq1_00000");

    let copy = copied(&site, "foreign");
    fs_err::copy(site.path("second").join("mirror_seq2_000000.tar"), copy.join(first)).unwrap();
    untagged(&site, "foreign", &[65, 66, 67]).says(first);

    // The head of one with the parts of the other.
    let copy = copied(&site, "heads");
    for kind in ["manifest.json", "manifest.sig"] {
        let from = site.path("second").join(format!("mirror_seq2.{kind}"));
        fs_err::copy(from, copy.join(format!("mirror_seq1.{kind}"))).unwrap();
    }
    untouched(&site, "heads", &[65, 66, 67, 68]);

    let copy = copied(&site, "index");
    fs_err::copy(site.path("second").join("mirror_seq2.index"), copy.join(INDEX)).unwrap();
    untouched(&site, "index", &[65]).says(INDEX);
}

#[test]
fn keys_decide() {
    let site = prepared();
    // No key at all.
    let target = format!("docker://{}", site.target.host);
    let media = site.path("media");
    let workspace = site.path("w");
    let plain = ["import", "--from", text(&media), "--workspace", text(&workspace), &target];
    site.bundle(&plain).refused(&[67]);
    // Another key.
    site.bundle(&["keys", "new", "--workspace", text(&site.path("stranger"))]).ok();
    let stranger = site.path("stranger/keys/default.pub.pem");
    let mut with = plain.to_vec();
    with.extend(["--trust", text(&stranger)]);
    site.bundle(&with).refused(&[67]).says("may have run there in another workspace");
    // The connected side takes another key, and says so before somebody carries it.
    site.source.image("team/app", "2", &[&noise(9, 2_000)]);
    site.images(&["team/app:2"]);
    let other = site.path("stranger/keys/default.pem");
    site.create("other-key", &["--key", text(&other)]).ok().says("signs with another key");
    // Another's signature over the same head.
    let forged = copied(&site, "forged");
    let seal = fs_err::read_to_string(forged.join(SEAL)).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&seal).unwrap();
    value["signatures"] = serde_json::json!([]);
    fs_write(&forged.join(SEAL), &serde_json::to_vec_pretty(&value).unwrap());
    untouched(&site, "forged", &[65, 67]);
    assert!(site.target.repositories().is_empty());
    // A file that is no key.
    fs_write(&site.path("no.pem"), b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n");
    let mut with = plain.to_vec();
    let none = site.path("no.pem");
    with.extend(["--trust", text(&none)]);
    site.bundle(&with).refused(&[64, 67]).says("no.pem");
}

/// Sequences 1 to 3 in `media-N`.
fn three() -> Site {
    let site = Site::new();
    let names = ["team/app:1", "team/app:2", "team/app:3"];
    for n in 1..=3 {
        site.source.image("team/app", &n.to_string(), &[&noise(n, 2_000)]);
        site.images(&names[..usize::try_from(n).unwrap()]);
        site.create(&format!("media-{n}"), &[]).ok();
    }
    site
}

#[test]
fn a_gap_names_what_is_missing() {
    let site = three();
    untagged(&site, "media-2", &[68]).says("1");
    assert!(site.target.repositories().is_empty(), "something was pushed");
    site.import("media-1", &[]).ok();
    let before = site.target.all_tags();
    site.import("media-3", &[]).refused(&[68]).says("2");
    assert_eq!(before, site.target.all_tags());
    site.import("media-2", &[]).ok();
    site.import("media-3", &[]).ok();
    site.same(&["team/app:1", "team/app:2", "team/app:3"]);
}

#[test]
fn an_older_one_is_stale() {
    let site = three();
    for n in 1..=3 {
        site.import(&format!("media-{n}"), &[]).ok();
    }
    let before = site.target.all_tags();
    site.import("media-1", &[])
        .refused(&[69])
        .says("sequence 1 is already imported or superseded, the target stands at sequence 3");
    site.import("media-2", &[]).refused(&[69]);
    site.import("media-3", &[]).ok();
    assert_eq!(before, site.target.all_tags());
}

#[test]
fn a_fork_is_refused() {
    let site = three();
    site.import("media-1", &[]).ok();
    // The connected side's workspace of before sequence 2 comes back from a backup, and makes another one.
    let other = Site::new();
    let _ = fs_err::remove_dir_all(other.path("connected"));
    other.source.image("team/app", "1", &[&noise(1, 2_000)]);
    other.images(&["team/app:1"]);
    other.create("media-1", &[]).ok();
    mirror(&other.path("connected"), &other.path("backup"));
    other.source.image("team/app", "2", &[b"one way"]);
    other.images(&["team/app:1", "team/app:2"]);
    other.create("media-2", &[]).ok();
    fs_err::remove_dir_all(other.path("connected")).unwrap();
    mirror(&other.path("backup"), &other.path("connected"));
    other.source.image("team/app", "2", &[b"the other way"]);
    other.create("media-2b", &[]).ok();
    other.import("media-1", &[]).ok();
    other.import("media-2", &[]).ok();
    let before = other.target.all_tags();
    other.import("media-2b", &[]).refused(&[70]);
    assert_eq!(before, other.target.all_tags());

    // Both at hand: a fork of the media, whatever the target has.
    let both = |verb: &str| {
        let mut command = other.command(&[verb, "--trust", text(&other.key())]);
        for media in ["media-1", "media-2", "media-2b"] {
            command.arg("--from").arg(other.path(media));
        }
        command
    };
    Run::of(&mut both("verify")).refused(&[70]).says("media-2/").says("media-2b/");
    let empty = format!("docker://{}/empty", other.target.host);
    let mut import = both("import");
    import.arg("--workspace").arg(other.path("other-inside")).arg(empty);
    Run::of(&mut import).refused(&[70]).says("media-2/").says("media-2b/");
    assert_eq!(before, other.target.all_tags());

    // Another stream altogether.
    copy_files(&site.path("media-1"), &other.path("stranger"));
    let trust = site.key();
    let refused = other.import("stranger", &["--trust", text(&trust)]).refused(&[70]);
    assert_eq!(before, other.target.all_tags());
    assert!(refused.stderr.contains("may have run in another workspace"), "{refused}");
    // The command of the hint is whole: it is copied and run as it is.
    let (_, command) = refused.stderr.split_once("`bundle import ").unwrap();
    let (command, _) = command.split_once('`').unwrap();
    assert!(command.ends_with(" --new-stream"), "{refused}");
    let words: Vec<&str> = ["import"].into_iter().chain(command.split(' ')).collect();
    other.bundle(&words).ok();
}

#[test]
fn other_names_than_before_are_refused() {
    let site = three();
    let deep = format!("{}/a/b/c", site.target.host);
    let import = |media: &str, more: &[&str]| site.import_into(&deep, media, more);
    import("media-1", &["--max-nested-paths", "2"]).ok();
    let before = site.target.all_tags();
    // The record stands under the name that the option gives it; the workspace knows as well.
    for more in [&[][..], &["--max-nested-paths", "3"], &["--dry-run"]] {
        let run = import("media-2", more).refused(&[64]);
        run.says("--max-nested-paths 2");
    }
    assert_eq!(before, site.target.all_tags());
    import("media-2", &["--max-nested-paths", "2"]).ok();
}

#[test]
fn a_port_that_speaks_tls_is_no_missing_repository() {
    let site = Site::new();
    site.source.image("team/app", "1", &[&noise(1, 2_000)]);
    site.images(&["team/app:1"]);
    site.create("media", &[]).ok();
    // What Go's server, nginx and this registry answer there, and others: the alert of TLS.
    for (words, told) in [
        ("Client sent an HTTP request to an HTTPS server.", "leave `127.0.0.1"),
        ("<center>The plain HTTP request was sent to HTTPS port</center>", "leave `127.0.0.1"),
        ("this registry speaks https on this port\n", "leave `127.0.0.1"),
        ("\u{15}\u{3}\u{1}\0\u{2}\u{2}\u{16}", "speaks TLS and was spoken to by plain HTTP"),
        ("no", "the registry refused (400)"),
    ] {
        let (listener, host) = listener();
        serve(listener, move |mut stream| {
            use std::io::{Read, Write};
            let _ = stream.read(&mut [0; 8192]);
            if words.starts_with('\u{15}') {
                let _ = stream.write_all(words.as_bytes());
                return;
            }
            let length = words.len();
            let _ = write!(
                stream,
                "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{words}"
            );
        });
        let run = site.import_into(&host, "media", &["--plain-http", &host]).refused(&[1]);
        assert!(!run.stderr.contains("lacks"), "{run}");
        run.says(told);
    }
}

#[test]
fn a_base_that_is_not_there_is_found_before_the_first_push() {
    let site = Site::new();
    let base = noise(1, 30_000);
    site.source.image("team/app", "1", &[&base]);
    site.images(&["team/app:1"]);
    site.create("media-1", &[]).ok();
    site.import("media-1", &[]).ok();
    site.source.image("team/app", "2", &[&base, b"new"]);
    site.images(&["team/app:1", "team/app:2"]);
    site.create("media-2", &[]).ok();
    site.target.delete("team/app", "blobs", &format_spec::Digest::of(&base).to_string());
    let run = site.import("media-2", &[]);
    // Sequence 1 carries it, so the way out is to import that again.
    run.refused(&[68]).says("from the media of sequence 1").says("`--put-back`");
    assert_eq!(site.target.tags("team/app"), ["1"]);
    site.import("media-1", &[]).ok();
    site.import("media-2", &[]).ok();
}

#[test]
fn a_source_that_wants_other_credentials() {
    let site = prepared();
    let closed = closed_registry();
    site.images_at(&closed, &["team/app:1"]);
    site.create("out", &[]).one_of(&[77, 8]).says("team/app");
    assert!(!site.path("out/mirror_seq2_000000.tar").exists());
    // The same at the target.
    site.import_into(&closed, "media", &[]).refused(&[77]).says(&closed);
}

/// A registry that answers 401 to everything.
fn closed_registry() -> String {
    use std::io::{BufRead, BufReader, Write};
    let (listener, host) = listener();
    serve(listener, |mut stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let _ = reader.read_line(&mut String::new());
        let _ = support::wire::read_headers(&mut reader);
        let _ = stream.write_all(
            b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"site\"\r\n\
              Content-Length: 0\r\nConnection: close\r\n\r\n",
        );
    });
    host
}

/// What a liar changes in what passes: the method, the path and the registry's answer.
type Lie = fn(&str, &str, &mut support::wire::Answer);

/// A registry that passes everything on to another, except for a lie. With `hold`, uploads of tags are
/// answered and not passed on.
fn liar(upstream: &str, hold: bool, lie: Lie) -> String {
    use std::io::{BufRead, BufReader, Read, Write};
    let (listener, host) = listener();
    let (upstream, own) = (upstream.to_owned(), host.clone());
    let answer = move |mut stream: std::net::TcpStream| -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let mut words = line.split_whitespace();
        let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or("").to_owned());
        let headers = support::wire::read_headers(&mut reader)?;
        let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let pass: Vec<(&str, &str)> = headers
            .iter()
            .filter(|(name, _)| matches!(&***name, "accept" | "content-type" | "content-range"))
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let of_tag = path.contains("/manifests/") && !path.contains("sha256:");
        let mut answer = if hold && method == "PUT" && of_tag && !path.contains("bundle-ledger") {
            let digest = format_spec::Digest::of(&body).to_string();
            let headers = [("docker-content-digest".to_owned(), digest)].into();
            support::wire::Answer { status: 201, headers, body: Vec::new() }
        } else {
            support::wire::request(&upstream, method, &path, &pass, &body)?
        };
        lie(method, &path, &mut answer);
        write!(stream, "HTTP/1.1 {} X\r\nConnection: close\r\n", answer.status)?;
        for (name, value) in &answer.headers {
            if !matches!(&**name, "connection" | "content-length" | "transfer-encoding") {
                write!(stream, "{name}: {}\r\n", value.replace(&upstream, &own))?;
            }
        }
        let length = match answer.headers.get("content-length") {
            Some(length) if method == "HEAD" => length.clone(),
            _ => answer.body.len().to_string(),
        };
        write!(stream, "Content-Length: {length}\r\n\r\n")?;
        stream.write_all(&answer.body)
    };
    serve(listener, answer);
    host
}

#[test]
fn a_target_that_answers_201_and_keeps_no_tag() {
    let site = prepared();
    let target = liar(&site.target.host, true, |_, _, _| {});
    for _ in 0..2 {
        let run = site.import_into(&target, "media", &[]).refused(&[75]);
        assert!(run.stderr.contains("team/app:"), "{run}");
    }
    assert!(site.target.tags("team/app").is_empty());
    site.import("media", &[]).ok();
}

#[test]
fn a_record_that_lost_its_content_is_none() {
    use support::wire::request;
    let site = prepared();
    let host = &site.target.host;
    site.import("media", &[]).ok();
    let list = request(host, "GET", "/v2/bundle-ledger/tags/list", &[], &[]).unwrap();
    let list: serde_json::Value = serde_json::from_slice(&list.body).unwrap();
    let mut tags = list["tags"].as_array().unwrap().iter().filter_map(|tag| tag.as_str());
    let tag = tags.find(|tag| tag.starts_with("stream-")).unwrap();
    let manifest = format!("/v2/bundle-ledger/manifests/{tag}");
    let read = || -> serde_json::Value {
        let answer = request(host, "GET", &manifest, &[("accept", "*/*")], &[]).unwrap();
        serde_json::from_slice(&answer.body).unwrap()
    };
    let layer =
        format!("/v2/bundle-ledger/blobs/{}", read()["layers"][0]["digest"].as_str().unwrap());
    let gone = request(host, "DELETE", &layer, &[], &[]).unwrap();
    assert_eq!(gone.status, 202);
    for workspace in [site.path("disconnected"), site.path("another")] {
        fs_err::create_dir_all(&workspace).unwrap();
        let mut arguments = site.import_arguments("media", host);
        let at = arguments.iter().position(|word| word == "--workspace").unwrap();
        arguments[at + 1] = text(&workspace).to_owned();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        site.bundle(&arguments).ok();
    }
    let layer =
        format!("/v2/bundle-ledger/blobs/{}", read()["layers"][0]["digest"].as_str().unwrap());
    assert_eq!(request(host, "GET", &layer, &[], &[]).unwrap().status, 200);
}

#[test]
fn a_target_that_keeps_no_record_is_not_done() {
    let site = prepared();
    // The record's own bytes are answered with 201 and forgotten.
    let target = liar(&site.target.host, false, |method, path, answer| {
        if method == "GET" && path.contains("/bundle-ledger/blobs/sha256:") {
            answer.status = 404;
            answer.body.clear();
        }
    });
    site.import_into(&target, "media", &[]).refused(&[75]).says("bundle-ledger:stream-");
    site.import("media", &[]).ok();
}

#[test]
fn a_target_that_fails_while_it_is_asked_is_left_without_a_lease() {
    let site = prepared();
    let target = liar(&site.target.host, false, |method, path, answer| {
        if method == "HEAD" && path.contains("/team/") {
            answer.status = 403;
        }
    });
    site.import_into(&target, "media", &[]).refused(&[75, 77]);
    let lease = "/v2/bundle-ledger/manifests/lease";
    let lease = support::wire::request(&site.target.host, "GET", lease, &[], &[]).unwrap();
    let lease = String::from_utf8(lease.body).unwrap();
    assert!(lease.contains(r#"\"holder\":null"#), "{lease}");
}

#[test]
fn a_manifest_that_changed_on_the_way() {
    let site = prepared();
    let source = liar(&site.source.host, false, |method, path, answer| {
        if method == "GET" && path.contains("/manifests/") && answer.status == 200 {
            // Still JSON, still a manifest; the header tells the digest of the true one.
            answer.body.push(b'\n');
        }
    });
    site.images_at(&source, &["team/app:1"]);
    site.create("changed", &[]).refused(&[8]).says("team/app:1");
    assert!(!site.path("changed/mirror_seq2.manifest.json").exists());
}

#[test]
fn a_blob_that_one_origin_has_damaged_comes_from_the_other() {
    let site = prepared();
    for damage in ["changed", "refused"] {
        let lie: Lie = if damage == "refused" {
            |_, path, answer| {
                if path.contains("/blobs/") {
                    answer.status = 500;
                }
            }
        } else {
            |_, path, answer| {
                if path.contains("/blobs/") && !answer.body.is_empty() {
                    answer.body[0] ^= 1;
                }
            }
        };
        let liar = liar(&site.source.host, false, lie);
        let names = format!(
            "  additionalImages:\n    - name: {liar}/team/app:1\n      targetRepo: a\n    - name: {}/team/app:1\n",
            site.source.host
        );
        site.configure(&names);
        let media = format!("media-{damage}");
        let more = ["--full", "--retry-times", "0"];
        site.create(&media, &more).ok();
        site.verify(&site.path(&media)).ok();
    }
}

#[test]
fn an_endless_list_of_referrers_behind_the_tag() {
    let site = prepared();
    let source = liar(&site.source.host, false, |_, path, answer| {
        if path.contains("/referrers/") {
            // The API is not there.
            *answer = support::wire::Answer {
                status: 404,
                headers: std::collections::BTreeMap::new(),
                body: b"404 page not found".to_vec(),
            };
        } else if path.contains("/manifests/sha256-") && !path.contains('.') {
            let entry = |n: u32| {
                let digest = format_spec::Digest::of(&n.to_le_bytes()).to_string();
                serde_json::json!({"mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "digest": digest, "size": 3})
            };
            let list: Vec<_> = (0..1001).map(entry).collect();
            let kind = "application/vnd.oci.image.index.v1+json";
            let index =
                serde_json::json!({"schemaVersion": 2, "mediaType": kind, "manifests": list});
            *answer = support::wire::Answer {
                status: 200,
                headers: [("content-type".to_owned(), kind.to_owned())].into(),
                body: index.to_string().into_bytes(),
            };
        }
    });
    site.images_at(&source, &["team/app:1"]);
    // A full sequence asks for every name; an increment would go by the list of tags, which has none of these.
    site.create("endless", &["--full"]).refused(&[8]).says("more than 1000 referrers");
}

#[test]
fn a_registry_that_is_not_there() {
    let site = prepared();
    site.images_at("registry.invalid:5000", &["team/app:1"]);
    site.create("out", &["--retry-times", "1"]).one_of(&[75, 8]).says("registry.invalid");
    let gone = format!("127.0.0.1:{}", support::free_port());
    site.import_into(&gone, "media", &["--retry-times", "1"]).refused(&[75]).says(&gone);
}

#[test]
fn a_certificate_of_nobody() {
    let Some(openssl) = tool("openssl") else { return };
    let site = prepared();
    let (key, cert) = (site.path("tls.key"), site.path("tls.crt"));
    support::command::sh(
        &openssl,
        &[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-keyout",
            text(&key),
            "-out",
            text(&cert),
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ],
    );
    let more = format!(", tls: {{certificate: '{}', key: '{}'}}", text(&cert), text(&key));
    let Some(target) = Server::distribution(&site.path("tls"), &more) else { return };
    let run = site.import_into(&target.host, "media", &["--retry-times", "1"]).refused(&[1, 75]);
    assert!(run.stderr.to_lowercase().contains("certificate"), "{run}");
    let taken = site.import_into(&target.host, "media", &["--ca-file", text(&cert)]).ok();
    assert!(!taken.stderr.contains("ERROR"), "what went well is no error\n{taken}");
    let unchecked = ["--insecure-tls", &target.host];
    site.import_into(&target.host, "media", &unchecked).ok().says("is not checked");
}

/// A certificate that changes in mid run is judged like the first: to one that is trusted the import goes on, to
/// another one not a byte goes.
#[test]
fn a_certificate_that_changes_on_the_way() {
    let site = Site::new();
    site.source.image("team/app", "1", &[&noise(1, 3_000_000), &noise(2, 3_000_000)]);
    site.images(&["team/app:1"]);
    site.create("media", &[]).ok();
    let slow = Relay::start(&site.target.host, 4_000_000);
    let path = |name: &str| site.path(name);
    for (number, trusted) in [(1, true), (2, false)] {
        let (first, second) = (path(&format!("first-{number}")), path(&format!("second-{number}")));
        let tls = TlsRelay::start(&slow.host, &first);
        let host = format!("{}/run{number}", tls.host);
        let arguments = site.import_arguments("media", &host);
        // The second one is written while the command runs, so it reads a file of both at its start.
        let both = path(&format!("both-{number}.pem"));
        let next = TlsRelay::start(&slow.host, &second);
        let pems = [&first, &second].map(|file| fs_err::read_to_string(file).unwrap());
        fs_write(&both, if trusted { pems.concat() } else { pems[0].clone() }.as_bytes());
        let before = slow.up();
        let mut command = site.command(&[]);
        command.args(&arguments).args(["--ca-file", text(&both), "--retry-times", "2"]);
        let run = std::thread::scope(|scope| {
            let run = scope.spawn(|| Run::of(&mut command));
            while slow.up() - before < 1_500_000 {
                assert!(!run.is_finished(), "it ended early: {}", run.join().unwrap());
                std::thread::sleep(Duration::from_millis(2));
            }
            tls.change_to(&next);
            run.join().unwrap()
        });
        if trusted {
            let _ = run.ok();
            assert_eq!(site.target.tags(&format!("run{number}/team/app")), ["1"]);
            continue;
        }
        run.refused(&[75]).says("certificate");
        assert!(site.target.tags(&format!("run{number}/team/app")).is_empty());
        // Whoever trusts the new one goes on.
        fs_write(&both, pems[1].as_bytes());
        let mut command = site.command(&[]);
        Run::of(command.args(&arguments).args(["--ca-file", text(&both)])).ok();
        assert_eq!(site.target.tags(&format!("run{number}/team/app")), ["1"]);
    }
}

#[test]
fn an_image_or_a_repository_that_is_not_there() {
    let site = prepared();
    site.images(&["team/app:nope", "nobody/nothing:1"]);
    site.create("out", &[]).code(8).says("team/app:nope").says("nobody/nothing:1");
}

#[test]
fn wrong_configurations_name_file_line_and_field() {
    let site = prepared();
    for (mirror, what) in [
        ("  additionalImages:\n    - nmae: example.com/a/b:1\n", "nmae"),
        ("  additionalImages:\n    - name: redis\n", "redis"),
        (
            "  additionalImages:\n    - name: example.com/a/b:1\n  additionalImages: []\n",
            "additionalImages",
        ),
    ] {
        site.configure(mirror);
        let run = site.create("out", &[]).code(64).says("imageset.yaml").says(what);
        assert!(run.stderr.contains("imageset.yaml:"), "no line\n{run}");
    }
    site.bundle(&["create", "--config", "/does/not/exist.yaml", "--to", text(&site.path("out"))])
        .code(64);
    site.bundle(&["import", "--from", text(&site.path("media")), "registry.example.com"]).code(64);
}

#[test]
fn a_directory_that_cannot_be_written() {
    let site = Site::new();
    site.source.image("team/app", "1", &[b"x"]);
    site.images(&["team/app:1"]);
    let path = site.path("media");
    let _disk;
    if is_root() {
        let Some(disk) = support::Tmpfs::mount(&path, 1 << 20) else { return };
        disk.remount("ro");
        _disk = disk;
    } else {
        use std::os::unix::fs::PermissionsExt;
        fs_err::create_dir(&path).unwrap();
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o500)).unwrap();
    }
    site.create("media", &[]).refused(&[73]).says("media");
    // Nothing is lost: elsewhere the first sequence is the first.
    site.create("elsewhere", &[]).ok();
    assert_eq!(site.head("elsewhere", 1)["sequence"], 1);
    // Also when there would be nothing to write to it; a dry run never writes there.
    site.create("media", &[]).refused(&[73]).says("media").says("`--to DIR`");
    site.create("media", &["--dry-run"]).ok();
}

/// Runs `bundle` in the site's directory as a user who is not its owner; `None` after saying why not.
fn as_a_stranger(site: &Site, arguments: &[&str]) -> Option<Run> {
    use std::os::unix::process::CommandExt as _;
    let mut command = site.command(arguments);
    if is_root() {
        command.uid(65_534);
    }
    // The checkout may lie where nobody else can go.
    if command.output().is_err() {
        support::skip("another user cannot run the program: missing rights are not tried");
        return None;
    }
    Some(Run::of(&mut command))
}

#[test]
fn a_workspace_that_may_not_be_used_says_what_to_do() {
    use std::os::unix::fs::PermissionsExt as _;
    let allow = |path: &Path, mode| {
        fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let site = prepared();
    allow(&site.path(""), 0o755);
    for directory in ["connected", "connected/keys", "connected/history", "disconnected"] {
        fs_err::create_dir_all(site.path(directory)).unwrap();
        allow(&site.path(directory), 0o555);
    }
    let secret = site.path("connected/keys/default.pem");
    allow(&secret, 0o000);
    let (create, host) = (site.create_arguments("other"), &site.target.host);
    let import = site.import_arguments("media", host);
    // The medium is to be written to; the workspace is what is refused.
    fs_err::create_dir(site.path("other")).unwrap();
    allow(&site.path("other"), 0o777);
    let connected = site.path("connected");
    let keys = ["keys", "new", "--name", "more", "--workspace", text(&connected)];
    for (arguments, place) in [
        (create.iter().map(String::as_str).collect::<Vec<_>>(), "connected/keys/default.pem"),
        (import.iter().map(String::as_str).collect(), "disconnected"),
        (keys.to_vec(), "connected/keys"),
    ] {
        let Some(run) = as_a_stranger(&site, &arguments) else { return };
        let run = run.refused(&[73]).says(place).says("Permission denied");
        let hints = run.stderr.lines().filter(|line| line.starts_with("hint:")).count();
        assert_eq!(hints, 1, "{run}");
        let _ = run.says("`ls -ld`");
    }
    // With a key that can be read, the history is next.
    allow(&secret, 0o444);
    let own = site.path("own.pem");
    fs_err::copy(&secret, &own).unwrap();
    allow(&own, 0o600);
    if is_root() {
        std::os::unix::fs::chown(&own, Some(65_534), None).unwrap();
    }
    let key = ["--key", text(&own)];
    let arguments: Vec<_> = create.iter().map(String::as_str).chain(key).collect();
    let Some(run) = as_a_stranger(&site, &arguments) else { return };
    let _ = run.refused(&[73]).says("connected/history").says("`ls -ld`");
}

#[test]
fn a_new_stream_is_told() {
    let site = Site::new();
    site.source.image("team/app", "1", &[b"one"]);
    site.images(&["team/app:1"]);
    let begins = "sequence 1 begins a new one with a new key";
    let here = format!("no stream in the workspace `{}` yet", text(&site.path("connected")));
    let run = site.create("media-1", &["--output", "json"]).ok();
    assert!(run.stderr.contains(&here) && run.stderr.contains(begins), "{run}");
    assert!(run.stderr.contains("`--workspace DIR`"), "{run}");
    assert_eq!(run.json()["newStreamIn"], text(&site.path("connected")));
    // The same command in another directory, where the default workspace is another one.
    let config = site.path("imageset.yaml");
    let elsewhere = ["create", "--config", text(&config), "--to", "elsewhere"];
    let run = site.bundle(&elsewhere).ok();
    assert!(run.stderr.contains("no stream in the workspace `bundle-workspace` yet"), "{run}");
    assert!(run.stdout.contains("begins a new stream"), "{run}");
    let since = [&elsewhere[..], &["--workspace", "third", "--since", "1"]].concat();
    site.bundle(&since).refused(&[64]).says("the workspace has no stream yet");
    // Whoever goes on hears nothing of it.
    site.source.image("team/app", "2", &[b"two"]);
    site.images(&["team/app:1", "team/app:2"]);
    let run = site.create("media-2", &["--output", "json"]).ok();
    assert!(!run.stderr.contains("begins") && run.json().get("newStreamIn").is_none(), "{run}");
}

#[test]
fn refused_credentials_are_traced_to_their_file() {
    let site = prepared();
    let closed = closed_registry();
    let file = site.path("wrong.json");
    let entry = serde_json::json!({"auths": {&closed: {"username": "ann", "password": "s3cret"}}});
    fs_write(&file, entry.to_string().as_bytes());
    let more = ["--authfile", text(&file)];
    let run = site.import_into(&closed, "media", &more).refused(&[77]);
    let Some(hint) = run.stderr.lines().find(|line| line.starts_with("hint:")) else {
        panic!("{run}")
    };
    assert!(hint.contains(text(&file)) && hint.contains("correct them there"), "{run}");
    assert!(!run.stderr.contains("s3cret"), "{run}");
    site.images_at(&closed, &["team/app:1"]);
    site.create("out", &more).refused(&[77]).says(text(&file)).says("correct the credentials");
}

#[test]
fn a_relative_layout_that_is_not_there_is_told_with_its_whole_path() {
    let site = Site::new();
    site.configure("  additionalImages:\n    - name: oci:no/layout\n");
    let whole = site.path("no/layout");
    let whole = format!("from the current directory: `{}`", text(&whole));
    site.create("out", &[]).refused(&[8]).says("`no/layout`").says(&whole);
}

#[test]
fn a_full_disk_loses_nothing() {
    let site = Site::new();
    site.source.image("team/app", "1", &[&noise(1, 3_000_000)]);
    site.images(&["team/app:1"]);
    let Some(disk) = support::Tmpfs::mount(&site.path("media"), 2 << 20) else { return };
    site.create("media", &[]).refused(&[73]).says("media");
    assert!(!site.path("media").join(HEAD).exists());
    disk.remount("size=16m");
    site.create("media", &[]).ok();
    site.import("media", &[]).ok();
    site.same(&["team/app:1"]);
}

#[test]
fn a_limit_of_the_size_of_files_is_told_like_a_full_disk() {
    let site = Site::new();
    site.source.image("team/app", "1", &[&noise(1, 3_000_000)]);
    site.images(&["team/app:1"]);
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", "ulimit -f 1000; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_bundle")]);
    limited.args(site.create_arguments("media")).current_dir(site.path(""));
    support::command::Run::of(&mut limited).refused(&[73]);
    site.create("media", &[]).ok();
}

#[test]
fn a_dry_run_says_that_there_is_no_room() {
    let site = Site::new();
    site.source.image("team/app", "1", &[&noise(1, 8_000_000)]);
    site.images(&["team/app:1"]);
    let Some(_disk) = support::Tmpfs::mount(&site.path("small"), 4 << 20) else { return };
    site.create("small/below", &["--dry-run"])
        .ok()
        .says("without `--dry-run` this would be refused");
    assert!(!site.path("small/below").exists());
    site.create("small/below", &[]).refused(&[73]);
    let run = site.create("large", &["--dry-run"]).ok();
    assert!(!run.stderr.contains("would be refused"), "{run}");
}

#[test]
fn a_disk_that_fills_up_on_the_way_loses_nothing() {
    let site = Site::new();
    site.source.image("team/app", "1", &[&noise(1, 3_000_000)]);
    let relay = Relay::start(&site.source.host, 4_000_000);
    site.images_at(&relay.host, &["team/app:1"]);
    let Some(disk) = support::Tmpfs::mount(&site.path("media"), 6 << 20) else { return };
    let arguments = site.create_arguments("media");
    let mut command = site.command(&[]);
    command
        .args(arguments)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Somebody else fills the disk while the layer arrives.
    while relay.down() < 200_000 && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let filler = site.path("media").join("filler");
    let mut size = 6 << 20;
    while size > 4096
        && std::fs::File::options().create(true).append(true).open(&filler).is_ok_and(|mut file| {
            use std::io::Write;
            let _ = file.write_all(&vec![1; size]);
            true
        })
    {
        size /= 2;
    }
    let code = child.wait().unwrap().code().unwrap();
    // Where the space was reserved before the first byte it is no longer there to be taken.
    assert!([0, 73].contains(&code), "{code}");
    fs_err::remove_file(&filler).unwrap();
    disk.remount("size=16m");
    site.create("media", &[]).ok();
    site.verify(&site.path("media")).ok();
    site.import("media", &[]).ok();
}

#[test]
fn a_stream_that_goes_on_elsewhere_needs_its_key() {
    let site = Site::new();
    site.source.image("team/app", "1", &[b"one"]);
    site.source.image("team/app", "2", &[b"two"]);
    let configure = |names: &[&str]| site.images_with_history(names);
    configure(&["team/app:1"]);
    let made = site.create("media-1", &["--output", "json"]).ok().json();
    let signer = made["keys"][0].as_str().unwrap().to_owned();
    // The second machine has the history from the registry, and no key.
    let (first, kept) = (site.path("connected"), site.path("first"));
    fs_err::rename(&first, &kept).unwrap();
    configure(&["team/app:1", "team/app:2"]);
    let refused = site.create("media-2", &[]).refused(&[64]);
    let refused = refused.says("has 1 sequence").says(&signer).says("--key FILE");
    refused.says("bundle keys new --workspace").says("keys/default.pem");
    assert!(!site.path("media-2").exists() && !first.join("keys").exists());
    site.create("media-2", &["--dry-run"]).ok().says("has no signing key");
    // The named key signs, and so does its copy.
    let key = kept.join("keys/default.pem");
    site.create("media-2", &["--key", text(&key)]).ok();
    fs_err::create_dir(first.join("keys")).unwrap();
    fs_err::copy(&key, first.join("keys/default.pem")).unwrap();
    site.create("media-2", &[]).ok().says("nothing new");
    // The first machine goes on without the registry, and there are two sequences 2.
    fs_err::rename(&first, site.path("second")).unwrap();
    fs_err::rename(&kept, &first).unwrap();
    site.images(&["team/app:2"]);
    site.create("media-3", &[]).ok();
    configure(&["team/app:1", "team/app:2"]);
    let refused = site.create("media-4", &[]).refused(&[70]);
    refused.says("another sequence 2").says("--workspace DIR --key FILE");
}

#[test]
fn what_is_attached_too_deep_is_named() {
    let site = Site::new();
    let image = site.source.image("team/app", "1", &[b"layer"]);
    let mut chain = vec![image];
    for level in [b"1", b"2", b"3", b"4"] {
        let next = site.source.artifact("team/app", None, "a/b", level, chain.last());
        chain.push(next);
    }
    site.images(&["team/app:1"]);
    let run = site.create("four", &[]).ok();
    assert!(!run.stderr.contains("left behind"), "{run}");
    let last = chain.last().unwrap();
    let fifth = site.source.artifact("team/app", None, "a/b", b"5", Some(last));
    let run = site.create("five", &["--full"]).ok();
    let place = format!("{}/team/app", site.source.host);
    let deepest = format!("{place}@{}", last.digest);
    run.says(&format!("{place}:1: what is attached to {} is left behind", last.digest))
        .says(&format!("name `{deepest}`"));
    // What the warning says to do brings it along.
    site.configure(&format!("  additionalImages:\n    - name: {place}:1\n    - name: {deepest}\n"));
    site.create("both", &["--full"]).ok();
    site.import("both", &[]).ok();
    site.target.pull("team/app", &fifth.digest.to_string());
}

#[test]
fn a_target_that_lost_a_blob_is_asked_again_later() {
    let site = Site::new();
    let arch = |arch| site.source.image_for("team/list", None, arch, &[arch.as_bytes()]);
    let (amd, arm) = (arch("amd64"), arch("arm64"));
    site.source.index("team/list", Some("1"), &[(&amd, "amd64"), (&arm, "arm64")]);
    site.source.image("team/app", "1", &[b"layer"]);
    // Tags only: manifests by digest go in, and what follows them is refused.
    let target = liar(&site.target.host, false, |method, path, answer| {
        let of_tag = path.ends_with("/manifests/1");
        if method == "PUT" && of_tag {
            answer.status = 400;
            answer.body = br#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN"}]}"#.to_vec();
        }
    });
    let list = format!("  additionalImages:\n    - name: {}/team/list:1\n", site.source.host);
    for (media, image) in [("plain", "team/app:1"), ("whole", "team/list:1")] {
        site.images(&[image]);
        site.create(media, &["--full"]).ok();
        let run = site.import_into(&target, media, &[]).refused(&[75]).says(image);
        assert!(run.stderr.contains("run the same command again"), "{run}");
        assert!(!run.stderr.contains("platforms"), "{run}");
    }
    // No further run brings what was left out on purpose.
    site.configure(&format!(
        "{list}      platforms:\n      - {{os: linux, architecture: amd64}}\n"
    ));
    site.create("sparse", &["--full"]).ok();
    site.import_into(&target, "sparse", &[]).refused(&[1]).says("leave `platforms` out");
}

#[test]
fn a_target_that_stores_another_manifest_than_it_was_sent() {
    let site = prepared();
    let target = liar(&site.target.host, false, |method, path, answer| {
        if method == "PUT" && path.contains("/team/") && path.contains("/manifests/") {
            let other = format_spec::Digest::of(b"rewritten").to_string();
            answer.headers.insert("docker-content-digest".to_owned(), other);
        }
    });
    let other = format_spec::Digest::of(b"rewritten").to_string();
    let run = site.import_into(&target, "media", &[]).refused(&[65]).says("team/");
    run.says(&other).says("look for a proxy");
}

/// An OCI layout with one image for each of these names.
fn layout(directory: &Path, names: &[&str]) -> Vec<String> {
    use serde_json::json;
    let blobs = directory.join("blobs/sha256");
    fs_err::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8]| {
        let digest = format_spec::Digest::of(bytes);
        fs_write(&blobs.join(digest.hex()), bytes);
        digest.to_string()
    };
    let kind = support::image::OCI_MANIFEST;
    let entries: Vec<_> = (0..names.len())
        .map(|number| {
            let config = format!("{{\"n\":{number}}}");
            let manifest = json!({"schemaVersion": 2, "mediaType": kind, "layers": [],
                "config": {"mediaType": support::image::OCI_CONFIG, "digest": put(config.as_bytes()),
                    "size": config.len()}})
            .to_string();
            json!({"mediaType": kind, "digest": put(manifest.as_bytes()), "size": manifest.len(),
                "annotations": {"org.opencontainers.image.ref.name": names[number]}})
        })
        .collect();
    let index = json!({"schemaVersion": 2, "manifests": entries}).to_string();
    fs_write(&directory.join("index.json"), index.as_bytes());
    fs_write(&directory.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#);
    entries.iter().map(|entry| entry["digest"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn an_image_of_a_layout_that_cannot_be_told() {
    let site = Site::new();
    let path = site.path("layout");
    let digests = layout(&path, &["app", "app", "tool"]);
    let named = |rest: &str| {
        let name = format!("oci:{}{rest}", text(&path));
        site.configure(&format!("  additionalImages:\n    - name: \"{name}\"\n"));
        site.create("media", &[])
    };
    // A name is no choice between two images, and a digest is.
    let run = named(":app").refused(&[8]).says("2 images named `app`").says("@sha256:…");
    run.says(&digests[0]).says(&digests[1]);
    let nobody = format_spec::Digest::of(b"nobody").to_string();
    let run = named(&format!("@{nobody}")).refused(&[8]);
    run.says(&format!("has no manifest {nobody}")).says(&digests[2]);
    let run = named("@sha256:12ab").refused(&[64]).says("is no digest: `@sha256:12ab`");
    run.says("imageset.yaml:5:").says("oci:PATH:NAME");
    assert!(!site.path("media").exists());
    named(&format!("@{}", digests[1])).ok();
}

#[test]
fn a_store_of_this_machine_is_the_target_that_is_told() {
    let site = prepared();
    let (media, key, workspace) = (site.path("media"), site.key(), site.path("w"));
    let import = ["import", "--from", text(&media), "--trust", text(&key), "--workspace"];
    let more = [text(&workspace), "--output", "json"];
    let answer = site.bundle(&[&import[..], &more].concat()).ok().json();
    let store = text(&workspace.join("registry")).to_owned();
    assert_eq!(
        (&answer["target"], &answer["store"]),
        (&store.clone().into(), &store.clone().into())
    );
    let receipt = fs_err::read(answer["sequences"][0]["receipt"].as_str().unwrap()).unwrap();
    let receipt: serde_json::Value = serde_json::from_slice(&receipt).unwrap();
    assert_eq!(receipt["target"], store);
}

#[test]
fn a_registry_without_tls_has_no_certificate_to_warn_of() {
    let site = prepared();
    let (source, target) = (site.source.host.clone(), site.target.host.clone());
    for run in [
        site.create("again", &["--full", "--insecure-tls", &source]).ok(),
        site.import("media", &["--insecure-tls", &target]).ok(),
    ] {
        assert!(!run.stderr.contains("certificate"), "{run}");
    }
}

#[test]
fn a_run_with_nothing_to_carry_makes_no_key() {
    let site = Site::new();
    let host = &site.source.host;
    site.source.image("team/app", "1", &[b"layer"]);
    let keys = site.path("connected/keys");
    site.configure(&format!(
        "  additionalImages:\n    - name: {host}/team/app:1\n  blockedImages:\n    - name: {host}/team/app:1\n"
    ));
    let answer = site.create("media", &["--output", "json"]).ok().json();
    assert_eq!(answer["keys"], serde_json::json!([]));
    site.images(&["team/none:1"]);
    site.create("media", &[]).refused(&[8]);
    assert!(!keys.exists());
    site.images(&["team/app:1"]);
    let answer = site.create("media", &["--output", "json"]).ok().json();
    assert_eq!(answer["keys"].as_array().map(Vec::len), Some(1));
    assert!(answer["newKey"].is_string() && keys.join("default.pem").is_file());
}

#[test]
fn a_key_that_cannot_be_made_is_told_as_such() {
    let site = Site::new();
    site.source.image("team/app", "1", &[b"layer"]);
    site.images(&["team/app:1"]);
    fs_err::create_dir_all(site.path("connected")).unwrap();
    fs_write(&site.path("connected/keys"), b"a file");
    site.create("media", &[]).refused(&[73]).says("connected/keys` is not a directory").says("mv ");
    assert!(!site.path("media").exists());
}

#[test]
fn a_referrer_that_is_listed_and_gone_is_told_with_its_image() {
    let site = prepared();
    let gone: Lie = |_, path, answer| {
        if path.contains("/referrers/") {
            let kind = support::image::OCI_INDEX;
            let entry = serde_json::json!({"mediaType": support::image::OCI_MANIFEST,
                "digest": format_spec::Digest::of(b"gone").to_string(), "size": 3});
            let list =
                serde_json::json!({"schemaVersion": 2, "mediaType": kind, "manifests": [entry]});
            *answer = support::wire::Answer {
                status: 200,
                headers: [("content-type".to_owned(), kind.to_owned())].into(),
                body: list.to_string().into_bytes(),
            };
        }
    };
    let source = liar(&site.source.host, false, gone);
    site.images_at(&source, &["team/app:1"]);
    let what = "is listed but not there";
    let run = site.create("gone", &["--full"]).ok().says(what);
    let Some(line) = run.stderr.lines().find(|line| line.contains(what)) else { panic!("{run}") };
    assert!(line.contains(&format!("{source}/team/app:1: ")), "{run}");
}

/// The directory is what was typed last: it is told before keys, which a person would then bring in vain.
#[test]
fn a_directory_without_sequences_is_told_before_missing_keys() {
    let site = prepared();
    let (nowhere, empty) = (site.path("nowhere"), site.path("empty"));
    fs_err::create_dir(&empty).unwrap();
    let target = format!("docker://{}", site.target.host);
    let workspace = text(&site.path("new")).to_owned();
    for (from, code, words) in
        [(&nowhere, 64, "cannot read the directory"), (&empty, 66, "no sequence in")]
    {
        let from = text(from);
        for command in [
            &["import", "--from", from, &target][..],
            &["verify", "--from", from],
            &["resources", "--from", from, &target],
            &["import", "--from", from, "--to-dir", &workspace, "--form", "dir"],
        ] {
            let command = [command, &["--workspace", &workspace]].concat();
            site.bundle(&command).refused(&[code]).says(words);
        }
    }
    let media = site.path("media");
    let command = ["import", "--from", text(&media), &target, "--workspace", &workspace];
    site.bundle(&command).refused(&[67]).says("no key is trusted");
}
