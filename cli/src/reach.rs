//! Reaches the pods of a control-plane Service from wherever this command runs.
//!
//! Names of Services mean nothing outside the cluster, so pods are found through the API server.
//! Where their addresses can be connected to (inside, or on a flat network) that is the shortest
//! way; from elsewhere, such as a laptop, the API server forwards the port, as it does for
//! `kubectl port-forward`. Used by `workload`; it knows no identities.

use crate::cluster::explain;
use anyhow::{Context as _, bail};
use futures::FutureExt as _;
use k8s_openapi::api::{core::v1::Pod, discovery::v1::EndpointSlice};
use kube::{Api, Client, api::ListParams};
use mesh_contract::labels;
use mesh_tls::control;
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::net::{TcpListener, TcpStream};

/// How long the addresses of a Service's pods may take to connect to, before the API server is asked.
const DIRECTLY: Duration = Duration::from_secs(1);

/// A pod behind a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Backend {
    address: SocketAddr,
    /// Its name, where the endpoint tells.
    pod: Option<String>,
}

/// Connects to the pods of the Services of `namespace`, whose names are the first label of hosts.
pub(crate) fn dial(client: Client, namespace: String) -> control::Dial {
    // What is out of reach once stays so while the command runs.
    let out_of_reach = Arc::new(AtomicBool::new(false));
    Arc::new(move |host: String, port: u16| {
        let (client, namespace) = (client.clone(), namespace.clone());
        let out_of_reach = out_of_reach.clone();
        async move {
            let service = host.split('.').next().unwrap_or_default();
            connect(&client, &namespace, service, port, &out_of_reach)
                .await
                .map_err(|error| io::Error::other(format!("{error:#}")))
        }
        .boxed()
    })
}

async fn connect(
    client: &Client,
    namespace: &str,
    service: &str,
    port: u16,
    out_of_reach: &AtomicBool,
) -> anyhow::Result<TcpStream> {
    let backends = backends(client, namespace, service, port).await?;
    if backends.is_empty() {
        bail!("the Service {namespace}/{service} has no ready pod");
    }
    let mut cause = None;
    if !out_of_reach.load(Ordering::Relaxed) {
        match directly(&backends).await {
            Ok(stream) => return Ok(stream),
            Err(error) => cause = Some(error),
        }
    }
    out_of_reach.store(true, Ordering::Relaxed);
    let pod = backends.iter().find_map(|backend| backend.pod.as_deref());
    let Some(pod) = pod else {
        let cause = cause.unwrap_or_else(|| io::ErrorKind::HostUnreachable.into());
        return Err(cause).context(format!("cannot connect to {}", backends[0].address));
    };
    tracing::debug!(
        ?cause,
        pod,
        port,
        "pods are out of reach, the API server forwards"
    );
    forwarded(client, namespace, pod, port).await
}

async fn directly(backends: &[Backend]) -> io::Result<TcpStream> {
    let any = async {
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for backend in backends {
            match TcpStream::connect(backend.address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    };
    let timed_out = |_| Err(io::ErrorKind::TimedOut.into());
    tokio::time::timeout(DIRECTLY, any)
        .await
        .unwrap_or_else(timed_out)
}

/// A connection to a port of a pod, through the API server.
pub(crate) async fn forwarded(
    client: &Client,
    namespace: &str,
    pod: &str,
    port: u16,
) -> anyhow::Result<TcpStream> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let what = format!("the API server does not forward port {port} of the pod {namespace}/{pod}");
    let mut forwarder = api.portforward(pod, &[port]).await.map_err(|error| {
        explain(error, &what).context("its address cannot be reached from here either")
    })?;
    let mut far = forwarder.take_stream(port).context("no stream")?;
    // Whoever wants a connection wants a socket, so there is one between.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let (near, accepted) = tokio::join!(
        TcpStream::connect(listener.local_addr()?),
        listener.accept()
    );
    let (near, (mut relayed, peer)) = (near?, accepted?);
    if near.local_addr()? != peer {
        bail!("another process of this machine took the connection; try again");
    }
    tokio::spawn(async move {
        // Either side may end it at any time, which is no error here.
        let _ended = tokio::io::copy_bidirectional(&mut relayed, &mut far).await;
        drop(far);
        let _ended = forwarder.join().await;
    });
    Ok(near)
}

async fn backends(
    client: &Client,
    namespace: &str,
    service: &str,
    port: u16,
) -> anyhow::Result<Vec<Backend>> {
    let api: Api<EndpointSlice> = Api::namespaced(client.clone(), namespace);
    let selector = ListParams::default().labels(&format!("{}={service}", labels::SERVICE_NAME));
    let what = format!("cannot look for the pods of the Service {namespace}/{service}");
    let slices = api.list(&selector).await.map_err(|e| explain(e, &what))?;
    Ok(slices.iter().flat_map(|slice| ready(slice, port)).collect())
}

/// The pods of a slice that take connections.
fn ready(slice: &EndpointSlice, port: u16) -> Vec<Backend> {
    let is_ready = |endpoint: &&k8s_openapi::api::discovery::v1::Endpoint| {
        let conditions = endpoint.conditions.as_ref();
        conditions.and_then(|conditions| conditions.ready) != Some(false)
    };
    let endpoints = slice.endpoints.iter().filter(is_ready);
    endpoints
        .flat_map(|endpoint| {
            let target = endpoint.target_ref.as_ref();
            let pod = target.filter(|target| target.kind.as_deref() == Some("Pod"));
            let pod = pod.and_then(|pod| pod.name.clone());
            let addresses = endpoint.addresses.iter();
            let addresses = addresses.filter_map(|address| address.parse().ok());
            addresses.map(move |ip| Backend {
                address: SocketAddr::new(ip, port),
                pod: pod.clone(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_pods_that_take_connections_are_asked() {
        let slice = json!({
            "addressType": "IPv4",
            "endpoints": [
                {"addresses": ["10.0.0.1"], "conditions": {"ready": true},
                 "targetRef": {"kind": "Pod", "name": "a"}},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false},
                 "targetRef": {"kind": "Pod", "name": "b"}},
                {"addresses": ["10.0.0.3", "not an address"]},
            ],
        });
        let slice: EndpointSlice = serde_json::from_value(slice).unwrap();
        let backend = |address: &str, pod: Option<&str>| Backend {
            address: address.parse().unwrap(),
            pod: pod.map(str::to_owned),
        };
        let expected = vec![
            backend("10.0.0.1:80", Some("a")),
            backend("10.0.0.3:80", None),
        ];
        assert_eq!(ready(&slice, 80), expected);
    }
}
