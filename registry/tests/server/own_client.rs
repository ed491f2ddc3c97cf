//! The client of this crate against the server of this crate.

use std::sync::Arc;

use bytes::Bytes;
use format_spec::{Digest, Repository, Tag};
use registry::client::{Client, ClientOptions, Deleted, ErrorKind, Pushed};
use registry::media_type::{OCI_INDEX, OCI_MANIFEST};
use registry::reference::{ManifestRef, RegistryHost};

use crate::support::*;

fn repository(text: &str) -> Repository {
    text.parse().unwrap()
}

fn tag(text: &str) -> ManifestRef {
    ManifestRef::from(text.parse::<Tag>().unwrap())
}

#[tokio::test]
async fn everything_the_client_can_do() {
    let registry = Registry::start().await;
    let host: RegistryHost = registry.host().parse().unwrap();
    let client = Client::new(ClientOptions::default()).unwrap();
    client.ping(&host).await.unwrap();
    let (a, b) = (repository("a/deep/name"), repository("b"));

    // Blobs: sent, mounted, found, read whole and from the middle.
    let data = Bytes::from(noise(30, 3_000_000));
    let blob = known(&data);
    let size = data.len() as u64;
    let source: Arc<Bytes> = Arc::new(data.clone());
    assert_eq!(client.head_blob(&host, &a, &blob).await.unwrap(), None);
    let pushed = client.push_blob(&host, &a, &blob, size, source.clone(), None).await.unwrap();
    assert_eq!(pushed, Pushed::Uploaded);
    assert_eq!(client.head_blob(&host, &a, &blob).await.unwrap(), Some(Some(size)));
    let pushed = client.push_blob(&host, &b, &blob, size, source.clone(), Some(&a)).await.unwrap();
    assert_eq!(pushed, Pushed::Mounted);
    let none = repository("none");
    let other = repository("other");
    let pushed =
        client.push_blob(&host, &other, &blob, size, source.clone(), Some(&none)).await.unwrap();
    assert_eq!(pushed, Pushed::Uploaded);
    for from in [0, 1, 2_999_999] {
        let mut stream = client.get_blob(&host, &a, &blob, size, from).await.unwrap();
        let expected = &data[usize::try_from(from).unwrap()..];
        let mut received = vec![0; expected.len()];
        let mut at = 0;
        while at < received.len() {
            at += stream.read(&mut received[at..]).await.unwrap();
        }
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
        assert!(received == expected);
    }
    let wrong = Digest::of(b"wrong");
    let error = client.push_blob(&host, &a, &wrong, size, source, None).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Refused | ErrorKind::Damaged), "{error}");

    // Manifests, tags, referrers.
    let empty = Arc::new(Bytes::from_static(b"{}"));
    client.push_blob(&host, &a, &digest("{}"), 2, empty, None).await.unwrap();
    let text = image(&digest("{}"), &blob, "");
    let put = |reference: ManifestRef, kind: &'static str, text: String| {
        let (client, host, a) = (client.clone(), host.clone(), a.clone());
        async move { client.put_manifest(&host, &a, &reference, kind, Bytes::from(text)).await }
    };
    put(tag("v1"), OCI_MANIFEST, text.clone()).await.unwrap();
    let got = client.get_manifest(&host, &a, &tag("v1")).await.unwrap();
    assert_eq!((&got.bytes[..], got.media_type.as_str()), (text.as_bytes(), OCI_MANIFEST));
    let head = client.head_manifest(&host, &a, &digest(&text).into()).await.unwrap().unwrap();
    assert_eq!(head.digest, Some(digest(&text)));
    assert!(client.head_manifest(&host, &a, &tag("v2")).await.unwrap().is_none());
    let signature = image(
        &digest("{}"),
        &digest("{}"),
        &format!(r#","subject":{}"#, descriptor(OCI_MANIFEST, &text)),
    );
    put(digest(&signature).into(), OCI_MANIFEST, signature.clone()).await.unwrap();
    let found = client.referrers(&host, &a, &digest(&text)).await.unwrap().unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].digest, digest(&signature));
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{}]}}"#,
        descriptor(OCI_MANIFEST, &text)
    );
    put(tag("index"), OCI_INDEX, index).await.unwrap();
    let tags = client.list_tags(&host, &a).await.unwrap().unwrap();
    assert_eq!(tags.iter().map(Tag::as_str).collect::<Vec<_>>(), ["index", "v1"]);
    assert!(client.list_tags(&host, &none).await.unwrap().is_none());
    assert_eq!(client.delete_manifest(&host, &a, &tag("v1")).await.unwrap(), Deleted::Done);
    assert_eq!(client.delete_manifest(&host, &a, &tag("v1")).await.unwrap(), Deleted::NotFound);
}
