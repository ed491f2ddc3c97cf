//! A TCP relay between the command and a registry: counts connections, slows bytes down, cuts.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// A relay on a port of its own. It lives as long as the test process.
pub struct Relay {
    /// `host:port`
    pub host: String,
    connections: Arc<AtomicUsize>,
    down: Arc<AtomicU64>,
    up: Arc<AtomicU64>,
    /// Connections are closed after so many bytes from the registry; `u64::MAX` for never.
    cut_after: Arc<AtomicU64>,
}

impl Relay {
    /// Relays to `to`, at most `rate` bytes a second on each connection.
    pub fn start(to: &str, rate: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let relay = Self {
            host,
            connections: Arc::default(),
            down: Arc::default(),
            up: Arc::default(),
            cut_after: Arc::new(AtomicU64::new(u64::MAX)),
        };
        let (to, connections) = (to.to_owned(), relay.connections.clone());
        let (down, up) = (relay.down.clone(), relay.up.clone());
        let cut_after = relay.cut_after.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                connections.fetch_add(1, Ordering::SeqCst);
                let Ok(server) = TcpStream::connect(&to) else { continue };
                let (from_client, to_server) =
                    (client.try_clone().unwrap(), server.try_clone().unwrap());
                let (down, up) = (down.clone(), up.clone());
                let limit = cut_after.load(Ordering::SeqCst);
                std::thread::spawn(move || pump(from_client, to_server, rate, &up, u64::MAX));
                std::thread::spawn(move || pump(server, client, rate, &down, limit));
            }
        });
        relay
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Bytes from the registry so far.
    pub fn down(&self) -> u64 {
        self.down.load(Ordering::SeqCst)
    }

    /// Bytes to the registry so far.
    pub fn up(&self) -> u64 {
        self.up.load(Ordering::SeqCst)
    }

    /// New connections are cut after so many bytes from the registry.
    pub fn cut_after(&self, bytes: u64) {
        self.cut_after.store(bytes, Ordering::SeqCst);
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, rate: u64, count: &AtomicU64, limit: u64) {
    let mut buffer = [0; 16 << 10];
    let mut passed = 0;
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if rate != u64::MAX {
            std::thread::sleep(Duration::from_nanos(length as u64 * 1_000_000_000 / rate));
        }
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
        count.fetch_add(length as u64, Ordering::SeqCst);
        passed += length as u64;
        if passed >= limit {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
