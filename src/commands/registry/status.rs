//! `bundle registry status`: whether a registry is well, and what to do if not.
//!
//! In: where it is. Out: what its process says, what its files say, and what it is missing; the exit code is 0 when it is well
//! and 1 when not. What must hold: nothing is changed.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use registry::server::access::USERS;
use registry::server::certificate::Described;
use registry::server::control::{self, Status};
use registry::server::settings::Settings;
use registry::size::Size;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::super::Context;
use crate::cli;
use crate::failure::{Exit, Failure, Kind};
use crate::host::amount::Amount;
use crate::host::answers::Question;
use crate::host::place::{Keeper, Machine, Place};
use crate::host::shown::Shown;
use crate::host::systemctl::Systemctl;
use crate::output::plain;
use crate::size;

/// Bytes of the users' file that are counted.
const USERS_MAX: u64 = 16 * 1024 * 1024;

/// Say whether a registry is well; the exit code is 1 when it is not
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The registry's directory [default: where it was installed]
    #[arg(long = "data-dir", short = 'r', aliases = ["data", "quayRoot", "quay-root"], value_name = "DIR",
          value_parser = cli::directory)]
    data: Option<PathBuf>,
}

/// Where the images are, when not in files.
#[derive(serde::Serialize)]
struct Bucket {
    bucket: String,
    prefix: String,
    endpoint: String,
}

impl Bucket {
    /// Whether it answers, where somebody could ask.
    fn answers(running: &Result<Status, String>) -> Option<bool> {
        running.as_ref().ok().map(|status| status.storage_problem.is_none())
    }
}

/// Everything that was found out.
struct Found {
    place: Place,
    running: Result<Status, String>,
    unit: Option<String>,
    certificate: Result<Described, String>,
    users: Option<usize>,
    amount: Amount,
    bucket: Option<Bucket>,
    free: Option<u64>,
    quota: Option<u64>,
    /// What is not as it should be, with what to do.
    faults: Vec<String>,
    /// What a person has settled so, and may have forgotten.
    notes: Vec<String>,
}

pub async fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    if let Some(data) = &args.data {
        super::must_exist(data)?;
    }
    let place = Machine::here().find(args.data.as_deref())?;
    // One that nobody installed and a person serves has a status too.
    if !place.data.join("store-version").exists() {
        readable(&place.data)?;
        place.must_be_installed()?;
    }
    let found = look(place, &context.cancel).await?;
    let well = found.faults.is_empty();
    context.output.print(&found.document(), &found.text())?;
    Ok(if well { Exit::DONE } else { Exit::UNHEALTHY })
}

/// A directory of another user is not one without a registry.
fn readable(data: &Path) -> Result<(), Failure> {
    match fs_err::read_dir(data) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            Err(Failure::io(crate::failure::Kind::Usage, "cannot look at the registry", &error)
                .with_hint(
                    "run the same command as root, or as the user that the registry runs as",
                ))
        }
        _ => Ok(()),
    }
}

