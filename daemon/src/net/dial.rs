//! Connecting to a name behind which there may be several addresses.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use tokio::{net::TcpStream, task::JoinSet};

use super::{Resolver, connect};
use crate::backoff::random_share;

/// What an address has to answer in before the next is tried beside it: RFC 8305 §5.
const HEAD_START: Duration = Duration::from_millis(250);

/// Resolves `host` and connects to an address of it, as [`dial_any`] does.
pub async fn dial(
    resolver: &Resolver,
    host: &str,
    port: u16,
    timeout: Duration,
) -> io::Result<TcpStream> {
    let ips = resolver.resolve(host).await?;
    dial_any(ips, port, timeout).await
}

/// Connects to one of the addresses of a name: to any of them first, so that many processes
/// spread over the replicas of what they ask, and beside it to the next whenever one fails or takes
/// long, so that a replica that is gone costs a quarter of a second. `timeout` is for each. Without
/// any address the error is `NotFound`.
pub async fn dial_any(mut ips: Vec<IpAddr>, port: u16, timeout: Duration) -> io::Result<TcpStream> {
    let count = ips.len();
    let first = (random_share() * count as f64) as usize;
    ips.rotate_left(first.min(count));
    let addrs = ips.into_iter().map(|ip| SocketAddr::new(ip, port));
    first_of(addrs.collect(), timeout)
        .await
        .unwrap_or_else(|| Err(io::Error::new(io::ErrorKind::NotFound, "no address")))
}

/// The first connection that is made, or the last error; `None` if there is no address.
async fn first_of(addrs: Vec<SocketAddr>, timeout: Duration) -> Option<io::Result<TcpStream>> {
    let mut waiting = addrs.into_iter();
    let mut trying = JoinSet::new();
    let mut last = None;
    loop {
        match waiting.next() {
            Some(addr) => drop(trying.spawn(connect(addr, timeout))),
            None if trying.is_empty() => return last,
            None => {}
        }
        tokio::select! {
            Some(tried) = trying.join_next() => match tried {
                Ok(Ok(io)) => return Some(Ok(io)),
                Ok(Err(error)) => last = Some(Err(error)),
                Err(error) => last = Some(Err(io::Error::other(error))),
            },
            () = tokio::time::sleep(HEAD_START), if waiting.len() > 0 => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use tokio::net::TcpListener;

    const SECOND: Duration = Duration::from_secs(1);

    fn hosts(dir: &tempfile::TempDir, ips: &[&str]) -> Resolver {
        let path = dir.path().join("hosts");
        let lines: Vec<_> = ips.iter().map(|ip| format!("{ip} web")).collect();
        std::fs::write(&path, lines.join("\n")).unwrap();
        Resolver::new(Some(path))
    }

    #[tokio::test]
    async fn dialling_tries_every_address() {
        let listener = TcpListener::bind("127.0.0.3:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let dir = tempfile::tempdir().unwrap();
        // Nobody listens on the first.
        let resolver = hosts(&dir, &["127.0.0.2", "127.0.0.3"]);
        for _ in 0..10 {
            let io = dial(&resolver, "web", port, SECOND).await.unwrap();
            assert_eq!(io.peer_addr().unwrap(), listener.local_addr().unwrap());
        }
    }

    #[tokio::test]
    async fn replicas_share_who_asks() {
        let first = TcpListener::bind("127.0.0.2:0").await.unwrap();
        let port = first.local_addr().unwrap().port();
        let _second = TcpListener::bind(("127.0.0.3", port)).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let resolver = hosts(&dir, &["127.0.0.2", "127.0.0.3"]);
        let mut reached: HashSet<IpAddr> = HashSet::new();
        let all_reached = async {
            while reached.len() < 2 {
                let io = dial(&resolver, "web", port, SECOND).await.unwrap();
                reached.insert(io.peer_addr().unwrap().ip());
            }
        };
        tokio::time::timeout(10 * SECOND, all_reached)
            .await
            .expect("always the same one");
    }

    #[tokio::test]
    async fn an_address_that_never_answers_is_not_waited_for() {
        // A queue for one connection, and that one is in it: more SYNs are not answered.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let silent = socket.listen(0).unwrap();
        let silent_addr = silent.local_addr().unwrap();
        let _queued = TcpStream::connect(silent_addr).await.unwrap();
        let addr: SocketAddr = ([127, 0, 0, 3], silent_addr.port()).into();
        let listener = TcpListener::bind(addr).await.unwrap();
        let timeout = 20 * SECOND;
        let began = std::time::Instant::now();
        let io = first_of(vec![silent_addr, addr], timeout).await;
        let reached = io.unwrap().unwrap().peer_addr().unwrap();
        assert_eq!(reached, listener.local_addr().unwrap());
        assert!(began.elapsed() < timeout / 2, "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn no_answer_from_anybody_is_the_last_ones_error() {
        let free = TcpListener::bind("127.0.0.3:0").await.unwrap();
        let addr = free.local_addr().unwrap();
        drop(free);
        let error = first_of(vec![addr], SECOND).await.unwrap().unwrap_err();
        assert!(error.to_string().contains(&addr.to_string()), "{error}");
        assert!(first_of(Vec::new(), SECOND).await.is_none());
    }
}
