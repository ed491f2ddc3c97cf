//! What a person does with a mirrored release, in the words that users of `oc adm release mirror` know: scripts look for them.

use std::fmt::Write as _;

use bundler::release::mirror::SourceMirrors;
use clap::ValueEnum;

/// Which objects are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// `ImageDigestMirrorSet`, and `imageDigestSources` for the installer.
    Idms,
    /// `ImageContentSourcePolicy`, and `imageContentSources`, for OpenShift before 4.13.
    Icsp,
    /// None.
    None,
}

/// The piece of `install-config.yaml`, and the object for clusters that run.
pub fn text(sources: &[SourceMirrors], form: Form) -> String {
    let (field, kind, version, list) = match form {
        Form::Idms => (
            "imageDigestSources",
            "ImageDigestMirrorSet",
            "config.openshift.io/v1",
            "imageDigestMirrors",
        ),
        Form::Icsp => (
            "imageContentSources",
            "ImageContentSourcePolicy",
            "operator.openshift.io/v1alpha1",
            "repositoryDigestMirrors",
        ),
        Form::None => return String::new(),
    };
    if sources.is_empty() {
        return String::new();
    }
    format!(
        "\nTo use the new mirrored repository to install, add the following section to the install-config.yaml:\n\n\
         {field}:\n{}\n\n\
         To use the new mirrored repository for upgrades, use the following to create an {kind}:\n\n\
         apiVersion: {version}\nkind: {kind}\nmetadata:\n  name: example\nspec:\n  {list}:\n{}",
        entries(sources, ""),
        entries(sources, "  ")
    )
}

fn entries(sources: &[SourceMirrors], indent: &str) -> String {
    let mut text = String::new();
    for SourceMirrors { source, mirrors } in sources {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{indent}- mirrors:");
        for mirror in mirrors {
            let _ = writeln!(text, "{indent}  - {}", scalar(mirror));
        }
        let _ = writeln!(text, "{indent}  source: {}", scalar(source));
    }
    text
}

/// A name as YAML takes it for a text: an address of IPv6 would begin a list.
fn scalar(name: &str) -> String {
    if name.starts_with('[') { format!("\"{name}\"") } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_that_scripts_look_for() {
        let sources = [
            SourceMirrors { source: "q.io/ocp/art".into(), mirrors: vec!["m.lan:5000/o/r".into()] },
            SourceMirrors {
                source: "q.io/ocp/release".into(),
                mirrors: vec!["[::1]:5000/o/r".into()],
            },
        ];
        let expected = "
To use the new mirrored repository to install, add the following section to the install-config.yaml:

imageDigestSources:
- mirrors:
  - m.lan:5000/o/r
  source: q.io/ocp/art
- mirrors:
  - \"[::1]:5000/o/r\"
  source: q.io/ocp/release


To use the new mirrored repository for upgrades, use the following to create an ImageDigestMirrorSet:

apiVersion: config.openshift.io/v1
kind: ImageDigestMirrorSet
metadata:
  name: example
spec:
  imageDigestMirrors:
  - mirrors:
    - m.lan:5000/o/r
    source: q.io/ocp/art
  - mirrors:
    - \"[::1]:5000/o/r\"
    source: q.io/ocp/release
";
        assert_eq!(text(&sources, Form::Idms), expected);
        let old = text(&sources, Form::Icsp);
        assert!(old.contains("\nimageContentSources:\n- mirrors:\n"), "{old}");
        assert!(old.contains("kind: ImageContentSourcePolicy\n"), "{old}");
        assert!(text(&sources, Form::None).is_empty() && text(&[], Form::Idms).is_empty());
    }
}
