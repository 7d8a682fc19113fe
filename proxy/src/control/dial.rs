//! How an address of the control plane is reached.

use std::{sync::Arc, time::Duration};

use mesh_daemon::net::{self, Resolver};
use mesh_tls::control::{Dial, Dialler};

use crate::{
    config::ControlAddr,
    metrics::{ControlClient, Metrics},
};

/// How long connecting to an address of a name may take.
const DIAL_TIMEOUT: Duration = Duration::from_secs(3);

/// Dials `addr` for `client`, whose connections are counted (`control_*_balancer_endpoints`).
pub(crate) fn dialer(
    client: ControlClient,
    addr: &ControlAddr,
    resolver: &Resolver,
    metrics: &Metrics,
) -> Dialler {
    let connections = metrics.control_connections(client, &addr.to_string());
    Dialler::counted(dial(client, resolver, metrics), connections)
}

/// Each connection resolves the name anew, which is counted (`control_dns_resolutions_total`) unless
/// it is an address already.
fn dial(client: ControlClient, resolver: &Resolver, metrics: &Metrics) -> Dial {
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
    use crate::inbound::tests::sandbox::eventually;
    use linkerd2_proxy_api::destination::{GetDestination, destination_client::DestinationClient};

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
        let policy = dial(ControlClient::Policy, &resolver, &metrics);
        policy("policy.linkerd.".to_owned(), port).await.unwrap();
        policy("policy.linkerd.".to_owned(), port).await.unwrap();
        let identity = dial(ControlClient::Identity, &resolver, &metrics);
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
        let reach = dial(ControlClient::Trace, &Resolver::new(None), &metrics);
        reach("127.0.0.1".to_owned(), port).await.unwrap();
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

    /// Asks something over a channel, and shows how many connections it has.
    struct Asking {
        metrics: Metrics,
        addr: ControlAddr,
        _question: tokio::task::JoinHandle<()>,
    }

    impl Asking {
        fn of(addr: ControlAddr) -> Self {
            let metrics = metrics();
            let ca = mesh_tls::testing::Ca::new("unused");
            let store = mesh_tls::Store::new("web.default".parse().unwrap(), ca.anchors());
            let client = ControlClient::Destination;
            let resolver = Resolver::new(None);
            let channel = crate::control::channel(client, &addr, &store, &resolver, &metrics);
            let mut client = DestinationClient::new(channel);
            let question = async move { drop(client.get(GetDestination::default()).await) };
            Self {
                metrics,
                addr,
                _question: tokio::spawn(question),
            }
        }

        async fn has(&self, ready: u64, pending: u64) {
            let line = |state: &str, value: u64| {
                format!(
                    "control_destination_balancer_endpoints{{addr=\"{}\",endpoint_state=\"{state}\"}} \
                     {value}\n",
                    self.addr
                )
            };
            let expected = line("ready", ready) + &line("pending", pending);
            eventually(&expected, || async {
                self.metrics.render().contains(&expected)
            })
            .await;
        }
    }

    #[tokio::test]
    async fn a_connection_is_shown_for_as_long_as_it_lives() {
        let listener = net::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let asking = Asking::of(ControlAddr {
            host: "127.0.0.1".to_owned(),
            port: listener.local_addr().unwrap().port(),
            name: None,
        });
        let (io, _) = listener.accept().await.unwrap();
        asking.has(1, 0).await;
        drop((io, listener));
        asking.has(0, 0).await;
    }

    #[tokio::test]
    async fn a_connection_that_cannot_be_used_yet_is_pending() {
        // There is no certificate to show.
        let asking = Asking::of(ControlAddr {
            host: "::1".to_owned(),
            port: 1,
            name: Some("destination.linkerd".parse().unwrap()),
        });
        asking.has(0, 1).await;
    }
}
