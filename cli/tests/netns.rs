//! Claims that need network namespaces: `mesh proxy-init` with every tool there is, and what a
//! redirected connection looks like to the sidecar's own listener.
//!
//! They need root, `ip` and the tool in question; where something is missing they are ignored,
//! saying what. `MESH_NETNS=require` turns that into a failure.

#![allow(clippy::unwrap_used, clippy::panic)] // a test that cannot go on says so

#[path = "netns/sandbox.rs"]
mod sandbox;

#[path = "netns/redirect.rs"]
mod redirect;

#[path = "netns/sidecar.rs"]
mod sidecar;

#[allow(dead_code, reason = "each test binary uses its part")]
#[path = "commands/sandbox/mod.rs"]
mod cluster_sandbox;

use libtest_mimic::{Arguments, Failed, Trial};
use std::panic::{AssertUnwindSafe, catch_unwind};

fn main() {
    let arguments = Arguments::from_args();
    let required = std::env::var("MESH_NETNS").is_ok_and(|v| v == "require");
    let trials = redirect::all()
        .into_iter()
        .chain(sidecar::all())
        .map(|claim| match sandbox::missing(claim.needs) {
            None => Trial::test(claim.name, move || {
                catch_unwind(AssertUnwindSafe(claim.test)).map_err(|panic| {
                    let text = panic.downcast_ref::<String>().map(String::as_str);
                    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
                    Failed::from(text.unwrap_or("panicked").to_owned())
                })
            }),
            Some(why) if required => Trial::test(claim.name, move || Err(Failed::from(why))),
            Some(why) => {
                eprintln!("{} cannot run: {why}", claim.name);
                Trial::test(claim.name, || Ok(())).with_ignored_flag(true)
            }
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit();
}
