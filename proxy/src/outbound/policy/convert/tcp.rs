//! Routes of bytes: opaque, and TLS by SNI.

use linkerd2_proxy_api::{outbound as api, tls_route as tls_match};

use super::{
    Invalid, Result, backend_spec, exact, first_available, random_available, reverse_suffix,
};
use crate::outbound::policy::{BackendSpec, Distribution, RouteBackend, TcpRoute, TlsRoute};

const FORBIDDEN: &str = "the policy forbids this connection";
const INVALID: &str = "the policy of this connection is invalid";

pub(super) fn opaque_routes(opaque: api::proxy_protocol::Opaque) -> Result<TcpRoute> {
    use api::opaque_route::{distribution::Kind, filter};
    let route = opaque.routes.into_iter().next();
    let Some(rule) = route.and_then(|route| route.rules.into_iter().next()) else {
        return Ok(refuse("the policy has no opaque route"));
    };
    // The only filters there are for bytes refuse them.
    match rule.filters.first().map(|filter| &filter.kind) {
        None => {}
        Some(Some(filter::Kind::Forbidden(_))) => return Ok(refuse(FORBIDDEN)),
        Some(Some(filter::Kind::Invalid(_)) | None) => return Ok(refuse(INVALID)),
    }
    let backend = |b: api::opaque_route::RouteBackend| tcp_backend(b.backend, b.filters.is_empty());
    let distribution = rule.backends.ok_or(Invalid::Missing("rule.backends"))?;
    let distribution = match distribution.kind.ok_or(Invalid::Missing("distribution"))? {
        Kind::Empty(_) => Distribution::Empty,
        Kind::FirstAvailable(first) => first_available(first.backends, backend)?,
        Kind::RandomAvailable(random) => random_available(
            random.backends.into_iter().map(|b| (b.backend, b.weight)),
            backend,
        )?,
    };
    Ok(TcpRoute {
        distribution: Ok(distribution),
    })
}

pub(super) fn tls_route(route: api::TlsRoute) -> Result<TlsRoute> {
    use api::tls_route::{distribution::Kind, filter};
    let snis = route.snis.into_iter().map(|sni| {
        use tls_match::sni_match::Match;
        Ok(match sni.r#match.ok_or(Invalid::Missing("SNI match"))? {
            Match::Exact(name) => exact(&name),
            Match::Suffix(suffix) => reverse_suffix(&suffix.reverse_labels),
        })
    });
    let snis = snis.collect::<Result<_>>()?;
    let Some(rule) = route.rules.into_iter().next() else {
        let route = refuse("the TLS route has no rule");
        return Ok(TlsRoute { snis, route });
    };
    let refused = match rule.filters.first().map(|filter| &filter.kind) {
        None => None,
        Some(Some(filter::Kind::Forbidden(_))) => Some(FORBIDDEN),
        Some(Some(filter::Kind::Invalid(_)) | None) => Some(INVALID),
    };
    if let Some(why) = refused {
        let route = refuse(why);
        return Ok(TlsRoute { snis, route });
    }
    let backend = |b: api::tls_route::RouteBackend| tcp_backend(b.backend, b.filters.is_empty());
    let distribution = rule.backends.ok_or(Invalid::Missing("rule.backends"))?;
    let distribution = match distribution.kind.ok_or(Invalid::Missing("distribution"))? {
        Kind::Empty(_) => Distribution::Empty,
        Kind::FirstAvailable(first) => first_available(first.backends, backend)?,
        Kind::RandomAvailable(random) => random_available(
            random.backends.into_iter().map(|b| (b.backend, b.weight)),
            backend,
        )?,
    };
    let route = TcpRoute {
        distribution: Ok(distribution),
    };
    Ok(TlsRoute { snis, route })
}

fn refuse(why: &str) -> TcpRoute {
    TcpRoute {
        distribution: Err(why.to_owned()),
    }
}

fn tcp_backend(backend: Option<api::Backend>, unfiltered: bool) -> Result<RouteBackend> {
    let backend = if unfiltered {
        backend_spec(backend, None)?
    } else {
        // The only filters there are for bytes refuse them.
        BackendSpec::Fail("the policy forbids this backend".to_owned())
    };
    Ok(RouteBackend {
        backend,
        filters: Vec::new(),
        request_timeout: None,
    })
}
