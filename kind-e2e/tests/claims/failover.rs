//! A service, a gateway or a whole cluster dies under load: no request fails, and it comes back.

use crate::federate::{URL, federated};
use crate::steps::SHOP;
use crate::suite::{Claim, claim};
use crate::worlds::{Flavour, Missing, World};

pub const CLAIMS: &[Claim] = &[
    claim(
        "failover_of_a_service_scaled_to_nothing",
        service_scaled_to_nothing,
    ),
    claim("failover_of_pods_that_are_killed", pods_that_are_killed),
    claim(
        "failover_of_a_gateway_that_is_killed",
        gateway_that_is_killed,
    ),
    claim(
        "failover_of_a_cluster_that_is_killed",
        cluster_that_is_killed,
    ),
    claim("failover_of_a_cluster_that_hangs", cluster_that_hangs),
    claim(
        "failover_to_an_older_state_of_a_store_is_followed",
        older_state_of_a_store,
    )
    .unless(not_on_kind),
];

fn not_on_kind(kind: Flavour) -> Option<Missing> {
    (kind == Flavour::Kind).then(|| Missing {
        why: "etcd of a node of kind is not at hand".to_owned(),
        fatal: false,
    })
}

const RATE: u32 = 50;
/// Answers in a row that show where traffic goes now.
const ENOUGH: usize = 50;

fn only_pod(world: &World, cluster: &str, namespace: &str, selector: &str) -> String {
    let pods = world.pods(cluster, namespace, selector);
    assert_eq!(pods.len(), 1, "{selector} in {cluster}: {pods:#?}");
    pods[0]["metadata"]["name"].as_str().unwrap().to_owned()
}

/// With west's own pods gone, so that other clusters answer.
fn from_elsewhere(world: &World) {
    federated(world);
    world.scale("west", SHOP, "web", 0);
}

fn back_home(world: &World) {
    world.scale("west", SHOP, "web", 1);
}

fn service_scaled_to_nothing(world: &World) {
    federated(world);
    let mut load = world.load("west", SHOP, URL, RATE);
    load.until_answered_by(&["west"], ENOUGH);
    world.scale("west", SHOP, "web", 0);
    load.until_answered_by(&["east", "north"], ENOUGH);
    world.scale("west", SHOP, "web", 1);
    load.until_answered_by(&["west"], ENOUGH);
    load.none_failed();
}

fn pods_that_are_killed(world: &World) {
    federated(world);
    let mut load = world.load("west", SHOP, URL, RATE);
    load.until_answered_by(&["west"], ENOUGH);
    let pod = only_pod(world, "west", SHOP, "app=web");
    world.kill_pod("west", &pod);
    load.until_answered_by(&["east", "north"], ENOUGH / 2);
    load.until_answered_by(&["west"], ENOUGH);
    load.none_failed();
}

fn gateway_that_is_killed(world: &World) {
    from_elsewhere(world);
    let mut load = world.load("west", SHOP, URL, RATE);
    load.until_answered_by(&["east", "north"], ENOUGH);
    let gateway = only_pod(world, "east", "linkerd-multicluster", "app=linkerd-gateway");
    // Before it is kept from coming back: scaled down, it might be gone already.
    world.kill_pod("east", &gateway);
    world.sh(
        "kubectl --context=east -n linkerd-multicluster scale deploy/linkerd-gateway --replicas=0",
    );
    load.until_answered_by(&["north"], ENOUGH);
    world.scale("east", "linkerd-multicluster", "linkerd-gateway", 1);
    load.until_answered_by(&["east"], ENOUGH);
    load.none_failed();
    back_home(world);
}

fn cluster_that_is_killed(world: &World) {
    from_elsewhere(world);
    let mut load = world.load("west", SHOP, URL, RATE);
    load.until_answered_by(&["east", "north"], ENOUGH);
    world.kill("east");
    load.until_answered_by(&["north"], ENOUGH);
    world.revive("east");
    load.until_answered_by(&["east"], ENOUGH);
    load.none_failed();
    back_home(world);
}

fn cluster_that_hangs(world: &World) {
    from_elsewhere(world);
    let mut load = world.load("west", SHOP, URL, RATE);
    load.until_answered_by(&["east", "north"], ENOUGH);
    world.freeze("east");
    load.until_answered_by(&["north"], ENOUGH);
    world.thaw("east");
    load.until_answered_by(&["east"], ENOUGH);
    load.none_failed();
    back_home(world);
}

/// API servers come back with less than they have told, and nobody but them is started anew.
fn older_state_of_a_store(world: &World) {
    const MIRROR: &str = "-n shop svc/web-east";
    let url = "http://web-east.shop.svc.cluster.local/";
    from_elsewhere(world);
    for cluster in ["west", "east"] {
        world.save(cluster);
    }
    world.sh("mesh --context=east multicluster export web --namespace shop");
    world.appears("west", MIRROR, true);
    world.ask_until("west", SHOP, url, |answer| answer.is_from("east"));
    // The mirror knows that it has made the Service; the API server knows nothing of it.
    let before = world.get("west", MIRROR)["metadata"]["uid"].clone();
    world.restore("west");
    world.appears("west", MIRROR, true);
    assert_ne!(world.get("west", MIRROR)["metadata"]["uid"], before);
    world.ask_until("west", SHOP, url, |answer| answer.is_from("east"));

    // West has heard of an export that, in east, never was.
    let mut load = world.load("west", SHOP, URL, RATE);
    load.until_answered_by(&["east", "north"], ENOUGH);
    world.restore("east");
    world.appears("west", MIRROR, false);
    // And it still listens.
    world.sh("mesh --context=east multicluster export web --namespace shop");
    world.appears("west", MIRROR, true);
    world.ask_until("west", SHOP, url, |answer| answer.is_from("east"));
    load.none_failed();
    world.sh("mesh --context=east multicluster unexport web --namespace shop");
    world.appears("west", MIRROR, false);
    back_home(world);
}
