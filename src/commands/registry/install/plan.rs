//! What an installation is going to do: everything that was typed, kept or found, checked.
//!
//! In: what was typed, this machine, and what an earlier installation left in the data directory. Out: a [`Plan`]. What must
//! hold: nothing is changed here; settings and users that are there stay, unless an option says otherwise.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use registry::server::access::USERS;
use registry::server::access::accounts::generate_password;
use registry::server::certificate;
use registry::server::settings::{Anonymous, FILE, Settings};
use registry::store;

use super::Args;
use crate::commands::refuse_other_than_directory;
use crate::failure::{Failure, Kind};
use crate::host::checks;
use crate::host::place::{Keeper, Machine, Place};
use crate::output::plain;
use crate::typed::quoted;

/// The port when nothing is said: that of the mirror registry for OpenShift.
const PORT: u16 = 8443;

/// The first user when nothing is said, as there.
const FIRST: &str = "init";

/// The robot whose pull secret is for clusters.
pub const PULLER: &str = "cluster";

/// Bytes of a password file: a password has at most 72, and perhaps the end of its line.
const PASSWORD_FILE_MAX: u64 = 1024;

/// The first user.
pub struct First {
    /// The name.
    pub name: String,
    /// The password.
    pub password: String,
    /// Whether it was made here, so that it must be shown.
    pub made: bool,
}

/// What `registry.toml` becomes.
pub struct Text {
    /// All of it.
    pub new: String,
    /// Whether comments and order of the file that is there are lost, so that a copy of it is kept.
    pub rewritten: bool,
}

/// What is going to be done.
pub struct Plan {
    /// This machine.
    pub machine: Machine,
    /// Where everything will be.
    pub place: Place,
    /// What `registry.toml` will say.
    pub settings: Settings,
    /// Its text; `None` when the file says so already.
    pub text: Option<Text>,
    /// The name that clients use.
    pub hostname: String,
    /// The port.
    pub port: u16,
    /// A certificate and key to copy.
    pub brought: Option<(PathBuf, PathBuf)>,
    /// The first user; `None` when there are users.
    pub first: Option<First>,
    /// Whether lingering is asked for.
    pub linger: bool,
}

impl Plan {
    /// Looks at everything.
    pub fn of(args: &Args, machine: &Machine) -> Result<Self, Failure> {
        let place = place(args, machine)?;
        refuse_installed(machine, &place)?;
        let kept = Settings::load(&place.data)?;
        refuse_foreign(&place.data)?;
        let mut settings = kept.clone().unwrap_or_default();
        let named = args.hostname.as_ref().map(|host| bare(host.host()).to_owned());
        let hostname = named.or(settings.hostname.clone()).unwrap_or_else(checks::own_name);
        let port = port(args, kept.as_ref())?;
        let listen = checks::listen(port)?;
        // An address that a person wrote there stays.
        if settings.listen.is_none_or(|kept| kept.port() != port) {
            settings.listen = Some(listen);
        }
        // What clients called it before stays good.
        let before =
            settings.hostname.replace(hostname.clone()).filter(|before| *before != hostname);
        if let Some(before) = before
            && !settings.names.contains(&before)
        {
            tracing::info!(
                "`{}` stays a name of the registry too, as clients may use it",
                plain(&before)
            );
            settings.names.push(before);
        }
        for name in &args.names {
            let name = bare(name).to_owned();
            if !settings.names.contains(&name) {
                settings.names.push(name);
            }
        }
        if args.anonymous_pull {
            settings.access.anonymous = Anonymous::Pull;
        }
        if args.quota.is_some() {
            settings.storage.quota = args.quota;
        }
        let brought = brought(args, &mut settings)?;
        let file = place.data.join(FILE);
        settings.check().map_err(|problem| conflict(&file, &problem))?;
        let text = text(&file, &settings)?;
        checks::warn(&hostname, &place.data);
        let first = first(args, &place.data)?;
        let (machine, linger) = (machine.clone(), args.linger);
        // An address of version 6 has brackets wherever a port may follow.
        let hostname = if hostname.contains(':') { format!("[{hostname}]") } else { hostname };
        Ok(Self { machine, place, settings, text, hostname, port, brought, first, linger })
    }

