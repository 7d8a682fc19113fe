//! The linked cluster: its credentials, used; its rights; and the trust anchors of both sides.

use super::{Scene, link_again, path, rights, verdict::GATEWAY_ALIVE};
use crate::{checks::Report, cluster::explain, installation};
use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::{Secret, Service};
use kube::{Api, Client, ResourceExt as _, api::ListParams};
use mesh_api::link::{Condition, Link};
use mesh_clusters::credentials;
use mesh_contract::names;
use mesh_tls::TrustAnchors;
use std::{future::Future, time::Duration};

/// Checks what there is to know of `link` without its gateway.
pub(super) async fn check(scene: &Scene<'_>, report: &mut Report, link: &Link) {
    let name = link.name_any();
    for condition in conditions(link) {
        report.require(
            format!("{name}: the service mirror says {}", condition.type_),
            Err::<(), _>(anyhow::anyhow!(
                "{}: {}",
                condition.reason,
                condition.message
            )),
            format!(
                "kubectl -n {} describe link {name} shows it, and what goes with it",
                scene.namespace
            ),
        );
    }
    let Some(remote) = report.require(
        format!("{name}: the cluster is reachable and its credentials are accepted"),
        within(scene.timeout, client(scene, link)).await,
        link_again(link),
    ) else {
        return;
    };
    report.require(
        format!("{name}: the account there may read what is exported"),
        within(scene.timeout, rights::of_account(&remote)).await,
        "apply the extension's roles there again: mesh multicluster install | kubectl apply -f -",
    );
    let bundles = within(scene.timeout, bundles(scene, &remote, link)).await;
    let (ours, theirs) = match bundles {
        Ok(bundles) => bundles,
        Err(error) => {
            report.require(
                format!("{name}: both trust bundles can be read"),
                Err::<(), _>(error),
                "is a control plane installed on both sides? mesh check tells",
            );
            return;
        }
    };
    report.require(
        format!("{name}: the clusters share a trust anchor"),
        shared(&ours, &theirs),
        "install both clusters with the same --identity-trust-anchors-file",
    );
    report.expect(
        format!("{name}: both clusters trust the same anchors"),
        same(&ours, &theirs),
        "fine while anchors are rotated; else give both clusters the same bundle",
    );
}

/// Conditions that say what is wrong.
fn conditions(link: &Link) -> impl Iterator<Item = &Condition> {
    let conditions = link.status.iter().flat_map(|status| &status.conditions);
    // What this check tries for itself, it tells itself.
    let told = |c: &&Condition| {
        c.type_ == "TrustShared" || (c.type_ == GATEWAY_ALIVE && path::has_gateway(link))
    };
    conditions.filter(move |c| c.status == "False" && !told(c))
}

async fn within<T>(
    timeout: Duration,
    asked: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let answer = tokio::time::timeout(timeout, asked).await;
    answer.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {timeout:?} (--timeout)")))
}

/// A client made from the Link's Secret, as the service mirror makes it, that has listed a Service.
async fn client(scene: &Scene<'_>, link: &Link) -> anyhow::Result<Client> {
    let secret = link.spec.cluster_credentials_secret.as_deref();
    let secret = secret.filter(|name| !name.is_empty());
    let secret = secret.context("the Link names no clusterCredentialsSecret")?;
    let name = format!("{}/{secret}", scene.namespace);
    let api: Api<Secret> = Api::namespaced(scene.client.clone(), scene.namespace);
    let found = api.get(secret).await;
    let found = found.map_err(|e| explain(e, &format!("cannot read the Secret {name}")))?;
    let remote = credentials::client(&name, &credentials::kubeconfig(&name, &found)?).await?;
    Api::<Service>::all(remote.clone())
        .list(&ListParams::default().limit(1))
        .await
        .map_err(|e| explain(e, "cannot list Services there"))?;
    Ok(remote)
}

/// What this cluster trusts, and what the other does.
async fn bundles(
    scene: &Scene<'_>,
    remote: &Client,
    link: &Link,
) -> anyhow::Result<(TrustAnchors, TrustAnchors)> {
    let their_ns = link.spec.target_cluster_linkerd_namespace.as_deref();
    let their_ns = their_ns.filter(|ns| !ns.is_empty());
    let their_ns = their_ns.unwrap_or(names::CONTROL_PLANE_NS);
    let ours = installation::values(&scene.client, &scene.cluster.control_plane_ns).await?;
    let theirs = installation::values(remote, their_ns).await?;
    let parse = |pem: &str, whose: &str| {
        TrustAnchors::from_pem(pem).with_context(|| format!("the trust bundle {whose} is unusable"))
    };
    Ok((
        parse(&ours.identity_trust_anchors_pem, "here")?,
        parse(&theirs.identity_trust_anchors_pem, "there")?,
    ))
}

fn shared(ours: &TrustAnchors, theirs: &TrustAnchors) -> anyhow::Result<()> {
    if !ours.overlaps(theirs) {
        bail!("no certificate is in both trust bundles, so mTLS between the clusters must fail");
    }
    Ok(())
}

/// One anchor in common is what traffic needs; a workload of another anchor is refused.
fn same(ours: &TrustAnchors, theirs: &TrustAnchors) -> anyhow::Result<()> {
    let only = |a: &TrustAnchors, b: &TrustAnchors| {
        let a = a.certificates().iter();
        a.filter(|certificate| !b.certificates().contains(certificate))
            .count()
    };
    match (only(ours, theirs), only(theirs, ours)) {
        (0, 0) => Ok(()),
        (here, there) => bail!("{here} anchors are trusted only here, and {there} only there"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_tls::testing::Ca;

    #[test]
    fn anchors_are_compared_by_content() {
        let (one, other) = (Ca::new("one").0.cert_pem(), Ca::new("one").0.cert_pem());
        let bundle = |pems: &[&str]| TrustAnchors::from_pem(&pems.concat()).unwrap();
        let (a, b, both) = (bundle(&[&one]), bundle(&[&other]), bundle(&[&other, &one]));
        assert!(shared(&a, &a).is_ok() && same(&a, &a).is_ok());
        assert!(shared(&a, &b).is_err(), "of one name, but not the same");
        assert!(shared(&a, &both).is_ok());
        let error = same(&a, &both).unwrap_err().to_string();
        assert!(
            error.contains("0 anchors") && error.contains("1 only there"),
            "{error}"
        );
    }
}
