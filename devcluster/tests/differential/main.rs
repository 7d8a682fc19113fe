//! The embedded API server beside a real one: the same requests, the same answers?
//!
//! Every sequence is replayed against both; status codes, Status reasons and messages, objects,
//! events and what kubectl prints are compared after what must differ (uids, times, revisions,
//! addresses) has been named alike. What is known to differ is a row of the table in
//! `docs/devcluster.md`: a difference without a row fails, and so does a row without a
//! difference. Where the real binaries cannot be had the sequences are ignored, saying why;
//! `MESH_E2E=require` makes that a failure.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "all of this is a test; a failure is a panic"
)]

mod compare;
mod limits;
mod normal;
mod sequences;
mod session;
mod webhook;
mod worlds;

use libtest_mimic::{Arguments, Failed, Trial};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use worlds::Worlds;

/// How many sequences agreed, in everything or in all but known limits, of how many that were
/// replayed.
static AGREED: AtomicUsize = AtomicUsize::new(0);
static LIMITED: AtomicUsize = AtomicUsize::new(0);
static REPLAYED: AtomicUsize = AtomicUsize::new(0);

/// Started by the first sequence that runs, for all of them.
static WORLDS: LazyLock<Result<Worlds, String>> = LazyLock::new(Worlds::start);
static ASSETS: LazyLock<Mutex<Option<kind_e2e::assets::Assets>>> = LazyLock::new(Mutex::default);

fn main() {
    let arguments = Arguments::from_args();
    if arguments.list {
        libtest_mimic::run(&arguments, trials(&Ok(()))).exit();
    }
    let found = kind_e2e::assets::all().map_err(|error| error.to_string());
    if let Err(why) = &found {
        eprintln!("sequences cannot be replayed: {why}");
    }
    let found = found.map(|assets| *ASSETS.lock().unwrap() = Some(assets));
    let conclusion = libtest_mimic::run(&arguments, trials(&found));
    let [agreed, limited, replayed] =
        [&AGREED, &LIMITED, &REPLAYED].map(|count| count.load(Ordering::Relaxed));
    if replayed > 0 {
        let (release, differ) = (kind_e2e::assets::release(), replayed - agreed - limited);
        println!(
            "{replayed} sequences beside kube-apiserver {release}: {agreed} agree, {limited} agree \
             but for known limits, {differ} differ"
        );
        if let Ok(worlds) = &*WORLDS {
            println!(
                "memory of the real control plane: {:?} (KiB)",
                worlds.memory()
            );
            worlds.stop();
        }
    }
    conclusion.exit();
}

fn trials(found: &Result<(), String>) -> Vec<Trial> {
    let limits = Arc::new(limits::read());
    let names: Vec<&str> = sequences::all().iter().map(|(name, _)| *name).collect();
    let unknown = limits
        .iter()
        .filter(|l| !names.contains(&l.sequence.as_str()));
    let unknown: Vec<String> = unknown.map(|l| l.sequence.clone()).collect();
    let table = Trial::test(
        "every_known_limit_is_about_a_sequence_there_is",
        move || match unknown.as_slice() {
            [] => Ok(()),
            some => Err(Failed::from(format!("no such sequence: {some:?}"))),
        },
    );
    let trials = sequences::all().into_iter().map(|(name, sequence)| {
        let limits = limits.clone();
        match found {
            Ok(()) => Trial::test(name, move || replay(name, sequence, &limits)),
            Err(why) if kind_e2e::required() => {
                let why = why.clone();
                Trial::test(name, move || Err(Failed::from(why)))
            }
            Err(_) => Trial::test(name, || Ok(())).with_ignored_flag(true),
        }
    });
    trials.chain([table]).collect()
}

fn replay(
    name: &'static str,
    sequence: sequences::Sequence,
    limits: &[limits::Limit],
) -> Result<(), Failed> {
    REPLAYED.fetch_add(1, Ordering::Relaxed);
    let worlds = WORLDS.as_ref().map_err(|why| Failed::from(why.clone()))?;
    let (ours, real) = std::thread::scope(|scope| {
        let run = |world| {
            let mut session = worlds.session(world, name);
            let ended = catch_unwind(AssertUnwindSafe(|| {
                session.settle();
                sequence(&mut session);
            }));
            session.finish(ended.err().map(text))
        };
        let ours = scope.spawn(move || run(worlds::World::Embedded));
        let real = run(worlds::World::Real);
        (ours.join().unwrap(), real)
    });
    let differences = compare::traces(&ours, &real);
    if std::env::var_os("DIFFERENTIAL_TRACE").is_some() {
        eprintln!("{real:#?}");
    }
    let verdict = limits::judge(name, &differences, limits);
    if verdict.is_empty() {
        let count = if differences.is_empty() {
            &AGREED
        } else {
            &LIMITED
        };
        count.fetch_add(1, Ordering::Relaxed);
        return Ok(());
    }
    Err(Failed::from(verdict.join("\n")))
}

/// What a panic said.
fn text(panic: Box<dyn std::any::Any + Send>) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|&s| s.to_owned()))
        .unwrap_or_else(|| "panicked".to_owned())
}
