//! The admission webhooks: shown a pod, as the API server would show it.

use super::Scene;
use crate::{checks::Report, cluster::explain};
use anyhow::{Context as _, bail};
use k8s_openapi::{
    ByteString,
    api::{
        admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
        core::v1::{Pod, Secret},
    },
};
use kube::{
    Api, Client,
    api::{DynamicObject, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use mesh_contract::{annotations, names};
use serde_json::json;
use x509_parser::pem::Pem;

/// Where a pod is shown to the webhook; nothing is created.
const NAMESPACE: &str = "default";

pub(super) async fn check(scene: &Scene<'_>, report: &mut Report) {
    report.section("webhooks");
    let again = "apply the manifests again: mesh upgrade | kubectl apply -f -";
    let secret = certificate(scene).await;
    let logs = "look at kubectl logs deploy/linkerd-proxy-injector: it makes the certificate and \
                writes the bundle by itself";
    let chain = report.require("the webhooks have a serving certificate", secret, logs);
    if let Some(chain) = chain {
        let injector = mutating(&scene.client)
            .await
            .and_then(|it| trusts(&it, &chain));
        report.require("the API server trusts the injector", injector, logs);
        let validator = validating(&scene.client)
            .await
            .and_then(|it| trusts(&it, &chain));
        report.require("the API server trusts the validator", validator, again);
    }
    report.require(
        "a pod that asks for a sidecar gets one (tried on a dry run)",
        injects(&scene.client).await,
        "see that the API server reaches the injector's pods on port 8443, and kubectl logs \
         deploy/linkerd-proxy-injector",
    );
    report.expect(
        "a policy that means nothing is refused (tried on a dry run)",
        validates(&scene.client).await,
        "see that the API server reaches the injector's pods on port 8443; until then mistakes in \
         policies are found by their missing effect",
    );
}

/// The chain of the serving certificate, DER.
async fn certificate(scene: &Scene<'_>) -> anyhow::Result<Vec<Vec<u8>>> {
    let (namespace, name) = (scene.control_plane_ns, names::INJECTOR_TLS);
    let api: Api<Secret> = Api::namespaced(scene.client.clone(), namespace);
    let secret = api.get(name).await;
    let secret = secret.map_err(|e| explain(e, &format!("cannot read {namespace}/{name}")))?;
    let data = secret.data.unwrap_or_default();
    let leaf = data.get("tls.crt").context("it has no tls.crt")?;
    let chain = certificates(&leaf.0).context("tls.crt is no PEM")?;
    let leaf = chain.first().context("tls.crt is empty")?;
    let (_, leaf) = x509_parser::parse_x509_certificate(leaf)
        .map_err(|error| anyhow::anyhow!("tls.crt is no certificate: {error}"))?;
    if !leaf.validity().is_valid() {
        bail!(
            "it is valid from {} to {} only",
            leaf.validity().not_before,
            leaf.validity().not_after
        );
    }
    Ok(chain)
}

/// The certificates of a PEM bundle, DER.
fn certificates(pem: &[u8]) -> anyhow::Result<Vec<Vec<u8>>> {
    let all = Pem::iter_from_buffer(pem);
    let all: Result<Vec<_>, _> = all.map(|one| one.map(|one| one.contents)).collect();
    all.map_err(|error| anyhow::anyhow!("{error}"))
}

async fn mutating(client: &Client) -> anyhow::Result<Vec<Option<ByteString>>> {
    let api: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let name = names::INJECTOR_WEBHOOK_CONFIG;
    let found = api.get(name).await;
    let found = found.map_err(|e| explain(e, &format!("cannot read {name}")))?;
    let webhooks = found.webhooks.unwrap_or_default();
    Ok(webhooks
        .into_iter()
        .map(|webhook| webhook.client_config.ca_bundle)
        .collect())
}

async fn validating(client: &Client) -> anyhow::Result<Vec<Option<ByteString>>> {
    let api: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let name = names::VALIDATOR_WEBHOOK_CONFIG;
    let found = api.get(name).await;
    let found = found.map_err(|e| explain(e, &format!("cannot read {name}")))?;
    let webhooks = found.webhooks.unwrap_or_default();
    Ok(webhooks
        .into_iter()
        .map(|webhook| webhook.client_config.ca_bundle)
        .collect())
}

/// Whether the chain of a serving certificate ends in each of `bundles`.
fn trusts(bundles: &[Option<ByteString>], chain: &[Vec<u8>]) -> anyhow::Result<()> {
    if bundles.is_empty() {
        bail!("the configuration has no webhook");
    }
    for bundle in bundles {
        let bundle = bundle
            .as_ref()
            .context("the configuration has no CA bundle")?;
        let bundle = certificates(&bundle.0).context("the CA bundle is no PEM")?;
        if !ends_in(chain, &bundle) {
            bail!("no certificate of the CA bundle has signed the serving certificate");
        }
    }
    Ok(())
}

fn ends_in(chain: &[Vec<u8>], bundle: &[Vec<u8>]) -> bool {
    let Some(last) = chain.last() else {
        return false;
    };
    let Ok((_, signed)) = x509_parser::parse_x509_certificate(last) else {
        return false;
    };
    let signs = |ca: &Vec<u8>| {
        let parsed = x509_parser::parse_x509_certificate(ca);
        parsed.is_ok_and(|(_, ca)| signed.verify_signature(Some(ca.public_key())).is_ok())
    };
    bundle.contains(last) || bundle.iter().any(signs)
}

/// Shows the API server a pod that asks for a sidecar, on a dry run.
pub(crate) async fn injects(client: &Client) -> anyhow::Result<()> {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {
            "generateName": "mesh-check-",
            "namespace": NAMESPACE,
            "annotations": { annotations::INJECT: "enabled" },
        },
        "spec": { "containers": [{ "name": "app", "image": "mesh-check" }] },
    }))?;
    let api: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let shown = api.create(&dry_run(), &pod).await;
    let shown = shown.map_err(|e| explain(e, "cannot show it a pod"))?;
    let spec = shown.spec.unwrap_or_default();
    let all = spec.containers.iter();
    let mut all = all.chain(spec.init_containers.iter().flatten());
    if !all.any(|container| container.name == names::PROXY_CONTAINER) {
        bail!("the pod came back without a sidecar: the webhook was not asked, or did not answer");
    }
    Ok(())
}

