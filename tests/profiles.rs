//! What each registry needs: adapted to without configuration, or said before the first byte, in one message.
//!
//! The registries are those of `support/profiles.rs`. Every refusal must come before anything is kept there: no blob, no
//! manifest, no record.

#![allow(clippy::unwrap_used)]

mod support;

use support::command::Run;
use support::faulty::CREDENTIALS;
use support::profiles::{Guise, Line, Product, Profiled, count, kept};
use support::server::{Kind, fs_write};
use support::site::Site;
use support::{noise, text};

/// A medium and a sound registry for the guises.
struct Lab {
    site: Site,
}

const IMAGES: &[&str] = &["acme/app:1", "acme/sub/unit/tool:1", "other/base:1"];

impl Lab {
    /// Three images, of which one has a deep name, in two projects.
    fn new() -> Self {
        let lab = Self { site: Site::new() };
        for (seed, image) in (1..).zip(IMAGES) {
            let (repository, tag) = image.split_once(':').unwrap();
            lab.site.source.image(repository, tag, &[&noise(seed, 40_000), b"shared"]);
        }
        lab.site.images(IMAGES);
        lab.site.create("media", &[]).ok();
        lab
    }

    fn target(&self, guise: Guise) -> Profiled {
        Profiled::start(&self.site.target.host, guise)
    }

    fn import(&self, target: &Profiled, namespace: &str, media: &str, more: &[&str]) -> Run {
        let auth = self.site.path("auth.json");
        let auths = serde_json::json!({"auths": {&target.host: {"auth": CREDENTIALS}}});
        fs_write(&auth, auths.to_string().as_bytes());
        let place = format!("{}{namespace}", target.host);
        let common = ["--plain-http", &target.host, "--authfile", text(&auth)];
        self.site.import_into(&place, media, &[&common, more].concat())
    }

    /// What is tagged at the source is at the target below the namespace, to the last blob.
    #[track_caller]
    fn is_whole(&self, namespace: &str, images: &[&str]) {
        for image in images {
            let (repository, tag) = image.split_once(':').unwrap();
            let place = format!("{}/{repository}", namespace.trim_start_matches('/'));
            assert_eq!(
                self.site.source.pull(repository, tag),
                self.site.target.pull(&place, tag),
                "{image}"
            );
        }
    }
}

#[track_caller]
fn nothing_was_kept(log: &[Line], run: &Run) {
    assert!(kept(log).is_empty(), "{:?}\n{run}", kept(log));
    let brought = log.iter().any(|line| line.length > 0);
    assert!(!brought, "bytes were sent\n{run}");
}

