//! The root of trust is replaced in every cluster under load: nothing restarts, no request fails.

use crate::certificates;
use crate::federate::{URL, federated};
use crate::steps::SHOP;
use crate::suite::{Claim, claim};
use crate::worlds::{CLUSTERS, World};
use serde_json::json;

pub const CLAIMS: &[Claim] = &[claim(
    "trust_roots_rotate_without_a_restart",
    roots_rotate_without_a_restart,
)];

const RATE: u32 = 50;
const ENOUGH: usize = 50;
/// Where the new root and its issuers are.
const NEXT: &str = "next";

fn roots_rotate_without_a_restart(world: &World) {
    federated(world);
    world.scale("west", SHOP, "web", 0);
    let before = pods(world);
    let mut load = world.load("west", SHOP, URL, RATE);
    load.until_answered_by(&["east", "north"], ENOUGH);

    std::fs::create_dir_all(world.file(NEXT)).unwrap();
    certificates::write(&world.file(NEXT), &CLUSTERS);
    let read = |name: &str| std::fs::read_to_string(world.file(name)).unwrap();
    let (old, new) = (read("ca.crt"), read("next/ca.crt"));
    trust(world, &format!("{old}{new}"));
    world.everywhere(|cluster| replace_issuer(world, cluster));
    followed(world);
    trust(world, &new);
    load.until_answered_by(&["east", "north"], ENOUGH);
    world.sh("mesh --context=west multicluster check --wait=60s");
    load.none_failed();
    assert_eq!(pods(world), before, "something was restarted");
    world.scale("west", SHOP, "web", 1);
}

/// Uids and restarts of everything meshed.
fn pods(world: &World) -> Vec<String> {
    let mut all = Vec::new();
    for cluster in CLUSTERS {
        let list = world.get(cluster, "pods -A -l linkerd.io/control-plane-ns");
        for pod in list["items"].as_array().unwrap() {
            let statuses = pod["status"]["containerStatuses"].as_array().unwrap();
            let restarts: u64 = statuses
                .iter()
                .filter_map(|status| status["restartCount"].as_u64())
                .sum();
            all.push(format!("{} {restarts}", pod["metadata"]["uid"]));
        }
    }
    all.sort_unstable();
    all
}

/// Has all clusters trust `bundle`, and waits until their sidecars do.
fn trust(world: &World, bundle: &str) {
    let patch = json!({"data": {"ca-bundle.crt": bundle}});
    std::fs::write(world.file("bundle.json"), patch.to_string()).unwrap();
    world.everywhere(|cluster| {
        world.sh(&format!(
            "kubectl --context={cluster} -n linkerd patch configmap linkerd-identity-trust-roots \
             --type=merge --patch-file=bundle.json"
        ));
    });
    followed(world);
}

/// Waits until `mesh check --proxy` says that every sidecar has followed.
fn followed(world: &World) {
    for cluster in CLUSTERS {
        world.eventually(&format!("sidecars of {cluster} that have followed"), || {
            let check = format!("mesh --context={cluster} check --proxy -o short");
            let said = world.try_sh(&check);
            match said.ok && !said.out.contains("sidecars trust") {
                true => Ok(()),
                false => Err(said.words()),
            }
        });
    }
}

/// Whoever keeps the Secret puts the new issuer into it.
fn replace_issuer(world: &World, cluster: &str) {
    let secret = world.get(cluster, "-n linkerd secret linkerd-identity-issuer");
    let (certificate, key) = match secret["type"].as_str() {
        Some("kubernetes.io/tls") => ("tls.crt", "tls.key"),
        _ => ("crt.pem", "key.pem"),
    };
    let read = |ending: &str| {
        let file = world.file(&format!("{NEXT}/{cluster}.{ending}"));
        std::fs::read_to_string(file).unwrap()
    };
    let mut data = serde_json::Map::new();
    data.insert(certificate.to_owned(), read("crt").into());
    data.insert(key.to_owned(), read("key").into());
    let patch = json!({ "stringData": data }).to_string();
    std::fs::write(world.file(&format!("issuer-{cluster}.json")), patch).unwrap();
    world.sh(&format!(
        "kubectl --context={cluster} -n linkerd patch secret linkerd-identity-issuer \
         --type=merge --patch-file=issuer-{cluster}.json"
    ));
}