async fn look(place: Place, cancel: &CancellationToken) -> Result<Found, Failure> {
    readable(&place.data)?;
    let settings = Settings::load(&place.data)?.unwrap_or_default();
    let running = control::ask_status(&place.data).await.map_err(|error| error.to_string());
    let systemctl = Systemctl::of(&place);
    let unit = systemctl.as_ref().map(Systemctl::state);
    let shown = Shown::of(&place.data, &settings);
    let free = rustix::fs::statvfs(&place.data)
        .ok()
        .map(|state| state.f_bavail.saturating_mul(state.f_frsize));
    let question = Question { data: &place.data, settings: &settings, login: None };
    let mut faults = Vec::new();
    let mut notes = Vec::new();
    match &running {
        // One on a medium that is mounted read-only can make no socket, and answers its clients all the same.
        Err(_) if question.ask().await.is_ok() => notes.push(format!(
            "it answers at {}, and not to the commands of this machine: it runs read-only, on data that it cannot write",
            settings.listen()
        )),
        Err(_) => faults.push(match place.keeper {
            Keeper::System => {
                "it does not run: `systemctl restart bundle-registry`; `journalctl -u bundle-registry` says why"
                    .to_owned()
            }
            Keeper::User => "it does not run: `systemctl --user restart bundle-registry`; `journalctl --user -u \
                             bundle-registry` says why"
                .to_owned(),
            Keeper::Nobody => format!(
                "it does not run: `bundle registry serve --data-dir {}`",
                crate::typed::quoted(&place.data.display().to_string())
            ),
        }),
        Ok(status) => {
            if let Some(failed) = &status.failed {
                faults.push(format!(
                    "it refuses every change since the disk failed ({failed}): look at the disk, then restart it"
                ));
            }
            if let Some(problem) = &status.storage_problem {
                faults.push(format!(
                    "its object storage cannot be read, and nothing can be pulled or pushed ({problem}): see that the endpoint \
                     answers from this machine"
                ));
            }
            if let Some(problem) = &status.access_problem {
                faults.push(format!(
                    "what the files of users and roles said before holds, as not all can be used ({problem}): mend it, and the \
                     registry reads it within seconds"
                ));
            }
            if status.reserve_bytes.zip(free).is_some_and(|(reserve, free)| free < reserve) {
                faults.push(format!(
                    "its disk is full but for the reserve, and it takes no blobs: remove what is not needed and run \
                     `bundle registry gc --data-dir {}`, or use a larger disk",
                    crate::typed::quoted(&place.data.display().to_string())
                ));
            }
            notes.extend(mode(status, &settings));
            // One of an earlier version says nothing of them.
            if !status.settings.is_empty() && status.settings != settings.mark() {
                notes.push(
                    "registry.toml was changed since it began: what is in it counts after a restart".to_owned(),
                );
            }
            // Only as it was installed: another address or plain HTTP was chosen by a person.
            let as_settled = status.address == settings.listen().to_string()
                && status.certificate_days.is_some();
            if as_settled && shown.about.is_ok() && let Err(error) = question.ask().await {
                faults.extend(shown.advice(&error));
            }
        }
    }
    faults.extend(shown.faults());
    let amount = Amount::of(&place.data)?;
    if amount.quarantined > 0 {
        faults.extend(missing(&place.data, cancel).await?);
        notes.push(format!(
            "{} in quarantine, {}: `bundle registry fsck --data-dir {}` says what is missing; when nothing is: `rm -r {}`",
            size::count(amount.quarantined, "file"),
            size::show(amount.quarantined_bytes),
            crate::typed::quoted(&place.data.display().to_string()),
            crate::typed::quoted(&place.data.join("quarantine").display().to_string())
        ));
    }
    let bucket = settings.objects.as_ref().map(|objects| {
        let place = objects.place();
        Bucket { bucket: objects.bucket.clone(), prefix: objects.prefix.clone(), endpoint: place }
    });
    Ok(Found {
        bucket,
        amount,
        users: users(&place.data),
        place,
        running,
        unit,
        certificate: shown.about,
        free,
        quota: settings.storage.quota.map(Size::bytes),
        faults,
        notes,
    })
}

/// What cannot be pulled since damaged files were moved aside.
async fn missing(data: &Path, cancel: &CancellationToken) -> Result<Option<String>, Failure> {
    // One over a bucket has no such files, and one that was never served no store.
    if !data.join("store-version").exists() {
        return Ok(None);
    }
    let (of, cancel) = (data.to_owned(), cancel.clone());
    let looked =
        tokio::task::spawn_blocking(move || crate::host::missing::after_quarantine(&of, &cancel));
    let found = match looked.await.map_err(|error| Failure::of(Kind::Failed, &error))? {
        Ok(None) => return Ok(None),
        Ok(Some(hit)) => {
            format!("damaged files were moved to the quarantine and are not back, which hits {hit}")
        }
        Err(error) => {
            format!("what is missing of the files in quarantine cannot be looked for ({error})")
        }
    };
    let data = crate::typed::quoted(&data.display().to_string());
    Ok(Some(format!("{found}: `bundle registry fsck --data-dir {data}` says what puts them back")))
}

/// Why it takes no change, where a person wants that.
fn mode(status: &Status, settings: &Settings) -> Option<String> {
    let why = match settings.read_only {
        true => "`read-only = true` in registry.toml",
        false => "it was started with `--read-only`, or with other settings",
    };
    status.read_only.then(|| format!("it runs read-only and refuses every change: {why}"))
}

/// Lines of the users' file that are somebody.
fn users(data: &Path) -> Option<usize> {
    use std::io::Read as _;
    let mut text = String::new();
    let file = registry::regular::open(&data.join(USERS)).ok()?;
    file.take(USERS_MAX).read_to_string(&mut text).ok()?;
    Some(text.lines().filter(|line| line.contains(':') && !line.starts_with('#')).count())
}

