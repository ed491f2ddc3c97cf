//! Where the signatures of images in registries are: `registries.d` (containers-registries.d(5)).
//!
//! In: a directory of YAML files, and an image. Out: the place of its signatures beside the registry, and whether those in the
//! registry itself are looked at. What must hold: no scope is in two files, as the order of files means nothing.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use url::Url;

use super::PolicyError;
use super::json::Json;
use super::limits::{FILE_MAX, FILES_MAX};
use super::name::Named;
use super::{quoted, scope};
use crate::catalog::yaml::{self, Root};

/// What is written for one scope.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Section {
    lookaside: Option<String>,
    attachments: Option<bool>,
    file: PathBuf,
}

/// All files of the directory.
#[derive(Debug)]
pub(super) struct Registries {
    /// The directory, for people.
    pub(super) directory: PathBuf,
    default: Option<Section>,
    docker: BTreeMap<String, Section>,
}

/// Where one repository's signatures are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Base {
    Web(Url),
    Directory(PathBuf),
}

impl Registries {
    /// Reads the directory that was named, or that of the user, or that of the machine.
    pub(super) fn load(named: Option<&Path>) -> Result<Self, PolicyError> {
        let home = std::env::home_dir();
        let users = home.map(|home| home.join(".config/containers/registries.d"));
        let directory = match (named, users.filter(|path| path.exists())) {
            (Some(named), _) => named.to_owned(),
            (None, Some(users)) => users,
            (None, None) => PathBuf::from("/etc/containers/registries.d"),
        };
        let mut registries = Self { directory, default: None, docker: BTreeMap::new() };
        for path in registries.files(named.is_some())? {
            registries.add(&path).map_err(|problem| PolicyError::Registries { path, problem })?;
        }
        Ok(registries)
    }

    fn files(&self, is_named: bool) -> Result<Vec<PathBuf>, PolicyError> {
        let wrong = |problem| PolicyError::Registries { path: self.directory.clone(), problem };
        let entries = match fs_err::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !is_named => {
                return Ok(Vec::new());
            }
            Err(error) => return Err(wrong(error.to_string())),
        };
        let mut files = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| wrong(error.to_string()))?.path();
            if path.extension().is_some_and(|end| end == "yaml") {
                files.push(path);
            }
            if files.len() > FILES_MAX {
                return Err(wrong(format!("it has more than {FILES_MAX} files")));
            }
        }
        files.sort();
        Ok(files)
    }

    fn add(&mut self, path: &Path) -> Result<(), String> {
        let mut bytes = Vec::new();
        let file = registry::regular::open(path).map_err(|error| error.to_string())?;
        file.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
        if bytes.len() as u64 > FILE_MAX {
            return Err(format!("it is larger than {FILE_MAX} bytes"));
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| "it is not UTF-8")?;
        let mut json = Vec::new();
        match yaml::to_json(text, &mut json).map_err(|error| error.to_string())? {
            Root::Object => {}
            Root::Nothing => return Ok(()),
            Root::Other(kind) => return Err(format!("it is {kind}, and not a mapping")),
        }
        let members = |json: Json, field: &str| match json {
            Json::Object(members) => Ok(members),
            Json::Null => Ok(Vec::new()),
            other => Err(format!("`{field}` is {}, and not a mapping", other.kind())),
        };
        for (name, json) in members(Json::parse(&json)?, "")? {
            match &*name {
                "default-docker" if json != Json::Null => {
                    let section = Section::of(path, &name, members(json, &name)?)?;
                    if let Some(other) = self.default.replace(section) {
                        return Err(format!("`{name}` is in `{}` too", other.file.display()));
                    }
                }
                "docker" => {
                    for (scope, json) in members(json, &name)? {
                        let section = Section::of(path, &scope, members(json, &scope)?)?;
                        if let Some(other) = self.docker.insert(scope.clone(), section) {
                            let (scope, file) = (quoted(&scope), other.file.display());
                            return Err(format!("{scope} of `docker` is in `{file}` too"));
                        }
                    }
                }
                // Readers of other versions know more.
                _ => {}
            }
        }
        Ok(())
    }

    /// What is written for an image, the most exact first.
    fn sections(&self, name: &Named) -> impl Iterator<Item = &Section> {
        let own = scope::of_name(name).into_iter().filter_map(|scope| self.docker.get(&scope));
        own.chain(&self.default)
    }

    /// Whether signatures in the registry itself are looked at.
    pub(super) fn attachments(&self, name: &Named) -> bool {
        self.sections(name).find_map(|section| section.attachments).unwrap_or(false)
    }

    /// The place of an image's signatures, the digest not among it.
    pub(super) fn base(&self, name: &Named) -> Result<Base, String> {
        let found = self.sections(name).find_map(|it| Some((it.lookaside.as_ref()?, &it.file)));
        let Some((text, file)) = found else { return Ok(Base::Directory(built_in())) };
        let wrong = || {
            format!(
                "the `lookaside` {} in `{}` is no address that begins with `https://`, `http://` or `file:///`",
                quoted(text),
                file.display()
            )
        };
        let url: Url = text.parse().map_err(|_| wrong())?;
        match url.scheme() {
            "file" => Ok(Base::Directory(url.to_file_path().map_err(|()| wrong())?)),
            "http" | "https" if url.host_str().is_some() => Ok(Base::Web(url)),
            _ => Err(wrong()),
        }
    }
}

