//! The kubeconfig a link carries: one cluster, one account's token, nothing of the caller's.

use anyhow::{Context as _, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use kube::config::{Kubeconfig, NamedCluster};
use serde_json::json;

/// The cluster entry of the chosen context, with its CA inside.
///
/// File paths are read here, since they mean nothing where the kubeconfig will be used.
pub(crate) fn cluster(
    kubeconfig: &Kubeconfig,
    context: Option<&str>,
) -> anyhow::Result<NamedCluster> {
    let context = context
        .or(kubeconfig.current_context.as_deref())
        .context("the kubeconfig has no current context; name one with --context")?;
    let named = kubeconfig
        .contexts
        .iter()
        .find(|c| c.name == context)
        .and_then(|c| c.context.as_ref())
        .with_context(|| format!("the kubeconfig has no context {context:?}"))?;
    let mut cluster = kubeconfig
        .clusters
        .iter()
        .find(|c| c.name == named.cluster)
        .cloned()
        .with_context(|| format!("the kubeconfig has no cluster {:?}", named.cluster))?;
    let Some(entry) = cluster.cluster.as_mut() else {
        bail!("the cluster {:?} of the kubeconfig is empty", cluster.name);
    };
    if let Some(path) = entry.certificate_authority.take() {
        let pem =
            std::fs::read(&path).with_context(|| format!("cannot read the cluster's CA {path}"))?;
        entry.certificate_authority_data = Some(STANDARD.encode(pem));
    }
    Ok(cluster)
}

/// Where the other cluster is to reach the API server of `cluster`: at `given`, or as the
/// kubeconfig says. An error where a token would be sent there in the clear.
pub(crate) fn server(cluster: &NamedCluster, given: Option<&str>) -> anyhow::Result<String> {
    let entry = cluster.cluster.as_ref();
    let server = given.or(entry.and_then(|entry| entry.server.as_deref()));
    let server = server.context("the cluster has no server")?;
    check_server(server).map_err(|problem| {
        anyhow::anyhow!(
            "a link cannot use the API server's address {server}: {problem}. Give one that the \
             other cluster reaches: --api-server-address=https://HOST:PORT"
        )
    })
}

/// A self-contained kubeconfig for `account` on `cluster`, reached at `server`.
pub(crate) fn self_contained(
    cluster: &NamedCluster,
    server: &str,
    link: &str,
    account: &str,
    token: &str,
) -> anyhow::Result<String> {
    let entry = cluster
        .cluster
        .as_ref()
        .context("the cluster entry is empty")?;
    let mut target = json!({ "server": server });
    if let Some(ca) = &entry.certificate_authority_data {
        target["certificate-authority-data"] = json!(ca);
    } else if entry.insecure_skip_tls_verify == Some(true) {
        bail!(
            "the kubeconfig skips verifying the API server's certificate; a link must not: \
             set certificate-authority-data"
        );
    }
    if let Some(name) = &entry.tls_server_name {
        target["tls-server-name"] = json!(name);
    }
    let document = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": link, "cluster": target }],
        "users": [{ "name": account, "user": { "token": token } }],
        "contexts": [{ "name": link, "context": { "cluster": link, "user": account } }],
        "current-context": link,
    });
    Ok(serde_saphyr::to_string(&document)?)
}

/// Refuses an address that no link can use: a token must not be sent in the clear.
pub(crate) fn check_server(text: &str) -> Result<String, String> {
    let uri: http::Uri = text
        .parse()
        .map_err(|_| "expected https://HOST:PORT".to_owned())?;
    match (uri.scheme_str(), uri.host()) {
        (Some("https"), Some(host)) if !host.is_empty() => Ok(text.to_owned()),
        (Some("http"), _) => Err(
            "it must be https, as the link's token would be sent there in clear text".to_owned(),
        ),
        _ => Err("expected https://HOST:PORT".to_owned()),
    }
}

/// Whether `server` is an address that means the machine that uses it, as kind writes them.
pub(crate) fn is_only_here(server: &str) -> bool {
    let uri: Option<http::Uri> = server.parse().ok();
    let host = uri.as_ref().and_then(|uri| uri.host()).unwrap_or_default();
    matches!(host, "localhost" | "127.0.0.1" | "[::1]" | "0.0.0.0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kubeconfig(cluster: serde_json::Value) -> Kubeconfig {
        serde_json::from_value(json!({
            "current-context": "east",
            "contexts": [{"name": "east", "context": {"cluster": "prod-east", "user": "admin"}}],
            "clusters": [{"name": "prod-east", "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": "admin-token"}}],
        }))
        .unwrap()
    }

    #[test]
    fn the_caller_leaves_no_trace() {
        let config = kubeconfig(json!({
            "server": "https://east:6443", "certificate-authority-data": "Q0E=",
        }));
        let cluster = cluster(&config, None).unwrap();
        let server = server(&cluster, None).unwrap();
        let text = self_contained(&cluster, &server, "east", "reader", "reader-token").unwrap();
        assert!(text.contains("reader-token") && text.contains("Q0E="));
        assert!(!text.contains("admin") && !text.contains("prod-east"));
    }

    #[test]
    fn an_unverified_server_is_refused() {
        let config = kubeconfig(json!({
            "server": "https://east:6443", "insecure-skip-tls-verify": true,
        }));
        let cluster = cluster(&config, Some("east")).unwrap();
        assert!(self_contained(&cluster, "https://east:6443", "east", "reader", "t").is_err());
    }

    #[test]
    fn a_server_in_the_clear_is_refused_wherever_it_comes_from() {
        let at = |server: &str| cluster(&kubeconfig(json!({"server": server})), None).unwrap();
        let (plain, secure) = ("http://east:6443", "https://east:6443");
        for (entry, given, expected) in [
            (secure, None, Some(secure)),
            (plain, Some(secure), Some(secure)),
            (plain, None, None),
            (secure, Some(plain), None),
        ] {
            let found = server(&at(entry), given);
            assert_eq!(found.ok().as_deref(), expected, "{entry} {given:?}");
        }
    }

    #[test]
    fn a_server_is_an_https_address() {
        assert!(check_server("https://east:6443").is_ok());
        for bad in [
            "",
            "east:6443",
            "http://east:6443",
            "https://",
            "https:/east",
            "a b",
        ] {
            assert!(check_server(bad).is_err(), "{bad:?}");
        }
        assert!(is_only_here("https://127.0.0.1:6443") && is_only_here("https://[::1]:6443"));
        assert!(!is_only_here("https://127.7.25.1:6443") && !is_only_here("https://east"));
    }

    #[test]
    fn an_unknown_context_is_named() {
        let config = kubeconfig(json!({"server": "https://east"}));
        let error = cluster(&config, Some("north")).unwrap_err().to_string();
        assert!(error.contains("north"));
    }
}
