//! Clusters are linked by what one prints and the other applies; the way back leaves nothing.

use crate::steps::SHOP;
use crate::suite::{Claim, claim};
use crate::worlds::World;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub const CLAIMS: &[Claim] = &[
    claim("link_gateways_are_alive", gateways_are_alive),
    claim(
        "link_credentials_may_read_little_and_write_nothing",
        credentials,
    ),
    claim("link_undone_leaves_what_it_did_not_make", undone),
];

fn gateways_are_alive(world: &World) {
    world.linked();
    let said = world.sh("mesh --context=west multicluster check");
    assert!(said.contains("Status check results are √"), "{said}");
    world.eventually("both gateways to answer", || {
        let said = world.sh("mesh --context=west multicluster gateways -o json");
        let rows: serde_json::Value = serde_json::from_str(&said).unwrap();
        let alive = rows
            .as_array()
            .unwrap()
            .iter()
            .filter(|row| row["alive"] == true)
            .count();
        if alive == 2 { Ok(()) } else { Err(said) }
    });
}

fn credentials(world: &World) {
    world.linked();
    let secret = world.get(
        "west",
        "-n linkerd-multicluster secret cluster-credentials-east",
    );
    let kubeconfig = STANDARD
        .decode(secret["data"]["kubeconfig"].as_str().unwrap())
        .unwrap();
    std::fs::write(world.file("east-as-west.kubeconfig"), kubeconfig).unwrap();
    let may = |verb: &str, what: &str| {
        let said = world.try_sh(&format!(
            "kubectl --kubeconfig=east-as-west.kubeconfig auth can-i {verb} {what} -A"
        ));
        let answer = said.out.trim().to_owned();
        assert!(
            answer == "yes" || answer == "no",
            "{verb} {what}: {}",
            said.words()
        );
        answer == "yes"
    };
    for verb in ["get", "list", "watch"] {
        for what in ["services", "endpointslices.discovery.k8s.io"] {
            assert!(may(verb, what), "{verb} {what}");
        }
    }
    for (verb, what) in [
        ("create", "services"),
        ("update", "services"),
        ("delete", "endpointslices.discovery.k8s.io"),
        ("list", "secrets"),
        ("get", "secrets"),
        ("list", "pods"),
        ("list", "configmaps"),
        ("create", "pods"),
        ("create", "serviceaccounts/token"),
        ("impersonate", "users"),
    ] {
        assert!(!may(verb, what), "{verb} {what}");
    }
}

fn undone(world: &World) {
    world.linked();
    world.shop();
    // West's services become available in north, next to a Service that only looks the part.
    world.link("west", "north");
    world.sh("mesh --context=west multicluster export web --namespace shop");
    world.appears("north", "-n shop svc/web-west", true);
    world.sh("kubectl --context=north -n shop create service clusterip own-west --tcp=80");
    world.sh(
        "mesh --context=north multicluster unlink --cluster-name west | \
         kubectl --context=north delete -f - --timeout=60s",
    );
    for gone in [
        "-n shop svc/web-west",
        "-n linkerd-multicluster link.multicluster.linkerd.io/west",
        "-n linkerd-multicluster secret/cluster-credentials-west",
    ] {
        world.appears("north", gone, false);
    }
    let left = "-n shop endpointslices -l multicluster.linkerd.io/cluster-name=west";
    assert_eq!(world.get("north", left)["items"], serde_json::json!([]));
    world.get("north", "-n shop svc/own-west");
    world.get("north", "-n shop svc/web");
    world.sh("kubectl --context=north -n shop delete svc own-west");
    world.sh("mesh --context=west multicluster unexport web --namespace shop");
    // What links north and east to west is as it was.
    let links = world.get(
        "west",
        "-n linkerd-multicluster links.multicluster.linkerd.io",
    );
    assert_eq!(links["items"].as_array().unwrap().len(), 2, "in {SHOP}");
}
