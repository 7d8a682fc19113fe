//! What the mesh claims, written once and run on several kinds of clusters.
//!
//! A world (`worlds/`) is three clusters, west, east and north; a claim types what a user would
//! type and looks at what came of it. Claims of a world run in their order, worlds side by side.
//! A world that cannot be made here is reported as ignored, saying why; `MESH_E2E=require` turns
//! that into a failure. See `CONTRIBUTING.md` for how to run and debug them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "all of this is a test; a failure is a panic"
)]

mod binary;
mod certificates;
mod earlier;
mod failover;
mod federate;
mod inject;
mod inject_odd;
mod install;
mod link;
mod manifests;
mod mirror;
mod report;
mod restrict;
mod steps;
mod suite;
mod trust;
mod typed;
mod worlds;

use libtest_mimic::Arguments;
use suite::Claim;
use worlds::{Flavour, reaper};

/// All of them, in the order in which a world is used.
const CLAIMS: &[&[Claim]] = &[
    install::CLAIMS,
    inject::CLAIMS,
    inject_odd::CLAIMS,
    link::CLAIMS,
    mirror::CLAIMS,
    federate::CLAIMS,
    failover::CLAIMS,
    restrict::CLAIMS,
    trust::CLAIMS,
];

fn main() {
    if reaper::is_asked_for() {
        return reaper::reap();
    }
    let arguments = Arguments::from_args();
    let all: Vec<&'static Claim> = CLAIMS.iter().copied().flatten().collect();
    suite::run(&arguments, &Flavour::ALL, &all);
}
