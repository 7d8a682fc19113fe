//! Claims about a node agent that serves a real control plane: etcd, kube-apiserver and
//! kube-controller-manager, no scheduler and no kubelet. Pods are network namespaces.
//!
//! They need root, `ip`, `nft` and Kubernetes' binaries; where something is missing they are
//! ignored, saying what. `MESH_NETNS=require` and `MESH_E2E=require` turn that into a failure.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "all of this is a test; a failure is a panic"
)]

#[path = "sandbox/machine.rs"]
mod machine;
#[allow(dead_code, reason = "each test binary uses its part")]
mod node_agent_world;
#[allow(dead_code, reason = "each test binary uses its part")]
#[path = "netns_claims/pod.rs"]
mod pod;
mod real_claims;

use std::panic::{AssertUnwindSafe, catch_unwind};

use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    if pod::play_a_part() {
        return;
    }
    if std::env::var_os(node_agent_world::AGENT_FLAGS).is_some() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(node_agent_world::be_the_agent());
        return;
    }
    let mut arguments = Arguments::from_args();
    // They share one cluster.
    arguments.test_threads = Some(1);
    let missing = if arguments.list { None } else { missing() };
    if let Some((why, _)) = &missing {
        eprintln!("there is no real cluster here: {why}");
    }
    let trials = real_claims::all()
        .into_iter()
        .map(|(name, claim)| match missing.clone() {
            None => Trial::test(name, move || {
                let ended = catch_unwind(AssertUnwindSafe(|| real_claims::world::with(claim)));
                ended.map_err(|panic| {
                    let text = panic.downcast_ref::<String>().map(String::as_str);
                    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
                    Failed::from(text.unwrap_or("panicked").to_owned())
                })
            }),
            Some((why, true)) => Trial::test(name, move || Err(Failed::from(why))),
            Some(_) => Trial::test(name, || Ok(())).with_ignored_flag(true),
        });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    real_claims::world::end();
    conclusion.exit();
}

/// What is missing, and whether that is a failure.
fn missing() -> Option<(String, bool)> {
    if let Some(why) = machine::missing() {
        let required = std::env::var("MESH_NETNS").is_ok_and(|v| v == "require");
        return Some((why, required));
    }
    let why = kind_e2e::assets::all().err()?.to_string();
    Some((why, kind_e2e::required()))
}
