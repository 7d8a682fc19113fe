//! How long a request may take: one clock for its whole way, one for each attempt.
//!
//! Before the response begins, a limit that is reached is an error; after that it breaks the
//! response off. A clock without limits costs nothing.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use http::Response;
use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use crate::{
    Error,
    http::{
        Body,
        body::BodyError,
        cut::Cut,
        observe::{Observer, Seen, observe},
    },
    outbound::policy::Timeouts,
};

/// The time of one request, or of one attempt at it.
pub(super) struct Clock(Option<Arc<Inner>>);

struct Inner {
    limits: Timeouts,
    started: Instant,
    state: Mutex<State>,
    /// Told when a limit begins to run.
    sent: Notify,
}

struct State {
    /// When something last passed in either direction.
    active: Instant,
    /// When the request was sent to its end, or its response began.
    sent: Option<Instant>,
    /// Whether the response has begun.
    begun: bool,
}

impl Clock {
    /// Starts now.
    pub(super) fn start(limits: Timeouts) -> Self {
        if limits == Timeouts::default() {
            return Self(None);
        }
        let started = Instant::now();
        Self(Some(Arc::new(Inner {
            limits,
            started,
            state: Mutex::new(State {
                active: started,
                sent: None,
                begun: false,
            }),
            sent: Notify::new(),
        })))
    }

    /// Runs `work`, which ends when the response begins, until a limit is reached.
    /// `work` is pinned where it is: it is large, and would be part of this future twice.
    pub(super) async fn bound<T>(
        &self,
        work: Pin<&mut impl Future<Output = T>>,
    ) -> Result<T, Error> {
        let Some(inner) = &self.0 else {
            return Ok(work.await);
        };
        tokio::select! {
            done = work => Ok(done),
            error = inner.clone().expired() => Err(error),
        }
    }

    /// The request's body, watched.
    pub(super) fn request(&self, body: Body) -> Body {
        match &self.0 {
            Some(inner) => observe(body, Sending(inner.clone())),
            None => body,
        }
    }

    /// The response, which has begun, broken off if a limit is reached before its end.
    pub(super) fn response(self, response: Response<Body>) -> Response<Body> {
        let Some(inner) = self.0 else {
            return response;
        };
        inner.begin();
        response.map(|body| {
            let receiving = Receiving {
                expired: Box::pin(inner.clone().expired()),
                inner,
            };
            observe(body, receiving)
        })
    }
}

impl Inner {
    fn begin(&self) {
        let mut state = self.state.lock();
        let now = Instant::now();
        state.begun = true;
        state.active = now;
        state.sent.get_or_insert(now);
    }

    /// The next limit that will be reached if nothing happens.
    fn due(&self) -> Option<(Instant, &'static str, Duration)> {
        let state = self.state.lock();
        let limits = &self.limits;
        let due = |name, since: Option<Instant>, limit: Option<Duration>| {
            let (since, limit) = (since?, limit?);
            Some((since.checked_add(limit)?, name, limit))
        };
        let headers = limits.headers.filter(|_| !state.begun);
        [
            due("request", Some(self.started), limits.request),
            due("response headers", Some(self.started), headers),
            due("response", state.sent, limits.response),
            due("idle stream", Some(state.active), limits.idle),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Completes when a limit is reached.
    async fn expired(self: Arc<Self>) -> Error {
        loop {
            let sent = self.sent.notified();
            match self.due() {
                None => sent.await,
                Some((at, name, limit)) if at <= Instant::now() => {
                    return Error::Timeout(name, limit);
                }
                Some((at, ..)) => tokio::select! {
                    () = sleep_until(at) => {}
                    () = sent => {}
                },
            }
        }
    }
}

/// Watches a request's body.
struct Sending(Arc<Inner>);

impl Observer for Sending {
    fn saw(&mut self, seen: Seen<'_>) {
        let now = Instant::now();
        let mut state = self.0.state.lock();
        state.active = now;
        if seen.is_over() {
            state.sent.get_or_insert(now);
            drop(state);
            self.0.sent.notify_one();
        }
    }
}

/// Watches a response's body.
struct Receiving {
    inner: Arc<Inner>,
    expired: BoxFuture<'static, Error>,
}

impl Observer for Receiving {
    fn saw(&mut self, _: Seen<'_>) {
        self.inner.state.lock().active = Instant::now();
    }

    fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<BodyError> {
        let expired = Pin::new(&mut self.expired).poll(cx);
        expired.map(|error| Cut::new(error).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn name(error: Error) -> &'static str {
        match error {
            Error::Timeout(name, _) => name,
            other => panic!("{other}"),
        }
    }

    #[tokio::test]
    async fn the_response_has_its_time_once_the_request_was_sent() {
        let clock = Clock::start(Timeouts {
            response: Some(20 * MS),
            ..Timeouts::default()
        });
        let sending = async {
            tokio::time::sleep(40 * MS).await;
            clock.request(Body::empty());
            std::future::pending::<()>().await;
        };
        let started = Instant::now();
        let error = clock.bound(std::pin::pin!(sending)).await.unwrap_err();
        assert_eq!(name(error), "response");
        assert!(started.elapsed() >= 60 * MS, "{:?}", started.elapsed());
    }

    #[tokio::test]
    async fn whichever_limit_comes_first_counts() {
        let clock = Clock::start(Timeouts {
            request: Some(60 * MS),
            headers: Some(20 * MS),
            idle: Some(500 * MS),
            response: None,
        });
        let error = clock
            .bound(std::pin::pin!(std::future::pending::<()>()))
            .await;
        assert_eq!(name(error.unwrap_err()), "response headers");
        // Once the response has begun, how long it took to begin does not matter.
        let response = clock.response(Response::new(Body::new(Silent)));
        let broken = http_body_util::BodyExt::collect(response.into_body()).await;
        let broken = broken.unwrap_err();
        assert!(broken.to_string().starts_with("request"), "{broken}");
        let h2 = broken.source().unwrap().downcast_ref::<h2::Error>();
        assert_eq!(h2.unwrap().reason(), Some(h2::Reason::CANCEL));
    }

    struct Silent;

    impl http_body::Body for Silent {
        type Data = bytes::Bytes;
        type Error = BodyError;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, BodyError>>> {
            Poll::Pending
        }
    }
}
