//! `bundle rollback` through the binary: the plan, the consent, what is missing, and the way on.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use support::command::Run;
use support::crash::killed_after;
use support::site::Site;
use support::{noise, text};

#[test]
fn a_plan_is_shown_and_nothing_is_done_without_a_word() {
    let site = Site::new();
    let source = &site.source.registry;
    let target = format!("{}/team", site.target.host);
    let first = source.image("acme/app", "1", &[&noise(1, 5_000)]);
    site.images(&["acme/app:1"]);
    site.create("one", &[]).ok();
    site.import_into(&target, "one", &[]).ok();
    let second = source.image("acme/app", "1", &[&noise(2, 5_000)]);
    source.image("acme/more", "2", &[&noise(3, 5_000)]);
    site.images(&["acme/app:1", "acme/more:2"]);
    site.create("two", &[]).ok();
    site.import_into(&target, "two", &[]).ok();

    let workspace = site.path("disconnected");
    let named = format!("docker://{target}");
    let rollback = |more: &[&str]| {
        let fixed = ["rollback", "--to", "1", &named, "--workspace", text(&workspace)];
        site.bundle(&[&fixed, more].concat())
    };
    // What the import of the second one removed is named, with the medium and the command.
    let lacks = rollback(&["--auto-approve"]).code(68);
    let name = format!("{target}/acme/app@{}  (sequence 1)", first.digest);
    for words in [
        "nothing was changed: ",
        &name,
        "with the media of sequence 1",
        "bundle import --put-back --from DIR docker://",
    ] {
        assert!(lacks.stdout.contains(words), "{words}: {}", lacks.stdout);
    }
    let json = rollback(&["--output", "json"]).code(68);
    assert_eq!(json.json()["media"], serde_json::json!([1]));
    site.import_into(&target, "one", &["--put-back"]).ok();

    let planned = rollback(&[]).ok();
    let moves = format!(
        "{target}/acme/app:1  {} -> {}",
        &second.digest.to_string()[7..19],
        &first.digest.to_string()[7..19]
    );
    for words in
        ["1 tag to set back", &moves, "1 tag and 2 manifests to remove", "`--auto-approve`"]
    {
        assert!(planned.stdout.contains(words), "{words}: {}", planned.stdout);
    }
    assert_eq!(rollback(&["--dry-run", "--auto-approve"]).ok().stdout, planned.stdout);
    let done = rollback(&["--auto-approve"]).ok();
    for words in [
        ": set back from sequence 2 to 1",
        "1 tag set back",
        "1 tag and 2 manifests removed",
        "takes is 2",
    ] {
        assert!(done.stdout.contains(words), "{words}: {}", done.stdout);
    }
    let again = rollback(&["--auto-approve"]).ok();
    assert!(again.stdout.starts_with("nothing is to be done: "), "{}", again.stdout);
    // The connected side knows nothing of it, and what it makes next comes after what it made.
    source.image("acme/more", "3", &[&noise(4, 5_000)]);
    site.images(&["acme/app:1", "acme/more:3"]);
    site.create("three", &[]).ok();
    site.import_into(&target, "three", &[]).code(68);
    site.import_into(&target, "two", &[]).ok();
    site.import_into(&target, "three", &[]).ok();

    site.bundle(&["rollback", "--to", "0", &named]).code(64);
    let ahead = site.bundle(&["rollback", "--to", "9", &named, "--workspace", text(&workspace)]);
    ahead.refused(&[64]).says("stands at sequence 3");
}

/// Killed with SIGKILL, it is finished by the same command, and until then nothing else is done to the target.
#[test]
fn killed_at_any_moment_it_is_finished_by_the_same_command() {
    let site = Site::new();
    let source = &site.source.registry;
    let names: Vec<String> = (0..12).map(|n| format!("acme/app{n}:1")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let images = |seed: u64| {
        for (n, name) in (0..).zip(&names) {
            source.image(name.trim_end_matches(":1"), "1", &[&noise(seed + n, 2_000)]);
        }
    };
    let target = format!("{}/team", site.target.host);
    let pulled = || -> Vec<_> {
        let repository = |name: &&str| format!("team/{}", name.trim_end_matches(":1"));
        names.iter().map(|name| site.target.pull(&repository(name), "1")).collect()
    };
    images(100);
    site.images(&names);
    site.create("one", &[]).ok();
    site.import_into(&target, "one", &[]).ok();
    let first = pulled();
    images(200);
    site.create("two", &[]).ok();
    site.import_into(&target, "two", &["--skip-pruning"]).ok();
    let second = pulled();
    assert_ne!(first, second);

    let (named, workspace) = (format!("docker://{target}"), site.path("disconnected"));
    let rollback = || {
        let more = ["--skip-pruning", "--workspace", text(&workspace)];
        let fixed = ["rollback", "--to", "1", "--auto-approve", &named];
        site.command(&[&fixed[..], &more].concat())
    };
    let started = Instant::now();
    Run::of(&mut rollback()).ok();
    let longest = started.elapsed();
    site.import_into(&target, "two", &["--skip-pruning"]).ok();
    let (mut during, mut begun) = (0, 0);
    for n in 1..=16 {
        let delay: Duration = longest * n / 16;
        during += u32::from(killed_after(&mut rollback(), delay));
        let import = site.import_into(&target, "two", &["--skip-pruning", "--dry-run"]);
        if import.one_of(&[0, 68]).stderr.contains("bundle rollback --to 1 --stream") {
            begun += 1;
        }
        Run::of(&mut rollback()).ok();
        assert_eq!(pulled(), first, "killed after {delay:?}");
        site.import_into(&target, "two", &["--skip-pruning"]).ok();
        assert_eq!(pulled(), second);
    }
    println!(
        "it takes {longest:?}; {during} of 16 kills came before its end, {begun} between begin and end"
    );
    assert!(during >= 1, "no kill came before its end");
}
