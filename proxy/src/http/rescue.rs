//! The one place where an error becomes a response, HTTP and gRPC.

use http::{HeaderValue, Response, StatusCode, Version, header};
use mesh_contract::headers::{PROXY_CONNECTION, PROXY_ERROR, UNPROCESSED};

use super::{Body, body::BodyError, headers::GRPC_STATUS, server::Close};
use crate::Error;

/// How errors of one server connection are shown to its client.
#[derive(Clone, Copy, Debug)]
pub struct Rescue {
    /// Whether `l5d-proxy-error` may tell the client what happened.
    pub informational: bool,
}

/// What of a request decides how its error looks.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// The version the client speaks on this connection.
    pub version: Version,
    /// Whether an error must be a gRPC status.
    pub grpc: bool,
}

/// An error as its client will see it.
pub enum Rescued {
    /// A response.
    Response(Box<Response<Body>>),
    /// An HTTP/2 reset with the code the peer sent.
    Reset(BodyError),
}

/// What an error means, whatever the protocol.
struct Meaning {
    status: StatusCode,
    grpc: GrpcStatus,
    /// Whether the connection should not be used again.
    close: bool,
}

/// The gRPC codes errors map to.
#[derive(Clone, Copy)]
#[repr(u16)]
enum GrpcStatus {
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Aborted = 10,
    Internal = 13,
    Unavailable = 14,
}

impl Rescue {
    /// Maps `error` to what the client of a request sees.
    pub fn rescue(&self, asked: Asked, error: Error) -> Rescued {
        if asked.version == Version::HTTP_2 && is_reset(&error) {
            return Rescued::Reset(Box::new(error));
        }
        let meaning = meaning(&error);
        let mut response = match (&error, asked.grpc) {
            (Error::InjectedGrpcFailure { code, message }, _) => grpc(*code, message),
            (_, true) => grpc(meaning.grpc as u16, &error.to_string()),
            (_, false) => plain(meaning.status),
        };
        let headers = response.headers_mut();
        if let Error::Redirect { location, .. } = &error {
            headers.insert(header::LOCATION, location.clone());
        }
        if self.informational {
            headers.insert(PROXY_ERROR, header_text(&error.to_string()));
            if is_unprocessed(&error) {
                headers.insert(UNPROCESSED, HeaderValue::from_static("true"));
            }
        }
        // A request that makes no sense says nothing of those beside it on HTTP/2.
        let only_it = asked.version == Version::HTTP_2 && matches!(error, Error::BadRequest(_));
        if meaning.close && !only_it {
            // Told to the client's proxy, and to the connection the response goes out on.
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(PROXY_CONNECTION, close);
            response.extensions_mut().insert(Close);
        }
        Rescued::Response(Box::new(response))
    }
}

/// The status an HTTP client sees of an error.
pub fn status(error: &Error) -> StatusCode {
    meaning(error).status
}

/// The statuses of HTTP and gRPC that clients of either see of an error.
pub fn statuses(error: &Error) -> (u16, u16) {
    let meaning = meaning(error);
    let grpc = match error {
        Error::InjectedGrpcFailure { code, .. } => *code,
        _ => meaning.grpc as u16,
    };
    (meaning.status.as_u16(), grpc)
}

fn meaning(error: &Error) -> Meaning {
    use GrpcStatus as Grpc;
    let (status, grpc, close) = match error {
        Error::Connect { .. }
        | Error::Tls(_)
        | Error::Io(_)
        | Error::Http(_)
        | Error::Http2(_)
        | Error::Downgraded(_)
        | Error::IdentityRequired { .. }
        | Error::Loop(_)
        | Error::Fail(_) => (StatusCode::BAD_GATEWAY, Grpc::Unavailable, true),
        Error::ConnectTimeout { .. }
        | Error::FailFast(_)
        | Error::Withdrawn(_)
        | Error::DetectTimeout(..) => (StatusCode::GATEWAY_TIMEOUT, Grpc::DeadlineExceeded, true),
        Error::Timeout(..) => (StatusCode::GATEWAY_TIMEOUT, Grpc::DeadlineExceeded, false),
        Error::LoadShed(_) | Error::Shutdown => {
            (StatusCode::SERVICE_UNAVAILABLE, Grpc::Unavailable, true)
        }
        Error::Unexported(_) | Error::Unimported(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, Grpc::Unavailable, false)
        }
        Error::RouteNotFound | Error::GatewayDomainInvalid(_) => {
            (StatusCode::NOT_FOUND, Grpc::NotFound, false)
        }
        Error::Redirect { status, .. } => (*status, Grpc::NotFound, false),
        Error::InjectedFailure { status, .. } => (*status, Grpc::Internal, false),
        Error::InjectedGrpcFailure { .. } => (StatusCode::OK, Grpc::Internal, false),
        Error::Unauthorized(_)
        | Error::Denied(_)
        | Error::NoIdentity(_)
        | Error::TransportHeader(_) => (StatusCode::FORBIDDEN, Grpc::PermissionDenied, false),
        Error::RateLimited => (
            StatusCode::TOO_MANY_REQUESTS,
            Grpc::ResourceExhausted,
            false,
        ),
        Error::GatewayLoop(_) => (StatusCode::LOOP_DETECTED, Grpc::Aborted, true),
        Error::BadRequest(_) => (StatusCode::BAD_REQUEST, Grpc::InvalidArgument, true),
        Error::InvalidPolicy(_) | Error::Other(_) => {
            (StatusCode::INTERNAL_SERVER_ERROR, Grpc::Internal, true)
        }
    };
    Meaning {
        status,
        grpc,
        close,
    }
}

