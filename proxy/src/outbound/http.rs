//! One request, from the application (or from another cluster, at a gateway) to an answer.
//!
//! [`answer`] is the list of steps: admit, look at the policy, choose a rule, apply its filters,
//! then [`Attempts`]: choose backend and endpoint, send, and decide whether a failure is the
//! answer or is tried elsewhere. It returns errors; `crate::http::rescue` makes them responses.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, request::Parts};
use http_body::{Body as _, Frame, SizeHint};
use mesh_contract::headers::{
    CLIENT_ID, DST_CANONICAL, ORIG_PROTO, PROXY_CONNECTION, PROXY_ERROR, REQUIRE_ID,
};
use rand::RngExt;
use tokio::time::{Instant, Sleep};

use super::{
    Shared,
    backend::{self, Backend, Nothing, Selected, Waiter, is_balanced, select},
    balance::Want,
    discover::Discovered,
    endpoint::{Endpoint, live::EndpointId},
    policy::{Action, Distribution, Retry, RouteBackend},
    replay::{MAX_KEPT, Replay},
    retry::{Asked, Fault, Limits, Verdict, decide},
};
use crate::{
    Error,
    http::{
        Body,
        body::BodyError,
        client::{Failed, Stage},
        filter,
        headers::is_idempotent,
        route,
    },
};

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The application of this pod.
    Workload,
    /// Another cluster, through this gateway.
    Gateway,
}

/// A gateway says soon that it has nothing to offer: its client has other clusters to try.
const GATEWAY_FAILFAST: Duration = Duration::from_secs(1);

/// Answers `request` as the policy of its target says.
pub(super) async fn answer(
    shared: &Shared,
    origin: Origin,
    target: &Discovered,
    mut request: Request<Body>,
) -> Result<Response<Body>, Error> {
    let _admitted = shared.admit()?;
    target.touch();
    let plan = target.plan()?;
    let required = prepare(origin, target.name(), &mut request);
    let policy = plan.policy.http(request.version())?;
    let found = route::find(&policy.routes, &request).ok_or(Error::RouteNotFound)?;
    let rule = found.rule;
    filter::on_request(&rule.filters, &mut request, found.prefix)?;
    let attempts = Attempts::new(shared, origin, target, &rule.then, required, request);
    let mut response = match rule.then.timeouts.request {
        Some(limit) => within(limit, attempts.run()).await?,
        None => attempts.run().await?,
    };
    filter::on_response(&rule.filters, response.headers_mut());
    finish(origin, &mut response);
    Ok(response)
}

/// Takes out what is between the application and us, or between proxies; returns the identity
/// the application insists on.
fn prepare(origin: Origin, name: &str, request: &mut Request<Body>) -> Option<HeaderValue> {
    let headers = request.headers_mut();
    headers.remove(ORIG_PROTO);
    match origin {
        Origin::Workload => drop(headers.remove(CLIENT_ID)),
        Origin::Gateway => {
            if let Ok(name) = HeaderValue::from_str(name) {
                headers.insert(DST_CANONICAL, name);
            }
        }
    }
    headers.remove(REQUIRE_ID)
}

fn finish(origin: Origin, response: &mut Response<Body>) {
    let headers = response.headers_mut();
    headers.remove(PROXY_CONNECTION);
    // At a gateway the client is a proxy, which needs to know whether a proxy or the application
    // answered.
    if origin == Origin::Workload
        && let Some(error) = headers.remove(PROXY_ERROR)
    {
        tracing::debug!(?error, status = %response.status(), "a peer proxy answered with an error");
    }
}

/// Everything about one request that outlives an attempt.
struct Attempts<'a> {
    shared: &'a Shared,
    target: &'a Discovered,
    rule: &'a Action<Backend>,
    required: Option<HeaderValue>,
    parts: Parts,
    body: Replay,
    started: Instant,
    failfast: Duration,
    /// An answer "there is none" is final at once.
    empty_is_final: bool,
    idempotent: bool,
    route_retries: u32,
    /// Endpoints and backends (by index) that failed this request: not asked again.
    failed: Vec<EndpointId>,
    failed_backends: Vec<usize>,
    /// Endpoints that could not be reached just now: asked again once nobody else is left.
    unreached: Vec<EndpointId>,
    last: Option<Result<Response<Body>, Error>>,
}

