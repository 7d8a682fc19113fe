//! One HTTP/2 connection to an endpoint, shared by many requests.
//!
//! A single task connects, watches the connection and, if asked to [`Link::keep`] it, brings it
//! back. Requests only look at the last [`State`], so a dead endpoint costs them nothing: they
//! see [`LinkState::Down`] and go elsewhere.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{Request, Response};
use mesh_daemon::backoff::Backoff;
use parking_lot::Mutex;
use tokio::{
    sync::watch,
    task::AbortHandle,
    time::{Instant, timeout},
};

use super::{
    Dial, Failed, Settings,
    mux::{self, Connection, Sender},
    patience::Patience,
};
use crate::{Error, http::Body, transport_header::Session};

/// Called when the connection comes or goes.
pub type OnChange = Arc<dyn Fn() + Send + Sync>;

/// How the connection is doing, as a balancer sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Never tried, or given back after an on-demand use.
    Idle,
    /// Being made for the first time, or again after a loss at `since`.
    Connecting {
        /// Since when there is none.
        since: Instant,
        /// Whether there never was one.
        first: bool,
    },
    /// There is one.
    Up {
        /// Since when, if it was down before: its endpoint may have just started.
        recovered: Option<Instant>,
    },
    /// The last attempt failed.
    Down,
}

#[derive(Clone)]
enum State {
    Idle,
    Connecting {
        since: Instant,
        first: bool,
    },
    Up {
        sender: Sender,
        recovered: Option<Instant>,
    },
    Down(Arc<Error>),
}

/// A connection that lived shorter than this counts as a failed attempt.
const SHORT_LIFE: Duration = Duration::from_secs(1);
/// An endpoint that discovery still lists is worth asking this often.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

pub(super) struct Link {
    shared: Arc<Shared>,
}

struct Shared {
    dial: Dial,
    settings: Settings,
    on_change: OnChange,
    state: watch::Sender<State>,
    keep: AtomicBool,
    patience: Patience,
    /// The task, while it runs. Held while that is decided: whoever finds it running is served by it.
    running: Mutex<Option<AbortHandle>>,
}

impl Link {
    pub(super) fn new(dial: Dial, settings: Settings, on_change: OnChange) -> Self {
        Self {
            shared: Arc::new(Shared {
                dial,
                settings,
                on_change,
                state: watch::Sender::new(State::Idle),
                keep: AtomicBool::new(false),
                patience: Patience::new(settings.patience),
                running: Mutex::default(),
            }),
        }
    }

    pub(super) fn keep(&self) {
        if !self.shared.keep.swap(true, Ordering::Relaxed) {
            self.start();
        }
    }

    pub(super) fn state(&self) -> LinkState {
        match &*self.shared.state.borrow() {
            State::Idle => LinkState::Idle,
            State::Connecting { since, first } => LinkState::Connecting {
                since: *since,
                first: *first,
            },
            State::Up { sender, recovered } if !sender.is_closed() => LinkState::Up {
                recovered: *recovered,
            },
            State::Up { .. } => LinkState::Connecting {
                since: Instant::now(),
                first: false,
            },
            State::Down(_) => LinkState::Down,
        }
    }

    pub(super) async fn send(
        &self,
        mut request: Request<Body>,
    ) -> Result<Response<Body>, Box<Failed>> {
        loop {
            let mut sender = match self.sender().await {
                Ok(sender) => sender,
                Err(error) => return Err(Failed::connect(error, request)),
            };
            let unanswered = match sender.send(request).await {
                Ok(response) => return Ok(response),
                Err(unanswered) => unanswered,
            };
            match unanswered.request {
                // Others were quicker; the next connection carries at least one, too.
                Some(unsent) if sender.is_spent() => request = unsent,
                unsent => return Err(Failed::sending(unanswered.error.into(), unsent)),
            }
        }
    }

