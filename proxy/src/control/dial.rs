//! How an address of the control plane is reached.

use std::{sync::Arc, time::Duration};

use mesh_daemon::net::{self, Resolver};
use mesh_tls::control::Dial;

use crate::metrics::{ControlClient, Metrics};

/// How long connecting to an address of a name may take.
const DIAL_TIMEOUT: Duration = Duration::from_secs(3);

/// Dials for `client`. Each connection resolves the name anew, which is counted
/// (`control_dns_resolutions_total`) unless it is an address already.
pub(crate) fn dialer(client: ControlClient, resolver: &Resolver, metrics: &Metrics) -> Dial {
    let (resolver, metrics) = (resolver.clone(), metrics.clone());
    Arc::new(move |host: String, port| {
        let (resolver, metrics) = (resolver.clone(), metrics.clone());
        Box::pin(async move {
            let counted = net::literal(&host)
                .is_none()
                .then(|| metrics.resolution(client));
            let resolved = resolver.resolve(&host).await;
            if let Some(counted) = counted {
                counted.ended(resolved.is_ok());
            }
            net::dial_any(resolved?, port, DIAL_TIMEOUT).await
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "control_dns_resolutions_total";

    fn metrics() -> Metrics {
        Metrics::new(Duration::from_secs(60))
    }

    fn line(client: &str, result: &str, value: u64) -> String {
        format!(
            "{NAME}{{client=\"{client}\",record_type=\"A/AAAA\",result=\"{result}\"}} {value}\n"
        )
    }

    #[tokio::test]
    async fn resolutions_of_names_are_counted_by_who_asks_and_how_they_end() {
        let listener = net::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut hosts = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut hosts, b"127.0.0.1 policy.linkerd\n").unwrap();
        let resolver = Resolver::new(Some(hosts.path().to_owned()));
        let metrics = metrics();
        let policy = dialer(ControlClient::Policy, &resolver, &metrics);
        policy("policy.linkerd.".to_owned(), port).await.unwrap();
        policy("policy.linkerd.".to_owned(), port).await.unwrap();
        let identity = dialer(ControlClient::Identity, &resolver, &metrics);
        let nobody = identity("no-such-host.invalid.".to_owned(), port).await;
        nobody.unwrap_err();
        let text = metrics.render();
        assert!(text.contains(&line("policy", "ok", 2)), "{text}");
        assert!(text.contains(&line("policy", "not_found", 0)), "{text}");
        assert!(text.contains(&line("identity", "ok", 0)), "{text}");
        assert!(text.contains(&line("identity", "not_found", 1)), "{text}");
    }

    #[tokio::test]
    async fn an_address_is_no_resolution() {
        let listener = net::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let metrics = metrics();
        let dial = dialer(ControlClient::Trace, &Resolver::new(None), &metrics);
        dial("127.0.0.1".to_owned(), port).await.unwrap();
        assert!(!metrics.render().contains(NAME));
    }

    #[test]
    fn a_resolution_that_is_given_up_found_nothing() {
        let metrics = metrics();
        drop(metrics.resolution(ControlClient::Destination));
        let text = metrics.render();
        let expected = line("destination", "not_found", 1);
        assert!(text.contains(&expected), "{text}");
    }
}
