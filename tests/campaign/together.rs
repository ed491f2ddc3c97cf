//! Commands beside each other: each is done or refused, and what comes of them is whole.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fs_err as fs;

use crate::support::command::Run;
use crate::support::figures::{Figures, of, whole};
use crate::support::relay::Relay;
use crate::support::server::{Kind, Server};
use crate::support::site::Site;
use crate::support::{files, noise, text, tool};

const IMAGES: [&str; 3] = ["team/a:1", "team/b:1", "c:1"];
const MORE: [&str; 2] = ["team/a:2", "d:2"];

fn fill(site: &Site) {
    let base = noise(1, 150_000);
    for (n, image) in (2..).zip(IMAGES.iter().chain(&MORE)) {
        let (repo, tag) = image.split_once(':').unwrap();
        site.source.image(repo, tag, &[&base, &noise(n, 60_000), &noise(100 + n, 2_000)]);
    }
}

/// A command that runs beside others.
fn start(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Its end, which is success or one of these codes with a next step.
#[track_caller]
fn end(child: Child, refused: &[i32]) -> i32 {
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    let code = output.status.code().unwrap();
    assert!(code == 0 || refused.contains(&code), "exit {code}\n{told}");
    assert!(!told.contains("panicked"), "{told}");
    assert!(code == 0 || told.contains("hint:"), "no hint\n{told}");
    code
}

/// Moments at which the second command begins, spread over the first one.
fn pauses(rounds: usize) -> Vec<Duration> {
    let round = |n: usize| u64::try_from(n).unwrap();
    (0..rounds).map(|n| Duration::from_millis(round(n) * 400 / round(rounds))).collect()
}

/// Rounds of a campaign: each gets its number, and how much later its second command begins.
fn rounds(name: &str, round: impl Fn(usize, Duration) + Sync) {
    let rounds = of(4, 40);
    let mut figures = Figures::new(name, rounds);
    let pauses: Vec<(usize, Duration)> = pauses(rounds).into_iter().enumerate().collect();
    figures.lanes(
        &pauses,
        |_| (),
        |(_, pause)| format!("{pause:?} apart"),
        |(), (number, pause)| round(*number, *pause),
    );
    figures.end();
}

/// A site whose source is reached slowly, so that a create takes its time; it is configured for the first images.
fn slowly() -> (Site, Relay) {
    let site = Site::new();
    fill(&site);
    let slow = Relay::start(&site.source.host, 2_000_000);
    site.images_at(&slow.host, &IMAGES);
    (site, slow)
}

/// What is refused where another one works: busy.
const BUSY: [i32; 2] = [1, 75];

fn create(site: &Site, media: &str, workspace: &str) -> Command {
    let mut command = site.command(&[]);
    command.args(site.create_arguments(media).iter().map(|argument| match argument {
        given if given.ends_with("/connected") => text(&site.path(workspace)).to_owned(),
        given => given.clone(),
    }));
    command
}

fn import(site: &Site, media: &str, workspace: &str, host: &str) -> Command {
    let mut command = site.command(&[]);
    command.args(site.import_arguments(media, host).iter().map(|argument| match argument {
        given if given.ends_with("/disconnected") => text(&site.path(workspace)).to_owned(),
        given => given.clone(),
    }));
    command
}

/// Every image that was named arrived at `namespace`, whole.
#[track_caller]
fn same(site: &Site, target: &Server, namespace: &str, images: &[&str]) {
    for image in images {
        let (repo, tag) = image.split_once(':').unwrap();
        assert_eq!(site.source.pull(repo, tag), target.pull(&format!("{namespace}{repo}"), tag));
    }
}

/// No half-written file lies on a medium.
#[track_caller]
fn tidy(site: &Site, media: &str) {
    let left: Vec<String> =
        files(&site.path(media)).into_iter().filter(|name| name.ends_with(".partial")).collect();
    assert!(left.is_empty(), "{media}: {left:?}");
}

#[test]
fn two_creates_on_one_workspace() {
    rounds("two creates on one workspace", |_, pause| {
        let (site, slow) = slowly();
        let first = start(&mut create(&site, "one", "connected"));
        std::thread::sleep(pause);
        let second = start(&mut create(&site, "two", "connected"));
        let codes = [end(first, &BUSY), end(second, &BUSY)];
        assert!(codes.contains(&0), "{codes:?}");
        // Whoever was first: one sequence of this content, on one medium; the other one is free for the next.
        let made: Vec<&str> = ["one", "two"]
            .into_iter()
            .filter(|media| site.path(media).join("mirror_seq1.manifest.json").exists())
            .collect();
        assert_eq!(made.len(), 1, "{codes:?}");
        tidy(&site, made[0]);
        site.verify(&site.path(made[0])).ok();
        site.images_at(&slow.host, &[&IMAGES[..], &MORE].concat());
        let _ = Run::of(&mut create(&site, "three", "connected")).ok();
        site.import(made[0], &[]).ok();
        site.import("three", &[]).ok();
        same(&site, &site.target, "", &[&IMAGES[..], &MORE].concat());
    });
}

#[test]
fn two_creates_on_one_medium() {
    rounds("two creates on one medium", |_, pause| {
        let (site, _slow) = slowly();
        let first = start(&mut create(&site, "media", "connected"));
        std::thread::sleep(pause);
        let second = start(&mut create(&site, "media", "another"));
        // Two streams do not share a medium: one of them has it.
        let refused = [&BUSY[..], &[64, 70, 73]].concat();
        let codes = [end(first, &refused), end(second, &refused)];
        assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
        tidy(&site, "media");
        let key = if codes[0] == 0 { "connected" } else { "another" };
        let key = site.path(key).join("keys/default.pub.pem");
        let media = site.path("media");
        site.bundle(&["verify", "--from", text(&media), "--trust", text(&key)]).ok();
    });
}

/// Two imports of one medium, from these workspaces.
fn two_imports(site: &Site, number: usize, pause: Duration, workspaces: [&str; 2]) {
    let slow = Relay::start(&site.target.host, 2_000_000);
    let host = format!("{}/turn{number}", slow.host);
    let workspaces = workspaces.map(|name| format!("{name}-{number}"));
    let first = start(&mut import(site, "media", &workspaces[0], &host));
    std::thread::sleep(pause);
    let second = start(&mut import(site, "media", &workspaces[1], &host));
    let codes = [end(first, &BUSY), end(second, &BUSY)];
    assert!(codes.contains(&0), "{codes:?}");
    same(site, &site.target, &format!("turn{number}/"), &IMAGES);
    // Both go on as if they had been alone.
    for workspace in &workspaces {
        let _ = Run::of(&mut import(site, "media", workspace, &host)).ok();
    }
    same(site, &site.target, &format!("turn{number}/"), &IMAGES);
}

#[test]
fn two_imports_into_one_target() {
    let site = Site::new();
    fill(&site);
    site.images(&IMAGES);
    site.create("media", &[]).ok();
    for (name, workspaces) in [
        ("two imports, one workspace", ["one", "one"]),
        ("two imports, two workspaces", ["one", "two"]),
    ] {
        let base = if workspaces[0] == workspaces[1] { 0 } else { 1000 };
        rounds(name, |number, pause| two_imports(&site, base + number, pause, workspaces));
    }
}

#[test]
fn a_create_while_an_import_runs() {
    rounds("a create while an import runs", |_, pause| {
        let (site, slow) = slowly();
        site.create("media", &[]).ok();
        let target = Relay::start(&site.target.host, 2_000_000);
        // The next sequence is written into the directory that is being read.
        site.images_at(&slow.host, &[&IMAGES[..], &MORE].concat());
        let making = start(&mut create(&site, "media", "connected"));
        std::thread::sleep(pause);
        let taking = start(&mut import(&site, "media", "disconnected", &target.host));
        assert_eq!(end(making, &[]), 0);
        // What is half there is incomplete, and nothing else.
        let code = end(taking, &[66]);
        if code == 0 {
            same(&site, &site.target, "", &IMAGES);
        } else {
            assert!(site.target.all_tags().is_empty());
        }
        tidy(&site, "media");
        site.import("media", &[]).ok();
        same(&site, &site.target, "", &[&IMAGES[..], &MORE].concat());
    });
}

/// A collection of garbage may take what the import has just sent: the import says so, or sends it again; and the same
/// command puts back whatever is missing.
#[test]
fn garbage_collection_during_an_import() {
    let Some(program) = tool("docker-registry") else {
        assert!(!whole(), "the whole form needs docker-registry");
        println!(
            "campaign | garbage collection during an import | 0 | 0 | no docker-registry here"
        );
        return;
    };
    rounds("garbage collection during an import", |_, pause| {
        let site = Site::with(Kind::Embedded, Kind::Distribution).unwrap();
        fill(&site);
        site.images(&IMAGES);
        site.create("media", &[]).ok();
        let slow = Relay::start(&site.target.host, 1_500_000);
        let taking = start(&mut import(&site, "media", "disconnected", &slow.host));
        std::thread::sleep(pause);
        let config = site.path("target.yml");
        for _ in 0..3 {
            let mut collect = Command::new(&program);
            collect.args(["garbage-collect", text(&config)]).stdin(Stdio::null());
            // It walks over directories that come and go, and may give up.
            let _ = Run::of(&mut collect).one_of(&[0, 1]);
        }
        // Refused by the registry, or given up: never a success that a look at the target belies.
        end(taking, &[1, 75]);
        let _ = Run::of(&mut import(&site, "media", "disconnected", &slow.host)).ok();
        same(&site, &site.target, "", &IMAGES);
        fs::metadata(site.path("target")).unwrap();
    });
}
