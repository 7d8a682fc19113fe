//! Which cluster a command talks to, the way kubectl lets its users say it.

use anyhow::{Context as _, bail};
use kube::{
    Client,
    config::{KubeConfigOptions, Kubeconfig},
};
use std::{path::PathBuf, time::Duration};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time an API server may be silent while a command waits for it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// `--kubeconfig` and `--context`, as kubectl has them.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct ClusterArgs {
    /// Path to the kubeconfig file (default: $KUBECONFIG, then ~/.kube/config)
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) kubeconfig: Option<PathBuf>,

    /// Name of the kubeconfig context to use (default: the current one)
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) context: Option<String>,

    /// User to impersonate for the request
    #[arg(long = "as", global = true, value_name = "USER")]
    pub(crate) impersonate: Option<String>,

    /// Group to impersonate for the request (may be repeated)
    #[arg(long = "as-group", global = true, value_name = "GROUP")]
    pub(crate) impersonate_groups: Vec<String>,

    /// Address of the API server, instead of the kubeconfig's
    #[arg(long = "api-addr", global = true, value_name = "URL", hide = true)]
    pub(crate) api_addr: Option<String>,

    /// Log what is asked of clusters
    #[arg(long, global = true)]
    pub(crate) verbose: bool,

    /// Namespace of the control plane
    #[arg(short = 'L', long = "linkerd-namespace", global = true, value_name = "NAMESPACE",
          default_value = mesh_contract::names::CONTROL_PLANE_NS)]
    pub(crate) control_plane_ns: String,
}

impl ClusterArgs {
    /// Whether the user means a cluster at all: names one, or has a default.
    pub(crate) fn is_meant(&self) -> bool {
        let by_default = || std::env::home_dir().is_some_and(|h| h.join(".kube/config").exists());
        self.kubeconfig.is_some()
            || self.context.is_some()
            || std::env::var_os("KUBECONFIG").is_some_and(|path| !path.is_empty())
            || by_default()
    }

    /// The kubeconfig the user means, with where it came from for messages.
    pub(crate) fn kubeconfig(&self) -> anyhow::Result<Kubeconfig> {
        match &self.kubeconfig {
            Some(path) => Kubeconfig::read_from(path).with_context(|| {
                format!("cannot use the kubeconfig {} (--kubeconfig)", path.display())
            }),
            None => Kubeconfig::read().context(
                "cannot read a kubeconfig: set --kubeconfig or $KUBECONFIG, or create ~/.kube/config",
            ),
        }
    }

    /// The configuration of the chosen context.
    pub(crate) async fn config(&self) -> anyhow::Result<kube::Config> {
        let kubeconfig = self.kubeconfig()?;
        let contexts: Vec<_> = kubeconfig.contexts.iter().map(|c| c.name.clone()).collect();
        let options = KubeConfigOptions {
            context: self.context.clone(),
            ..KubeConfigOptions::default()
        };
        let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .with_context(|| match &self.context {
                Some(context) => format!(
                    "cannot use the context {context:?}; the kubeconfig has: {}",
                    contexts.join(", ")
                ),
                None => "cannot use the kubeconfig's current context; name one with --context"
                    .to_owned(),
            })?;
        config.auth_info.impersonate = self.impersonate.clone();
        if !self.impersonate_groups.is_empty() {
            config.auth_info.impersonate_groups = Some(self.impersonate_groups.clone());
        }
        if let Some(url) = &self.api_addr {
            config.cluster_url = url
                .parse()
                .with_context(|| format!("--api-addr {url}: expected https://HOST:PORT"))?;
        }
        check_url(&config)?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.read_timeout = Some(ANSWER_TIMEOUT);
        config.write_timeout = Some(ANSWER_TIMEOUT);
        Ok(config)
    }

    /// A client for the chosen context.
    pub(crate) async fn client(&self) -> anyhow::Result<Client> {
        let config = self.config().await?;
        Client::try_from(config).context("the kubeconfig does not make a usable client")
    }
}

/// What kube takes for granted of an address, and panics without.
fn check_url(config: &kube::Config) -> anyhow::Result<()> {
    let url = &config.cluster_url;
    if !matches!(url.scheme_str(), Some("http" | "https")) || url.host().is_none_or(str::is_empty) {
        bail!("the API server's address {url} is no URL: expected https://HOST:PORT");
    }
    Ok(())
}

/// What API servers answer for a kind that has no CRD there. It is no `Status`, and ends with a newline.
const KIND_UNKNOWN: &str = "404 page not found";

/// Turns a failed request into a message that says what the server said and what to check next.
pub(crate) fn explain(error: kube::Error, what: &str) -> anyhow::Error {
    let kube::Error::Api(status) = &error else {
        return anyhow::Error::new(error).context(format!(
            "{what}: the API server cannot be reached: check the address in the kubeconfig, and \
             the network"
        ));
    };
    let said = status.message.trim_end();
    let next = match status.code {
        404 if said == KIND_UNKNOWN => {
            "this cluster knows no such kind: apply its CRDs (mesh install --crds, or mesh \
             multicluster install), or choose another context"
        }
        401 => "the credentials were refused: renew them, or choose another context",
        403 => "this user may not do that: ask for the role, or choose another context",
        404 => "it does not exist there: check the name, the namespace and the context",
        _ => "the API server refused the request",
    };
    anyhow::Error::new(Refused {
        code: status.code,
        text: format!("{what}: {next} ({said})"),
    })
}

/// What an API server refused, explained.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Refused {
    code: u16,
    text: String,
}

/// Whether the cause is that this user may not do it, which says nothing of the cluster.
pub(crate) fn is_forbidden(error: &anyhow::Error) -> bool {
    let refused = error.downcast_ref::<Refused>();
    refused.is_some_and(|refused| refused.code == 403)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(code: u16, message: &str) -> String {
        let status = kube::core::Status::failure(message, "NotFound").with_code(code);
        explain(kube::Error::Api(Box::new(status)), "cannot read the Links").to_string()
    }

    #[test]
    fn a_kind_the_cluster_does_not_know_is_told_from_an_object_it_does_not_have() {
        let kind = explained(404, "404 page not found\n");
        assert!(kind.contains("apply its CRDs"), "{kind}");
        assert!(kind.ends_with("(404 page not found)"), "{kind}");
        let object = explained(404, "links \"east\" not found");
        assert!(object.contains("check the name, the namespace"), "{object}");
    }
}
