//! The programs that releases have, and where: which component's image, under which path, for which machines.
//!
//! In: what is asked for, the components of a release. Out: the programs to take, and the names of their files. The table is
//! that of `oc adm release extract`, as its users know it. What must hold: a program that every release has is missed when it is
//! not there; one that only newer releases have is not.

use crate::release::references::{Component, References};

/// Of each program: the command, the machine (`release` is that of the release), the component, the path in its image, the
/// archive with `%` for the version, what it is told of the release, and whether every release has it (`all`, `newer`, or `named`: it
/// is taken only when it is asked for).
const TABLE: &str = "\
oc                 mac/amd64      cli-artifacts        usr/share/openshift/mac/oc                   openshift-client-mac-%.tar.gz                   version all
oc                 mac/arm64      cli-artifacts        usr/share/openshift/mac_arm64/oc             openshift-client-mac-arm64-%.tar.gz             version newer
oc                 linux/release  cli                  usr/bin/oc                                   openshift-client-linux-%.tar.gz                 version all
oc                 linux/amd64    cli-artifacts        usr/share/openshift/linux_amd64/oc           openshift-client-linux-amd64-%.tar.gz           version all
oc                 linux/arm64    cli-artifacts        usr/share/openshift/linux_arm64/oc           openshift-client-linux-arm64-%.tar.gz           version newer
oc                 linux/ppc64le  cli-artifacts        usr/share/openshift/linux_ppc64le/oc         openshift-client-linux-ppc64le-%.tar.gz         version newer
oc                 linux/s390x    cli-artifacts        usr/share/openshift/linux_s390x/oc           openshift-client-linux-s390x-%.tar.gz           version newer
oc.rhel9           linux/amd64    cli-artifacts        usr/share/openshift/linux_amd64/oc.rhel9     openshift-client-linux-amd64-rhel9-%.tar.gz     version newer
oc.rhel8           linux/amd64    cli-artifacts        usr/share/openshift/linux_amd64/oc.rhel8     openshift-client-linux-amd64-rhel8-%.tar.gz     version newer
oc.rhel9           linux/arm64    cli-artifacts        usr/share/openshift/linux_arm64/oc.rhel9     openshift-client-linux-arm64-rhel9-%.tar.gz     version newer
oc.rhel8           linux/arm64    cli-artifacts        usr/share/openshift/linux_arm64/oc.rhel8     openshift-client-linux-arm64-rhel8-%.tar.gz     version newer
oc.rhel9           linux/ppc64le  cli-artifacts        usr/share/openshift/linux_ppc64le/oc.rhel9   openshift-client-linux-ppc64le-rhel9-%.tar.gz   version newer
oc.rhel8           linux/ppc64le  cli-artifacts        usr/share/openshift/linux_ppc64le/oc.rhel8   openshift-client-linux-ppc64le-rhel8-%.tar.gz   version newer
oc.rhel9           linux/s390x    cli-artifacts        usr/share/openshift/linux_s390x/oc.rhel9     openshift-client-linux-s390x-rhel9-%.tar.gz     version newer
oc.rhel8           linux/s390x    cli-artifacts        usr/share/openshift/linux_s390x/oc.rhel8     openshift-client-linux-s390x-rhel8-%.tar.gz     version newer
oc                 windows/amd64  cli-artifacts        usr/share/openshift/windows/oc.exe           openshift-client-windows-%.zip                  version all
openshift-install  mac/amd64      installer-artifacts  usr/share/openshift/mac/openshift-install            openshift-install-mac-%.tar.gz          image   all
openshift-install  mac/arm64      installer-artifacts  usr/share/openshift/mac_arm64/openshift-install      openshift-install-mac-arm64-%.tar.gz    image   newer
openshift-install  linux/release  installer            usr/bin/openshift-install                            openshift-install-linux-%.tar.gz        image   all
openshift-install  linux/amd64    installer-artifacts  usr/share/openshift/linux_amd64/openshift-install    openshift-install-linux-amd64-%.tar.gz  image   newer
openshift-install  linux/arm64    installer-artifacts  usr/share/openshift/linux_arm64/openshift-install    openshift-install-linux-arm64-%.tar.gz  image   newer
openshift-baremetal-install  linux/release  baremetal-installer  usr/bin/openshift-install    openshift-baremetal-install-linux-%.tar.gz              image   named
openshift-install-fips       linux/release  baremetal-installer  usr/bin/openshift-install    openshift-install-rhel-%.tar.gz                         image   named
ccoctl             linux/release  cloud-credential-operator  usr/bin/ccoctl        ccoctl-linux-%.tar.gz                                              none    newer
ccoctl.rhel9       linux/release  cloud-credential-operator  usr/bin/ccoctl.rhel9  ccoctl-linux-rhel9-%.tar.gz                                        none    newer
ccoctl.rhel8       linux/release  cloud-credential-operator  usr/bin/ccoctl.rhel8  ccoctl-linux-rhel8-%.tar.gz                                        none    newer
";

