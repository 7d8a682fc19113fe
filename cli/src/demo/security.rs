//! The security the demo claims, each claim a check that can fail.

use super::{intruder, report::Report, world::World};
use crate::{
    gateway::{self, Gateway},
    http,
    workload::Workload,
};
use anyhow::{Context as _, bail, ensure};
use hyper::Method;
use mesh_contract::{headers, ports};
use mesh_tls::Store;
use serde::Deserialize;
use std::{net::SocketAddr, time::Duration};

const TIMEOUT: Duration = Duration::from_secs(5);
const EXPORTED: &str = "web.default.svc.cluster.local";
const UNEXPORTED: &str = "web-internal.default.svc.cluster.local";

/// What the demo's web server says of a request.
#[derive(Debug, Deserialize)]
struct Seen {
    cluster: Option<String>,
    client_id: Option<String>,
}

/// Tries every claim; west's client speaks, east's gateway is attacked.
pub(super) async fn run(world: &World, report: &mut Report) {
    report.check(
        "within a cluster, the server's sidecar sees the client's identity",
        sees(world, EXPORTED, "west", &client_id(), &[]).await,
    );
    report.check(
        "across clusters, the server's sidecar sees the gateway's identity",
        sees(
            world,
            "web-east.default.svc.cluster.local",
            "east",
            &gateway_id(),
            &[],
        )
        .await,
    );
    let forged = [
        (
            headers::FORWARDED,
            "for=admin.default.serviceaccount.identity.linkerd.cluster.local",
        ),
        (
            headers::CLIENT_ID,
            "admin.default.serviceaccount.identity.linkerd.cluster.local",
        ),
    ];
    report.check(
        "an identity a client claims in a header is not believed",
        sees(
            world,
            "web-east.default.svc.cluster.local",
            "east",
            &gateway_id(),
            &forged,
        )
        .await,
    );
    let (gateway, client) = match cast(world).await {
        Ok(cast) => cast,
        Err(error) => return report.check("east's gateway can be attacked", Err(error)),
    };
    report.check(
        "a gateway refuses plaintext",
        refuses_plaintext(gateway.address).await,
    );
    let trusted = client.store.anchors();
    report.check(
        "a gateway refuses TLS without an identity",
        refused(intruder::anonymous(&trusted, &gateway, EXPORTED).await),
    );
    report.check(
        "a gateway refuses an identity of a foreign authority",
        refused(intruder::foreign(&trusted, &gateway, client.store.id(), EXPORTED).await),
    );
    report.check(
        "a gateway admits an exported service and no other",
        admits_exports_only(&client.store, &gateway).await,
    );
}

/// East's gateway, and west's client with its own identity.
async fn cast(world: &World) -> anyhow::Result<(Gateway, Workload)> {
    let gateway = Gateway {
        address: world.gateway("east").await?,
        identity: gateway_id().parse().context("not an identity")?,
    };
    let client = world.workload("west", "default", "client").await?;
    Ok((gateway, client))
}

fn client_id() -> String {
    "client.default.serviceaccount.identity.linkerd.cluster.local".to_owned()
}

fn gateway_id() -> String {
    "linkerd-gateway.linkerd-multicluster.serviceaccount.identity.linkerd.cluster.local".to_owned()
}

/// Asks `host` through the client's sidecar: `cluster` must answer, having seen `identity`.
async fn sees(
    world: &World,
    host: &str,
    cluster: &str,
    identity: &str,
    headers: &[(&str, &str)],
) -> anyhow::Result<()> {
    let sidecar = SocketAddr::new(world.client_ip, ports::OUTBOUND);
    let request = http::get(&format!("http://{host}/"), headers)?;
    let answer = http::send(sidecar, request, TIMEOUT).await?;
    ensure!(
        answer.status.is_success(),
        "{host} answered {}: {}",
        answer.status,
        String::from_utf8_lossy(&answer.body)
    );
    let seen: Seen = answer.json()?;
    ensure!(
        seen.cluster.as_deref() == Some(cluster),
        "answered by {:?}",
        seen.cluster
    );
    ensure!(
        seen.client_id.as_deref() == Some(identity),
        "the server saw {:?} instead of {identity}",
        seen.client_id
    );
    Ok(())
}

async fn refuses_plaintext(gateway: SocketAddr) -> anyhow::Result<()> {
    let answer = intruder::plaintext(gateway, EXPORTED).await?;
    ensure!(answer.is_empty(), "it answered {answer:?}");
    Ok(())
}

/// A refusal is the end of the connection, or 403. An attempt that could not be made proves
/// nothing.
fn refused(outcome: anyhow::Result<Option<hyper::StatusCode>>) -> anyhow::Result<()> {
    match outcome? {
        None | Some(hyper::StatusCode::FORBIDDEN) => Ok(()),
        Some(status) => bail!("the gateway answered {status}"),
    }
}

/// With the client's true identity: the exported name answers, so the attempt is sound, and the
/// other name of the very same pods does not.
async fn admits_exports_only(client: &Store, gateway: &Gateway) -> anyhow::Result<()> {
    let ask = async |name| {
        let answer = gateway::ask(client, gateway, Method::GET, (name, 80), TIMEOUT).await?;
        anyhow::Ok(answer.status)
    };
    let exported = ask(EXPORTED).await?;
    ensure!(
        exported.is_success(),
        "the exported service answered {exported}"
    );
    let unexported = ask(UNEXPORTED).await?;
    ensure!(
        unexported == hyper::StatusCode::NOT_FOUND,
        "the unexported service answered {unexported} instead of 404"
    );
    Ok(())
}
