//! Tests of what becomes of connections.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// A server that gives each request the next of `answers`, and tells the connection that it came over.
async fn serve(
    answers: Vec<&'static str>,
) -> (Url, Direct, tokio::sync::mpsc::UnboundedReceiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/x", listener.local_addr().unwrap()).parse().unwrap();
    let (tell, told) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let answers = Arc::new(Mutex::new(answers.into_iter()));
        let mut number = 0;
        while let Ok((mut stream, _)) = listener.accept().await {
            let (answers, tell) = (Arc::clone(&answers), tell.clone());
            tokio::spawn(async move {
                while request(&mut stream).await {
                    let Some(answer) = hold(&answers).next() else { return };
                    tell.send(number).unwrap();
                    let (answer, close) = match answer.strip_suffix("<close>") {
                        Some(answer) => (answer, true),
                        None => (answer, false),
                    };
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    if close {
                        return;
                    }
                }
            });
            number += 1;
        }
    });
    let options = super::super::ClientOptions::default();
    let config = super::super::tls::config(&options, &[], super::super::tls::Tls::Never).unwrap();
    let agent = HeaderValue::from_static("test");
    let direct = Direct::new(config, agent, Duration::from_secs(5), 4, Duration::from_secs(30));
    (url, direct, told)
}

/// Reads one request. `false` when the other side has gone.
async fn request(stream: &mut TcpStream) -> bool {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return false,
        }
    }
    true
}

async fn get(direct: &Direct, url: &Url) -> Reader {
    let request = Request::new(reqwest::Method::GET, url.clone());
    let mut answer = direct.get(&request).await.unwrap();
    answer.extensions_mut().remove::<Handle>().unwrap().take().unwrap()
}

async fn whole(mut reader: Reader) -> String {
    let mut body = [0; 100];
    let mut at = 0;
    loop {
        match reader.read(&mut body[at..]).await.unwrap() {
            0 => return String::from_utf8_lossy(&body[..at]).into_owned(),
            read => at += read,
        }
    }
}

const HELLO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
const CHUNKS: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";

#[tokio::test]
async fn connections_are_used_again_after_whole_bodies_only() {
    for (first, second, connection) in [
        (HELLO, HELLO, 0),
        (CHUNKS, HELLO, 0),
        ("HTTP/1.1 204 No\r\n\r\n", HELLO, 0),
        ("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello", HELLO, 1),
        ("HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello", HELLO, 1),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            HELLO,
            1,
        ),
        // What stands behind the body would pass for the next answer.
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nbad",
            HELLO,
            1,
        ),
    ] {
        let (url, direct, mut told) = serve(vec![first, second]).await;
        whole(get(&direct, &url).await).await;
        assert_eq!(whole(get(&direct, &url).await).await, "hello");
        assert_eq!(
            (told.recv().await, told.recv().await),
            (Some(0), Some(connection)),
            "{first:?}"
        );
    }
    // A body that was left.
    let (url, direct, mut told) = serve(vec![HELLO, HELLO]).await;
    let mut reader = get(&direct, &url).await;
    assert!(reader.read(&mut [0; 2]).await.unwrap() <= 2);
    drop(reader);
    assert_eq!(whole(get(&direct, &url).await).await, "hello");
    assert_eq!((told.recv().await, told.recv().await), (Some(0), Some(1)));
}

#[tokio::test]
async fn a_connection_that_the_server_left_is_not_an_error() {
    // Closed after the answer; or with a farewell that came too late to belong to it.
    for farewell in [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello<close>",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 408 Timeout\r\ncontent-length: 0\r\n\r\n<close>",
    ] {
        let (url, direct, mut told) = serve(vec![farewell, HELLO]).await;
        whole(get(&direct, &url).await).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(whole(get(&direct, &url).await).await, "hello");
        assert_eq!((told.recv().await, told.recv().await), (Some(0), Some(1)));
    }
}

#[tokio::test]
async fn an_answer_whose_reader_nobody_takes_is_read_as_usual() {
    for answer in [HELLO, CHUNKS] {
        let (url, direct, _told) = serve(vec![answer]).await;
        let request = Request::new(reqwest::Method::GET, url.clone());
        let answer = direct.get(&request).await.unwrap();
        assert_eq!((answer.url(), answer.status().as_u16()), (&url, 200));
        assert_eq!(answer.text().await.unwrap(), "hello");
    }
}

#[tokio::test]
async fn a_faulty_head_is_meant_on_a_connection_of_its_own_only() {
    let two = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello";
    for (faulty, rest) in [("<html>\r\n\r\n", HELLO), ("HTTP/1.1 200 OK\r\ncontent-le<close>", two)]
    {
        let request = |url: &Url| Request::new(reqwest::Method::GET, url.clone());
        let (url, direct, _told) = serve(vec![faulty, rest]).await;
        let error = direct.get(&request(&url)).await.unwrap_err();
        let DirectError::Head(error) = error else { panic!("{error:?}") };
        assert_eq!(
            matches!(error, HeadError::Faulty(_)),
            !faulty.ends_with("<close>"),
            "{error:?}"
        );
    }
    // Behind a body that was whole, something of it may have come late.
    let (url, direct, mut told) = serve(vec![HELLO, "<html>\r\n\r\n", HELLO]).await;
    whole(get(&direct, &url).await).await;
    assert_eq!(whole(get(&direct, &url).await).await, "hello");
    let connections = [told.recv().await, told.recv().await, told.recv().await];
    assert_eq!(connections, [Some(0), Some(0), Some(1)]);
}

/// What made one of them silent may have made all of them so.
#[tokio::test]
async fn after_an_answer_that_stays_away_no_connection_rests() {
    let (url, direct, mut told) = serve(vec![HELLO, HELLO, "", HELLO]).await;
    let (one, other) = (get(&direct, &url).await, get(&direct, &url).await);
    whole(one).await;
    whole(other).await;
    assert_eq!(hold(&direct.idle.list).len(), 2);
    let request = Request::new(reqwest::Method::GET, url.clone());
    let waiting = timeout(Duration::from_millis(200), direct.get(&request));
    assert!(waiting.await.is_err(), "it is silent");
    assert_eq!(hold(&direct.idle.list).len(), 0);
    assert_eq!(whole(get(&direct, &url).await).await, "hello");
    let connections = [told.recv().await, told.recv().await, told.recv().await, told.recv().await];
    assert_eq!(connections, [Some(0), Some(1), Some(1), Some(2)]);
}
