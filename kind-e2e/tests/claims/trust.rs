//! The root of trust is replaced in every cluster under load: nothing restarts, no request fails.

use crate::certificates;
use crate::federate::{URL, federated};
use crate::manifests::{client, meshed_namespace, plain_namespace, web};
use crate::steps::SHOP;
use crate::suite::{Claim, claim};
use crate::worlds::{CLUSTERS, Flavour, Missing, World};
use serde_json::{Value, json};
use std::path::Path;

pub const CLAIMS: &[Claim] = &[
    claim(
        "trust_roots_rotate_without_a_restart",
        roots_rotate_without_a_restart,
    ),
    claim(
        "trust_in_a_root_that_was_replaced_at_once_is_followed",
        root_replaced_at_once,
    ),
    claim("trust_a_clock_that_is_ahead_is_no_matter", clock_ahead).unless(no_other_time),
    claim("trust_a_clock_that_is_behind_is_allowed_for", clock_behind).unless(no_other_time),
];

const RATE: u32 = 50;
const ENOUGH: usize = 50;
/// Where the new root and its issuers are.
const NEXT: &str = "next";
/// Where another one is, which nothing was prepared for.
const OTHER: &str = "other";

fn roots_rotate_without_a_restart(world: &World) {
    federated(world);
    world.scale("west", SHOP, "web", 0);
    let before = pods(world);
    let mut load = world.load("west", SHOP, URL, RATE);
    load.until_answered_by(&["east", "north"], ENOUGH);

    make(world, NEXT);
    let read = |name: &str| std::fs::read_to_string(world.file(name)).unwrap();
    let (old, new) = (read("ca.crt"), read("next/ca.crt"));
    trust(world, &format!("{old}{new}"));
    followed(world);
    world.everywhere(|cluster| replace_issuer(world, cluster, NEXT));
    followed(world);
    trust(world, &new);
    followed(world);
    load.until_answered_by(&["east", "north"], ENOUGH);
    world.sh("mesh --context=west multicluster check --wait=60s");
    load.none_failed();
    assert_eq!(pods(world), before, "something was restarted");
    world.scale("west", SHOP, "web", 1);
}

/// Requests fail meanwhile, but nobody has to restart anything.
fn root_replaced_at_once(world: &World) {
    federated(world);
    world.scale("west", SHOP, "web", 0);
    let before = pods(world);
    make(world, OTHER);
    let root = std::fs::read_to_string(world.file("other/ca.crt")).unwrap();
    trust(world, &root);
    world.everywhere(|cluster| replace_issuer(world, cluster, OTHER));
    followed(world);
    world.sh("mesh --context=west multicluster check --wait=60s");
    let mut load = world.load("west", SHOP, URL, RATE);
    load.until_answered_by(&["east", "north"], ENOUGH);
    load.none_failed();
    assert_eq!(pods(world), before, "something was restarted");
    world.scale("west", SHOP, "web", 1);
}

