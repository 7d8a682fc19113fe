//! `mesh multicluster link`: prints the Link and the credentials for it.

use super::kubeconfig;
use crate::{
    cluster::{ClusterArgs, explain},
    installation,
    output::{self, ManifestFormat},
};
use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::{Secret, Service};
use kube::{Api, Client, ResourceExt as _, api::ListParams};
use mesh_contract::{annotations, labels, names, ports};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Longest cluster name: it becomes the suffix of Service names, which have 63 characters.
const MAX_CLUSTER_NAME: usize = 40;

/// Flags of `mesh multicluster link`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the linked cluster: of the Link, and suffix of every mirrored Service
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster_name: String,

    /// Namespace of the multicluster extension, on both sides
    #[arg(long, default_value = names::MULTICLUSTER_NS)]
    pub(crate) namespace: String,

    /// Address of the API server as the other cluster reaches it (default: the kubeconfig's)
    #[arg(long, value_name = "URL")]
    pub(crate) api_server_address: Option<String>,

    /// Account whose token the other cluster's mirror gets
    #[arg(long, default_value = names::REMOTE_ACCESS)]
    pub(crate) service_account_name: String,

    /// Name of the gateway Service
    #[arg(long, default_value = names::GATEWAY)]
    pub(crate) gateway_name: String,

    /// Namespace of the gateway Service
    #[arg(long, default_value = names::MULTICLUSTER_NS)]
    pub(crate) gateway_namespace: String,

    /// Link through the gateway; false links without one
    #[arg(long, default_value_t = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) gateway: bool,

    /// Addresses of the gateway, instead of the Service's load balancer (comma separated)
    #[arg(long, value_delimiter = ',', value_name = "ADDRESS")]
    pub(crate) gateway_addresses: Vec<String>,

    /// Port of the gateway, instead of the Service's
    #[arg(long, value_name = "PORT")]
    pub(crate) gateway_port: Option<u16>,

    /// Which Services to mirror through the gateway
    #[arg(short = 'l', long, default_value_t = format!("{}=true", labels::EXPORTED))]
    pub(crate) selector: String,

    /// Which Services to mirror pod to pod, on flat networks
    #[arg(long, default_value_t = format!("{}=remote-discovery", labels::EXPORTED))]
    pub(crate) remote_discovery_selector: String,

    /// Which Services join federated services
    #[arg(long, default_value_t = format!("{}=member", labels::FEDERATED))]
    pub(crate) federated_service_selector: String,

    /// Annotations never to import (a key, or PREFIX/*)
    #[arg(long, value_delimiter = ',')]
    pub(crate) excluded_annotations: Vec<String>,

    /// Labels never to import (a key, or PREFIX/*)
    #[arg(long, value_delimiter = ',')]
    pub(crate) excluded_labels: Vec<String>,

    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: ManifestFormat,
}

/// Runs the command.
pub(crate) async fn run(args: Args, cluster: &ClusterArgs) -> anyhow::Result<()> {
    let documents = manifests(&args, cluster).await?;
    output::manifests(&documents, args.output)
}

/// The credentials Secret and the Link.
pub(crate) async fn manifests(args: &Args, cluster: &ClusterArgs) -> anyhow::Result<Vec<Value>> {
    check_name(&args.cluster_name)?;
    let client = cluster.client().await?;
    let entry = kubeconfig::cluster(&cluster.kubeconfig()?, cluster.context.as_deref())?;
    let values = installation::values(&client, &cluster.control_plane_ns).await?;
    let token = token(&client, &args.namespace, &args.service_account_name).await?;
    let kubeconfig = kubeconfig::self_contained(
        &entry,
        args.api_server_address.as_deref(),
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
        "remoteDiscoverySelector": selector(&args.remote_discovery_selector)?,
        "federatedServiceSelector": selector(&args.federated_service_selector)?,
    });
    if args.gateway {
        let gateway = gateway(&client, args).await?;
        merge(&mut spec, gateway);
        spec["selector"] = selector(&args.selector)?;
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

fn check_name(name: &str) -> anyhow::Result<()> {
    let valid = !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    if !valid {
        bail!("--cluster-name {name:?}: use lower-case letters, digits and '-' (RFC 1123 label)");
    }
    if name.len() > MAX_CLUSTER_NAME {
        bail!(
            "--cluster-name {name:?} has {} characters: it becomes the suffix of Service names, \
             which have 63; use at most {MAX_CLUSTER_NAME}",
            name.len()
        );
    }
    Ok(())
}

/// The token of the account peers use, from its token Secret.
async fn token(client: &Client, namespace: &str, account: &str) -> anyhow::Result<String> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let secrets = api
        .list(&ListParams::default().fields("type=kubernetes.io/service-account-token"))
        .await
        .map_err(|e| explain(e, &format!("cannot list the token Secrets of {namespace}")))?;
    let of_account = secrets.items.into_iter().find(|secret| {
        secret
            .annotations()
            .get("kubernetes.io/service-account.name")
            .map(String::as_str)
            == Some(account)
    });
    let data = of_account
        .with_context(|| {
            format!(
                "the ServiceAccount {namespace}/{account} has no token Secret: install the \
                 extension there (mesh multicluster install), or name another account with \
                 --service-account-name"
            )
        })?
        .data
        .and_then(|mut data| data.remove("token"))
        .with_context(|| {
            format!("the token Secret of {namespace}/{account} is still empty: try again shortly")
        })?;
    String::from_utf8(data.0).context("the token is not text")
}

