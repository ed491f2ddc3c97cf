//! The access log: one line of JSON for each request.
//!
//! In: the account of a request that is through. Out: a line. What must hold: no secret in it, so neither header
//! fields but the user agent nor the values of a query; what a client chooses is bounded.

use std::io;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::account::Account;
use super::limits::{LOG_AGENT, LOG_PATH};
use super::log_file::Form;

/// The line of a request.
pub(super) fn line(account: &Account) -> String {
    let mut line = Map::new();
    line.insert("time".into(), json!(format!("{:.3}", account.time)));
    line.insert("remote".into(), json!(account.remote.ip().to_string()));
    line.insert("user".into(), json!(account.user.as_deref()));
    line.insert("method".into(), json!(account.method.as_str()));
    line.insert("path".into(), json!(clip(account.uri.path(), LOG_PATH)));
    line.insert("status".into(), json!(account.status.map(|status| status.as_u16())));
    line.insert("bytesIn".into(), json!(account.received()));
    line.insert("bytesOut".into(), json!(account.sent));
    let milliseconds = account.elapsed().as_micros() / 100;
    // One digit after the point, which JSON has no integers for.
    #[expect(clippy::cast_precision_loss, reason = "exact below 2^53 tenths, 28,000 years")]
    line.insert("ms".into(), json!(milliseconds as f64 / 10.0));
    let agent = account.agent.as_ref().map(|agent| String::from_utf8_lossy(agent.as_bytes()));
    line.insert("agent".into(), json!(agent.map(|agent| clip(&agent, LOG_AGENT))));
    // Said only when it is so.
    if account.cut || account.status.is_none() {
        line.insert("cut".into(), json!(true));
    }
    Value::Object(line).to_string()
}

fn clip(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

/// Lines as they are.
pub(super) struct Plain;

impl Form for Plain {
    fn opened(&mut self, _: &Path) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn add(&mut self, line: &str, to: &mut Vec<u8>) {
        to.extend_from_slice(line.as_bytes());
        to.push(b'\n');
    }

    fn dropped(&self, lines: u64) -> String {
        json!({ "time": super::logs::now(), "dropped": lines }).to_string()
    }

    fn settle(&mut self, _: bool) {}
}
