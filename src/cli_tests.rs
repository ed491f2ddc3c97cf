//! Tests of the command line, without running anything.

use super::*;
use crate::failure::Kind;

fn read(line: &str) -> Result<Cli, Stop> {
    parse(std::iter::once("bundle").chain(line.split_whitespace()).map(OsString::from))
}

fn refused(line: &str) -> Failure {
    match read(line) {
        Err(Stop::Wrong { failure, .. }) => failure,
        other => panic!("`{line}` gave {other:?}"),
    }
}

#[test]
fn the_definition_is_consistent() {
    definition().debug_assert();
}

#[test]
fn common_options_go_anywhere() {
    for line in ["--output json version", "version --output json", "version --output=json"] {
        assert_eq!(read(line).unwrap().common.output, Format::Json, "{line}");
    }
    let common = read(
        "keys list --workspace w --plain-http a:5000 --plain-http b --insecure-tls c --retry-delay 500ms \
         --stall-timeout 2m --parallel-layers 3 --log-level debug --retry-times 0",
    )
    .unwrap()
    .common;
    assert_eq!(common.plain_http.len(), 2);
    assert_eq!(common.retry_delay, Duration::from_millis(500));
    assert_eq!(common.stall_timeout, Duration::from_secs(120));
    assert_eq!(common.parallel_blobs, Some(3));
    assert_eq!(common.log_level, LogLevel::Debug);
    assert_eq!(common.retry_times, 0);
}

#[test]
fn wrong_command_lines_are_usage_errors() {
    for line in [
        "",
        "frobnicate",
        "version --frobnicate",
        "version --parallel-blobs 0",
        "version --parallel-blobs 65",
        "version --stall-timeout 0",
        "version --stall-timeout 99999999999999999999",
        "version --retry-delay 2h",
        "version --plain-http http://a",
        "keys new --name ../x",
        "keys",
        "completion tcsh",
    ] {
        let failure = refused(line);
        assert_eq!(failure.kind, Kind::Usage, "{line}");
        assert_eq!(failure.kind.exit(), 64);
        // The parser's own text ends with a pointer to the help.
        let text = format!("{failure:?}");
        assert!(text.contains("--help"), "{line}: {text}");
    }
}

#[test]
fn flags_of_other_tools_get_advice() {
    let text = format!("{:?}", refused("version --v2"));
    assert!(text.contains("both versions of the configuration"), "{text}");
    let text = format!("{:?}", refused("version --dest-skip-tls=true"));
    assert!(text.contains("--insecure-tls HOST"), "{text}");
}

#[test]
fn commands_of_other_tools_get_advice() {
    for (line, words) in [
        ("copy docker://a/b:1 docker://c/d:1", "bundle mirror --images"),
        ("--workspace w image mirror a b", "SRC=DST"),
        ("list charts --config c", "bundle list updates"),
        ("create --values v.yaml --config c", "--helm-values CHART=FILE"),
        ("create --from file://x", "bundle import --from DIR"),
    ] {
        let text = format!("{:?}", refused(line));
        assert!(text.contains(words), "{line}: {text}");
    }
}

#[test]
fn a_target_without_its_scheme_is_told_with_it() {
    for line in [
        "prune registry.site:5000/x",
        "rollback --to 1 registry.site/x",
        "mirror --config c host/x",
        "delete --list l registry.site:5000",
        "import --from d registry.site:5000/x",
    ] {
        let word = line.rsplit(' ').next().unwrap();
        let text = format!("{:?}", refused(line));
        assert!(text.contains(&format!("write the target as `docker://{word}`")), "{text}");
    }
}

#[test]
fn help_and_version_are_answers() {
    for line in ["--help", "--version", "keys --help", "help", "help keys"] {
        assert!(matches!(read(line), Err(Stop::Answer(_))), "{line}");
    }
}

#[test]
fn no_flag_takes_a_secret() {
    fn look(command: &clap::Command) {
        for flag in command.get_arguments().filter_map(clap::Arg::get_long) {
            // Those name where a secret is read from.
            if flag.ends_with("-stdin") || flag.ends_with("-file") {
                continue;
            }
            for word in ["password", "token", "creds", "secret", "username"] {
                assert!(!flag.contains(word), "--{flag}");
            }
        }
        command.get_subcommands().for_each(look);
    }
    look(&definition());
}

#[test]
fn directories_are_also_written_as_urls() {
    let path = |text: &str| directory(text).map(|p| p.display().to_string());
    assert_eq!(path("out"), Ok("out".to_owned()));
    assert_eq!(path("file://out/x"), Ok("out/x".to_owned()));
    assert_eq!(path("file:///mnt/usb"), Ok("/mnt/usb".to_owned()));
    for bad in ["", "file://", "docker://host/x", "oci:dir"] {
        assert!(path(bad).is_err(), "{bad}");
    }
}
