//! What the agent is to the cluster: a node, a scheduler, a cloud.

use std::time::Instant;

use serde_json::{Value, json};

use super::server;
use super::world::{NODE, NODE_IP, World};
use crate::node_agent_world::is_ready;
use crate::pod::part;

pub(crate) fn the_node_registers_and_stays_ready(world: &mut World) {
    let node = world.until("the node is ready and taints are gone", || {
        let node = world.get("default", &format!("node/{NODE}"));
        let tainted = node["spec"]["taints"].is_array();
        (is_ready(&node) && !tainted).then_some(node)
    });
    assert_eq!(node["status"]["addresses"][0]["address"], NODE_IP);
    let renewed = || {
        let lease = world.get("kube-node-lease", &format!("lease/{NODE}"));
        lease["spec"]["renewTime"].as_str().map(str::to_owned)
    };
    let first = world.until("there is a lease", renewed);
    world.until("it is renewed", || (renewed()? != first).then_some(()));
}

pub(crate) fn a_deployment_serves_by_name_and_cluster_ip(world: &mut World) {
    let ns = "deployment";
    world.namespace(ns);
    let labels = json!({"app": "web"});
    let started = Instant::now();
    let spec = json!({"containers": [server()], "terminationGracePeriodSeconds": 1});
    world.create(
        ns,
        &json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"replicas": 2, "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": spec}}}),
    );
    world.ok(
        ns,
        &[
            "expose",
            "deployment/web",
            "--port=8080",
            "--target-port=80",
        ],
    );
    world.ok(
        ns,
        &["rollout", "status", "deployment/web", "--timeout=60s"],
    );
    let taken = started.elapsed();
    world.note(format!(
        "two pods of a Deployment were ready after {taken:?}"
    ));
    let slice = world.until("the slice has both pods", || {
        let slices = world.get(ns, "endpointslices");
        let endpoints = slices["items"][0]["endpoints"].as_array()?.clone();
        let ready = endpoints.iter().all(|e| e["conditions"]["ready"] == true);
        (endpoints.len() == 2 && ready).then(|| slices["items"][0].clone())
    });
    let by = &slice["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"];
    assert_eq!(by, "endpointslice-controller.k8s.io");

    let service = world.get(ns, "service/web");
    let by_ip = format!("{}:8080", service["spec"]["clusterIP"].as_str().unwrap());
    let by_name = "web.deployment.svc.cluster.local:8080";
    world.pod(
        ns,
        "ask",
        json!({"containers": [part("ask", &["web:8080", by_name, &by_ip])]}),
    );
    let names: Vec<String> = pods_of(world, ns);
    for target in ["web:8080", by_name, &by_ip] {
        for name in &names {
            let wanted = format!("{target} {name} ");
            world.until_log(ns, "ask", |log| log.contains(&wanted));
        }
    }
    world.ok(ns, &["scale", "deployment/web", "--replicas=0"]);
    world.until("the pods are gone", || {
        pods_of(world, ns).is_empty().then_some(())
    });
    let refused = format!("{by_ip} ConnectionRefused");
    world.until_log(ns, "ask", |log| log.contains(&refused));
}

fn pods_of(world: &World, ns: &str) -> Vec<String> {
    let names = ["get", "pods", "-l", "app=web", "-o", "name"];
    let names = world.ok(ns, &names);
    names
        .lines()
        .map(|line| line.trim_start_matches("pod/").to_owned())
        .collect()
}

pub(crate) fn load_balancers_have_addresses_that_stay(world: &mut World) {
    let ns = "balancers";
    world.namespace(ns);
    world.pod(ns, "web", json!({"containers": [server()]}));
    world.until_ready(ns, "web");
    let balancer = |name: &str| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {
            "type": "LoadBalancer", "selector": {"app": "web"},
            "ports": [{"port": 4143, "targetPort": 80}]}})
    };
    let address = |world: &World, name: &str| {
        let service = world.get(ns, &format!("service/{name}"));
        let ip = &service["status"]["loadBalancer"]["ingress"][0]["ip"];
        ip.as_str().map(str::to_owned)
    };
    for name in ["one", "two"] {
        world.create(ns, &balancer(name));
    }
    let held = |world: &World| {
        world.until("both have addresses", || {
            Some((address(world, "one")?, address(world, "two")?))
        })
    };
    let before = held(world);
    assert_ne!(before.0, before.1);
    assert!(before.0.starts_with("10.172.0."), "{before:?}");
    world.kill_agent();
    world.start_agent();
    world.create(ns, &balancer("three"));
    let third = world.until("a third one has an address", || address(world, "three"));
    assert_eq!(held(world), before);
    assert!(third != before.0 && third != before.1);
    world.until("it answers", || {
        std::net::TcpStream::connect((third.as_str(), 4143)).ok()
    });
    world.ok(
        ns,
        &[
            "patch",
            "service/two",
            "-p",
            r#"{"spec":{"type":"ClusterIP"}}"#,
        ],
    );
    world.until("it is given back", || {
        address(world, "two").is_none().then_some(())
    });
}

