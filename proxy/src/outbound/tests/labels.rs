//! Series bear the labels that discovery says an endpoint has, and has now.

use linkerd2_proxy_api::destination::WeightedAddr;

use super::sandbox::{Mesh, Peer, first_available, plain};
use crate::inbound::tests::sandbox::eventually;

const TO: &str = "10.0.0.1:80";
const PATH: &str = "web.default.svc.cluster.local:80";

fn labelled(peer: &Peer, labels: &[(&str, &str)]) -> WeightedAddr {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    WeightedAddr {
        metric_labels: labels.iter().map(owned).collect(),
        ..plain(peer.addr)
    }
}

/// Whether requests, responses and connections were counted with exactly these labels of the
/// endpoint.
fn is_counted(mesh: &Mesh, labels: &str) -> bool {
    let text = mesh.metrics();
    let bears = |line: &str| {
        let of_endpoint = line.find("dst_").map(|start| &line[start..]);
        let after = of_endpoint.and_then(|rest| rest.strip_prefix(labels));
        after.is_some_and(|after| !after.starts_with(",dst_"))
    };
    let mut names = ["request_total{", "response_total{", "tcp_open_total{"].into_iter();
    names.all(|name| {
        let mut lines = text.lines().filter(|line| line.starts_with(name));
        lines.any(bears)
    })
}

#[tokio::test]
async fn labels_of_an_endpoint_and_of_all_of_a_path_follow_the_control_plane() {
    let mesh = Mesh::start().await;
    let app = Peer::start(None, "app").await;
    mesh.control.policy(TO, first_available(&[PATH]));
    for (of_all, own, expected) in [
        ("a", &[][..], r#"dst_namespace="default",dst_set="a""#),
        (
            "a",
            &[("pod", "web-0")],
            r#"dst_namespace="default",dst_pod="web-0",dst_set="a""#,
        ),
        (
            "a",
            &[("pod", "web-1"), ("zone", "z")],
            r#"dst_namespace="default",dst_pod="web-1",dst_set="a",dst_zone="z""#,
        ),
        (
            "b",
            &[("pod", "web-1"), ("zone", "z")],
            r#"dst_namespace="default",dst_pod="web-1",dst_set="b",dst_zone="z""#,
        ),
        // What is said of one counts rather than what is said of all.
        (
            "b",
            &[("set", "own")],
            r#"dst_namespace="default",dst_set="own""#,
        ),
    ] {
        mesh.control.label("set", of_all);
        mesh.control.endpoints(PATH, &[labelled(&app, own)]);
        assert!(!is_counted(&mesh, expected), "{expected} already");
        eventually("counted so", || async {
            mesh.get(TO).await.unwrap();
            is_counted(&mesh, expected)
        })
        .await;
    }
}
