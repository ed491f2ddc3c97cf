//! What a chart renders to, by the real `helm`.
//!
//! In: the archive, values and versions of the cluster. Out: the text of `helm template`. What must hold: no file of the user
//! is read or written (Helm's own directories are new and empty), nothing is asked of a network, time, memory and output end
//! somewhere, and no shell is in between.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};

use super::HelmOptions;
use super::limits::{RENDER_MEMORY, RENDER_TIME, RENDERED_MAX, SAID_MAX};
use crate::error::fit;

/// What a program of Go says when it gets no more memory.
const OUT_OF_MEMORY: &[u8] = b"fatal error: out of memory";

/// The version of Kubernetes that charts are rendered for when nothing is said: what a `helm` takes by itself depends on how it
/// was built.
pub const KUBE_VERSION: &str = "1.32.0";

/// Why there is nothing rendered.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The chart cannot be rendered; what Helm says.
    #[error("`helm template` refuses it: {0}")]
    Refused(String),
    /// It takes too long.
    #[error("`helm template` took longer than {} s", .0.as_secs())]
    Slow(Duration),
    /// It takes too much memory.
    #[error("`helm template` needs more memory for it than {} GiB", RENDER_MEMORY >> 30)]
    Memory,
    /// It gives too much.
    #[error("it renders to more than {RENDERED_MAX} bytes")]
    TooMuch,
    /// The program cannot be run.
    #[error("`{program}` cannot be run")]
    Program {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of the workspace.
    #[error("what is rendered cannot be prepared")]
    Write(#[source] io::Error),
}

impl RenderError {
    /// What to do next.
    pub fn hint(&self, chart: &str) -> Option<String> {
        let Self::Refused(said) = self else {
            return match self {
                Self::Program { .. } => Some("name a `helm` that runs: `--helm FILE`".to_owned()),
                _ => None,
            };
        };
        Some(if said.contains("chart requires kubeVersion") {
            "say for which version of Kubernetes it is rendered: `--helm-kube-version VERSION`"
                .to_owned()
        } else if said.contains("missing in charts/") {
            "fetch what it depends on into the chart: `helm dependency build DIR`".to_owned()
        } else {
            format!(
                "give the values that it needs: `--helm-values {chart}=FILE` or `--helm-set {chart}=NAME=VALUE`"
            )
        })
    }
}

/// The program that renders: the one that is named, else `helm` on the search path.
pub fn program(named: Option<&Path>) -> Option<PathBuf> {
    if let Some(named) = named {
        return Some(std::path::absolute(named).unwrap_or_else(|_| named.to_owned()));
    }
    let runs = |file: &PathBuf| {
        file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok()
    };
    let path = std::env::var_os("PATH")?;
    // An empty entry would be the current directory, which anybody may have written.
    std::env::split_paths(&path)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join("helm"))
        .find(runs)
}

/// Renders an archive. `name` is how options name the chart.
pub async fn render(
    program: &Path,
    archive: &[u8],
    name: &str,
    options: &HelmOptions,
) -> Result<String, RenderError> {
    let home = tempfile::Builder::new().prefix("bundle-helm-").tempdir();
    let home = home.map_err(RenderError::Write)?;
    let file = home.path().join("chart.tgz");
    fs_err::write(&file, archive).map_err(RenderError::Write)?;
    let mut command = Command::new(program);
    command.arg("template").arg(&file).args(["--include-crds", "--namespace", "default"]);
    for values in of(&options.values, name) {
        command.arg("--values").arg(std::path::absolute(values).unwrap_or_else(|_| values.clone()));
    }
    for set in of(&options.sets, name) {
        command.arg("--set").arg(set);
    }
    command.arg("--kube-version").arg(options.kube_version.as_deref().unwrap_or(KUBE_VERSION));
    for version in &options.api_versions {
        command.arg("--api-versions").arg(version);
    }
    surround(&mut command, home.path());
    let mut child = command
        .spawn()
        .map_err(|source| RenderError::Program { program: program.to_owned(), source })?;
    limit(&child);
    let ended = tokio::time::timeout(RENDER_TIME, to_end(&mut child)).await;
    match ended {
        Ok(Ok((good, out, said))) => {
            if out.len() as u64 > RENDERED_MAX {
                return Err(RenderError::TooMuch);
            }
            if !good && said.windows(OUT_OF_MEMORY.len()).any(|part| part == OUT_OF_MEMORY) {
                return Err(RenderError::Memory);
            }
            if !good {
                return Err(RenderError::Refused(words(&said, home.path())));
            }
            Ok(String::from_utf8_lossy(&out).into_owned())
        }
        Ok(Err(source)) => Err(RenderError::Program { program: program.to_owned(), source }),
        // It is killed when it is dropped.
        Err(_) => Err(RenderError::Slow(RENDER_TIME)),
    }
}

