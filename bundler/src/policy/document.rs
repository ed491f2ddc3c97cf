//! `policy.json`: what is asked of which images (containers-policy.json(5)).
//!
//! In: the file. Out: requirements by transport and scope, with their keys read. What must hold: what is not understood is an
//! error that names the field, also where no image of this run falls under it; nothing is passed over in silence.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::PolicyError;
use super::identity::Identity;
use super::json::Json;
use super::limits::{FILE_MAX, KEY_FILES_MAX, REQUIREMENTS_MAX};
use super::name::Named;
use super::pem::Key;
use super::quoted;
use super::scope::{self, Subject};
use crate::release::openpgp::{PublicKey, key};

/// One thing that is asked of an image.
#[derive(Debug)]
pub(super) enum Requirement {
    /// Nothing.
    Accept,
    /// Not to be there.
    Reject,
    /// A signature of simple signing.
    SignedBy { keys: Vec<PublicKey>, identity: Identity },
    /// A signature of sigstore.
    SigstoreSigned { keys: Vec<Key>, identity: Identity },
}

impl Requirement {
    /// Whether it is met by signatures.
    pub(super) fn is_signature(&self) -> bool {
        matches!(self, Self::SignedBy { .. } | Self::SigstoreSigned { .. })
    }

    /// What it is called.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Accept => "insecureAcceptAnything",
            Self::Reject => "reject",
            Self::SignedBy { .. } => "signedBy",
            Self::SigstoreSigned { .. } => "sigstoreSigned",
        }
    }
}

type Scopes = BTreeMap<String, Vec<Requirement>>;

/// The file.
#[derive(Debug)]
pub(super) struct Document {
    default: Vec<Requirement>,
    transports: BTreeMap<String, Scopes>,
}

impl Document {
    /// The requirements for an image, and where in the file they stand.
    pub(super) fn for_subject(&self, subject: &Subject) -> (String, &[Requirement]) {
        let scopes = subject.transport.and_then(|name| Some((name, self.transports.get(name)?)));
        if let Some((transport, scopes)) = scopes {
            for name in subject.scopes.iter().map(String::as_str).chain([""]) {
                if let Some(requirements) = scopes.get(name) {
                    return (format!("transports.{transport}[\"{name}\"]"), requirements);
                }
            }
        }
        ("default".to_owned(), &self.default)
    }

    /// Reads the bytes of a policy. Second: what a person should know.
    pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<(Self, Vec<String>), PolicyError> {
        let mut reading = Reading { path, warnings: Vec::new(), requirements: 0, files: 0 };
        let json = Json::parse(bytes)
            .map_err(|problem| PolicyError::Syntax { path: path.to_owned(), problem })?;
        let document = reading.document(json)?;
        Ok((document, reading.warnings))
    }
}

/// A file while it is read.
struct Reading<'a> {
    path: &'a Path,
    warnings: Vec<String>,
    requirements: usize,
    files: usize,
}

/// The members of an object, by name.
struct Members {
    field: String,
    members: Vec<(String, Json)>,
}

impl Members {
    fn take(&mut self, name: &str) -> Option<(String, Json)> {
        let at = self.members.iter().position(|(known, _)| known == name)?;
        let (_, value) = self.members.swap_remove(at);
        Some((below(&self.field, name), value))
    }
}

fn below(field: &str, name: &str) -> String {
    if field.is_empty() { name.to_owned() } else { format!("{field}.{name}") }
}

