//! Runs that end at any moment: the old state stays valid, the same command again finishes the job.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod support;

use std::process::Stdio;
use std::time::{Duration, Instant};

use support::command::Run;
use support::crash::killed_after;
use support::relay::Relay;
use support::server::{Kind, Server};
use support::site::Site;
use support::{files, noise, text, tree};

/// Several images over a few shared layers, about 1.5 MB.
const IMAGES: [&str; 4] = ["team/a:1", "team/b:1", "team/c:1", "team/d:1"];

fn fill(site: &Site) {
    let base = noise(1, 400_000);
    for (n, image) in (2..).zip(IMAGES) {
        let (repo, tag) = image.split_once(':').unwrap();
        site.source.image(repo, tag, &[&base, &noise(n, 250_000), &noise(100 + n, 2_000)]);
    }
}

/// Runs `bundle` with these arguments and kills it with SIGKILL after `delay`. Says whether it was still running.
fn killed(site: &Site, arguments: &[String], delay: Duration) -> bool {
    killed_after(site.command(&[]).args(arguments), delay)
}

/// Delays from a seed: every run of the test tries others, and a failure prints them.
fn delays(longest: Duration) -> Vec<Duration> {
    let seed = std::process::id();
    let bytes = noise(u64::from(seed), 10);
    let delays: Vec<Duration> =
        bytes.iter().map(|byte| longest * (u32::from(*byte) + 1) / 256).collect();
    println!("killed after {delays:?}");
    delays
}

/// How long an undisturbed run of these arguments takes.
fn duration(site: &Site, arguments: &[String]) -> Duration {
    let start = Instant::now();
    let mut command = site.command(&[]);
    let _ = Run::of(command.args(arguments)).ok();
    start.elapsed()
}

#[test]
fn create_killed_at_any_moment_and_run_again() {
    // How long it takes, on a site of its own.
    let trial = Site::new();
    fill(&trial);
    let slow = Relay::start(&trial.source.host, 3_000_000);
    trial.images_at(&slow.host, &IMAGES);
    let longest = duration(&trial, &trial.create_arguments("media"));

    let site = Site::new();
    fill(&site);
    let relay = Relay::start(&site.source.host, 3_000_000);
    site.images_at(&relay.host, &IMAGES);
    let arguments = site.create_arguments("media");
    let head = site.path("media").join("mirror_seq1.manifest.json");
    for delay in delays(longest) {
        if !killed(&site, &arguments, delay) {
            break;
        }
        // A head on the medium is a promise: then everything is there.
        if head.exists() {
            site.verify(&site.path("media")).ok();
        }
    }
    site.create("media", &[]).ok();
    // Whenever the last kill came, there is one sequence, it is whole, and nothing else lies around.
    site.verify(&site.path("media")).ok();
    assert_eq!(site.head("media", 1)["sequence"], 1);
    let strangers: Vec<String> = files(&site.path("media"))
        .into_iter()
        .filter(|name| !name.starts_with("mirror_seq1"))
        .collect();
    assert!(strangers.is_empty(), "{strangers:?}");
    site.import("media", &[]).ok();
    site.same(&IMAGES);
    // The history knows what was carried.
    site.create("media-2", &[]).ok();
    assert!(files(&site.path("media-2")).is_empty());
}

#[test]
fn import_killed_at_any_moment_and_run_again() {
    let site = Site::new();
    fill(&site);
    site.images(&IMAGES);
    site.create("media", &[]).ok();
    let trial = Server::embedded(&site.path("trial"));
    let slow = Relay::start(&trial.host, 3_000_000);
    let mut arguments = site.import_arguments("media", &slow.host);
    for argument in &mut arguments {
        if argument.ends_with("/disconnected") {
            argument.push_str("-trial");
        }
    }
    let longest = duration(&site, &arguments);

    let relay = Relay::start(&site.target.host, 3_000_000);
    let arguments = site.import_arguments("media", &relay.host);
    for delay in delays(longest) {
        if !killed(&site, &arguments, delay) {
            break;
        }
        // What has a name is whole.
        for tag in site.target.all_tags() {
            let (repo, tag) = tag.rsplit_once(':').unwrap();
            site.target.pull(repo, tag);
        }
    }
    site.import_into(&relay.host, "media", &[]).ok();
    site.same(&IMAGES);
    site.import_into(&relay.host, "media", &[]).ok();
}

/// Moments of an import at which the registry is killed.
const MOMENTS: u32 = 12;