#[test]
fn what_a_person_has_to_make_is_said_at_once_and_before_anything() {
    let lab = Lab::new();
    let all_of_ecr =
        "`proj/acme/app`, `proj/acme/sub/unit/tool`, `proj/bundle-ledger`, `proj/other/base`";
    let create_all = "for name in proj/acme/app proj/acme/sub/unit/tool proj/bundle-ledger proj/other/base; do aws \
                      ecr create-repository --repository-name \"$name\"; done";
    // The product, what was made there, the namespace of the import; the exit code and what is said.
    type Row<'a> = (Product, &'a [&'a str], &'a str, i32, &'a [&'a str]);
    let table: &[Row<'_>] = &[
        (
            Product::Harbor,
            &["acme"],
            "/proj",
            1,
            &["the project that no push makes there: `proj`", "not found", "New Project"],
        ),
        // Two of two, although one would do to refuse.
        (Product::Harbor, &["x"], "", 1, &["at least 2 components", "docker://127.0.0.1"]),
        (Product::Ecr, &["proj"], "/proj", 1, &[all_of_ecr, create_all]),
        (
            Product::Ecr,
            &["proj/acme/app", "proj/bundle-ledger", "proj/other/base"],
            "/proj",
            1,
            &[
                "the repository that no push makes there: `proj/acme/sub/unit/tool`",
                "--repository-name proj/acme/sub/unit/tool`",
            ],
        ),
        (
            Product::Quay,
            &["acme"],
            "/proj",
            77,
            &["organisation", "`proj`", "let the account create repositories"],
        ),
        (
            Product::Quay,
            &["proj"],
            "/proj",
            1,
            &["at most 2 components", "`proj/acme/app`", "unit/tool", "--max-nested-paths 2"],
        ),
        (
            Product::OpenShift,
            &["proj"],
            "/proj",
            1,
            &["at most 2 components", "`proj/other/base`", "--max-nested-paths 2"],
        ),
        (Product::GitLab, &["group/x"], "/group/proj", 77, &["project", "`group/proj`"]),
        (
            Product::GitLab,
            &["group/proj"],
            "/group/proj",
            1,
            &["at most 4 components", "unit/tool", "--max-nested-paths 4"],
        ),
        (
            Product::Artifactory,
            &["x"],
            "/local",
            1,
            &["no push makes there: `local`", "local Docker repository"],
        ),
        (
            Product::Nexus,
            &["x"],
            "/hosted",
            1,
            &["no push makes there: `hosted`", "hosted Docker repository"],
        ),
        (Product::Ghcr, &["x"], "/owner", 1, &["owner", "`owner`", "write:packages"]),
        (
            Product::Google,
            &["team/x"],
            "/team/images",
            1,
            &["`team/images`", "repositories create images"],
        ),
        (
            Product::Google,
            &["team/x"],
            "/team",
            1,
            &["at least 3 components", "PROJECT/REPOSITORY"],
        ),
        (
            Product::Nameless,
            &["proj/acme/app", "proj/bundle-ledger"],
            "/proj",
            1,
            &[
                "2 repositories that no push makes there: `proj/acme/sub/unit/tool`, `proj/other/base`",
            ],
        ),
    ];
    for (product, made, namespace, code, words) in table {
        let target = lab.target(Guise::new(*product, made));
        let mut run = lab.import(&target, namespace, "media", &[]).refused(&[*code]);
        for word in *words {
            run = run.says(word);
        }
        nothing_was_kept(&target.log(), &run);
        assert!(lab.site.target.repositories().is_empty(), "{product:?}");
    }
}

#[test]
fn a_wrong_password_is_no_missing_project() {
    let lab = Lab::new();
    for product in [Product::Harbor, Product::GitLab, Product::Quay, Product::Ecr, Product::Nexus] {
        let target = lab.target(Guise::new(product, &[]));
        let auth = lab.site.path("wrong.json");
        let auths = serde_json::json!({"auths": {&target.host: {"auth": "Y2FycmllcjpvdGhlcg=="}}});
        fs_write(&auth, auths.to_string().as_bytes());
        let place = format!("{}/proj", target.host);
        let more = ["--plain-http", &target.host, "--authfile", text(&auth)];
        let run = lab.site.import_into(&place, "media", &more).refused(&[77]).says("wrong.json");
        assert!(!run.stderr.contains("lacks"), "{product:?}: {run}");
        nothing_was_kept(&target.log(), &run);
    }
}

#[test]
fn what_the_hint_says_mends_it() {
    let lab = Lab::new();
    for (product, made, namespace, option) in [
        (Product::Quay, "proj", "/proj", "2"),
        (Product::GitLab, "group/proj", "/group/proj", "4"),
        (Product::OpenShift, "os", "/os", "2"),
    ] {
        let target = lab.target(Guise::new(product, &[made]));
        let run = lab.import(&target, namespace, "media", &[]).refused(&[1]);
        // The whole command, to be copied.
        let hint = run.stderr.lines().find(|line| line.contains("bundle import --from")).unwrap();
        assert!(hint.contains(&format!("--max-nested-paths {option}`")), "{hint}");
        lab.import(&target, namespace, "media", &["--max-nested-paths", option]).ok();
    }
    assert!(lab.site.target.all_tags().contains(&"proj/acme-sub-unit-tool:1".to_owned()));
    // What was made since is taken as it is.
    let target = lab.target(Guise::new(Product::Ecr, &[]));
    lab.import(&target, "/late", "media", &[]).refused(&[1]);
    let repositories = ["acme/app", "acme/sub/unit/tool", "other/base", "bundle-ledger"];
    target.change(|guise| guise.made = repositories.map(|name| format!("late/{name}")).to_vec());
    lab.import(&target, "/late", "media", &[]).ok();
    lab.is_whole("late", IMAGES);
}

