//! A label exports a Service; linked clusters have it under the cluster's name.

use crate::manifests;
use crate::steps::SHOP;
use crate::suite::{Claim, claim};
use crate::worlds::{Flavour, Missing, World, tunnelled};

pub const CLAIMS: &[Claim] = &[
    claim(
        "mirror_exported_services_appear_and_answer",
        appear_and_answer,
    ),
    claim("mirror_ports_follow_the_original", ports_follow),
    claim("mirror_unexported_services_go", unexported_services_go),
    claim(
        "mirror_on_a_flat_network_goes_from_pod_to_pod",
        from_pod_to_pod,
    )
    .unless(not_on_kind),
    claim(
        "mirror_unexported_services_lose_their_open_tunnels",
        unexported_services_lose_tunnels,
    ),
];

fn not_on_kind(kind: Flavour) -> Option<Missing> {
    (kind == Flavour::Kind).then(|| Missing {
        why: "nodes of kind have no routes to each other's pods".to_owned(),
        fatal: false,
    })
}

fn appear_and_answer(world: &World) {
    world.shop();
    world.linked();
    world.sh("kubectl --context=east -n shop label svc/web mirror.linkerd.io/exported=true");
    world.appears("west", "-n shop svc/web-east", true);
    let url = "http://web-east.shop.svc.cluster.local/";
    let answer = world.ask_until("west", SHOP, url, |answer| answer.is_from("east"));
    // Through the gateway, over mTLS all the way: the server knows who asks.
    let seen = &answer.answer;
    assert!(seen["client_id"].is_string(), "{seen}");
    assert!(
        seen["forwarded"].is_string(),
        "no gateway was passed: {seen}"
    );
    // North exports nothing.
    world.appears("west", "-n shop svc/web-north", false);
    let said = world.sh("mesh --context=west multicluster gateways");
    let east = said
        .lines()
        .find(|line| line.starts_with("east"))
        .unwrap_or_default();
    assert!(east.contains("True"), "{said}");
}

fn ports_follow(world: &World) {
    world.shop();
    world.linked();
    world.sh(
        "kubectl --context=east -n shop label --overwrite svc/web mirror.linkerd.io/exported=true",
    );
    world.appears("west", "-n shop svc/web-east", true);
    let patch = "[{\"op\":\"add\",\"path\":\"/spec/ports/-\",\"value\":{\"name\":\"alt\",\"port\":81,\"targetPort\":8080}}]";
    world.sh(&format!(
        "kubectl --context=east -n shop patch svc/web --type=json -p '{patch}'"
    ));
    let url = "http://web-east.shop.svc.cluster.local:81/";
    world.ask_until("west", SHOP, url, |answer| answer.is_from("east"));
    world.sh(
        "kubectl --context=east -n shop patch svc/web --type=json -p \
         '[{\"op\":\"remove\",\"path\":\"/spec/ports/1\"}]'",
    );
    world.eventually("the port to go again", || {
        let ports = world.get("west", "-n shop svc/web-east")["spec"]["ports"].to_string();
        if ports.contains("81") {
            Err(ports)
        } else {
            Ok(())
        }
    });
}

fn unexported_services_go(world: &World) {
    world.shop();
    world.linked();
    world.sh("mesh --context=east multicluster export web --namespace shop");
    world.appears("west", "-n shop svc/web-east", true);
    world.sh("kubectl --context=east -n shop label svc/web mirror.linkerd.io/exported-");
    world.appears("west", "-n shop svc/web-east", false);
    let url = "http://web-east.shop.svc.cluster.local/";
    world.ask_until("west", SHOP, url, |answer| answer.error.is_some());
}

fn from_pod_to_pod(world: &World) {
    world.shop();
    world.linked();
    world.install_extension("east", "--remote-discovery");
    for cluster in ["west", "east"] {
        world.flat(cluster, true);
    }
    world
        .sh("mesh --context=east multicluster export web --namespace shop --mode=remote-discovery");
    world.appears("west", "-n shop svc/web-east", true);
    let url = "http://web-east.shop.svc.cluster.local/";
    let answer = world.ask_until("west", SHOP, url, |answer| answer.is_from("east"));
    let seen = &answer.answer;
    assert_eq!(
        seen["client_id"],
        "client.shop.serviceaccount.identity.linkerd.cluster.local"
    );
    assert!(seen["forwarded"].is_null(), "a gateway was passed: {seen}");
    // A pod that takes the place of another is followed, and nobody notices.
    let mut load = world.load("west", SHOP, url, 50);
    load.until_answered_by(&["east"], 20);
    world.scale("east", SHOP, "web", 2);
    let addresses = || {
        let slices = "-n shop endpointslices -l kubernetes.io/service-name=web-east";
        let slices = world.get("west", slices);
        let endpoints = slices["items"].as_array().unwrap().iter();
        let endpoints = endpoints
            .filter_map(|slice| slice["endpoints"].as_array())
            .flatten();
        let mut all: Vec<_> = endpoints
            .filter_map(|endpoint| Some(endpoint["addresses"][0].as_str()?.to_owned()))
            .collect();
        all.sort_unstable();
        all
    };
    let pods = world.pods("east", SHOP, "app=web");
    let mut of_pods: Vec<_> = pods
        .iter()
        .map(|pod| pod["status"]["podIP"].as_str().unwrap().to_owned())
        .collect();
    of_pods.sort_unstable();
    assert_eq!(of_pods.len(), 2);
    world.eventually("the mirror to have both pods", || {
        let found = addresses();
        (found == of_pods)
            .then_some(())
            .ok_or_else(|| format!("{found:?}"))
    });
    let first = pods[0]["metadata"]["name"].as_str().unwrap();
    world.sh(&format!(
        "kubectl --context=east -n shop delete pod {first}"
    ));
    world.rolled_out("east", SHOP, "web");
    load.until_answered_by(&["east"], 50);
    load.none_failed();

    world.sh("mesh --context=east multicluster unexport web --namespace shop");
    world.appears("west", "-n shop svc/web-east", false);
    world.scale("east", SHOP, "web", 1);
    for cluster in ["west", "east"] {
        world.flat(cluster, false);
    }
    world.install_extension("east", "");
}

fn unexported_services_lose_tunnels(world: &World) {
    world.shop();
    world.linked();
    let opaque = "{config.linkerd.io/opaque-ports: \"8080\"}";
    world.apply("east", &manifests::web_with(SHOP, "chat", "east", opaque));
    world.sh(
        "kubectl --context=east -n shop annotate svc/chat config.linkerd.io/opaque-ports=80,8080",
    );
    world.rolled_out("east", SHOP, "chat");
    world.sh("mesh --context=east multicluster export chat --namespace shop");
    world.appears("west", "-n shop svc/chat-east", true);
    let url = "http://chat-east.shop.svc.cluster.local/";
    // Nobody on the way reads these bytes; else the gateway would have noted itself.
    world.ask_until("west", SHOP, &tunnelled(url), |answer| {
        answer.is_from("east") && answer.answer["forwarded"].is_null()
    });
    let slow = tunnelled(&format!("{url}delay/8000"));
    let mut load = world.load("west", SHOP, &slow, 2);
    load.until_answered_by(&["east"], 3);
    load.until_cut(|| {
        world.sh("kubectl --context=east -n shop label svc/chat mirror.linkerd.io/exported-");
    });
    drop(load);
    world.sh("kubectl --context=east -n shop delete deploy/chat svc/chat");
}
