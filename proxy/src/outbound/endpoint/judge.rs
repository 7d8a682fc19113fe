//! What an answer says of the endpoint that gave it. Pure, but for [`at_end`], which waits for the
//! end of an answer that says it only there.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, Response, StatusCode, header};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    http::{
        Body,
        headers::{GRPC_FAILURES, grpc_status, is_grpc_response},
        observe::{Observer, Seen, observe},
    },
    outbound::balance::health::Health,
};

/// What an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The endpoint works.
    Success,
    /// It does not, and how long it asks to be left alone.
    Failure(Option<Duration>),
    /// Its end will tell.
    Later,
}

/// RESOURCE_EXHAUSTED: a server's plea for less, as 429 is.
const EXHAUSTED: u16 = 8;

impl Verdict {
    /// From the beginning of a response.
    pub fn of(response: &Response<Body>) -> Self {
        let (status, headers) = (response.status(), response.headers());
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return Self::Failure(hint(headers));
        }
        match grpc_status(headers) {
            Some(code) => Self::of_code(code, headers),
            None if !is_grpc_response(headers) => Self::Success,
            None if http_body::Body::is_end_stream(response.body()) => Self::Success,
            None => Self::Later,
        }
    }

    fn of_code(code: u16, headers: &HeaderMap) -> Self {
        match code == EXHAUSTED || GRPC_FAILURES.contains(&code) {
            true => Self::Failure(hint(headers)),
            false => Self::Success,
        }
    }
}

/// How long a server asks to be left alone: seconds, or milliseconds in gRPC's way. A date is
/// nothing a proxy without a trusted clock acts on.
fn hint(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    number("grpc-retry-pushback-ms")
        .map(Duration::from_millis)
        .or_else(|| number(header::RETRY_AFTER.as_str()).map(Duration::from_secs))
}

/// Tells `health` what the trailers of a response say.
pub fn at_end(response: Response<Body>, health: Arc<Mutex<Health>>) -> Response<Body> {
    response.map(|body| observe(body, AtEnd(Some(health))))
}

struct AtEnd(Option<Arc<Mutex<Health>>>);

impl Observer for AtEnd {
    fn saw(&mut self, seen: Seen<'_>) {
        let verdict = match &seen {
            Seen::Frame { frame, .. } => frame.trailers_ref().and_then(|trailers| {
                grpc_status(trailers).map(|code| Verdict::of_code(code, trailers))
            }),
            Seen::End | Seen::Failed(_) => None,
        };
        if let (Some(verdict), Some(health)) = (verdict, &self.0) {
            health.lock().judge(Instant::now(), verdict);
        }
        if seen.is_over() {
            self.0 = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_servers_fault_is_a_failure() {
        let of = |status: u16, headers: &[(&str, &str)]| {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(*name, *value);
            }
            Verdict::of(&response.body(Body::full("x")).unwrap())
        };
        let grpc = ("content-type", "application/grpc");
        let after = |seconds| Verdict::Failure(Some(Duration::from_secs(seconds)));
        assert_eq!(of(200, &[]), Verdict::Success);
        assert_eq!(of(404, &[]), Verdict::Success);
        assert_eq!(of(500, &[]), Verdict::Failure(None));
        assert_eq!(of(503, &[("retry-after", "7")]), after(7));
        assert_eq!(of(429, &[("retry-after", "never")]), Verdict::Failure(None));
        assert_eq!(of(200, &[grpc]), Verdict::Later);
        assert_eq!(of(200, &[grpc, ("grpc-status", "0")]), Verdict::Success);
        let pushed = ("grpc-retry-pushback-ms", "3000");
        assert_eq!(of(200, &[grpc, ("grpc-status", "14"), pushed]), after(3));
    }
}
