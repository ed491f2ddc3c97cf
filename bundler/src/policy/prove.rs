//! Whether one of an image's signatures meets a requirement.
//!
//! In: a requirement and the signatures that there are. Out: by which it is met, or why none counts. What must hold, for each: a key
//! of the requirement made it; it has not expired; it is about exactly this digest, under a name that is allowed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use format_spec::Digest;

use super::claim::{Claim, SIGSTORE, SIMPLE};
use super::document::Requirement;
use super::identity::Identity;
use super::limits::SIGNATURE_MAX;
use super::pem::Key;
use super::quoted;
use super::refusal::Why;
use super::scope::Subject;
use super::signatures::{Content, Signature, Signatures};
use crate::release::openpgp::{Message, PublicKey};
use crate::release::signature;

pub(super) use crate::release::proven::now;

/// The first signature that meets the requirement.
pub(super) fn any(
    requirement: &Requirement,
    signatures: &Signatures,
    subject: &Subject,
    digest: &Digest,
    now: u64,
) -> Result<String, Why> {
    let (mut against, mut of_names) = (Vec::new(), false);
    for found in &signatures.all {
        let proven = match (requirement, &found.content) {
            (_, Content::Unknown(why)) => Err(why.clone()),
            (Requirement::SignedBy { keys, identity }, Content::Simple(file)) => {
                simple(file, keys, now).and_then(|(claim, by)| {
                    about(&claim, identity, subject, digest, &mut of_names)?;
                    Ok(by)
                })
            }
            (
                Requirement::SigstoreSigned { keys, identity },
                Content::Sigstore { payload, signature },
            ) => sigstore(payload, signature.as_deref(), keys).and_then(|(claim, by)| {
                about(&claim, identity, subject, digest, &mut of_names)?;
                Ok(by)
            }),
            // Of the other kind.
            _ => continue,
        };
        let Signature { place, .. } = found;
        match proven {
            Ok(by) => return Ok(format!("{place}{by}")),
            Err(why) => against.push(format!("{place}: {why}")),
        }
    }
    Err(match against.is_empty() {
        true => Why::Unsigned {
            looked: signatures.looked.clone(),
            others: signatures.all.len(),
            attachments_off: signatures.attachments_off,
        },
        false => Why::Against { against, of_names },
    })
}

/// What a message of OpenPGP says, and the key that made it.
fn simple(file: &[u8], keys: &[PublicKey], now: u64) -> Result<(Claim, String), String> {
    let told = |error: signature::SignatureError| error.to_string();
    let (message, signer) = signature::made_by(file, SIGNATURE_MAX, keys, now).map_err(told)?;
    let key = keys.iter().find(|key| key.fingerprint() == signer);
    if let Some(expired) = key.and_then(PublicKey::expires).filter(|expires| *expires < now) {
        let when = signature::moment(expired);
        return Err(format!("the key that made it, {signer}, expired at {when}"));
    }
    let Message { content, .. } = message;
    let claim = Claim::parse(&content, SIMPLE);
    let claim =
        claim.map_err(|why| format!("what it signs is not a claim about an image: {why}"))?;
    Ok((claim, format!(", key {signer}")))
}

/// What a payload of sigstore says.
fn sigstore(
    payload: &[u8],
    signature: Option<&str>,
    keys: &[Key],
) -> Result<(Claim, String), String> {
    let signature = signature.ok_or("it has no signature")?;
    let signature = STANDARD.decode(signature).map_err(|_| "its signature is not base64")?;
    let number = keys.iter().position(|key| key.made(payload, &signature));
    let number =
        number.ok_or("it was made by none of the keys of the policy, or was changed since")?;
    let claim = Claim::parse(payload, SIGSTORE);
    let claim =
        claim.map_err(|why| format!("what it signs is not a claim about an image: {why}"))?;
    Ok((claim, format!(", key {} of the requirement", number + 1)))
}

