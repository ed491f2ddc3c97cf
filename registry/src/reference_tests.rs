//! Tests of the reference grammar: what parses, what is refused with which advice, and that nothing
//! panics.

use super::*;
use proptest::prelude::*;

const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn full_references_round_trip() {
    for text in [
        "quay.io/a/b:1".to_owned(),
        "localhost/a".to_owned(),
        "localhost:5000/a/b/c/d/e:v1".to_owned(),
        "[::1]:5000/a:1".to_owned(),
        format!("registry.example.com:8443/x/y@sha256:{HEX}"),
        format!("registry.example.com/x/y:t@sha256:{HEX}"),
    ] {
        assert_eq!(text.parse::<Reference>().unwrap().to_string(), text);
        assert_eq!(format!("docker://{text}").parse::<Reference>().unwrap().to_string(), text);
    }
}

#[test]
fn a_digest_wins_over_a_tag() {
    let both: Reference = format!("q.io/a:t@sha256:{HEX}").parse().unwrap();
    assert!(matches!(both.manifest_ref(), Some(ManifestRef::Digest(_))));
    assert!("q.io/a".parse::<Reference>().unwrap().manifest_ref().is_none());
}

#[test]
fn docker_hub_has_one_name_and_library() {
    for text in ["docker.io/redis:7", "index.docker.io/redis:7", "docker.io/library/redis:7"] {
        assert_eq!(text.parse::<Reference>().unwrap().to_string(), "docker.io/library/redis:7");
    }
    let other: Reference = "quay.io/redis:7".parse().unwrap();
    assert_eq!(other.name(), "quay.io/redis");
}

#[test]
fn a_missing_host_says_what_to_write() {
    for (text, advice) in
        [("redis:7", "docker.io/library/redis:7"), ("redis", "docker.io/library/redis")]
    {
        let error = text.parse::<Reference>().unwrap_err();
        assert!(matches!(error, ReferenceError::NoHost { .. }), "{error}");
        assert!(error.to_string().contains(advice), "{error}");
    }
    assert_eq!("team/app:1".parse::<Reference>().unwrap().registry.as_str(), "team");
    assert!(matches!("quay.io".parse::<Reference>(), Err(ReferenceError::NoRepository(_))));
    assert!(matches!("quay.io/".parse::<Reference>(), Err(ReferenceError::NoRepository(_))));
}

#[test]
fn bad_references_are_refused() {
    let sha512 = format!("quay.io/a@sha512:{}", "0".repeat(128));
    let error = sha512.parse::<Reference>().unwrap_err().to_string();
    assert!(error.contains("`sha512`"), "{error}");
    for text in [
        "",
        "/",
        "quay.io/A",
        "quay.io/a:",
        "quay.io/a@",
        "quay.io/a@sha256:00",
        "quay.io//a",
        "quay.io/../a",
        "quay.io/a/../b",
        "qu ay.io/a",
        "user@quay.io/a",
        "quay.io:99999/a",
        "quay.io:0/a",
        "quay.io:/a",
        "https://quay.io/a",
        "[::1/a",
        "[zz]/a",
        "[::1]x:5/a",
        "-a.io/b",
        "a..b/c",
        "quay.io/a:1:2",
    ] {
        assert!(text.parse::<Reference>().is_err(), "{text}");
    }
}

#[test]
fn hosts_know_loopback_and_ports() {
    for text in ["127.0.0.1:5000", "127.9.9.9", "[::1]:5000", "localhost", "a.localhost:1"] {
        assert!(text.parse::<RegistryHost>().unwrap().is_loopback(), "{text}");
    }
    for text in ["128.0.0.1", "localhost.example.com", "10.0.0.1:5000", "[::2]", "127.0.0.1.nip.io"]
    {
        assert!(!text.parse::<RegistryHost>().unwrap().is_loopback(), "{text}");
    }
    let host: RegistryHost = "[::1]:5000".parse().unwrap();
    assert_eq!((host.host(), host.port()), ("[::1]", Some(5000)));
    assert_eq!("Quay.IO".parse::<RegistryHost>().unwrap().as_str(), "quay.io");
}

#[test]
fn targets_need_the_scheme() {
    let target: Target = "docker://reg:5000/a/b/".parse().unwrap();
    assert_eq!(target.to_string(), "docker://reg:5000/a/b");
    assert_eq!("docker://reg".parse::<Target>().unwrap().namespace, None);
    let error = "reg:5000/a".parse::<Target>().unwrap_err();
    assert!(error.to_string().contains("docker://"), "{error}");
    for text in ["docker://", "docker:///a", "docker://reg/a:1", "docker://reg/A", "docker://u@r/a"]
    {
        assert!(text.parse::<Target>().is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn nothing_panics(text in "\\PC{0,80}") {
        let _ = text.parse::<Reference>();
        let _ = text.parse::<Target>();
        let _ = text.parse::<RegistryHost>();
    }

    #[test]
    fn what_parses_prints_and_parses_again(
        host in "[a-z][a-z0-9]{0,5}\\.[a-z]{2,3}(:[1-9][0-9]{1,3})?",
        path in "[a-z0-9]{1,4}(/[a-z0-9]{1,4}([._-][a-z0-9]{1,3})?){1,4}",
        tag in proptest::option::of("[A-Za-z0-9_][A-Za-z0-9._-]{0,10}"),
        digest in proptest::option::of(proptest::array::uniform32(any::<u8>())),
    ) {
        let mut text = format!("{host}/{path}");
        if let Some(tag) = &tag { text += &format!(":{tag}"); }
        if let Some(digest) = digest { text += &format!("@{}", Digest::from_bytes(digest)); }
        let parsed: Reference = text.parse().unwrap();
        prop_assert_eq!(parsed.to_string(), text);
        prop_assert_eq!(parsed.name(), format!("{host}/{path}"));
    }
}

#[test]
fn a_host_without_a_port_means_all_of_its_ports() {
    let host = |text: &str| text.parse::<RegistryHost>().unwrap();
    for (named, asked, covered) in [
        ("a.site", "a.site", true),
        ("a.site", "a.site:5443", true),
        ("a.site:5443", "a.site:5443", true),
        ("a.site:5443", "a.site:5000", false),
        ("a.site:5443", "a.site", false),
        ("a.site:443", "a.site", true),
        ("a.site", "b.a.site", false),
        ("[::1]", "[::1]:5000", true),
        ("[::1]:5000", "[::1]", false),
    ] {
        assert_eq!(host(named).covers(&host(asked), 443), covered, "{named} {asked}");
    }
    assert_eq!(host("a.site").with_port(443), host("a.site:443"));
    assert_eq!(host("a.site:5000").with_port(443), host("a.site:5000"));
}
