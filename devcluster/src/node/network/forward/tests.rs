//! Load balancers as their clients see them.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use tokio::net::TcpListener;

fn view(ready: bool, ip: &str, type_: &str) -> View {
    let parse = |v: Value| serde_json::from_value(v).unwrap();
    let mut view = View::default();
    let key = ("ns".to_owned(), "gw".to_owned());
    view.services.insert(
        key.clone(),
        parse(json!({"metadata": {"name": "gw"},
            "spec": {"type": type_, "ports": [
                {"name": "a", "port": 4143, "targetPort": 4143},
                {"name": "b", "port": 80},
                {"name": "u", "port": 53, "protocol": "UDP"}]},
            "status": {"loadBalancer": {"ingress": [{"ip": ip}]}}})),
    );
    let slice: k8s_openapi::api::discovery::v1::EndpointSlice = serde_json::from_value(
        json!({"metadata": {"labels": {"kubernetes.io/service-name": "gw"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["127.1.0.3"], "conditions": {"ready": ready}}],
            "ports": [{"name": "a", "port": 4143}, {"name": "b", "port": 8080}]}),
    )
    .unwrap();
    view.slices.insert(key, slice);
    view
}

#[test]
fn load_balancers_with_an_address_here_are_wanted_with_their_ready_endpoints() {
    let at = |s: &str| s.parse::<SocketAddr>().unwrap();
    let wanted = desired(&view(true, "127.3.0.1", "LoadBalancer"), |ip| {
        ip.is_loopback()
    });
    assert_eq!(wanted.len(), 2);
    assert_eq!(
        wanted[&at("127.3.0.1:80")],
        BTreeSet::from([at("127.1.0.3:8080")])
    );
    let unready = desired(&view(false, "127.3.0.1", "LoadBalancer"), |ip| {
        ip.is_loopback()
    });
    assert!(unready[&at("127.3.0.1:4143")].is_empty());
    assert!(desired(&view(true, "127.3.0.1", "ClusterIP"), |ip| ip.is_loopback()).is_empty());
    // Never an address of somebody else's machine.
    assert!(
        desired(&view(true, "192.0.2.1", "LoadBalancer"), |ip| ip
            .is_loopback())
        .is_empty()
    );
}

/// Answers with its own port and then what it was sent, once the client has ended its half.
async fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut io, _)) = listener.accept().await {
            let mut heard = String::new();
            io.read_to_string(&mut heard).await.unwrap();
            io.write_all(format!("{} {heard}", address.port()).as_bytes())
                .await
                .unwrap();
        }
    });
    address
}

async fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
}

async fn ask(balancer: SocketAddr) -> std::io::Result<String> {
    let mut io = TcpStream::connect(balancer).await?;
    io.write_all(b"hello").await?;
    io.shutdown().await?;
    let mut answer = String::new();
    io.read_to_string(&mut answer).await?;
    Ok(answer)
}

async fn until_open(balancer: SocketAddr) {
    while TcpStream::connect(balancer).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn connections_take_turns_and_skip_the_dead() {
    let (one, two, dead) = (server().await, server().await, free_address().await);
    let balancer = free_address().await;
    let mut forwarders = Forwarders::default();
    forwarders.follow(BTreeMap::from([(
        balancer,
        BTreeSet::from([one, two, dead]),
    )]));
    until_open(balancer).await;
    let mut answers = BTreeSet::new();
    for _ in 0..6 {
        answers.insert(ask(balancer).await.unwrap());
    }
    let expected = [one, two].map(|s| format!("{} hello", s.port()));
    assert_eq!(answers, BTreeSet::from(expected));
}

#[tokio::test]
async fn nobody_to_forward_to_is_refused_and_heals() {
    let balancer = free_address().await;
    let mut forwarders = Forwarders::default();
    forwarders.follow(BTreeMap::from([(balancer, BTreeSet::new())]));
    assert!(TcpStream::connect(balancer).await.is_err());
    let one = server().await;
    forwarders.follow(BTreeMap::from([(balancer, BTreeSet::from([one]))]));
    until_open(balancer).await;
    assert_eq!(
        ask(balancer).await.unwrap(),
        format!("{} hello", one.port())
    );
    forwarders.follow(BTreeMap::from([(balancer, BTreeSet::new())]));
    while TcpStream::connect(balancer).await.is_ok() {
        tokio::task::yield_now().await;
    }
    forwarders.follow(BTreeMap::new());
    assert!(forwarders.0.is_empty());
}

#[tokio::test]
async fn a_client_is_reset_when_every_endpoint_refuses() {
    let (balancer, dead) = (free_address().await, free_address().await);
    let mut forwarders = Forwarders::default();
    forwarders.follow(BTreeMap::from([(balancer, BTreeSet::from([dead]))]));
    until_open(balancer).await;
    let mut io = TcpStream::connect(balancer).await.unwrap();
    assert!(io.read_u8().await.is_err());
}

#[tokio::test]
async fn an_endpoint_sees_the_balancer_and_not_its_own_machine() {
    let endpoint = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = endpoint.local_addr().unwrap();
    let balancer = {
        let free = TcpListener::bind("127.0.0.5:0").await.unwrap();
        free.local_addr().unwrap()
    };
    let mut forwarders = Forwarders::default();
    forwarders.follow(BTreeMap::from([(balancer, BTreeSet::from([address]))]));
    until_open(balancer).await;
    let (_, peer) = endpoint.accept().await.unwrap();
    assert_eq!(peer.ip(), balancer.ip());
}
