//! The certificate on the wire: exchanged while the registry runs, and never for a broken one.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use registry::server::settings::Tls;
use registry::server::{Server, ServerError};
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::*;

/// A registry without users, on this machine alone.
async fn open() -> Registry {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    let client = trusting(dir.path(), None);
    let config = config(dir.path());
    Registry::of(dir, config, client).await
}

/// The certificate that the registry shows to a new connection, and the protocol that was agreed on.
async fn shown(registry: &Registry) -> (String, Option<Vec<u8>>) {
    let ca = registry.dir.path().join("tls/ca.crt");
    let mut roots = RootCertStore::empty();
    roots.add(rustls::pki_types::CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let socket = TcpStream::connect(registry.host()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, socket).await.unwrap();
    let (_, session) = stream.get_ref();
    let leaf = format_spec::Digest::of(&session.peer_certificates().unwrap()[0]).hex();
    (leaf, session.alpn_protocol().map(<[u8]>::to_vec))
}

#[tokio::test]
async fn a_new_certificate_is_shown_and_a_broken_one_is_not() {
    let registry = open().await;
    let tls = registry.dir.path().join("tls");
    let leaf = tls.join("server.crt");
    let first = certificate::describe(&leaf).unwrap().fingerprint;
    assert_eq!(shown(&registry).await, (first.clone(), Some(b"http/1.1".to_vec())));
    // A connection of before goes on.
    assert_eq!(registry.send("GET", "/v2/").await.status(), 200);

    make(registry.dir.path());
    let second = certificate::describe(&leaf).unwrap().fingerprint;
    assert_ne!(first, second);
    for _ in 0..150 {
        if shown(&registry).await.0 == second {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(shown(&registry).await.0, second);
    assert_eq!(registry.send("GET", "/v2/").await.status(), 200);

    // The certificate of another key, and something else.
    let other = tempfile::tempdir().unwrap();
    make(other.path());
    for broken in [fs_err::read(other.path().join("tls/server.crt")).unwrap(), b"no".to_vec()] {
        fs_err::write(&leaf, broken).unwrap();
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!(shown(&registry).await.0, second);
    }
    // Mended.
    make(registry.dir.path());
    let third = certificate::describe(&leaf).unwrap().fingerprint;
    for _ in 0..150 {
        if shown(&registry).await.0 == third {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the mended certificate is not shown");
}

#[tokio::test]
async fn plain_http_is_told_to_speak_https_and_silence_is_no_harm() {
    let registry = open().await;
    // Ten peers that say nothing hold nobody up.
    let mut silent = Vec::new();
    for _ in 0..10 {
        silent.push(TcpStream::connect(registry.host()).await.unwrap());
    }
    let mut socket = TcpStream::connect(registry.host()).await.unwrap();
    socket.write_all(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("https"), "{answer}");
    let mut socket = TcpStream::connect(registry.host()).await.unwrap();
    socket.write_all(&[0x16, 3, 1, 0, 200, 1, 2, 3]).await.unwrap();
    socket.shutdown().await.unwrap();
    assert_eq!(registry.send("GET", "/v2/").await.status(), 200);
}

#[tokio::test]
async fn old_protocols_are_refused() {
    if Command::new("openssl").arg("version").output().is_err() {
        println!("skipped: openssl is not installed");
        return;
    }
    let registry = open().await;
    for (version, good) in [("-tls1_1", false), ("-tls1_2", true), ("-tls1_3", true)] {
        let mut command = Command::new("openssl");
        command.args([
            "s_client",
            "-brief",
            "-cipher",
            "DEFAULT:@SECLEVEL=0",
            version,
            "-connect",
            registry.host(),
        ]);
        command.stdin(std::process::Stdio::null());
        let outcome = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        assert_eq!(outcome.status.success(), good, "{version}");
    }
}

#[tokio::test]
async fn a_brought_certificate_is_judged_before_it_is_shown() {
    let brought = tempfile::tempdir().unwrap();
    let names = ["mirror.example".to_owned(), "localhost".to_owned()];
    let made = certificate::make(brought.path(), &names).unwrap();
    let bind = |hostname: &str, key: &std::path::Path| {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        config.settings.hostname = Some(hostname.to_owned());
        config.settings.tls = Tls {
            certificate: Some(made.certificate.clone()),
            key: Some(key.to_owned()),
            any_name: false,
        };
        async move { Server::bind(config).await.map(|server| (server, dir)) }
    };
    let (server, dir) = bind("mirror.example", &made.key).await.unwrap();
    assert_eq!(server.ca(), None);
    assert!(!dir.path().join("tls").exists());
    drop(server);
    let refused = bind("other.example", &made.key).await.err().unwrap();
    assert!(matches!(refused, ServerError::Certificate(_)), "{refused}");
    assert!(refused.to_string().contains("other.example"), "{refused}");
    let other = brought.path().join("ca.key");
    let refused = bind("mirror.example", &other).await.err().unwrap().to_string();
    assert!(refused.contains("not the key"), "{refused}");
}

#[tokio::test]
async fn a_name_that_was_settled_later_gets_into_the_certificate() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    let ca = fs_err::read(dir.path().join("tls/ca.crt")).unwrap();
    let leaf = dir.path().join("tls/server.crt");
    let before = certificate::describe(&leaf).unwrap();
    let mut config = config(dir.path());
    drop(Server::bind(config.clone()).await.unwrap());
    assert_eq!(certificate::describe(&leaf).unwrap().fingerprint, before.fingerprint);
    config.settings.hostname = Some("mirror.example".to_owned());
    drop(Server::bind(config).await.unwrap());
    let after = certificate::describe(&leaf).unwrap();
    assert!(after.names.contains(&"mirror.example".to_owned()), "{:?}", after.names);
    assert!(before.names.iter().all(|name| after.names.contains(name)), "{:?}", after.names);
    assert_eq!(fs_err::read(dir.path().join("tls/ca.crt")).unwrap(), ca);
}
