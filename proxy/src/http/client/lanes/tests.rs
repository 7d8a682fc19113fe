//! Against a server that counts connections, and answers when it is told to.

use futures::future::join_all;
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};

use super::*;
use crate::http::client::{
    Client,
    tests::{absolute, client, listener},
};

/// What a server has of each of its connections.
#[derive(Default)]
struct Seen {
    /// Most streams at once, by connection.
    peaks: Mutex<Vec<Arc<AtomicUsize>>>,
    closed: AtomicUsize,
}

/// Serves HTTP/2 until it is dropped; a response begins once `gate` lets it.
async fn server(listener: TcpListener, seen: Arc<Seen>, gate: Arc<Semaphore>) {
    let mut connections = JoinSet::new();
    loop {
        let (io, _) = listener.accept().await.unwrap();
        let (seen, gate) = (seen.clone(), gate.clone());
        connections.spawn(async move {
            let peak = Arc::new(AtomicUsize::new(0));
            seen.peaks.lock().push(peak.clone());
            let mut connection = h2::server::Builder::new()
                .max_concurrent_streams(1_000)
                .handshake::<_, bytes::Bytes>(io)
                .await
                .unwrap();
            let alive = Arc::new(());
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                let alive = alive.clone();
                peak.fetch_max(Arc::strong_count(&alive) - 1, Ordering::SeqCst);
                let gate = gate.clone();
                tokio::spawn(async move {
                    gate.acquire().await.unwrap().forget();
                    respond
                        .send_response(http::Response::new(()), true)
                        .unwrap();
                    drop(alive);
                });
            }
            seen.closed.fetch_add(1, Ordering::SeqCst);
        });
    }
}

/// Sends so many requests at once, and holds their places until all are answered.
async fn at_once(client: &Client, requests: usize) {
    let sent = (0..requests).map(|_| client.send_h2(absolute()));
    let answers = join_all(sent).await;
    assert!(answers.iter().all(Result::is_ok));
}

/// Until `held`, for ten seconds at most.
async fn until(what: &str, held: impl Fn() -> bool) {
    let wait = async {
        while !held() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait)
        .await
        .unwrap_or_else(|_| panic!("not within ten seconds: {what}"));
}

#[tokio::test]
async fn a_connection_that_has_its_fill_gets_another_beside_it() {
    let (listener, dial, dials) = listener().await;
    let (seen, gate) = (Arc::new(Seen::default()), Arc::new(Semaphore::new(0)));
    let _server = tokio::spawn(server(listener, seen.clone(), gate.clone()));
    let client = client(dial);
    let first = at_once(&client, STREAMS);
    tokio::pin!(first);
    let full = until("the first is full", || {
        seen.peaks
            .lock()
            .first()
            .is_some_and(|peak| peak.load(Ordering::SeqCst) == STREAMS)
    });
    tokio::select! {
        () = &mut first => panic!("nothing was to be answered"),
        () = full => {}
    }
    assert_eq!(
        dials.load(Ordering::SeqCst),
        1,
        "as many have one connection"
    );
    let one_more = at_once(&client, 1);
    let rest = async {
        until("another connection", || seen.peaks.lock().len() == 2).await;
        // Ready on our side, too.
        until("it is used", || {
            client.lanes.0.more.lock().lanes.iter().any(Lane::is_up)
        })
        .await;
        let beside = at_once(&client, STREAMS / 2);
        let release = async {
            until("it takes what comes", || {
                let peaks = seen.peaks.lock();
                let peak = |at: usize| peaks[at].load(Ordering::SeqCst);
                peak(0) == STREAMS + 1 && peak(1) == STREAMS / 2
            })
            .await;
            gate.add_permits(2 * STREAMS);
        };
        tokio::join!(beside, release);
    };
    tokio::join!(first, one_more, rest);
    assert_eq!(dials.load(Ordering::SeqCst), 2);
    assert_eq!(seen.peaks.lock()[0].load(Ordering::SeqCst), STREAMS + 1);
}

#[tokio::test]
async fn connections_beside_the_first_end_once_they_are_idle_and_the_first_stays() {
    let (listener, dial, dials) = listener().await;
    let (seen, gate) = (Arc::new(Seen::default()), Arc::new(Semaphore::new(0)));
    let _server = tokio::spawn(server(listener, seen.clone(), gate.clone()));
    let client = client(dial);
    let burst = at_once(&client, 2 * STREAMS);
    let release = async {
        until("another connection", || seen.peaks.lock().len() >= 2).await;
        gate.add_permits(2 * STREAMS + 1);
    };
    tokio::join!(burst, release);
    let made = dials.load(Ordering::SeqCst);
    until("idle ones are closed", || {
        seen.closed.load(Ordering::SeqCst) == made - 1
    })
    .await;
    assert!(!client.lanes.0.wide.load(Ordering::SeqCst));
    at_once(&client, 1).await;
    assert_eq!(
        dials.load(Ordering::SeqCst),
        made,
        "the first is still there"
    );
}

#[tokio::test]
async fn a_connection_that_cannot_be_made_fails_no_request_and_is_not_asked_for_again_at_once() {
    let (listener, dial, dials) = listener().await;
    let (seen, gate) = (Arc::new(Seen::default()), Arc::new(Semaphore::new(0)));
    let _server = tokio::spawn(server(listener, seen.clone(), gate.clone()));
    let refused = Arc::new(AtomicUsize::new(0));
    let (counted, attempts) = (refused.clone(), dials.clone());
    let only_once: Dial = Arc::new(move |session| {
        if attempts.load(Ordering::SeqCst) == 0 {
            return dial(session);
        }
        counted.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Err(std::io::Error::from(std::io::ErrorKind::ConnectionRefused).into()) })
    });
    let client = client(only_once);
    let burst = at_once(&client, 3 * STREAMS);
    let release = async {
        until("another was asked for", || {
            refused.load(Ordering::SeqCst) > 0
        })
        .await;
        gate.add_permits(4 * STREAMS);
    };
    tokio::join!(burst, release);
    at_once(&client, STREAMS).await;
    assert_eq!(refused.load(Ordering::SeqCst), 1);
    assert_eq!(dials.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_number_of_connections_is_bounded() {
    let (listener, dial, dials) = listener().await;
    let (seen, gate) = (Arc::new(Seen::default()), Arc::new(Semaphore::new(0)));
    let _server = tokio::spawn(server(listener, seen.clone(), gate.clone()));
    let client = client(dial);
    let mut held = JoinSet::new();
    let client = Arc::new(client);
    // One after the other, so that each finds the connections that the ones before asked for.
    let burst = async {
        while dials.load(Ordering::SeqCst) < MOST {
            let client = client.clone();
            held.spawn(async move { client.send_h2(absolute()).await.is_ok() });
            tokio::task::yield_now().await;
        }
        for _ in 0..2 * STREAMS {
            let client = client.clone();
            held.spawn(async move { client.send_h2(absolute()).await.is_ok() });
        }
        gate.add_permits(1_000_000);
    };
    tokio::time::timeout(Duration::from_secs(20), burst)
        .await
        .expect("so many connections");
    while let Some(answered) = held.join_next().await {
        assert!(answered.unwrap());
    }
    assert_eq!(dials.load(Ordering::SeqCst), MOST);
}