/// The gateway's part of a Link.
async fn gateway(client: &Client, args: &Args) -> anyhow::Result<Value> {
    let name = format!("{}/{}", args.gateway_namespace, args.gateway_name);
    let api: Api<Service> = Api::namespaced(client.clone(), &args.gateway_namespace);
    let service = api
        .get(&args.gateway_name)
        .await
        .map_err(|e| explain(e, &format!("cannot read the gateway Service {name}")))?;
    let note = |key: &str| {
        service
            .annotations()
            .get(key)
            .filter(|value| !value.is_empty())
            .cloned()
            .with_context(|| format!("the gateway Service {name} has no annotation {key}"))
    };
    let addresses = if args.gateway_addresses.is_empty() {
        addresses(&service).with_context(|| {
            format!(
                "the gateway Service {name} has no load balancer address yet: wait for it, or \
                 give --gateway-addresses"
            )
        })?
    } else {
        args.gateway_addresses.clone()
    };
    let port = match args.gateway_port {
        Some(port) => i32::from(port),
        None => port(&service, names::GATEWAY_PORT_NAME).with_context(|| {
            format!(
                "the gateway Service {name} has no port {}",
                names::GATEWAY_PORT_NAME
            )
        })?,
    };
    let probe_port = port_or_default(&service);
    let period = note(annotations::PROBE_PERIOD)?;
    let period = if period.bytes().all(|b| b.is_ascii_digit()) {
        format!("{period}s")
    } else {
        period
    };
    Ok(json!({
        "gatewayAddress": addresses.join(","),
        "gatewayPort": port.to_string(),
        "gatewayIdentity": note(annotations::GATEWAY_IDENTITY)?,
        "probeSpec": {
            "path": note(annotations::PROBE_PATH)?,
            "port": probe_port.to_string(),
            "period": period,
        },
    }))
}

fn addresses(service: &Service) -> Option<Vec<String>> {
    let ingress = service
        .status
        .as_ref()?
        .load_balancer
        .as_ref()?
        .ingress
        .as_ref()?;
    let addresses: Vec<_> = ingress
        .iter()
        .filter_map(|entry| entry.ip.clone().or_else(|| entry.hostname.clone()))
        .collect();
    (!addresses.is_empty()).then_some(addresses)
}

/// The port other clusters connect to: a NodePort Service's node port.
fn port(service: &Service, name: &str) -> Option<i32> {
    let spec = service.spec.as_ref()?;
    let port = spec
        .ports
        .as_ref()?
        .iter()
        .find(|port| port.name.as_deref() == Some(name))?;
    match spec.type_.as_deref() {
        Some("NodePort") => port.node_port,
        _ => Some(port.port),
    }
}

fn port_or_default(service: &Service) -> i32 {
    port(service, names::GATEWAY_PROBE_PORT_NAME).unwrap_or_else(|| i32::from(ports::ADMIN))
}

/// `a=b,c=d` or `a` as a LabelSelector.
fn selector(text: &str) -> anyhow::Result<Value> {
    let mut equal = BTreeMap::new();
    let mut expressions = Vec::new();
    for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        match part.split_once('=') {
            Some((key, value)) if !key.is_empty() && !key.ends_with('!') => {
                equal.insert(key.to_owned(), value.trim_start_matches('=').to_owned());
            }
            None => expressions.push(json!({ "key": part, "operator": "Exists" })),
            Some(_) => bail!("the selector {text:?} is not KEY=VALUE or KEY, comma separated"),
        }
    }
    let mut selector = json!({});
    if !equal.is_empty() {
        selector["matchLabels"] = json!(equal);
    }
    if !expressions.is_empty() {
        selector["matchExpressions"] = json!(expressions);
    }
    Ok(selector)
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
        for name in ["", "East", "a.b", "-east", "east-", &"x".repeat(41)] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        assert!(check_name("east-1").is_ok());
    }

    #[test]
    fn selectors_are_read_as_kubectl_reads_them() {
        assert_eq!(selector("a=b").unwrap(), json!({"matchLabels": {"a": "b"}}));
        assert_eq!(
            selector("a==b").unwrap(),
            json!({"matchLabels": {"a": "b"}})
        );
        assert_eq!(
            selector("a").unwrap(),
            json!({"matchExpressions": [{"key": "a", "operator": "Exists"}]})
        );
        assert!(selector("a!=b").is_err());
    }

    #[test]
    fn a_node_port_gateway_is_reached_on_its_node_port() {
        let service: Service = serde_json::from_value(json!({
            "spec": { "type": "NodePort", "ports": [
                {"name": "mc-gateway", "port": 4143, "nodePort": 30143},
            ]},
        }))
        .unwrap();
        assert_eq!(port(&service, "mc-gateway"), Some(30143));
    }
}
