//! The worked examples, on real catalogs.

use super::testing::{channels, ok, real, refused, whys};
use crate::config::ApiVersion::{V1Alpha2 as V1, V2Alpha1 as V2};

mod sailoperator {
    use super::*;

    const FILE: &[&str] = &["community-v4.17/configs/sailoperator/catalog.yaml"];

    #[test]
    fn without_options_every_channel_gives_its_head() {
        let Some(catalog) = real(FILE) else { return };
        for (rest, version) in [("", V2), ("packages: [{name: sailoperator}]", V2), ("", V1)] {
            let selection = ok(&catalog, rest, version);
            let [picked] = &selection.packages[..] else { panic!() };
            assert_eq!(picked.channels.len(), 10);
            assert!(picked.channels.iter().all(|channel| channel.entries.len() == 1));
            assert_eq!(picked.bundles.len(), 9);
            assert_eq!(picked.default_channel, "stable");
            assert!(!picked.unchanged);
            let lines = channels(&catalog, &selection, "sailoperator");
            for line in ["stable: 1.30.3", "stable-1.30: 1.30.3", "stable-1.0: 1.0.0"] {
                assert!(lines.iter().any(|known| known == line), "{lines:?}");
            }
        }
    }

    #[test]
    fn a_range_in_one_channel_keeps_the_piece_of_its_chain() {
        let Some(catalog) = real(FILE) else { return };
        let rest = "packages: [{name: sailoperator, channels: [{name: stable, minVersion: 1.26.0, maxVersion: 1.27.2}]}]";
        for version in [V2, V1] {
            let selection = ok(&catalog, rest, version);
            assert_eq!(
                channels(&catalog, &selection, "sailoperator"),
                ["stable: 1.26.0 1.26.1 1.26.2 1.26.3 1.27.0 1.27.1 1.27.2"]
            );
            // Entries stay as they are: the lowest still says that it replaces one that is gone.
            let stable =
                &catalog.packages["sailoperator"].channels[selection.packages[0].channels[0].place];
            let lowest = &stable.entries[selection.packages[0].channels[0].entries[0].place];
            assert_eq!(lowest.replaces.as_deref(), Some("sailoperator.v1.25.2"));
        }
    }

    #[test]
    fn a_range_of_the_package_leaves_the_channels_that_have_it() {
        let Some(catalog) = real(FILE) else { return };
        let rest = "packages: [{name: sailoperator, minVersion: 1.27.0, maxVersion: 1.28.1}]";
        for version in [V2, V1] {
            let selection = ok(&catalog, rest, version);
            assert_eq!(
                channels(&catalog, &selection, "sailoperator"),
                [
                    "stable: 1.27.0 1.27.1 1.27.2 1.27.3 1.28.0 1.28.1",
                    "stable-1.27: 1.27.0 1.27.1 1.27.2 1.27.3",
                    "stable-1.28: 1.28.0 1.28.1"
                ]
            );
            assert_eq!(selection.packages[0].dropped.len(), 7);
            assert_eq!(selection.packages[0].bundles.len(), 6);
        }
    }

    #[test]
    fn a_default_channel_that_is_left_out_is_an_error_in_v2_and_replaced_in_v1() {
        let Some(catalog) = real(FILE) else { return };
        let rest = "packages: [{name: sailoperator, channels: [{name: stable-1.0}]}]";
        assert_eq!(
            refused(&catalog, rest, V2),
            (
                "package `sailoperator`: its default channel `stable` is not carried".to_owned(),
                vec!["add `defaultChannel: stable-1.0` to the package".to_owned()]
            )
        );
        let selection = ok(&catalog, rest, V1);
        assert_eq!(selection.packages[0].default_channel, "stable-1.0");
        assert_eq!(
            selection.warnings,
            ["package `sailoperator`: its default channel becomes `stable-1.0`, was `stable`"]
        );
        let rest = "packages: [{name: sailoperator, defaultChannel: stable-1.0, channels: [{name: stable-1.0}]}]";
        assert_eq!(ok(&catalog, rest, V2).packages[0].default_channel, "stable-1.0");
    }

