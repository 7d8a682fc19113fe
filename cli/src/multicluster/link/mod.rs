//! `mesh multicluster link` and `link-gen`: print the Link and the credentials for it.

mod gateway;
mod legacy;
mod selector;
mod token;

pub(crate) use self::legacy::{LegacyArgs, run_legacy};

use super::{kubeconfig, name};
use crate::{
    cluster::ClusterArgs,
    installation,
    output::{self, ManifestFormat},
};
use anyhow::{Context as _, bail};
use mesh_contract::{annotations, labels, names};
use serde_json::{Value, json};

/// Longest cluster name: it becomes the suffix of Service names, which have 63 characters.
const MAX_CLUSTER_NAME: usize = 40;

/// Flags of `mesh multicluster link-gen`, and of `link`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the linked cluster: of the Link, and suffix of every mirrored Service
    #[arg(long, value_name = "NAME", value_parser = cluster_name)]
    pub(crate) cluster_name: String,

    /// Namespace of the multicluster extension, on both sides
    #[arg(long, default_value = names::MULTICLUSTER_NS, value_parser = name)]
    pub(crate) namespace: String,

    /// Address of the API server as the other cluster reaches it (default: the kubeconfig's)
    #[arg(long, value_name = "URL", value_parser = kubeconfig::check_server)]
    pub(crate) api_server_address: Option<String>,

    /// Account whose token the other cluster's mirror gets (see mesh multicluster allow)
    #[arg(long, default_value = names::REMOTE_ACCESS, value_parser = name)]
    pub(crate) service_account_name: String,

    /// Name of the gateway Service
    #[arg(long, default_value = names::GATEWAY, value_parser = name)]
    pub(crate) gateway_name: String,

    /// Namespace of the gateway Service
    #[arg(long, default_value = names::MULTICLUSTER_NS, value_parser = name)]
    pub(crate) gateway_namespace: String,

    /// Link through the gateway; false links without one
    #[arg(long, default_value_t = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) gateway: bool,

    /// Addresses of the gateway, instead of the Service's load balancer (comma separated)
    #[arg(long, value_delimiter = ',', value_name = "ADDRESS", value_parser = gateway::check_address)]
    pub(crate) gateway_addresses: Vec<String>,

    /// Port of the gateway; 0 is the Service's
    #[arg(
        long,
        value_name = "PORT",
        default_value_t = 0,
        hide_default_value = true
    )]
    pub(crate) gateway_port: u16,

    /// Which Services to mirror through the gateway
    #[arg(short = 'l', long, default_value_t = exported())]
    pub(crate) selector: String,

    /// Which Services to mirror pod to pod, on flat networks
    #[arg(long, default_value_t = format!("{}=remote-discovery", labels::EXPORTED))]
    pub(crate) remote_discovery_selector: String,

    /// Which Services join federated services
    #[arg(long, default_value_t = format!("{}=member", labels::FEDERATED))]
    pub(crate) federated_service_selector: String,

    /// Annotations never to import (a key, or PREFIX/*)
    #[arg(long, value_delimiter = ',', value_name = "KEY", value_parser = excluded)]
    pub(crate) excluded_annotations: Vec<String>,

    /// Labels never to import (a key, or PREFIX/*)
    #[arg(long, value_delimiter = ',', value_name = "KEY", value_parser = excluded)]
    pub(crate) excluded_labels: Vec<String>,

    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: ManifestFormat,
}

/// Runs `link-gen`.
pub(crate) async fn run(args: Args, cluster: &ClusterArgs) -> anyhow::Result<()> {
    let documents = manifests(&args, cluster).await?;
    if args.api_server_address.is_none() {
        doubt_address(cluster);
    }
    output::manifests(&documents, args.output)
}

/// Says where the kubeconfig's address is hardly one that another cluster can use.
fn doubt_address(cluster: &ClusterArgs) {
    let entry = cluster
        .kubeconfig()
        .ok()
        .and_then(|kubeconfig| kubeconfig::cluster(&kubeconfig, cluster.context.as_deref()).ok());
    let Some(entry) = entry.and_then(|named| named.cluster) else {
        return;
    };
    let remedy = "give the address it reaches with --api-server-address";
    if let Some(server) = entry
        .server
        .filter(|server| kubeconfig::is_only_here(server))
    {
        eprintln!(
            "mesh: the API server's address {server} means this very machine, for the other \
             cluster itself: {remedy}"
        );
    }
    if entry.proxy_url.is_some() {
        eprintln!(
            "mesh: the kubeconfig reaches the API server through a proxy, which the other cluster \
             does not use: {remedy}"
        );
    }
}

