//! Flags of `mesh multicluster install`, each by what it changes in what is printed.

use crate::sandbox::{Files, documents, mesh};
use serde_json::{Value, json};

/// What the extension is printed as, without a cluster.
async fn extension(flags: &[&str]) -> Vec<Value> {
    let files = Files::new();
    let trusted = format!(
        "identityTrustAnchorsPEM={}",
        files.file("ca.crt", "ANCHORS")
    );
    let install = [
        "multicluster",
        "install",
        "--ignore-cluster",
        "--set-file",
        &trusted,
    ];
    let said = mesh(&[&install[..], flags].concat()).await;
    assert_eq!(said.err, "", "{flags:?}");
    documents(&said.out())
}

#[tokio::test]
async fn a_load_balancer_may_ask_for_the_gateways_health() {
    for (flags, port) in [
        (&[][..], None),
        (&["--gateway-healthcheck-nodeport=0"], None),
        (&["--gateway-healthcheck-nodeport=31000"], Some(31000)),
    ] {
        let printed = extension(flags).await;
        let service = printed.iter().find(|d| d["kind"] == "Service").unwrap();
        let spec = &service["spec"];
        assert_eq!(spec["healthCheckNodePort"], json!(port), "{flags:?}");
        let local = port.map(|_| "Local");
        assert_eq!(spec["externalTrafficPolicy"], json!(local), "{flags:?}");
    }
}

#[tokio::test]
async fn credentials_for_other_clusters_are_made_unless_they_are_not_wanted() {
    const ACCOUNT: &str = "linkerd-service-mirror-remote-access-default";
    for (flags, wanted) in [
        (&[][..], true),
        (&["--service-mirror-credentials"], true),
        (&["--service-mirror-credentials=true"], true),
        (&["--service-mirror-credentials=false"], false),
    ] {
        let printed = extension(flags).await;
        let mut kinds: Vec<_> = printed
            .iter()
            .filter(|d| d["metadata"]["name"].as_str().unwrap().starts_with(ACCOUNT))
            .map(|d| d["kind"].as_str().unwrap())
            .collect();
        kinds.sort_unstable();
        let all = [
            "ClusterRole",
            "ClusterRoleBinding",
            "Role",
            "RoleBinding",
            "Secret",
            "ServiceAccount",
        ];
        let expected = if wanted { &all[..] } else { &[] };
        assert_eq!(kinds, expected, "{flags:?}");
    }
}

#[tokio::test]
async fn the_service_mirror_is_installed_with_the_logs_that_were_asked_for() {
    for (flags, level, format) in [
        (&[][..], "info", "plain"),
        (
            &["--log-level=debug,kube=off", "--log-format=json"],
            "debug,kube=off",
            "json",
        ),
        (
            &["--set=controllerLogLevel=warn", "--log-level=trace"],
            "trace",
            "plain",
        ),
        (
            &["--set=controllerLogLevel=warn,controllerLogFormat=json"],
            "warn",
            "json",
        ),
    ] {
        let printed = extension(flags).await;
        let mut all = printed.iter();
        let mirror = all.find(|d| {
            d["kind"] == "Deployment" && d["metadata"]["name"] == "linkerd-service-mirror"
        });
        let args = &mirror.unwrap()["spec"]["template"]["spec"]["containers"][0]["args"];
        let args = args.as_array().unwrap();
        for expected in [
            format!("--log-level={level}"),
            format!("--log-format={format}"),
        ] {
            assert!(args.contains(&expected.into()), "{flags:?}: {args:?}");
        }
    }
}

#[tokio::test]
async fn the_extension_is_printed_without_a_cluster_as_helms_values_say() {
    let files = Files::new();
    let anchors = files.file("ca.crt", "ANCHORS");
    let values = files.file("values.yaml", "gateway: {port: 5000, replicas: 2}");
    let install = ["multicluster", "install", "--ignore-cluster"];
    mesh(&install)
        .await
        .fails_with(&["no trust anchors", "--set-file identityTrustAnchorsPEM="]);
    let trusted = format!("identityTrustAnchorsPEM={anchors}");
    let given = ["--set-file", &trusted, "--ha", "-f", &values];
    let set = ["--set=gateway.serviceType=NodePort,nobody.reads=this"];
    let flags = ["--gateway-probe-port=6000"];
    let said = mesh(&[&install[..], &given, &set, &flags].concat()).await;
    assert!(
        said.err.contains("the value nobody is not known"),
        "{}",
        said.err
    );
    let printed = documents(&said.out());
    let of = |kind: &str| {
        let mut all = printed.iter();
        all.find(|d| d["kind"] == kind && d["metadata"]["name"] == "linkerd-gateway")
            .unwrap()
    };
    let spec = &of("Service")["spec"];
    assert_eq!(spec["type"], "NodePort");
    assert_eq!(
        (&spec["ports"][0]["port"], &spec["ports"][1]["port"]),
        (&5000.into(), &6000.into())
    );
    // A file wins over --ha, which gave the rest.
    assert_eq!(of("Deployment")["spec"]["replicas"], 2);
    assert_eq!(of("PodDisruptionBudget")["spec"]["maxUnavailable"], 1);
}