/// Whether nobody worked on the request, and somebody elsewhere might.
fn is_unprocessed(error: &Error) -> bool {
    matches!(
        error,
        Error::Connect { .. }
            | Error::ConnectTimeout { .. }
            | Error::FailFast(_)
            | Error::LoadShed(_)
            | Error::GatewayDomainInvalid(_)
    )
}

fn plain(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn grpc(code: u16, message: &str) -> Response<Body> {
    let mut response = plain(StatusCode::OK);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    headers.insert(GRPC_STATUS, code.into());
    headers.insert(GRPC_MESSAGE, header_text(&percent_encode(message)));
    response
}

/// Whether the peer reset the stream on purpose, so that its code is worth passing on.
fn is_reset(error: &Error) -> bool {
    matches!(error, Error::Http2(error) if error.is_reset())
}

/// Any text as a header value: what is not visible ASCII becomes a space.
fn header_text(text: &str) -> HeaderValue {
    let visible: String = text
        .chars()
        .take(MAX_TEXT)
        .map(|c| match c {
            ' '..='~' => c,
            _ => ' ',
        })
        .collect();
    HeaderValue::try_from(visible).unwrap_or(HeaderValue::from_static("invalid"))
}

/// As the gRPC protocol wants messages.
fn percent_encode(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(char::from(byte)),
            // Writing to a string cannot fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
        out
    })
}

const GRPC_MESSAGE: &str = "grpc-message";
const MAX_TEXT: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io, time::Duration};

    fn rescued(version: Version, is_grpc: bool, error: Error) -> Response<Body> {
        let rescue = Rescue {
            informational: true,
        };
        match rescue.rescue(
            Asked {
                version,
                grpc: is_grpc,
            },
            error,
        ) {
            Rescued::Response(response) => *response,
            Rescued::Reset(error) => panic!("reset: {error}"),
        }
    }

    fn refused() -> Error {
        Error::Connect {
            addr: ([127, 0, 0, 9], 80).into(),
            source: io::ErrorKind::ConnectionRefused.into(),
        }
    }

    #[test]
    fn an_http_client_sees_a_status_and_why() {
        for (error, status, close) in [
            (refused(), 502, true),
            (Error::FailFast("web".into()), 504, true),
            (
                Error::Timeout("request", Duration::from_secs(1)),
                504,
                false,
            ),
            (Error::LoadShed("queue is full"), 503, true),
            (Error::RouteNotFound, 404, false),
            (Error::Unauthorized("x".into()), 403, false),
            (Error::GatewayDomainInvalid("x".into()), 404, false),
            (Error::Unexported("x".into()), 503, false),
            (Error::GatewayLoop("x".into()), 508, true),
            (Error::InvalidPolicy("x".into()), 500, true),
        ] {
            let text = error.to_string();
            let response = rescued(Version::HTTP_11, false, error);
            assert_eq!(response.status(), status, "{text}");
            assert_eq!(response.headers()[PROXY_ERROR], text);
            assert_eq!(
                response.extensions().get::<Close>().is_some(),
                close,
                "{text}"
            );
            assert_eq!(
                response.headers().get(PROXY_CONNECTION).is_some(),
                close,
                "{text}"
            );
        }
    }

    #[test]
    fn a_grpc_client_sees_trailers_only() {
        for (error, code) in [
            (refused(), "14"),
            (Error::FailFast("web".into()), "4"),
            (Error::RouteNotFound, "5"),
            (Error::Unauthorized("x".into()), "7"),
            (Error::GatewayLoop("x".into()), "10"),
            (
                Error::InjectedGrpcFailure {
                    code: 9,
                    message: "no".into(),
                },
                "9",
            ),
        ] {
            let response = rescued(Version::HTTP_2, true, error);
            assert_eq!(response.status(), 200);
            assert_eq!(response.headers()["grpc-status"], code);
            assert!(response.headers().contains_key("grpc-message"));
            assert!(!response.headers().contains_key("connection"));
        }
    }

    #[test]
    fn what_nobody_worked_on_is_marked() {
        let timeout = Error::Timeout("request", Duration::from_secs(1));
        for (error, unprocessed) in [
            (refused(), true),
            (Error::FailFast("web".into()), true),
            (Error::GatewayDomainInvalid("web".into()), true),
            // It may have been worked on.
            (Error::Unexported("web".into()), false),
            (timeout, false),
            (Error::RouteNotFound, false),
        ] {
            let text = error.to_string();
            let response = rescued(Version::HTTP_2, false, error);
            let marked = response.headers().contains_key(UNPROCESSED);
            assert_eq!(marked, unprocessed, "{text}");
        }
    }

    #[test]
    fn what_is_not_for_the_client_is_not_told() {
        let rescue = Rescue {
            informational: false,
        };
        let asked = Asked {
            version: Version::HTTP_11,
            grpc: false,
        };
        let Rescued::Response(response) = rescue.rescue(asked, refused()) else {
            panic!("reset");
        };
        assert!(!response.headers().contains_key(PROXY_ERROR));
        assert!(!response.headers().contains_key(UNPROCESSED));
    }

    #[test]
    fn odd_text_cannot_break_a_header() {
        assert_eq!(header_text("a\r\nb: é"), "a  b:  ");
        assert_eq!(percent_encode("a%\n"), "a%25%0A");
    }
}
