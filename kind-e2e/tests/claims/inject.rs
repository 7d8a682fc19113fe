//! Pods get a sidecar where a namespace or a user asks for it, and their traffic is mTLS.

use crate::manifests::{client, meshed_namespace, plain_namespace, pod, web, web_with};
use crate::steps::SHOP;
use crate::suite::{Claim, claim};
use crate::worlds::{Flavour, Missing, World};
use serde_json::{Value, json};

pub const CLAIMS: &[Claim] = &[
    claim(
        "inject_annotated_namespaces_give_pods_a_sidecar",
        annotated_namespaces,
    ),
    claim("inject_makes_traffic_mutual_tls", mutual_tls),
    claim(
        "inject_from_standard_input_does_the_same",
        from_standard_input,
    ),
    claim(
        "inject_annotations_of_a_pod_configure_its_sidecar",
        annotations_of_a_pod,
    ),
    claim("inject_skipped_ports_pass_the_sidecar_by", skipped_ports).unless(not_redirected),
    claim("inject_opaque_ports_stay_encrypted", opaque_ports),
    claim("inject_check_proxy_passes", check_proxy),
];

/// The container of this name, among init containers too.
pub fn container<'a>(pod: &'a Value, name: &str) -> Option<&'a Value> {
    let spec = pod.get("spec")?;
    let all = ["containers", "initContainers"];
    let mut all = all.iter().filter_map(|key| spec[key].as_array()).flatten();
    all.find(|container| container["name"] == name)
}

fn annotated_namespaces(world: &World) {
    world.shop();
    let pods = world.pods("west", SHOP, "app=web");
    let sidecar = container(&pods[0], "linkerd-proxy").expect("a sidecar");
    assert_eq!(sidecar["image"], "mesh.io/proxy:0.1.0");
    // Where the kernel redirects, an init container tells it to.
    let init = container(&pods[0], "linkerd-init");
    assert_eq!(init.is_some(), world.redirects(), "{init:?}");
    let statuses = pods[0]["status"]["containerStatuses"].as_array().unwrap();
    assert!(
        statuses.iter().all(|status| status["ready"] == true),
        "{statuses:#?}"
    );
}

fn mutual_tls(world: &World) {
    world.shop();
    let url = "http://web.shop.svc.cluster.local/";
    let answer = world.ask_until("west", SHOP, url, |answer| answer.is_from("west"));
    assert_eq!(
        answer.answer["client_id"],
        "client.shop.serviceaccount.identity.linkerd.cluster.local"
    );
    if !world.redirects() {
        return; // without redirection nobody reaches a meshed pod but through a sidecar
    }
    // Whoever has no sidecar is served too, and taken for nobody.
    world.apply("west", &plain_namespace("outside"));
    world.apply("west", &client("outside"));
    world.ready("west", "outside", "pod/client");
    let answer = world.ask_until("west", "outside", url, |answer| answer.is_from("west"));
    assert_eq!(answer.answer["client_id"], Value::Null);
}

fn from_standard_input(world: &World) {
    world.shop();
    world.apply("west", &plain_namespace("by-hand"));
    for name in ["asked", "written"] {
        world.apply("west", &web("by-hand", name, "west"));
        world.rolled_out("west", "by-hand", name);
        let plain = world.pods("west", "by-hand", &format!("app={name}"));
        assert!(container(&plain[0], "linkerd-proxy").is_none());
    }
    for (name, flags) in [("asked", "--manual=false"), ("written", "--manual")] {
        let apply = format!(
            "kubectl --context=west -n by-hand get deploy {name} -o yaml | \
             mesh --context=west inject {flags} - | kubectl --context=west apply -f -"
        );
        world.sh(&apply);
        world.rolled_out("west", "by-hand", name);
        world.eventually("a pod with a sidecar", || {
            let pods = world.pods("west", "by-hand", &format!("app={name}"));
            let with = pods
                .iter()
                .all(|pod| container(pod, "linkerd-proxy").is_some());
            (with && pods.len() == 1)
                .then_some(())
                .ok_or_else(|| format!("{pods:#?}"))
        });
        let url = format!("http://{name}.by-hand.svc.cluster.local/");
        let answer = world.ask_until("west", SHOP, &url, |answer| answer.is_from("west"));
        assert!(answer.answer["client_id"].is_string(), "{name}: {answer:?}");
    }
    // Written or asked for: it is the same sidecar.
    let sidecar = |name: &str| {
        let pods = world.pods("west", "by-hand", &format!("app={name}"));
        let mut sidecar = container(&pods[0], "linkerd-proxy").unwrap().clone();
        let mounts = sidecar["volumeMounts"].as_array_mut().unwrap();
        // The API server adds a token under a name of its own.
        mounts.retain(|mount| {
            !mount["name"]
                .as_str()
                .unwrap()
                .starts_with("kube-api-access-")
        });
        let text = sidecar.to_string();
        text.replace(name, "NAME")
    };
    assert_eq!(sidecar("asked"), sidecar("written"));
}

