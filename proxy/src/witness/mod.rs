//! Who watches requests: the access log, taps, and traces.
//!
//! Both halves ask [`Witnesses::begin`] about every request; while nobody watches the answer is `None`
//! after one look at a number, and nothing else is done. Otherwise one [`Watched`] follows the
//! request to the end of its response and tells everybody who asked.

pub mod access_log;
pub mod tap;
#[cfg(test)]
mod tests;
pub mod trace;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Instant, SystemTime},
};

use http::{HeaderMap, Request, Response, StatusCode};

use crate::{
    Error,
    http::{
        Body,
        headers::grpc_status,
        observe::{Observer, Seen, observe},
        rescue::status,
    },
    metrics::{Direction, TlsLabels},
};

/// Everybody who may watch. Cloned freely.
#[derive(Clone, Default)]
pub struct Witnesses(Arc<Inner>);

#[derive(Default)]
struct Inner {
    access_log: Option<access_log::AccessLog>,
    taps: tap::Taps,
    tracer: Option<trace::Tracer>,
}

/// Who takes part in a request.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// Which half sees it.
    pub direction: Direction,
    /// Who asks.
    pub client: SocketAddr,
    /// Who is asked.
    pub server: SocketAddr,
    /// How the client came, or how the server is reached.
    pub tls: &'a TlsLabels,
    /// What discovery says of the server.
    pub labels: &'a [(String, String)],
}

/// A request on its way, and who wants to know what becomes of it.
pub struct Watched(Box<Parts>);

struct Parts {
    access_log: Option<access_log::Entry>,
    taps: Vec<tap::Tapped>,
    span: Option<trace::Span>,
    begun: Instant,
    answered: Option<Instant>,
    status: StatusCode,
    bytes: u64,
    grpc: Option<u16>,
    told: bool,
}

/// What became of a request.
#[derive(Clone, Copy, Debug)]
pub struct Outcome<'a> {
    /// When it came.
    pub begun: Instant,
    /// When its response began.
    pub answered: Instant,
    /// What was answered.
    pub status: StatusCode,
    /// How long the body was.
    pub bytes: u64,
    /// The status in the trailers.
    pub grpc: Option<u16>,
    /// The trailers.
    pub trailers: Option<&'a HeaderMap>,
    /// Whether the end of the body came.
    pub whole: bool,
}

impl Witnesses {
    /// These.
    pub fn new(access_log: Option<access_log::AccessLog>, tracer: Option<trace::Tracer>) -> Self {
        Self(Arc::new(Inner {
            access_log,
            taps: tap::Taps::default(),
            tracer,
        }))
    }

    /// Where taps are asked for.
    pub fn taps(&self) -> &tap::Taps {
        &self.0.taps
    }

    /// Whoever watches this request. Its headers then say which span it belongs to.
    pub fn begin(&self, subject: Subject<'_>, request: &mut Request<Body>) -> Option<Watched> {
        let Inner {
            access_log,
            taps,
            tracer,
        } = &*self.0;
        let logged = access_log
            .as_ref()
            .filter(|_| subject.direction == Direction::Inbound);
        if logged.is_none() && tracer.is_none() && taps.is_idle() {
            return None;
        }
        let now = SystemTime::now();
        let span = tracer
            .as_ref()
            .and_then(|tracer| tracer.begin(subject, now, request));
        let logged = logged.map(|log| log.begin(subject, now, request));
        let taps = taps.matching(subject, request);
        if logged.is_none() && taps.is_empty() && span.is_none() {
            return None;
        }
        Some(Watched(Box::new(Parts {
            access_log: logged,
            taps,
            span,
            begun: Instant::now(),
            answered: None,
            status: StatusCode::OK,
            bytes: 0,
            grpc: None,
            told: false,
        })))
    }
}

impl Watched {
    /// What was answered, watched to its end.
    pub fn answered(
        self,
        answered: Result<Response<Body>, Error>,
    ) -> Result<Response<Body>, Error> {
        match answered {
            Ok(response) => Ok(self.response(response)),
            Err(error) => {
                self.failed(&error);
                Err(error)
            }
        }
    }

    /// A response, watched to its end.
    pub fn response(mut self, response: Response<Body>) -> Response<Body> {
        self.0.response(&response);
        response.map(|body| observe(body, self))
    }

    /// None came.
    pub fn failed(mut self, error: &Error) {
        self.0.status = status(error);
        self.0.tell(None, false);
    }
}

impl Parts {
    fn response(&mut self, response: &Response<Body>) {
        self.status = response.status();
        self.grpc = grpc_status(response.headers());
        self.answered = Some(Instant::now());
        for tap in &self.taps {
            tap.response(self.begun.elapsed(), response);
        }
    }

    fn tell(&mut self, trailers: Option<&HeaderMap>, whole: bool) {
        if std::mem::replace(&mut self.told, true) {
            return;
        }
        let outcome = Outcome {
            begun: self.begun,
            answered: self.answered.unwrap_or_else(Instant::now),
            status: self.status,
            bytes: self.bytes,
            grpc: trailers.and_then(grpc_status).or(self.grpc),
            trailers,
            whole,
        };
        if let Some(entry) = self.access_log.take() {
            entry.end(&outcome);
        }
        for tap in self.taps.drain(..) {
            tap.end(&outcome);
        }
        if let Some(span) = self.span.take() {
            span.end(&outcome);
        }
    }
}

impl Observer for Watched {
    fn saw(&mut self, seen: Seen<'_>) {
        let parts = &mut self.0;
        let over = seen.is_over();
        match seen {
            Seen::Frame { frame, .. } => {
                if let Some(data) = frame.data_ref() {
                    parts.bytes += data.len() as u64;
                }
                if over {
                    parts.tell(frame.trailers_ref(), true);
                }
            }
            Seen::End => parts.tell(None, true),
            Seen::Failed(_) => parts.tell(None, false),
        }
    }
}

/// A body may be dropped before its end, and a request before its answer.
impl Drop for Parts {
    fn drop(&mut self) {
        if self.answered.is_none() && !self.told {
            // The client is gone. nginx's word for it has become everybody's.
            self.status = StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST);
        }
        self.tell(None, false);
    }
}