/// The credentials Secret and the Link.
pub(crate) async fn manifests(args: &Args, cluster: &ClusterArgs) -> anyhow::Result<Vec<Value>> {
    check_gateway_flags(args)?;
    let selectors = Selectors::parse(args)?;
    let client = cluster.client().await?;
    let entry = kubeconfig::cluster(&cluster.kubeconfig()?, cluster.context.as_deref())?;
    let given = args.api_server_address.as_deref();
    let server = kubeconfig::server(&entry, given.or(cluster.api_addr.as_deref()))?;
    let values = installation::values(&client, &cluster.control_plane_ns).await?;
    let token = token::read(&client, &args.namespace, &args.service_account_name).await?;
    let kubeconfig = kubeconfig::self_contained(
        &entry,
        &server,
        &args.cluster_name,
        &args.service_account_name,
        &token,
    )?;
    let secret_name = format!("{}{}", names::CREDENTIALS_SECRET_PREFIX, args.cluster_name);
    let mut spec = json!({
        "targetClusterName": args.cluster_name,
        "targetClusterDomain": values.cluster_domain,
        "targetClusterLinkerdNamespace": cluster.control_plane_ns,
        "clusterCredentialsSecret": secret_name,
        "remoteDiscoverySelector": selectors.remote_discovery,
        "federatedServiceSelector": selectors.federated,
    });
    if args.gateway {
        merge(&mut spec, gateway::read(&client, args).await?);
        spec["selector"] = selectors.exported;
    }
    for (key, list) in [
        ("excludedAnnotations", &args.excluded_annotations),
        ("excludedLabels", &args.excluded_labels),
    ] {
        if !list.is_empty() {
            spec[key] = json!(list);
        }
    }
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": secret_name,
            "namespace": args.namespace,
            "labels": { labels::SECRET_CLUSTER_NAME: args.cluster_name },
            "annotations": {
                annotations::TRUST_DOMAIN: values.identity_trust_domain,
                annotations::CLUSTER_DOMAIN: values.cluster_domain,
            },
        },
        "type": names::CREDENTIALS_SECRET_TYPE,
        "stringData": { names::CREDENTIALS_SECRET_KEY: kubeconfig },
    });
    let link = json!({
        "apiVersion": "multicluster.linkerd.io/v1alpha3",
        "kind": "Link",
        "metadata": {
            "name": args.cluster_name,
            "namespace": args.namespace,
            "annotations": { annotations::CREATED_BY: mesh_install::created_by() },
        },
        "spec": spec,
    });
    Ok(vec![secret, link])
}

/// Which Services a Link takes, parsed before anything is asked of a cluster.
struct Selectors {
    exported: Value,
    remote_discovery: Value,
    federated: Value,
}

impl Selectors {
    fn parse(args: &Args) -> anyhow::Result<Self> {
        let parse = |flag: &str, text: &str| {
            selector::parse(text).with_context(|| format!("--{flag} is no label selector"))
        };
        Ok(Self {
            exported: parse("selector", &args.selector)?,
            remote_discovery: parse("remote-discovery-selector", &args.remote_discovery_selector)?,
            federated: parse(
                "federated-service-selector",
                &args.federated_service_selector,
            )?,
        })
    }
}

/// What is said of a gateway that is not wanted is a mistake.
fn check_gateway_flags(args: &Args) -> anyhow::Result<()> {
    let given = [
        ("--selector", args.selector != exported()),
        ("--gateway-addresses", !args.gateway_addresses.is_empty()),
        ("--gateway-port", args.gateway_port != 0),
    ];
    match given.iter().find(|(_, given)| *given && !args.gateway) {
        Some((flag, _)) => bail!("{flag} is about the gateway, and --gateway=false links without"),
        None => Ok(()),
    }
}

fn exported() -> String {
    format!("{}=true", labels::EXPORTED)
}

/// A cluster's name: a DNS label, short enough to be a suffix.
pub(super) fn cluster_name(text: &str) -> Result<String, String> {
    let name = name(text)?;
    if name.len() > MAX_CLUSTER_NAME {
        return Err(format!(
            "it has {} characters, and becomes the suffix of Service names, which have 63: use at \
             most {MAX_CLUSTER_NAME}",
            name.len()
        ));
    }
    if names::FEDERATED_SUFFIX.trim_start_matches('-') == name {
        return Err("it is the suffix of federated services: use another".to_owned());
    }
    Ok(name)
}

/// A key, or `PREFIX/*`.
fn excluded(text: &str) -> Result<String, String> {
    let key = text.strip_suffix("/*").map(|prefix| format!("{prefix}/x"));
    if selector::is_key(key.as_deref().unwrap_or(text)) {
        Ok(text.to_owned())
    } else {
        Err("expected a key such as example.com/team, or PREFIX/*".to_owned())
    }
}

fn merge(into: &mut Value, from: Value) {
    if let (Some(into), Value::Object(from)) = (into.as_object_mut(), from) {
        into.extend(from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_name_that_cannot_be_a_suffix_is_refused() {
        for name in [
            "",
            "East",
            "a.b",
            "-east",
            "east-",
            "federated",
            &"x".repeat(41),
        ] {
            assert!(cluster_name(name).is_err(), "{name:?}");
        }
        assert!(cluster_name("east-1").is_ok());
    }

    #[test]
    fn what_is_excluded_is_a_key_or_a_prefix() {
        for good in ["team", "example.com/team", "example.com/*"] {
            assert!(excluded(good).is_ok(), "{good}");
        }
        for bad in ["", "*", "a/b/c", "team*", "/*"] {
            assert!(excluded(bad).is_err(), "{bad}");
        }
    }
}
