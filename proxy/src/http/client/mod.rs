//! HTTP connections to one endpoint: a pool for HTTP/1, and for HTTP/2 a shared connection, or more
//! while one is the bottleneck.
//!
//! A [`Client`] is told how to dial ([`Dial`]) and knows nothing of endpoints, TLS or retries. A
//! request that fails comes back as [`Failed`], which says how far it got: that, and nothing
//! else, decides whether sending it again is safe.

mod failure;
mod h1;
mod lanes;
mod link;
mod mux;
mod patience;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use http::{Request, Response};

pub use failure::{Failed, Stage};
pub use lanes::Stream;
pub use link::{LinkState, OnChange};
pub(super) use mux::Download;

use super::Body;
use crate::{Error, config::Http2, io::BoxIo, transport_header::Session};

/// Makes a connection for this framing.
pub type Dial = Arc<dyn Fn(Session) -> BoxFuture<'static, Result<BoxIo, Error>> + Send + Sync>;

/// How connections behave.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// HTTP/2.
    pub h2: Http2,
    /// Pause between pings.
    pub ping_interval: Duration,
    /// How long a ping may stay unanswered before the connection is given up.
    pub ping_timeout: Duration,
    /// Ping also while no request is in flight.
    pub ping_while_idle: bool,
    /// Idle HTTP/1 connections, and HTTP/2 ones beyond the first, end after this long.
    pub idle_timeout: Duration,
    /// Most idle HTTP/1 connections.
    pub h1_max_idle: usize,
    /// How many requests a connection carries before another takes its place.
    pub max_requests: Option<u64>,
    /// Pauses between attempts to bring the HTTP/2 connection back.
    pub backoff: crate::config::Backoff,
    /// How long a request waits for the HTTP/2 connection while such attempts fail. Once it was
    /// waited for in vain, and with zero, a request fails with the next attempt.
    pub patience: Duration,
}

/// The connections to one endpoint. They end with it, requests in flight excepted.
pub struct Client {
    h1: h1::Pool,
    lanes: lanes::Lanes,
}

impl Client {
    /// Dials nothing yet. `on_change` is called whenever the HTTP/2 connection comes or goes.
    pub fn new(dial: Dial, settings: Settings, on_change: OnChange) -> Self {
        Self {
            h1: h1::Pool::new(dial.clone(), settings),
            lanes: lanes::Lanes::new(dial, settings, on_change),
        }
    }

    /// Connects HTTP/2 now and again whenever its first connection is lost, until dropped.
    pub fn keep_connected(&self) {
        self.lanes.first().keep();
    }

    /// How the first HTTP/2 connection is doing.
    pub fn link(&self) -> LinkState {
        self.lanes.first().state()
    }

    /// Sends a request over HTTP/2. Its URI must be absolute.
    ///
    /// The [`Stream`] is the request's place on its connection: drop it once the response has ended.
    pub async fn send_h2(
        &self,
        request: Request<Body>,
    ) -> Result<(Response<Body>, Stream), Box<Failed>> {
        self.lanes.send(request).await
    }

    /// Sends a request over HTTP/1. Its URI is what the server will see as the target.
    pub async fn send_h1(
        &self,
        request: Request<Body>,
        reuse: h1::Reuse,
    ) -> Result<Response<Body>, Box<Failed>> {
        self.h1.send(request, reuse).await
    }
}

pub use h1::Reuse;