    /// `NAME:PORT`.
    pub fn host(&self) -> String {
        format!("{}:{}", self.hostname, self.port)
    }

    /// The first user and the password.
    pub fn login(&self) -> Option<(&str, &str)> {
        self.first.as_ref().map(|first| (first.name.as_str(), first.password.as_str()))
    }
}

/// For whom, and where.
fn place(args: &Args, machine: &Machine) -> Result<Place, Failure> {
    let system = args.system || (!args.user && machine.is_root());
    if system && !machine.is_root() {
        return Err(Failure::usage("installing for the machine takes root")
            .with_hint("run the same command as root; or install for this user: `--user`"));
    }
    let keeper = match (machine.has_systemd(), system) {
        (true, true) => Keeper::System,
        (true, false) => Keeper::User,
        (false, _) => Keeper::Nobody,
    };
    let data = match &args.data {
        Some(data) => data.clone(),
        None => machine.default_data(system)?,
    };
    refuse_other_than_directory("--data-dir", &data)?;
    machine.place(keeper, &data)
}

/// Refuses to install over an installation.
fn refuse_installed(machine: &Machine, place: &Place) -> Result<(), Failure> {
    let other = machine.record(place.keeper)?.map(|record| record.data);
    let found = match other {
        Some(data) => machine.place(place.keeper, &data)?,
        None => machine.find(Some(&place.data))?,
    };
    if !found.is_installed() {
        return Ok(());
    }
    let shown = found.data.display().to_string();
    let option = format!("--data-dir {}", quoted(&shown));
    Err(Failure::usage(format!("a registry is installed already, in `{}`", plain(&shown)))
        .with_hint(format!("how it is: `bundle registry status {option}`"))
        .with_hint(format!("to this version of the program: `bundle registry upgrade {option}`"))
        .with_hint(format!(
            "to begin anew: `bundle registry uninstall {option}`, which keeps the data unless told"
        )))
}

/// Refuses a directory with other things in it.
fn refuse_foreign(data: &Path) -> Result<(), Failure> {
    if !data.exists() {
        return Ok(());
    }
    let unreadable =
        |error: std::io::Error| Failure::io(Kind::Usage, "cannot use the data directory", &error);
    if let Some(name) = store::foreign(data).map_err(unreadable)? {
        let shown = plain(&data.display().to_string());
        let error = format!("`{shown}` has something else in it: `{}`", plain(&name));
        return Err(Failure::usage(error)
            .with_hint("name an empty or new directory, or one of a registry: `--data-dir DIR`"));
    }
    Ok(())
}

fn port(args: &Args, kept: Option<&Settings>) -> Result<u16, Failure> {
    let named = args.hostname.as_ref().and_then(registry::reference::RegistryHost::port);
    match (args.port, named) {
        (Some(one), Some(other)) if one != other => {
            Err(Failure::usage(format!("two ports: `--port {one}`, and {other} after the name"))
                .with_hint("name one of them"))
        }
        (port, named) => {
            let kept = kept.and_then(|settings| settings.listen).map(|listen| listen.port());
            Ok(port.or(named).or(kept).unwrap_or(PORT))
        }
    }
}

/// What was typed does not go with what the file says.
fn conflict(file: &Path, problem: &str) -> Failure {
    let shown = plain(&file.display().to_string());
    Failure::usage(format!("what was typed does not go with `{shown}`: {problem}"))
        .with_hint("leave that option out, or mend the file")
}

