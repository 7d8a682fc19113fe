//! Routes of bytes: opaque, and TLS by SNI.

use std::sync::Arc;

use linkerd2_proxy_api::{outbound as api, tls_route as tls_match};

use super::{
    Result,
    backend::{backend_object, backend_spec},
    distribution,
};
use crate::{
    http::route::{HostMatch, Invalid},
    metrics::Object,
    outbound::policy::{
        Accrual, BackendSpec, RouteBackend, RouteKind, RouteName, TcpRoute, TlsRoute, names::object,
    },
};

/// A [`TcpRoute`] of the rule of one kind of route: the API has a type of the same shape for each.
/// The only filters there are for bytes refuse them.
macro_rules! tcp_route {
    ($kind:ident, $name:expr, $rule:expr, $accrual:expr) => {{
        use api::$kind::{RouteBackend as Wire, filter::Kind};
        let (name, rule) = ($name, $rule);
        let refused = rule.filters.first().map(|filter| match &filter.kind {
            Some(Kind::Forbidden(_)) => "the policy forbids this connection",
            Some(Kind::Invalid(_)) | None => "the policy of this connection is invalid",
        });
        match refused {
            Some(why) => refuse(why),
            None => {
                let backend =
                    |b: Wire| tcp_backend(&name, b.backend, b.filters.is_empty(), $accrual);
                TcpRoute {
                    distribution: Ok(distribution!($kind, rule.backends, backend)),
                }
            }
        }
    }};
}

pub(super) fn opaque_routes(
    parent: &Arc<Object>,
    opaque: api::proxy_protocol::Opaque,
    accrual: Option<Accrual>,
) -> Result<TcpRoute> {
    let route = opaque.routes.into_iter().next().unwrap_or_default();
    let name = RouteName::new(RouteKind::Tcp, parent, object(route.metadata));
    Ok(match route.rules.into_iter().next() {
        Some(rule) => tcp_route!(opaque_route, name, rule, accrual),
        None => refuse("the policy has no opaque route"),
    })
}

pub(super) fn tls_route(parent: &Arc<Object>, route: api::TlsRoute) -> Result<TlsRoute> {
    use tls_match::sni_match::Match;
    let sni = |sni: tls_match::SniMatch| {
        Ok(match sni.r#match.ok_or(Invalid::Missing("SNI match"))? {
            Match::Exact(name) => HostMatch::exact(&name),
            Match::Suffix(suffix) => HostMatch::below(&suffix.reverse_labels),
        })
    };
    let snis = route.snis.into_iter().map(sni).collect::<Result<_>>()?;
    let name = RouteName::new(RouteKind::Tls, parent, object(route.metadata));
    let route = match route.rules.into_iter().next() {
        Some(rule) => tcp_route!(tls_route, name, rule, None),
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
    route: &Arc<RouteName>,
    backend: Option<api::Backend>,
    unfiltered: bool,
    accrual: Option<Accrual>,
) -> Result<RouteBackend> {
    let name = route.backend(backend_object(&backend));
    let spec = match unfiltered {
        true => backend_spec(backend, accrual)?,
        false => BackendSpec::Fail("the policy forbids this backend".to_owned()),
    };
    Ok(RouteBackend::just(name, spec))
}
