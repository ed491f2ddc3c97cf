//! The registry's web page in a browser: headless Chromium, where it is on this machine.

// Helpers outside of `#[test]` functions are tests all the same.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::command::{Run, sh};
use support::server::Server;
use support::site::Site;
use support::{noise, text, tool};

const FLAGS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
];

struct Browser {
    program: PathBuf,
    home: tempfile::TempDir,
}

impl Browser {
    fn find() -> Option<Self> {
        Some(Self { program: tool("chromium")?, home: tempfile::tempdir().unwrap() })
    }

    /// Opens a page with these further flags.
    fn open(&self, url: &str, flags: &[&str]) -> Run {
        let profile = format!("--user-data-dir={}", self.home.path().join("profile").display());
        let mut command = Command::new(&self.program);
        command.args(FLAGS).arg(profile).args(flags).arg(url).stdin(Stdio::null());
        Run::of(&mut command).ok()
    }

    /// The document as the browser has it after scripts ran.
    fn document(&self, url: &str) -> String {
        let run = self.open(url, &["--dump-dom", "--enable-logging=stderr"]);
        // A policy that is broken, and a script that fails, are told on the console.
        for fault in ["Content Security Policy", "Uncaught", "Refused to"] {
            assert!(!run.stderr.contains(fault), "{run}");
        }
        run.stdout
    }
}

fn pushed(home: &Path) -> Option<Server> {
    let python = tool("python3")?;
    let server = Server::embedded(&home.join("data"));
    let script = "scripts/sample-images.py";
    sh(python, &[script, "push", &server.registry.host, "1"]);
    Some(server)
}

#[test]
fn a_browser_shows_the_pages_and_adds_the_buttons() {
    let Some(browser) = Browser::find() else { return };
    let home = tempfile::tempdir().unwrap();
    let Some(server) = pushed(home.path()) else { return };
    let at = |path: &str| format!("http://{}{path}", server.registry.host);

    let first = browser.document(&at("/"));
    for name in ["samples/app", "samples/everywhere", "samples/python", "samples/shell"] {
        assert!(first.contains(&format!("href=\"/ui/repository/{name}\"")), "{first}");
    }
    let tags = browser.document(&at("/ui/repository/samples/app"));
    assert!(tags.contains(">signed<"), "{tags}");
    let image = browser.document(&at("/ui/image/samples/app:1.0"));
    // The script ran: the policy lets it, and nothing else.
    assert_eq!(image.matches("type=\"button\"").count(), 3, "{image}");
    assert_eq!(image.matches("class=\"copies\"").count(), 3, "{image}");
    let index = browser.document(&at("/ui/image/samples/everywhere:1.0"));
    assert!(index.contains("linux/amd64") && index.contains("linux/arm64"), "{index}");
    assert!(browser.document(&at("/ui/health")).contains("Ready."));
    assert!(browser.document(&at("/ui/none")).contains("There is nothing here"));
}

/// Three sequences at the target: the second left something out, the third has less than was wished for before.
fn carried(site: &Site) {
    let images = [("team/app", "1.0"), ("team/app", "1.1"), ("team/deep/er/tool", "v2")];
    for (number, (name, tag)) in (0..).zip(images) {
        site.source.image(name, tag, &[&noise(number, 40_000)]);
    }
    let app = site.source.manifest("team/app", "1.0").unwrap();
    let stem = format!("sha256-{}", format_spec::Digest::of(&app).hex());
    site.source.artifact("team/app", Some(&format!("{stem}.sig")), "a/sig", b"s", None);
    site.images(&["team/app:1.0", "team/deep/er/tool:v2"]);
    site.create("media1", &["--label", "description=the first one"]).ok();
    site.import("media1", &[]).ok();
    site.images(&["team/app:1.0", "team/app:1.1", "team/lost:1"]);
    site.create("media2", &["--label", "ticket=CHG-4711"]).code(8);
    site.import("media2", &[]).ok();
    site.images(&["team/app:1.1"]);
    site.create("media3", &[]).ok();
    site.import("media3", &[]).ok();
}

#[test]
fn what_sequences_brought_is_there_without_scripts() {
    let Some(browser) = Browser::find() else { return };
    let site = Site::new();
    carried(&site);
    let at = |path: &str| format!("http://{}{path}", site.target.host);
    let list = browser.document(&at("/ui/sequences"));
    let links: Vec<&str> = list.split("href=\"").skip(1).collect();
    let links: Vec<&str> = links.iter().filter_map(|link| link.split('"').next()).collect();
    let links: Vec<&str> =
        links.into_iter().filter(|link| link.starts_with("/ui/sequence/")).collect();
    let [third, second, first] = links[..] else { panic!("{list}") };
    let first = browser.document(&at(first));
    let signer = first.split("Signed by").nth(1).unwrap().split("sha256:").nth(1).unwrap();
    let key = site.bundle(&["keys", "show", "--workspace", text(&site.path("connected"))]).ok();
    assert!(key.stdout.contains(&signer[..64]), "{signer}: {key}");
    for told in ["the first one", "href=\"/ui/repository/team/app\"", "team/deep/er/tool", "all 3"]
    {
        assert!(first.contains(told), "{told} in {first}");
    }
    // All of it left with the third.
    assert_eq!(first.matches("not here").count(), 3, "{first}");
    let second = browser.document(&at(second));
    assert!(second.contains(">here<"), "{second}");
    for told in ["CHG-4711", "team/lost:1", "1.1", ">sequence 1</a>"] {
        assert!(second.contains(told), "{told} in {second}");
    }
    let third = browser.document(&at(third));
    for told in ["removed 3", "gone", "team/deep/er/tool", ">sequence 2</a>"] {
        assert!(third.contains(told), "{told} in {third}");
    }
}

#[test]
fn it_can_be_drawn_in_each_size_and_colour() {
    let Some(browser) = Browser::find() else { return };
    let home = tempfile::tempdir().unwrap();
    let Some(server) = pushed(home.path()) else { return };
    let url = format!("http://{}/ui/image/samples/app:1.0", server.registry.host);
    drawn(&browser, home.path(), &url);
}

#[test]
fn so_can_a_sequence() {
    let Some(browser) = Browser::find() else { return };
    let site = Site::new();
    carried(&site);
    let list = browser.document(&format!("http://{}/ui/sequences", site.target.host));
    let link = list.split("href=\"/ui/sequence/").nth(1).unwrap().split('"').next().unwrap();
    let url = format!("http://{}/ui/sequence/{link}", site.target.host);
    drawn(&browser, &site.path(""), &url);
}

/// Draws a page in both colours at both widths.
fn drawn(browser: &Browser, home: &Path, url: &str) {
    let mut pictures = Vec::new();
    for size in ["--window-size=390,844", "--window-size=1280,900"] {
        for colour in
            ["--blink-settings=preferredColorScheme=1", "--blink-settings=preferredColorScheme=0"]
        {
            let file = home.join(format!("{}.png", pictures.len()));
            let into = format!("--screenshot={}", file.display());
            browser.open(url, &[size, colour, &into]);
            pictures.push(fs_err::read(&file).unwrap());
        }
    }
    // Four pictures, and no two the same: both colours are obeyed, at both widths.
    for (number, picture) in pictures.iter().enumerate() {
        assert!(picture.starts_with(b"\x89PNG"));
        assert!(!pictures[..number].contains(picture));
    }
}
