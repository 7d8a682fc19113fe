//! Pods that are not like others: the host's network, init containers, a sidecar already.

use crate::inject::container;
use crate::manifests::pod;
use crate::steps::SHOP;
use crate::suite::{Claim, claim};
use crate::worlds::World;
use serde_json::Value;

pub const CLAIMS: &[Claim] = &[
    claim("inject_odd_pods_that_decline_stay_plain", pods_that_decline),
    claim("inject_odd_host_network_is_refused_and_told", host_network),
    claim(
        "inject_odd_own_init_containers_still_run",
        own_init_containers,
    ),
    claim(
        "inject_odd_pods_with_a_sidecar_are_left_alone",
        pods_with_a_sidecar,
    ),
    claim("inject_odd_native_sidecars_start_first", native_sidecars),
    claim(
        "inject_odd_an_absent_webhook_locks_nobody_out",
        absent_webhook,
    ),
];

fn created(world: &World, name: &str, annotations: &str, more: &str) -> Value {
    world.apply("west", &pod(SHOP, name, annotations, more));
    world.get("west", &format!("-n shop pod {name}"))
}

fn gone(world: &World, name: &str) {
    world.sh(&format!(
        "kubectl --context=west -n shop delete pod {name} --wait=false"
    ));
}

fn pods_that_decline(world: &World) {
    world.shop();
    let plain = created(world, "legacy", "{linkerd.io/inject: disabled}", "");
    assert!(container(&plain, "linkerd-proxy").is_none());
    gone(world, "legacy");
}

fn host_network(world: &World) {
    world.shop();
    let plain = created(world, "on-host", "{}", "hostNetwork: true");
    assert!(container(&plain, "linkerd-proxy").is_none());
    gone(world, "on-host");
    // Of a pod of its own there is nothing to tell about; of a workload there is.
    let manifest = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: hosted, namespace: shop}
spec:
  replicas: 1
  selector: {matchLabels: {app: hosted}}
  template:
    metadata: {labels: {app: hosted}}
    spec:
      hostNetwork: true
      containers: [{name: main, image: 'mesh.io/mesh:0.1.0', args: [pause]}]
";
    world.apply("west", manifest);
    world.eventually("an Event that says why", || {
        let events = world.get("west", "-n shop events").to_string();
        let told = events.contains("hostNetwork is set");
        if told {
            Ok(())
        } else {
            Err("no such Event".to_owned())
        }
    });
    world.sh("kubectl --context=west -n shop delete deploy hosted --wait=false");
    let said = world.try_sh_with("mesh --context=west inject -", manifest);
    assert!(said.ok, "{}", said.words());
    assert!(said.err.contains("hostNetwork"), "{}", said.err);
    assert!(!said.out.contains("linkerd-proxy"), "{}", said.out);
}

fn own_init_containers(world: &World) {
    world.shop();
    let own =
        "initContainers: [{name: own, image: 'mesh.io/mesh:0.1.0', args: [version, --client]}]";
    let injected = created(world, "with-init", "{}", own);
    assert!(container(&injected, "linkerd-proxy").is_some());
    assert!(container(&injected, "own").is_some());
    world.ready("west", SHOP, "pod/with-init");
    let pod = world.get("west", "-n shop pod with-init");
    let statuses = pod["status"]["initContainerStatuses"].as_array().unwrap();
    let own = statuses
        .iter()
        .find(|status| status["name"] == "own")
        .unwrap();
    assert_eq!(own["state"]["terminated"]["exitCode"], 0, "{own:#}");
    gone(world, "with-init");
}

fn pods_with_a_sidecar(world: &World) {
    world.shop();
    // Somebody's container is called like ours.
    let plain = created(world, "taken", "{}", "")
        .pointer("/spec/containers")
        .cloned();
    assert!(
        plain.unwrap().as_array().unwrap().len() == 2,
        "a usual pod gets a sidecar"
    );
    gone(world, "taken");
    let manifest = "
apiVersion: v1
kind: Pod
metadata: {name: own-proxy, namespace: shop}
spec:
  containers:
    - {name: main, image: 'mesh.io/mesh:0.1.0', args: [pause]}
    - {name: linkerd-proxy, image: 'mesh.io/mesh:0.1.0', args: [pause]}
";
    world.apply("west", manifest);
    let pod = world.get("west", "-n shop pod own-proxy");
    assert_eq!(
        pod["spec"]["containers"].as_array().unwrap().len(),
        2,
        "{pod:#}"
    );
    assert_eq!(pod["spec"]["containers"][1]["args"][0], "pause");
    assert!(container(&pod, "linkerd-init").is_none(), "{pod:#}");
    gone(world, "own-proxy");
    let said = world.try_sh_with("mesh --context=west inject -", manifest);
    assert!(said.ok && said.err.contains("already"), "{}", said.words());
}

fn native_sidecars(world: &World) {
    world.shop();
    let annotation = "{config.alpha.linkerd.io/proxy-enable-native-sidecar: 'true'}";
    let injected = created(world, "native", annotation, "");
    let init = injected["spec"]["initContainers"].as_array().unwrap();
    let sidecar = init
        .iter()
        .find(|c| c["name"] == "linkerd-proxy")
        .expect("a native sidecar");
    assert_eq!(sidecar["restartPolicy"], "Always");
    world.ready("west", SHOP, "pod/native");
    gone(world, "native");
}

fn absent_webhook(world: &World) {
    world.shop();
    world.scale("west", "linkerd", "linkerd-proxy-injector", 0);
    world.eventually("the webhook to be gone", || {
        let pods = world.pods(
            "west",
            "linkerd",
            "linkerd.io/control-plane-component=proxy-injector",
        );
        if pods.is_empty() {
            Ok(())
        } else {
            Err(format!("{} are there", pods.len()))
        }
    });
    let plain = created(world, "meanwhile", "{}", "");
    assert!(container(&plain, "linkerd-proxy").is_none());
    gone(world, "meanwhile");
    world.scale("west", "linkerd", "linkerd-proxy-injector", 1);
    world.eventually("pods to be injected again", || {
        let injected = created(world, "again", "{}", "");
        gone(world, "again");
        world.appears("west", "-n shop pod/again", false);
        let found = container(&injected, "linkerd-proxy").is_some();
        found.then_some(()).ok_or_else(|| "no sidecar".to_owned())
    });
}