    #[test]
    fn a_range_that_leaves_nothing_says_which_would_work() {
        let Some(catalog) = real(FILE) else { return };
        let rest = "packages: [{name: sailoperator, minVersion: 9.0.0}]";
        assert_eq!(
            refused(&catalog, rest, V2),
            (
                "package `sailoperator`, channel `stable`: no bundle has a version from 9.0.0 on"
                    .to_owned(),
                vec![
                    "this works: `minVersion: 1.30.3`".to_owned(),
                    "the nearest versions are 1.30.0, 1.30.3".to_owned()
                ]
            )
        );
        assert_eq!(
            refused(&catalog, rest, V1),
            (
                "package `sailoperator`: the package was not found like that: no channel has a bundle from 9.0.0 to its head"
                    .to_owned(),
                vec![
                    "the nearest versions are 1.31.0-nightly-2026-08-21, 1.31.0-nightly-2026-08-22"
                        .to_owned()
                ]
            )
        );
    }

    #[test]
    fn nightlies_are_pre_releases() {
        let Some(catalog) = real(FILE) else { return };
        let nightly = |range: &str| {
            format!(
                "packages: [{{name: sailoperator, defaultChannel: 1.31-nightly, channels: [{{name: 1.31-nightly, {range}}}]}}]"
            )
        };
        let (problem, hints) = refused(&catalog, &nightly("minVersion: 1.30.0"), V2);
        assert!(problem.ends_with("no bundle has a version from 1.30.0 on"), "{problem}");
        assert_eq!(hints[0], "this works: `minVersion: 1.30.0-0`");
        assert!(hints[1].contains("are taken only when a bound has one"));
        let selection = ok(&catalog, &nightly("minVersion: 1.31.0-nightly-2026-08-20"), V2);
        assert_eq!(
            channels(&catalog, &selection, "sailoperator"),
            [
                "1.31-nightly: 1.31.0-nightly-2026-08-20 1.31.0-nightly-2026-08-21 1.31.0-nightly-2026-08-22"
            ]
        );
    }
}

mod kubernaut {
    use super::*;

    const FILE: &[&str] = &["community-v4.18/configs/kubernaut-operator/catalog.yaml"];
    const NAME: &str = "kubernaut-operator";

    fn rest(range: &str) -> String {
        format!("packages: [{{name: {NAME}, channels: [{{name: candidate-v1, {range}}}]}}]")
    }

    #[test]
    fn the_entry_that_skips_the_others_stays_as_their_head() {
        let Some(catalog) = real(FILE) else { return };
        let selection = ok(&catalog, &rest("maxVersion: 1.3.3"), V2);
        assert_eq!(channels(&catalog, &selection, NAME), ["candidate-v1: 1.3.2 1.3.3 1.3.4"]);
        assert_eq!(
            whys(&selection, 0, 0),
            [
                "in the range, skipped by `kubernaut-operator.v1.3.4`",
                "in the range, skipped by `kubernaut-operator.v1.3.4`",
                "outside the range, and updates in it lead over it"
            ]
        );
        assert_eq!(selection.warnings.len(), 1);
        assert!(selection.warnings[0].ends_with("`kubernaut-operator.v1.3.4`"));
    }

    #[test]
    fn in_v1_two_heads_are_an_error_that_names_the_range_that_works() {
        let Some(catalog) = real(FILE) else { return };
        let (problem, hints) = refused(&catalog, &rest("maxVersion: 1.3.3"), V1);
        assert_eq!(
            problem,
            "package `kubernaut-operator`, channel `candidate-v1`: up to 1.3.3 cannot be a channel of its own: multiple \
             channel heads: nothing updates `kubernaut-operator.v1.3.2`, `kubernaut-operator.v1.3.3`"
        );
        assert_eq!(hints, ["this works: `maxVersion: 1.3.4`"]);
        ok(&catalog, &rest("maxVersion: 1.3.4"), V1);
    }

    #[test]
    fn in_v1_a_lower_bound_that_is_only_skipped_comes_alone() {
        let Some(catalog) = real(FILE) else { return };
        let selection = ok(&catalog, &rest("minVersion: 1.3.3"), V1);
        assert_eq!(channels(&catalog, &selection, NAME), ["candidate-v1: 1.3.3"]);
        let selection = ok(&catalog, &rest("minVersion: 1.3.4"), V1);
        assert_eq!(channels(&catalog, &selection, NAME), ["candidate-v1: 1.3.4 1.4.1 1.5.0"]);
        assert_eq!(whys(&selection, 0, 0)[0], "the lower bound");
        // As v2 takes it: everything from there on.
        let selection = ok(&catalog, &rest("minVersion: 1.3.3"), V2);
        assert_eq!(channels(&catalog, &selection, NAME), ["candidate-v1: 1.3.3 1.3.4 1.4.1 1.5.0"]);
    }
}

