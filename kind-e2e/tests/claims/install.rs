//! `mesh install`, `upgrade` and `check`, as users type them.

use crate::earlier;
use crate::steps::SHOP;
use crate::suite::{Claim, claim};
use crate::worlds::{CLUSTERS, Flavour, World};
use serde_json::Value;
use std::collections::BTreeMap;

pub const CLAIMS: &[Claim] = &[
    claim("install_a_new_cluster_is_fit", a_new_cluster_is_fit),
    claim(
        "install_prints_what_kubectl_applies",
        prints_what_kubectl_applies,
    ),
    claim(
        "install_issues_from_the_users_certificates",
        issues_from_the_users_certificates,
    ),
    claim("install_twice_changes_nothing", twice_changes_nothing),
    claim(
        "install_for_availability_passes_the_api_server",
        for_availability,
    ),
    claim(
        "install_for_availability_runs_three_of_everything",
        three_of_everything,
    ),
    claim("install_upgrade_keeps_trust_and_what_was_given", upgrade),
    claim(
        "install_upgrade_from_the_commit_before_fails_no_request",
        upgrade_under_load,
    )
    .unless(earlier::missing),
];

fn a_new_cluster_is_fit(world: &World) {
    if world.try_sh("kubectl --context=west get ns linkerd").ok {
        return; // a later claim was first
    }
    world.everywhere(|cluster| {
        let said = world.sh(&format!("mesh --context={cluster} check --pre"));
        assert!(said.contains("Status check results are √"), "{said}");
    });
    let said = world.try_sh("mesh --context=west check --wait=0s");
    said.fails_with(&["mesh install"]);
}

fn prints_what_kubectl_applies(world: &World) {
    world.installed();
    world.everywhere(|cluster| {
        let report = world.sh(&format!("mesh --context={cluster} check -o json"));
        let report: Value = serde_json::from_str(&report).unwrap();
        assert_eq!(report["success"], true, "{report:#}");
        for deployment in deployments(world, cluster) {
            let wanted = &deployment["spec"]["replicas"];
            assert_eq!(
                &deployment["status"]["readyReplicas"], wanted,
                "{deployment:#}"
            );
        }
    });
}

fn deployments(world: &World, cluster: &str) -> Vec<Value> {
    let list = world.get(cluster, "-n linkerd deployments");
    let all = list["items"].as_array().unwrap().clone();
    assert!(all.len() >= 3, "{all:#?}");
    all
}

fn issues_from_the_users_certificates(world: &World) {
    world.installed();
    let anchor = std::fs::read_to_string(world.file("ca.crt")).unwrap();
    for cluster in CLUSTERS {
        let roots = world.get(cluster, "-n linkerd cm linkerd-identity-trust-roots");
        let bundle = roots["data"]["ca-bundle.crt"].as_str().unwrap();
        assert_eq!(bundle.trim(), anchor.trim(), "{cluster}");
        let issuer = world.get(cluster, "-n linkerd secret linkerd-identity-issuer");
        let kind = if cluster == "north" {
            "kubernetes.io/tls"
        } else {
            "Opaque"
        };
        assert_eq!(issuer["type"], kind, "{cluster}");
        // What mesh check asked for in its own name was signed by it.
        let said = world.sh(&format!("mesh --context={cluster} check"));
        assert!(
            said.contains("√ the issuer is signed by the trust anchors"),
            "{said}"
        );
    }
}

/// Which pods run, and which generation of every Deployment.
fn state(world: &World, cluster: &str) -> BTreeMap<String, String> {
    let pods = world.pods(cluster, "linkerd", "linkerd.io/control-plane-component");
    let uid = |object: &Value| object["metadata"]["uid"].as_str().unwrap().to_owned();
    let mut state: BTreeMap<_, _> = pods.iter().map(|pod| (uid(pod), String::new())).collect();
    for deployment in deployments(world, cluster) {
        let name = deployment["metadata"]["name"].as_str().unwrap();
        let generation = &deployment["metadata"]["generation"];
        state.insert(name.to_owned(), generation.to_string());
    }
    state
}

fn twice_changes_nothing(world: &World) {
    world.installed();
    let before = state(world, "west");
    let printed = std::fs::read_to_string(world.file("west.install.yaml")).unwrap();
    let said = world.apply("west", &printed);
    assert!(!said.contains(" created"), "{said}");
    world.sh("mesh --context=west install --crds | kubectl --context=west apply -f -");
    assert_eq!(state(world, "west"), before);
    // A new trust anchor would cut off every sidecar, so asking for one again is refused.
    let again = world.try_sh("mesh --context=west install");
    again.fails_with(&["installed already", "mesh upgrade"]);
    world.sh("mesh --context=west check");
}

