//! The update service, played by a server of this machine.

use super::super::testing::{Cincinnati, document};
use super::*;

fn small() -> Vec<u8> {
    document(&["4.1.0", "4.1.1"], &[("4.1.0", "4.1.1")], &[])
}

#[tokio::test]
async fn a_graph_is_asked_for_once_and_by_its_names() {
    let server = Cincinnati::start();
    server.answer("amd64/stable-4.1", 200, small());
    server.answer("multi/4-scos-stable", 200, small());
    let service = server.service(None, Kept::Unreachable);
    let both = futures_util::join!(
        service.graph("stable-4.1", "amd64", false),
        service.graph("stable-4.1", "amd64", false)
    );
    assert!(Arc::ptr_eq(&both.0.unwrap(), &both.1.unwrap()));
    assert_eq!(service.graph("4-scos-stable", "multi", true).await.unwrap().graph.nodes().len(), 2);
    let asked = server.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 2);
    let id = asked[0].strip_prefix("/graph?arch=amd64&channel=stable-4.1&id=").unwrap();
    assert_eq!((id.len(), &id[14..15]), (36, "4"));
    assert!(asked[1].starts_with("/okd?x=1&arch=multi&channel=4-scos-stable&id="), "{asked:?}");
}

#[tokio::test]
async fn names_that_no_service_takes_are_not_asked_for() {
    let server = Cincinnati::start();
    let service = server.service(None, Kept::Unreachable);
    for name in ["", "..", "-", "../../etc/passwd", "Stable-4.1", "a b", "x&y=1", &"a".repeat(101)]
    {
        let error = service.graph(name, "amd64", false).await.unwrap_err();
        assert!(matches!(*error, ReleaseError::Name { .. }), "{name}: {error}");
    }
    for name in ["../x", "", "x86_64", "aarch64", "AMD64"] {
        let error = service.graph("stable-4.1", name, false).await.unwrap_err();
        assert!(matches!(*error, ReleaseError::Architecture { .. }), "{error}");
    }
    assert_eq!(server.asked.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn what_comes_instead_of_a_graph_is_told_and_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let server = Cincinnati::start();
    server.answer("amd64/page", 200, "<html>please log in</html>");
    server.answer("amd64/refused", 400, r#"{"kind":"invalid_params","value":"no such thing"}"#);
    server.answer("amd64/huge", 200, vec![b' '; usize::try_from(GRAPH_MAX).unwrap() + 1]);
    let service = server.service(Some(dir.path()), Kept::Unreachable);
    for (channel, words) in [
        ("page", "web page came instead of an update graph"),
        ("refused", "400: no such thing"),
        ("huge", "larger than 16777216 bytes"),
    ] {
        let error = service.graph(channel, "amd64", false).await.unwrap_err();
        let text = crate::error::reason(&*error);
        assert!(text.contains(words) && text.contains(channel), "{text}");
        assert!(!error.hints().is_empty(), "{text}");
    }
    assert_eq!(fs_err::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn an_outage_is_bridged_by_what_was_kept_and_that_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let workspace = Some(dir.path());
    let server = Cincinnati::start();
    server.answer("amd64/stable-4.1", 200, small());
    let asked = |kept| server.service(workspace, kept);
    let error = asked(Kept::Always).graph("stable-4.1", "amd64", false).await.unwrap_err();
    assert!(matches!(*error, ReleaseError::NotKept { .. }), "{error}");
    asked(Kept::Unreachable).graph("stable-4.1", "amd64", false).await.unwrap();
    server.answer("amd64/stable-4.1", 503, "later");
    let found = asked(Kept::Unreachable).graph("stable-4.1", "amd64", false).await.unwrap();
    assert_eq!((found.graph.nodes().len(), found.age.is_some()), (2, true));
    let warning = found.warning.clone().unwrap();
    assert!(warning.contains("seconds old") && warning.contains("503"), "{warning}");
    let error = asked(Kept::Never).graph("stable-4.1", "amd64", false).await.unwrap_err();
    assert!(matches!(*error, ReleaseError::Fetch { .. }), "{error}");
    // Another channel, another architecture and OKD have nothing there.
    for (channel, architecture, okd) in [
        ("stable-4.2", "amd64", false),
        ("stable-4.1", "arm64", false),
        ("stable-4.1", "amd64", true),
    ] {
        server.answer(&format!("{architecture}/{channel}"), 503, "later");
        let service = asked(Kept::Unreachable);
        assert!(
            service.graph(channel, architecture, okd).await.is_err(),
            "{channel} {architecture}"
        );
    }
    // What it has it gives without being asked for again.
    let before = server.asked.lock().unwrap().len();
    let found = asked(Kept::Always).graph("stable-4.1", "amd64", false).await.unwrap();
    assert!(found.warning.as_ref().unwrap().contains("as it was asked for"));
    assert_eq!(server.asked.lock().unwrap().len(), before);
    // An answer that is refused is no outage.
    server.answer("amd64/stable-4.1", 400, "no");
    assert!(asked(Kept::Unreachable).graph("stable-4.1", "amd64", false).await.is_err());
    // What is kept is read as if it came from the network.
    let kept = walk(dir.path());
    fs_err::write(&kept[0], "<html>").unwrap();
    assert!(asked(Kept::Always).graph("stable-4.1", "amd64", false).await.is_err());
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    let entries = fs_err::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn ages_are_spoken() {
    for (seconds, words) in [
        (1, "1 second"),
        (90, "90 seconds"),
        (3600, "60 minutes"),
        (86_400, "24 hours"),
        (864_000, "10 days"),
    ] {
        assert_eq!(spoken(Duration::from_secs(seconds)), words);
    }
}

#[test]
fn an_address_is_checked_and_not_repeated() {
    assert!(address("https://update.lan/api/upgrades_info/v1/graph").is_ok());
    for bad in ["", "update.lan/graph", "ftp://update.lan/", "https://me:s3cret@update.lan/"] {
        let problem = address(bad).unwrap_err();
        for okd in [false, true] {
            let error = ReleaseError::Address { variable: variable(okd), problem };
            assert!(!error.to_string().contains("s3cret"), "{error}");
            assert!(error.hints()[0].contains(&format!("`{}=https://", variable(okd))), "{error}");
        }
    }
}
