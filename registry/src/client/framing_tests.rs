//! Tests of where answers end.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// The body that `wire` says, written in pieces of `step` bytes and read in pieces of `most`.
async fn read_all(wire: &[u8], step: usize, most: usize) -> Result<(u16, Vec<u8>), HeadError> {
    let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
    let wire = wire.to_vec();
    let writing = tokio::spawn(async move {
        // The request comes first; what a test sends after that may meet a closed end.
        let mut request = [0; 4];
        theirs.read_exact(&mut request).await.unwrap();
        for piece in wire.chunks(step) {
            if theirs.write_all(piece).await.is_err() {
                return;
            }
        }
    });
    let mut stream: Box<dyn Stream> = Box::new(ours);
    let mut ahead = Ahead::default();
    let head = ask(&mut stream, b"GET ", &mut ahead).await?;
    let (length, _) = head.framing()?;
    let mut reader = Reader::new(stream, ahead, length, None);
    let (mut body, mut buffer) = (Vec::new(), vec![0; most]);
    loop {
        match reader.read(&mut buffer).await? {
            0 => break,
            read => body.extend_from_slice(&buffer[..read]),
        }
    }
    assert_eq!(reader.read(&mut buffer).await.unwrap(), 0, "an end stays one");
    drop(reader);
    writing.await.unwrap();
    Ok((head.status, body))
}

#[tokio::test]
async fn bodies_end_where_their_framing_says() {
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n", "y".repeat(8000));
    for (head, rest, expected) in [
        ("HTTP/1.1 200 OK\r\n", "Content-Length: 5\r\n\r\nhello", (200, "hello")),
        ("HTTP/1.1 200 OK\r\n", "content-length: 5\r\n\r\nhelloHTTP/1.1 500", (200, "hello")),
        (
            "HTTP/1.1 200\r\n",
            "content-length: 5, 5\r\nContent-Length: 5\r\n\r\nhello",
            (200, "hello"),
        ),
        ("HTTP/1.1 404 No\r\n", "content-length: 0\r\n\r\n", (404, "")),
        ("HTTP/1.1 204 No\r\n", "\r\n", (204, "")),
        ("HTTP/1.1 200 OK\r\n", "\r\nto the end", (200, "to the end")),
        ("HTTP/1.0 200 OK\r\n", "content-length: 3\r\n\r\nold", (200, "old")),
        (
            "HTTP/1.1 103 Early\r\nlink: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx",
            (200, "x"),
        ),
        (&long, "content-length: 1\r\n\r\nx", (200, "x")),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "0\r\n\r\n", (200, "")),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n",
            "5;a=b\r\nhello\r\n00c \r\n over chunks\r\n0\r\nx: y\r\n\r\n",
            (200, "hello over chunks"),
        ),
        // A length beside it does not count (RFC 9112, section 6.3).
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n",
            "5\nhello\n0\n\n",
            (200, "hello"),
        ),
    ] {
        let wire = format!("{head}{rest}");
        for (step, most) in [(usize::MAX, 4096), (1, 4096), (usize::MAX, 1), (7, 3)] {
            let (status, body) = read_all(wire.as_bytes(), step, most)
                .await
                .unwrap_or_else(|error| panic!("{wire:?} in steps of {step}, {most}: {error:?}"));
            assert_eq!(
                (status, String::from_utf8(body).unwrap()),
                (expected.0, expected.1.into()),
                "{wire:?}"
            );
        }
    }
}

#[tokio::test]
async fn what_does_not_end_well_is_an_error() {
    let endless = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(HEAD_MAX + LOOK));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(HEADERS_MAX + 1));
    let line = format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5;{}",
        "x".repeat(LINE_MAX + LOOK)
    );
    let trailer = format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n{}\r\n",
        "x: y\r\n".repeat(HEADERS_MAX + 1)
    );
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let faulty = [
        "HTTP/1.1 200 OK\r\ncontent-length: 5, 6\r\n\r\nhello!",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
        "HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-length: \r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\n\r\nhello",
        "HTTP/1.1 101 Switching\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "<html>",
        &endless,
        &many,
    ];
    let broken = [
        "",
        "HTTP/1.1 200",
        "HTTP/1.1 200 OK\r\ncontent-le",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell",
        &format!("{chunked}5\r\nhell"),
        &format!("{chunked}5\r\nhello"),
        &format!("{chunked}5\r\nhello\r\n"),
        &format!("{chunked}5\r\nhello\r\n0\r\n"),
        &format!("{chunked}5\r\nhello!\r\n0\r\n\r\n"),
        &format!("{chunked}+5\r\nhello\r\n0\r\n\r\n"),
        &format!("{chunked}-1\r\nhello\r\n0\r\n\r\n"),
        &format!("{chunked}\r\nhello\r\n0\r\n\r\n"),
        &format!("{chunked}fffffffffffffffff\r\nhello"),
        &line,
        &trailer,
    ];
    let faulty = faulty.map(|wire| (wire, true));
    for (wire, head) in faulty.into_iter().chain(broken.map(|wire| (wire, false))) {
        for step in [usize::MAX, 5] {
            let read =
                tokio::time::timeout(Duration::from_secs(20), read_all(wire.as_bytes(), step, 64));
            let shown: String = wire.chars().take(100).collect();
            let error = read.await.expect("it ends").expect_err(&shown);
            assert_eq!(matches!(error, HeadError::Faulty(_)), head, "{shown:?}: {error:?}");
        }
    }
}

proptest! {
    #[test]
    fn any_answer_ends(
        head in proptest::sample::select(vec![
            "", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: ",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        ]),
        rest in proptest::collection::vec(any::<u8>(), 0..600),
        step in 1_usize..64,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let wire = [head.as_bytes(), &rest].concat();
        // An error or a body, never more of it than came.
        if let Ok((_, body)) = runtime.block_on(read_all(&wire, step, 50)) {
            prop_assert!(body.len() <= rest.len());
        }
    }
}