#[test]
fn every_registry_takes_an_import_as_it_is() {
    let lab = Lab::new();
    for (product, made, namespace) in [
        (Product::Artifactory, "local", "/local"),
        (Product::Distribution, "", "/dist"),
        (Product::Ghcr, "owner", "/owner"),
        (Product::Google, "team/images", "/team/images"),
        (Product::Harbor, "proj", "/proj"),
        (Product::Nexus, "hosted", "/hosted"),
        (Product::Zot, "", "/zot"),
    ] {
        let mut guise = Guise::new(product, &[made]);
        // Harbor counts requests (goharbor/harbor#19389).
        guise.busy = (product == Product::Harbor).then_some(7);
        let target = lab.target(guise);
        let run = lab.import(&target, namespace, "media", &[]).ok();
        lab.is_whole(namespace, IMAGES);
        // One question, cancelled; and none where nothing is to be done.
        let log = target.log();
        let asked = log.iter().filter(|line| line.method == "DELETE").count();
        let tries = if product == Product::Harbor { 1..=2 } else { 1..=1 };
        assert!(tries.contains(&asked), "{product:?}: {asked}\n{run}");
        lab.import(&target, namespace, "media", &[]).ok();
        let log = target.log();
        assert_eq!(count(&log, "POST", "/uploads/"), 0, "{product:?}");
        assert!(kept(&log).is_empty(), "{product:?}");
    }
}

#[test]
fn a_registry_that_makes_repositories_is_asked_once_for_each_project() {
    let Some(site) = Site::with(Kind::Embedded, Kind::Distribution) else { return };
    let lab = Lab { site };
    let images: Vec<String> =
        (0..12).map(|n| format!("{}/app{n}:1", ["acme", "other"][n % 2])).collect();
    let images: Vec<&str> = images.iter().map(String::as_str).collect();
    for image in &images {
        let (repository, tag) = image.split_once(':').unwrap();
        lab.site.source.image(repository, tag, &[image.as_bytes(), b"shared"]);
    }
    lab.site.images(&images);
    lab.site.create("media", &[]).ok();
    let target = lab.target(Guise::new(Product::Distribution, &[]));
    lab.import(&target, "/site", "media", &["--dry-run"]).ok();
    let log = target.log();
    assert!(log.iter().all(|line| matches!(&*line.method, "GET" | "HEAD")), "{log:?}");
    for (namespace, projects) in [("/site", 1), ("", 3)] {
        lab.import(&target, namespace, "media", &[]).ok();
        let log = target.log();
        assert_eq!(count(&log, "DELETE", "/uploads/"), projects, "{log:?}");
        // Every other upload is one of a blob, and ends.
        let opened = log.iter().filter(|line| line.method == "POST" && line.status == 202).count();
        assert_eq!(opened, projects + count(&log, "PUT", "/uploads/"));
        assert_eq!(count(&log, "POST", "mount="), 11);
        println!("{namespace:?}: {} requests, {} of them questions", log.len(), 2 * projects);
    }
    // An increment asks where nothing was found yet: the new repository.
    lab.site.source.image("acme/late", "1", &[b"late"]);
    let more = [&images[..], &["acme/late:1"]].concat();
    lab.site.images(&more);
    lab.site.create("media-2", &[]).ok();
    lab.import(&target, "/site", "media-2", &[]).ok();
    let log = target.log();
    let asked: Vec<&Line> = log.iter().filter(|line| line.method == "DELETE").collect();
    assert!(asked.len() == 1 && asked[0].target.contains("acme/late"), "{asked:?}");
}

