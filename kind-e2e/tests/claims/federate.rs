//! Services of the same name in several clusters are one.

use crate::steps::SHOP;
use crate::suite::{Claim, claim};
use crate::worlds::{CLUSTERS, World};

pub const CLAIMS: &[Claim] = &[
    claim("federate_members_are_one_service", members_are_one_service),
    claim(
        "federate_local_members_answer_first",
        local_members_answer_first,
    ),
    claim("federate_members_leave", members_leave),
];

/// The federated service's name for clients.
pub const URL: &str = "http://web-federated.shop.svc.cluster.local/";

/// Makes `web` a member in all clusters, and waits until it is one.
pub fn federated(world: &World) {
    world.shop();
    world.linked();
    for cluster in CLUSTERS {
        world.sh(&format!(
            "kubectl --context={cluster} -n shop label --overwrite svc/web \
             mirror.linkerd.io/federated=member"
        ));
    }
    world.appears("west", "-n shop svc/web-federated", true);
    world.eventually("members of both linked clusters", || {
        let slices = "-n shop endpointslices -l kubernetes.io/service-name=web-federated";
        let slices = world.get("west", slices);
        let slices = slices["items"].as_array().unwrap().iter();
        let members = slices.filter(|slice| slice["endpoints"][0]["addresses"][0].is_string());
        let members = members.count();
        (members >= 2)
            .then_some(())
            .ok_or_else(|| format!("{members} slices have an address"))
    });
}

fn members_are_one_service(world: &World) {
    federated(world);
    let mut load = world.load("west", SHOP, URL, 50);
    load.until_answered_by(&["west"], 20);
    world.scale("west", SHOP, "web", 0);
    load.until_answered_by(&["east", "north"], 50);
    world.scale("west", SHOP, "web", 1);
    load.until_answered_by(&["west"], 20);
    load.none_failed();
}

fn local_members_answer_first(world: &World) {
    federated(world);
    let mut load = world.load("west", SHOP, URL, 50);
    load.until_answered_by(&["west"], 100);
    load.none_failed();
}

fn members_leave(world: &World) {
    federated(world);
    world.scale("west", SHOP, "web", 0);
    let mut load = world.load("west", SHOP, URL, 50);
    load.until_answered_by(&["east", "north"], 50);
    world.sh("kubectl --context=east -n shop label svc/web mirror.linkerd.io/federated-");
    load.until_answered_by(&["north"], 100);
    world.sh("kubectl --context=east -n shop label svc/web mirror.linkerd.io/federated=member");
    world.sh("kubectl --context=north -n shop label svc/web mirror.linkerd.io/federated-");
    load.until_answered_by(&["east"], 100);
    world.sh("kubectl --context=north -n shop label svc/web mirror.linkerd.io/federated=member");
    world.scale("west", SHOP, "web", 1);
    load.until_answered_by(&["west"], 20);
    load.none_failed();
}
