//! Finding out what to do with a target: asked once, then kept fresh while it is used.
//!
//! [`Discovery::addr`] and [`Discovery::name`] return at once for a known target. For an unknown
//! one they ask the control plane, and wait no longer than [`DEADLINE`]: an application gets a
//! clear error, not a hang. [`ask`] asks and [`plan::plan`] combines the answers (pure). Entries nobody used for the
//! configured time are dropped with their streams, balancers and connections.

mod ask;
mod plan;

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::watch, task::AbortHandle, time::Instant};

use self::ask::{Asker, watch_target};
use super::{
    backend::{Backend, Backends},
    policy::Policy,
    retry::Budget,
    withdrawn,
};
use crate::{Error, config::Destination, control::Control};

/// How long the first answer about a target may take.
pub const DEADLINE: Duration = Duration::from_secs(3);
/// Entries are kept at least this long: asking again costs round trips to the control plane and
/// new handshakes with every endpoint, keeping costs little.
const KEEP_AT_LEAST: Duration = Duration::from_secs(30);

/// A denied name is not asked about more often than this, whoever insists on it.
const DENIED_FOR: Duration = Duration::from_secs(1);
/// Clients of a gateway choose the names; this many at once are enough for any of them. (Tests reach
/// it.)
pub(super) const MOST_TARGETS: usize = if cfg!(test) { 1_000 } else { 20_000 };

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// An original destination.
    Addr(SocketAddr),
    /// A name, as a gateway asks for it.
    Name(Arc<str>, u16),
}

/// What is known of a target. Cheap to clone; kept fresh while any clone lives.
#[derive(Clone)]
pub struct Discovered(Arc<Entry>);

struct Entry {
    target: Target,
    name: Arc<str>,
    asked: Instant,
    state: watch::Receiver<State>,
    used: Mutex<Instant>,
    budget: Mutex<Budget>,
    task: AbortHandle,
}

#[derive(Clone)]
enum State {
    Asking,
    Known(Arc<Plan>),
    /// The control plane knows nothing of that name.
    NotFound,
}

/// What to do with a target's connections.
pub struct Plan {
    /// Where they go.
    pub policy: Policy<Backend>,
    /// Whether their bytes must not be looked at, whatever the policy says.
    pub opaque: bool,
}

/// Looks targets up. Cloned freely.
#[derive(Clone)]
pub struct Discovery(Arc<Inner>);

struct Inner {
    control: Control,
    backends: Backends,
    entries: Mutex<HashMap<Target, Arc<Entry>>>,
    idle_timeout: Duration,
    networks: Arc<[ipnet::IpNet]>,
}

impl Discovery {
    /// Knows nothing yet.
    pub fn new(
        control: Control,
        backends: Backends,
        config: &Destination,
        idle_timeout: Duration,
    ) -> Self {
        Self(Arc::new(Inner {
            control,
            backends,
            entries: Mutex::default(),
            idle_timeout: idle_timeout.max(KEEP_AT_LEAST),
            networks: config.profile_networks.clone(),
        }))
    }

    /// What to do with connections to `addr`.
    pub async fn addr(&self, addr: SocketAddr) -> Result<Discovered, Error> {
        let found = self.lookup(Target::Addr(addr)).await?;
        // Whatever the control plane does not know is forwarded: it is outside the mesh.
        found.ok_or(Error::Timeout("service discovery", DEADLINE))
    }

    /// What to do with requests for a name; `None` if the control plane denies knowing it.
    pub async fn name(&self, name: &str, port: u16) -> Result<Option<Discovered>, Error> {
        self.lookup(Target::Name(name.into(), port)).await
    }

    /// Whom it asks.
    pub fn control(&self) -> &Control {
        &self.0.control
    }

    /// The backends of every target in use.
    pub fn backends(&self) -> &Backends {
        &self.0.backends
    }

    /// Every target in use, and what is known of it.
    pub fn describe(&self) -> Vec<(String, &'static str)> {
        let entries = self.0.entries.lock();
        let describe = |entry: &Arc<Entry>| {
            let state = match &*entry.state.borrow() {
                State::Asking => "asking",
                State::Known(_) => "known",
                State::NotFound => "not found",
            };
            (entry.name.to_string(), state)
        };
        entries.values().map(describe).collect()
    }

    async fn lookup(&self, target: Target) -> Result<Option<Discovered>, Error> {
        let entry = self.entry(target)?;
        *entry.used.lock() = Instant::now();
        let mut state = entry.state.clone();
        let known = state.wait_for(|state| !matches!(state, State::Asking));
        let found = match tokio::time::timeout(DEADLINE, known).await {
            Ok(Ok(state)) => !matches!(*state, State::NotFound),
            Ok(Err(_)) => return Err(Error::Shutdown),
            Err(_) => return Err(Error::Timeout("service discovery", DEADLINE)),
        };
        Ok(found.then(|| Discovered(entry)))
    }

