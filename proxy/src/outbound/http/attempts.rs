//! Sending one request until somebody answers it: choose backend and endpoint, send, and decide
//! whether a failure is the answer or is tried elsewhere.

use std::{pin::pin, sync::Arc, time::Duration};

use http::{HeaderValue, Request, Response, request::Parts};
use http_body::Body as _;
use mesh_contract::headers::{PROXY_CONNECTION, PROXY_ERROR, UNPROCESSED};
use rand::RngExt;
use tokio::time::Instant;

use super::{
    Origin,
    avoid::Avoid,
    overrides::Asked as Wanted,
    timeouts::Clock,
    verdict::{is_unwanted, peek, proxy_fault},
};
use crate::{
    Error,
    http::{
        Body,
        client::{Failed, Stage},
        client_fault::ClientFault,
        filter,
        headers::{has_ours, is_grpc, is_idempotent},
        server::Close,
    },
    metrics::{HttpMetrics, Retried, StreamMetrics},
    outbound::{
        Shared,
        backend::{self, Backend, Nothing, Selected, Waiter, is_balanced, select},
        balance::Want,
        discover::Discovered,
        endpoint::Endpoint,
        policy::{Action, Distribution, RouteBackend, RouteName, Timeouts},
        replay::{MAX_KEPT, Replay},
        retry::{Asked, Fault, Limits, Verdict, decide},
        withdrawn::Wait,
    },
};

/// A gateway says soon that it has nothing to offer: its client has other clusters to try.
const GATEWAY_FAILFAST: Duration = Duration::from_secs(1);

/// Everything about one request that outlives an attempt.
pub(super) struct Attempts<'a> {
    shared: &'a Shared,
    target: &'a Discovered,
    distribution: &'a Distribution<Backend>,
    name: &'a RouteName,
    route: &'a StreamMetrics,
    /// What is sent for a route of a ServiceProfile.
    actual: Option<&'a HttpMetrics>,
    wanted: Wanted<'a>,
    required: Option<HeaderValue>,
    parts: Parts,
    body: Replay,
    client: ClientFault,
    started: Instant,
    failfast: Duration,
    origin: Origin,
    idempotent: bool,
    /// How often the route asked for another answer.
    repeated: u32,
    avoid: Avoid,
    last: Option<Result<Response<Body>, Error>>,
}

