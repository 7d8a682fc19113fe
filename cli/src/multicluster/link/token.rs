//! The token that a link carries.

use crate::cluster::explain;
use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt as _, api::ListParams};
use std::time::{Duration, Instant};

/// How long the token of an account that was just made may take to be issued.
const ISSUED_WITHIN: Duration = Duration::from_secs(5);
const ACCOUNT: &str = "kubernetes.io/service-account.name";

/// The token of the account peers use, from its token Secret.
pub(super) async fn read(
    client: &Client,
    namespace: &str,
    account: &str,
) -> anyhow::Result<String> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let tokens = ListParams::default().fields("type=kubernetes.io/service-account-token");
    let deadline = Instant::now() + ISSUED_WITHIN;
    loop {
        let secrets = api
            .list(&tokens)
            .await
            .map_err(|e| explain(e, &format!("cannot list the token Secrets of {namespace}")))?;
        let of_account = secrets
            .items
            .into_iter()
            .find(|secret| secret.annotations().get(ACCOUNT).map(String::as_str) == Some(account));
        let secret = of_account.with_context(|| {
            format!(
                "the ServiceAccount {namespace}/{account} has no token Secret: install the \
                 extension there (mesh multicluster install), make the account (mesh multicluster \
                 allow), or name another with --service-account-name"
            )
        })?;
        if let Some(token) = secret.data.and_then(|mut data| data.remove("token")) {
            return String::from_utf8(token.0).context("the token is not text");
        }
        if Instant::now() >= deadline {
            bail!(
                "the token Secret of {namespace}/{account} is still empty: does the \
                 ServiceAccount exist, and does that cluster issue tokens?"
            );
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
