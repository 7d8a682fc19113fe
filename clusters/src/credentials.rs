//! From a credentials Secret to a client of the other cluster.

use k8s_openapi::api::core::v1::Secret;
use kube::{
    Client,
    config::{KubeConfigOptions, Kubeconfig},
};
use mesh_contract::names;
use std::time::Duration;
use thiserror::Error;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer than a watch waits for a word, so that only a dead connection is cut.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// Why a Secret gives no client. The message names the remedy.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CredentialsError {
    /// The Link names no Secret.
    #[error("the Link has no clusterCredentialsSecret: create it with 'mesh multicluster link'")]
    NotNamed,
    /// The Secret does not exist.
    #[error(
        "there is no Secret {0} of the type {type_}: apply the whole output of \
         'mesh multicluster link'",
        type_ = names::CREDENTIALS_SECRET_TYPE
    )]
    Missing(String),
    /// The Secret has no kubeconfig.
    #[error("the Secret {0} has no key \"kubeconfig\": create it with 'mesh multicluster link'")]
    NoKubeconfig(String),
    /// The kubeconfig cannot be used.
    #[error("the kubeconfig in the Secret {name} is malformed: {reason}")]
    Malformed {
        /// `namespace/name`.
        name: String,
        /// What is wrong.
        reason: String,
    },
}

/// The kubeconfig in `secret`.
pub fn kubeconfig(name: &str, secret: &Secret) -> Result<String, CredentialsError> {
    let data = secret
        .data
        .as_ref()
        .and_then(|data| data.get(names::CREDENTIALS_SECRET_KEY));
    let data = data.ok_or_else(|| CredentialsError::NoKubeconfig(name.to_owned()))?;
    String::from_utf8(data.0.clone()).map_err(|_| malformed(name, "it is not text"))
}

/// A client for the kubeconfig in the Secret called `name`.
pub async fn client(name: &str, kubeconfig: &str) -> Result<Client, CredentialsError> {
    let parsed = Kubeconfig::from_yaml(kubeconfig).map_err(|error| malformed(name, error))?;
    refuse_programs_and_files(name, &parsed)?;
    let mut config = kube::Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default())
        .await
        .map_err(|error| malformed(name, error))?;
    let (url, host) = (&config.cluster_url, config.cluster_url.host());
    if url.scheme_str() != Some("https") || host.is_none_or(str::is_empty) {
        let reason = format!("its server is {url}, which is not https://HOST:PORT");
        return Err(malformed(name, reason));
    }
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    Client::try_from(config).map_err(|error| malformed(name, error))
}

/// A kubeconfig may run programs and read files of whoever uses it. One that came from elsewhere
/// must not.
fn refuse_programs_and_files(name: &str, config: &Kubeconfig) -> Result<(), CredentialsError> {
    for user in config
        .auth_infos
        .iter()
        .filter_map(|user| user.auth_info.as_ref())
    {
        let outside = user.exec.is_some()
            || user.auth_provider.is_some()
            || user.token_file.is_some()
            || user.client_certificate.is_some()
            || user.client_key.is_some();
        if outside {
            return Err(malformed(
                name,
                "it runs a program or reads a file; it must hold a token",
            ));
        }
    }
    let clusters = config
        .clusters
        .iter()
        .filter_map(|cluster| cluster.cluster.as_ref());
    if clusters
        .clone()
        .any(|cluster| cluster.certificate_authority.is_some())
    {
        return Err(malformed(name, "its CA is a file path; it must be inside"));
    }
    Ok(())
}

fn malformed(name: &str, reason: impl ToString) -> CredentialsError {
    CredentialsError::Malformed {
        name: name.to_owned(),
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_kubeconfig_that_reaches_outside_is_refused() {
        for (user, reason) in [
            (
                "{exec: {command: /bin/true, apiVersion: client.authentication.k8s.io/v1}}",
                "program",
            ),
            ("{tokenFile: /etc/passwd}", "file"),
        ] {
            let text = format!(
                "{{apiVersion: v1, kind: Config, current-context: c, \
                 clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:1'}}}}], \
                 users: [{{name: u, user: {user}}}], \
                 contexts: [{{name: c, context: {{cluster: c, user: u}}}}]}}"
            );
            let error = client("ns/secret", &text)
                .await
                .map(drop)
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("ns/secret") && error.contains(reason),
                "{error}"
            );
        }
    }

    #[tokio::test]
    async fn garbage_is_named_with_its_secret() {
        for text in ["", "a: [", "kind: Pod"] {
            let error = client("ns/secret", text).await.map(drop).unwrap_err();
            assert!(
                matches!(error, CredentialsError::Malformed { .. }),
                "{error:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_server_that_is_no_https_address_is_refused() {
        for server in ["127.0.0.1:6443", "http://127.0.0.1:1", "localhost", "/path"] {
            let text = format!(
                "{{apiVersion: v1, kind: Config, current-context: c, \
                 clusters: [{{name: c, cluster: {{server: '{server}'}}}}], \
                 users: [{{name: u, user: {{token: t}}}}], \
                 contexts: [{{name: c, context: {{cluster: c, user: u}}}}]}}"
            );
            let error = client("ns/secret", &text).await.map(drop).unwrap_err();
            assert!(error.to_string().contains("ns/secret"), "{server}: {error}");
        }
    }

    #[test]
    fn a_secret_without_a_kubeconfig_is_named() {
        let error = kubeconfig("ns/secret", &Secret::default()).unwrap_err();
        assert_eq!(error, CredentialsError::NoKubeconfig("ns/secret".into()));
    }
}
