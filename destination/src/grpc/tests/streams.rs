//! How streams begin, go on and end.

use super::*;
use crate::sandbox::{Pod, Service, object, pod, service, slice};
use hyper_util::rt::TokioIo;
use serde_json::json;

const WEB: &str = "web.default.svc.cluster.local:80";

#[tokio::test]
async fn callers_without_an_identity_are_refused() {
    let served = Served::new(Sandbox::exporting()).await;
    let anonymous = Proxy {
        discovery: anonymous(&served, served.discovery),
        policies: anonymous(&served, served.policies),
    };
    assert_eq!(code(anonymous.get(WEB).await), Code::Unauthenticated);
    assert_eq!(code(anonymous.profile(WEB).await), Code::Unauthenticated);
    assert_eq!(code(anonymous.policy(WEB).await), Code::Unauthenticated);
    let watching = anonymous.watch_policy(WEB).await;
    assert_eq!(code(watching), Code::Unauthenticated);
    let port = anonymous.port("default:web-1", 8080).await;
    assert_eq!(code(port), Code::Unauthenticated);
    let port = anonymous.watch_port("default:web-1", 8080).await;
    assert_eq!(code(port), Code::Unauthenticated);
}

/// A channel over mesh TLS without a certificate of the client.
fn anonymous(served: &Served, address: SocketAddr) -> Channel {
    let anchors = served.issuer.anchors.clone();
    let connector = tower::service_fn(move |_: http::Uri| {
        let anchors = anchors.clone();
        async move {
            let target = mesh_tls::Target {
                server_id: OWN.parse().unwrap(),
                server_name: None,
                transport_header: false,
            };
            let io = TcpStream::connect(address).await?;
            let io = mesh_tls::connect_anonymous(&anchors, &target, io)
                .await
                .map_err(std::io::Error::other)?;
            Ok::<_, std::io::Error>(TokioIo::new(io))
        }
    });
    let endpoint = tonic::transport::Endpoint::from_static("http://destination");
    endpoint.connect_with_connector_lazy(connector)
}

#[tokio::test]
async fn endpoints_come_at_once_and_then_by_difference() {
    let served = Served::new(Sandbox::exporting()).await;
    let mut updates = served.workload().get(WEB).await.unwrap();
    let first = updates.next().await.unwrap();
    assert_eq!(first.addresses.len(), 1);

    served.sandbox.apply(pod("web-2", "10.0.0.2"));
    let two = [("web-1", "10.0.0.1"), ("web-2", "10.0.0.2")];
    served.sandbox.apply(slice("web", 8080, &two));
    updates.until(&["10.0.0.1:8080", "10.0.0.2:8080"]).await;
    served.sandbox.apply(slice("web", 8080, &two[1..]));
    updates.until(&["10.0.0.2:8080"]).await;
    served.sandbox.delete::<Pod>("default", "web-2");
    updates.until(&[]).await;
    served.sandbox.delete::<Service>("default", "web");
    assert!(!updates.next().await.unwrap().exists);
    served.sandbox.apply(service("web", "10.96.0.1", 80));
    updates.until(&[]).await;
    served.sandbox.apply(pod("web-2", "10.0.0.2"));
    updates.until(&["10.0.0.2:8080"]).await;
}

#[tokio::test]
async fn a_service_that_is_not_there_is_said_so_at_once_and_followed() {
    let served = Served::new(Sandbox::new()).await;
    let mut updates = served.workload().get(WEB).await.unwrap();
    let first = updates.next().await.unwrap();
    assert!(first.addresses.is_empty() && !first.exists);
    served.sandbox.apply(service("web", "10.96.0.1", 80));
    assert!(updates.next().await.unwrap().exists);
}

#[tokio::test]
async fn what_is_no_name_of_the_cluster_is_refused_for_good() {
    let served = Served::new(Sandbox::exporting()).await;
    let workload = served.workload();
    for path in [
        "",
        "10.0.0.1:80",
        "example.com:80",
        "web:0",
        "we\nb.default:80",
    ] {
        assert_eq!(
            code(workload.get(path).await),
            Code::InvalidArgument,
            "{path:?}"
        );
    }
    for path in ["", "example.com:80", "web.default:99999"] {
        assert_eq!(
            code(workload.profile(path).await),
            Code::InvalidArgument,
            "{path:?}"
        );
        assert_eq!(
            code(workload.policy(path).await),
            Code::InvalidArgument,
            "{path:?}"
        );
    }
    let mut client = OutboundPoliciesClient::new(workload.policies.clone());
    let nothing = client.get(TrafficSpec::default()).await;
    assert_eq!(code(nothing), Code::InvalidArgument);
    for (pod, port) in [
        ("", 80),
        ("{}", 80),
        ("{\"ns\":\"default\"}", 80),
        ("default", 80),
        ("default:web-1", 0),
        ("default:web-1", 65536),
        // What can be no pod's name is not even looked for.
        ("default:WEB", 80),
        ("de.fault:web-1", 80),
        ("default:web\n1", 80),
        (&format!("default:{}", "a".repeat(300)), 80),
    ] {
        assert_eq!(
            code(workload.port(pod, port).await),
            Code::InvalidArgument,
            "{pod}:{port}"
        );
    }
}

