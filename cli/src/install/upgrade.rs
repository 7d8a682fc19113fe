//! `mesh upgrade`: the manifests of this version, for what was installed, with its trust anchor
//! and its issuer.

use super::{SettingArgs, certificates, documents, survey};
use crate::{
    cluster::{ClusterArgs, explain},
    installation,
    output::{self, ManifestFormat},
};
use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};
use mesh_contract::{annotations, names};
use mesh_install::values::{Values, merge};
use serde_json::{Value, json};

/// Print the manifests that bring the control plane to this version
///
/// What was given to `mesh install` is kept, the trust anchor and the issuer too, unless they are
/// given anew here. Apply with `mesh upgrade | kubectl apply -f -`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    settings: SettingArgs,

    /// Forget what was given before: only the trust anchor and the issuer are kept
    #[arg(long)]
    reset_values: bool,

    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: ManifestFormat,
}

/// Runs the command.
pub(crate) async fn run(args: Args, cluster: &ClusterArgs) -> anyhow::Result<()> {
    let client = cluster.client().await?;
    let namespace = &cluster.control_plane_ns;
    // Says best what is missing where nothing is installed.
    let installed = installation::values(&client, namespace).await?;
    refuse_what_is_not_ours(&client, namespace).await?;
    let mut earlier = if args.reset_values {
        json!({})
    } else {
        overrides(&client, namespace).await?
    };
    merge(&mut earlier, trust(&client, namespace, installed).await?);
    let mut loaded = args.settings.load(earlier)?;
    certificates::complete(&mut loaded.values)
        .context("what is installed and what is given now do not fit")?;
    output::manifests(&documents(&loaded, namespace)?, args.output)
}

async fn refuse_what_is_not_ours(client: &Client, namespace: &str) -> anyhow::Result<()> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let what = format!("cannot read the ConfigMap {namespace}/{}", names::CONFIG);
    let config = api
        .get(names::CONFIG)
        .await
        .map_err(|e| explain(e, &what))?;
    let made_by = config.metadata.annotations.as_ref();
    let made_by = made_by.and_then(|all| all.get(annotations::CREATED_BY));
    let made_by = made_by.map(String::as_str).unwrap_or_default();
    if made_by.starts_with("mesh/helm") {
        bail!(
            "Helm installed this control plane: upgrade it with helm upgrade, or Helm would undo \
             what is changed here"
        );
    }
    if !survey::is_ours(&config) {
        bail!(
            "the control plane in {namespace} is not ours ({made_by}). {}",
            survey::REMEDY
        );
    }
    Ok(())
}

/// What was given before.
async fn overrides(client: &Client, namespace: &str) -> anyhow::Result<Value> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let name = names::CONFIG_OVERRIDES;
    let what = format!("cannot read the Secret {namespace}/{name}");
    let secret = api.get(name).await.map_err(|e| explain(e, &what)).context(
        "what was given to mesh install is not known; give it again with --reset-values",
    )?;
    let text = text(&secret, name).with_context(|| {
        format!("the Secret {namespace}/{name} has no key {name}; give the values again with --reset-values")
    })?;
    let values: Value = serde_saphyr::from_str(&text)
        .with_context(|| format!("the Secret {namespace}/{name} does not hold YAML"))?;
    Ok(if values.is_null() { json!({}) } else { values })
}

/// The trust anchors and the issuer that are in use.
async fn trust(client: &Client, namespace: &str, installed: Values) -> anyhow::Result<Value> {
    let mut values = json!({
        "identityTrustAnchorsPEM": installed.identity_trust_anchors_pem,
    });
    if installed.identity.external_ca {
        values["identity"]["externalCA"] = json!(true);
    }
    let scheme = &installed.identity.issuer.scheme;
    if scheme != "linkerd.io/tls" {
        values["identity"]["issuer"]["scheme"] = json!(scheme);
        return Ok(values);
    }
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let name = names::ISSUER;
    let what = format!("cannot read the issuer's Secret {namespace}/{name}");
    let secret = api.get(name).await.map_err(|e| explain(e, &what))?;
    let (Some(certificate), Some(key)) = (text(&secret, "crt.pem"), text(&secret, "key.pem"))
    else {
        bail!(
            "the Secret {namespace}/{name} has no crt.pem and key.pem: if somebody else makes it, \
             add --identity-external-issuer; else give a new issuer"
        );
    };
    values["identity"]["issuer"]["tls"] = json!({ "crtPEM": certificate, "keyPEM": key });
    Ok(values)
}

fn text(secret: &Secret, key: &str) -> Option<String> {
    let bytes = secret.data.as_ref()?.get(key)?;
    String::from_utf8(bytes.0.clone()).ok()
}
