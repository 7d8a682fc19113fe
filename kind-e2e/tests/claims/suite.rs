//! Claims as tests: which run, in which order, on which world.

use crate::report;
use crate::worlds::{Flavour, Missing, World};
use libtest_mimic::{Arguments, Failed, Trial};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

/// Something the mesh claims. It panics where it does not hold.
pub struct Claim {
    /// `<file>_<claim>`.
    pub name: &'static str,
    /// Tries it.
    pub test: fn(&World),
    /// What keeps it from being tried on a world of this kind.
    pub missing: fn(Flavour) -> Option<Missing>,
}

/// A claim called `name`, for worlds of every kind.
pub const fn claim(name: &'static str, test: fn(&World)) -> Claim {
    Claim {
        name,
        test,
        missing: |_| None,
    }
}

impl Claim {
    /// The same, where nothing is missing for it.
    pub const fn unless(self, missing: fn(Flavour) -> Option<Missing>) -> Self {
        Self { missing, ..self }
    }
}

/// A world that is booted by the first claim to need it, and gone when the last is over.
struct Shared {
    kind: Flavour,
    /// How many of its claims are over.
    turn: Mutex<usize>,
    next: Condvar,
    claims: usize,
    world: Mutex<Booted>,
}

#[derive(Clone, Default)]
enum Booted {
    #[default]
    NotYet,
    Running(Arc<World>),
    Failed,
}

/// Set by who wants to look around: a world stays when its claims are over.
const HOLD: &str = "MESH_E2E_HOLD";

/// Runs the claims on the worlds and ends this process.
pub fn run(arguments: &Arguments, kinds: &[Flavour], claims: &[&'static Claim]) {
    let mut trials = Vec::new();
    for &kind in kinds {
        let name = |claim: &Claim| format!("{}::{}", kind.name(), claim.name);
        let wanted: Vec<_> = claims
            .iter()
            .filter(|claim| !arguments.list && chosen(arguments, &name(claim)))
            .collect();
        let no_world = if wanted.is_empty() {
            None
        } else {
            kind.missing()
        };
        if let Some(Missing { why, .. }) = &no_world {
            eprintln!("the world {} cannot be made here: {why}", kind.name());
        }
        let missing: BTreeMap<&str, Missing> = wanted
            .iter()
            .filter(|_| no_world.is_none())
            .filter_map(|claim| Some((claim.name, (claim.missing)(kind)?)))
            .collect();
        for (claim, Missing { why, .. }) in &missing {
            eprintln!("{}::{claim} cannot be tried here: {why}", kind.name());
        }
        let shared = Arc::new(Shared {
            kind,
            turn: Mutex::default(),
            next: Condvar::new(),
            claims: wanted.len() - missing.len(),
            world: Mutex::default(),
        });
        let mut turn = 0;
        for claim in claims {
            let name = name(claim);
            let absent = no_world.as_ref().or_else(|| missing.get(claim.name));
            let trial = match absent.cloned() {
                Some(Missing { why, fatal: true }) => Trial::test(name, || Err(Failed::from(why))),
                Some(_) => Trial::test(name, || Ok(())).with_ignored_flag(true),
                None => {
                    let (shared, test, mine) = (shared.clone(), claim.test, turn);
                    turn += usize::from(chosen(arguments, &name));
                    Trial::test(name, move || shared.try_claim(mine, test))
                }
            };
            trials.push(trial);
        }
    }
    report::collect_panics();
    // Whose turn it is the worlds decide; everybody else waits.
    let arguments = Arguments {
        test_threads: Some(trials.len().max(1)),
        ..arguments.clone()
    };
    libtest_mimic::run(&arguments, trials).exit();
}

/// Whether the arguments choose a test, as libtest has it.
fn chosen(arguments: &Arguments, name: &str) -> bool {
    let fits = |pattern: &String| {
        if arguments.exact {
            name == pattern
        } else {
            name.contains(pattern)
        }
    };
    arguments.filter.as_ref().is_none_or(fits)
        && !arguments.skip.iter().any(fits)
        && !arguments.ignored
}

impl Shared {
    fn try_claim(&self, mine: usize, test: fn(&World)) -> Result<(), Failed> {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        drop(
            self.next
                .wait_while(turn, |turn| *turn < mine)
                .unwrap_or_else(PoisonError::into_inner),
        );
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let world = self.world()?;
            catch_unwind(AssertUnwindSafe(|| test(&world))).map_err(|panic| {
                let why = report::words(&*panic);
                Failed::from(format!("{why}\n{}", report::of(&world)))
            })
        }));
        let ended = ended.unwrap_or_else(|panic| Err(Failed::from(report::words(&*panic))));
        if ended.is_err() {
            report::remember(self.kind);
        }
        if mine + 1 == self.claims {
            self.tear_down();
        }
        *self.turn.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.next.notify_all();
        ended
    }

    fn world(&self) -> Result<Arc<World>, Failed> {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        match &*world {
            Booted::Running(running) => return Ok(running.clone()),
            Booted::Failed => return Err(Failed::from("its world did not start; see above")),
            Booted::NotYet => {}
        }
        *world = Booted::Failed;
        let started = Instant::now();
        let booted = catch_unwind(AssertUnwindSafe(|| World::boot(self.kind)));
        match booted {
            Ok(booted) => {
                let seconds = started.elapsed().as_secs_f32();
                eprintln!("[{}] three clusters run ({seconds:.1}s)", self.kind.name());
                let booted = Arc::new(booted);
                *world = Booted::Running(booted.clone());
                Ok(booted)
            }
            Err(panic) => Err(Failed::from(format!(
                "the world {} did not start: {}",
                self.kind.name(),
                report::words(&*panic)
            ))),
        }
    }

    /// Its memory is for the others to have.
    fn tear_down(&self) {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        if let Booted::Running(world) = &*world {
            eprintln!("{}", report::figures(world));
            if std::env::var_os(HOLD).is_some() {
                hold(world);
            }
        }
        *world = Booted::NotYet;
    }
}

/// Until Ctrl-C, which ends all of this and has the reaper tidy up.
fn hold(world: &World) {
    let kubeconfig = world.file("kubeconfig");
    eprintln!("the world stays until Ctrl-C; its contexts are west, east and north:");
    eprintln!("export KUBECONFIG={}", kubeconfig.display());
    loop {
        std::thread::park();
    }
}