    async fn sender(&self) -> Result<Sender, Error> {
        let current = self.shared.state.borrow().clone();
        match current {
            State::Up { sender, .. } if !sender.is_closed() => return Ok(sender),
            // Kept connections are brought back by their task; an attempt here would only queue.
            State::Down(error) if self.shared.keep.load(Ordering::Relaxed) => {
                return Err(again(&error));
            }
            _ => {}
        }
        let patience = &self.shared.patience;
        // Said before the task is looked at: it ends only if nobody waits.
        let waiting = patience.wait();
        let mut states = self.shared.state.subscribe();
        self.start();
        let decided = states.wait_for(|state| match state {
            State::Up { sender, .. } => !sender.is_closed(),
            State::Down(_) => waiting.left.is_none(),
            State::Idle | State::Connecting { .. } => false,
        });
        let decided = match waiting.left {
            Some(left) => timeout(left, decided)
                .await
                .map_err(|_| patience.fail_fast())?,
            None => decided.await,
        };
        match decided.map(|state| state.clone()) {
            Ok(State::Up { sender, .. }) => Ok(sender),
            Ok(State::Down(_)) if patience.is_any() => Err(patience.fail_fast()),
            Ok(State::Down(error)) => Err(again(&error)),
            _ => Err(Error::Shutdown),
        }
    }

    /// Starts the task unless it runs.
    pub(super) fn start(&self) {
        let mut running = self.shared.running.lock();
        if running.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        self.shared.state.send_if_modified(|state| {
            let down = !matches!(state, State::Connecting { .. });
            if down {
                *state = State::Connecting {
                    since: Instant::now(),
                    first: true,
                };
            }
            down
        });
        *running = Some(tokio::spawn(run(self.shared.clone())).abort_handle());
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let task = self.shared.running.lock().take();
        if let Some(task) = task {
            task.abort();
        }
    }
}

/// Connects; while the link is to be kept, or somebody waits, again and again.
async fn run(shared: Arc<Shared>) {
    let pauses = shared.settings.backoff;
    let mut pause = Backoff::new(pauses.min, pauses.max.min(LONGEST_PAUSE), pauses.jitter);
    let mut recovering = false;
    loop {
        match connect(&shared).await {
            Err(error) => {
                tracing::debug!(%error, "HTTP/2 connection failed");
                recovering = true;
                let error = Arc::new(error);
                shared.patience.failed(error.clone());
                shared.set(State::Down(error));
            }
            Ok((sender, connection)) => {
                let up = Instant::now();
                shared.patience.succeeded();
                shared.set(State::Up {
                    sender: sender.clone(),
                    recovered: recovering.then_some(up),
                });
                // What is in flight when it takes no more requests (after a GOAWAY) goes on by itself: it
                // may take as long as it likes, new requests must not wait for it.
                let ended = connection.await;
                tracing::debug!(?ended, "HTTP/2 connection ended");
                if shared.rest(Patience::is_asked, Some(State::Idle)) {
                    return;
                }
                // A peer that said goodbye after it had served is there, and can be dialled again.
                let served = ended.is_ok() && sender.has_served().await;
                drop(sender);
                if served || up.elapsed() >= SHORT_LIFE {
                    pause.reset();
                    recovering = false;
                    shared.set(State::Connecting {
                        since: Instant::now(),
                        first: false,
                    });
                    continue;
                }
                recovering = true;
                let lost = match ended {
                    Ok(()) => io::Error::new(io::ErrorKind::UnexpectedEof, "closed by the peer"),
                    Err(error) => error,
                };
                shared.set(State::Down(Arc::new(Error::Io(lost))));
            }
        }
        if shared.rest(Patience::is_asked_again, None) {
            return;
        }
        pause.wait().await;
    }
}

async fn connect(shared: &Shared) -> Result<(Sender, Connection), Error> {
    let io = (shared.dial)(Session::Http2).await?;
    mux::handshake(io, &shared.settings).await
}

impl Shared {
    fn set(&self, state: State) {
        self.state.send_replace(state);
        (self.on_change)();
    }

    /// Whether the task may end, as nobody needs a connection; it has done so then, in `state`.
    fn rest(&self, is_asked: fn(&Patience) -> bool, state: Option<State>) -> bool {
        let mut running = self.running.lock();
        if self.keep.load(Ordering::Relaxed) || is_asked(&self.patience) {
            return false;
        }
        *running = None;
        if let Some(state) = state {
            self.state.send_replace(state);
            drop(running);
            (self.on_change)();
        }
        true
    }
}

/// The error of a connection attempt, for one more of those who waited for it.
fn again(error: &Error) -> Error {
    match error {
        Error::Connect { addr, source } => Error::Connect {
            addr: *addr,
            source: io::Error::new(source.kind(), source.to_string()),
        },
        Error::ConnectTimeout { addr, timeout } => Error::ConnectTimeout {
            addr: *addr,
            timeout: *timeout,
        },
        other => Error::Io(io::Error::new(
            io::ErrorKind::ConnectionRefused,
            other.to_string(),
        )),
    }
}
