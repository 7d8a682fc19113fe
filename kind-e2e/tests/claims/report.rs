//! What is said of a claim that did not hold: where to look, and what pods say.

use crate::worlds::{CLUSTERS, Flavour, World};
use std::any::Any;
use std::cell::RefCell;
use std::fmt::Write as _;
use std::sync::Mutex;

/// Lines of a log that are shown.
const LINES: &str = "--tail=12";
/// Pods whose logs are shown.
const PODS: usize = 4;

/// Worlds in which a claim failed: what they leave is kept.
static FAILED: Mutex<Vec<Flavour>> = Mutex::new(Vec::new());

/// Notes that a claim of this world failed.
pub fn remember(kind: Flavour) {
    FAILED.lock().unwrap().push(kind);
}

/// Whether one did.
pub fn has_failed(kind: Flavour) -> bool {
    std::thread::panicking() || FAILED.lock().is_ok_and(|failed| failed.contains(&kind))
}

thread_local! {
    /// Where this thread panicked last.
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Keeps panics from being told twice: the harness tells them once all is over.
pub fn collect_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string);
        PLACE.set(place.unwrap_or_default());
    }));
}

/// What a panic of this thread said, and where.
pub fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    let text = text.unwrap_or("panicked");
    match PLACE.take() {
        place if place.is_empty() => text.to_owned(), // of a thread that is gone
        place => format!("{place}: {text}"),
    }
}

/// How the world is, for whoever reads the failure.
pub fn of(world: &World) -> String {
    let mut text = format!("\nlogs are kept below {}\n", world.dir().display());
    for cluster in CLUSTERS {
        let pods = world.try_sh(&format!("kubectl --context {cluster} get pods -A -o wide"));
        let _infallible = writeln!(text, "--- pods of {cluster}\n{}", pods.words());
        let warnings = world.try_sh(&format!(
            "kubectl --context {cluster} get events -A --field-selector type=Warning"
        ));
        let warnings = warnings.words();
        let lines: Vec<&str> = warnings.lines().collect();
        let last = lines[lines.len().saturating_sub(6)..].join("\n");
        let _infallible = writeln!(text, "--- warnings of {cluster}\n{last}");
        for (namespace, pod) in troubled(&pods.out).into_iter().take(PODS) {
            let log = world.try_sh(&format!(
                "kubectl --context {cluster} -n {namespace} logs {pod} --all-containers --prefix {LINES}"
            ));
            let _infallible = writeln!(text, "--- {cluster} {namespace}/{pod}\n{}", log.words());
        }
    }
    text
}

/// Pods in a table that are not as they should be.
fn troubled(table: &str) -> Vec<(&str, &str)> {
    let rows = table.lines().skip(1).filter_map(|line| {
        let mut cells = line.split_whitespace();
        let (namespace, name) = (cells.next()?, cells.next()?);
        let (ready, total) = cells.next()?.split_once('/')?;
        let status = cells.next()?;
        let well = status == "Completed" || (status == "Running" && ready == total);
        (!well).then_some((namespace, name))
    });
    rows.collect()
}

/// What the world cost.
pub fn figures(world: &World) -> String {
    let mut text = format!("[{}] memory in MiB:", world.kind().name());
    for (what, kib) in world.memory() {
        let _infallible = write!(text, " {what} {}", kib / 1024);
    }
    text
}