/// What the options say for a chart.
fn of<'a, T>(pairs: &'a [(String, T)], name: &'a str) -> impl Iterator<Item = &'a T> {
    pairs.iter().filter(move |(chart, _)| chart == name).map(|(_, value)| value)
}

/// Nothing of the user around it, and every way to a network leads nowhere.
fn surround(command: &mut Command, home: &Path) {
    let below = |name: &str| home.join(name);
    command
        .env_clear()
        .env("HOME", home)
        .env("TMPDIR", home)
        .env("XDG_CACHE_HOME", below("cache"))
        .env("XDG_CONFIG_HOME", below("config"))
        .env("XDG_DATA_HOME", below("data"))
        .env("HELM_CACHE_HOME", below("cache"))
        .env("HELM_CONFIG_HOME", below("config"))
        .env("HELM_DATA_HOME", below("data"))
        .env("HELM_PLUGINS", below("plugins"))
        .env("HELM_REGISTRY_CONFIG", below("registry.json"))
        .env("HELM_REPOSITORY_CONFIG", below("repositories.yaml"))
        .env("HELM_REPOSITORY_CACHE", below("repositories"))
        .env("KUBECONFIG", below("kubeconfig"))
        .env("GOMEMLIMIT", (RENDER_MEMORY / 4).to_string())
        .current_dir(home)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
        command.env(name, OsStr::new("http://127.0.0.1:1"));
    }
}

/// An archive that takes all memory takes none from others.
fn limit(child: &Child) {
    let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(id) = id {
        let most = Some(RENDER_MEMORY);
        // One that ended already needs none.
        let _ = prlimit(Some(id), Resource::As, Rlimit { current: most, maximum: most });
    }
}

async fn to_end(child: &mut Child) -> io::Result<(bool, Vec<u8>, Vec<u8>)> {
    let (out, said) = (child.stdout.take(), child.stderr.take());
    let (out, said) = tokio::try_join!(most(out, RENDERED_MAX + 1), most(said, SAID_MAX))?;
    if out.len() as u64 > RENDERED_MAX {
        child.start_kill()?;
    }
    Ok((child.wait().await?.success(), out, said))
}

/// The first bytes of a stream. The rest is closed, or read and dropped where a warning too many must not stop anything.
async fn most(from: Option<impl AsyncRead + Unpin>, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut from) = from {
        (&mut from).take(max).read_to_end(&mut bytes).await?;
        if max == SAID_MAX {
            tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
        }
    }
    Ok(bytes)
}

/// What Helm says of a fault, on one line and without our directory.
fn words(said: &[u8], home: &Path) -> String {
    let text = String::from_utf8_lossy(said).replace(&home.display().to_string(), "");
    let lines = text.lines().map(str::trim).filter(|line| {
        !line.is_empty() && !line.starts_with("WARNING:") && !line.starts_with("Use --debug")
    });
    let text = lines.collect::<Vec<_>>().join(" ");
    let text = text.strip_prefix("Error: ").unwrap_or(&text);
    if text.is_empty() { "it says nothing".to_owned() } else { fit(text) }
}
