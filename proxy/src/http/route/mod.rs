//! Which rule a request takes: hosts, then matches, most specific first.
//!
//! The one matcher of inbound and outbound policies, HTTP and gRPC. What a rule then means
//! (authorise, balance, retry) is theirs: it is a type parameter here. [`matches`] holds the
//! conditions, [`proto`] makes them from the wire.

mod matches;
mod proto;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use http::Request;

use super::filter::Filter;

pub use matches::{Condition, HostMatch, PathMatch, RequestMatch, ValueMatch, best_host, host_of};
pub(in crate::http) use proto::header_name;
pub use proto::{Invalid, hosts, regex};

/// A route: hosts, and rules that are tried for them.
#[derive(Clone, Debug, PartialEq)]
pub struct Route<T> {
    /// Hosts it is for; none: any.
    pub hosts: Vec<HostMatch>,
    /// In the order received.
    pub rules: Vec<Rule<T>>,
}

/// One rule of a route.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule<T> {
    /// Any of these must match; none: any request.
    pub matches: Vec<RequestMatch>,
    /// Applied in order, before anything else is done.
    pub filters: Arc<[Filter]>,
    /// What follows.
    pub then: T,
}

/// The rule a request takes.
#[derive(Debug)]
pub struct Found<'r, T> {
    /// What to do.
    pub rule: &'r Rule<T>,
    /// Bytes of the path that matched as a prefix; `None` if the path matched otherwise.
    pub prefix: Option<usize>,
}

impl<T> Route<T> {
    /// For every request.
    pub fn any(then: T) -> Self {
        Self {
            hosts: Vec::new(),
            rules: vec![Rule {
                matches: Vec::new(),
                filters: Arc::default(),
                then,
            }],
        }
    }

    /// The same route with each consequence replaced by what `f` makes of it.
    pub fn map<U>(self, f: &mut impl FnMut(T) -> U) -> Route<U> {
        let rules = self.rules.into_iter().map(|rule| Rule {
            matches: rule.matches,
            filters: rule.filters,
            then: f(rule.then),
        });
        Route {
            hosts: self.hosts,
            rules: rules.collect(),
        }
    }
}

/// The rule for `request`, by the precedence of the Gateway API: the most specific host, then path,
/// method, headers and query; the first received among equals.
pub fn find<'r, T, B>(routes: &'r [Route<T>], request: &Request<B>) -> Option<Found<'r, T>> {
    // Nearly every target has one route with one rule for everything.
    if let [route] = routes
        && let [rule] = route.rules.as_slice()
        && route.hosts.is_empty()
        && rule.matches.is_empty()
    {
        return Some(Found { rule, prefix: None });
    }
    let host = host_of(request);
    let mut best = None;
    for route in routes {
        let Some(host) = best_host(&route.hosts, host.as_deref()) else {
            continue;
        };
        for rule in &route.rules {
            let Some((found, prefix)) = matches::best(&rule.matches, request) else {
                continue;
            };
            let precedence = (host, found);
            if best.as_ref().is_none_or(|(have, _)| precedence > *have) {
                best = Some((precedence, Found { rule, prefix }));
            }
        }
    }
    best.map(|(_, found)| found)
}