#[test]
fn indexes_with_gaps_are_refused_before_the_first_byte() {
    let lab = Lab::new();
    let source = &lab.site.source.registry;
    let amd = source.image_for("multi/app", None, "amd64", &[b"for amd64"]);
    let arm = source.image_for("multi/app", None, "arm64", &[b"for arm64"]);
    source.index("multi/app", Some("1"), &[(&amd, "amd64"), (&arm, "arm64")]);
    let name = format!("{}/multi/app:1", source.host);
    lab.site.configure(&format!(
        "  additionalImages:\n    - name: {name}\n      platforms:\n        - {{os: linux, architecture: amd64}}\n"
    ));
    lab.site.create("sparse", &["--full"]).ok();
    for (product, made) in [(Product::Harbor, "proj"), (Product::Nexus, "hosted")] {
        let target = lab.target(Guise::new(product, &[made]));
        let run =
            lab.import(&target, &format!("/{made}"), "sparse", &["--new-stream"]).refused(&[1]);
        let run =
            run.says("`multi/app:1`").says("leave `platforms` out").says("Nothing was written");
        let log = target.log();
        assert!(kept(&log).is_empty(), "{:?}\n{run}", kept(&log));
        assert_eq!(count(&log, "PUT", "/blobs/"), 0);
    }
    // Where it is taken, nothing of the question stays.
    let target = lab.target(Guise::new(Product::Zot, &[]));
    lab.import(&target, "/zot", "sparse", &["--new-stream"]).ok();
    let log = target.log();
    let asked: Vec<&Line> =
        kept(&log).into_iter().filter(|line| line.target.contains("/manifests/")).collect();
    let gone =
        log.iter().find(|line| line.method == "DELETE" && line.target.contains("/manifests/"));
    assert_eq!(asked[0].target, gone.unwrap().target);
    assert_eq!(gone.unwrap().status, 202);
    assert!(lab.site.target.manifest("zot/multi/app", "1").is_some());
}

#[test]
fn immutable_tags_that_are_there_already_are_no_error_and_others_are_said() {
    for (product, words) in
        [(Product::Ecr, "immutable"), (Product::Harbor, "configured as immutable")]
    {
        let lab = Lab::new();
        let repositories =
            ["acme/app", "acme/sub/unit/tool", "other/base", "bundle-ledger", "late/app"];
        let made = repositories.map(|name| format!("proj/{name}"));
        let mut made: Vec<&str> = made.iter().map(String::as_str).collect();
        made.push("proj");
        let mut guise = Guise::new(product, &made);
        guise.immutable = true;
        let target = lab.target(guise);
        lab.import(&target, "/proj", "media", &[]).ok();
        // The second sequence brings the tags of the first again.
        lab.site.source.image("late/app", "1", &[b"late"]);
        lab.site.images(&[IMAGES, &["late/app:1"]].concat());
        lab.site.create("media-2", &[]).ok();
        lab.import(&target, "/proj", "media-2", &[]).ok();
        lab.is_whole("proj", &["acme/app:1", "late/app:1"]);
        // The third one moves a tag.
        let before = lab.site.target.manifest("proj/acme/app", "1");
        lab.site.source.image("acme/app", "1", &[b"another"]);
        lab.site.create("media-3", &[]).ok();
        let run = lab.import(&target, "/proj", "media-3", &[]).refused(&[1]);
        run.says("/proj/acme/app:1").says(words).says("put-image-tag-mutability");
        assert_eq!(before, lab.site.target.manifest("proj/acme/app", "1"));
        // The rule is lifted.
        target.change(|guise| guise.immutable = false);
        lab.import(&target, "/proj", "media-3", &[]).ok();
        lab.is_whole("proj", &["acme/app:1"]);
    }
}

#[test]
fn a_full_project_is_no_matter_of_credentials() {
    let lab = Lab::new();
    let mut guise = Guise::new(Product::Harbor, &["proj"]);
    guise.full = true;
    let target = lab.target(guise);
    let run = lab.import(&target, "/proj", "media", &[]).refused(&[73]);
    run.says("configured upper limit").says("raise the project's quota");
    target.change(|guise| guise.full = false);
    lab.import(&target, "/proj", "media", &[]).ok();
    lab.is_whole("proj", IMAGES);
}