impl<'a> Attempts<'a> {
    fn new(
        shared: &'a Shared,
        origin: Origin,
        target: &'a Discovered,
        rule: &'a Action<Backend>,
        required: Option<HeaderValue>,
        request: Request<Body>,
    ) -> Self {
        let (parts, body) = request.into_parts();
        let idempotent = is_idempotent(&parts.method);
        let known_small = body
            .size_hint()
            .upper()
            .is_some_and(|n| n <= MAX_KEPT as u64);
        let limit = match (&rule.retry, idempotent || known_small) {
            (_, true) => MAX_KEPT,
            (Some(retry), false) => retry.max_request_bytes,
            (None, false) => 0,
        };
        let gateway = origin == Origin::Gateway;
        let failfast = shared.config.outbound.http_failfast_timeout;
        for backend in backend::backends(&rule.distribution) {
            backend.warm();
        }
        Self {
            shared,
            target,
            rule,
            required,
            parts,
            body: Replay::new(body, limit),
            started: Instant::now(),
            failfast: match gateway {
                true => failfast.min(GATEWAY_FAILFAST),
                false => failfast,
            },
            empty_is_final: gateway,
            idempotent,
            route_retries: 0,
            failed: Vec::new(),
            failed_backends: Vec::new(),
            unreached: Vec::new(),
            last: None,
        }
    }

    async fn run(mut self) -> Result<Response<Body>, Error> {
        let _in_flight = InFlight::new(self.target);
        loop {
            let Some((index, backend, endpoint)) = self.next().await else {
                return self.give_up();
            };
            endpoint.check_identity(self.required.as_ref())?;
            let fault = match self.attempt(backend, &endpoint).await? {
                Ok(response) => match self.fault_of(&response) {
                    None => {
                        endpoint.succeeded(Instant::now());
                        return Ok(response);
                    }
                    Some(fault) => {
                        self.last = Some(Ok(response));
                        fault
                    }
                },
                Err(failed) => {
                    let Failed {
                        error,
                        stage,
                        request,
                    } = *failed;
                    if let Some(untouched) = request {
                        self.body.give_back(untouched.into_body());
                    }
                    tracing::debug!(endpoint = %endpoint.addr, ?stage, %error, "attempt failed");
                    self.last = Some(Err(error));
                    Fault::Request(stage)
                }
            };
            self.blame(fault, index, &endpoint);
            if !self.may_retry(fault) {
                return self.give_up();
            }
        }
    }

    /// Waits for an endpoint; `None` if there is none this request may go to.
    async fn next(&mut self) -> Option<(usize, &'a RouteBackend<Backend>, Arc<Endpoint>)> {
        let distribution: &'a Distribution<Backend> = &self.rule.distribution;
        // Made when first needed; then everything is looked at once more, so that no change is
        // lost.
        let mut waiter: Option<Waiter> = None;
        loop {
            let avoid = [self.failed.as_slice(), self.unreached.as_slice()].concat();
            let want = Want {
                now: Instant::now(),
                avoid: &avoid,
                probe: self.idempotent && self.body.is_available(),
            };
            let chance = || rand::rng().random();
            let nothing = match select(distribution, want, &self.failed_backends, chance) {
                Selected::Endpoint(index, backend, endpoint) => {
                    return Some((index, backend, endpoint));
                }
                Selected::Fail(error) => {
                    self.last.get_or_insert(Err(error));
                    return None;
                }
                Selected::Nothing(nothing) => nothing,
            };
            // Whoever failed the request must not get it again, and nobody else is there.
            let alone = (!self.failed.is_empty() || !self.failed_backends.is_empty())
                && nothing != Nothing::Pending;
            let final_now = self.empty_is_final && nothing == Nothing::Empty;
            if alone || final_now || !is_balanced(distribution) {
                return None;
            }
            let Some(waiter) = &mut waiter else {
                waiter = Some(Waiter::new(distribution));
                continue;
            };
            let deadline = waiter.deadline(self.started, self.failfast);
            if !waiter.wait(deadline).await {
                return None;
            }
            self.unreached.clear();
        }
    }