/// A program that releases have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tool {
    /// As it is asked for.
    pub(super) command: &'static str,
    os: &'static str,
    arch: &'static str,
    /// The component whose image has it, and its path there.
    pub(super) component: &'static str,
    pub(super) path: &'static str,
    archive: &'static str,
    /// What it is told of the release: its version, and its image.
    pub(super) version: bool,
    pub(super) image: bool,
    standing: &'static str,
}

/// All programs.
fn table() -> impl Iterator<Item = Tool> {
    TABLE.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let mut next = || words.next();
        let (command, machine, component, path) = (next()?, next()?, next()?, next()?);
        let (archive, marks, standing) = (next()?, next()?, next()?);
        let (os, arch) = machine.split_once('/')?;
        let (version, image) = (marks != "none", marks == "image");
        Some(Tool { command, os, arch, component, path, archive, version, image, standing })
    })
}

/// The commands that can be asked for.
pub(super) fn commands() -> Vec<&'static str> {
    let mut commands: Vec<&str> = table().map(|tool| tool.command).collect();
    commands.sort_unstable();
    commands.dedup();
    commands
}

/// The machines that programs are wanted for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum System {
    /// All that there are.
    All,
    /// One: `linux`, `mac` or `windows`, and an architecture as Go names it.
    One {
        /// The system.
        os: String,
        /// The architecture.
        arch: String,
    },
}

impl System {
    /// This machine.
    pub fn here() -> Self {
        let os = if cfg!(target_os = "macos") { "mac" } else { "linux" };
        let arch = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "powerpc64" => "ppc64le",
            other => other,
        };
        Self::One { os: os.to_owned(), arch: arch.to_owned() }
    }

    /// As `oc` takes it: `*`, `linux`, `mac`, `windows`, or with an architecture, as `linux/arm64`. Without one it is amd64.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::All);
        }
        let (os, arch) = text.split_once('/').unwrap_or((text, "amd64"));
        let os = if os == "darwin" { "mac" } else { os };
        let known = |arch: &str| ["amd64", "arm64", "ppc64le", "s390x"].contains(&arch);
        if !["linux", "mac", "windows"].contains(&os) || !known(arch) {
            return Err("expected `linux`, `mac`, `windows`, one of them with an architecture as `linux/arm64`, or `*`".to_owned());
        }
        Ok(Self::One { os: os.to_owned(), arch: arch.to_owned() })
    }

    /// The architecture that is wanted, if it is one.
    pub(super) fn architecture(&self) -> Option<&str> {
        match self {
            Self::All => None,
            Self::One { arch, .. } => Some(arch),
        }
    }
}

impl std::fmt::Display for System {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("any system"),
            Self::One { os, arch } => write!(f, "{os}/{arch}"),
        }
    }
}

impl Tool {
    /// The name of the program's file.
    pub(super) fn file(&self) -> String {
        let name = self.command.split(".rhel").next().unwrap_or(self.command);
        if self.is_for_windows() { format!("{name}.exe") } else { name.to_owned() }
    }

    /// The name of its archive.
    pub(super) fn archive(&self, version: &str) -> String {
        self.archive.replace('%', version)
    }

    pub(super) fn is_for_windows(&self) -> bool {
        self.os == "windows"
    }

    /// Whether it does not run when bytes of it were changed, until it is signed anew.
    pub(super) fn needs_signature(&self) -> bool {
        (self.os, self.arch) == ("mac", "arm64")
    }

    /// Names under which it does other things, in archives.
    pub(super) fn links(&self) -> &'static [&'static str] {
        let is_client = self.command == "oc" || self.command.starts_with("oc.");
        if is_client && !self.is_for_windows() { &["kubectl"] } else { &[] }
    }

    /// Whether it may be missing from a release when nobody asked for it by its name.
    pub(super) fn may_be_missing(&self) -> bool {
        self.standing == "newer"
    }

    fn runs_on(&self, system: &System, of_release: &str) -> bool {
        match system {
            System::All => true,
            System::One { os, arch } => {
                let machine = if self.arch == "release" { of_release } else { self.arch };
                self.os == os && machine == arch
            }
        }
    }
}

/// The programs that are wanted of a release for `of_release`: with a command that one, else all that are not only taken by
/// name. Where a component of its own has what is taken from another image too, it is taken from there.
pub(super) fn wanted(command: Option<&str>, system: &System, of_release: &str) -> Vec<Tool> {
    let asked = |tool: &Tool| match command {
        Some(command) => tool.command == command,
        None => tool.standing != "named",
    };
    let fits = |tool: &Tool| asked(tool) && tool.runs_on(system, of_release);
    let all: Vec<Tool> = table().filter(fits).collect();
    let own = |tool: &Tool| {
        all.iter()
            .any(|one| one.arch == "release" && (one.command, one.os) == (tool.command, tool.os))
    };
    all.iter().filter(|tool| tool.arch != of_release || !own(tool)).cloned().collect()
}

