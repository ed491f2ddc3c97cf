//! Content that somebody made to hurt: at a source, and on a medium under a signature that is trusted.
//!
//! From a source it either travels byte for byte, because what is in a blob is nobody's business on the way, or its
//! image stays behind with a reason while the others travel. On a medium it is refused before anything has a name.
//! In neither case does memory grow, or a terminal get what it would act upon.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use format_spec::hash::cell_digests;
use format_spec::keys::SecretKey;
use format_spec::part::{PartLayout, table_member};
use format_spec::{Digest, codec, head, seal};
use fs_err as fs;
use serde_json::{Value, json};

use crate::support::command::Run;
use crate::support::figures::Figures;
use crate::support::image::{OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST};
use crate::support::pages::{Page, Pages, index};
use crate::support::server::fs_write;
use crate::support::site::Site;
use crate::support::{copy_files, files, noise, text};

/// The bar for either command, whatever is put before it, in KiB. A build without optimisation takes no more.
const MEMORY: u64 = 64 << 10;

/// What becomes of the image `bad:1`.
enum Outcome {
    /// It travels as it is.
    Carried,
    /// It stays behind, and the reason says this.
    Left(&'static str),
}

use Outcome::{Carried, Left};

type Case = (&'static str, fn(&Pages), Outcome);

/// An image whose field is something else.
fn with(pages: &Pages, change: impl FnOnce(&mut Value)) {
    let mut image = pages.image("bad", b"layer");
    change(&mut image);
    pages.document("bad", "1", &image);
}

/// A manifest of these bytes.
fn raw(pages: &Pages, bytes: &[u8]) {
    pages.manifest("bad", "1", OCI_MANIFEST, bytes);
}

/// The text of an image, to be changed where JSON cannot.
fn image_text(pages: &Pages) -> String {
    pages.image("bad", b"layer").to_string()
}

/// An image with this blob as its layer.
fn layer(pages: &Pages, bytes: &[u8]) {
    let image = pages.image("bad", bytes);
    pages.document("bad", "1", &image);
}

/// An image with this blob as its configuration.
fn config(pages: &Pages, bytes: &[u8]) {
    with(pages, |image| image["config"] = pages.blob("bad", OCI_CONFIG, bytes));
}

/// So many MiB of nothing, in little space.
fn bomb(size: u32) -> Vec<u8> {
    let script = format!("head -c {size}M /dev/zero | gzip -9");
    Command::new("sh").args(["-c", &script]).output().unwrap().stdout
}

/// A tar whose members lead elsewhere.
fn traversal() -> Vec<u8> {
    let mut tar = Vec::new();
    for (name, kind) in
        [("../../etc/passwd", b'0'), ("/etc/cron.d/x", b'0'), ("a", b'2'), ("b", b'3')]
    {
        let mut header = [0; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[156] = kind;
        header[157..168].copy_from_slice(b"/etc/shadow");
        checksum(&mut header);
        tar.extend(header);
    }
    tar.resize(tar.len() + 1024, 0);
    tar
}

/// Makes the sum of a header fit, so that any archiver takes it.
fn checksum(header: &mut [u8]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// A chain of indexes, each the only child of the next.
fn chain(pages: &Pages, length: usize) {
    let image = pages.image("bad", b"layer");
    let mut child = pages.document("bad", "leaf", &image);
    for _ in 0..length {
        child = pages.document("bad", "1", &index(&[child]));
    }
}

/// What sources are made to give away.
const SOURCES: &[Case] = &[
    // Blobs are carried, never looked into.
    ("a layer that is a decompression bomb", |p| layer(p, &bomb(256)), Carried),
    ("a layer with traversal, links and devices", |p| layer(p, &traversal()), Carried),
    ("a layer that is no archive", |p| layer(p, b"<html>not here</html>"), Carried),
    ("a layer of no bytes", |p| layer(p, b""), Carried),
    ("a configuration that is not JSON", |p| config(p, b"\x00\xff not json"), Carried),
    ("a configuration of no bytes", |p| config(p, b""), Carried),
    (
        "a configuration nested 100,000 levels",
        |p| config(p, "[".repeat(100_000).as_bytes()),
        Carried,
    ),
    ("a configuration of 16 MiB", |p| config(p, &noise(5, 16 << 20)), Carried),
    (
        "a layer ten times",
        |p| with(p, |i| i["layers"] = vec![i["layers"][0].clone(); 10].into()),
        Carried,
    ),
    (
        "a layer's type that nobody knows",
        |p| with(p, |i| i["layers"][0]["mediaType"] = json!("text/html")),
        Carried,
    ),
    (
        "a layer that may be had elsewhere",
        |p| with(p, |i| i["layers"][0]["urls"] = json!(["file:///etc/passwd"])),
        Left("foreign"),
    ),
    (
        "an annotation with control characters",
        |p| with(p, |i| i["annotations"] = json!({"a\u{1b}[2J": "\u{1b}]0;x\u{7}"})),
        Carried,
    ),
    (
        "fields that nobody knows",
        |p| with(p, |i| i["__proto__"] = json!({"x": [1, 2.5, null]})),
        Carried,
    ),
    (
        "a subject that is not there",
        |p| {
            with(
                p,
                |i| i["subject"] = json!({"mediaType": OCI_MANIFEST, "size": 3, "digest": Digest::of(b"abc").to_string()}),
            );
        },
        Carried,
    ),
    ("an index without children", |p| drop(p.document("bad", "1", &index(&[]))), Carried),
    ("indexes 40 levels deep", |p| chain(p, 40), Carried),
    // Names and digests.
    (
        "a digest that is a path",
        |p| with(p, |i| i["layers"][0]["digest"] = json!("sha256:../../../../etc/passwd")),
        Left("digest"),
    ),
    (
        "a digest in capitals",
        |p| with(p, |i| i["layers"][0]["digest"] = json!(format!("sha256:{}", "AB".repeat(32)))),
        Left("digest"),
    ),
    (
        "a digest of another algorithm",
        |p| with(p, |i| i["layers"][0]["digest"] = json!(format!("sha512:{}", "ab".repeat(64)))),
        Left("sha512"),
    ),
    (
        "a digest with control characters",
        |p| with(p, |i| i["layers"][0]["digest"] = json!("sha256:\u{1b}[2Jaa")),
        Left("digest"),
    ),
    (
        "a type with control characters",
        |p| with(p, |i| i["mediaType"] = json!("a/\u{1b}[31mb\r\nX: y")),
        Left(""),
    ),
    (
        "a type of a megabyte",
        |p| with(p, |i| i["layers"][0]["mediaType"] = json!("x".repeat(1 << 20))),
        Left("mediaType"),
    ),
    // Sizes and counts.
    ("a negative size", |p| with(p, |i| i["layers"][0]["size"] = json!(-1)), Left("size")),
    (
        "a size beyond 64 bits",
        |p| raw(p, image_text(p).replace("\"size\":5", "\"size\":99999999999999999999").as_bytes()),
        Left("size"),
    ),
    ("a size with a fraction", |p| with(p, |i| i["layers"][0]["size"] = json!(5.5)), Left("size")),
    ("a size in a text", |p| with(p, |i| i["layers"][0]["size"] = json!("5")), Left("size")),
    (
        "a size above all that is carried",
        |p| with(p, |i| i["layers"][0]["size"] = json!(1_u64 << 52)),
        Left("size"),
    ),
    (
        "a size of a pebibyte",
        |p| with(p, |i| i["layers"][0]["size"] = json!(1_u64 << 50)),
        Left(""),
    ),
    ("a size one less than there is", |p| with(p, |i| i["layers"][0]["size"] = json!(4)), Left("")),
    ("a size one more than there is", |p| with(p, |i| i["layers"][0]["size"] = json!(6)), Left("")),
    (
        "two sizes of one blob",
        |p| {
            with(p, |i| {
                let mut other = i["layers"][0].clone();
                other["size"] = json!(7);
                i["layers"] = json!([i["layers"][0].clone(), other]);
            });
        },
        Left("disagree"),
    ),
    (
        "a manifest above its limit",
        |p| with(p, |i| i["annotations"] = json!({"a": "x".repeat(5 << 20)})),
        Left("larger than 4194304 bytes"),
    ),
    (
        "a manifest without end",
        |p| {
            p.page(
                "/v2/bad/manifests/1",
                Page {
                    media_type: OCI_MANIFEST.into(),
                    headers: String::new(),
                    bytes: vec![b' '; 65_536],
                    times: usize::MAX,
                },
            );
        },
        Left(""),
    ),
    (
        "25,000 layers",
        |p| {
            with(p, |i| {
                i["layers"] = vec![
                    json!({"mediaType": "a", "size": 1, "digest": i["layers"][0]["digest"]});
                    25_000
                ]
                .into();
            });
        },
        Left("descriptors"),
    ),
    (
        "an index of 15,000 children",
        |p| {
            let children: Vec<Value> = (0..15_000).map(|n| json!({"mediaType": OCI_MANIFEST, "size": 2, "digest": Digest::of(format!("{n}").as_bytes()).to_string()})).collect();
            p.document("bad", "1", &index(&children));
        },
        Left("10000 manifests"),
    ),
    (
        "a manifest that expands without end",
        |p| {
            p.page(
                "/v2/bad/manifests/1",
                Page {
                    media_type: OCI_MANIFEST.into(),
                    headers: "Content-Encoding: gzip\r\n".into(),
                    bytes: bomb(64),
                    times: 1,
                },
            );
        },
        Left(""),
    ),
    // Shape and meaning.
    (
        "an annotation nested 100,000 levels",
        |p| {
            raw(
                p,
                image_text(p)
                    .replacen(
                        '{',
                        &format!("{{\"x\":{}1{},", "[".repeat(100_000), "]".repeat(100_000)),
                        1,
                    )
                    .as_bytes(),
            );
        },
        Left("JSON"),
    ),
    (
        "a key twice",
        |p| raw(p, image_text(p).replacen('{', "{\"layers\":[],", 1).as_bytes()),
        Left("twice"),
    ),
    (
        "a key twice, once escaped",
        |p| raw(p, image_text(p).replacen('{', "{\"l\\u0061yers\":[],", 1).as_bytes()),
        Left("twice"),
    ),
    ("bytes after the end", |p| raw(p, (image_text(p) + "{}").as_bytes()), Left("JSON")),
    ("a manifest that is not JSON", |p| raw(p, &noise(9, 3_000)), Left("JSON")),
    ("a manifest that is a page for people", |p| raw(p, b"<html>sign in</html>"), Left("JSON")),
    ("a manifest of no bytes", |p| raw(p, b""), Left("JSON")),
    ("a manifest that is a list", |p| raw(p, b"[]"), Left("object")),
    ("an image that is an index too", |p| with(p, |i| i["manifests"] = json!([])), Left("both")),
    (
        "an image whose other half is null",
        |p| with(p, |i| i["manifests"] = Value::Null),
        Left("both"),
    ),
    (
        "an image sent as an index",
        |p| {
            let image = image_text(p);
            p.manifest("bad", "1", OCI_INDEX, image.as_bytes());
        },
        Left(""),
    ),
    (
        "an image that says it is an index",
        |p| with(p, |i| i["mediaType"] = json!(OCI_INDEX)),
        Left(""),
    ),
    (
        "an image sent as a page for people",
        |p| {
            let image = image_text(p);
            p.manifest("bad", "1", "text/html", image.as_bytes());
        },
        Left("text/html"),
    ),
    (
        "Docker schema 1",
        |p| raw(p, br#"{"schemaVersion":1,"name":"bad","tag":"1","fsLayers":[],"history":[]}"#),
        Left("schema 1"),
    ),
    (
        "an index that lists itself",
        |p| {
            let child = json!({"mediaType": OCI_INDEX, "size": 300, "digest": Digest::of(b"itself").to_string()});
            let document = serde_json::to_vec(&index(std::slice::from_ref(&child))).unwrap();
            p.put(&format!("/v2/bad/manifests/{}", Digest::of(b"itself")), OCI_INDEX, &document);
            p.manifest("bad", "1", OCI_INDEX, &document);
        },
        Left(""),
    ),
    (
        "an index whose child is a blob",
        |p| {
            let child = p.blob("bad", OCI_LAYER, b"layer");
            p.document("bad", "1", &index(&[child]));
        },
        Left(""),
    ),
    (
        "a child under another type than its own",
        |p| {
            let image = p.image("bad", b"layer");
            let mut child = p.document("bad", "2", &image);
            child["mediaType"] = json!(OCI_INDEX);
            p.document("bad", "1", &index(&[child]));
        },
        Left(""),
    ),
    (
        "a manifest that is its own layer",
        |p| {
            let inner = p.image("bad", b"layer");
            let inner = p.document("bad", "inner", &inner);
            let mut image = p.image("bad", b"x");
            image["layers"] = json!([inner.clone()]);
            p.blob("bad", OCI_LAYER, b"layer");
            let image = p.document("bad", "2", &image);
            p.document("bad", "1", &index(&[inner, image]));
        },
        Left("blob"),
    ),
    (
        "a layer that is another's",
        |p| {
            let image = p.image("bad", b"layer");
            p.document("bad", "1", &image);
            p.put(&format!("/v2/bad/blobs/{}", Digest::of(b"layer")), "x/y", b"LAYER");
        },
        Left(""),
    ),
];

/// Each hostile image beside a good one: the good one arrives in every case.
#[test]
fn hostile_sources() {
    let site = Site::new();
    let mut figures = Figures::new("hostile content of sources", SOURCES.len());
    let cases: Vec<(usize, &Case)> = SOURCES.iter().enumerate().collect();
    figures.lanes(
        &cases,
        |_| (),
        |(_, (name, ..))| (*name).to_owned(),
        |(), (number, (_, put, outcome))| {
            let pages = Pages::start();
            let good = pages.image("good", b"good layer");
            pages.document("good", "1", &good);
            put(&pages);
            carry(&site, &pages, *number, outcome);
        },
    );
    figures.end();
}

fn carry(site: &Site, pages: &Pages, number: usize, outcome: &Outcome) {
    let path = |name: &str| site.path(&format!("{name}-{number}"));
    let (config, media, connected) = (path("config"), path("media"), path("connected"));
    let list = format!("    - name: {0}/good:1\n    - name: {0}/bad:1\n", pages.host);
    let api = "kind: ImageSetConfiguration\napiVersion: mirror.openshift.io/v2alpha1\n";
    fs_write(&config, format!("{api}mirror:\n  additionalImages:\n{list}").as_bytes());
    let create = ["create", "--config", text(&config), "--to", text(&media), "--workspace"];
    let mut command = site.command(&create);
    command.arg(&connected).args(["--retry-delay", "5ms", "--retry-times", "2"]);
    let created = watched(&mut command);
    let created = match outcome {
        Carried => created.code(0),
        Left(reason) => created.code(8).says("bad:1").says(reason),
    };
    harmless(&created);
    let key = connected.join("keys/default.pub.pem");
    let arguments = ["--from", text(&media), "--trust", text(&key)];
    for subcommand in ["verify", "describe"] {
        harmless(&watched(site.command(&[subcommand]).args(arguments)).code(0));
    }
    let target = format!("docker://{}/case{number}", site.target.host);
    let mut command = site.command(&["import"]);
    command.args(arguments).arg("--workspace").arg(path("inside")).arg(target);
    harmless(&watched(&mut command).code(0));
    site.target.pull(&format!("case{number}/good"), "1");
    let bad = format!("case{number}/bad");
    match outcome {
        Carried => drop(site.target.pull(&bad, "1")),
        Left(_) => assert!(site.target.tags(&bad).is_empty()),
    }
    for name in files(&media).iter().filter(|name| name.ends_with(".html")) {
        let page = fs::read_to_string(media.join(name)).unwrap();
        assert!(!page.contains('\u{1b}') && !page.contains("<script"), "{page}");
    }
    for used in [media, connected, path("inside")] {
        fs::remove_dir_all(used).unwrap();
    }
}

/// Runs a command within the bar of memory.
#[track_caller]
fn watched(command: &mut Command) -> Run {
    let (run, most) = Run::watched(command);
    // A run that ends at once may not be met at all.
    assert!(most < MEMORY, "{most} KiB\n{run}");
    run
}

/// Nothing that was said makes a terminal do something.
#[track_caller]
fn harmless(run: &Run) {
    let acts = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    assert!(!run.stdout.contains(acts) && !run.stderr.contains(acts), "{run}");
}

const PART: &str = "mirror_seq1_000000.tar";
const INDEX: &str = "mirror_seq1.index";
const HEAD: &str = "mirror_seq1.manifest.json";
const SEAL: &str = "mirror_seq1.manifest.sig";

/// What is changed on a medium, before it is signed again.
enum Change {
    /// A text of the index, and another of the same length.
    Index(&'static str, &'static str),
    /// A text of the head and another.
    Head(&'static str, String),
    /// A byte of the header of the part's first member, and what stands there.
    Member(usize, &'static [u8]),
}

use Change::{Head, Index, Member};

fn changes() -> Vec<(&'static str, Change)> {
    let deep =
        format!("\"labels\": {{\"x\":{}{}}},\"x\":{{", "[".repeat(100_000), "]".repeat(100_000));
    let many = (0..100_000).fold(String::from("\"labels\": {"), |mut all, n| {
        write!(all, "\"k{n}\":\"v\",").unwrap();
        all
    });
    vec![
        ("a repository that leads upwards", Index("team/tool", "../../../")),
        ("a repository from the root", Index("team/tool", "/etc/cron")),
        ("a repository in capitals", Index("team/tool", "Team/Tool")),
        ("a repository with a line break", Index("team/tool", "team\ntool")),
        ("a repository with a NUL", Index("team/tool", "team/\0ool")),
        ("a repository that is another host's", Index("team/tool", "evil:80/x")),
        ("a repository with an escape", Index("team/tool", "team/\u{1b}[2J")),
        ("repositories out of order", Index("team/tool", "aaaa/tool")),
        ("a tag that leads upwards", Index("some-tag", "../../..")),
        ("a tag with a line break", Index("some-tag", "some\ntag")),
        ("a tag that begins with a dash", Index("some-tag", "-rf--tag")),
        (
            "a type with a line break",
            Index("vnd.oci.image.manifest", "vnd\r\nX-Evil: 1\r\n\r\nfest"),
        ),
        (
            "a type that is a page for people",
            Index(
                "application/vnd.oci.image.manifest.v1+json",
                "text/html;xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            ),
        ),
        ("labels nested 100,000 levels", Head("\"labels\": {", deep)),
        ("100,000 labels", Head("\"labels\": {", many)),
        ("a key twice", Head("\"sequence\": 1", "\"sequence\": 1,\"sequence\":2".into())),
        (
            "a key twice, once escaped",
            Head("\"sequence\": 1", "\"sequence\": 1,\"sequenc\\u0065\":1".into()),
        ),
        (
            "a sequence beyond 53 bits",
            Head("\"sequence\": 1", "\"sequence\":9007199254740993".into()),
        ),
        ("a sequence of zero", Head("\"sequence\": 1", "\"sequence\":0".into())),
        ("a negative sequence", Head("\"sequence\": 1", "\"sequence\":-1".into())),
        ("another sequence than the name says", Head("\"sequence\": 1", "\"sequence\":2".into())),
        (
            "a part elsewhere",
            Head("\"mirror_seq1_000000.tar\"", "\"../../../../etc/passwd\"".into()),
        ),
        ("a part with an escape", Head("\"mirror_seq1_000000.tar\"", "\"\\u001b[2J\"".into())),
        ("cells of another size", Head("\"cellBytes\": 65536", "\"cellBytes\":1".into())),
        ("cells of no bytes", Head("\"cellBytes\": 65536", "\"cellBytes\":0".into())),
        ("a feature that nobody knows", Head("\"crit\": [", "\"crit\": [\"\\u001b[2J\"".into())),
        ("a digest that is a path", Head("\"sha256:", "\"sha256:../".into())),
        ("bytes after the end", Head("{", "{}{".into())),
        ("a member that is a hard link", Member(156, b"1")),
        ("a member that is a link", Member(156, b"2")),
        ("a member that is a character device", Member(156, b"3")),
        ("a member that is a block device", Member(156, b"4")),
        ("a member that is a directory", Member(156, b"5")),
        ("a member that is a pipe", Member(156, b"6")),
        ("a PAX header", Member(156, b"x")),
        ("a global PAX header", Member(156, b"g")),
        ("a long name of GNU", Member(156, b"L")),
        ("a long link of GNU", Member(156, b"K")),
        ("a sparse file of GNU", Member(156, b"S")),
        ("a member that leads upwards", Member(0, b"../../../../etc/passwd\0")),
        ("a member from the root", Member(0, b"/etc/passwd\0")),
        ("a member with a prefix", Member(345, b"../../etc")),
        ("a member of 8 GiB", Member(124, b"77777777777\0")),
        ("a member of a negative size", Member(124, &[0xff; 12])),
        (
            "a member whose size is in base 256",
            Member(124, &[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]),
        ),
        ("a member that runs as another", Member(100, b"0006755\0")),
    ]
}

/// Those that fail otherwise than by damage.
const FAILURES: [&str; 2] = ["a feature that nobody knows", "a type that is a page for people"];

/// Media that a trusted key signed, with content that no honest program writes.
#[test]
fn hostile_media() {
    let site = Site::new();
    site.source.image("app", "1", &[&noise(1, 5_000)]);
    site.source.image("team/tool", "some-tag", &[&noise(2, 3_000)]);
    site.images(&["app:1", "team/tool:some-tag"]);
    site.create("media", &["--label", "site=north"]).ok();
    let secret = fs::read_to_string(site.path("connected/keys/default.pem")).unwrap();
    let secret = SecretKey::from_pem(&secret).unwrap();
    let cases: Vec<_> = changes().into_iter().enumerate().collect();
    let mut figures = Figures::new("hostile content, signed", cases.len());
    figures.lanes(
        &cases,
        |_| (),
        |(_, (name, _))| (*name).to_owned(),
        |(), (number, (name, change))| {
            let media = site.path(&format!("copy-{number}"));
            copy_files(&site.path("media"), &media);
            sign_again(&media, change, &secret);
            let target = format!("docker://{}/copy{number}", site.target.host);
            let key = site.key();
            let arguments = ["--from", text(&media), "--trust", text(&key)];
            let mut command = site.command(&["import"]);
            command.args(arguments).args(["--retry-delay", "5ms", &target, "--workspace"]);
            command.arg(site.path(&format!("inside-{number}")));
            // What another version may mean, and what only registries judge, is a failure like any other.
            let refused = if FAILURES.contains(name) { &[1][..] } else { &[65, 66, 67] };
            harmless(&watched(&mut command).refused(refused));
            let refused = if *name == FAILURES[1] { &[65] } else { refused };
            harmless(&watched(site.command(&["verify"]).args(arguments)).refused(refused));
            // To look at it is allowed; it may be refused.
            let described = watched(site.command(&["describe"]).args(arguments));
            harmless(&described.one_of(&[0, 1, 65, 66, 67]));
            fs::remove_dir_all(media).unwrap();
        },
    );
    figures.end();
    assert!(site.target.all_tags().is_empty());
}

fn sign_again(media: &Path, change: &Change, secret: &SecretKey) {
    let read = |name: &str| fs::read(media.join(name)).unwrap();
    let mut parsed = head::Head::parse(&read(HEAD)).unwrap();
    match change {
        Head(..) => {}
        Index(old, new) => {
            assert_eq!(old.len(), new.len());
            let mut bytes = read(INDEX);
            let places: Vec<usize> = (0..bytes.len() - old.len())
                .filter(|at| bytes[*at..].starts_with(old.as_bytes()))
                .collect();
            assert!(!places.is_empty(), "the index has no `{old}`");
            for at in places {
                bytes[at..at + new.len()].copy_from_slice(new.as_bytes());
            }
            parsed.index.digest = Digest::of(&bytes);
            fs_write(&media.join(INDEX), &bytes);
        }
        Member(at, bytes) => {
            let mut part = read(PART);
            let layout = PartLayout { bytes: part.len() as u64 };
            let from = usize::try_from(layout.data_offset().unwrap()).unwrap();
            let index = codec::decode(&read(INDEX)).unwrap();
            let first = index.members(1).unwrap()[0].iter().map(|member| member.place.offset).min();
            let header = usize::try_from(first.unwrap()).unwrap() - 512;
            part[header + at..header + at + bytes.len()].copy_from_slice(bytes);
            checksum(&mut part[header..header + 512]);
            let table = table_member(parsed.sequence, 0, &cell_digests(&part[from..]));
            part[..from].copy_from_slice(&table);
            parsed.parts[0].table = Digest::of(&table);
            fs_write(&media.join(PART), &part);
        }
    }
    let mut bytes = parsed.to_bytes();
    if let Head(old, new) = change {
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains(old), "the head has no `{old}`: {text}");
        bytes = text.replacen(old, new, 1).into_bytes();
    }
    fs_write(&media.join(SEAL), &seal::sign(&bytes, &[secret]));
    fs_write(&media.join(HEAD), &bytes);
}
