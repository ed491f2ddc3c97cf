//! Objects with everything that a catalog may say, and what it may get wrong.

use serde_json::{Value, json};

use super::super::limits::LIST_MAX;
use super::*;

const PLACE: Place = Place { file: 1, frame: 2, offset: 3, length: 4 };

fn of(text: &str) -> Result<Parsed<'_>, String> {
    parse(text, PLACE, &mut Names::default()).map_err(|error| error.to_string())
}

fn bundle(properties: &Value) -> Value {
    json!({"schema": "olm.bundle", "name": "foo.v1", "package": "foo", "image": "q.io/foo",
        "properties": properties})
}

fn version(version: &str) -> Value {
    json!({"type": "olm.package", "value": {"packageName": "foo", "version": version}})
}

#[test]
fn packages_channels_and_the_rest_are_understood() {
    let parsed =
        of(r#"{"schema":"olm.package","name":"foo","defaultChannel":"stable","icon":{"a":1}}"#);
    let parsed = parsed.unwrap();
    assert_eq!(parsed.package.as_deref(), Some("foo"));
    assert_eq!(parsed.part, Part::Package("stable".to_owned()));
    let channel = json!({"entries": [
            {"name": "foo.v2", "replaces": "foo.v1", "skips": ["foo.v0", ""], "skipRange": "<2.0.0"},
            {"name": "foo.v1", "replaces": "", "skips": null}],
        "properties": [{"type": "x", "value": 1}, {"type": "olm.channel", "value": {"priority": -7}}],
        "package": "foo", "name": "stable", "schema": "olm.channel"});
    let text = channel.to_string();
    let Part::Channel(channel) = of(&text).unwrap().part else { panic!() };
    assert_eq!(
        (channel.name.as_str(), channel.object, channel.priority),
        ("stable", PLACE, Some(-7))
    );
    let entries: Vec<_> = channel
        .entries
        .iter()
        .map(|entry| {
            let skips: Vec<&str> = entry.skips.iter().map(|skip| &**skip).collect();
            (&*entry.name, entry.replaces.as_deref(), skips, entry.skip_range.as_deref())
        })
        .collect();
    assert_eq!(
        entries,
        [
            ("foo.v2", Some("foo.v1"), vec!["foo.v0"], Some("<2.0.0")),
            ("foo.v1", None, vec![], None)
        ]
    );
    let deprecations = of(r#"{"schema":"olm.deprecations","package":"foo","entries":[{"a":1}]}"#);
    assert_eq!(deprecations.unwrap().part, Part::Deprecations);
    let other =
        of(r#"{"schema":"x.y","package":"foo","properties":{"a":[1]},"entries":7}"#).unwrap();
    assert_eq!((other.package.as_deref(), other.part), (Some("foo"), Part::Other));
    let loose = of(r#"{"schema":"x.y","package":"","properties":"no"}"#).unwrap();
    assert_eq!((loose.package, loose.part), (None, Part::Other));
}

#[test]
fn bundles_say_what_they_offer_and_need() {
    let gvk = |kind: &str| json!({"group": "g.io", "version": "v1", "kind": kind});
    let constraint = json!({"failureMessage": "no", "all": {"constraints": [
        {"gvk": gvk("A")},
        {"any": {"constraints": [{"package": {"packageName": "p", "versionRange": ">1"}}]}},
        {"not": {"constraints": [{"gvk": gvk("B")}]}},
        {"cel": {"rule": "true"}}]}});
    let text = bundle(&json!([
        {"type": "olm.gvk", "value": gvk("Foo")},
        {"type": "olm.gvk.required", "value": gvk("Bar")},
        {"type": "olm.package.required", "value": {"packageName": "bar", "versionRange": "<1.0.0"}},
        {"type": "olm.constraint", "value": constraint},
        {"type": "olm.bundle.object", "value": {"data": "eyJ9"}},
        {"type": "olm.csv.metadata", "value": {"annotations": {"a": "b"}, "displayName": " Foo\u{20}"}},
        version("1.2.3-4+x")]))
    .to_string();
    let mut names = Names::default();
    let parsed = parse(&text, PLACE, &mut names).unwrap();
    let Part::Bundle { name, bundle, version, csv } = parsed.part else { panic!() };
    assert_eq!((&*name, parsed.package.as_deref()), ("foo.v1", Some("foo")));
    assert_eq!(
        (bundle.object, &*bundle.version, version.unwrap().to_string().as_str()),
        (PLACE, "1.2.3-4+x", "1.2.3-4+x")
    );
    assert_eq!(display_name(csv.unwrap()).as_deref(), Some("Foo"));
    let gvk = |kind: &str| {
        Arc::new(Gvk { group: "g.io".into(), version: "v1".into(), kind: kind.into() })
    };
    assert_eq!(bundle.provides, [gvk("Foo")]);
    let package =
        |name: &str, range: &str| Requirement::Package { name: name.into(), range: range.into() };
    assert_eq!(
        bundle.requires,
        [
            Requirement::Gvk(gvk("Bar")),
            package("bar", "<1.0.0"),
            Requirement::All(vec![
                Requirement::Gvk(gvk("A")),
                Requirement::Any(vec![package("p", ">1")]),
                Requirement::Not(vec![Requirement::Gvk(gvk("B"))]),
                Requirement::Cel("true".into()),
            ]),
        ]
    );
    // The same name is held once.
    let again = parse(&text, PLACE, &mut names).unwrap();
    let Part::Bundle { name: other, bundle: twin, .. } = again.part else { panic!() };
    assert!(Arc::ptr_eq(&name, &other) && Arc::ptr_eq(&bundle.provides[0], &twin.provides[0]));
}

#[test]
fn what_is_wrong_is_told_with_the_name_of_the_object() {
    let told = "`olm.bundle` `foo.v1` of package `foo`: ";
    for (properties, problem) in [
        (json!([]), "it has no property `olm.package`"),
        (json!(null), "it has no property `olm.package`"),
        (
            json!([version("1.0.0"), version("1.0.0")]),
            "it has more than one property `olm.package`",
        ),
        (
            json!([{"type": "olm.package", "value": {"packageName": "bar", "version": "1.0.0"}}]),
            "its property `olm.package` names another package: `bar`",
        ),
        (
            json!([{"type": "olm.package", "value": {"packageName": "foo"}}]),
            "its property `olm.package`: missing field `version`",
        ),
        (
            json!([version("1.0.0"), {"type": "olm.gvk"}]),
            "its property 2, `olm.gvk`, has no `value`",
        ),
        (json!([version("1.0.0"), {"type": "olm.bundle.object", "value": null}]), "has no `value`"),
        (json!([version("1.0.0"), {"value": 1}]), "its property 2 has no `type`"),
        (json!([version("1.0.0"), {"type": 7, "value": 1}]), "its property 2 has no `type`"),
        (json!({"a": 1}), "its `properties` are not a list of objects"),
        (json!([7]), "its `properties` are not a list of objects"),
        (json!([["olm.package"]]), "its `properties` are not a list of objects"),
        (json!([null]), "its `properties` are not a list of objects"),
        (
            json!([version("1.0.0"), {"type": "olm.gvk", "value": {"group": 1}}]),
            "its property `olm.gvk`: invalid type",
        ),
        (
            json!([version("1.0.0"), {"type": "olm.constraint", "value": {"failureMessage": "x"}}]),
            "its property `olm.constraint` says none of",
        ),
        (
            json!([version("1.0.0"), {"type": "olm.constraint", "value": {"cel": {"rule": "x"}, "all": {}}}]),
            "says several things at once",
        ),
        (
            json!([version("1.0.0"), {"type": "olm.constraint", "value": {"cel": {"rule": "x".repeat(CONSTRAINT_MAX)}}}]),
            "is larger than",
        ),
    ] {
        let text = bundle(&properties).to_string();
        let error = of(&text).unwrap_err();
        assert!(error.starts_with(told), "{error}");
        assert!(error.contains(problem), "{problem}: {error}");
    }
    for (text, problem) in [
        (r#"{"name":"a"}"#, "it has no `schema`"),
        (r#"{"schema":7}"#, "its `schema` is not a text"),
        (r#"{"schema":""}"#, "it has no `schema`"),
        (r#"{"schema":"olm.package"}"#, "`olm.package`: it has no `name`"),
        (
            r#"{"schema":"olm.channel","name":"a","entries":[]}"#,
            "`olm.channel` `a`: it has no `package`",
        ),
        (
            r#"{"schema":"olm.channel","name":"a","package":"b"}"#,
            "`olm.channel` `a` of package `b`: it has no `entries`",
        ),
        (
            r#"{"schema":"olm.channel","name":"a","package":"b","entries":[{"replaces":"x"}]}"#,
            "its entry 1 has no name",
        ),
        (
            r#"{"schema":"olm.channel","name":"a","package":"b","entries":{}}"#,
            "its `entries`: invalid type",
        ),
        (
            r#"{"schema":"olm.channel","name":"a","package":"b","entries":[],"properties":[{"type":"olm.channel","value":{"priority":"x"}}]}"#,
            "its property `olm.channel`: invalid type",
        ),
        (r#"{"schema":"olm.deprecations"}"#, "it has no `package`"),
        (r#"{"schema":"x","package":[]}"#, "its `package` is not a text"),
        (r#"{"schema":"a","schema":"b"}"#, "the key `schema` is there twice"),
        (r#"{"schema":"a","Image":"b","image":"c"}"#, "the key `image` is there twice"),
        (
            r#"{"schema":"a","properties":[{"type":"x","value":1,"value":2}]}"#,
            "the key `value` is there twice",
        ),
        (r#"{"schema":"a",}"#, "it is no valid JSON: "),
        (r#"{"schema":"a" "b":1}"#, "it is no valid JSON: "),
        (r#"{"a":]}"#, "it is no valid JSON: "),
        (r#"{"a":1}]"#, "it is no valid JSON: trailing characters"),
        (r#"{"a":01}"#, "it is no valid JSON: "),
        (r#"{"schema":"a\u00"}"#, "it is no valid JSON: "),
        ("{\"schema\":\"a\nb\"}", "it is no valid JSON: control character"),
        ("[]", "it is no valid JSON: "),
    ] {
        let error = of(text).unwrap_err();
        assert!(error.contains(problem), "{text}: {error}");
        assert!(error.len() < 600);
    }
    // Many keys too, and a text of any length.
    let many: String = (0..40).map(|n| format!("\"k{n}\":0,")).collect();
    let error = of(&format!("{{{many}\"K3\":1}}")).unwrap_err();
    assert!(error.contains("the key `K3` is there twice"), "{error}");
    let long = format!(r#"{{"schema":"olm.package","name":{{"a":"{}"}}}}"#, "x".repeat(100_000));
    assert!(of(&long).unwrap_err().len() < 600);
}

#[test]
fn lists_of_any_length_are_not_held() {
    let entries = vec![r#"{"name":"a"}"#; LIST_MAX + 1].join(",");
    let text =
        format!(r#"{{"schema":"olm.channel","name":"a","package":"b","entries":[{entries}]}}"#);
    assert!(of(&text).unwrap_err().contains("a list of more than"));
    let properties = vec!["{}"; LIST_MAX + 1].join(",");
    assert!(
        of(&format!(r#"{{"properties":[{properties}]}}"#))
            .unwrap_err()
            .contains("a list of more than")
    );
    let images = format!(r#"{{"relatedImages":[{properties}]}}"#);
    assert!(
        super::images(images.as_bytes()).unwrap_err().to_string().contains("a list of more than")
    );
}

#[test]
fn images_of_a_bundle_are_those_that_are_named() {
    let text = json!({"schema": "olm.bundle", "image": "q.io/foo-bundle@sha256:1", "relatedImages": [
        {"name": "operator", "image": "q.io/foo:1"}, {"name": "", "image": "q.io/bar"},
        {"name": "none", "image": ""}, {"image": "q.io/baz"}, {"name": "null", "image": null}]});
    let found = images(text.to_string().as_bytes()).unwrap();
    assert_eq!(found.bundle, "q.io/foo-bundle@sha256:1");
    let pairs = [("operator", "q.io/foo:1"), ("", "q.io/bar"), ("", "q.io/baz")];
    let pairs = pairs.map(|(name, image)| (name.to_owned(), image.to_owned()));
    assert_eq!(found.related, pairs);
    assert_eq!(images(b"{}").unwrap(), Images::default());
    assert!(images(b"{\"image\":1}").unwrap_err().to_string().starts_with("its images: "));
}

#[test]
fn names_for_people_are_short_and_plain() {
    for (csv, expected) in [
        (r#"{"displayName":"Foo"}"#, Some("Foo")),
        (r#"{"displayName":""}"#, None),
        (r#"{"displayName":"a\u001b[31m"}"#, None),
        (r#"{"a":1}"#, None),
        (r#"{"displayName":7}"#, None),
        ("[]", None),
    ] {
        assert_eq!(display_name(csv).as_deref(), expected, "{csv}");
    }
    assert_eq!(display_name(&format!(r#"{{"displayName":"{}"}}"#, "x".repeat(500))), None);
}

#[test]
fn names_are_no_longer_than_any_real_one() {
    let parsed = |length: usize, field: &str| {
        let mut object = json!({"schema": "olm.package", "name": "foo", "defaultChannel": "x"});
        object[field] = "x".repeat(length).into();
        let place = Place { file: 0, frame: 0, offset: 0, length: 0 };
        parse(&object.to_string(), place, &mut Names::default()).map(drop)
    };
    for field in ["name", "defaultChannel"] {
        assert_eq!(parsed(limits::NAME_MAX, field), Ok(()));
        let told = parsed(limits::NAME_MAX + 1, field).unwrap_err().to_string();
        assert!(told.contains("1025 bytes, at most 1024") && told.len() < 500, "{told}");
    }
}