/// Makes a root and an issuer for each cluster.
fn make(world: &World, directory: &str) {
    std::fs::create_dir_all(world.file(directory)).unwrap();
    certificates::write(&world.file(directory), &CLUSTERS);
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

/// Tells all clusters to trust `bundle`.
fn trust(world: &World, bundle: &str) {
    let patch = json!({"data": {"ca-bundle.crt": bundle}});
    std::fs::write(world.file("bundle.json"), patch.to_string()).unwrap();
    world.everywhere(|cluster| {
        world.sh(&format!(
            "kubectl --context={cluster} -n linkerd patch configmap linkerd-identity-trust-roots \
             --type=merge --patch-file=bundle.json"
        ));
    });
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
fn replace_issuer(world: &World, cluster: &str, directory: &str) {
    let secret = world.get(cluster, "-n linkerd secret linkerd-identity-issuer");
    let (certificate, key) = match secret["type"].as_str() {
        Some("kubernetes.io/tls") => ("tls.crt", "tls.key"),
        _ => ("crt.pem", "key.pem"),
    };
    let read = |ending: &str| {
        let file = world.file(&format!("{directory}/{cluster}.{ending}"));
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

/// Debian's package faketime: tells a process another time, if its C library is loaded.
const OTHER_TIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

fn no_other_time(kind: Flavour) -> Option<Missing> {
    let why = if kind == Flavour::Kind {
        "its images are static, so no library tells their processes another time".to_owned()
    } else if Path::new(OTHER_TIME).exists() {
        return None;
    } else {
        format!("there is no {OTHER_TIME} (Debian's package faketime)")
    };
    Some(Missing { why, fatal: false })
}

/// Runs the server `name` in west whose sidecar has another time.
fn at_another_time(world: &World, name: &str, offset: &str) {
    world.apply("west", &plain_namespace("clocks"));
    let manifest = web("clocks", name, "west");
    let (service, deployment) = manifest.split_once("---").unwrap();
    world.apply("west", service);
    let injected = world.try_sh_with(
        "mesh --context=west inject --manual - | \
         kubectl --context=west create --dry-run=client -o json -f -",
        deployment,
    );
    let mut deployment: Value = serde_json::from_str(&injected.clone().out()).unwrap();
    let pod = &mut deployment["spec"]["template"]["spec"];
    let sidecar = pod["containers"].as_array_mut().unwrap().iter_mut();
    let mut sidecar = sidecar.filter(|it| it["name"] == "linkerd-proxy");
    let environment = sidecar.next().expect("a sidecar")["env"].as_array_mut();
    environment.unwrap().extend([
        json!({"name": "LD_PRELOAD", "value": OTHER_TIME}),
        json!({"name": "FAKETIME", "value": offset}),
        json!({"name": "FAKETIME_DONT_FAKE_MONOTONIC", "value": "1"}),
    ]);
    world.apply("west", &deployment.to_string());
}

fn clock_ahead(world: &World) {
    world.shop();
    at_another_time(world, "ahead", "+10m");
    world.rolled_out("west", "clocks", "ahead");
    let url = "http://ahead.clocks.svc.cluster.local/";
    let answer = world.ask_until("west", SHOP, url, |answer| answer.is_from("west"));
    assert!(answer.answer["client_id"].is_string(), "{answer:?}");
}

fn clock_behind(world: &World) {
    world.installed();
    at_another_time(world, "behind", "-10m");
    // What is signed now is not valid yet for it, and it says so.
    world.eventually("the sidecar to doubt the clocks", || {
        let said =
            world.try_sh("kubectl --context=west -n clocks logs -l app=behind -c linkerd-proxy");
        let told = said.out.contains("do the clocks agree?");
        told.then_some(()).ok_or_else(|| said.words())
    });
    let pods = world.pods("west", "clocks", "app=behind");
    let statuses = pods[0]["status"]["containerStatuses"].as_array().unwrap();
    let sidecar = statuses.iter().find(|it| it["name"] == "linkerd-proxy");
    assert_eq!(sidecar.unwrap()["ready"], false, "{statuses:#?}");
    // An issuer that is told to allows for it, for all that it signs from then on.
    world.sh(
        "mesh --context=west upgrade --set identity.issuer.clockSkewAllowance=15m | \
         kubectl --context=west apply -f -",
    );
    world.all_rolled_out("west");
    world.sh("kubectl --context=west -n linkerd rollout restart deploy");
    world.all_rolled_out("west");
    world.rolled_out("west", "clocks", "behind");
    world.apply("west", &meshed_namespace("later"));
    world.apply("west", &client("later"));
    world.ready("west", "later", "pod/client");
    let url = "http://behind.clocks.svc.cluster.local/";
    let answer = world.ask_until("west", "later", url, |answer| answer.is_from("west"));
    assert!(answer.answer["client_id"].is_string(), "{answer:?}");
    world.sh("kubectl --context=west delete ns clocks later --wait=false");
}