impl Found {
    fn document(&self) -> serde_json::Value {
        let in_files = self.bucket.is_none();
        json!({
            "healthy": self.faults.is_empty(),
            "faults": self.faults,
            "notes": self.notes,
            "data": self.place.data.display().to_string(),
            "installed": self.place.is_installed(),
            "keeper": self.place.keeper.name(),
            "unit": self.unit,
            "process": self.running.as_ref().ok(),
            "certificate": self.certificate.as_ref().ok().map(|about| json!({
                "subject": about.subject, "issuer": about.issuer, "names": about.names,
                "until": about.not_after.to_string(), "daysLeft": about.days_left,
                "fingerprint": about.fingerprint,
            })),
            "users": self.users,
            "objects": self.bucket,
            "objectsAnswer": self.bucket.as_ref().and_then(|_| Bucket::answers(&self.running)),
            // What a bucket holds nobody counts.
            "repositories": in_files.then_some(self.amount.repositories),
            "blobs": in_files.then_some(self.amount.blobs),
            "bytes": in_files.then_some(self.amount.bytes),
            "quarantined": self.amount.quarantined,
            "freeBytes": self.free.filter(|_| in_files),
            "quotaBytes": self.quota,
        })
    }

    fn text(&self) -> String {
        // Writing to a String cannot fail.
        let mut text = String::new();
        let word = if self.faults.is_empty() { "well" } else { "NOT WELL" };
        let _ = writeln!(text, "state        {word}");
        for fault in &self.faults {
            let _ = writeln!(text, "             {}", plain(fault));
        }
        for note in &self.notes {
            let _ = writeln!(text, "note         {}", plain(note));
        }
        let _ = writeln!(text, "data         {}", plain(&self.place.data.display().to_string()));
        match &self.running {
            Ok(status) => {
                let mode = if status.read_only { ", read-only" } else { "" };
                let _ = writeln!(
                    text,
                    "process      {}, version {}, at {}, up {}{mode}",
                    status.pid,
                    plain(&status.version),
                    plain(&status.address),
                    duration(status.uptime)
                );
            }
            Err(_) => text += "process      none\n",
        }
        let unit = match (&self.unit, self.place.is_installed()) {
            (Some(state), _) => format!("{} unit, {}", self.place.keeper.name(), plain(state)),
            (None, true) => "none, nothing starts it".to_owned(),
            (None, false) => "none, not installed".to_owned(),
        };
        let _ = writeln!(text, "service      {unit}");
        match &self.certificate {
            Ok(about) => {
                let _ = writeln!(
                    text,
                    "certificate  {} days left, for {}",
                    about.days_left,
                    plain(&about.names.join(", "))
                );
            }
            Err(_) => text += "certificate  none\n",
        }
        let users = self.users.map_or("none".to_owned(), |users| users.to_string());
        let _ = writeln!(text, "users        {users}");
        if let Some(bucket) = &self.bucket {
            let prefix = match bucket.prefix.as_str() {
                "" => String::new(),
                prefix => format!(", prefix `{}`", plain(prefix)),
            };
            let answers = match Bucket::answers(&self.running) {
                Some(true) => "answers",
                Some(false) => "DOES NOT ANSWER",
                None => "not asked",
            };
            let (name, endpoint) = (plain(&bucket.bucket), plain(&bucket.endpoint));
            let _ = writeln!(text, "content      bucket `{name}`{prefix} at {endpoint}: {answers}");
            return text;
        }
        let _ = writeln!(
            text,
            "content      {}, {}, {}",
            size::repositories(self.amount.repositories),
            size::count(self.amount.blobs, "blob"),
            size::show(self.amount.bytes)
        );
        if let Some(free) = self.free {
            let reserve = self.running.as_ref().ok().and_then(|status| status.reserve_bytes);
            let reserve = reserve.map(|reserve| format!(", {} in reserve", size::show(reserve)));
            let _ =
                writeln!(text, "free         {}{}", size::show(free), reserve.unwrap_or_default());
        }
        let status = self.running.as_ref().ok();
        if let Some(quota) = self.quota {
            let used = match status.map(|status| status.used_bytes) {
                Some(Some(used)) => format!(", {} used", size::show(used)),
                Some(None) => ", not held until what is stored is counted".to_owned(),
                None => String::new(),
            };
            let _ = writeln!(text, "quota        {}{used}", size::show(quota));
        }
        text
    }
}

/// Seconds for people.
fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours) {
        (0, 0) if minutes == 0 => format!("{seconds} s"),
        (0, 0) => format!("{minutes} min"),
        (0, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_are_shown_for_people() {
        for (seconds, shown) in
            [(59, "59 s"), (60, "1 min"), (3660, "1 h 1 min"), (90_000, "1 d 1 h")]
        {
            assert_eq!(super::duration(seconds), shown);
        }
    }
}
