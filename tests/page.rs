//! The registry's web page in a browser: headless Chromium, where it is on this machine.

// Helpers outside of `#[test]` functions are tests all the same.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::command::{Run, sh};
use support::server::Server;
use support::tool;

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

#[test]
fn it_can_be_drawn_in_each_size_and_colour() {
    let Some(browser) = Browser::find() else { return };
    let home = tempfile::tempdir().unwrap();
    let Some(server) = pushed(home.path()) else { return };
    let url = format!("http://{}/ui/image/samples/app:1.0", server.registry.host);
    let mut pictures = Vec::new();
    for size in ["--window-size=390,844", "--window-size=1280,900"] {
        for colour in
            ["--blink-settings=preferredColorScheme=1", "--blink-settings=preferredColorScheme=0"]
        {
            let file = home.path().join(format!("{}.png", pictures.len()));
            let into = format!("--screenshot={}", file.display());
            browser.open(&url, &[size, colour, &into]);
            pictures.push(fs_err::read(&file).unwrap());
        }
    }
    // Four pictures, and no two the same: both colours are obeyed, at both widths.
    for (number, picture) in pictures.iter().enumerate() {
        assert!(picture.starts_with(b"\x89PNG"));
        assert!(!pictures[..number].contains(picture));
    }
}
