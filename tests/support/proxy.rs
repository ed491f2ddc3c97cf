//! A forward proxy for plain HTTP, as sites have: the only way to hosts that it alone can name.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use super::wire::{read_headers, request};

/// A proxy that passes everything on to one registry, whatever host is asked for.
pub struct Proxy {
    /// `http://host:port`
    pub url: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Starts one before `registry`. Its thread ends with the process.
    pub fn start(registry: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, registry) = (Arc::clone(&seen), registry.to_owned());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(mut stream), log, registry) = (stream, Arc::clone(&log), registry.clone())
                else {
                    return;
                };
                std::thread::spawn(move || -> std::io::Result<()> {
                    let mut reader = BufReader::new(stream.try_clone()?);
                    let mut line = String::new();
                    reader.read_line(&mut line)?;
                    let headers = read_headers(&mut reader)?;
                    let mut words = line.split(' ');
                    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
                    log.lock().unwrap().push(format!("{method} {target}"));
                    let path = target.splitn(4, '/').nth(3).unwrap_or("");
                    let passed: Vec<(&str, &str)> = ["accept", "range"]
                        .iter()
                        .filter_map(|name| Some((*name, headers.get(*name)?.as_str())))
                        .collect();
                    let answer = request(&registry, method, &format!("/{path}"), &passed, b"")?;
                    let kind = answer.headers.get("content-type").map_or("", String::as_str);
                    let head = format!(
                        "HTTP/1.1 {} X\r\nContent-Type: {kind}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                        answer.status,
                        answer.body.len()
                    );
                    stream.write_all(head.as_bytes())?;
                    stream.write_all(&answer.body)
                });
            }
        });
        Self { url, seen }
    }

    /// Method and URL of each request so far.
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}
