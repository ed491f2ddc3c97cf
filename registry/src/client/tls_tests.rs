//! Tests with real TLS: authorities, client certificates, and token servers of other domains.

use std::io::{Read, Write};
use std::net::TcpListener;

use format_spec::Digest;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::pull_tests::{all, content, repo};
use super::testing::{Reply, Scripted, options};
use super::*;

/// An authority, and what it signs.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    fn sign(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }
}

/// A server on 127.0.0.1 that answers every request alike and tells each one's head.
fn serve(
    authority: &Authority,
    name: &str,
    clients: Option<&Authority>,
    answer: impl Into<String>,
) -> (u16, std::sync::mpsc::Receiver<String>) {
    serve_with(authority.sign(name), clients, answer)
}

/// The same with this certificate.
fn serve_with(
    certificate: (rcgen::Certificate, KeyPair),
    clients: Option<&Authority>,
    answer: impl Into<String>,
) -> (u16, std::sync::mpsc::Receiver<String>) {
    let answer = answer.into();
    serve_by(certificate, clients, move |channel, _| channel.write_all(answer.as_bytes()))
}

type Channel = rustls::StreamOwned<rustls::ServerConnection, std::net::TcpStream>;

/// The same, answering as `answer` does with a head; its error ends the connection.
fn serve_by(
    (certificate, key): (rcgen::Certificate, KeyPair),
    clients: Option<&Authority>,
    answer: impl Fn(&mut Channel, &str) -> std::io::Result<()> + Send + Sync + 'static,
) -> (u16, std::sync::mpsc::Receiver<String>) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let builder = rustls::ServerConfig::builder();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let mut roots = rustls::RootCertStore::empty();
            use rustls::pki_types::pem::PemObject;
            let der = rustls::pki_types::CertificateDer::from_pem_slice(clients.pem.as_bytes());
            roots.add(der.unwrap()).unwrap();
            let verifier = rustls::server::WebPkiClientVerifier::builder(Arc::new(roots));
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let config = Arc::new(builder.with_single_cert(vec![certificate.der().clone()], key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, told) = std::sync::mpsc::channel();
    let answer = Arc::new(answer);
    // The thread ends with the process; it holds nothing but its port.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(stream), config, tell) = (stream, Arc::clone(&config), tell.clone()) else {
                return;
            };
            let answer = Arc::clone(&answer);
            std::thread::spawn(move || {
                let Ok(connection) = rustls::ServerConnection::new(config) else { return };
                let mut tls = rustls::StreamOwned::new(connection, stream);
                let mut head = Vec::new();
                let mut byte = [0; 1];
                while let Ok(1) = tls.read(&mut byte) {
                    head.push(byte[0]);
                    if head.ends_with(b"\r\n\r\n") {
                        let text = String::from_utf8_lossy(&head).into_owned();
                        head.clear();
                        let _ = tell.send(text.clone());
                        if answer(&mut tls, &text).is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    (port, told)
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

fn host(name: &str, port: u16) -> RegistryHost {
    format!("{name}:{port}").parse().unwrap()
}

#[tokio::test]
async fn authorities_decide_whom_we_talk_to() {
    let (ours, other) = (Authority::new(), Authority::new());
    let (port, _told) = serve(&ours, "localhost", None, OK);
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(&path, text).unwrap();
        path
    };
    let registry = host("localhost", port);
    let ping = |options: ClientOptions, host: RegistryHost| async move {
        Client::new(options).unwrap().ping(&host).await
    };
    // Unknown authority: refused, with the option that helps, and no plain HTTP behind its back.
    let error = ping(options(dir.path()), registry.clone()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
    assert!(error.to_string().contains("unknown authority"), "{error}");
    assert!(error.hint().unwrap().contains("--ca-file"));
    // `--ca-file`.
    let mut with_ca = options(dir.path());
    with_ca.ca_files = vec![file("ca.pem", &ours.pem)];
    ping(with_ca.clone(), registry.clone()).await.unwrap();
    // The right authority and the wrong name.
    let error = ping(with_ca, host("127.0.0.1", port)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
    // The wrong authority.
    let mut wrong = options(dir.path());
    wrong.ca_files = vec![file("other.pem", &other.pem)];
    assert_eq!(ping(wrong, registry.clone()).await.unwrap_err().kind(), ErrorKind::Tls);
    // Turned off for this host, and only for it.
    let mut insecure = options(dir.path());
    insecure.insecure_tls = vec![registry.clone()];
    ping(insecure.clone(), registry.clone()).await.unwrap();
    let error = ping(insecure.clone(), host("127.0.0.1", port)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
    // Without a port: for all ports of the host. With another port: not for this one.
    insecure.insecure_tls = vec!["localhost".parse().unwrap()];
    ping(insecure.clone(), registry.clone()).await.unwrap();
    insecure.insecure_tls = vec![host("localhost", port ^ 1)];
    let error = ping(insecure, registry.clone()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
    // certs.d, by host and port.
    file(&format!("certs.d/localhost:{port}/ca.crt"), &ours.pem);
    ping(options(dir.path()), registry).await.unwrap();
}

/// What `openssl req -x509` makes: an authority that is its own host.
fn self_signed() -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    (params.self_signed(&key).unwrap(), key)
}

#[tokio::test]
async fn a_certificate_that_signs_itself_is_taken_where_it_is_named() {
    let (certificate, key) = self_signed();
    let pem = certificate.pem();
    let (port, _told) = serve_with((certificate, key), None, OK);
    let dir = tempfile::tempdir().unwrap();
    let ping = |named: Option<&str>, host: RegistryHost| {
        let mut options = options(dir.path());
        if let Some(pem) = named {
            let path = dir.path().join("ca.pem");
            fs_err::write(&path, pem).unwrap();
            options.ca_files = vec![path];
        }
        async move { Client::new(options).unwrap().ping(&host).await }
    };
    ping(Some(&pem), host("localhost", port)).await.unwrap();
    // Nobody named it; another one of the same name was named; it is not this host's.
    let error = ping(None, host("localhost", port)).await.unwrap_err();
    assert!(error.to_string().contains("signed by itself"), "{error}");
    assert!(error.hint().unwrap().contains("--ca-file"), "{error}");
    let other = self_signed().0.pem();
    let error = ping(Some(&other), host("localhost", port)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
    let error = ping(Some(&pem), host("127.0.0.1", port)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
}

#[tokio::test]
async fn blobs_come_straight_over_tls_too() {
    let (ours, clients) = (Authority::new(), Authority::new());
    let (port, told) = serve(&ours, "localhost", Some(&clients), OK);
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join(format!("certs.d/localhost:{port}"));
    fs_err::create_dir_all(&place).unwrap();
    let (certificate, key) = clients.sign("us");
    fs_err::write(place.join("ca.crt"), &ours.pem).unwrap();
    fs_err::write(place.join("client.cert"), certificate.pem()).unwrap();
    fs_err::write(place.join("client.key"), key.serialize_pem()).unwrap();
    let (host, repository) = (host("localhost", port), "team/app".parse().unwrap());
    let get = |options: ClientOptions| async {
        let client = Client::new(options)?;
        client.get_blob_bytes(&host, &repository, &Digest::of(b"{}"), 2, 2).await
    };
    assert_eq!(get(options(dir.path())).await.unwrap(), "{}");
    let heads: Vec<String> = told.try_iter().collect();
    let head =
        heads.iter().find(|head| head.starts_with("GET /v2/team/app/blobs/sha256:")).unwrap();
    assert!(head.contains(&format!("\r\nhost: localhost:{port}\r\nuser-agent: ")), "{head}");
    // The same refusals as for every other request.
    let mut nobody = options(dir.path());
    nobody.certs_d = Vec::new();
    nobody.insecure_tls = vec![host.clone()];
    assert_eq!(get(nobody.clone()).await.unwrap_err().kind(), ErrorKind::Tls);
    nobody.insecure_tls = Vec::new();
    assert_eq!(get(nobody).await.unwrap_err().kind(), ErrorKind::Tls);
}

/// The handshake was good: what comes later and is no record is a fault of the way.
#[tokio::test]
async fn a_record_that_cannot_be_read_in_mid_body_costs_no_download() {
    let authority = Authority::new();
    let body = content(100_000);
    let served = body.clone();
    let (port, told) = serve_by(authority.sign("localhost"), None, move |channel, head| {
        if !head.contains("/blobs/") {
            return channel.write_all(OK.as_bytes());
        }
        let size = served.len();
        let range = head.split_once("range: bytes=").and_then(|(_, range)| range.split_once('-'));
        let Some((from, _)) = range else {
            write!(channel, "HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n")?;
            channel.write_all(&served[..60_000])?;
            // Application data of 32 bytes that nobody encrypted.
            channel.sock.write_all(&[&[23, 3, 3, 0, 32][..], &[0; 32]].concat())?;
            return Err(std::io::ErrorKind::Other.into());
        };
        let (last, from): (_, usize) = (size - 1, from.parse().unwrap());
        write!(channel, "HTTP/1.1 206 X\r\ncontent-range: bytes {from}-{last}/{size}\r\n")?;
        write!(channel, "content-length: {}\r\n\r\n", size - from)?;
        channel.write_all(&served[from..])
    });
    let dir = tempfile::tempdir().unwrap();
    fs_err::write(dir.path().join("ca.pem"), &authority.pem).unwrap();
    let mut options = options(dir.path());
    options.ca_files = vec![dir.path().join("ca.pem")];
    let client = Client::new(options).unwrap();
    let (registry, digest) = (host("localhost", port), Digest::of(&body));
    let stream = client.get_blob(&registry, &repo(), &digest, 100_000, 0).await.unwrap();
    assert_eq!(all(stream).await.unwrap(), body);
    assert_eq!(client.counters().totals().retries, 1);
    let heads: Vec<String> = told.try_iter().filter(|head| head.contains("/blobs/")).collect();
    assert_eq!(heads.len(), 2, "{heads:?}");
    assert!(!heads[1].contains("range: bytes=0-"), "it begins again: {}", heads[1]);
}

/// Two registries lead to one store, whose authority only the directory of the first one has.
#[tokio::test]
async fn what_certs_d_has_for_one_registry_opens_no_way_for_another() {
    let (ours, other) = (Authority::new(), Authority::new());
    let (store, _told) = serve(&ours, "localhost", None, OK);
    let leading = |authority: &Authority| {
        let to = format!("https://localhost:{store}/x");
        let answer = format!("HTTP/1.1 307 X\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n");
        serve(authority, "localhost", None, answer).0
    };
    let (first, second) = (leading(&ours), leading(&other));
    let dir = tempfile::tempdir().unwrap();
    for (port, authority) in [(first, &ours), (second, &other)] {
        let place = dir.path().join(format!("certs.d/localhost:{port}"));
        fs_err::create_dir_all(&place).unwrap();
        fs_err::write(place.join("ca.crt"), &authority.pem).unwrap();
    }
    let client = Client::new(options(dir.path())).unwrap();
    let digest = Digest::of(b"{}");
    for round in 0..2 {
        let pulled = client.get_blob_bytes(&host("localhost", first), &repo(), &digest, 2, 2).await;
        assert_eq!(pulled.unwrap(), "{}", "{round}");
        let refused =
            client.get_blob_bytes(&host("localhost", second), &repo(), &digest, 2, 2).await;
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Tls, "{round}: {error}");
    }
}

#[tokio::test]
async fn client_certificates_come_from_certs_d() {
    let authority = Authority::new();
    let (port, _told) = serve(&authority, "localhost", Some(&authority), OK);
    let dir = tempfile::tempdir().unwrap();
    let certs = dir.path().join(format!("certs.d/localhost:{port}"));
    fs_err::create_dir_all(&certs).unwrap();
    fs_err::write(certs.join("ca.crt"), &authority.pem).unwrap();
    let registry = host("localhost", port);
    let mut quick = options(dir.path());
    quick.retry.times = 0;
    let error = Client::new(quick.clone()).unwrap().ping(&registry).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Tls | ErrorKind::Unavailable), "{error}");
    let (certificate, key) = authority.sign("me");
    fs_err::write(certs.join("me.cert"), certificate.pem()).unwrap();
    let error = Client::new(quick.clone()).unwrap().ping(&registry).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "the key is missing: {error}");
    fs_err::write(certs.join("me.key"), key.serialize_pem()).unwrap();
    Client::new(quick).unwrap().ping(&registry).await.unwrap();
}

/// CVE-2020-15157: the token server of another domain is asked, but not told who we are.
#[tokio::test]
async fn a_foreign_realm_gets_no_credentials_unless_trusted() {
    let authority = Authority::new();
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n{\"token\":\"t\"}";
    let (port, told) = serve(&authority, "localhost", None, answer);
    // To the registry at 127.0.0.1, the host `localhost` is another.
    let server = Scripted::start_with(true, move |seen| {
        if seen.header("authorization") == "Bearer t" {
            return Reply::new(404);
        }
        let realm = format!("Bearer realm=\"https://localhost:{port}/token\"");
        Reply::new(401).with("WWW-Authenticate", realm)
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    fs_err::write(dir.path().join("ca.pem"), &authority.pem).unwrap();
    let auth = serde_json::json!({"auths": {server.host.as_str(): {"auth": "dXNlcjpwdw=="}}});
    fs_err::write(dir.path().join("auth.json"), auth.to_string()).unwrap();
    let mut options = options(dir.path());
    options.plain_http = vec![server.host.clone()];
    options.ca_files = vec![dir.path().join("ca.pem")];
    let repo = "a/b".parse().unwrap();
    let digest = Digest::of(b"");
    let client = Client::new(options.clone()).unwrap();
    assert_eq!(client.head_blob(&server.host, &repo, &digest).await.unwrap(), None);
    let head = told.recv().unwrap().to_ascii_lowercase();
    assert!(head.starts_with("get /token?") && !head.contains("authorization"), "{head}");
    assert!(!head.contains("account="), "{head}");
    options.trusted_realms = vec!["localhost".into()];
    let client = Client::new(options).unwrap();
    client.head_blob(&server.host, &repo, &digest).await.unwrap();
    let head = told.recv().unwrap();
    assert!(head.contains("Basic dXNlcjpwdw=="), "{head}");
}

#[tokio::test]
async fn a_redirect_from_tls_to_plain_http_is_refused() {
    let authority = Authority::new();
    let answer = "HTTP/1.1 302 X\r\nlocation: http://127.0.0.1:1/x\r\ncontent-length: 0\r\n\r\n";
    let (port, _told) = serve(&authority, "localhost", None, answer);
    let dir = tempfile::tempdir().unwrap();
    fs_err::write(dir.path().join("ca.pem"), &authority.pem).unwrap();
    let mut options = options(dir.path());
    options.ca_files = vec![dir.path().join("ca.pem")];
    // Not even where the person named the target.
    options.plain_http = vec![host("127.0.0.1", 1)];
    let client = Client::new(options).unwrap();
    let registry = host("localhost", port);
    let error = client
        .get_blob(&registry, &"a/b".parse().unwrap(), &Digest::of(b""), 5, 0)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    assert!(error.to_string().contains("to `http://127.0.0.1:1` is not followed"), "{error}");
    assert!(!error.hint().unwrap().contains("--plain-http"), "a flag that does not help");
}

#[tokio::test]
async fn a_host_without_tls_is_told_apart() {
    // A server that answers anything with text, as many do to a TLS hello.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut waste = [0; 512];
            let _ = stream.read(&mut waste);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let client = Client::new(options(dir.path())).unwrap();
    let error = client.ping(&host("127.0.0.1", port)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
    assert!(error.hint().unwrap().contains("--plain-http"), "{error}");
}

#[tokio::test]
async fn a_document_over_tls_comes_from_a_known_host_and_from_no_plain_one() {
    let ours = Authority::new();
    let dir = tempfile::tempdir().unwrap();
    fs_err::write(dir.path().join("ca.pem"), &ours.pem).unwrap();
    let plain = Scripted::start(|_| Reply::new(200).body("changed on the way")).await;
    let away = format!(
        "HTTP/1.1 302 Found\r\nlocation: http://{}/x\r\ncontent-length: 0\r\n\r\n",
        plain.host
    );
    let (good, heads) = serve(&ours, "localhost", None, OK);
    let (leading, _) = serve(&ours, "localhost", None, away);
    let url = |port: u16| format!("https://localhost:{port}/x").parse::<Url>().unwrap();
    let unknown = Client::new(options(dir.path())).unwrap();
    let error = unknown.document(&url(good), "*/*", 10).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
    let mut trusting = options(dir.path());
    trusting.ca_files = vec![dir.path().join("ca.pem")];
    // Not even a host that is named: nothing leads from TLS to plain HTTP.
    trusting.plain_http = vec![plain.host.clone()];
    let client = Client::new(trusting).unwrap();
    assert_eq!(&client.document(&url(good), "*/*", 10).await.unwrap().bytes[..], b"{}");
    assert!(!heads.recv().unwrap().to_lowercase().contains("authorization"));
    let error = client.document(&url(leading), "*/*", 10).await.unwrap_err();
    assert!(error.to_string().contains("is not followed"), "{error}");
    assert_eq!(plain.lines().len(), 0);
}
