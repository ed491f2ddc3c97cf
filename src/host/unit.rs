//! The text of the systemd unit, and the record of an installation that stands in it.
//!
//! In: a [`Place`] and what the machine can do. Out: the text, and from the text of an installed unit its [`Record`].
//! What must hold: a path is one word for systemd, whatever is in it; a registry that is broken into can write its
//! own data and nothing else, and not its own program.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use registry::lasting;
use registry::server::limits::STOP_TIME;

use super::place::{Keeper, Place};
use crate::failure::{Failure, Kind};

/// Bytes of a unit that are looked at; ours has about two thousand.
const UNIT_MAX: u64 = 64 * 1024;

/// The section of the record: systemd leaves those alone whose names begin with `X-`.
const SECTION: &str = "[X-Bundle]";

/// What an installation must remember of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The program's version.
    pub version: String,
    /// The data directory.
    pub data: PathBuf,
    /// Whether the installation turned lingering on: only then is it turned off with it.
    pub lingers: bool,
}

impl Record {
    /// Reads the record of a unit; `None` when there is no such file. Errors: it is somebody else's.
    pub fn read(unit: &Path) -> Result<Option<Self>, Failure> {
        let mut text = String::new();
        let read =
            fs_err::File::open(unit).and_then(|file| file.take(UNIT_MAX).read_to_string(&mut text));
        match read {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|e| Failure::io(Kind::Failed, "cannot read the unit", &e))?,
        };
        Self::parse(&text).map(Some).ok_or_else(|| {
            Failure::usage(format!("`{}` was not written by this program", unit.display()))
                .with_hint("move it away, then run the same command again")
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let (_, own) = text.split_once(SECTION)?;
        let value = |key: &str| {
            own.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).map(str::trim)
        };
        let data = PathBuf::from(value("Data")?);
        let lingers = value("Lingering") == Some("ours");
        data.is_absolute().then(|| Self {
            version: value("Version").unwrap_or("unknown").to_owned(),
            data,
            lingers,
        })
    }

    /// Its section.
    pub fn to_text(&self) -> String {
        let lingers = if self.lingers { "ours" } else { "not ours" };
        format!(
            "{SECTION}\nVersion={}\nData={}\nLingering={lingers}\n",
            self.version,
            self.data.display()
        )
    }
}

/// Writes a unit; systemd does not know of it before a reload.
pub fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    lasting::make(directory)
        .and_then(|()| lasting::replace(path, text.as_bytes(), 0o644))
        .map_err(|error| Failure::io(Kind::Failed, "cannot write the unit", &error))
}

/// What decides about the text besides the place.
#[derive(Debug)]
pub struct Wishes<'a> {
    /// The account that runs it; `None` for the one that systemd takes: root, or the user.
    pub account: Option<&'a str>,
    /// A port below 1024, which takes a right of its own.
    pub low_port: bool,
    /// Whether the installation turned lingering on.
    pub lingers: bool,
}

/// The unit.
pub fn text(place: &Place, wishes: &Wishes<'_>) -> String {
    let (program, data) = (quoted(&place.program), quoted(&place.data));
    let system = place.keeper == Keeper::System;
    let stop = STOP_TIME.as_secs() + 25;
    let mut text = format!(
        "# Written by `bundle registry install`; `bundle registry upgrade` writes it again.\n\
         # Changes belong into a drop-in: `systemctl {}edit bundle-registry`.\n\
         [Unit]\n\
         Description=Mirror registry of container images (bundle)\n\
         Wants=network-online.target\n\
         After=network-online.target\n\
         RequiresMountsFor={data}\n\
         # One that cannot start is reported as failed, not started for ever.\n\
         StartLimitIntervalSec=300\n\
         StartLimitBurst=10\n\
         \n\
         [Service]\n\
         Type=notify\n\
         ExecStart={program} registry serve --data-dir {data}\n\
         ExecReload=/bin/kill -HUP $MAINPID\n\
         Restart=on-failure\n\
         RestartSec=5\n\
         # Wrong settings stay wrong.\n\
         RestartPreventExitStatus=64\n\
         TimeoutStartSec=300\n\
         TimeoutStopSec={stop}\n",
        if system { "" } else { "--user " }
    );
    if let Some(account) = wishes.account {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "User={account}\nGroup={account}");
    }
    text += "UMask=0077\nLimitNOFILE=65536\nTasksMax=1024\n\
             # Ten times of what it needs; the page cache of what it serves counts too, and is given back first.\n\
             MemoryMax=1G\n\
             \n\
             NoNewPrivileges=yes\n\
             LockPersonality=yes\n\
             MemoryDenyWriteExecute=yes\n\
             RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX\n\
             RestrictNamespaces=yes\n\
             RestrictRealtime=yes\n\
             RestrictSUIDSGID=yes\n\
             SystemCallArchitectures=native\n\
             SystemCallFilter=@system-service\n\
             SystemCallErrorNumber=EPERM\n";
    text += "ProtectSystem=strict\nPrivateTmp=yes\n";
    let _ = writeln!(text, "ReadWritePaths={data}");
    if system {
        text += protect_home(&place.data);
        text += "PrivateDevices=yes\nProtectClock=yes\nProtectControlGroups=yes\nProtectHostname=yes\n\
                 ProtectKernelLogs=yes\nProtectKernelModules=yes\nProtectKernelTunables=yes\n\
                 ProtectProc=invisible\nRemoveIPC=yes\n";
        match (wishes.low_port, wishes.account) {
            (true, Some(_)) => {
                text += "CapabilityBoundingSet=CAP_NET_BIND_SERVICE\n\
                         AmbientCapabilities=CAP_NET_BIND_SERVICE\n";
            }
            (true, None) => text += "CapabilityBoundingSet=CAP_NET_BIND_SERVICE\n",
            (false, _) => text += "CapabilityBoundingSet=\n",
        }
    } else {
        // Its program is in the data directory. What takes rights that the manager of a user has not (capabilities,
        // devices, the kernel's settings) is left out: old versions of systemd do not start the unit with it.
        let _ = writeln!(text, "ReadOnlyPaths={}", quoted(&place.data.join("bin")));
    }
    let target = if system { "multi-user.target" } else { "default.target" };
    let record = Record {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        data: place.data.clone(),
        lingers: wishes.lingers,
    };
    let _ = write!(text, "\n[Install]\nWantedBy={target}\n\n{}", record.to_text());
    text
}