impl<'a> Attempts<'a> {
    /// `client` is the request's body, watched.
    pub(super) fn new(
        shared: &'a Shared,
        (origin, target): (Origin, &'a Discovered),
        (action, route): (&'a Action<Backend>, &'a StreamMetrics),
        wanted: Wanted<'a>,
        required: Option<HeaderValue>,
        request: Request<Body>,
        client: ClientFault,
    ) -> Self {
        let (parts, body) = request.into_parts();
        let idempotent = is_idempotent(&parts.method);
        let upper = body.size_hint().upper();
        let known_small = upper.is_some_and(|n| n <= MAX_KEPT as u64);
        let limit = match (&wanted.retry, idempotent || known_small) {
            (_, true) => MAX_KEPT,
            (Some(retry), false) => retry.max_request_bytes,
            (None, false) => 0,
        };
        let gateway = origin == Origin::Gateway;
        for backend in backend::backends(&action.distribution) {
            backend.warm();
        }
        let configured = shared.config.outbound.http_failfast_timeout;
        let failfast = backend::failfast(&action.distribution, configured);
        Self {
            shared,
            target,
            distribution: &action.distribution,
            name: &action.name,
            route,
            actual: (action.name.profile_metrics(&shared.metrics)).map(|[_, actual]| actual),
            wanted,
            required,
            parts,
            body: Replay::new(body, limit),
            client,
            started: Instant::now(),
            failfast: match gateway {
                true => failfast.min(GATEWAY_FAILFAST),
                false => failfast,
            },
            origin,
            idempotent,
            repeated: 0,
            avoid: Avoid::default(),
            last: None,
        }
    }

    /// The answer, or what went wrong last.
    pub(super) async fn run(mut self) -> Result<Response<Body>, Error> {
        let _in_flight = InFlight::new(self.target);
        loop {
            let Some((index, backend, endpoint)) = self.next().await? else {
                return self.give_up();
            };
            endpoint.check_identity(self.required.as_ref())?;
            let fault = match self.attempt(index, backend, &endpoint).await? {
                Ok(response) => match self.fault_of(response).await {
                    Ok(response) => {
                        endpoint.answered(Instant::now(), &response);
                        return Ok(response);
                    }
                    Err((response, fault)) => {
                        if fault == Fault::Route {
                            endpoint.answered(Instant::now(), &response);
                        }
                        self.last = Some(Ok(response));
                        fault
                    }
                },
                Err((error, fault)) => {
                    tracing::debug!(endpoint = %endpoint.addr, ?fault, %error, "attempt failed");
                    self.last = Some(Err(error));
                    fault
                }
            };
            self.blame(fault, index, &endpoint);
            if !self.may_retry(fault) {
                return self.give_up();
            }
            self.pause(fault).await;
        }
    }

    /// Waits for an endpoint; `None` if there is none this request may go to.
    async fn next(
        &mut self,
    ) -> Result<Option<(usize, &'a RouteBackend<Backend>, Arc<Endpoint>)>, Error> {
        // Made when first needed; then everything is looked at once more, so that no change is
        // lost.
        let mut waiter: Option<Waiter> = None;
        loop {
            let avoid = self.avoid.endpoints();
            let want = Want {
                now: Instant::now(),
                avoid: &avoid,
                probe: self.idempotent && self.body.is_available(),
            };
            let chance = || rand::rng().random();
            let nothing = match select(self.distribution, want, &self.avoid.backends, chance) {
                Selected::Endpoint(index, backend, endpoint) => {
                    let waited = waiter.map_or(Duration::ZERO, |waiter| waiter.since.elapsed());
                    backend.name.served(want.now, waited);
                    return Ok(Some((index, backend, endpoint)));
                }
                Selected::Fail(error) => {
                    self.last.get_or_insert(Err(error));
                    return Ok(None);
                }
                Selected::Nothing(nothing) => nothing,
            };
            if !self.avoid.unwanted.is_empty() {
                self.avoid.unwanted.clear();
                continue;
            }
            // Whoever failed the request must not get it again, and nobody else is there.
            let alone = self.avoid.is_final() && nothing != Nothing::Pending;
            // A gateway's client has other clusters to ask.
            let final_now = self.origin == Origin::Gateway && nothing == Nothing::Empty;
            if alone || final_now || !is_balanced(self.distribution) {
                return Ok(None);
            }
            let Some(waiter) = &mut waiter else {
                let capacity = self.shared.config.outbound.http_queue_capacity;
                waiter = Some(Waiter::new(self.distribution, capacity)?);
                continue;
            };
            let deadline = waiter.deadline(self.started, self.failfast);
            if !waiter.wait(deadline).await {
                return Ok(None);
            }
            self.avoid.unreached.clear();
        }
    }

    /// Sends the request to one endpoint. The outer error is final.
    async fn attempt(
        &mut self,
        index: usize,
        backend: &RouteBackend<Backend>,
        endpoint: &Endpoint,
    ) -> Result<Result<Response<Body>, (Error, Fault)>, Error> {
        let body = self.body.body();
        let body = body.ok_or_else(|| Error::other("the request's body is gone"))?;
        let clock = Clock::start(Timeouts {
            request: backend.request_timeout,
            response: self.wanted.timeouts.response,
            idle: self.wanted.timeouts.idle,
            headers: None,
        });
        let body = clock.request(body);
        let mut request = Request::from_parts(self.parts.clone(), body);
        filter::on_request(&backend.filters, &mut request, None)?;
        let actual = self.actual.map(|actual| actual.request(is_grpc(&request)));
        let sent = {
            let wait = self.wait();
            // Boxed: the largest part of what a request is while it waits.
            let backend = backend.name.metrics(&self.shared.metrics);
            let sending = Box::pin(endpoint.send(request, backend, &self.client));
            let sending = pin!(async {
                let Some(wait) = wait else {
                    return sending.await;
                };
                tokio::select! {
                    sent = sending => sent,
                    () = wait.over(index, endpoint) => Err(Failed::withdrawn(endpoint.addr)),
                }
            });
            let limited = async {
                let sent = clock.bound(sending).await;
                sent.inspect_err(|_| endpoint.too_slow(Instant::now()))
            };
            match self.patience() {
                None => limited.await?,
                Some(limit) => match tokio::time::timeout(limit, limited).await {
                    Ok(sent) => sent?,
                    Err(_) => {
                        let error = Error::Timeout("response headers", limit);
                        return Ok(Err((error, Fault::Slow)));
                    }
                },
            }
        };
        let mut response = match sent {
            Ok(response) => response,
            Err(failed) if self.client.is_known() => return Err(self.client.or(failed.error)),
            Err(failed) => {
                if let Some(actual) = actual {
                    actual.error(&failed.error);
                }
                return Ok(Err(self.recover(*failed)));
            }
        };
        if has_ours(response.headers()) {
            heed(endpoint, &backend.backend, &mut response);
        }
        filter::on_response(&backend.filters, response.headers_mut());
        let response = clock.response(response);
        Ok(Ok(match actual {
            Some(actual) => actual.response(response),
            None => response,
        }))
    }

    /// How long to stay with an endpoint that is withdrawn; what may not be repeated stays as long
    /// as it takes.
    fn wait(&self) -> Option<Wait<'_>> {
        self.idempotent.then(|| Wait {
            distribution: self.distribution,
            failed: &self.avoid.failed,
            failed_backends: &self.avoid.backends,
            client_has_others: self.origin == Origin::Gateway,
            body: self.body.again(),
        })
    }

    /// How long the attempt may take to begin its response, if another one may follow.
    fn patience(&self) -> Option<Duration> {
        let retry = self.wanted.retry.as_ref()?;
        let another = self.repeated < retry.max_retries && self.body.is_available();
        retry.timeout.filter(|_| another)
    }

    fn recover(&mut self, failed: Failed) -> (Error, Fault) {
        if let Some(untouched) = failed.request {
            self.body.give_back(untouched.into_body());
        }
        (failed.error, Fault::Request(failed.stage))
    }

