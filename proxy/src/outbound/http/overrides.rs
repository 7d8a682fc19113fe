//! What a request asks for itself: timeouts and retries, in headers, where its route allows it.

use std::{borrow::Cow, time::Duration};

use http::{HeaderMap, HeaderValue};
use mesh_contract::headers::{
    REQUEST_TIMEOUT, RESPONSE_TIMEOUT, RETRY_GRPC, RETRY_HTTP, RETRY_LIMIT, RETRY_TIMEOUT, TIMEOUT,
};

use crate::{
    config,
    outbound::{
        policy::{Action, Pauses, Retry, Timeouts},
        replay::MAX_KEPT,
    },
};

/// What holds for one request.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    /// How long it may take.
    pub(super) timeouts: Timeouts,
    /// Which answers are asked for again.
    pub(super) retry: Option<Cow<'a, Retry>>,
}

/// What a request that wants retries gets if its route says nothing of them.
const UNLESS_SAID: Retry = Retry {
    max_retries: 1,
    max_request_bytes: MAX_KEPT,
    statuses: Vec::new(),
    grpc: Vec::new(),
    timeout: None,
    backoff: Some(Pauses {
        min: Duration::from_millis(25),
        max: Duration::from_millis(250),
        jitter_ppm: 1_000_000,
    }),
    budget: None,
};

/// What holds for a request with these headers. Those that were heeded are taken out; where the
/// route does not allow them, they are the application's own affair.
pub(super) fn take<'a, B>(action: &'a Action<B>, headers: &mut HeaderMap) -> Asked<'a> {
    let mut asked = Asked {
        timeouts: action.timeouts,
        retry: action.retry.as_ref().map(Cow::Borrowed),
    };
    if !action.overridable {
        return asked;
    }
    let mut limit = |name| headers.remove(name).and_then(|value| duration(&value));
    let (short, long) = (limit(TIMEOUT), limit(REQUEST_TIMEOUT));
    asked.timeouts.request = short.or(long).or(asked.timeouts.request);
    asked.timeouts.response = limit(RESPONSE_TIMEOUT).or(asked.timeouts.response);
    let timeout = limit(RETRY_TIMEOUT);
    let statuses = headers.remove(RETRY_HTTP).and_then(|v| list(&v, statuses));
    let codes = headers.remove(RETRY_GRPC).and_then(|v| list(&v, code));
    let count = headers.remove(RETRY_LIMIT).and_then(|v| number(&v));
    let wanted = statuses.is_some() || codes.is_some();
    if wanted || (asked.retry.is_some() && (count.is_some() || timeout.is_some())) {
        let retry = asked.retry.get_or_insert(Cow::Owned(UNLESS_SAID)).to_mut();
        retry.max_retries = count.unwrap_or(retry.max_retries);
        retry.timeout = timeout.or(retry.timeout);
        if let Some(statuses) = statuses {
            retry.statuses = statuses;
        }
        if let Some(codes) = codes {
            retry.grpc = codes;
        }
    }
    asked
}

/// Every part of a comma-separated list; `None` if one of them makes no sense.
fn list<T>(value: &HeaderValue, parse: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    let parts = value.to_str().ok()?.split(',').map(str::trim);
    parts.map(parse).collect()
}

fn statuses(text: &str) -> Option<(u16, u16)> {
    let status = |text: &str| {
        let status: u16 = text.parse().ok()?;
        (100..600).contains(&status).then_some(status)
    };
    match text {
        "5xx" => Some((500, 599)),
        "gateway-error" => Some((502, 504)),
        text => match text.split_once('-') {
            Some((from, to)) => Some((status(from)?, status(to)?)),
            None => status(text).map(|one| (one, one)),
        },
    }
}

fn code(text: &str) -> Option<u16> {
    match text.to_ascii_lowercase().as_str() {
        "cancelled" => Some(1),
        "deadline-exceeded" => Some(4),
        "resource-exhausted" => Some(8),
        "internal" => Some(13),
        "unavailable" => Some(14),
        _ => None,
    }
}

fn number(value: &HeaderValue) -> Option<u32> {
    value.to_str().ok()?.trim().parse().ok()
}

fn duration(value: &HeaderValue) -> Option<Duration> {
    let duration = config::duration(value.to_str().ok()?.trim())?;
    (!duration.is_zero()).then_some(duration)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbound::policy::{BackendSpec, Distribution, RouteKind, RouteName};

    fn action(overridable: bool) -> Action<BackendSpec> {
        Action {
            overridable,
            ..Action::to(
                RouteName::implicit(RouteKind::Http, "test"),
                Distribution::Empty,
            )
        }
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
        pairs.collect()
    }

    #[test]
    fn a_request_may_say_what_its_route_does_not() {
        let action = action(true);
        let mut headers = headers(&[
            ("l5d-retry-http", "5xx, 404, 420-429"),
            ("l5d-retry-grpc", "unavailable,Internal"),
            ("l5d-retry-limit", "3"),
            ("l5d-retry-timeout", "100ms"),
            ("l5d-timeout", "2s"),
            ("l5d-response-timeout", "1s"),
            ("x-other", "1"),
        ]);
        let asked = take(&action, &mut headers);
        let retry = asked.retry.unwrap();
        assert_eq!(retry.statuses, [(500, 599), (404, 404), (420, 429)]);
        assert_eq!(retry.grpc, [14, 13]);
        assert_eq!(retry.max_retries, 3);
        assert_eq!(retry.timeout, Some(Duration::from_millis(100)));
        assert_eq!(asked.timeouts.request, Some(Duration::from_secs(2)));
        assert_eq!(asked.timeouts.response, Some(Duration::from_secs(1)));
        let left: Vec<_> = headers.keys().collect();
        assert_eq!(left, ["x-other"], "they go no further");
    }

    #[test]
    fn where_the_route_does_not_allow_it_nothing_is_heeded_or_taken() {
        let action = action(false);
        let mut headers = headers(&[("l5d-retry-http", "5xx"), ("l5d-timeout", "2s")]);
        let asked = take(&action, &mut headers);
        assert!(asked.retry.is_none());
        assert_eq!(asked.timeouts, Timeouts::default());
        assert_eq!(headers.len(), 2);
    }

    #[test]
    fn nonsense_asks_for_nothing() {
        let action = action(true);
        for value in ["", "6xx", "1000", "500-", "5xx,", "-1"] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_HTTP, value.parse().unwrap());
            headers.insert(TIMEOUT, value.parse().unwrap());
            let asked = take(&action, &mut headers);
            assert!(asked.retry.is_none(), "{value}");
            assert_eq!(asked.timeouts.request, None, "{value}");
        }
        // A number of retries of nothing is none.
        let mut headers = headers(&[("l5d-retry-limit", "3")]);
        assert!(take(&action, &mut headers).retry.is_none());
    }
}
