//! A pool of HTTP/1 connections to one endpoint.

mod connection;

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::pin,
    sync::{Arc, Weak},
    task::Context,
    time::Duration,
};

use http::{Request, Response, Version, header};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use self::connection::Connection;
use super::{Dial, Failed, Settings};
use crate::{
    http::{
        Body,
        observe::{Observer, Seen, observe},
        upgrade::is_upgrade,
    },
    transport_header::Session,
};

/// Whether a request may share connections with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// As usual.
    Pooled,
    /// A connection of its own: upgrades, and HTTP/1.0 or host-less requests whose servers may
    /// tell connections apart.
    Single,
}

impl Reuse {
    /// What a request may do.
    pub fn of<B>(request: &Request<B>) -> Self {
        let named =
            request.uri().authority().is_some() || request.headers().contains_key(header::HOST);
        match request.version() == Version::HTTP_11 && named && !is_upgrade(request) {
            true => Self::Pooled,
            false => Self::Single,
        }
    }
}

/// How long a connection may take to be ready again after a response was read.
const SETTLE: Duration = Duration::from_secs(5);

/// How often idle connections are looked at: what their servers have closed is closed here.
const LOOK: Duration = Duration::from_secs(5);

pub(super) struct Pool {
    dial: Dial,
    shared: Arc<Shared>,
}

struct Shared {
    idle: Mutex<Idle>,
    /// Wakes one of those who wait for a connection.
    returned: Notify,
    timeout: Duration,
    max_idle: usize,
    max_requests: Option<u64>,
}

#[derive(Default)]
struct Idle {
    /// Newest last, with the time it became idle.
    connections: VecDeque<(Connection, Instant)>,
    sweeping: bool,
}

impl Pool {
    pub(super) fn new(dial: Dial, settings: Settings) -> Self {
        Self {
            dial,
            shared: Arc::new(Shared {
                idle: Mutex::default(),
                returned: Notify::new(),
                timeout: settings.idle_timeout,
                max_idle: settings.h1_max_idle,
                max_requests: settings.max_requests,
            }),
        }
    }

    pub(super) async fn send(
        &self,
        mut request: Request<Body>,
        reuse: Reuse,
    ) -> Result<Response<Body>, Box<Failed>> {
        loop {
            let (mut connection, used) = match self.connection(reuse).await {
                Ok(found) => found,
                Err(error) => return Err(Failed::connect(error, request)),
            };
            match connection.send(request).await {
                Ok(response) if reuse == Reuse::Pooled => {
                    return Ok(self.returning(connection, response));
                }
                Ok(response) => return Ok(response.map(Body::from)),
                Err(mut error) => match error.take_message() {
                    // The server closed it while it was idle; nothing was written.
                    Some(unsent) if used => request = unsent,
                    unsent => return Err(Failed::sending(error.into_error().into(), unsent)),
                },
            }
        }
    }

    /// A connection, and whether it was used before.
    ///
    /// While a new one is being made, one that becomes idle will do as well: a burst can be more
    /// than a server's accept queue takes, and what does not fit would time out next to
    /// connections that have long finished their first request.
    async fn connection(&self, reuse: Reuse) -> Result<(Connection, bool), crate::Error> {
        let mut connect = pin!(self.connect());
        if reuse == Reuse::Single {
            return Ok((connect.await?.upgradable(), false));
        }
        loop {
            // Made before looking, so that none that comes back in between is missed.
            let mut returned = pin!(self.shared.returned.notified());
            returned.as_mut().enable();
            if let Some(connection) = self.shared.checkout() {
                return Ok((connection, true));
            }
            tokio::select! {
                connected = &mut connect => return Ok((connected?, false)),
                () = returned => {}
            }
        }
    }

    /// How many connections are idle.
    #[cfg(test)]
    pub(super) fn idle(&self) -> usize {
        self.shared.idle.lock().connections.len()
    }

    async fn connect(&self) -> Result<Connection, crate::Error> {
        Connection::new((self.dial)(Session::Http1).await?).await
    }

    /// Puts the connection back once the response has been read.
    fn returning(&self, connection: Connection, response: Response<Incoming>) -> Response<Body> {
        let back = Return {
            connection: Some(connection),
            pool: Arc::downgrade(&self.shared),
        };
        response.map(|body| observe(Body::from(body), back))
    }
}

impl Shared {
    fn checkout(&self) -> Option<Connection> {
        let mut idle = self.idle.lock();
        while let Some((mut connection, since)) = idle.connections.pop_back() {
            if since.elapsed() < self.timeout && connection.is_ready() {
                return Some(connection);
            }
        }
        None
    }

    fn put(self: &Arc<Self>, connection: Connection) {
        let mut idle = self.idle.lock();
        if idle.connections.len() >= self.max_idle {
            return;
        }
        idle.connections.push_back((connection, Instant::now()));
        self.returned.notify_one();
        if !idle.sweeping {
            idle.sweeping = true;
            tokio::spawn(sweep(Arc::downgrade(self), self.timeout));
        }
    }
}

/// Closes connections that stayed idle, or that their servers have closed, until there are none.
async fn sweep(pool: Weak<Shared>, timeout: Duration) {
    loop {
        tokio::time::sleep(timeout.min(LOOK)).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut idle = pool.idle.lock();
        idle.connections
            .retain_mut(|(connection, since)| since.elapsed() < timeout && connection.is_ready());
        if idle.connections.is_empty() {
            idle.sweeping = false;
            return;
        }
    }
}

/// A connection on its way back to the pool, driven by whoever reads the response.
struct Return {
    connection: Option<Connection>,
    pool: Weak<Shared>,
}

impl Return {
    fn give_back(&mut self) {
        let (Some(mut connection), Some(pool)) = (self.connection.take(), self.pool.upgrade())
        else {
            return;
        };
        let spent = pool.max_requests.is_some_and(|n| connection.carried() >= n);
        if pool.max_idle == 0 || spent {
            return;
        }
        if connection.is_ready() {
            pool.put(connection);
            return;
        }
        // What drives the connection has to see the end of both messages first.
        let pool = Arc::downgrade(&pool);
        tokio::spawn(async move {
            let ready = poll_fn(|cx| connection.poll_ready(cx));
            if let Ok(true) = tokio::time::timeout(SETTLE, ready).await
                && let Some(pool) = pool.upgrade()
            {
                pool.put(connection);
            }
        });
    }
}

/// The connection returns to the pool at the response's end. Dropped early, it is closed: the rest
/// of the response would be in the way.
impl Observer for Return {
    fn saw(&mut self, seen: Seen<'_>) {
        match seen {
            Seen::Failed(_) => self.connection = None,
            seen if seen.is_over() => self.give_back(),
            _ => {}
        }
    }

    fn bring(&mut self, cx: &mut Context<'_>) -> bool {
        let connection = self.connection.as_mut();
        connection.is_some_and(|connection| connection.drive(cx))
    }
}
