//! The process as a whole, but for its API server and its issuer.

use super::*;
use crate::sandbox::{
    self,
    api_server::{CORE, POLICY, Server},
};
use clap::Parser;
use futures::StreamExt as _;
use linkerd2_proxy_api::destination::{
    GetDestination, Update, destination_client::DestinationClient, update,
};
use mesh_tls::{
    control::ControlAddr,
    testing::{Ca, Issuer},
};
use std::{net::SocketAddr, time::Duration};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

fn args(more: &[&str]) -> Args {
    let addresses = [
        "--destination-addr=127.0.0.1:0",
        "--policy-addr=127.0.0.1:0",
        "--admin-addr=127.0.0.1:0",
    ];
    let flags = ["destination"].iter().chain(&addresses).chain(more);
    Cli::try_parse_from(flags)
        .unwrap_or_else(|e| panic!("{e}"))
        .args
}

async fn get(address: SocketAddr, path: &str) -> String {
    let mut io = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    io.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    io.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn first_update(discovery: SocketAddr, issuer: &Issuer) -> Update {
    let client = "client.default.serviceaccount.identity.linkerd.cluster.local";
    let store = issuer.issue(&client.parse().unwrap(), Duration::from_secs(600));
    let own = "linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local";
    let address = ControlAddr::new(&discovery.to_string(), own.parse().unwrap()).unwrap();
    let dial: control::Dial = Arc::new(|host, port| {
        let resolver = Resolver::from_env();
        Box::pin(async move { net::dial(&resolver, &host, port, Duration::from_secs(2)).await })
    });
    let mut client = DestinationClient::new(control::channel(address, store, dial));
    let question = GetDestination {
        path: "web.default.svc.cluster.local:80".into(),
        ..GetDestination::default()
    };
    let mut updates = client.get(question).await.unwrap().into_inner();
    updates.next().await.unwrap().unwrap()
}

#[tokio::test]
async fn nothing_is_answered_before_the_cluster_is_known() {
    let server = Server::with_kinds(&["namespaces", "services", "pods"]);
    for kind in POLICY {
        server.set(kind, vec![]);
    }
    let to_json = |object| vec![object];
    server.set(
        "services",
        to_json(json!(sandbox::service("web", "10.96.0.1", 80))),
    );
    server.set("pods", to_json(json!(sandbox::pod("web-1", "10.0.0.1"))));

    let args = args(&[]);
    let config = Arc::new(Config::new(&args).unwrap());
    let issuer = Ca::new("root").issuer("issuer");
    let own = args
        .member
        .identity(names::DESTINATION, &args.pod_namespace);
    let store = Store::new(own.unwrap(), issuer.anchors.clone());
    let (stop, shutdown) = mesh_daemon::shutdown();
    let bound = Bound::bind(&args, config, server.client(), shutdown)
        .await
        .unwrap();
    let admin = bound.admin.addr();
    let discovery = bound.discovery.local_addr().unwrap();
    let serving = tokio::spawn(bound.serve(store, issuer.clone()));

    // The index knows the Service by now, but not that it has endpoints: an answer would be wrong.
    let asking = tokio::spawn(async move { first_update(discovery, &issuer).await });
    while !get(admin, "/ready").await.contains("endpointslices") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!asking.is_finished());
    let slice = sandbox::slice("web", 8080, &[("web-1", "10.0.0.1")]);
    server.set("endpointslices", to_json(json!(slice)));

    let first = asking.await.unwrap();
    assert!(
        matches!(first.update, Some(update::Update::Add(_))),
        "{first:?}"
    );
    assert!(get(admin, "/ready").await.starts_with("HTTP/1.1 200"));
    let state = get(admin, "/state").await;
    for expected in [
        "\"endpointslices\"",
        "\"watches\"",
        "\"revision\"",
        "\"index\"",
    ] {
        assert!(state.contains(expected), "{expected} in {state}");
    }
    assert!(
        get(admin, "/metrics")
            .await
            .contains("destination_messages_total")
    );

    stop.shutdown();
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn it_stops_when_asked_even_before_it_is_ready() {
    let server = Server::with_kinds(&CORE[..1]);
    let args = args(&[]);
    let config = Arc::new(Config::new(&args).unwrap());
    let issuer = Ca::new("root").issuer("issuer");
    let store = Store::new("a.b".parse().unwrap(), issuer.anchors.clone());
    let (stop, shutdown) = mesh_daemon::shutdown();
    let bound = Bound::bind(&args, config, server.client(), shutdown)
        .await
        .unwrap();
    stop.shutdown();
    bound.serve(store, issuer).await.unwrap();
}

#[tokio::test]
async fn mistakes_in_flags_are_named() {
    let wrong = async |flags: &[&str]| {
        let args = args(flags);
        Config::new(&args).map_err(anyhow::Error::from)?;
        let store = args.member.store(names::DESTINATION, &args.pod_namespace);
        store.await.map(drop).map_err(anyhow::Error::from)
    };
    let error = wrong(&["--export-selector=a in (b)"]).await.unwrap_err();
    assert!(
        format!("{error:#}").contains("--export-selector"),
        "{error:#}"
    );
    let error = wrong(&["--trust-anchors=nonsense"]).await.unwrap_err();
    assert!(format!("{error:#}").contains("trust anchors"), "{error:#}");
    let error = wrong(&["--trust-anchors-file=/does/not/exist"])
        .await
        .unwrap_err();
    assert!(
        format!("{error:#}").contains("/does/not/exist"),
        "{error:#}"
    );
    for flag in [
        "--default-inbound-policy=typo",
        "--opaque-ports=x",
        "--cluster-networks=x",
    ] {
        let parsed = Cli::try_parse_from(["destination", flag]);
        assert!(parsed.is_err(), "{flag}");
    }
}
