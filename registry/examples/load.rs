//! The client of `scripts/bench.sh registry`: the same requests for every registry, at the least cost to the machine that
//! both run on. One thread and one kept connection each; blobs go out with `sendfile` and come in to be counted.
//!
//! `load push|pull HOST LIST CONNECTIONS`: once through the list, one blob a line: `repository digest file size`.
//! `load get HOST LIST CONNECTIONS SECONDS`: paths, one a line, over and over.
//! `load small-push HOST LIST CONNECTIONS SECONDS` and `load small-pull …`: blobs of 1 MiB, each pushed a new one.
//! Out: one line of JSON with what was done, how long it took, and how long the requests took.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use format_spec::Digest;
use fs_err::File;

const MIB: usize = 1 << 20;
/// Bytes taken from a socket at once.
const STEP: usize = 256 * 1024;

/// Distribution gives away a manifest only to those who name its type.
const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json";

/// One blob of the list.
struct Item {
    repository: String,
    digest: String,
    file: String,
    size: u64,
}

/// What a thread did.
#[derive(Default)]
struct Done {
    bytes: u64,
    failed: u64,
    times: Vec<Duration>,
}

/// A kept connection.
struct Connection {
    host: String,
    reader: BufReader<TcpStream>,
    buffer: Vec<u8>,
}

/// The head of an answer, and the length of its body, which was read.
struct Answer {
    status: u16,
    location: String,
    length: u64,
}

impl Connection {
    fn open(host: &str) -> io::Result<Self> {
        let socket = TcpStream::connect(host)?;
        socket.set_nodelay(true)?;
        let (reader, buffer) = (BufReader::with_capacity(16 * 1024, socket), vec![0; STEP]);
        Ok(Self { host: host.to_owned(), reader, buffer })
    }

    fn send(&mut self, method: &str, path: &str, length: Option<u64>) -> io::Result<()> {
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nAccept: {ACCEPT}\r\n", self.host);
        if let Some(length) = length {
            let _ = write!(head, "Content-Length: {length}\r\n");
        }
        head.push_str("\r\n");
        self.reader.get_mut().write_all(head.as_bytes())
    }

    fn answer(&mut self) -> io::Result<Answer> {
        let bad = || io::Error::from(io::ErrorKind::InvalidData);
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        let status = line.get(9..12).and_then(|code| code.parse().ok()).ok_or_else(bad)?;
        let mut answer = Answer { status, location: String::new(), length: 0 };
        loop {
            line.clear();
            self.reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            if name.eq_ignore_ascii_case("content-length") {
                answer.length = value.parse().map_err(|_| bad())?;
            } else if name.eq_ignore_ascii_case("location") {
                value.clone_into(&mut answer.location);
            }
        }
        let mut left = usize::try_from(answer.length).map_err(|_| bad())?;
        while left > 0 {
            let wanted = left.min(self.buffer.len());
            match self.reader.read(&mut self.buffer[..wanted])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => left -= n,
            }
        }
        Ok(answer)
    }

    fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.send("GET", path, None)?;
        self.answer()
    }

    /// POST and PUT; `body` sends the bytes.
    fn push(
        &mut self,
        repository: &str,
        digest: &str,
        size: u64,
        body: impl FnOnce(&mut TcpStream) -> io::Result<()>,
    ) -> io::Result<bool> {
        self.send("POST", &format!("/v2/{repository}/blobs/uploads/"), Some(0))?;
        let begun = self.answer()?;
        // Some registries name themselves in it.
        let location = match begun.location.split_once("://") {
            Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
            None => &begun.location,
        };
        let next = if location.contains('?') { '&' } else { '?' };
        self.send("PUT", &format!("{location}{next}digest={digest}"), Some(size))?;
        body(self.reader.get_mut())?;
        Ok(begun.status == 202 && self.answer()?.status == 201)
    }
}