impl Section {
    fn of(path: &Path, scope: &str, members: Vec<(String, Json)>) -> Result<Self, String> {
        let mut section = Self { file: path.to_owned(), ..Self::default() };
        let (mut lookaside, mut sigstore) = (None, None);
        for (name, json) in members {
            let place = match &*name {
                "lookaside" => &mut lookaside,
                // As it was called before.
                "sigstore" => &mut sigstore,
                "use-sigstore-attachments" => {
                    section.attachments = match json {
                        Json::Bool(truth) => Some(truth),
                        Json::Null => None,
                        other => {
                            let scope = quoted(scope);
                            return Err(format!("`{name}` of {scope} is {}", other.kind()));
                        }
                    };
                    continue;
                }
                _ => continue,
            };
            *place = match json {
                Json::Text(text) => Some(text).filter(|text| !text.is_empty()),
                Json::Null => None,
                other => return Err(format!("`{name}` of {} is {}", quoted(scope), other.kind())),
            };
        }
        section.lookaside = lookaside.or(sigstore);
        Ok(section)
    }
}

/// Where signatures are when nobody says it.
fn built_in() -> PathBuf {
    match std::env::home_dir().filter(|_| !rustix::process::geteuid().is_root()) {
        Some(home) => home.join(".local/share/containers/sigstore"),
        None => PathBuf::from("/var/lib/containers/sigstore"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registries(files: &[(&str, &str)]) -> Result<Registries, String> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            crate::durable::write(&dir.path().join(name), text.as_bytes()).unwrap();
        }
        Registries::load(Some(dir.path())).map_err(|error| error.to_string())
    }

    fn named(text: &str) -> Named {
        Named::of(&text.parse().unwrap())
    }

    #[test]
    fn the_most_exact_scope_that_says_something_counts() {
        let all = registries(&[
            ("a.yaml", "docker:\n  q.io:\n    lookaside: https://a/\n    use-sigstore-attachments: true\n"),
            ("b.yaml", "docker:\n  q.io/n:\n    sigstore: http://b/x\n  q.io/n/r:2:\n    lookaside: file:///srv/s\n"),
            ("c.yaml", "default-docker:\n  lookaside: https://d\n  more: 1\nother: 1\n"),
            ("d.yaml", "# nothing\n"),
            ("e.txt", "{{{"),
        ])
        .unwrap();
        let base = |name: &str| match all.base(&named(name)).unwrap() {
            Base::Web(url) => url.to_string(),
            Base::Directory(path) => path.display().to_string(),
        };
        assert_eq!(base("q.io/x:1"), "https://a/");
        assert_eq!(base("q.io/n/r:1"), "http://b/x");
        assert_eq!(base("q.io/n/r:2"), "/srv/s");
        assert_eq!(base("other.io/n:2"), "https://d/");
        assert!(all.attachments(&named("q.io/n/r:1")));
        assert!(!all.attachments(&named("other.io/n:1")));
        let none = registries(&[]).unwrap();
        assert_eq!(none.base(&named("q.io/x:1")), Ok(Base::Directory(built_in())));
    }

    #[test]
    fn what_two_files_say_and_what_nobody_can_read_is_refused() {
        let one = "docker:\n  q.io:\n    lookaside: https://a\n";
        let both = registries(&[("a.yaml", one), ("b.yaml", one)]).unwrap_err();
        assert!(both.contains("b.yaml") && both.contains("a.yaml"), "{both}");
        let default = "default-docker:\n  lookaside: https://a\n";
        assert!(registries(&[("a.yaml", default), ("b.yaml", default)]).is_err());
        for bad in [
            "docker: []",
            "docker:\n  q.io: x",
            "docker:\n  q.io:\n    lookaside: [x]",
            "docker:\n  q.io:\n    use-sigstore-attachments: yes please",
            "{{{",
            "- x",
        ] {
            assert!(registries(&[("a.yaml", bad)]).unwrap_err().contains("a.yaml"), "{bad}");
        }
        let all = registries(&[("a.yaml", "docker:\n  q.io:\n    lookaside: /srv/s\n")]).unwrap();
        let error = all.base(&named("q.io/x:1")).unwrap_err();
        assert!(error.contains("`/srv/s`") && error.contains("a.yaml"), "{error}");
        assert!(Registries::load(Some(Path::new("/nowhere/registries.d"))).is_err());
    }

    #[test]
    fn real_files_are_read() {
        let Some(data) = std::env::var_os("BUNDLE_OPENSHIFT_DATA") else {
            println!("skipped: BUNDLE_OPENSHIFT_DATA is not set");
            return;
        };
        let directory = Path::new(&data).join("registries-d");
        let all = Registries::load(Some(&directory.join("fixtures"))).unwrap();
        let base = |name: &str| all.base(&named(name));
        let web = |text: &str| Ok(Base::Web(text.parse().unwrap()));
        assert_eq!(base("example.com/my/project:1"), web("https://lookaside.example.com"));
        assert_eq!(base("docker.io/contoso/x:1"), web("https://lookaside.contoso.com/fordocker"));
        assert_eq!(
            base("docker.io/centos/mybetaproduct:latest"),
            web("https://lookaside.centos.org/")
        );
        assert_eq!(
            base("registry.test.example.com:8888/x:1"),
            web("http://registry.test.example.com:8889/lookaside")
        );
        assert_eq!(
            base("unknown.example.org/x:1"),
            Ok(Base::Directory("/mnt/companywide/signatures/for/other/repositories".into()))
        );
        for bad in [
            "localhost/invalid/url/test:1",
            "localhost/file/path/test:1",
            "localhost/relative/path/test:1",
        ] {
            assert!(base(bad).is_err(), "{bad}");
        }
        assert!(Registries::load(Some(&directory)).is_ok());
    }
}
