//! Credential programs: `docker-credential-<name> get`.
//!
//! In: the program's name and a server. Out: its credential, or nothing when it says that it has none.
//! What must hold: the program has 30 s and 1 MiB; what it says on stderr stands in the error, what it
//! says on stdout never does.

use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::credentials::Credential;
use super::error::Fault;
use super::secret::Secret;
use crate::limits::{ANSWER_MAX, HELPER_TIME, QUOTE_MAX};

/// The detail of the fault when there is no such program.
pub(super) const ABSENT: &str = "the program is not installed";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

/// Asks the program of this name for a server's credential.
pub(super) async fn get(name: &str, server: &str) -> Result<Option<Credential>, Fault> {
    let program = format!("docker-credential-{name}");
    // The name comes from a file: it must not become a path.
    if name.is_empty() || !name.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c)) {
        return Err(Fault::Helper { program, detail: "not a program name".into() });
    }
    run(&program, server, HELPER_TIME).await
}

/// Runs a program, found by `PATH` or given by path.
async fn run(program: &str, server: &str, limit: Duration) -> Result<Option<Credential>, Fault> {
    let fault = |detail: String| Fault::Helper { program: program.to_owned(), detail };
    let run = async {
        let mut child = tokio::process::Command::new(program)
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => fault(ABSENT.into()),
                kind => fault(kind.to_string()),
            })?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that does not read its input has its own reasons; its answer decides.
            let _ = stdin.write_all(server.as_bytes()).await;
        }
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let read_out = async {
            if let Some(stdout) = stdout {
                let _ = stdout.take(ANSWER_MAX).read_to_end(&mut out).await;
            }
        };
        let read_err = async {
            if let Some(stderr) = stderr {
                let _ = stderr.take(ANSWER_MAX).read_to_end(&mut err).await;
            }
        };
        tokio::join!(read_out, read_err);
        let status = child.wait().await.map_err(|error| fault(error.kind().to_string()))?;
        Ok((status, out, err))
    };
    let (status, out, err) = tokio::time::timeout(limit, run)
        .await
        .map_err(|_| fault(format!("no answer within {} s", limit.as_secs())))??;
    if !status.success() {
        // The protocol has no code for "none": the words are the code, on stdout.
        let said = String::from_utf8_lossy(&out);
        if said.contains("credentials not found") || said.contains("no credentials server URL") {
            return Ok(None);
        }
        let said = String::from_utf8_lossy(&err);
        let said: String = said.trim().chars().take(QUOTE_MAX).collect();
        return Err(fault(format!("{status}, stderr: {said:?}")));
    }
    let answer: Answer = serde_json::from_slice(&out)
        .map_err(|_| fault("its answer is not the expected JSON".into()))?;
    Ok(match (answer.username.as_str(), answer.secret.as_str()) {
        ("", _) | (_, "") => None,
        ("<token>", _) => Some(Credential::Identity(Secret::new(answer.secret))),
        _ => {
            Some(Credential::Basic { user: answer.username, password: Secret::new(answer.secret) })
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use fs_err::os::unix::fs::OpenOptionsExt;
    use std::io::Write;

    fn program(dir: &std::path::Path, script: &str) -> String {
        let path = dir.join("docker-credential-test");
        let mut file = fs_err::OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o700)
            .open(&path)
            .unwrap();
        file.write_all(format!("#!/bin/sh\n{script}\n").as_bytes()).unwrap();
        path.display().to_string()
    }

    async fn ask(script: &str, limit: Duration) -> Result<Option<Credential>, Fault> {
        let dir = tempfile::tempdir().unwrap();
        let program = program(dir.path(), script);
        // Another test's fork may hold the file open for writing for a moment (ETXTBSY).
        for _ in 0..50 {
            match run(&program, "registry-a.com", limit).await {
                Err(Fault::Helper { detail, .. }) if detail.contains("busy") => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                other => return other,
            }
        }
        panic!("the script stays busy");
    }

    #[tokio::test]
    async fn answers_of_real_programs_are_understood() {
        let script = r#"[ "$1" = get ] && [ "$(cat)" = registry-a.com ] &&
            echo '{"ServerURL":"registry-a.com","Username":"foo","Secret":"bar"}'"#;
        let basic = ask(script, HELPER_TIME).await.unwrap().unwrap();
        assert!(matches!(basic, Credential::Basic { user, password }
            if user == "foo" && password.reveal() == "bar"));
        let script = r#"echo '{"Username":"<token>","Secret":"fizzbuzz"}'"#;
        let token = ask(script, HELPER_TIME).await.unwrap().unwrap();
        assert!(matches!(token, Credential::Identity(token) if token.reveal() == "fizzbuzz"));
        assert_eq!(ask("echo '{}'", HELPER_TIME).await.unwrap(), None);
        let none = "echo credentials not found in native keychain; exit 1";
        assert_eq!(ask(none, HELPER_TIME).await.unwrap(), None);
    }

    #[tokio::test]
    async fn failures_tell_stderr_and_never_stdout() {
        let script = "echo s3cret; echo the vault is locked >&2; exit 3";
        let text = ask(script, HELPER_TIME).await.unwrap_err().to_string();
        assert!(text.contains("the vault is locked") && !text.contains("s3cret"), "{text}");
        let text = ask("echo s3cret", HELPER_TIME).await.unwrap_err().to_string();
        assert!(!text.contains("s3cret"), "{text}");
        let text = ask("exec sleep 60", Duration::from_millis(50)).await.unwrap_err().to_string();
        assert!(text.contains("no answer"), "{text}");
    }
}