    /// The response, unless it is one to ask for again.
    async fn fault_of(
        &mut self,
        response: Response<Body>,
    ) -> Result<Response<Body>, (Response<Body>, Fault)> {
        let by_proxy = proxy_fault(&response);
        if let Some(fault) = by_proxy
            && (fault == Fault::PeerRefused || self.idempotent)
        {
            return Err((response, fault));
        }
        let wanted = self.wanted.retry.as_ref();
        let (response, unwanted) = match wanted {
            Some(retry) if self.repeated < retry.max_retries => peek(retry, response).await,
            _ => (response, false),
        };
        match wanted {
            _ if unwanted => {}
            Some(retry) if is_unwanted(retry, &response) => {
                self.route.retried(Retried::LimitExceeded);
            }
            Some(_) if self.repeated > 0 => self.route.retried(Retried::Success),
            _ => {}
        }
        match (unwanted, by_proxy) {
            (true, _) => Err((response, Fault::Route)),
            (false, Some(fault)) => Err((response, fault)),
            (false, None) => Ok(response),
        }
    }

    /// Remembers who failed, so that the request (and soon others) goes elsewhere.
    fn blame(&mut self, fault: Fault, index: usize, endpoint: &Endpoint) {
        let now = Instant::now();
        match fault {
            Fault::Request(Stage::Connect) => {
                endpoint.unreachable(now);
                self.avoid.unreached.push(endpoint.id);
                return;
            }
            Fault::Route | Fault::Slow => {
                if fault == Fault::Slow {
                    endpoint.too_slow(now);
                }
                self.repeated += 1;
                self.avoid.unwanted.push(endpoint.id);
                return;
            }
            Fault::Request(Stage::Unprocessed | Stage::Final) => {}
            Fault::Request(Stage::Lost) => endpoint.lost(now),
            Fault::PeerProxy | Fault::PeerRefused => endpoint.failed(now),
        }
        self.avoid.failed.push(endpoint.id);
        if endpoint.metadata.is_gateway() {
            // Every gateway endpoint leads to the same cluster.
            self.avoid.backends.push(index);
        }
    }

    fn may_retry(&self, fault: Fault) -> bool {
        let by_route = self.wanted.retry.as_ref();
        let by_route = by_route.filter(|_| matches!(fault, Fault::Route | Fault::Slow));
        let small = by_route.is_none_or(|retry| self.body.kept() <= retry.max_request_bytes);
        let asked = Asked {
            idempotent: self.idempotent,
            resendable: self.body.is_available() && small,
        };
        let limits = by_route.map_or_else(Limits::default, |retry| {
            retry.budget.unwrap_or(Limits::OF_ROUTES)
        });
        let granted = || {
            let mut budget = self.target.budget().lock();
            budget.withdraw(Instant::now(), &limits)
        };
        let outcome = match decide(fault, asked) {
            Verdict::Free => "connect",
            Verdict::Paid if granted() => "request",
            Verdict::Paid => "no_budget",
            Verdict::Stop => "not_safe",
        };
        let metrics = &self.shared.metrics;
        metrics.outbound_retry(self.target.name(), outcome);
        match outcome {
            "request" if by_route.is_some() => {
                self.route.retried(Retried::Request);
                self.name.retryable(metrics, None);
            }
            "no_budget" if by_route.is_some() => {
                self.route.retried(Retried::Overflow);
                self.name.retryable(metrics, Some("no_budget"));
            }
            _ => {}
        }
        matches!(outcome, "connect" | "request")
    }

    /// Gives a service that is asked again the time its route says.
    async fn pause(&mut self, fault: Fault) {
        if let Fault::Route | Fault::Slow = fault
            && let Some(retry) = &self.wanted.retry
            && let Some(pauses) = &retry.backoff
        {
            let before = self.repeated.saturating_sub(1);
            tokio::time::sleep(pauses.after(before, rand::random())).await;
        }
    }

    /// What the client gets when nothing more is tried.
    fn give_up(self) -> Result<Response<Body>, Error> {
        self.last.unwrap_or_else(|| {
            let name = self.target.name().to_string();
            Err(Error::FailFast(name))
        })
    }
}

/// What a proxy at the other end says beside the response.
fn heed(endpoint: &Endpoint, backend: &Backend, response: &mut Response<Body>) {
    let headers = response.headers_mut();
    if endpoint.metadata.tls.is_none() {
        // There is no proxy at the other end that could have written it.
        headers.remove(PROXY_ERROR);
        headers.remove(UNPROCESSED);
    } else if matches!(backend, Backend::Forward(_))
        && headers.get(PROXY_CONNECTION).is_some_and(|v| v == "close")
    {
        // There is no other endpoint that this connection could lead to.
        response.extensions_mut().insert(Close);
    }
}

/// A request the retry budget counts until its response begins.
struct InFlight<'a>(&'a Discovered);

impl<'a> InFlight<'a> {
    fn new(target: &'a Discovered) -> Self {
        target.budget().lock().begin(Instant::now());
        Self(target)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.budget().lock().end();
    }
}