fn send_file(socket: &TcpStream, path: &str, size: u64) -> io::Result<()> {
    let file = File::open(path)?;
    let mut offset = 0;
    while offset < size {
        let count = usize::try_from(size - offset).unwrap_or(usize::MAX).min(4 * MIB);
        if rustix::fs::sendfile(socket, &file, Some(&mut offset), count)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

/// One request of a thread: what it moved, or that it failed.
type Request<'a> = dyn FnMut(&mut Connection, usize) -> io::Result<Option<u64>> + 'a;

/// Makes requests until `next` has no more.
fn work(
    host: &str,
    next: &(dyn Fn() -> Option<usize> + Sync),
    request: &mut Request<'_>,
) -> io::Result<Done> {
    let (mut done, mut connection) = (Done::default(), Connection::open(host)?);
    while let Some(number) = next() {
        let start = Instant::now();
        match request(&mut connection, number) {
            Ok(Some(bytes)) => done.bytes += bytes,
            Ok(None) => done.failed += 1,
            Err(error) => {
                let _ = writeln!(io::stderr(), "load: {error}");
                done.failed += 1;
                connection = Connection::open(host)?;
            }
        }
        done.times.push(start.elapsed());
    }
    Ok(done)
}

fn items(list: &str) -> io::Result<Vec<Item>> {
    let parse = |line: &str| {
        let mut words = line.split(' ').map(str::to_owned);
        let mut word = || words.next().unwrap_or_default();
        Item { repository: word(), digest: word(), file: word(), size: word().parse().unwrap_or(0) }
    };
    Ok(fs_err::read_to_string(list)?.lines().map(parse).collect())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mode, host, list, connections, more @ ..] = &arguments[..] else {
        return Err("load MODE HOST LIST CONNECTIONS [SECONDS]".into());
    };
    let items = items(list)?;
    let seconds = Duration::from_secs(more.first().map_or(Ok(0), |text| text.parse())?);
    let (count, start) = (AtomicUsize::new(0), Instant::now());
    let over = matches!(mode.as_str(), "push" | "pull");
    let next = || {
        let number = count.fetch_add(1, Ordering::Relaxed);
        let on = if over { number < items.len() } else { start.elapsed() < seconds };
        on.then_some(number)
    };
    let request = |connection: &mut Connection, number: usize, noise: &mut Vec<u8>| {
        let item = &items[number % items.len()];
        let Item { repository, digest, file, size } = item;
        Ok(match mode.as_str() {
            "push" => connection
                .push(repository, digest, *size, |socket| send_file(socket, file, *size))?
                .then_some(*size),
            "pull" | "small-pull" => {
                let answer = connection.get(&format!("/v2/{repository}/blobs/{digest}"))?;
                (answer.status == 200 && answer.length == *size).then_some(*size)
            }
            "get" => {
                let answer = connection.get(repository)?;
                (answer.status == 200).then_some(answer.length)
            }
            "small-push" => {
                noise.resize(MIB, 0x5a);
                let name = format!("{}-{number}-{:?}", std::process::id(), start);
                noise[..name.len().min(MIB)]
                    .copy_from_slice(&name.as_bytes()[..name.len().min(MIB)]);
                let digest = Digest::of(noise).to_string();
                connection
                    .push(repository, &digest, MIB as u64, |socket| socket.write_all(noise))?
                    .then_some(MIB as u64)
            }
            _ => return Err(io::Error::other("no such mode")),
        })
    };
    let all: Vec<Done> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..connections.parse::<usize>()?)
            .map(|_| {
                scope.spawn(|| {
                    let mut noise = Vec::new();
                    work(host, &next, &mut |connection, number| {
                        request(connection, number, &mut noise)
                    })
                })
            })
            .collect();
        let done =
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Ok(Done::default())));
        Ok::<_, Box<dyn std::error::Error>>(done.collect::<io::Result<_>>()?)
    })?;
    let took = start.elapsed();
    let mut times: Vec<Duration> = all.iter().flat_map(|done| done.times.clone()).collect();
    times.sort();
    let share = |of: usize| times.get(times.len() * of / 100).map_or(0.0, Duration::as_secs_f64);
    let result = serde_json::json!({
        "seconds": took.as_secs_f64(), "requests": times.len(),
        "bytes": all.iter().map(|done| done.bytes).sum::<u64>(),
        "failed": all.iter().map(|done| done.failed).sum::<u64>(),
        "p50": share(50), "p99": share(99),
    });
    writeln!(io::stdout(), "{result}")?;
    Ok(())
}