impl Reading<'_> {
    fn wrong(&self, field: &str, problem: impl Into<String>) -> PolicyError {
        let (path, field) = (self.path.to_owned(), field.to_owned());
        PolicyError::Field { path, field, problem: problem.into() }
    }

    fn object(&self, field: &str, json: Json) -> Result<Members, PolicyError> {
        match json {
            Json::Object(members) => Ok(Members { field: field.to_owned(), members }),
            other => Err(self.wrong(field, format!("expected an object, found {}", other.kind()))),
        }
    }

    fn text(&self, (field, json): (String, Json)) -> Result<(String, String), PolicyError> {
        match json {
            Json::Text(text) => Ok((field, text)),
            other => Err(self.wrong(&field, format!("expected a text, found {}", other.kind()))),
        }
    }

    /// The text of a member that must be there.
    fn needed(&self, members: &mut Members, name: &str) -> Result<(String, String), PolicyError> {
        match members.take(name) {
            Some(found) => self.text(found),
            None => {
                let is_like = |(other, _): &&(String, Json)| other.eq_ignore_ascii_case(name);
                let problem = match members.members.iter().find(is_like) {
                    Some((other, _)) => {
                        format!("the field `{name}` is missing; it is not `{other}`")
                    }
                    None => format!("the field `{name}` is missing"),
                };
                Err(self.wrong(&members.field, problem))
            }
        }
    }

    /// One text, or a list of them.
    fn texts(&self, (field, json): (String, Json)) -> Result<Vec<(String, String)>, PolicyError> {
        let Json::List(items) = json else {
            return Err(
                self.wrong(&field, format!("expected a list of texts, found {}", json.kind()))
            );
        };
        if items.is_empty() {
            return Err(self.wrong(&field, "the list is empty"));
        }
        let items = items.into_iter().enumerate();
        items.map(|(at, item)| self.text((format!("{field}[{at}]"), item))).collect()
    }

    fn end(&self, members: &Members) -> Result<(), PolicyError> {
        match members.members.first() {
            None => Ok(()),
            Some((name, _)) => {
                Err(self.wrong(&below(&members.field, name), "there is no such field here"))
            }
        }
    }

    fn document(&mut self, json: Json) -> Result<Document, PolicyError> {
        let mut members = self.object("", json)?;
        let (field, default) = members
            .take("default")
            .ok_or_else(|| self.wrong("default", "the field is missing, and must be there"))?;
        let default = self.requirements(&field, default)?;
        let mut transports = BTreeMap::new();
        if let Some((field, json)) = members.take("transports") {
            for (name, json) in self.object(&field, json)?.members {
                let field = below(&field, &name);
                let mut scopes = Scopes::new();
                for (scope, json) in self.object(&field, json)?.members {
                    let field = format!("{field}[{scope:?}]");
                    if let Some(problem) = Some(&*scope)
                        .filter(|scope| !scope.is_empty())
                        .and_then(|scope| scope::fault(&name, scope))
                    {
                        return Err(self.wrong(&field, problem));
                    }
                    let requirements = self.requirements(&field, json)?;
                    scopes.insert(scope, requirements);
                }
                transports.insert(name, scopes);
            }
        }
        self.end(&members)?;
        Ok(Document { default, transports })
    }

    fn requirements(&mut self, field: &str, json: Json) -> Result<Vec<Requirement>, PolicyError> {
        let Json::List(items) = json else {
            return Err(self.wrong(field, format!("expected a list, found {}", json.kind())));
        };
        if items.is_empty() {
            return Err(self.wrong(
                field,
                "the list is empty: for no requirement write `insecureAcceptAnything`",
            ));
        }
        self.requirements += items.len();
        if self.requirements > REQUIREMENTS_MAX {
            return Err(self.wrong(field, format!("the file has more than {REQUIREMENTS_MAX}")));
        }
        let mut requirements = Vec::with_capacity(items.len());
        for (at, item) in items.into_iter().enumerate() {
            requirements.push(self.requirement(&format!("{field}[{at}]"), item)?);
        }
        Ok(requirements)
    }

    fn requirement(&mut self, field: &str, json: Json) -> Result<Requirement, PolicyError> {
        let mut members = self.object(field, json)?;
        let (at, kind) = self.needed(&mut members, "type")?;
        let requirement = match &*kind {
            "insecureAcceptAnything" => Requirement::Accept,
            "reject" => Requirement::Reject,
            "signedBy" => self.signed_by(&mut members)?,
            "sigstoreSigned" => self.sigstore_signed(&mut members)?,
            "signedBaseLayer" => {
                return Err(self.wrong(&at, "`signedBaseLayer` is not done by anybody yet"));
            }
            other => {
                return Err(self.wrong(
                    &at,
                    format!(
                        "{} is no requirement; there are `insecureAcceptAnything`, `reject`, `signedBy` and \
                         `sigstoreSigned`",
                        quoted(other)
                    ),
                ));
            }
        };
        self.end(&members)?;
        Ok(requirement)
    }

    fn signed_by(&mut self, members: &mut Members) -> Result<Requirement, PolicyError> {
        let (at, kind) = self.needed(members, "keyType")?;
        if kind != "GPGKeys" {
            let problem = format!("{} is not done here; there is `GPGKeys`", quoted(&kind));
            return Err(self.wrong(&at, problem));
        }
        let mut keys = Vec::new();
        for (field, what, bytes) in self.keys(members, false)? {
            let read = key::read(&bytes)
                .map_err(|error| self.wrong(&field, format!("{what} holds no keys: {error}")))?;
            if read.usable.is_empty() {
                let why: String = read.left_out.iter().map(|why| format!("; {why}")).collect();
                let problem = format!("{what} has no key that can verify a signature{why}");
                return Err(self.wrong(&field, problem));
            }
            let told = read.left_out.iter();
            self.warnings
                .extend(told.map(|why| format!("{}: {field}: {why}", self.path.display())));
            keys.extend(read.usable);
        }
        Ok(Requirement::SignedBy { keys, identity: self.identity(members)? })
    }

    fn sigstore_signed(&mut self, members: &mut Members) -> Result<Requirement, PolicyError> {
        for name in [
            "fulcio",
            "pki",
            "rekorPublicKeyPath",
            "rekorPublicKeyPaths",
            "rekorPublicKeyData",
            "rekorPublicKeyDatas",
        ] {
            if let Some((field, _)) = members.take(name) {
                return Err(self.wrong(
                    &field,
                    format!(
                        "`{name}` is not done here: certificates and transparency logs are not checked, only signatures of \
                         keys (`keyPath`, `keyPaths`, `keyData`, `keyDatas`)"
                    ),
                ));
            }
        }
        let mut keys = Vec::new();
        for (field, what, bytes) in self.keys(members, true)? {
            let key = Key::parse(&bytes).map_err(|problem| {
                self.wrong(&field, format!("{what} cannot be used: {problem}"))
            })?;
            keys.push(key);
        }
        Ok(Requirement::SigstoreSigned { keys, identity: self.identity(members)? })
    }

    /// The bytes of the keys of a requirement, each with its field and with what it is called.
    fn keys(
        &mut self,
        members: &mut Members,
        and_datas: bool,
    ) -> Result<Vec<(String, String, Vec<u8>)>, PolicyError> {
        let names = ["keyPath", "keyPaths", "keyData", "keyDatas"];
        let names = &names[..if and_datas { 4 } else { 3 }];
        let mut found = names.iter().filter_map(|name| Some((*name, members.take(name)?)));
        let (Some((name, found)), None) = (found.next(), found.next()) else {
            let all: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
            let problem = format!("exactly one of {} must be there", all.join(", "));
            let strange = members.members.iter().find(|(name, _)| name != "signedIdentity");
            return Err(match strange {
                Some((name, _)) => {
                    let problem = format!("there is no such field here: {problem}");
                    self.wrong(&below(&members.field, name), problem)
                }
                None => self.wrong(&members.field, problem),
            });
        };
        let values = match name.ends_with('s') {
            true => self.texts(found)?,
            false => vec![self.text(found)?],
        };
        self.files += values.len();
        if self.files > KEY_FILES_MAX {
            let problem = format!("the file names more than {KEY_FILES_MAX} keys");
            return Err(self.wrong(&members.field, problem));
        }
        let mut keys = Vec::with_capacity(values.len());
        for (field, value) in values {
            keys.push(if name.starts_with("keyPath") {
                let path = PathBuf::from(&value);
                let bytes = read(&path).map_err(|problem| self.wrong(&field, problem))?;
                (field, format!("`{}`", path.display()), bytes)
            } else {
                let bytes = STANDARD.decode(&value);
                let bytes = bytes
                    .map_err(|error| self.wrong(&field, format!("it is not base64: {error}")))?;
                (field, "it".to_owned(), bytes)
            });
        }
        Ok(keys)
    }

    fn identity(&self, members: &mut Members) -> Result<Identity, PolicyError> {
        let Some((field, json)) = members.take("signedIdentity") else {
            return Ok(Identity::default());
        };
        let mut members = self.object(&field, json)?;
        let (at, kind) = self.needed(&mut members, "type")?;
        let identity = match &*kind {
            "matchExact" => Identity::Exact,
            "matchRepoDigestOrExact" => Identity::RepoDigestOrExact,
            "matchRepository" => Identity::Repository,
            "exactReference" => {
                let (at, text) = self.needed(&mut members, "dockerReference")?;
                match Named::parse(&text) {
                    Some(name) if !name.is_bare() => Identity::ExactReference(name),
                    Some(_) => return Err(self.wrong(&at, "it has neither a tag nor a digest")),
                    None => {
                        return Err(
                            self.wrong(&at, format!("{} is no name of an image", quoted(&text)))
                        );
                    }
                }
            }
            "exactRepository" => {
                let (at, text) = self.needed(&mut members, "dockerRepository")?;
                let name = Named::parse(&text).ok_or_else(|| {
                    self.wrong(&at, format!("{} is no repository", quoted(&text)))
                })?;
                Identity::ExactRepository(name)
            }
            "remapIdentity" => {
                let prefix = self.prefix(&mut members, "prefix")?;
                let signed_prefix = self.prefix(&mut members, "signedPrefix")?;
                Identity::Remap { prefix, signed_prefix }
            }
            other => {
                return Err(self.wrong(
                    &at,
                    format!(
                        "{} is no way to compare names; there are `matchExact`, `matchRepoDigestOrExact`, \
                         `matchRepository`, `exactReference`, `exactRepository` and `remapIdentity`",
                        quoted(other)
                    ),
                ));
            }
        };
        self.end(&members)?;
        Ok(identity)
    }

    /// A host, a namespace or a repository, in its whole form.
    fn prefix(&self, members: &mut Members, name: &str) -> Result<String, PolicyError> {
        let (field, text) = self.needed(members, name)?;
        let is_host = || text.parse::<registry::reference::RegistryHost>().is_ok();
        let is_repository =
            || Named::parse(&text).is_some_and(|it| it.is_bare() && it.name == text);
        match is_host() || is_repository() {
            true => Ok(text),
            false => Err(self.wrong(
                &field,
                format!("{} is no host, namespace or repository in its whole form", quoted(&text)),
            )),
        }
    }
}