fn annotations_of_a_pod(world: &World) {
    world.shop();
    let annotations = "{
        config.linkerd.io/proxy-cpu-request: 100m,
        config.linkerd.io/proxy-cpu-limit: 500m,
        config.linkerd.io/proxy-memory-request: 20Mi,
        config.linkerd.io/proxy-memory-limit: 128Mi,
        config.linkerd.io/proxy-log-level: 'warn,mesh=debug',
        config.linkerd.io/skip-outbound-ports: '3306,6379'}";
    world.apply("west", &web_with(SHOP, "orders", "west", annotations));
    world.rolled_out("west", SHOP, "orders");
    let pods = world.pods("west", SHOP, "app=orders");
    let sidecar = container(&pods[0], "linkerd-proxy").unwrap();
    let resources = &sidecar["resources"];
    assert_eq!(resources["requests"]["cpu"], "100m");
    assert_eq!(resources["limits"]["memory"], "128Mi");
    let log = sidecar["env"].as_array().unwrap().iter();
    let log: Vec<_> = log.filter(|e| e["name"] == "LINKERD2_PROXY_LOG").collect();
    assert_eq!(log[0]["value"], "warn,mesh=debug");
    if let Some(init) = container(&pods[0], "linkerd-init") {
        let args = init["args"].to_string();
        assert!(args.contains("3306,6379"), "{args}");
    }
}

fn not_redirected(kind: Flavour) -> Option<Missing> {
    (kind == Flavour::Embedded).then(|| Missing {
        why: "nothing redirects a pod's traffic in the loopback network".to_owned(),
        fatal: false,
    })
}

fn skipped_ports(world: &World) {
    world.shop();
    let namespace = "skipping";
    world.apply("west", &meshed_namespace(namespace));
    // Two ports of the same server; whoever comes through a sidecar is known to it.
    let server = "
apiVersion: v1
kind: Service
metadata: {name: both, namespace: shop}
spec:
  selector: {app: web}
  ports: [{name: meshed, port: 80, targetPort: 8080}, {name: skipped, port: 3306, targetPort: 8080}]
";
    world.apply("west", server);
    let annotations = "{config.linkerd.io/skip-outbound-ports: '3300-3310'}";
    world.apply("west", &pod(namespace, "client", annotations, ""));
    world.ready("west", namespace, "pod/client");
    let pod = world.get("west", &format!("-n {namespace} pod client"));
    assert!(container(&pod, "linkerd-proxy").is_some());
    for (port, client) in [
        (
            80,
            json!("default.skipping.serviceaccount.identity.linkerd.cluster.local"),
        ),
        (3306, Value::Null),
    ] {
        let url = format!("http://both.shop.svc.cluster.local:{port}/");
        let answer = world.ask_until("west", namespace, &url, |answer| answer.is_from("west"));
        assert_eq!(
            answer.answer["client_id"], client,
            "port {port}: {answer:?}"
        );
    }
    // The other way round: the server's sidecar is passed by, whoever asks.
    let annotations = "{config.linkerd.io/skip-inbound-ports: '8080'}";
    world.apply("west", &web_with(namespace, "plain", "west", annotations));
    world.rolled_out("west", namespace, "plain");
    world.apply("west", &plain_namespace("passing-by"));
    world.apply("west", &client("passing-by"));
    world.ready("west", "passing-by", "pod/client");
    let pods = world.pods("west", namespace, "app=plain");
    let ip = pods[0]["status"]["podIP"].as_str().unwrap();
    let before = inbound_connections(world, ip);
    let url = format!("http://{ip}:8080/");
    world.ask_until("west", "passing-by", &url, |answer| answer.is_from("west"));
    assert_eq!(inbound_connections(world, ip), before);
    world.sh("kubectl --context=west delete ns skipping passing-by --wait=false");
    world.sh("kubectl --context=west -n shop delete svc both");
}

/// How many connections to port 8080 a pod's sidecar has accepted, each with its labels.
fn inbound_connections(world: &World, ip: &str) -> Vec<String> {
    let lines = metrics(world, ip);
    let of_port = |line: &&str| {
        line.starts_with("tcp_open_total{")
            && line.contains("direction=\"inbound\"")
            && line.contains(":8080\"")
    };
    lines.lines().filter(of_port).map(str::to_owned).collect()
}

fn metrics(world: &World, ip: &str) -> String {
    let url = format!("http://{ip}:4191/metrics");
    let answer = world.ask_until("west", SHOP, &url, |answer| answer.status == Some(200));
    answer.answer.as_str().unwrap().to_owned()
}

fn opaque_ports(world: &World) {
    world.shop();
    let annotations = "{config.linkerd.io/opaque-ports: '8080'}";
    world.apply("west", &web_with(SHOP, "opaque", "west", annotations));
    world.rolled_out("west", SHOP, "opaque");
    let url = "http://opaque.shop.svc.cluster.local/";
    let answer = world.ask_until("west", SHOP, url, |answer| answer.is_from("west"));
    // Nobody looked into it, so nobody wrote a header; and yet the wire is encrypted.
    assert_eq!(answer.answer["client_id"], Value::Null, "{answer:?}");
    let pods = world.pods("west", SHOP, "app=opaque");
    let ip = pods[0]["status"]["podIP"].as_str().unwrap();
    let opened = inbound_connections(world, ip);
    assert!(
        opened.iter().any(|line| line.contains("tls=\"true\"")),
        "{opened:#?}"
    );
}

fn check_proxy(world: &World) {
    world.shop();
    let said = world.sh("mesh --context=west check --proxy --namespace shop");
    assert!(said.contains("Status check results are √"), "{said}");
}
