//! One request on its way, and everything it is counted as.

use std::time::Instant;

use http::{HeaderMap, Response};

use super::{
    http::{self as target, HttpMetrics},
    stream::{self, StreamMetrics},
    words::{self, Fault, GRPC_UNKNOWN},
};
use crate::{
    Error,
    http::{
        Body,
        body::BodyError,
        client_fault::ClientFault,
        headers::{GRPC_FAILURES, grpc_status, is_grpc_response},
        observe::{Observer, Seen, observe},
    },
};

/// One request on its way; not answering it counts as a failure.
pub struct Exchange {
    target: Option<HttpMetrics>,
    stream: Option<Stream>,
    start: Instant,
    grpc: bool,
    recorded: bool,
}

/// The same as a route or a backend of one sees it.
struct Stream {
    metrics: StreamMetrics,
    /// The client's body, of which the end matters.
    client: ClientFault,
}

/// How a request ended.
enum End<'e> {
    Whole,
    /// Without a response.
    Error(&'e Error),
    /// Within the response.
    Broken(&'e BodyError),
    /// Nobody waited for it any more.
    Dropped,
}

#[derive(Clone, Copy)]
struct Answer {
    status: u16,
    grpc: Option<u16>,
}

impl Exchange {
    pub(super) fn new(target: Option<HttpMetrics>, grpc: bool) -> Self {
        let start = Instant::now();
        if let Some(target) = &target {
            target.begin(start);
        }
        Self {
            target,
            stream: None,
            start,
            grpc,
            recorded: false,
        }
    }

    /// A request as its route sees it; `profile` is how its ServiceProfile does.
    pub(crate) fn of(
        stream: &StreamMetrics,
        client: &ClientFault,
        profile: Option<&HttpMetrics>,
        grpc: bool,
    ) -> Self {
        Self::new(profile.cloned(), grpc).counted_as(Some(stream), client)
    }

    /// Counts the request as a route's (or a backend's), too. `client` is its body.
    pub(crate) fn counted_as(
        mut self,
        stream: Option<&StreamMetrics>,
        client: &ClientFault,
    ) -> Self {
        self.stream = stream.map(|metrics| {
            metrics.begin();
            Stream {
                metrics: metrics.clone(),
                client: client.clone(),
            }
        });
        self
    }

    /// Counts the response when its body has ended, with status, classification and latency.
    pub fn response(mut self, response: Response<Body>) -> Response<Body> {
        let status = response.status();
        let headers = response.headers();
        self.grpc |= is_grpc_response(headers);
        let answer = Answer {
            status: status.as_u16(),
            grpc: grpc_status(headers),
        };
        let measured = Measured {
            answer,
            exchange: self,
        };
        response.map(|body| observe(body, measured))
    }

    /// Counts a request that got no response.
    pub fn error(mut self, error: &Error) {
        self.record(None, End::Error(error));
    }

    fn record(&mut self, answer: Option<Answer>, end: End<'_>) {
        if std::mem::replace(&mut self.recorded, true) {
            return;
        }
        let now = Instant::now();
        if let Some(target) = &self.target {
            let outcome = target_outcome(answer, &end, self.grpc);
            target.end(outcome, now, now.saturating_duration_since(self.start));
        }
        if let Some(Stream { metrics, client }) = &self.stream {
            let outcome = stream_outcome(answer, &end, metrics.shape().grpc);
            let sent = client.sent_at(self.start);
            metrics.end(outcome, now, self.start, sent);
        }
    }
}

fn target_outcome(answer: Option<Answer>, end: &End<'_>, grpc: bool) -> target::Outcome {
    let error = match end {
        End::Whole => None,
        End::Error(error) => Some(words::word_of_response(error)),
        End::Broken(_) => Some("i/o"),
        End::Dropped => Some("cancelled"),
    };
    let code = answer.and_then(|answer| answer.grpc).filter(|_| grpc);
    let success = error.is_none()
        && match code {
            Some(code) => !GRPC_FAILURES.contains(&code),
            None => answer.is_some_and(|answer| answer.status < 500),
        };
    // A whole response that says nothing of its status has one all the same.
    let unsaid = (grpc && error.is_none()).then_some(GRPC_UNKNOWN);
    target::Outcome {
        status: answer.map(|answer| answer.status),
        grpc: code.or(unsaid),
        success,
        error,
    }
}

fn stream_outcome(answer: Option<Answer>, end: &End<'_>, grpc: bool) -> stream::Outcome {
    let status = answer.and_then(|answer| match grpc {
        true => answer.grpc,
        false => Some(answer.status),
    });
    let (status, error) = match end {
        End::Whole => (status, None),
        End::Error(error) => match words::fault(error) {
            Fault::Status(_, code) if grpc => (Some(code), None),
            Fault::Status(http, _) => (Some(http), None),
            Fault::Word(word) => (status, Some(word)),
        },
        End::Broken(error) => (status, Some(words::broken(&***error))),
        End::Dropped => (status, Some("CANCEL")),
    };
    stream::Outcome { status, error }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.record(None, End::Dropped);
    }
}

/// A response that is recorded at its end.
struct Measured {
    answer: Answer,
    exchange: Exchange,
}

impl Measured {
    fn trailers(&mut self, trailers: &HeaderMap) {
        self.answer.grpc = grpc_status(trailers).or(self.answer.grpc);
    }
}

impl Observer for Measured {
    fn saw(&mut self, seen: Seen<'_>) {
        if let Seen::Frame { frame, .. } = &seen {
            if let Some(trailers) = frame.trailers_ref() {
                self.trailers(trailers);
            } else if let Some(stream) = &self.exchange.stream {
                stream.metrics.response_frame(frame);
            }
        }
        match seen {
            Seen::Failed(error) => self.exchange.record(Some(self.answer), End::Broken(error)),
            seen if seen.is_over() => self.exchange.record(Some(self.answer), End::Whole),
            _ => {}
        }
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        let answer = self.answer;
        self.exchange.record(Some(answer), End::Dropped);
    }
}