fn for_availability(world: &World) {
    world.installed();
    let flags = "--identity-trust-anchors-file ca.crt --identity-issuer-certificate-file west.crt \
                 --identity-issuer-key-file west.key";
    let said = world.sh(&format!(
        "mesh --context=west install --ha --ignore-cluster {flags} | \
         kubectl --context=west apply --dry-run=server -f -"
    ));
    for component in ["identity", "destination", "proxy-injector"] {
        let name = format!("poddisruptionbudget.policy/linkerd-{component}");
        assert!(said.contains(&name), "no {name}: {said}");
    }
    let printed = world.sh(&format!(
        "mesh install --ha --ignore-cluster {flags} -o json"
    ));
    let antiaffine = printed.matches("podAntiAffinity").count();
    assert!(antiaffine >= 3, "{antiaffine} pods keep apart");
}

fn three_of_everything(world: &World) {
    world.installed();
    world.sh("mesh --context=north upgrade --ha | kubectl --context=north apply -f -");
    world.all_rolled_out("north");
    for deployment in deployments(world, "north") {
        assert_eq!(deployment["status"]["readyReplicas"], 3, "{deployment:#}");
    }
    let said = world.sh("mesh --context=north check --wait=90s");
    assert!(said.contains("Status check results are √"), "{said}");
    for component in ["identity", "destination", "proxy-injector"] {
        let pods = world.pods(
            "north",
            "linkerd",
            &format!("linkerd.io/control-plane-component={component}"),
        );
        let ready = pods.iter().filter(|pod| {
            let conditions = pod["status"]["conditions"].as_array().unwrap();
            let ready = |it: &Value| it["type"] == "Ready" && it["status"] == "True";
            conditions.iter().any(ready)
        });
        assert_eq!(ready.count(), 3, "{component}");
    }
    if world.kind() != Flavour::Embedded {
        // Somebody acts on them: one at a time may be evicted, and not two.
        world.eventually("all budgets to allow one eviction", || {
            let budgets = world.get("north", "-n linkerd pdb");
            let budgets = budgets["items"].as_array().unwrap().clone();
            let one = budgets.iter().filter(|budget| {
                let status = &budget["status"];
                status["currentHealthy"] == 3 && status["disruptionsAllowed"] == 1
            });
            let enough = budgets.len() == 3 && one.count() == 3;
            enough.then_some(()).ok_or_else(|| format!("{budgets:#?}"))
        });
    }
    // And back, by what was applied first.
    let printed = std::fs::read_to_string(world.file("north.install.yaml")).unwrap();
    world.apply("north", &printed);
    world.sh("kubectl --context=north -n linkerd delete pdb --all");
    world.all_rolled_out("north");
}

fn upgrade(world: &World) {
    world.installed();
    let roots = |world: &World| world.get("east", "-n linkerd cm linkerd-identity-trust-roots");
    let before = roots(world);
    world.sh("mesh --context=east upgrade --set proxy.logLevel=debug | \
         kubectl --context=east apply -f -");
    world.sh("mesh --context=east check --wait=90s");
    assert_eq!(roots(world)["data"], before["data"]);
    let config = world
        .get("east", "-n linkerd cm linkerd-config")
        .to_string();
    assert!(config.contains("logLevel: debug"), "{config}");
    // What was given to install is given to upgrade too.
    let again = world.sh("mesh --context=east upgrade");
    for flag in world
        .install_flags()
        .split_whitespace()
        .filter(|f| f.contains('='))
    {
        let value = flag.rsplit('=').next().unwrap();
        assert!(again.contains(value), "upgrade forgot {flag}");
    }
}

fn upgrade_under_load(world: &World) {
    world.shop();
    let earlier = world.earlier_control_plane("west");
    world.apply("west", &earlier);
    world.all_rolled_out("west");
    let marked = || {
        let all = deployments(world, "west");
        let mark = format!("/spec/template/metadata/annotations/{}", earlier::MARK);
        all.iter().filter(|it| it.pointer(&mark).is_some()).count()
    };
    assert_eq!(marked(), 3, "all of it is as it was before");

    let mut load = world.load("west", SHOP, "http://web.shop.svc.cluster.local/", 50);
    load.until_answered_by(&["west"], 50);
    let before = state(world, "west");
    // Every process of the control plane starts anew.
    world.sh("mesh --context=west install --crds | kubectl --context=west apply -f -");
    world.sh(
        "mesh --context=west upgrade --set controllerLogLevel=debug | \
         kubectl --context=west apply -f -",
    );
    world.all_rolled_out("west");
    assert_ne!(state(world, "west"), before);
    assert_eq!(marked(), 0, "nothing of it is as it was before");
    load.until_answered_by(&["west"], 100);
    load.none_failed();
    world.sh("mesh --context=west check --wait=90s");
}
