//! How a pod's processes reach the API server: the in-cluster paths do not exist here, so each
//! pod gets a kubeconfig (`KUBECONFIG`) whose token file is kept fresh like any projected token.

use std::path::Path;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

/// Where the API server is and how it is recognised; taken from the agent's own kubeconfig.
#[derive(Clone, Debug)]
pub(super) struct ApiAccess {
    server: String,
    ca_pem: Option<Vec<u8>>,
    tls_server_name: Option<String>,
    insecure: bool,
}

/// A client and, for the pods, where it leads.
pub(super) async fn open(
    path: &Path,
    context: Option<String>,
) -> anyhow::Result<(kube::Client, ApiAccess)> {
    let file = Kubeconfig::read_from(path)
        .with_context(|| format!("cannot read the kubeconfig {}", path.display()))?;
    let access = ApiAccess::read(&file, context.as_deref())
        .with_context(|| format!("kubeconfig {}", path.display()))?;
    let options = KubeConfigOptions {
        context,
        ..Default::default()
    };
    let mut config = kube::Config::from_custom_kubeconfig(file, &options)
        .await
        .with_context(|| format!("kubeconfig {}", path.display()))?;
    config.connect_timeout = Some(std::time::Duration::from_secs(5));
    let client = kube::Client::try_from(config).context("cannot make an API client")?;
    Ok((client, access))
}

impl ApiAccess {
    fn read(file: &Kubeconfig, context: Option<&str>) -> anyhow::Result<Self> {
        let name = context
            .or(file.current_context.as_deref())
            .context("no current context")?;
        let context = file
            .contexts
            .iter()
            .find(|c| c.name == name)
            .and_then(|c| c.context.as_ref());
        let cluster_name = &context
            .with_context(|| format!("no context {name:?}"))?
            .cluster;
        let cluster = file.clusters.iter().find(|c| &c.name == cluster_name);
        let cluster = cluster
            .and_then(|c| c.cluster.as_ref())
            .with_context(|| format!("no cluster {cluster_name:?}"))?;
        let ca_pem = match (
            &cluster.certificate_authority_data,
            &cluster.certificate_authority,
        ) {
            (Some(data), _) => Some(
                STANDARD
                    .decode(data.trim())
                    .context("its CA is not base64")?,
            ),
            (None, Some(path)) => {
                Some(std::fs::read(path).with_context(|| format!("cannot read its CA {path}"))?)
            }
            (None, None) => None,
        };
        Ok(Self {
            server: cluster
                .server
                .clone()
                .context("its cluster names no server")?,
            ca_pem,
            tls_server_name: cluster.tls_server_name.clone(),
            insecure: cluster.insecure_skip_tls_verify == Some(true),
        })
    }

    /// Host and port of the API server as this machine reaches it.
    pub(super) fn endpoint(&self) -> anyhow::Result<(String, u16)> {
        let uri: http::Uri = self.server.parse().context("its server is no URL")?;
        let host = uri.host().context("its server's URL names no host")?;
        let default = if uri.scheme_str() == Some("http") {
            80
        } else {
            443
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Ok((host.to_owned(), uri.port_u16().unwrap_or(default)))
    }

    /// The same API server for those who know it as `relay`, one of the names that every API
    /// server's certificate has.
    pub(super) fn by(&self, relay: &str) -> Self {
        let scheme = self.server.split("://").next().unwrap_or("https");
        Self {
            server: format!("{scheme}://{relay}"),
            ..self.clone()
        }
    }

    /// The certificates the API server's is signed by.
    pub(super) fn ca_pem(&self) -> &[u8] {
        self.ca_pem.as_deref().unwrap_or_default()
    }

    /// The kubeconfig of a pod; its token is beside it, in `token`.
    pub(super) fn kubeconfig(&self, cluster: &str, namespace: &str, folder: &Path) -> Value {
        let mut access = json!({ "server": self.server });
        if let Some(pem) = &self.ca_pem {
            access["certificate-authority-data"] = json!(STANDARD.encode(pem));
        }
        if let Some(name) = &self.tls_server_name {
            access["tls-server-name"] = json!(name);
        }
        if self.insecure {
            access["insecure-skip-tls-verify"] = json!(true);
        }
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": cluster,
            "clusters": [{"name": cluster, "cluster": access}],
            "users": [{"name": "pod", "user": {"tokenFile": folder.join("token")}}],
            "contexts": [{"name": cluster,
                "context": {"cluster": cluster, "user": "pod", "namespace": namespace}}],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_kubeconfig_leads_where_the_agents_leads_with_the_pods_token() {
        let file: Kubeconfig = serde_json::from_value(json!({
            "current-context": "west",
            "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1",
                "certificate-authority-data": STANDARD.encode("pem")}}],
            "contexts": [{"name": "west", "context": {"cluster": "c", "user": "admin"}}],
            "users": [{"name": "admin", "user": {"token": "very secret"}}],
        }))
        .unwrap();
        let access = ApiAccess::read(&file, None).unwrap();
        let config = access.kubeconfig("west", "ns", Path::new("/pods/u/kube"));
        assert_eq!(
            config["clusters"][0]["cluster"]["server"],
            "https://127.0.0.1:1"
        );
        assert_eq!(
            config["users"][0]["user"]["tokenFile"],
            "/pods/u/kube/token"
        );
        assert!(!config.to_string().contains("secret"));
        let relayed = access.by("kubernetes.default:6443");
        let config_there = relayed.kubeconfig("west", "ns", Path::new("/k"));
        let cluster = &config_there["clusters"][0]["cluster"];
        assert_eq!(cluster["server"], "https://kubernetes.default:6443");
        assert_eq!(access.endpoint().unwrap(), ("127.0.0.1".to_owned(), 1));
        assert!(serde_json::from_value::<Kubeconfig>(config).is_ok());
        assert!(
            ApiAccess::read(&file, Some("east"))
                .unwrap_err()
                .to_string()
                .contains("east")
        );
    }
}
