//! What is logged, and what must not be.

use format_spec::Digest;

use super::pull_tests::{guarded, manifest, repo, tag};
use super::retry::Tries;
use super::testing::{Reply, Scripted, client};
use super::*;

/// Everything that is logged, as text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl tracing::field::Visit for Log {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        *self.0.lock().unwrap() += &format!("{field}={value:?} ");
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        span.record(&mut self.clone());
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, values: &tracing::span::Record<'_>) {
        values.record(&mut self.clone());
    }
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        *self.0.lock().unwrap() += &format!("{} ", event.metadata().level());
        event.record(&mut self.clone());
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

/// CVE-2025-48374, CVE-2024-36127: passwords, tokens and signed URLs in logs.
#[tokio::test]
async fn nothing_secret_is_logged() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let store = Scripted::start(|_| Reply::new(503)).await;
    let target = format!("http://{}/store?signature=s3cret", store.host);
    let server = Scripted::start_with(true, move |seen| {
        guarded(seen, "t0ken", |seen| {
            if seen.path.contains("/blobs/") {
                Reply::new(307).with("Location", &target)
            } else {
                manifest()
            }
        })
    })
    .await;
    let client = client(&[&server.host, &store.host]);
    client.get_manifest(&server.host, &repo(), &tag("1")).await.unwrap();
    let digest = Digest::of(b"x");
    let error = client.get_blob(&server.host, &repo(), &digest, 1, 0).await.unwrap_err();
    let mut text = log.0.lock().unwrap().clone();
    assert!(text.contains("path=\"/v2/team/app/manifests/1\""), "the log is seen: {text}");
    assert!(text.contains("path=\"/store\""), "{text}");
    text += &format!("{error} {error:?} {:?}", client.core.options);
    for secret in ["s3cret", "t0ken", "password", "dXNlcjpwYXNzd29yZA"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
}

#[tokio::test]
async fn a_long_wait_that_a_registry_asks_for_is_told() {
    let counters = Counters::default();
    let policy = RetryPolicy { times: 1, delay: Some(Duration::ZERO) };
    for (seconds, told) in [(20, false), (21, true)] {
        let log = Log::default();
        let _guard = tracing::subscriber::set_default(log.clone());
        let retry_after = Some(Duration::from_secs(seconds));
        let fault = Fault::Busy { status: 429, detail: String::new(), retry_after };
        let mut tries = Tries::new(policy, &counters);
        // It is told before it begins.
        let waiting = tokio::time::timeout(Duration::from_millis(1), tries.again(fault));
        assert!(waiting.await.is_err(), "it waits");
        let text = log.0.lock().unwrap().clone();
        assert!(text.contains("trying again"), "the log is seen: {text}");
        assert_eq!(text.contains("WARN "), told, "{text}");
        assert_eq!(text.contains("(429): trying again in 21 s"), told, "{text}");
    }
}