/// The text of the settings file. What a person wrote there stays as it is where what is new can stand above or below it.
fn text(file: &Path, settings: &Settings) -> Result<Option<Text>, Failure> {
    let old = match fs_err::read_to_string(file) {
        Ok(old) => old,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Some(Text { new: settings.to_text(), rewritten: false }));
        }
        Err(error) => return Err(Failure::io(Kind::Usage, "cannot read the settings", &error)),
    };
    let says = |text: &str| Settings::parse(text).is_ok_and(|said| said == *settings);
    if says(&old) {
        return Ok(None);
    }
    // Whoever is mistaken here is found out by what the new text says.
    let has = |key: &str| {
        let mut lines =
            old.lines().map(|line| line.trim_start().trim_start_matches('[').trim_start());
        lines.any(|line| {
            line.strip_prefix(key).is_some_and(|rest| rest.starts_with([' ', '=', ']', '.']))
        })
    };
    let (mut above, mut below) = (String::new(), String::new());
    let all = settings.to_text();
    // Lines before the first table are plain keys; a table goes on to the next one.
    let mut table = None;
    for line in all.lines().filter(|line| !line.is_empty()) {
        if let Some(name) = line.strip_prefix('[') {
            let name = name.split([']', '.']).next().unwrap_or_default();
            table = Some(has(name));
        }
        match table {
            Some(true) => {}
            Some(false) => below = below + line + "\n",
            None if has(line.split(' ').next().unwrap_or_default()) => {}
            None => above = above + line + "\n",
        }
    }
    let space = |text: &str| if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    let new = format!("{above}{old}{}{below}", space(&old));
    Ok(Some(match says(&new) {
        true => Text { new, rewritten: false },
        false => Text { new: all, rewritten: true },
    }))
}

/// The site's own certificate, judged; the settings will name the copies.
fn brought(args: &Args, settings: &mut Settings) -> Result<Option<(PathBuf, PathBuf)>, Failure> {
    let (Some(certificate), Some(key)) = (&args.ssl_cert, &args.ssl_key) else { return Ok(None) };
    for (option, file) in [("--ssl-cert", certificate), ("--ssl-key", key)] {
        if !file.is_file() {
            let shown = plain(&file.display().to_string());
            return Err(Failure::usage(format!("`{option}`: there is no file `{shown}`"))
                .with_hint(format!("name the file in PEM: `{option} FILE`; without both options the registry makes a certificate")));
        }
    }
    let names = match args.ssl_check_skip {
        true => Vec::new(),
        false => settings.names(),
    };
    certificate::check(certificate, key, &names)?;
    settings.tls.certificate = Some("tls/site.crt".into());
    settings.tls.key = Some("tls/site.key".into());
    settings.tls.any_name = args.ssl_check_skip;
    Ok(Some((certificate.clone(), key.clone())))
}

/// An address without brackets, as certificates have it.
fn bare(name: &str) -> &str {
    name.trim_start_matches('[').trim_end_matches(']')
}

/// The first user, where there are none.
fn first(args: &Args, data: &Path) -> Result<Option<First>, Failure> {
    if data.join(USERS).exists() {
        if args.init_user.is_some() || args.init_password_stdin || args.init_password_file.is_some()
        {
            tracing::warn!(
                "the users that are there stay, and no first one is made: `bundle registry user add` makes more"
            );
        }
        return Ok(None);
    }
    let name = args.init_user.clone().unwrap_or_else(|| FIRST.to_owned());
    let brought = password(args)?;
    let made = brought.is_none();
    let password = match brought {
        Some(password) => password,
        None => generate_password()
            .map_err(|error| Failure::io(Kind::Failed, "cannot make a password", &error))?,
    };
    Ok(Some(First { name, password, made }))
}

/// The password that a person gives.
pub fn password(args: &Args) -> Result<Option<String>, Failure> {
    let fault =
        |error: std::io::Error| Failure::io(Kind::Usage, "cannot read the password", &error);
    let mut text = String::new();
    match &args.init_password_file {
        Some(path) => {
            let file = fs_err::File::open(path).map_err(fault)?;
            file.take(PASSWORD_FILE_MAX).read_to_string(&mut text).map_err(fault)?;
        }
        None if args.init_password_stdin => {
            let stdin = std::io::stdin();
            stdin.take(PASSWORD_FILE_MAX).read_to_string(&mut text).map_err(fault)?;
        }
        None => return Ok(None),
    }
    // An editor ends the last line, and `echo` does.
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(Some(line.strip_suffix('\r').unwrap_or(line).to_owned()))
}