#[test]
fn versions_are_never_compared_as_text() {
    let Some(catalog) = real(&["community-v4.18/configs/rabbitmq-cluster-operator/catalog.yaml"])
    else {
        return;
    };
    let rest = "packages: [{name: rabbitmq-cluster-operator, maxVersion: 2.2.0}]";
    for version in [V2, V1] {
        let selection = ok(&catalog, rest, version);
        assert_eq!(
            channels(&catalog, &selection, "rabbitmq-cluster-operator"),
            ["stable: 1.14.0 2.0.0 2.1.0 2.2.0"]
        );
    }
}

#[test]
fn a_head_that_skips_all_others_keeps_those_of_the_range() {
    let Some(catalog) = real(&["community-v4.18/configs/clusterpulse/catalog.yaml"]) else {
        return;
    };
    let rest = "packages: [{name: clusterpulse, defaultChannel: fast-v1, channels: [{name: fast-v1, minVersion: 1.0.0, maxVersion: 1.0.1}]}]";
    let selection = ok(&catalog, rest, V2);
    assert_eq!(channels(&catalog, &selection, "clusterpulse"), ["fast-v1: 1.0.0 1.0.1 1.0.2"]);
}

#[test]
fn pre_releases_of_jaeger_and_slurm() {
    let Some(catalog) = real(&[
        "redhat-sample/configs/jaeger-product/catalog.json",
        "community-v4.18/configs/slurm-operator/catalog.yaml",
    ]) else {
        return;
    };
    let jaeger = |range: &str| format!("packages: [{{name: jaeger-product, {range}}}]");
    let (problem, hints) = refused(&catalog, &jaeger("minVersion: 1.34.1"), V2);
    assert_eq!(
        problem,
        "package `jaeger-product`, channel `stable`: no bundle has a version from 1.34.1 on"
    );
    assert_eq!(hints[0], "this works: `minVersion: 1.34.1-0`");
    let all = "stable: 1.34.1-5 1.42.0-5 1.42.0-5+0.1687199951.p 1.47.1-5 1.51.0-1";
    let lines =
        |rest: String, version| channels(&catalog, &ok(&catalog, &rest, version), "jaeger-product");
    assert_eq!(lines(jaeger("minVersion: 1.34.1-0"), V2), [all]);
    assert_eq!(lines(jaeger("minVersion: 1.34.1-5"), V2), [all]);
    // In v1 the bound finds 1.34.1-5 too; what only skips tie in is not on the way.
    let way = "stable: 1.34.1-5 1.42.0-5+0.1687199951.p 1.47.1-5 1.51.0-1";
    assert_eq!(lines(jaeger("minVersion: 1.34.1"), V1), [way]);
    assert_eq!(lines(jaeger("minVersion: 1.34.1-5"), V1), [way]);
    // Build metadata tells two bundles apart only where it is written.
    assert_eq!(
        lines(jaeger("minVersion: 1.42.0-5, maxVersion: 1.42.0-5"), V2),
        ["stable: 1.42.0-5"]
    );
    assert_eq!(
        lines(
            jaeger("minVersion: 1.42.0-5+0.1687199951.p, maxVersion: 1.42.0-5+0.1687199951.p"),
            V2
        ),
        ["stable: 1.42.0-5+0.1687199951.p"]
    );
    assert_eq!(
        lines(jaeger("minVersion: 1.42.0-5, maxVersion: 1.47.1-5"), V2),
        ["stable: 1.42.0-5 1.42.0-5+0.1687199951.p 1.47.1-5"]
    );

    let slurm = "packages: [{name: slurm-operator, minVersion: 1.0.1}]";
    let selection = ok(&catalog, slurm, V2);
    assert_eq!(channels(&catalog, &selection, "slurm-operator"), ["release-1.0: 1.0.1"]);
    // The head of the channel is one whose version is lower.
    let selection = ok(&catalog, "packages: [{name: slurm-operator}]", V2);
    assert_eq!(
        channels(&catalog, &selection, "slurm-operator"),
        ["alpha: 0.4.1-2", "release-1.0: 1.0.1-1"]
    );
}

