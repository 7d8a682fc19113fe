//! A pool of HTTP/1 connections to one endpoint.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::pin,
    sync::{Arc, Weak},
    time::Duration,
};

use http::{Request, Response, Version, header};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};
use tracing::Instrument;

use super::{Dial, Failed, Settings};
use crate::{
    http::{
        Body,
        observe::{Observer, Seen, observe},
        strict::{Asked, Checked},
        upgrade::is_upgrade,
    },
    transport_header::Session,
};

/// A connection that takes requests, and is told what they are.
struct Sender {
    requests: http1::SendRequest<Body>,
    asked: Asked,
}

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
}

#[derive(Default)]
struct Idle {
    /// Newest last, with the time it became idle.
    connections: VecDeque<(Sender, Instant)>,
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
            }),
        }
    }

    pub(super) async fn send(
        &self,
        mut request: Request<Body>,
        reuse: Reuse,
    ) -> Result<Response<Body>, Box<Failed>> {
        loop {
            let (mut sender, used) = match self.sender(reuse).await {
                Ok(found) => found,
                Err(error) => return Err(Failed::connect(error, request)),
            };
            sender.asked.ask(request.method(), is_upgrade(&request));
            match sender.requests.try_send_request(request).await {
                Ok(response) if reuse == Reuse::Pooled => {
                    return Ok(self.returning(sender, response));
                }
                Ok(response) => return Ok(response.map(Body::from)),
                Err(mut error) => match error.take_message() {
                    // The server closed it while it was idle; nothing was written.
                    Some(unsent) if used => request = unsent,
                    unsent => return Err(Failed::sending(error.into_error(), unsent)),
                },
            }
        }
    }

    /// A connection, and whether it was used before.
    ///
    /// While a new one is being made, one that becomes idle will do as well: a burst can be more
    /// than a server's accept queue takes, and what does not fit would time out next to
    /// connections that have long finished their first request.
    async fn sender(&self, reuse: Reuse) -> Result<(Sender, bool), crate::Error> {
        let mut connect = pin!(self.connect());
        if reuse == Reuse::Single {
            return Ok((connect.await?, false));
        }
        loop {
            // Made before looking, so that none that comes back in between is missed.
            let mut returned = pin!(self.shared.returned.notified());
            returned.as_mut().enable();
            if let Some(sender) = self.shared.checkout() {
                return Ok((sender, true));
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

    async fn connect(&self) -> Result<Sender, crate::Error> {
        let io = (self.dial)(Session::Http1).await?;
        let asked = Asked::default();
        let io = TokioIo::new(Checked::new(io, asked.clone()));
        let (requests, connection) = http1::handshake(io).await?;
        tokio::spawn(
            async move {
                if let Err(error) = connection.with_upgrades().await {
                    tracing::debug!(%error, "HTTP/1 connection ended");
                }
            }
            .in_current_span(),
        );
        Ok(Sender { requests, asked })
    }

    /// Puts the connection back once the response has been read.
    fn returning(&self, sender: Sender, response: Response<Incoming>) -> Response<Body> {
        let upgraded = response.status() == http::StatusCode::SWITCHING_PROTOCOLS;
        if upgraded || self.shared.max_idle == 0 {
            return response.map(Body::from);
        }
        let back = Return {
            sender: Some(sender),
            pool: Arc::downgrade(&self.shared),
        };
        response.map(|body| observe(Body::from(body), back))
    }
}

impl Shared {
    fn checkout(&self) -> Option<Sender> {
        let mut idle = self.idle.lock();
        while let Some((sender, since)) = idle.connections.pop_back() {
            if since.elapsed() < self.timeout && sender.requests.is_ready() {
                return Some(sender);
            }
        }
        None
    }

    fn put(self: &Arc<Self>, sender: Sender) {
        let mut idle = self.idle.lock();
        if sender.requests.is_closed() || idle.connections.len() >= self.max_idle {
            return;
        }
        idle.connections.push_back((sender, Instant::now()));
        self.returned.notify_one();
        if !idle.sweeping {
            idle.sweeping = true;
            tokio::spawn(sweep(Arc::downgrade(self), self.timeout));
        }
    }
}

/// Closes connections that stayed idle, until there are none.
async fn sweep(pool: Weak<Shared>, timeout: Duration) {
    loop {
        tokio::time::sleep(timeout).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut idle = pool.idle.lock();
        idle.connections
            .retain(|(sender, since)| since.elapsed() < timeout && !sender.requests.is_closed());
        if idle.connections.is_empty() {
            idle.sweeping = false;
            return;
        }
    }
}

/// A connection on its way back to the pool.
struct Return {
    sender: Option<Sender>,
    pool: Weak<Shared>,
}

impl Return {
    fn give_back(&mut self) {
        let (Some(mut sender), pool) = (self.sender.take(), self.pool.clone()) else {
            return;
        };
        if sender.requests.is_ready() {
            if let Some(pool) = pool.upgrade() {
                pool.put(sender);
            }
            return;
        }
        // The connection's own task has to see the end of the response first.
        tokio::spawn(async move {
            let ready = poll_fn(|cx| sender.requests.poll_ready(cx));
            if let Ok(Ok(())) = tokio::time::timeout(SETTLE, ready).await
                && let Some(pool) = pool.upgrade()
            {
                pool.put(sender);
            }
        });
    }
}

/// The connection returns to the pool at the response's end. Dropped early, it is closed: the rest
/// of the response would be in the way.
impl Observer for Return {
    fn saw(&mut self, seen: Seen<'_>) {
        match seen {
            Seen::Failed(_) => self.sender = None,
            seen if seen.is_over() => self.give_back(),
            _ => {}
        }
    }
}