#[test]
fn records_whose_tags_cannot_move_are_said_before_the_first_byte() {
    let lab = Lab::new();
    let target = lab.target(Guise::new(Product::Harbor, &["proj"]));
    lab.import(&target, "/proj", "media", &[]).ok();
    target.log();
    target.change(|guise| guise.all_immutable = true);
    lab.site.source.image("late/app", "1", &[b"late"]);
    lab.site.images(&["late/app:1"]);
    lab.site.create("media-2", &[]).ok();
    let run = lab.import(&target, "/proj", "media-2", &[]).refused(&[1]);
    run.says("bundle-ledger:lease").says("the records of this program have tags that move");
    let log = target.log();
    assert_eq!(count(&log, "PUT", "/late/app/"), 0);
}

#[test]
fn artifacts_that_are_not_taken_are_named_and_records_take_another_form() {
    let lab = Lab::new();
    let image = lab.site.source.image("acme/app", "1", &[b"signed"]);
    let seal = format!("{}.sig", image.tag_stem());
    let kind = "application/vnd.test.sig";
    lab.site.source.artifact("acme/app", Some(&seal), kind, b"seal", None);
    lab.site.create("sealed", &["--full"]).ok();
    let target = lab.target(Guise::new(Product::Artifactory, &["local"]));
    let run = lab.import(&target, "/local", "sealed", &[]).refused(&[1]);
    run.says(kind)
        .says("/local/acme/app@")
        .says("MANIFEST_INVALID")
        .says("--remove-signatures --full");
    assert!(lab.site.target.tags("local/acme/app").is_empty());
    lab.site.create("bare", &["--full", "--remove-signatures"]).ok();
    lab.import(&target, "/local", "bare", &[]).ok();
    lab.is_whole("local", IMAGES);
    // What stands there is read again.
    let run = lab.import(&target, "/local", "bare", &[]).ok();
    assert!(run.stdout.contains("already"), "{run}");
}

#[test]
fn nexus_never_gets_one_blob_twice_at_a_time() {
    let lab = Lab::new();
    let shared = noise(50, 400_000);
    let images: Vec<String> = (0..10).map(|n| format!("many/app{n}:1")).collect();
    let images: Vec<&str> = images.iter().map(String::as_str).collect();
    for image in &images {
        let (repository, tag) = image.split_once(':').unwrap();
        lab.site.source.image(repository, tag, &[&shared, image.as_bytes()]);
    }
    lab.site.images(&images);
    lab.site.create("many", &["--full"]).ok();
    let target = lab.target(Guise::new(Product::Nexus, &["hosted"]));
    lab.import(&target, "/hosted", "many", &[]).ok();
    lab.is_whole("hosted", &images);
    assert_eq!(target.races(), 0);
}

#[test]
fn ghcr_gets_parts_of_four_mebibytes_and_google_none() {
    let lab = Lab::new();
    let large: Vec<Vec<u8>> = (60..62).map(|seed| noise(seed, 9 << 20)).collect();
    lab.site.source.image("acme/large", "1", &[&large[0], &large[1]]);
    lab.site.images(&["acme/large:1"]);
    lab.site.create("large", &["--full"]).ok();

    let target = lab.target(Guise::new(Product::Ghcr, &["owner"]));
    lab.import(&target, "/owner", "large", &["--parallel-blobs", "1"]).ok();
    lab.is_whole("owner", &["acme/large:1"]);
    let log = target.log();
    let parts: Vec<&Line> =
        log.iter().filter(|line| line.method == "PATCH" && line.length > 0).collect();
    assert!(parts.iter().all(|line| line.length <= 4 << 20), "{parts:?}");
    assert_eq!(parts.iter().filter(|line| line.length == 4 << 20).count(), 4);
    // Once is enough to learn it.
    assert_eq!(log.iter().filter(|line| line.status == 413).count(), 1);

    let target = lab.target(Guise::new(Product::Google, &["team/images"]));
    let run = lab.import(&target, "/team/images", "large", &[]).ok();
    lab.is_whole("team/images", &["acme/large:1"]);
    assert_eq!(count(&target.log(), "PATCH", ""), 0, "{run}");
}
