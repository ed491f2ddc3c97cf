//! The client's parsers of foreign bytes, for the fuzz targets only.
#![allow(missing_docs, reason = "nobody else sees it")]

use std::path::Path;
use std::time::SystemTime;

use futures_util::FutureExt;
use url::Url;

use super::credentials::AuthFile;
use super::framing::{self, Ahead, Reader};
use super::mirrors::Mirrors;
use super::{challenge, headers};

/// What a registry says in headers.
pub fn header(text: &str) {
    let request: Url =
        "https://registry.example.com/v2/team/app/blobs/uploads/1".parse().expect("a URL");
    if let Some(challenge::Challenge::Bearer(bearer)) = challenge::choose([text].into_iter()) {
        let _ = bearer.realm.parse::<Url>();
    }
    if let Ok(url) = headers::upload_location(&request, text) {
        assert!(url.username().is_empty() && url.password().is_none());
    }
    if let Ok(Some(next)) = headers::next_page(&request, text) {
        assert!(headers::same_origin(&request, &next), "{next}");
    }
    let _ = headers::upload_offset(Some(text));
    let _ = headers::content_range(text);
    let _ = headers::retry_after(text, SystemTime::UNIX_EPOCH);
}

/// A whole answer on a connection: head and body, which must end with the bytes.
pub fn answer(bytes: &[u8]) {
    let run = async {
        let mut stream: Box<dyn framing::Stream> =
            Box::new(tokio::io::join(std::io::Cursor::new(bytes.to_vec()), tokio::io::sink()));
        let mut ahead = Ahead::default();
        let Ok(head) = framing::ask(&mut stream, b"", &mut ahead).await else { return };
        let Ok((length, _)) = head.framing() else { return };
        let mut reader = Reader::new(stream, ahead, length, None);
        let (mut buffer, mut got) = ([0; 97], 0);
        while let Ok(read) = reader.read(&mut buffer).await {
            if read == 0 {
                break;
            }
            got += read;
        }
        assert!(got <= bytes.len());
    };
    run.now_or_never().expect("nothing to wait for");
}

/// Files that say how registries are reached.
pub fn access(bytes: &[u8]) {
    for legacy in [false, true] {
        if let Ok(file) = AuthFile::parse("auth.json", bytes, legacy) {
            let host = "registry.example.com".parse().expect("a host");
            let repository = "team/app".parse().expect("a repository");
            let _ = file.lookup(&host, Some(&repository));
        }
    }
    let mut mirrors = Mirrors::default();
    if mirrors.add(Path::new("registries.conf"), bytes).is_ok() {
        let host = "registry.example.com".parse().expect("a host");
        let repository = "team/app".parse().expect("a repository");
        let _ = mirrors.places(&host, &repository, true);
        let _ = mirrors.places(&host, &repository, false);
    }
}
