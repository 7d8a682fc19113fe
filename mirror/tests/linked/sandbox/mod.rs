//! Clusters, the wires between them, and mirrors; and how to wait for what they bring about.

mod cluster;
mod mirror;
mod tap;
mod waits;
mod wire;

pub(crate) use self::{
    cluster::Cluster,
    mirror::{Mirror, Setup},
    tap::tapped,
};

use kube::{
    Client,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

pub(crate) const NS: &str = "linkerd-multicluster";
pub(crate) const GATEWAY_IDENTITY: &str =
    "linkerd-gateway.linkerd-multicluster.serviceaccount.identity.linkerd.cluster.local";
/// Nothing here takes so long unless it never happens.
const DEADLINE: Duration = Duration::from_secs(30);

/// Waits until `probe` gives an answer; its errors say what is still missing.
pub(crate) async fn eventually<T>(mut probe: impl AsyncFnMut() -> Result<T, String>) -> T {
    let started = Instant::now();
    loop {
        match probe().await {
            Ok(value) => return value,
            Err(missing) if started.elapsed() > DEADLINE => {
                panic!("not within {DEADLINE:?}: {missing}")
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

pub(crate) fn exported() -> Value {
    json!({"mirror.linkerd.io/exported": "true", "app": "web"})
}

fn text(error: kube::Error) -> String {
    error.to_string()
}

/// A client of the cluster in `kubeconfig`.
pub(crate) async fn client(kubeconfig: &str) -> Client {
    Client::try_from(config(kubeconfig).await).unwrap()
}

async fn config(kubeconfig: &str) -> kube::Config {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).unwrap();
    kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .unwrap()
}
