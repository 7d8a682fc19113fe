//! Flags of `mesh multicluster link`, `link-gen` and `allow`, by what they change in what is printed.

use crate::{
    linking::{anchor, installed, link_to},
    sandbox::{documents, mesh},
};
use serde_json::{Value, json};

const LINK: [&str; 2] = ["multicluster", "link-gen"];
const EAST: &str = "--cluster-name=east";

/// The one document of a kind, as printed.
fn one(text: &str, kind: &str) -> Value {
    let mut found = documents(text).into_iter().filter(|d| d["kind"] == kind);
    let first = found.next().unwrap_or_else(|| panic!("no {kind}: {text}"));
    assert!(found.next().is_none(), "several: {text}");
    first
}

/// A second gateway Service, of another name and place.
fn second_gateway() -> String {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "edge"}});
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": "door", "namespace": "edge",
            "annotations": {
                "mirror.linkerd.io/gateway-identity": "door.edge.example",
                "mirror.linkerd.io/probe-path": "/health",
                "mirror.linkerd.io/probe-period": "7",
            },
        },
        "spec": {"ports": [
            {"name": "mc-gateway", "port": 1143}, {"name": "mc-probe", "port": 1191},
        ]},
    });
    format!("{namespace}\n---\n{service}")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_of_a_link_is_in_the_link() {
    let cluster = installed("east", &anchor()).await;
    let plain = one(&link_to(&cluster, "east").await, "Link")["spec"].clone();
    cluster.apply(&second_gateway()).await;
    let label = |key: &str, value: &str| json!({"matchLabels": {key: value}});
    for (flags, changed) in [
        (&[][..], json!({})),
        (
            &["--selector=team=shop"],
            json!({"selector": label("team", "shop")}),
        ),
        (
            &["--remote-discovery-selector=flat=yes"],
            json!({"remoteDiscoverySelector": label("flat", "yes")}),
        ),
        (
            &["--federated-service-selector=union=yes"],
            json!({"federatedServiceSelector": label("union", "yes")}),
        ),
        (&["--gateway-port=15443"], json!({"gatewayPort": "15443"})),
        (&["--gateway-port=0"], json!({})),
        (
            &["--gateway-addresses=192.0.2.7,gw.example.com"],
            json!({"gatewayAddress": "192.0.2.7,gw.example.com"}),
        ),
        (
            &[
                "--gateway-name=door",
                "--gateway-namespace=edge",
                "--gateway-addresses=192.0.2.8",
            ],
            json!({
                "gatewayAddress": "192.0.2.8", "gatewayPort": "1143",
                "gatewayIdentity": "door.edge.example",
                "probeSpec": {"path": "/health", "port": "1191", "period": "7s"},
            }),
        ),
        (
            &[
                "--excluded-annotations=example.com/*,note",
                "--excluded-annotations=more",
            ],
            json!({"excludedAnnotations": ["example.com/*", "note", "more"]}),
        ),
        (
            &[
                "--excluded-labels=team",
                "--excluded-labels=example.com/tier",
            ],
            json!({"excludedLabels": ["team", "example.com/tier"]}),
        ),
    ] {
        let mut expected = plain.clone();
        for (field, value) in changed.as_object().unwrap() {
            expected[field] = value.clone();
        }
        let text = cluster
            .mesh(&[&LINK[..], &[EAST], flags].concat())
            .await
            .out();
        assert_eq!(one(&text, "Link")["spec"], expected, "{flags:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_that_is_given_is_where_the_other_cluster_goes() {
    let cluster = installed("east", &anchor()).await;
    link_to(&cluster, "east").await;
    let given = "https://east.example.com:6443";
    let address = format!("--api-server-address={given}");
    let said = cluster.mesh(&[&LINK[..], &[EAST, &address]].concat()).await;
    assert_eq!(said.err, "", "an address that was given is not doubted");
    let secret = one(&said.out(), "Secret");
    let text = secret["stringData"]["kubeconfig"].as_str().unwrap();
    let kubeconfig: Value = serde_saphyr::from_str(text).unwrap();
    assert_eq!(kubeconfig["clusters"][0]["cluster"]["server"], given);
    assert_eq!(kubeconfig["clusters"].as_array().unwrap().len(), 1);
    let said = cluster.mesh(&[&LINK[..], &[EAST]].concat()).await;
    assert!(said.err.contains("--api-server-address"), "{}", said.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_asks_as_who_it_is_told_to() {
    let cluster = installed("east", &anchor()).await;
    link_to(&cluster, "east").await;
    let allow = ["multicluster", "allow", "--service-account-name=west"];
    let link = [&LINK[..], &[EAST]].concat();
    let legacy = ["multicluster", "link", EAST];
    for verb in [&link[..], &legacy, &allow] {
        let nobody = [verb, &["--as=nobody"]].concat();
        cluster
            .mesh(&nobody)
            .await
            .fails_with(&["nobody", "this user may not do that"]);
        let in_a_group = [
            &nobody[..],
            &["--as-group=viewers", "--as-group=system:masters"],
        ];
        documents(&cluster.mesh(&in_a_group.concat()).await.out());
        let in_another = [&nobody[..], &["--as-group=viewers"]].concat();
        cluster.mesh(&in_another).await.fails_with(&["nobody"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_of_a_controller_of_its_own_are_taken_and_said_to_have_no_effect() {
    let cluster = installed("east", &anchor()).await;
    let first = link_to(&cluster, "east").await;
    let said = cluster
        .mesh(&[
            "multicluster",
            "link",
            "--cluster-name=east",
            "--ha",
            "--set",
            "enableHeadlessServices=true",
            "--service-mirror-retry-limit=5",
        ])
        .await;
    for flag in ["--ha", "--set", "--service-mirror-retry-limit"] {
        assert!(said.err.contains(flag), "{}", said.err);
    }
    assert_eq!(said.out(), first);
    let same = ["multicluster", "link-gen", "--cluster-name=east"];
    assert_eq!(cluster.mesh(&same).await.out(), first);
    let json = [&same[..], &["-o", "json"]].concat();
    let json = cluster.mesh(&json).await.out();
    let json: Vec<Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(json, documents(&first));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_says_where_the_logs_of_the_one_service_mirror_are_set() {
    let cluster = installed("east", &anchor()).await;
    let first = link_to(&cluster, "east").await;
    for flag in ["--log-level=debug", "--log-format=json"] {
        let link = ["multicluster", "link", "--cluster-name=east", flag];
        let said = cluster.mesh(&link).await;
        let name = flag.split('=').next().unwrap();
        let told = format!("without effect: {name}. One service mirror serves all links here");
        assert!(said.err.contains(&told), "{}", said.err);
        assert!(
            said.err.lines().all(|line| line.starts_with("mesh: ")),
            "the command's own logs are as they were: {}",
            said.err
        );
        assert_eq!(said.out(), first);
    }
}

/// One mirror holds the credentials, so they are in one place; destination needs none.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_has_one_secret_in_the_namespace_of_the_extension() {
    let cluster = installed("east", &anchor()).await;
    let secret = one(&link_to(&cluster, "east").await, "Secret");
    assert_eq!(secret["metadata"]["namespace"], "linkerd-multicluster");
    assert_eq!(secret["metadata"]["name"], "cluster-credentials-east");
    assert_eq!(secret["type"], "mirror.linkerd.io/remote-kubeconfig");
    for verb in ["link", "link-gen"] {
        let help = mesh(&["multicluster", verb, "--help"]).await.out();
        assert!(help.contains("One Secret"), "{help}");
    }
}
