//! Claims about the `netns` network, with real namespaces: the pods are this program again, or
//! shell scripts.
//!
//! They need root, `ip` and `nft`; where something is missing they are ignored, saying what.
//! `MESH_NETNS=require` turns that into a failure.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "all of this is a test; a failure is a panic"
)]

#[path = "sandbox/machine.rs"]
mod machine;
mod netns_claims;
#[allow(dead_code, reason = "each test binary uses its part")]
mod node_agent_world;
#[allow(unreachable_pub, reason = "shared by test binaries")]
#[path = "sandbox/upgrade.rs"]
mod upgrade;

use std::panic::{AssertUnwindSafe, catch_unwind};

use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    if netns_claims::pod::play_a_part() {
        return;
    }
    if std::env::var_os(node_agent_world::AGENT_FLAGS).is_some() {
        runtime().block_on(node_agent_world::be_the_agent());
        return;
    }
    let mut arguments = Arguments::from_args();
    // The machine has one registry of clusters, and claims count what is on the machine.
    arguments.test_threads = Some(1);
    let required = std::env::var("MESH_NETNS").is_ok_and(|v| v == "require");
    let missing = machine::missing();
    if let Some(why) = &missing {
        eprintln!("the netns network cannot be tested: {why}");
    }
    let trials = netns_claims::all()
        .into_iter()
        .map(|(name, claim)| match missing.clone() {
            None => Trial::test(name, move || {
                let ended = catch_unwind(AssertUnwindSafe(|| runtime().block_on(claim())));
                // Nothing of a claim stays on the machine, whatever became of it.
                let _logged = devcluster::node::sweep_networks();
                ended.map_err(|panic| {
                    let text = panic.downcast_ref::<String>().map(String::as_str);
                    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
                    Failed::from(text.unwrap_or("panicked").to_owned())
                })
            }),
            Some(why) if required => Trial::test(name, move || Err(Failed::from(why))),
            Some(_) => Trial::test(name, || Ok(())).with_ignored_flag(true),
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().unwrap()
}