#[tokio::test]
async fn unknown_targets_are_not_found_so_that_proxies_forward_plainly() {
    let served = Served::new(Sandbox::exporting()).await;
    let workload = served.workload();
    for target in [
        "203.0.113.1:80",
        "10.0.0.77:80",
        "no.default.svc.cluster.local:80",
    ] {
        assert_eq!(
            code(workload.policy(target).await),
            Code::NotFound,
            "{target}"
        );
        assert_eq!(
            code(workload.watch_policy(target).await),
            Code::NotFound,
            "{target}"
        );
        let profile = next(&mut workload.profile(target).await.unwrap())
            .await
            .unwrap();
        valid::profile(&profile);
        assert!(profile.fully_qualified_name.is_empty() && profile.endpoint.is_none());
    }
}

#[tokio::test]
async fn a_policy_stream_follows_its_service_and_ends_with_it() {
    let served = Served::new(Sandbox::exporting()).await;
    let mut policies = served
        .workload()
        .watch_policy("10.96.0.1:80")
        .await
        .unwrap();
    let first = next(&mut policies).await.unwrap();
    valid::policy(&first);
    let opaque = crate::sandbox::annotated(
        service("web", "10.96.0.1", 80),
        "config.linkerd.io/opaque-ports",
        "80",
    );
    served.sandbox.apply(opaque);
    let second = next(&mut policies).await.unwrap();
    valid::policy(&second);
    assert_ne!(first, second);
    served.sandbox.delete::<Service>("default", "web");
    let end = next(&mut policies).await.unwrap_err().unwrap();
    assert_eq!(end.code(), Code::NotFound);
}

#[tokio::test]
async fn an_inbound_policy_stream_follows_its_pod_and_ends_with_it() {
    let served = Served::new(Sandbox::exporting()).await;
    let workload = served.workload();
    assert_eq!(
        code(workload.port("default:nobody", 80).await),
        Code::NotFound
    );
    let name = r#"{"ns":"default","pod":"web-1"}"#;
    let mut servers = workload.watch_port(name, 8080).await.unwrap();
    let first = next(&mut servers).await.unwrap();
    valid::server(&first);
    assert_eq!(workload.port("default:web-1", 8080).await.unwrap(), first);
    served
        .sandbox
        .apply(object::<crate::sandbox::Server>(json!({
            "apiVersion": "policy.linkerd.io/v1beta3", "kind": "Server",
            "metadata": {"namespace": "default", "name": "web-http"},
            "spec": {"podSelector": {"matchLabels": {"app": "web"}}, "port": "http"}
        })));
    let second = next(&mut servers).await.unwrap();
    valid::server(&second);
    assert_eq!(second.labels["name"], "web-http");
    served.sandbox.delete::<Pod>("default", "web-1");
    let end = next(&mut servers).await.unwrap_err().unwrap();
    assert_eq!(end.code(), Code::NotFound);
}

#[tokio::test]
async fn streams_end_cleanly_when_the_process_stops() {
    let mut served = Served::new(Sandbox::exporting()).await;
    let workload = served.workload();
    let mut updates = workload.get(WEB).await.unwrap();
    updates.next().await.unwrap();
    let mut policies = workload.watch_policy(WEB).await.unwrap();
    next(&mut policies).await.unwrap();
    served.stop.shutdown();
    assert!(updates.next().await.unwrap_err().is_none());
    assert!(next(&mut policies).await.unwrap_err().is_none());
    drop((updates, policies, workload));
    while let Some(ended) = served.ended.join_next().await {
        ended.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_proxy_that_does_not_read_costs_one_value() {
    let served = Served::new(Sandbox::exporting()).await;
    let mut updates = served.workload().get(WEB).await.unwrap();
    updates.next().await.unwrap();
    // Far more than any transport buffers.
    for round in 0..20_000_u32 {
        let port = 1024 + u16::try_from(round % 60_000).unwrap();
        served
            .sandbox
            .apply(slice("web", port, &[("web-1", "10.0.0.1")]));
    }
    served
        .sandbox
        .apply(slice("web", 9, &[("web-1", "10.0.0.1")]));
    let mut messages = 0;
    while updates.balancer.addresses != ["10.0.0.1:9".parse().unwrap()].into() {
        updates.next().await.unwrap();
        messages += 1;
    }
    assert!(messages < 10_000, "{messages} messages were kept for it");
}