async fn validates(client: &Client) -> anyhow::Result<()> {
    let kind = GroupVersionKind::gvk("policy.linkerd.io", "v1alpha1", "NetworkAuthentication");
    let resource = ApiResource::from_gvk(&kind);
    let nonsense = DynamicObject::new("mesh-check", &resource)
        .within(NAMESPACE)
        .data(json!({ "spec": { "networks": [{ "cidr": "everywhere" }] } }));
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), NAMESPACE, &resource);
    match api.create(&dry_run(), &nonsense).await {
        Ok(_) => bail!("the network \"everywhere\" was admitted"),
        Err(kube::Error::Api(status)) if status.message.contains("everywhere") => Ok(()),
        Err(error) => Err(explain(error, "cannot show it a policy")),
    }
}

fn dry_run() -> PostParams {
    PostParams {
        dry_run: true,
        ..PostParams::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_tls::testing::Ca;

    #[test]
    fn a_bundle_is_trusted_for_what_it_has_signed_and_nothing_else() {
        let (ours, other) = (Ca::new("ours"), Ca::new("ours"));
        let pem = |ca: &Ca| ca.0.cert_pem();
        let issuer = ours
            .0
            .issuer("issuer", std::time::Duration::from_secs(3600));
        // What an issuer has signed is a chain of two, of which the last counts.
        let leaf = certificates(issuer.unwrap().cert_pem().as_bytes()).unwrap();
        let bundle = |text: String| vec![Some(ByteString(text.into_bytes()))];
        for (bundles, chain, fine) in [
            (bundle(pem(&ours)), &leaf, true),
            (bundle(pem(&other) + &pem(&ours)), &leaf, true),
            (bundle(pem(&other)), &leaf, false),
            (bundle(String::new()), &leaf, false),
            (bundle("no PEM".into()), &leaf, false),
            (vec![None], &leaf, false),
            (Vec::new(), &leaf, false),
            (
                bundle(pem(&ours)),
                &certificates(pem(&ours).as_bytes()).unwrap(),
                true,
            ),
            (bundle(pem(&ours)), &Vec::new(), false),
        ] {
            let found = trusts(&bundles, chain);
            assert_eq!(found.is_ok(), fine, "{bundles:?}: {found:?}");
        }
    }
}