/// Programs with the components that have them, and those whose component the release lacks.
pub(super) fn find(
    tools: Vec<Tool>,
    references: &References,
) -> (Vec<(Tool, &Component)>, Vec<Tool>) {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for tool in tools {
        match references.components.iter().find(|one| one.name == tool.component) {
            Some(component) => found.push((tool, component)),
            None => missing.push(tool),
        }
    }
    (found, missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(command: Option<&str>, system: &str, of_release: &str) -> Vec<String> {
        let wanted = wanted(command, &System::parse(system).unwrap(), of_release);
        wanted.iter().map(|tool| tool.archive("1")).collect()
    }

    #[test]
    fn the_table_is_whole() {
        assert_eq!(table().count(), TABLE.lines().count());
        let mut archives: Vec<String> = table().map(|tool| tool.archive("4.18.5")).collect();
        archives.sort();
        archives.dedup();
        assert_eq!(archives.len(), TABLE.lines().count());
        for tool in table() {
            assert!(["all", "newer", "named"].contains(&tool.standing), "{tool:?}");
            let machine = format!("{}/{}", tool.os, tool.arch);
            assert!(tool.arch == "release" || System::parse(&machine).is_ok(), "{machine}");
            let zip = std::path::Path::new(tool.archive).extension() == Some("zip".as_ref());
            assert_eq!(zip, tool.is_for_windows());
        }
    }

    #[test]
    fn programs_are_those_for_the_machine() {
        assert_eq!(names(Some("oc"), "linux", "amd64"), ["openshift-client-linux-1.tar.gz"]);
        assert_eq!(
            names(Some("oc"), "linux/arm64", "amd64"),
            ["openshift-client-linux-arm64-1.tar.gz"]
        );
        assert_eq!(names(Some("oc"), "linux/arm64", "arm64"), ["openshift-client-linux-1.tar.gz"]);
        assert_eq!(
            names(Some("oc"), "mac/arm64", "amd64"),
            ["openshift-client-mac-arm64-1.tar.gz"]
        );
        assert_eq!(names(Some("oc"), "windows", "s390x"), ["openshift-client-windows-1.zip"]);
        assert_eq!(names(Some("openshift-install-fips"), "linux", "amd64").len(), 1);
        assert!(names(Some("openshift-install-fips"), "mac", "amd64").is_empty());
        assert!(names(Some("vim"), "*", "amd64").is_empty());
        let linux = names(None, "linux", "amd64");
        assert_eq!(
            linux,
            [
                "openshift-client-linux-1.tar.gz",
                "openshift-client-linux-amd64-rhel9-1.tar.gz",
                "openshift-client-linux-amd64-rhel8-1.tar.gz",
                "openshift-install-linux-1.tar.gz",
                "ccoctl-linux-1.tar.gz",
                "ccoctl-linux-rhel9-1.tar.gz",
                "ccoctl-linux-rhel8-1.tar.gz",
            ]
        );
        // All but the two by name, and those that the release's own components have.
        assert_eq!(names(None, "*", "amd64").len(), TABLE.lines().count() - 2 - 2);
        assert!(commands().contains(&"openshift-baremetal-install"));
    }

    #[test]
    fn systems_are_written_as_oc_takes_them() {
        let one = |os: &str, arch: &str| System::One { os: os.to_owned(), arch: arch.to_owned() };
        assert_eq!(System::parse("*"), Ok(System::All));
        assert_eq!(System::parse("darwin/arm64"), Ok(one("mac", "arm64")));
        assert_eq!(System::parse("windows"), Ok(one("windows", "amd64")));
        for bad in ["", "plan9", "linux/", "linux/x86_64", "linux/amd64/v2", "/"] {
            assert!(System::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn real_releases_have_the_components() {
        use crate::release::references::{REFERENCES, references};
        let Some(data) = crate::release::testing::data("release") else { return };
        for release in ["4.8", "4.10"] {
            let file = fs_err::read(data.join(release).join(REFERENCES)).unwrap();
            let references = references(&file).unwrap();
            let (found, missing) = find(wanted(None, &System::All, "amd64"), &references);
            assert!(missing.is_empty(), "{missing:?}");
            assert!(!found.is_empty());
            let baremetal = wanted(Some("openshift-baremetal-install"), &System::All, "amd64");
            assert_eq!(find(baremetal, &references).0.len(), 1);
        }
    }
}