    /// Sends the request to one endpoint. The outer error is final.
    async fn attempt(
        &mut self,
        backend: &RouteBackend<Backend>,
        endpoint: &Endpoint,
    ) -> Result<Result<Response<Body>, Box<Failed>>, Error> {
        let body = self.body.body();
        let body = body.ok_or_else(|| Error::other("the request's body is gone"))?;
        let mut request = Request::from_parts(self.parts.clone(), body);
        filter::on_request(&backend.filters, &mut request, None)?;
        let mut sent = match backend.request_timeout {
            Some(limit) => tokio::time::timeout(limit, endpoint.send(request))
                .await
                .map_err(|_| Error::Timeout("request", limit))?,
            None => endpoint.send(request).await,
        };
        if let Ok(response) = &mut sent {
            if endpoint.metadata.tls.is_none() {
                // There is no proxy at the other end that could have written it.
                response.headers_mut().remove(PROXY_ERROR);
            }
            filter::on_response(&backend.filters, response.headers_mut());
        }
        Ok(sent)
    }

    fn fault_of(&self, response: &Response<Body>) -> Option<Fault> {
        let status = response.status();
        let from_proxy = matches!(
            status,
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
        ) && response.headers().contains_key(PROXY_ERROR);
        if from_proxy {
            return Some(Fault::PeerProxy);
        }
        let retry = self.rule.retry.as_ref()?;
        (self.route_retries < retry.max_retries && wants(retry, response)).then_some(Fault::Route)
    }

    /// Remembers who failed, so that the request (and soon others) goes elsewhere.
    fn blame(&mut self, fault: Fault, index: usize, endpoint: &Endpoint) {
        let now = Instant::now();
        match fault {
            Fault::Request(Stage::Connect) => {
                endpoint.unreachable(now);
                self.unreached.push(endpoint.id);
                return;
            }
            Fault::Request(Stage::Unprocessed | Stage::Final) => {}
            Fault::Request(Stage::Lost) => endpoint.lost(now),
            Fault::PeerProxy => endpoint.failed(now),
            // The application's answer; the endpoint is as good as any.
            Fault::Route => {
                self.route_retries += 1;
                return;
            }
        }
        self.failed.push(endpoint.id);
        if endpoint.metadata.is_gateway() {
            // Every gateway endpoint leads to the same cluster.
            self.failed_backends.push(index);
        }
    }

    fn may_retry(&self, fault: Fault) -> bool {
        let asked = Asked {
            idempotent: self.idempotent,
            resendable: self.body.is_available(),
        };
        let outcome = match decide(fault, asked) {
            Verdict::Free => "connect",
            Verdict::Paid
                if self
                    .target
                    .budget()
                    .lock()
                    .withdraw(Instant::now(), &Limits::default()) =>
            {
                "request"
            }
            Verdict::Paid => "no_budget",
            Verdict::Stop => "not_safe",
        };
        self.shared.count_retry(self.target, outcome);
        matches!(outcome, "connect" | "request")
    }

    /// What the client gets when nothing more is tried.
    fn give_up(self) -> Result<Response<Body>, Error> {
        self.last.unwrap_or_else(|| {
            let name = self.target.name().to_string();
            Err(Error::FailFast(name))
        })
    }
}

fn wants(retry: &Retry, response: &Response<Body>) -> bool {
    let status = response.status().as_u16();
    let grpc = response.headers().get("grpc-status");
    let grpc = grpc.and_then(|code| code.to_str().ok()?.parse().ok());
    retry
        .statuses
        .iter()
        .any(|(from, to)| (*from..=*to).contains(&status))
        || grpc.is_some_and(|code| retry.grpc.contains(&code))
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

/// Limits a request from its arrival to the end of its response.
async fn within(
    limit: Duration,
    response: impl Future<Output = Result<Response<Body>, Error>>,
) -> Result<Response<Body>, Error> {
    let deadline = Instant::now() + limit;
    let response = tokio::time::timeout_at(deadline, response)
        .await
        .unwrap_or(Err(Error::Timeout("request", limit)))?;
    if response.body().is_end_stream() {
        return Ok(response);
    }
    Ok(response.map(|body| {
        Body::new(Limited {
            body,
            limit,
            sleep: Box::pin(tokio::time::sleep_until(deadline)),
        })
    }))
}

struct Limited {
    body: Body,
    limit: Duration,
    sleep: Pin<Box<Sleep>>,
}

impl http_body::Body for Limited {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.sleep.as_mut().poll(cx).is_ready() {
            let error = Error::Timeout("request", self.limit);
            return Poll::Ready(Some(Err(error.into())));
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
