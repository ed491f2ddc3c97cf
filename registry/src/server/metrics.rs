//! Counters, as Prometheus reads them.
//!
//! In: the account of each request, and what happens besides. Out: text in the exposition format 0.0.4. What
//! must hold: a request costs a handful of atomic additions and no allocation; label values are fixed words,
//! never what a client sent.

use std::fmt::{Display, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::Method;

use super::App;
use super::account::Account;
use super::route::Kind;

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "other"];
const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "cut"];

/// Upper ends of the buckets of durations. A manifest takes below a millisecond, a large layer minutes.
const BUCKETS: [(&str, Duration); 9] = [
    ("0.001", Duration::from_millis(1)),
    ("0.005", Duration::from_millis(5)),
    ("0.025", Duration::from_millis(25)),
    ("0.1", Duration::from_millis(100)),
    ("0.5", Duration::from_millis(500)),
    ("2.5", Duration::from_millis(2500)),
    ("10", Duration::from_secs(10)),
    ("60", Duration::from_secs(60)),
    ("300", Duration::from_secs(300)),
];

/// The requests of one kind.
#[derive(Default)]
struct Requests {
    count: [[AtomicU64; CLASSES.len()]; METHODS.len()],
    /// The last one has what is above all.
    buckets: [AtomicU64; BUCKETS.len() + 1],
    microseconds: AtomicU64,
}

/// What is counted since the start.
#[derive(Default)]
pub(super) struct Metrics {
    requests: [Requests; Kind::ALL.len()],
    received: AtomicU64,
    sent: AtomicU64,
    connections: AtomicU64,
    accepted: AtomicU64,
}

/// A connection that is open, until it is dropped.
pub(super) struct Open(Arc<App>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.metrics.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    /// Counts a connection.
    pub(super) fn connection(&self, app: &Arc<App>) -> Open {
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.accepted.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(app))
    }

    /// Counts a request.
    pub(super) fn request(&self, account: &Account) {
        let add = |counter: &AtomicU64, n: u64| {
            counter.fetch_add(n, Ordering::Relaxed);
        };
        let kind = &self.requests[account.kind as usize];
        let class = match account.status.map(|status| status.as_u16() / 100) {
            Some(class @ 1..=5) => usize::from(class) - 1,
            _ => CLASSES.len() - 1,
        };
        add(&kind.count[method(&account.method)][class], 1);
        let took = account.elapsed();
        let bucket = BUCKETS.iter().position(|(_, end)| took <= *end).unwrap_or(BUCKETS.len());
        add(&kind.buckets[bucket], 1);
        add(&kind.microseconds, u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        add(&self.received, account.received());
        add(&self.sent, account.sent);
    }

    /// The text of the counters.
    pub(super) fn write(&self, to: &mut Text) {
        to.about(
            "requests_total",
            "counter",
            "Requests answered, by kind, method and class of status.",
        );
        for (kind, requests) in Kind::ALL.iter().zip(&self.requests) {
            for (method, classes) in METHODS.iter().zip(&requests.count) {
                for (class, count) in CLASSES.iter().zip(classes) {
                    let count = count.load(Ordering::Relaxed);
                    if count > 0 {
                        let labels = [("kind", kind.name()), ("method", *method), ("code", *class)];
                        to.line("requests_total", &labels, count);
                    }
                }
            }
        }
        let name = "request_duration_seconds";
        to.about(name, "histogram", "From the head of a request to the last byte of its answer.");
        for (kind, requests) in Kind::ALL.iter().zip(&self.requests) {
            self.durations(to, kind.name(), requests);
        }
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        to.counter("received_bytes_total", "Bytes of request bodies.", load(&self.received));
        to.counter("sent_bytes_total", "Bytes of answer bodies.", load(&self.sent));
        to.gauge("connections", "Connections that are open.", load(&self.connections));
        to.counter("connections_total", "Connections accepted.", load(&self.accepted));
    }

    fn durations(&self, to: &mut Text, kind: &'static str, requests: &Requests) {
        let mut count = 0;
        let ends = BUCKETS.iter().map(|(end, _)| *end).chain(["+Inf"]);
        let buckets: Vec<_> = ends
            .zip(&requests.buckets)
            .map(|(end, bucket)| {
                count += bucket.load(Ordering::Relaxed);
                (end, count)
            })
            .collect();
        if count == 0 {
            return;
        }
        for (end, count) in buckets {
            let labels = [("kind", kind), ("le", end)];
            to.line("request_duration_seconds_bucket", &labels, count);
        }
        let microseconds = requests.microseconds.load(Ordering::Relaxed);
        let seconds = format!("{}.{:06}", microseconds / 1_000_000, microseconds % 1_000_000);
        to.line("request_duration_seconds_sum", &[("kind", kind)], seconds);
        to.line("request_duration_seconds_count", &[("kind", kind)], count);
    }
}

fn method(method: &Method) -> usize {
    METHODS.iter().position(|name| *name == method.as_str()).unwrap_or(METHODS.len() - 1)
}

/// The text that grows. Every name gets the prefix `bundle_registry_`.
#[derive(Default)]
pub(super) struct Text(String);

impl Text {
    /// Says what the lines that follow are.
    pub(super) fn about(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a text does not fail.
        let _ = writeln!(self.0, "# HELP bundle_registry_{name} {help}");
        let _ = writeln!(self.0, "# TYPE bundle_registry_{name} {kind}");
    }

    /// A line. The labels are fixed words of ours, or escaped here.
    pub(super) fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let _ = write!(self.0, "bundle_registry_{name}");
        for (number, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let open = if number == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{open}{label}=\"{text}\"");
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{close} {value}");
    }

    /// A counter without labels.
    pub(super) fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.about(name, "counter", help);
        self.line(name, &[], value);
    }

    /// A gauge without labels.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.about(name, "gauge", help);
        self.line(name, &[], value);
    }

    /// The whole text.
    pub(super) fn finish(self) -> String {
        self.0
    }
}
