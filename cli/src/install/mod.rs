//! `mesh install` and `mesh upgrade`: print the manifests of the control plane for
//! `kubectl apply -f -`. `mesh uninstall` prints what to delete.

pub(crate) mod certificates;
mod flags;
pub(crate) mod survey;
pub(crate) mod uninstall;
pub(crate) mod upgrade;

use self::{certificates::CertificateArgs, flags::ShorthandArgs};
use crate::{
    cluster::{ClusterArgs, explain},
    output::{self, ManifestFormat},
};
use anyhow::Context as _;
use k8s_openapi::api::core::v1::ConfigMap;
use mesh_contract::{annotations, labels, names};
use mesh_install::values::{Loaded, ValuesArgs, load};
use serde_json::{Value, json};

/// Print the manifests that install the control plane
///
/// Apply them with `mesh install | kubectl apply -f -`. Without certificate files a trust anchor
/// and an issuer are made, valid for one year; clusters that are to be linked need the same trust
/// anchor, so give them `--identity-trust-anchors-file` and an issuer each.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print the CRDs only
    #[arg(long)]
    crds: bool,

    #[command(flatten)]
    settings: SettingArgs,

    /// Do not look at the cluster for an existing installation
    #[arg(long)]
    ignore_cluster: bool,

    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: ManifestFormat,
}

/// What install and upgrade can be told alike.
#[derive(Debug, clap::Args)]
pub(crate) struct SettingArgs {
    #[command(flatten)]
    certificates: CertificateArgs,

    #[command(flatten)]
    shorthands: ShorthandArgs,

    #[command(flatten)]
    values: ValuesArgs,
}

impl SettingArgs {
    /// The values, on top of what an installation was given `earlier`. Keys that nothing reads are
    /// told on standard error.
    fn load(&self, earlier: Value) -> anyhow::Result<Loaded> {
        let mut flags = self.shorthands.values();
        mesh_install::values::merge(&mut flags, self.certificates.values()?);
        let loaded = load(&self.values, earlier, flags)?;
        for key in &loaded.unknown {
            eprintln!("mesh: warning: the value {key} is not known here and is ignored");
        }
        Ok(loaded)
    }
}

/// Runs the command.
pub(crate) async fn run(args: Args, cluster: &ClusterArgs) -> anyhow::Result<()> {
    let namespace = &cluster.control_plane_ns;
    // Where a cluster is meant, not knowing is no reason to go on; without a kubeconfig none is.
    let look = !args.ignore_cluster && cluster.is_meant();
    if args.crds {
        if look {
            let client = cluster.client().await.context(survey::GO_ON)?;
            survey::refuse_foreign(&client, namespace).await?;
        }
        return output::manifests(&mesh_install::crds(namespace)?, args.output);
    }
    let mut loaded = args.settings.load(json!({}))?;
    certificates::complete(&mut loaded.values)?;
    if look {
        refuse_what_is_there(cluster).await?;
    }
    output::manifests(&documents(&loaded, namespace)?, args.output)
}

/// The manifests, and what was given, so that an upgrade can give it again.
fn documents(loaded: &Loaded, namespace: &str) -> anyhow::Result<Vec<Value>> {
    let mut documents = mesh_install::manifests(&loaded.values, namespace)?;
    documents.push(overrides(&loaded.given, namespace)?);
    Ok(documents)
}

/// The Secret with what was given; certificates have their own places.
fn overrides(given: &Value, namespace: &str) -> anyhow::Result<Value> {
    let mut given = given.clone();
    if let Some(given) = given.as_object_mut() {
        given.remove("identityTrustAnchorsPEM");
    }
    let issuer = given.pointer_mut("/identity/issuer");
    if let Some(issuer) = issuer.and_then(Value::as_object_mut) {
        issuer.remove("tls");
    }
    without_empty(&mut given);
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": names::CONFIG_OVERRIDES,
            "namespace": namespace,
            "labels": {
                labels::CONTROL_PLANE_NS: namespace,
                labels::CONTROL_PLANE_COMPONENT: "config",
                "app.kubernetes.io/part-of": "mesh",
            },
            "annotations": { annotations::CREATED_BY: mesh_install::created_by() },
        },
        "type": "Opaque",
        "stringData": { names::CONFIG_OVERRIDES: serde_saphyr::to_string(&given)? },
    }))
}

/// What a removal left empty was not given.
fn without_empty(value: &mut Value) {
    if let Value::Object(fields) = value {
        fields.values_mut().for_each(without_empty);
        fields.retain(|_, field| *field != json!({}));
    }
}

/// A new trust anchor over an old one would cut off every running sidecar, and another mesh's
/// resources would be taken over silently.
async fn refuse_what_is_there(cluster: &ClusterArgs) -> anyhow::Result<()> {
    let namespace = &cluster.control_plane_ns;
    let client = cluster.client().await.context(survey::GO_ON)?;
    let api: kube::Api<ConfigMap> = kube::Api::namespaced(client.clone(), namespace);
    let what = format!("cannot read the ConfigMap {namespace}/{}", names::CONFIG);
    let installed = api.get_opt(names::CONFIG).await;
    let installed = installed
        .map_err(|error| explain(error, &what))
        .context(survey::GO_ON)?;
    let ours = installed.as_ref().is_some_and(survey::is_ours);
    if ours {
        anyhow::bail!(
            "a control plane is installed already: the ConfigMap {namespace}/{} exists. \
             To change or renew it, use mesh upgrade, which keeps its trust anchor and issuer; \
             installing again with new ones would cut off running sidecars. \
             To print the manifests all the same, add --ignore-cluster",
            names::CONFIG
        );
    }
    survey::refuse_foreign(&client, namespace).await
}
