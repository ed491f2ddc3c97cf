//! What a signature of an image says: which digest, under which name.
//!
//! In: the bytes that are signed, in the form of simple signing or of sigstore, which differ in one text. Out: both values. What
//! must hold: a field more or less is another format; only what is optional may have fields that nobody knows.

use super::json::Json;
use super::quoted;

/// The type of simple signing.
pub(super) const SIMPLE: &str = "atomic container signature";
/// That of sigstore.
pub(super) const SIGSTORE: &str = "cosign container image signature";

/// What is claimed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// Of the manifest.
    pub(super) digest: String,
    /// The name of the image.
    pub(super) reference: String,
}

impl Claim {
    /// Reads signed bytes that say that they are of this `kind`.
    pub(super) fn parse(signed: &[u8], kind: &str) -> Result<Self, String> {
        let [critical, optional] = Json::parse(signed)?.exactly(["critical", "optional"])?;
        check_optional(optional, kind)?;
        let [said, image, identity] = critical.exactly(["type", "image", "identity"])?;
        let said = said.text()?;
        if said != kind {
            return Err(format!("its type is not `{kind}` but {}", quoted(&said)));
        }
        let [digest] = image.exactly(["docker-manifest-digest"])?;
        let [reference] = identity.exactly(["docker-reference"])?;
        Ok(Self { digest: digest.text()?, reference: reference.text()? })
    }
}

fn check_optional(optional: Json, kind: &str) -> Result<(), String> {
    let members = match optional {
        Json::Object(members) => members,
        // As cosign writes it.
        Json::Null if kind == SIGSTORE => return Ok(()),
        other => return Err(format!("{} stands in `optional`", other.kind())),
    };
    for (name, value) in members {
        match (&*name, value) {
            ("creator", Json::Text(_)) | ("timestamp", Json::Whole) => {}
            ("creator" | "timestamp", other) => {
                return Err(format!("`{name}` in `optional` is {}", other.kind()));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(kind: &str, optional: &str) -> String {
        format!(
            r#"{{"critical":{{"type":"{kind}","image":{{"docker-manifest-digest":"sha256:a"}},
               "identity":{{"docker-reference":"h/r:1"}}}},"optional":{optional}}}"#
        )
    }

    #[test]
    fn one_form_and_no_other_is_a_claim() {
        let claim = |text: &str, kind| Claim::parse(text.as_bytes(), kind);
        let good = claim(&signed(SIMPLE, "{}"), SIMPLE).unwrap();
        assert_eq!((&*good.digest, &*good.reference), ("sha256:a", "h/r:1"));
        assert!(claim(&signed(SIGSTORE, "null"), SIGSTORE).is_ok());
        assert!(
            claim(&signed(SIGSTORE, r#"{"creator":"c","timestamp":1,"x":[]}"#), SIGSTORE).is_ok()
        );
        assert!(claim(&signed(SIMPLE, r#"{"timestamp":1.0}"#), SIMPLE).is_ok());
        let plain = signed(SIMPLE, "{}");
        for bad in [
            signed(SIGSTORE, "{}"),
            signed(SIMPLE, "null"),
            signed(SIMPLE, "[]"),
            signed(SIMPLE, r#"{"timestamp":1.5}"#),
            signed(SIMPLE, r#"{"timestamp":"1"}"#),
            signed(SIMPLE, r#"{"creator":1}"#),
            signed(SIMPLE, r#"{"creator":"a","creator":"a"}"#),
            plain.replace(r#","optional":{}"#, ""),
            plain.replace("critical", "Critical"),
            plain.replace(r#""sha256:a""#, r#""sha256:a","docker-manifest-digest":"sha256:b""#),
            plain.replace(r#""sha256:a""#, r#""sha256:a","more":1"#),
            plain.replace(r#""h/r:1""#, "1"),
            format!("{plain} {{}}"),
            "[]".to_owned(),
            String::new(),
        ] {
            assert!(claim(&bad, SIMPLE).is_err(), "{bad}");
        }
    }
}
