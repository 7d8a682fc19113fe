//! Routes of bytes: opaque, and TLS by SNI.

use linkerd2_proxy_api::{outbound as api, tls_route as tls_match};

use super::{Result, backend::backend_spec, distribution};
use crate::{
    http::route::{HostMatch, Invalid},
    outbound::policy::{Accrual, BackendSpec, RouteBackend, TcpRoute, TlsRoute},
};

/// A [`TcpRoute`] of the rule of one kind of route: the API has a type of the same shape for each.
/// The only filters there are for bytes refuse them.
macro_rules! tcp_route {
    ($kind:ident, $rule:expr, $accrual:expr) => {{
        use api::$kind::{RouteBackend as Wire, filter::Kind};
        let rule = $rule;
        let refused = rule.filters.first().map(|filter| match &filter.kind {
            Some(Kind::Forbidden(_)) => "the policy forbids this connection",
            Some(Kind::Invalid(_)) | None => "the policy of this connection is invalid",
        });
        match refused {
            Some(why) => refuse(why),
            None => {
                let backend = |b: Wire| tcp_backend(b.backend, b.filters.is_empty(), $accrual);
                TcpRoute {
                    distribution: Ok(distribution!($kind, rule.backends, backend)),
                }
            }
        }
    }};
}

pub(super) fn opaque_routes(
    opaque: api::proxy_protocol::Opaque,
    accrual: Option<Accrual>,
) -> Result<TcpRoute> {
    let route = opaque.routes.into_iter().next();
    match route.and_then(|route| route.rules.into_iter().next()) {
        Some(rule) => Ok(tcp_route!(opaque_route, rule, accrual)),
        None => Ok(refuse("the policy has no opaque route")),
    }
}

pub(super) fn tls_route(route: api::TlsRoute) -> Result<TlsRoute> {
    use tls_match::sni_match::Match;
    let sni = |sni: tls_match::SniMatch| {
        Ok(match sni.r#match.ok_or(Invalid::Missing("SNI match"))? {
            Match::Exact(name) => HostMatch::exact(&name),
            Match::Suffix(suffix) => HostMatch::below(&suffix.reverse_labels),
        })
    };
    let snis = route.snis.into_iter().map(sni).collect::<Result<_>>()?;
    let route = match route.rules.into_iter().next() {
        Some(rule) => tcp_route!(tls_route, rule, None),
        None => refuse("the TLS route has no rule"),
    };
    Ok(TlsRoute { snis, route })
}

fn refuse(why: &str) -> TcpRoute {
    TcpRoute {
        distribution: Err(why.to_owned()),
    }
}

fn tcp_backend(
    backend: Option<api::Backend>,
    unfiltered: bool,
    accrual: Option<Accrual>,
) -> Result<RouteBackend> {
    Ok(RouteBackend::just(match unfiltered {
        true => backend_spec(backend, accrual)?,
        false => BackendSpec::Fail("the policy forbids this backend".to_owned()),
    }))
}
