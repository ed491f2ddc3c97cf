//! A way to a registry on which something goes wrong: it ends, or who comes by it may not delete.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use registry::reference::RegistryHost;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// What a way to a registry does to requests.
#[derive(Clone, Copy)]
pub enum Rule {
    /// So many that write pass, and from then on nothing does.
    Writes(usize),
    /// Those that delete are answered with this status.
    Deletes(u16),
    /// Those for the tags of an image's repository are answered with this status.
    Lists(u16),
}

/// A way to a registry.
pub struct Way {
    pub host: RegistryHost,
    task: tokio::task::JoinHandle<()>,
}

impl Way {
    pub async fn with(rule: Rule, to: &RegistryHost) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string().parse().unwrap();
        let to = to.to_string();
        let left = match rule {
            Rule::Writes(left) => left,
            Rule::Deletes(_) | Rule::Lists(_) => usize::MAX,
        };
        let left = Arc::new(AtomicUsize::new(left));
        let stop = CancellationToken::new();
        let task = tokio::spawn(async move {
            while !stop.is_cancelled() {
                let Ok((client, _)) = listener.accept().await else { return };
                let Ok(server) = TcpStream::connect(&to).await else { return };
                let (left, stop) = (Arc::clone(&left), stop.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        over = pass(client, server, rule, &left) => if over { stop.cancel() },
                    }
                });
            }
        });
        Self { host, task }
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One connection. Says whether it ended because no request that writes is left. Clients begin each request with a packet.
async fn pass(
    mut client: TcpStream,
    mut server: TcpStream,
    rule: Rule,
    left: &AtomicUsize,
) -> bool {
    let (mut asked, mut answered) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        let passed = tokio::select! {
            read = client.read(&mut asked) => match read {
                Ok(read @ 1..) => {
                    let begins = |verb: &str| asked[..read].starts_with(verb.as_bytes());
                    if ["PUT ", "POST ", "DELETE "].into_iter().any(begins) {
                        let less = |left: usize| left.checked_sub(1);
                        if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_err() {
                            return true;
                        }
                    }
                    let line = asked[..read].split(|byte| *byte == b'\r').next();
                    let line = String::from_utf8_lossy(line.unwrap_or_default());
                    let lists = line.contains("/tags/list") && !line.contains("bundle-ledger");
                    match rule {
                        Rule::Lists(status) | Rule::Deletes(status)
                            if (lists && matches!(rule, Rule::Lists(_)))
                                || (begins("DELETE ") && matches!(rule, Rule::Deletes(_))) =>
                        {
                            let no = format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n");
                            client.write_all(no.as_bytes()).await
                        }
                        _ => server.write_all(&asked[..read]).await,
                    }
                }
                _ => return false,
            },
            read = server.read(&mut answered) => match read {
                Ok(read @ 1..) => client.write_all(&answered[..read]).await,
                _ => return false,
            },
        };
        if passed.is_err() {
            return false;
        }
    }
}
