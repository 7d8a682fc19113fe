//! The words dashboards know errors by.

use std::error::Error as StdError;

use crate::{
    Error,
    http::{cut::Cut, rescue},
};

/// What became of a request, where its route is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The client is answered with these statuses of HTTP and gRPC.
    Status(u16, u16),
    /// It is not answered, or not to the end.
    Word(&'static str),
}

/// The word for an error in the metrics of endpoints and ports.
pub(super) fn word(error: &Error) -> &'static str {
    match error {
        Error::LoadShed(_) => "loadshed",
        Error::FailFast(_) => "failfast",
        Error::DetectTimeout("TLS", _) => "tls detection timeout",
        Error::GatewayLoop(_) => "gateway loop",
        Error::GatewayDomainInvalid(_) | Error::Unexported(_) => "gateway domain invalid",
        Error::IdentityRequired { .. } => "identity required",
        Error::Timeout(..) | Error::Withdrawn(_) => "response timeout",
        Error::Io(_) | Error::Connect { .. } | Error::ConnectTimeout { .. } => "i/o",
        _ => "unexpected",
    }
}

/// The word for an error beside the classification of a response: what took too long is a timeout
/// there.
pub(super) fn word_of_response(error: &Error) -> &'static str {
    match error {
        Error::Timeout(..) => "timeout",
        error => word(error),
    }
}

/// What the metrics of routes say of an error.
pub(super) fn fault(error: &Error) -> Fault {
    match error {
        // Whether an endpoint or a filter could not or would not: that is an answer.
        Error::Connect { .. }
        | Error::ConnectTimeout { .. }
        | Error::Tls(_)
        | Error::IdentityRequired { .. }
        | Error::Redirect { .. }
        | Error::InjectedFailure { .. }
        | Error::InjectedGrpcFailure { .. } => {
            let (status, grpc) = rescue::statuses(error);
            Fault::Status(status, grpc)
        }
        Error::FailFast(_) => Fault::Word("FAIL_FAST"),
        Error::LoadShed(_) => Fault::Word("LOAD_SHED"),
        Error::Timeout("request", _) => Fault::Word("REQUEST_TIMEOUT"),
        Error::Timeout("response headers", _) | Error::Withdrawn(_) => {
            Fault::Word("RESPONSE_HEADERS_TIMEOUT")
        }
        Error::Timeout("response", _) => Fault::Word("RESPONSE_STREAM_TIMEOUT"),
        Error::Timeout("idle stream", _) => Fault::Word("IDLE_TIMEOUT"),
        Error::Http(error) => Fault::Word(broken(error)),
        Error::Http2(error) | Error::Downgraded(error) => Fault::Word(broken(error)),
        Error::Io(_) => Fault::Word("IO"),
        _ => Fault::Word("UNKNOWN"),
    }
}

/// The word of routes for what broke a body off.
pub(super) fn broken(error: &(dyn StdError + 'static)) -> &'static str {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(Cut { why, .. }) = error.downcast_ref() {
            return match fault(why) {
                Fault::Word(word) => word,
                Fault::Status(..) => "UNKNOWN",
            };
        }
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return of_h2(error);
        }
        if error.is::<std::io::Error>() {
            return "IO";
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>()
            && error.is_incomplete_message()
        {
            return "IO";
        }
        cause = error.source();
    }
    "UNKNOWN"
}

fn of_h2(error: &h2::Error) -> &'static str {
    if error.is_go_away() {
        return "GO_AWAY";
    }
    if error.is_io() {
        return "IO";
    }
    match error.reason() {
        Some(h2::Reason::CANCEL) => "CANCEL",
        Some(h2::Reason::REFUSED_STREAM) => "REFUSED",
        Some(h2::Reason::ENHANCE_YOUR_CALM) => "ENHANCE_YOUR_CALM",
        Some(_) => "RESET",
        None => "UNKNOWN",
    }
}

/// The word for a code of gRPC.
pub(super) fn grpc(code: u16) -> &'static str {
    const CODES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    CODES.get(usize::from(code)).copied().unwrap_or(CODES[2])
}

/// The code of gRPC for what says none, or none that exists.
pub(super) const GRPC_UNKNOWN: u16 = 2;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn routes_name_errors_as_stock_proxies_do() {
        let timeout = |which| Error::Timeout(which, Duration::from_secs(1));
        let addr = ([10, 0, 0, 1], 80).into();
        for (error, expected) in [
            (Error::FailFast("web".into()), Fault::Word("FAIL_FAST")),
            (Error::LoadShed("full"), Fault::Word("LOAD_SHED")),
            (timeout("request"), Fault::Word("REQUEST_TIMEOUT")),
            (
                timeout("response headers"),
                Fault::Word("RESPONSE_HEADERS_TIMEOUT"),
            ),
            (timeout("response"), Fault::Word("RESPONSE_STREAM_TIMEOUT")),
            (timeout("idle stream"), Fault::Word("IDLE_TIMEOUT")),
            (
                Error::Io(std::io::ErrorKind::BrokenPipe.into()),
                Fault::Word("IO"),
            ),
            (Error::Shutdown, Fault::Word("UNKNOWN")),
            (
                Error::ConnectTimeout {
                    addr,
                    timeout: Duration::from_secs(1),
                },
                Fault::Status(504, 4),
            ),
            (
                Error::InjectedGrpcFailure {
                    code: 7,
                    message: String::new(),
                },
                Fault::Status(200, 7),
            ),
        ] {
            assert_eq!(fault(&error), expected, "{error}");
        }
    }

    #[test]
    fn a_body_that_broke_off_says_why() {
        let reset = |reason: h2::Reason| h2::Error::from(reason);
        for (reason, expected) in [
            (h2::Reason::CANCEL, "CANCEL"),
            (h2::Reason::REFUSED_STREAM, "REFUSED"),
            (h2::Reason::ENHANCE_YOUR_CALM, "ENHANCE_YOUR_CALM"),
            (h2::Reason::PROTOCOL_ERROR, "RESET"),
        ] {
            assert_eq!(broken(&reset(reason)), expected);
        }
        let cut = Cut::new(Error::Timeout("idle stream", Duration::from_secs(1)));
        assert_eq!(broken(&cut), "IDLE_TIMEOUT");
        assert_eq!(
            broken(&std::io::Error::from(std::io::ErrorKind::UnexpectedEof)),
            "IO"
        );
        assert_eq!(broken(&std::fmt::Error), "UNKNOWN");
    }

    #[test]
    fn a_code_of_grpc_nobody_knows_is_unknown() {
        assert_eq!(
            (grpc(0), grpc(16), grpc(17)),
            ("OK", "UNAUTHENTICATED", "UNKNOWN")
        );
        assert_eq!(grpc(GRPC_UNKNOWN), "UNKNOWN");
    }
}