/// Kills the embedded registry with SIGKILL after `delay` of an import into it, starts it again, and the import too. Says
/// whether the first one was still running.
fn registry_killed(site: &Site, moment: u32, delay: Duration) -> bool {
    let data = site.path(&format!("killed-{moment}"));
    let host = format!("127.0.0.1:{}", support::free_port());
    let server = Server::embedded_at(&data, &host);
    let relay = Relay::start(&host, 3_000_000);
    let arguments: Vec<String> = site
        .import_arguments("media", &relay.host)
        .into_iter()
        .map(|argument| argument.replace("/disconnected", &format!("/disconnected-{moment}")))
        .collect();
    let mut first = site.command(&[]);
    first.args(&arguments).stdout(Stdio::null()).stderr(Stdio::null());
    // Every other one sees the registry come back, and goes on by itself or gives up.
    if moment.is_multiple_of(2) {
        first.args(["--retry-times", "0"]);
    }
    let mut first = first.spawn().unwrap();
    std::thread::sleep(delay);
    let running = first.try_wait().unwrap().is_none();
    drop(server);
    if moment.is_multiple_of(2) {
        first.wait().unwrap();
    }
    let server = Server::embedded_at(&data, &host);
    let code = first.wait().unwrap().code();
    assert!([Some(0), Some(75)].contains(&code), "moment {moment}: exit {code:?}");

    // What has a name is whole, whatever else is missing.
    let whole = |server: &Server| {
        for tag in server.all_tags() {
            let (repo, tag) = tag.rsplit_once(':').unwrap();
            server.pull(repo, tag);
        }
    };
    let same = |server: &Server| {
        for (repo, tag) in IMAGES.map(|image| image.split_once(':').unwrap()) {
            assert_eq!(
                server.pull(repo, tag),
                site.source.pull(repo, tag),
                "moment {moment}: {repo}"
            );
        }
    };
    whole(&server);
    let mut again = site.command(&[]);
    let _ = Run::of(again.args(&arguments)).ok();

    // What the killed one left of unfinished uploads is bounded by what was in flight, and goes when its time is over.
    let uploads = data.join("uploads");
    let left = files(&uploads);
    assert!(left.len() <= 12, "moment {moment}: {left:?}");
    assert!(files(&data.join("tmp")).is_empty(), "moment {moment}");
    drop(server);
    for name in &left {
        let file = fs_err::OpenOptions::new().write(true).open(uploads.join(name)).unwrap();
        let old = std::time::SystemTime::now() - Duration::from_secs(2 * 24 * 60 * 60);
        file.into_parts().0.set_modified(old).unwrap();
    }
    let server = Server::embedded_at(&data, &host);
    for _ in 0..100 {
        if files(&uploads).is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(files(&uploads).is_empty(), "moment {moment}: {:?}", files(&uploads));
    same(&server);
    running
}

#[test]
fn the_embedded_registry_killed_at_any_moment_of_an_import() {
    let site = Site::new();
    fill(&site);
    site.images(&IMAGES);
    site.create("media", &[]).ok();
    let slow = Relay::start(&site.target.host, 3_000_000);
    let longest = duration(&site, &site.import_arguments("media", &slow.host));
    let killed: Vec<bool> = std::thread::scope(|scope| {
        // Six beside each other: most of the time is waiting.
        let lanes: Vec<_> = (0..6)
            .map(|lane| {
                let site = &site;
                scope.spawn(move || {
                    let moments = (1..=MOMENTS).filter(|moment| moment % 6 == lane);
                    let kill = |n| registry_killed(site, n, longest * n / (MOMENTS + 1));
                    moments.map(kill).collect::<Vec<bool>>()
                })
            })
            .collect();
        lanes.into_iter().flat_map(|lane| lane.join().unwrap()).collect()
    });
    let during = killed.iter().filter(|running| **running).count();
    println!("an import takes {longest:?}; {during} of {MOMENTS} kills came before its end");
    assert!(during >= 6, "only {during} kills came before the end of the import");
}

#[test]
fn the_same_input_gives_the_same_parts() {
    let site = Site::new();
    fill(&site);
    site.images(&IMAGES);
    let mut made = Vec::new();
    for n in 0..2 {
        let (to, workspace) =
            (site.path(&format!("media-{n}")), site.path(&format!("workspace-{n}")));
        site.bundle(&[
            "create",
            "--config",
            text(&site.path("imageset.yaml")),
            "--to",
            text(&to),
            "--workspace",
            text(&workspace),
            "--size",
            "1MiB",
        ])
        .ok();
        let parts: Vec<(String, Vec<u8>)> = files(&to)
            .into_iter()
            .filter(|name| name.ends_with(".tar"))
            .map(|name| (name.clone(), fs_err::read(to.join(&name)).unwrap()))
            .collect();
        made.push(parts);
    }
    assert!(made[0].len() > 1);
    assert!(made[0] == made[1], "two runs over the same input made different parts");
}

#[test]
fn broken_connections_cost_what_was_in_flight() {
    let site = Site::new();
    let layer = noise(7, 2_000_000);
    site.source.image("team/app", "1", &[&layer]);
    let relay = Relay::start(&site.source.host, u64::MAX);
    // Every connection ends after 700 kB: a layer needs three.
    relay.cut_after(700_000);
    site.images_at(&relay.host, &["team/app:1"]);
    site.create("media", &[]).ok();
    assert!(
        relay.down() < 3_000_000,
        "{} bytes for a layer of 2 MB: it was not resumed",
        relay.down()
    );
    site.import("media", &[]).ok();
    site.same(&["team/app:1"]);
}

#[test]
fn a_kill_costs_no_layer_that_was_complete() {
    let site = Site::new();
    let layers: Vec<Vec<u8>> = (0..8).map(|n| noise(n, 300_000)).collect();
    let layers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    site.source.image("team/app", "1", &layers);
    let relay = Relay::start(&site.source.host, 1_000_000);
    site.images_at(&relay.host, &["team/app:1"]);
    let arguments = site.create_arguments("media");
    let mut command = site.command(&[]);
    let mut child =
        command.args(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // The journal names what is complete; three of them are layers at least.
    let journal = site.path("connected/history/slots");
    let complete = || fs_err::read_to_string(&journal).unwrap_or_default().lines().count();
    while complete() < 1 + 5 {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it could be killed");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let before = relay.down();
    site.create("media", &[]).ok();
    let again = relay.down() - before;
    assert!(again < 1_800_000, "{before} bytes before the kill and {again} after it, of 2.4 MB");
    site.verify(&site.path("media")).ok();
}

#[test]
fn a_killed_import_goes_on_inside_a_large_blob() {
    let sent_again = killed_inside_a_large_blob(&Site::new());
    assert!(sent_again < LARGE * 3 / 8, "{sent_again} bytes after two kills, of {LARGE}");
    // CNCF distribution goes on only for who knows its last answer, which the kill took away: from the beginning.
    if let Some(site) = Site::with(Kind::Embedded, Kind::Distribution) {
        assert!(killed_inside_a_large_blob(&site) >= LARGE);
    }
}

/// A blob that is worth going on with.
const LARGE: u64 = 80 << 20;

/// Kills an import twice inside its only large blob and says what its end still had to send.
fn killed_inside_a_large_blob(site: &Site) -> u64 {
    site.source.image("team/app", "1", &[&noise(1, LARGE.try_into().unwrap())]);
    site.images(&["team/app:1"]);
    site.create("media", &[]).ok();
    let relay = Relay::start(&site.target.host, 60_000_000);
    let arguments = site.import_arguments("media", &relay.host);
    let killed_after = |bytes: u64| {
        let before = relay.up();
        let mut command = site.command(&[]);
        let command = command.args(&arguments).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        while relay.up() - before < bytes {
            assert!(child.try_wait().unwrap().is_none(), "it ended before it could be killed");
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What is on its way still arrives.
        std::thread::sleep(Duration::from_millis(200));
    };
    killed_after(LARGE / 2);
    // Once more, inside what is left: that is gone on with too.
    killed_after(LARGE / 4);
    let before = relay.up();
    site.import_into(&relay.host, "media", &[]).ok();
    let again = relay.up() - before;
    site.same(&["team/app:1"]);
    assert!(tree(&site.path("disconnected")).iter().all(|name| !name.ends_with("/uploads")));
    again
}

#[test]
fn two_importers_do_not_meet() {
    let site = Site::new();
    fill(&site);
    site.images(&IMAGES);
    site.create("media", &[]).ok();
    let relay = Relay::start(&site.target.host, 1_000_000);
    let arguments = site.import_arguments("media", &relay.host);
    let mut first = site.command(&[]);
    let mut first =
        first.args(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while relay.connections() < 3 && first.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(2));
    }
    // The second waits or is refused; either way both ends are sound.
    let mut second = site.command(&[]);
    let second = Run::of(second.args(&arguments)).one_of(&[0, 1, 75]);
    if second.code != 0 {
        assert!(second.stderr.contains("hint:"), "{second}");
    }
    assert!(first.wait().unwrap().success());
    site.import("media", &[]).ok();
    site.same(&IMAGES);
}

#[test]
fn a_signal_leaves_what_the_next_run_takes_up() {
    let site = Site::new();
    fill(&site);
    let relay = Relay::start(&site.source.host, 500_000);
    site.images_at(&relay.host, &IMAGES);
    let arguments = site.create_arguments("media");
    let mut command = site.command(&[]);
    let mut child =
        command.args(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while relay.down() < 300_000 && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(2));
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let status = child.wait().unwrap();
    assert_ne!(status.code(), Some(0));
    assert!(!site.path("media/mirror_seq1.manifest.json").exists());
    site.images(&IMAGES);
    site.create("media", &[]).ok();
    site.import("media", &[]).ok();
    site.same(&IMAGES);
}

#[test]
fn a_publication_cut_between_two_renames_is_finished() {
    const HEAD: &str = "mirror_seq1.manifest.json";
    for hidden in [
        &[HEAD][..],
        &[HEAD, "mirror_seq1.manifest.sig"],
        &[HEAD, "mirror_seq1.manifest.sig", "mirror_seq1.index", "mirror_seq1_000000.tar"],
    ] {
        let site = Site::new();
        fill(&site);
        site.images(&IMAGES);
        site.create("media", &[]).ok();
        let before = files(&site.path("media"));
        site.cut_publication("media", hidden);
        site.create("media", &[]).ok();
        assert_eq!(before, files(&site.path("media")));
        site.import("media", &[]).ok();
        site.same(&IMAGES);
    }
}

#[test]
fn a_publication_cut_between_two_renames_whose_part_is_gone_is_made_again() {
    let site = Site::new();
    fill(&site);
    site.images(&IMAGES);
    site.create("media", &[]).ok();
    let before = files(&site.path("media"));
    site.cut_publication("media", &["mirror_seq1.manifest.json"]);
    fs_err::remove_file(site.path("media/mirror_seq1_000000.tar")).unwrap();
    site.create("media", &[]).ok();
    assert_eq!(before, files(&site.path("media")));
    site.import("media", &[]).ok();
    site.same(&IMAGES);
}

/// The calls between which a kill could leave something half done.
const CALLS: &str = "rename,renameat,renameat2,link,linkat,fsync,fdatasync,syncfs,unlink,unlinkat,mkdir,rmdir,ftruncate,fallocate";

/// Runs `bundle` and kills it at the `n`th of those calls of one of its threads. `None` when strace cannot be used here;
/// otherwise whether the run got so far.
fn killed_at(site: &Site, n: usize, arguments: &[String]) -> Option<bool> {
    let strace = support::tool("strace")?;
    let inject = format!("inject={CALLS}:signal=KILL:when={n}");
    let mut command = std::process::Command::new(&strace);
    command
        .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={CALLS}"), "-e", &inject])
        .arg(env!("CARGO_BIN_EXE_bundle"))
        .args(arguments)
        .env("HOME", site.path(""))
        .current_dir(site.path(""))
        .stdin(Stdio::null());
    let output = command.output().unwrap();
    if String::from_utf8_lossy(&output.stderr).contains("ptrace") {
        support::skip("strace may not trace here: kills at every call are not tried");
        return None;
    }
    Some(output.status.code().is_none())
}

#[test]
fn create_killed_at_each_call_that_changes_a_disk() {
    let site = Site::new();
    site.source.image("team/app", "1", &[&noise(1, 70_000), &noise(2, 3_000)]);
    site.images(&["team/app:1"]);
    for n in 1.. {
        let (media, workspace) = (site.path(&format!("m{n}")), site.path(&format!("w{n}")));
        let config = site.path("imageset.yaml");
        let arguments = [
            "create",
            "--config",
            text(&config),
            "--to",
            text(&media),
            "--workspace",
            text(&workspace),
        ];
        let Some(killed) = killed_at(&site, n, &arguments.map(ToOwned::to_owned)) else { return };
        let trust = workspace.join("keys/default.pub.pem");
        let verify = ["verify", "--from", text(&media), "--trust", text(&trust)];
        if media.join("mirror_seq1.manifest.json").exists() {
            site.bundle(&verify).ok();
        }
        site.bundle(&arguments).ok();
        site.bundle(&verify).ok();
        let left: Vec<String> =
            files(&media).into_iter().filter(|name| name.ends_with(".partial")).collect();
        assert!(left.is_empty(), "killed at call {n}: {left:?} stayed");
        if !killed {
            assert!(n > 15, "only {n} calls");
            return;
        }
    }
}

#[test]
fn import_killed_at_each_call_that_changes_a_disk() {
    let site = Site::new();
    site.source.image("team/app", "1", &[&noise(1, 70_000), &noise(2, 3_000)]);
    site.images(&["team/app:1"]);
    site.create("media", &[]).ok();
    for n in 1.. {
        let arguments: Vec<String> = site
            .import_arguments("media", &format!("{}/n{n}", site.target.host))
            .into_iter()
            .map(|argument| argument.replace("/disconnected", &format!("/d{n}")))
            .collect();
        let Some(killed) = killed_at(&site, n, &arguments) else { return };
        let repository = format!("n{n}/team/app");
        if !site.target.tags(&repository).is_empty() {
            site.target.pull(&repository, "1");
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        site.bundle(&arguments).ok();
        assert_eq!(site.target.pull(&repository, "1"), site.source.pull("team/app", "1"));
        if !killed {
            assert!(n > 5, "only {n} calls");
            return;
        }
    }
}

/// A medium for a FAT stick: its files have names that FAT takes, told apart without case, and none above its limit.
fn fits_fat(media: &std::path::Path) {
    let mut seen = std::collections::BTreeSet::new();
    for name in files(media) {
        assert!(
            name.len() <= 255 && !name.contains(['"', '*', ':', '<', '>', '?', '\\', '|']),
            "{name}"
        );
        assert!(!name.ends_with(['.', ' ']) && seen.insert(name.to_ascii_lowercase()), "{name}");
        assert!(fs_err::metadata(media.join(&name)).unwrap().len() <= 4_294_967_295, "{name}");
    }
    assert!(seen.len() >= 4, "{seen:?}");
}

#[test]
fn a_fat_stick_carries_a_sequence() {
    let site = Site::new();
    fill(&site);
    site.images(&IMAGES);
    let Some(stick) = support::Fat::mount(&site.path("media")) else { return };
    site.create("media", &["--media", "fat32"]).ok();
    fits_fat(&stick.0);
    site.verify(&stick.0).ok();
    site.import("media", &[]).ok();
    site.same(&IMAGES);
}

#[test]
fn a_medium_that_cannot_do_what_a_disk_can() {
    // FAT has no links; to some file systems in user space a directory cannot be synced.
    // NFS of version 3 cannot reserve space.
    let everywhere =
        ["inject=link,linkat,symlink,symlinkat:error=EPERM", "inject=fallocate:error=EOPNOTSUPP"];
    let directory = ["inject=fsync:error=EINVAL"];
    for (faults, only_medium) in [(&everywhere[..], false), (&directory[..], true)] {
        let Some(strace) = support::tool("strace") else { return };
        let site = Site::new();
        fill(&site);
        site.images(&IMAGES);
        let media = site.path("media");
        fs_err::create_dir(&media).unwrap();
        let ran = |arguments: Vec<String>| {
            let mut command = std::process::Command::new(&strace);
            command.args(["-f", "-qq", "-o", text(&site.path("trace"))]);
            if only_medium {
                command.args(["-P", text(&media)]);
            }
            command.args(faults.iter().flat_map(|fault| ["-e", fault]));
            command.arg(env!("CARGO_BIN_EXE_bundle")).args(arguments);
            Run::of(
                command.env("HOME", site.path("")).current_dir(site.path("")).stdin(Stdio::null()),
            )
        };
        let mut create = site.create_arguments("media");
        create.extend(["--media", "fat32"].map(ToOwned::to_owned));
        let made = ran(create);
        if made.stderr.contains("ptrace") {
            support::skip("strace may not trace here: a poor medium is not tried");
            return;
        }
        made.ok();
        // No links are made at all, so only the second kind has something to refuse.
        let trace = fs_err::read_to_string(site.path("trace")).unwrap();
        assert!(!only_medium || trace.contains("INJECTED"), "nothing was refused: {faults:?}");
        fits_fat(&media);
        ran(site.import_arguments("media", &site.target.host)).ok();
        site.same(&IMAGES);
    }
}

#[test]
fn what_keeps_a_sequence_from_being_published_does_not_cost_the_download() {
    let site = Site::new();
    let layer = noise(91, 2_000_000);
    site.source.registry.image("team/app", "1.0", &[&layer]);
    let relay = Relay::start(&site.source.host, 1_000_000_000);
    site.images_at(&relay.host, &["team/app:1.0"]);
    // Something that is no file stands where the index is to be written.
    let obstacle = site.path("media/mirror_seq1.index.partial");
    fs_err::create_dir_all(&obstacle).unwrap();
    site.create("media", &[]).code(73).says("mirror_seq1.index");
    let first = relay.down();
    assert!(first > 2_000_000, "the layer was fetched: {first} bytes came");
    fs_err::remove_dir(&obstacle).unwrap();
    site.create("media", &[]).ok();
    let second = relay.down() - first;
    assert!(second < 100_000, "{second} bytes came again");
    site.verify(&site.path("media")).ok();
}
