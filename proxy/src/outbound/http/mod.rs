//! One request, from the application (or from another cluster, at a gateway) to an answer.
//!
//! [`answer`] is the list of steps: admit, look at the policy, choose a rule, apply its filters,
//! then [`attempts`]: choose backend and endpoint, send, and decide whether a failure is the
//! answer or is tried elsewhere. [`overrides`] is what a request asks for itself, [`timeouts`] how
//! long it may take, [`verdict`] what its answer means. Errors are returned;
//! `crate::http::rescue` makes them responses.

mod attempts;
mod avoid;
mod overrides;
mod timeouts;
mod verdict;

use std::pin::pin;

use http::{HeaderValue, Request, Response};
use mesh_contract::headers::{
    CLIENT_ID, DST_CANONICAL, ORIG_PROTO, PROXY_CONNECTION, PROXY_ERROR, REQUIRE_ID, UNPROCESSED,
};

use self::{attempts::Attempts, timeouts::Clock};
use super::{
    Shared,
    backend::Backend,
    discover::Discovered,
    policy::{Action, Timeouts},
};
use crate::{
    Error,
    http::{
        Body,
        client_fault::ClientFault,
        filter,
        headers::{has_ours, is_grpc},
        name,
        route::{self, Found},
    },
    metrics::{Exchange, StreamMetrics},
};

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The application of this pod.
    Workload,
    /// Another cluster, through this gateway.
    Gateway,
}

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
    let name = &found.rule.then.name;
    let by_name = match shared.config.outbound.hostname_labels {
        true => Some(name.metrics_of(&shared.metrics, &hostname(&request))),
        false => None,
    };
    let route = by_name
        .as_ref()
        .unwrap_or_else(|| name.metrics(&shared.metrics));
    let profile = name
        .profile_metrics(&shared.metrics)
        .map(|[route, _]| route);
    let (client, request) = ClientFault::of(request, Some(route));
    let exchange = Exchange::of(route, &client, profile, is_grpc(&request));
    let whom = (origin, target);
    match routed(shared, whom, (found, route), request, (required, client)).await {
        Ok(response) => Ok(exchange.response(response)),
        Err(error) => {
            exchange.error(&error);
            Err(error)
        }
    }
}

/// Answers a request whose rule was found, as that says.
async fn routed(
    shared: &Shared,
    (origin, target): (Origin, &Discovered),
    (found, route): (Found<'_, Action<Backend>>, &StreamMetrics),
    mut request: Request<Body>,
    (required, client): (Option<HeaderValue>, ClientFault),
) -> Result<Response<Body>, Error> {
    let (rule, action) = (found.rule, &found.rule.then);
    let asked = overrides::take(action, request.headers_mut());
    filter::on_request(&rule.filters, &mut request, found.prefix)?;
    let clock = Clock::start(Timeouts {
        response: None,
        idle: None,
        ..asked.timeouts
    });
    let whom = (origin, target);
    let attempts = Attempts::new(
        shared,
        whom,
        (action, route),
        asked,
        required,
        request,
        client,
    );
    let mut response = clock.bound(pin!(attempts.run())).await??;
    filter::on_response(&rule.filters, response.headers_mut());
    finish(origin, &mut response);
    Ok(clock.response(response))
}

/// The name a request is for, if it is one.
fn hostname(request: &Request<Body>) -> String {
    let host = route::host_of(request);
    host.and_then(|host| name::dns_name(&host))
        .unwrap_or_default()
}

/// Takes out what is between the application and us, or between proxies; returns the identity
/// the application insists on.
fn prepare(origin: Origin, name: &str, request: &mut Request<Body>) -> Option<HeaderValue> {
    let headers = request.headers_mut();
    let mut required = None;
    if has_ours(headers) {
        headers.remove(ORIG_PROTO);
        if origin == Origin::Workload {
            headers.remove(CLIENT_ID);
        }
        required = headers.remove(REQUIRE_ID);
    }
    if origin == Origin::Gateway
        && let Ok(name) = HeaderValue::from_str(name)
    {
        headers.insert(DST_CANONICAL, name);
    }
    required
}

fn finish(origin: Origin, response: &mut Response<Body>) {
    let headers = response.headers_mut();
    if !has_ours(headers) {
        return;
    }
    headers.remove(PROXY_CONNECTION);
    // At a gateway the client is a proxy, which needs to know whether a proxy or the application
    // answered.
    if origin == Origin::Gateway {
        return;
    }
    headers.remove(UNPROCESSED);
    if let Some(error) = headers.remove(PROXY_ERROR) {
        tracing::debug!(?error, status = %response.status(), "a peer proxy answered with an error");
    }
}