/// Whether a claim is about this image.
fn about(
    claim: &Claim,
    identity: &Identity,
    subject: &Subject,
    digest: &Digest,
    of_names: &mut bool,
) -> Result<(), String> {
    if claim.digest != digest.to_string() {
        return Err(format!("it is about another image: {}", quoted(&claim.digest)));
    }
    if !identity.allows(subject.name.as_ref(), &claim.reference) {
        *of_names = true;
        let wanted = identity.told(subject.name.as_ref());
        return Err(format!("it names {}, and {wanted}", quoted(&claim.reference)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::super::document::Document;
    use super::super::name::Named;
    use super::super::scope;
    use super::*;

    fn data() -> Option<PathBuf> {
        let data = std::env::var_os("BUNDLE_OPENSHIFT_DATA").map(PathBuf::from);
        if data.is_none() {
            println!("skipped: BUNDLE_OPENSHIFT_DATA is not set");
        }
        data.map(|data| data.join("signatures"))
    }

    fn subject(name: &str) -> Subject {
        let name = Named::of(&name.parse().unwrap());
        let told = name.to_string();
        let scopes = scope::of_name(&name);
        Subject { transport: Some("docker"), scopes, name: Some(name), directory: None, told }
    }

    /// What one requirement says of these files, for the image of this name and digest.
    fn judged(
        requirement: &serde_json::Value,
        files: &[&Path],
        name: &str,
        digest: &str,
    ) -> Result<String, String> {
        let policy = serde_json::json!({"default": [requirement]}).to_string();
        let (document, _) = Document::parse(Path::new("policy.json"), policy.as_bytes()).unwrap();
        let all = files.iter().map(|path| Signature {
            place: path.display().to_string(),
            content: Content::of(&fs_err::read(path).unwrap()),
        });
        let signatures = Signatures { all: all.collect(), ..Signatures::default() };
        let subject = subject(name);
        let (_, requirements) = document.for_subject(&subject);
        any(&requirements[0], &signatures, &subject, &digest.parse().unwrap(), 1_800_000_000)
            .map_err(|why| format!("{why:?}"))
    }

    #[test]
    fn real_releases_are_signed_by_the_key_that_published_them() {
        let Some(data) = data() else { return };
        let key = |name: &str| serde_json::json!({"type": "signedBy", "keyType": "GPGKeys", "keyPath": data.join("keys").join(name)});
        let red_hat = key("verifier-public-key-redhat-release");
        let hex = "3717338045df06e31effea46761b2c7e90f543cc4f00547af8158dd6aea868c3";
        let file = data.join(format!("store/sha256={hex}/signature-1"));
        let (files, digest) = ([&*file], format!("sha256:{hex}"));
        let release = "quay.io/openshift-release-dev/ocp-release";
        let judge = |requirement, name: &str| judged(requirement, &files, name, &digest);
        assert!(judge(&red_hat, &format!("{release}@{digest}")).unwrap().contains("567E347A"));
        assert!(judge(&red_hat, &format!("{release}:4.16.0-x86_64")).is_ok());
        let other = judge(&red_hat, &format!("{release}:4.16.1-x86_64")).unwrap_err();
        assert!(other.contains("4.16.0-x86_64"), "{other}");
        assert!(judge(&red_hat, &format!("quay.io/other@{digest}")).is_err());
        assert!(
            judge(&key("verifier-public-key-openshift-ci"), &format!("{release}@{digest}"))
                .is_err()
        );
        let of_another = format!("sha256:{}", "0".repeat(64));
        assert!(judged(&red_hat, &files, &format!("{release}@{of_another}"), &of_another).is_err());
    }

    #[test]
    fn what_cosign_signed_is_proven_with_its_key() {
        let Some(data) = data() else { return };
        let directory = data.join("cosign/dir-img-cosign-valid");
        let manifest = fs_err::read(directory.join("manifest.json")).unwrap();
        let digest = Digest::of(&manifest).to_string();
        let file = directory.join("signature-1");
        let identity = |identity| serde_json::json!({"type": "sigstoreSigned", "keyPath": data.join("cosign/cosign.pub"), "signedIdentity": identity});
        let name = "192.168.64.2:5000/cosign-signed-single-sample:latest";
        let judge = |kind: &str, name: &str| {
            judged(&identity(serde_json::json!({"type": kind})), &[&file], name, &digest)
        };
        assert!(judge("matchRepository", name).is_ok());
        assert!(judge("matchRepoDigestOrExact", name).is_err());
        assert!(judge("matchRepository", "192.168.64.2:5000/other:latest").is_err());
        let exact = serde_json::json!({"type": "exactRepository",
            "dockerRepository": "192.168.64.2:5000/cosign-signed-single-sample"});
        assert!(judged(&identity(exact), &[&file], "h.example.com/copy:1", &digest).is_ok());
    }
}