/// A file of keys.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let file = registry::regular::open(path).map_err(|error| error.to_string())?;
    file.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    match bytes.len() as u64 > FILE_MAX {
        true => Err(format!("`{}` is larger than {FILE_MAX} bytes", path.display())),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::signatures::Content;
    use super::*;

    fn parse(policy: &Value) -> Result<Document, String> {
        let read = Document::parse(Path::new("policy.json"), policy.to_string().as_bytes());
        read.map(|(document, _)| document).map_err(|error| error.to_string())
    }

    fn of(requirement: &Value) -> Value {
        json!({"default": [{"type": "reject"}], "transports": {"docker": {"q.io": [requirement]}}})
    }

    const PEM: &str = "-----BEGIN PUBLIC KEY-----\n\
        MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEFNLqFhf4fiN6o/glAuYnq2jYUeL0\n\
        vRuLu/z39pmbVwS9ff5AYnlwaP9sxREajdLY9ynM6G1sy6AAmb7Z63TsLg==\n\
        -----END PUBLIC KEY-----\n";

    #[test]
    fn several_keys_may_be_named_in_one_way() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.pub");
        crate::durable::write(&path, PEM.as_bytes()).unwrap();
        let data = STANDARD.encode(PEM);
        let keys = |requirement: Value| match parse(&of(&requirement)) {
            Ok(document) => match &document.transports["docker"]["q.io"][0] {
                Requirement::SigstoreSigned { keys, .. } => Ok(keys.len()),
                other => panic!("{other:?}"),
            },
            Err(error) => Err(error),
        };
        assert_eq!(keys(json!({"type": "sigstoreSigned", "keyPaths": [path, path]})), Ok(2));
        assert_eq!(keys(json!({"type": "sigstoreSigned", "keyDatas": [data]})), Ok(1));
        for (bad, problem) in [
            (json!({"keyPaths": []}), "keyPaths`: the list is empty"),
            (json!({"keyPaths": path}), "keyPaths`: expected a list of texts, found a text"),
            (json!({"keyPath": [path]}), "keyPath`: expected a text, found a list"),
            (json!({"keyPaths": [path, 1]}), "keyPaths[1]`: expected a text"),
            (json!({"keyPath": path, "keyData": data}), "exactly one of"),
            (json!({"keypath": path}), ".keypath`: there is no such field here: exactly one of"),
            (json!({"keyPath": dir.path().join("none")}), "keyPath`: "),
            (json!({"keyPath": dir.path()}), "keyPath`: "),
            (
                json!({"keyData": STANDARD.encode("text")}),
                "keyData`: it cannot be used: it is not PEM",
            ),
        ] {
            let mut requirement = bad;
            requirement["type"] = json!("sigstoreSigned");
            let error = keys(requirement).unwrap_err();
            let place =
                error.contains("transports.docker[\"q.io\"][0]") && error.contains("policy.json");
            assert!(place && error.contains(problem), "{error}");
        }
        // GPG keys are in one file or several, and nothing else.
        let gpg = of(&json!({"type": "signedBy", "keyType": "GPGKeys", "keyDatas": [data]}));
        assert!(
            parse(&gpg).unwrap_err().contains("exactly one of `keyPath`, `keyPaths`, `keyData`")
        );
        let gpg = of(&json!({"type": "signedBy", "keytype": "GPGKeys", "keyPath": path}));
        assert!(parse(&gpg).unwrap_err().contains("`keyType` is missing; it is not `keytype`"));
        let gpg = of(&json!({"type": "signedBy", "keyType": "GPGKeys", "keyPaths": [path]}));
        assert!(parse(&gpg).unwrap_err().contains("holds no keys"));
    }

    #[test]
    fn a_policy_has_bounds() {
        let accept = json!({"type": "insecureAcceptAnything"});
        let many = json!({"default": vec![accept; REQUIREMENTS_MAX + 1]});
        assert!(parse(&many).unwrap_err().contains("more than"));
        let keys = vec![STANDARD.encode(PEM); KEY_FILES_MAX + 1];
        let many = of(&json!({"type": "sigstoreSigned", "keyDatas": keys}));
        assert!(parse(&many).unwrap_err().contains("more than"));
        let deep = "[".repeat(100_000);
        assert!(Document::parse(Path::new("p"), deep.as_bytes()).is_err());
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(FILE_MAX + 1).unwrap();
        let error = super::super::Policy::load(file.path(), None).unwrap_err();
        assert!(matches!(error, PolicyError::TooLarge(_)), "{error}");
    }

    #[test]
    fn the_most_exact_scope_counts_alone() {
        let reject = json!([{"type": "reject"}]);
        let both = json!([{"type": "insecureAcceptAnything"}, {"type": "reject"}]);
        let policy = json!({"default": reject, "transports": {
            "docker": {"q.io": both, "q.io/a": reject, "": reject}, "oci": {}}});
        let document = parse(&policy).unwrap();
        let place = |transport, scopes: &[&str]| {
            let scopes = scopes.iter().map(ToString::to_string).collect();
            let told = String::new();
            let subject = Subject { transport, scopes, name: None, directory: None, told };
            let (place, requirements) = document.for_subject(&subject);
            (place, requirements.len())
        };
        let docker = |scope: &str| format!("transports.docker[\"{scope}\"]");
        assert_eq!(place(Some("docker"), &["q.io/b", "q.io"]), (docker("q.io"), 2));
        assert_eq!(place(Some("docker"), &["q.io/a:1", "q.io/a", "q.io"]), (docker("q.io/a"), 1));
        assert_eq!(place(Some("docker"), &["r.io"]), (docker(""), 1));
        assert_eq!(place(Some("oci"), &["/srv"]), ("default".to_owned(), 1));
        assert_eq!(place(None, &[]), ("default".to_owned(), 1));
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_much(bytes in proptest::collection::vec(any::<u8>(), 0..400), text in "\\PC{0,200}") {
            let path = Path::new("policy.json");
            let _ = Document::parse(path, &bytes);
            let _ = Document::parse(path, text.as_bytes());
            let _ = Key::parse(text.as_bytes());
            let _ = Named::parse(&text);
            let framed = [b"-----BEGIN PUBLIC KEY-----\n", STANDARD.encode(&bytes).as_bytes(), b"\n-----END PUBLIC KEY-----\n"].concat();
            let _ = Key::parse(&framed);
            let _ = Content::of(&bytes);
            let _ = Content::of(&[b"\0sigstore-json\n", text.as_bytes()].concat());
        }
    }
}
