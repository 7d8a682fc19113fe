//! Stock kubectl against the API server: every verb users are promised, and what it says about
//! bad objects. Where there is no kubectl and none can be built the tests are ignored, saying
//! why; `MESH_KUBECTL=require` makes that a failure.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "all of this is a test; a failure is a panic"
)]

mod kubectl_claims;
mod sandbox;

use libtest_mimic::{Arguments, Failed, Trial};
use std::panic::{AssertUnwindSafe, catch_unwind};

fn main() {
    let arguments = Arguments::from_args();
    let required = std::env::var("MESH_KUBECTL").is_ok_and(|v| v == "require");
    let found = kind_e2e::assets::kubectl().map_err(|error| error.to_string());
    if let Err(why) = &found {
        eprintln!("kubectl tests cannot run: {why}");
    }
    let trials = kubectl_claims::all()
        .into_iter()
        .map(|(name, test)| match found.clone() {
            Ok(kubectl) => Trial::test(name, move || {
                run(|| test(&sandbox::Cluster::start(kubectl)))
            }),
            Err(why) if required => Trial::test(name, move || Err(Failed::from(why))),
            Err(_) => Trial::test(name, || Ok(())).with_ignored_flag(true),
        });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

/// A failed assertion is a failed test, not the end of all of them.
fn run(test: impl FnOnce()) -> Result<(), Failed> {
    catch_unwind(AssertUnwindSafe(test)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Failed::from(text.unwrap_or("panicked").to_owned())
    })
}
