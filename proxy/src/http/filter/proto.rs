//! Filters as the control plane sends them, made into ours. Inbound and outbound policies have
//! their own messages for the same parts; [`crate::inbound`] and [`crate::outbound`] take them
//! apart.

use http::{HeaderName, HeaderValue, StatusCode, uri::Scheme};
use linkerd2_proxy_api::{grpc_route as grpc_api, http_route as api, http_types};

use super::{Failure, Filter, HeaderChange, PathChange, Redirect};
use crate::http::route::{Invalid, header_name};

impl Filter {
    /// Changes a request's headers.
    pub fn request_headers(proto: api::RequestHeaderModifier) -> Result<Self, Invalid> {
        change(proto.add, proto.set, proto.remove).map(Self::RequestHeaders)
    }

    /// Changes a response's headers.
    pub fn response_headers(proto: api::ResponseHeaderModifier) -> Result<Self, Invalid> {
        change(proto.add, proto.set, proto.remove).map(Self::ResponseHeaders)
    }

    /// Fails requests with an HTTP status.
    pub fn fail_http(proto: api::HttpFailureInjector) -> Result<Self, Invalid> {
        Ok(Self::Fail {
            ratio: ratio(proto.ratio)?,
            failure: Failure::Http(status(proto.status)?, proto.message),
        })
    }

    /// Fails requests with a gRPC status.
    pub fn fail_grpc(proto: grpc_api::GrpcFailureInjector) -> Result<Self, Invalid> {
        let code = u16::try_from(proto.code)
            .map_err(|_| Invalid::Bad("gRPC status", proto.code.to_string()))?;
        Ok(Self::Fail {
            ratio: ratio(proto.ratio)?,
            failure: Failure::Grpc(code, proto.message),
        })
    }

    /// Redirects requests.
    pub fn redirect(proto: api::RequestRedirect) -> Result<Self, Invalid> {
        use api::path_modifier::Replace;
        let scheme = proto.scheme.map(|scheme| {
            Scheme::try_from(scheme)
                .map_err(|error| Invalid::Bad("redirect scheme", error.to_string()))
        });
        let path = proto.path.map(|path| {
            let replace = path.replace.ok_or(Invalid::Missing("redirect path"))?;
            Ok(match replace {
                Replace::Full(path) => PathChange::Full(path),
                Replace::Prefix(path) => PathChange::Prefix(path),
            })
        });
        let port = u16::try_from(proto.port)
            .map_err(|_| Invalid::Bad("redirect port", proto.port.to_string()))?;
        Ok(Self::Redirect(Redirect {
            scheme: scheme.transpose()?,
            host: Some(proto.host).filter(|host| !host.is_empty()),
            port: Some(port).filter(|port| *port != 0),
            path: path.transpose()?,
            status: match proto.status {
                0 => StatusCode::MOVED_PERMANENTLY,
                code => status(code)?,
            },
        }))
    }
}

fn change(
    add: Option<http_types::Headers>,
    set: Option<http_types::Headers>,
    remove: Vec<String>,
) -> Result<HeaderChange, Invalid> {
    let removed = remove.iter().map(|name| header_name(name));
    Ok(HeaderChange {
        add: pairs(add)?,
        set: pairs(set)?,
        remove: removed.collect::<Result<_, _>>()?,
    })
}

fn pairs(headers: Option<http_types::Headers>) -> Result<Vec<(HeaderName, HeaderValue)>, Invalid> {
    let pair = |header: http_types::headers::Header| {
        let value = HeaderValue::from_bytes(&header.value)
            .map_err(|error| Invalid::Bad("header value", error.to_string()))?;
        Ok((header_name(&header.name)?, value))
    };
    let headers = headers.map(|headers| headers.headers).unwrap_or_default();
    headers.into_iter().map(pair).collect()
}

fn status(code: u32) -> Result<StatusCode, Invalid> {
    u16::try_from(code)
        .ok()
        .and_then(|code| StatusCode::from_u16(code).ok())
        .ok_or_else(|| Invalid::Bad("status", code.to_string()))
}

fn ratio(ratio: Option<api::Ratio>) -> Result<(u32, u32), Invalid> {
    match ratio {
        None => Ok((1, 1)),
        Some(api::Ratio { denominator: 0, .. }) => {
            Err(Invalid::Bad("ratio", "its denominator is zero".to_owned()))
        }
        Some(ratio) => Ok((ratio.numerator, ratio.denominator)),
    }
}