pub(crate) fn a_pod_waits_for_a_node_that_suits_it(world: &mut World) {
    let ns = "selector";
    world.namespace(ns);
    let spec = |selector: Value| json!({"nodeSelector": selector, "containers": [server()]});
    world.pod(ns, "suits", spec(json!({"kubernetes.io/os": "linux"})));
    world.pod(ns, "waits", spec(json!({"disk": "fast"})));
    world.until_ready(ns, "suits");
    world.until("it says why it waits", || {
        let events = world.get(ns, "events");
        let mut events = events["items"].as_array()?.iter();
        events
            .any(|e| e["reason"] == "FailedScheduling")
            .then_some(())
    });
    assert!(world.get(ns, "pod/waits")["spec"]["nodeName"].is_null());
    world.ok("default", &["label", "node", NODE, "disk=fast"]);
    world.until_ready(ns, "waits");
}

pub(crate) fn pods_outlive_their_agent(world: &mut World) {
    let ns = "crash";
    world.namespace(ns);
    world.pod(ns, "web", json!({"containers": [server()]}));
    world.pod(ns, "gone", json!({"containers": [server()]}));
    let before = world.until_ready(ns, "web");
    world.until_ready(ns, "gone");
    world.kill_agent();
    let ip = before["status"]["podIP"].as_str().unwrap().to_owned();
    assert!(std::net::TcpStream::connect((ip.as_str(), 80)).is_ok());
    // Deleted while nobody looks.
    world.ok(ns, &["delete", "pod", "gone", "--wait=false"]);
    world.start_agent();
    world.until("the deleted pod is gone", || {
        world.get(ns, "pod/gone").is_null().then_some(())
    });
    world.ok(ns, &["exec", "web", "--", "/bin/true"]);
    let after = world.until_ready(ns, "web");
    let same = |path: &str| assert_eq!(before.pointer(path), after.pointer(path), "{path}");
    same("/status/podIP");
    same("/status/containerStatuses/0/state/running/startedAt");
    same("/status/containerStatuses/0/restartCount");
}

pub(crate) fn a_cordoned_node_takes_no_pods(world: &mut World) {
    let ns = "cordon";
    world.namespace(ns);
    world.ok("default", &["cordon", NODE]);
    world.pod(ns, "waits", json!({"containers": [server()]}));
    world.until("it says why it waits", || {
        let events = world.get(ns, "events");
        let mut events = events["items"].as_array()?.iter();
        events
            .any(|e| e["reason"] == "FailedScheduling")
            .then_some(())
    });
    assert!(world.get(ns, "pod/waits")["spec"]["nodeName"].is_null());
    world.ok("default", &["uncordon", NODE]);
    world.until_ready(ns, "waits");
}

pub(crate) fn pods_outlive_the_api_server(world: &mut World) {
    let ns = "restart";
    world.namespace(ns);
    world.pod(ns, "web", json!({"containers": [server()]}));
    let before = world.until_ready(ns, "web");
    world.plane.stop_apiserver();
    let ip = before["status"]["podIP"].as_str().unwrap();
    assert!(std::net::TcpStream::connect((ip, 80)).is_ok());
    world.plane.start_apiserver().unwrap();
    world.pod(ns, "next", json!({"containers": [server()]}));
    world.until_ready(ns, "next");
    let after = world.until_ready(ns, "web");
    let path = "/status/containerStatuses";
    assert_eq!(before.pointer(path), after.pointer(path));
    assert_eq!(
        world.ok(ns, &["exec", "web", "--", "echo", "here"]),
        "here\n"
    );
}
