//! Proof at both ends: what a medium and a target really hold, and a sequence once more when its medium is lost.

#![allow(clippy::unwrap_used)]

mod support;

use std::path::{Path, PathBuf};

use format_spec::Digest;
use support::command::Run;
use support::site::Site;
use support::{files, noise, text};

/// Two sequences of a few images; the second one changes one and adds one.
fn two_sequences(site: &Site) {
    let base = noise(1, 300_000);
    site.source.image("team/a", "1", &[&base, &noise(2, 900_000)]);
    site.source.image("team/b", "1", &[&base, &noise(3, 40_000)]);
    site.images(&["team/a:1", "team/b:1"]);
    site.create("one", &["--size", "1MiB"]).ok();
    let moved = site.source.image("team/b", "1", &[&base, &noise(4, 1_500_000)]);
    let signature = format!("{}.sig", moved.tag_stem());
    site.source.artifact("team/b", Some(&signature), "application/x.sig", b"s", None);
    site.source.image("team/c", "1", &[&noise(5, 700_000)]);
    site.images(&["team/a:1", "team/b:1", "team/c:1"]);
    site.create("two", &["--size", "1MiB"]).ok();
}

/// The files of a sequence but for the page, which is made for the occasion.
fn content(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let names = files(dir).into_iter().filter(|name| !name.ends_with(".html"));
    names.map(|name| (name.clone(), fs_err::read(dir.join(&name)).unwrap())).collect()
}

#[test]
fn a_lost_medium_is_written_again_byte_for_byte() {
    let site = Site::new();
    two_sequences(&site);
    let history = support::snapshot(&site.path("connected/history"));
    for (number, name) in [("1", "one"), ("2", "two")] {
        let again = format!("{name}-again");
        site.create(&again, &["--resend", number]).ok().says(&again);
        let (first, second) = (content(&site.path(name)), content(&site.path(&again)));
        assert!(first.len() >= 5, "several parts");
        assert!(first == second, "sequence {number}");
        let run = site.create(&again, &["--resend", number]).refused(&[64]);
        run.says("as this workspace wrote it").says("bundle verify --from");
    }
    assert!(history == support::snapshot(&site.path("connected/history")), "history moved");
    site.import("one-again", &[]).ok();
    site.import("two-again", &[]).ok();
    site.same(&["team/a:1", "team/b:1", "team/c:1"]);

    site.create("none", &["--resend", "3"]).refused(&[64]).says("no sequence 3");
    site.create("none", &["--resend", "1", "--full"]).code(64);
    // What the source lost cannot come from anywhere.
    let lost = Digest::of(&noise(2, 900_000));
    site.source.delete("team/a", "blobs", &lost.to_string());
    let run = site.create("lost", &["--resend", "1"]).refused(&[8]);
    run.says(&lost.to_string()).says("team/a:1").says("--full");
    assert!(!site.path("lost/mirror_seq1.manifest.json").exists());
}

#[test]
fn a_medium_is_read_back_before_it_holds_a_sequence() {
    let site = Site::new();
    site.source.image("team/a", "1", &[&noise(1, 300_000)]);
    site.images(&["team/a:1"]);
    let run = site.create("media", &["--read-back", "--output", "json"]).ok();
    assert_eq!(run.json()["readBack"], true);
    site.verify(&site.path("media")).ok();
    site.create("again", &["--resend", "1", "--read-back"]).ok().says("read back");
}

#[test]
fn an_interrupted_second_writing_goes_on() {
    let site = Site::new();
    two_sequences(&site);
    let again = site.path("again");
    site.create("again", &["--resend", "2"]).ok();
    // As if it had ended between two names: some have theirs, the head's is still to come.
    for (n, name) in files(&again).into_iter().enumerate() {
        if n % 2 == 0 || name.ends_with("manifest.json") {
            let partial = again.join(format!("{name}.partial"));
            fs_err::rename(again.join(&name), partial).unwrap();
        }
    }
    site.create("again", &["--resend", "2"]).ok();
    assert!(content(&site.path("two")) == content(&again));
    // As if it had ended while the parts were filled.
    for name in files(&again) {
        let to = again.join(format!("{name}.partial"));
        if name.ends_with(".tar") {
            fs_err::rename(again.join(&name), to).unwrap();
        } else {
            fs_err::remove_file(again.join(&name)).unwrap();
        }
    }
    site.create("again", &["--resend", "2"]).ok();
    assert!(content(&site.path("two")) == content(&again));
}

fn against(site: &Site, media: &[&str]) -> Run {
    let target = format!("docker://{}", site.target.host);
    let mut arguments = vec!["verify".to_owned(), "--against".to_owned(), target];
    for media in media {
        arguments.extend(["--from".to_owned(), text(&site.path(media)).to_owned()]);
    }
    arguments.extend(["--trust".to_owned(), text(&site.key()).to_owned()]);
    let mut command = site.command(&[]);
    Run::of(command.args(arguments))
}

/// The file of a blob in the store of the embedded registry.
fn stored(dir: &Path, digest: &Digest) -> Option<PathBuf> {
    let entries = fs_err::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.into_iter().find_map(|path| match path.is_dir() {
        true => stored(&path, digest),
        // Links to it are empty files of the same name.
        false => (text(&path).contains(&digest.hex()) && path.metadata().unwrap().len() > 0)
            .then_some(path),
    })
}

#[test]
fn a_target_is_held_against_what_was_promised() {
    let site = Site::new();
    two_sequences(&site);
    against(&site, &["one"]).refused(&[66]).says("sequence 1 of stream");
    site.import("one", &[]).ok();
    against(&site, &["one"]).ok().says("has all that was promised");
    // The second one is not there yet.
    let run = against(&site, &["one", "two"]).refused(&[66]).says("team/c:1 is not at the target");
    run.says("was not imported yet: the target stands at sequence 1").says("import what follows");
    site.import("two", &[]).ok();
    // One of the five left with the second sequence.
    against(&site, &["one", "two"]).ok().says("4 tags").says("4 manifests");
    // The first one alone: a later sequence moved its name, which is told.
    against(&site, &["one"]).ok().says("since").says("team/b:1 is another one");

    // Parts are not needed for it; the head is.
    for name in files(&site.path("two")) {
        if name.ends_with(".tar") {
            fs_err::remove_file(site.path("two").join(name)).unwrap();
        }
    }
    against(&site, &["two"]).ok();

    // One byte of a blob, at the same length: only who reads it can tell.
    let digest = Digest::of(&noise(5, 700_000));
    let path = stored(&site.path("target"), &digest).expect("the blob's file");
    let good = fs_err::read(&path).unwrap();
    let mut bad = good.clone();
    bad[1000] ^= 1;
    fs_err::write(&path, &bad).unwrap();
    against(&site, &["two"]).refused(&[65]).says(&digest.to_string());
    fs_err::write(&path, &good).unwrap();
    against(&site, &["two"]).ok();

    // A tag that somebody moved, and one that is gone.
    let other = site.target.image("team/c", "1", &[b"something else"]);
    against(&site, &["two"])
        .refused(&[65])
        .says("team/c:1 is another one")
        .says(other.descriptor()["digest"].as_str().unwrap());
    site.target.delete("team/c", "manifests", "1");
    against(&site, &["two"]).refused(&[66]).says("team/c:1 is not at the target");
}