/// The homes of people are nothing to it, unless its data is there.
fn protect_home(data: &Path) -> &'static str {
    let homes = ["/home", "/root", "/run/user"];
    match homes.iter().any(|home| data.starts_with(home)) {
        true => "ProtectHome=read-only\n",
        false => "ProtectHome=yes\n",
    }
}

/// A path as one word of a unit: quotes hold it together, `%` and `$` stand for themselves.
fn quoted(path: &Path) -> String {
    let mut word = String::from("\"");
    for c in path.to_string_lossy().chars() {
        match c {
            '"' | '\\' => word.extend(['\\', c]),
            '%' | '$' => word.extend([c, c]),
            c => word.push(c),
        }
    }
    word.push('"');
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(keeper: Keeper, data: &str) -> Place {
        Place {
            keeper,
            data: data.into(),
            program: "/usr/local/bin/bundle-registry".into(),
            unit: None,
        }
    }

    const PLAIN: Wishes<'_> =
        Wishes { account: Some("bundle-registry"), low_port: false, lingers: false };

    #[test]
    fn the_unit_keeps_a_registry_to_its_data() {
        let text = text(&place(Keeper::System, "/var/lib/bundle-registry"), &PLAIN);
        for line in [
            "Restart=on-failure",
            "Type=notify",
            "NoNewPrivileges=yes",
            "ProtectSystem=strict",
            "ProtectHome=yes",
            "ReadWritePaths=\"/var/lib/bundle-registry\"",
            "UMask=0077",
            "CapabilityBoundingSet=",
            "SystemCallFilter=@system-service",
            "User=bundle-registry",
            "WantedBy=multi-user.target",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(!text.contains("KillMode"));
        assert!(text.contains("AF_UNIX"));
    }

    #[test]
    fn the_record_is_read_again() {
        for data in ["/srv/x", "/srv/a b/%d \"$x\""] {
            let wishes = Wishes { lingers: true, ..PLAIN };
            let text = text(&place(Keeper::User, data), &wishes);
            let record = Record::parse(&text).unwrap();
            assert_eq!(record.data, Path::new(data));
            assert!(record.lingers);
            assert_eq!(record.version, env!("CARGO_PKG_VERSION"));
        }
        assert_eq!(Record::parse("[Unit]\nDescription=another\n"), None);
        assert_eq!(Record::parse("[X-Bundle]\nData=relative\n"), None);
    }

    #[test]
    fn a_path_is_one_word_and_no_specifier() {
        assert_eq!(quoted(Path::new("/a b/%h$\"\\")), r#""/a b/%%h$$\"\\""#);
    }

    #[test]
    fn what_the_manager_of_a_user_cannot_do_is_left_out() {
        let wishes = Wishes { account: None, ..PLAIN };
        let text = text(&place(Keeper::User, "/home/a/r"), &wishes);
        for word in ["Capability", "PrivateDevices", "ProtectKernel", "User=", "ProtectHome"] {
            assert!(!text.contains(word), "{word}");
        }
        assert!(text.contains("ReadOnlyPaths=\"/home/a/r/bin\""));
        let low = Wishes { low_port: true, ..PLAIN };
        let low = super::text(&place(Keeper::System, "/home/r"), &low);
        assert!(low.contains("AmbientCapabilities=CAP_NET_BIND_SERVICE"));
        assert!(low.contains("ProtectHome=read-only"));
    }
}