#[test]
fn a_channel_where_everything_is_skipped_has_one_head() {
    let Some(catalog) =
        real(&["community-assisted/configs/assisted-service-operator/catalog.json"])
    else {
        return;
    };
    let selection = ok(&catalog, "", V2);
    assert_eq!(selection.packages[0].channels.len(), 11);
    assert!(selection.packages[0].channels.iter().all(|channel| channel.entries.len() == 1));
    let selection = ok(&catalog, "full: true, packages: [{name: assisted-service-operator}]", V2);
    assert!(selection.packages[0].unchanged);
    assert_eq!(selection.packages[0].bundles.len(), 93);
    // A range from the middle stays a channel in all of them.
    let rest =
        "packages: [{name: assisted-service-operator, minVersion: 0.3.0, maxVersion: 0.6.0}]";
    ok(&catalog, rest, V2);
}

#[test]
fn a_package_that_is_one_bundle_is_unchanged_by_its_heads() {
    let Some(catalog) = real(&["community-v4.18/configs/kubevirt-wol/catalog.yaml"]) else {
        return;
    };
    assert!(ok(&catalog, "", V2).packages[0].unchanged);
}

mod toys {
    use super::*;

    const FILE: &[&str] = &["operator-registry/latest/index.yaml"];

    #[test]
    fn v1_adds_what_is_needed_and_what_updates_it() {
        let Some(catalog) = real(FILE) else { return };
        let selection = ok(&catalog, "packages: [{name: foo}]", V1);
        assert_eq!(channels(&catalog, &selection, "foo"), ["beta: 0.3.1"]);
        assert_eq!(
            channels(&catalog, &selection, "bar"),
            ["alpha: 0.1.0 0.2.0 1.0.0", "stable: 1.0.0"]
        );
        assert_eq!(selection.packages[0].name, "bar");
        assert_eq!(
            whys(&selection, 0, 0),
            [
                "needed by `foo.v0.3.1`",
                "updates `bar.v0.1.0`, which `foo.v0.3.1` needs",
                "updates `bar.v0.1.0`, which `foo.v0.3.1` needs"
            ]
        );
        assert_eq!(selection.packages[0].default_channel, "stable");
        let alone = ok(&catalog, "skipDependencies: true, packages: [{name: foo}]", V1);
        assert_eq!(alone.packages.len(), 1);
    }

    #[test]
    fn v2_adds_nothing_and_says_so() {
        let Some(catalog) = real(FILE) else { return };
        let selection = ok(&catalog, "packages: [{name: foo}]", V2);
        assert_eq!(selection.packages.len(), 1);
        assert_eq!(
            selection.warnings,
            [
                "package `foo`: `foo.v0.3.1` needs the interface `test.bar/v1alpha1 Bar`, which is not carried: add `bar` to `packages`",
                "package `foo`: `foo.v0.3.1` needs package `bar` `<0.2.0`, which is not carried: add `bar` to `packages`",
            ]
        );
        let rest = "packages: [{name: foo}, {name: bar, channels: [{name: alpha, minVersion: 0.1.0, maxVersion: 0.1.0}], defaultChannel: alpha}]";
        assert!(ok(&catalog, rest, V2).warnings.is_empty());
    }

    #[test]
    fn one_version_is_that_bundle_alone() {
        let Some(catalog) = real(FILE) else { return };
        let beta =
            |range: &str| format!("packages: [{{name: foo, channels: [{{name: beta, {range}}}]}}]");
        let selection = ok(&catalog, &beta("minVersion: 0.2.0, maxVersion: 0.2.0"), V2);
        assert_eq!(channels(&catalog, &selection, "foo"), ["beta: 0.2.0"]);
        assert_eq!(
            refused(&catalog, &beta("minVersion: 0.2.5, maxVersion: 0.2.5"), V2),
            (
                "package `foo`, channel `beta`: no bundle has version 0.2.5".to_owned(),
                vec!["the nearest versions are 0.1.0, 0.2.0, 0.3.0, 0.3.1".to_owned()]
            )
        );
        // Two versions of which the upper one skips the lower are a range.
        let selection = ok(&catalog, &beta("minVersion: 0.3.0, maxVersion: 0.3.1"), V2);
        assert_eq!(channels(&catalog, &selection, "foo"), ["beta: 0.3.0 0.3.1"]);
        // The one below the head that only it skips: in the range alone it needs the head.
        let selection = ok(&catalog, &beta("minVersion: 0.2.5, maxVersion: 0.3.0"), V2);
        assert_eq!(channels(&catalog, &selection, "foo"), ["beta: 0.3.0 0.3.1"]);
        // As v1 has it: what replaces the bound, a skipped one among it.
        let selection = ok(&catalog, &beta("minVersion: 0.3.0"), V1);
        assert_eq!(channels(&catalog, &selection, "foo"), ["beta: 0.3.0 0.3.1"]);
    }
}
