use super::*;
use crate::{drain::drain, net::connect};

const SECOND: Duration = Duration::from_secs(1);

/// More than chance would send to one of two.
const MANY: usize = 16;

async fn listener(port: u16) -> Listener {
    Listener::bind(([127, 0, 0, 1], port).into()).await.unwrap()
}

async fn connections(addr: SocketAddr) -> Vec<TcpStream> {
    let mut made = Vec::new();
    while made.len() < MANY {
        made.push(connect(addr, SECOND).await.unwrap());
    }
    made
}

/// Whether all of `made` are in its queue.
async fn gets(listener: &mut Listener, made: Vec<TcpStream>) -> bool {
    let mut expected: Vec<_> = made.iter().map(|io| io.local_addr().unwrap()).collect();
    let accept_all = async {
        while !expected.is_empty() {
            let (_, peer) = accept(&listener.socket).await;
            expected.retain(|addr| *addr != peer);
        }
    };
    tokio::time::timeout(SECOND, accept_all).await.is_ok()
}

#[tokio::test]
async fn connections_go_to_the_first_until_the_second_takes_them() {
    let mut first = listener(0).await;
    let addr = first.local_addr().unwrap();
    let mut second = listener(addr.port()).await;
    assert!(!first.succeeds() && second.succeeds());
    assert!(gets(&mut first, connections(addr).await).await);
    second.take();
    assert!(gets(&mut second, connections(addr).await).await);
}

#[tokio::test]
async fn a_second_that_fails_leaves_the_first_alone() {
    let mut first = listener(0).await;
    let addr = first.local_addr().unwrap();
    let second = listener(addr.port()).await;
    second.take();
    drop(second);
    assert!(gets(&mut first, connections(addr).await).await);
}

#[tokio::test]
async fn what_waits_for_the_first_is_served_when_it_stops() {
    let mut first = listener(0).await;
    let addr = first.local_addr().unwrap();
    let mut second = listener(addr.port()).await;
    let waiting = connections(addr).await;
    let (drainer, drain) = drain();
    let _hold = drain.hold();
    let draining = tokio::spawn(drainer.drain(Duration::from_secs(10)));
    drain.started().await;
    let mut served = Vec::new();
    while let Some((io, _)) = first.next(&drain).await {
        if served.is_empty() {
            // It has said that it leaves, so that nothing new comes to it.
            assert!(gets(&mut second, connections(addr).await).await);
        }
        served.push(io);
    }
    drop(first);
    assert_eq!(served.len(), waiting.len());
    // It moved to the first place.
    assert!(gets(&mut second, connections(addr).await).await);
    draining.abort();
}

#[tokio::test]
async fn hand_overs_follow_one_another() {
    let mut serving = listener(0).await;
    let addr = serving.local_addr().unwrap();
    for _ in 0..3 {
        let next = listener(addr.port()).await;
        assert!(gets(&mut serving, connections(addr).await).await);
        next.take();
        serving = next;
        assert!(gets(&mut serving, connections(addr).await).await);
    }
}

#[tokio::test]
async fn an_address_of_somebody_else_is_not_shared() {
    let other = crate::net::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let addr = other.local_addr().unwrap();
    let error = Listener::bind(addr).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&addr.to_string()), "{error}");
}