    fn entry(&self, target: Target) -> Result<Arc<Entry>, Error> {
        let mut entries = self.0.entries.lock();
        if let Some(entry) = entries
            .get(&target)
            .filter(|entry| !entry.is_worth_asking())
        {
            return Ok(entry.clone());
        }
        if entries.len() >= MOST_TARGETS && !make_room(&mut entries) {
            return Err(Error::LoadShed("too many targets"));
        }
        let first = entries.is_empty();
        let (tx, state) = watch::channel(State::Asking);
        let task = tokio::spawn(watch_target(self.asker(), target.clone(), tx));
        let entry = Arc::new(Entry {
            name: target.describe().into(),
            target: target.clone(),
            asked: Instant::now(),
            state,
            used: Mutex::new(Instant::now()),
            budget: Mutex::default(),
            task: task.abort_handle(),
        });
        entries.insert(target, entry.clone());
        if first {
            tokio::spawn(evict(Arc::downgrade(&self.0)));
        }
        Ok(entry)
    }

    fn asker(&self) -> Asker {
        Asker {
            control: self.0.control.clone(),
            backends: self.0.backends.clone(),
            networks: self.0.networks.clone(),
        }
    }
}

impl Entry {
    /// A name that was denied may have been exported since.
    fn is_worth_asking(&self) -> bool {
        matches!(*self.state.borrow(), State::NotFound) && self.asked.elapsed() >= DENIED_FOR
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Forgets a tenth of the targets that nobody holds, so that whoever names one after the other keeps no
/// other from its own: first those that were denied, then those used longest ago. Whether there
/// were any.
fn make_room(entries: &mut HashMap<Target, Arc<Entry>>) -> bool {
    let unheld = entries.values().filter(|e| Arc::strong_count(e) == 1);
    let mut unheld: Vec<_> = unheld
        .map(|entry| {
            let denied = matches!(*entry.state.borrow(), State::NotFound);
            (!denied, *entry.used.lock(), entry.target.clone())
        })
        .collect();
    let n = unheld.len().min(MOST_TARGETS / 10);
    if n > 0 {
        unheld.select_nth_unstable_by_key(n - 1, |(known, used, _)| (*known, *used));
    }
    for (_, _, target) in &unheld[..n] {
        entries.remove(target);
    }
    n > 0
}

/// Drops entries nobody uses, until there are none.
async fn evict(discovery: std::sync::Weak<Inner>) {
    loop {
        let Some(inner) = discovery.upgrade() else {
            return;
        };
        let idle_timeout = inner.idle_timeout;
        drop(inner);
        tokio::time::sleep(idle_timeout / 2).await;
        let Some(inner) = discovery.upgrade() else {
            return;
        };
        let mut entries = inner.entries.lock();
        entries.retain(|_, entry| {
            // Held by a connection, or used a moment ago.
            Arc::strong_count(entry) > 1 || entry.used.lock().elapsed() < idle_timeout
        });
        if entries.is_empty() {
            return;
        }
    }
}

impl Discovered {
    /// What to do now.
    pub fn plan(&self) -> Result<Arc<Plan>, Error> {
        match &*self.0.state.borrow() {
            State::Known(plan) => Ok(plan.clone()),
            State::Asking => Err(Error::Timeout("service discovery", DEADLINE)),
            State::NotFound => Err(Error::GatewayDomainInvalid(self.name().to_owned())),
        }
    }

    /// Completes once the control plane has denied the name for `settled` without a break: it was
    /// withdrawn, and not by a mistake that was corrected at once. A control plane that is away
    /// denies nothing.
    pub async fn withdrawn(&self, settled: Duration) {
        let denied = |state: &State| matches!(state, State::NotFound);
        withdrawn::stands(self.0.state.clone(), denied, settled).await;
    }

    /// What was asked about.
    pub fn target(&self) -> &Target {
        &self.0.target
    }

    /// Its address; for a name, none that means anything.
    pub fn addr(&self) -> SocketAddr {
        match &self.0.target {
            Target::Addr(addr) => *addr,
            Target::Name(_, port) => SocketAddr::from(([0, 0, 0, 0], *port)),
        }
    }

    /// Marks it as used: it is not forgotten for another while.
    pub fn touch(&self) {
        *self.0.used.lock() = Instant::now();
    }

    /// The budget of its retries.
    pub fn budget(&self) -> &Mutex<Budget> {
        &self.0.budget
    }

    /// Its name for people: `name:port`, or the address.
    pub fn name(&self) -> &str {
        &self.0.name
    }
}

impl Target {
    fn describe(&self) -> String {
        match self {
            Self::Addr(addr) => addr.to_string(),
            Self::Name(name, port) => format!("{name}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests;
