//! ServiceProfiles of the names that requests are for: their routes are what requests are counted by
//! (`route_*` with `direction="inbound"`).
//!
//! Nothing else of a profile matters here, as the client's proxy has done it; so nobody waits for
//! one. A name is watched once a request was for it, as long as connections have requests for it
//! and a while longer.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{HeaderValue, Request, header::HOST, uri::Authority};
use linkerd2_proxy_api::destination::{self as api, DestinationProfile};
use mesh_contract::headers::DST_CANONICAL;
use parking_lot::{Mutex, RwLock};

use crate::{
    Config,
    config::Suffixes,
    control::{Control, Event},
    http::{
        name::Name,
        route::{Condition, Invalid},
    },
    metrics::{HttpMetrics, Metrics},
    outbound::policy::profile::condition,
};

/// Clients choose names: the profiles of no more than these are watched at a time.
const MAX_WATCHED: usize = 100;

/// The profiles that are watched. Cloned freely.
#[derive(Clone)]
pub(super) struct Profiles(Arc<Inner>);

struct Inner {
    control: Control,
    metrics: Metrics,
    suffixes: Suffixes,
    /// Names that nobody needs for so long are not watched any more.
    idle: Duration,
    watched: Mutex<HashMap<Name, Arc<Profile>>>,
}

/// What is known of one name's profile.
struct Profile {
    dst: String,
    routes: RwLock<Vec<Route>>,
    /// Somebody looked for it since this was last looked at.
    used: AtomicBool,
}

struct Route {
    /// None: whatever no other route is for.
    condition: Option<Condition>,
    /// Sorted.
    labels: Vec<(String, String)>,
    series: OnceLock<HttpMetrics>,
}

/// Whom the last request of a connection was for: mostly the next one is, too.
#[derive(Default)]
pub(super) struct Last(Mutex<Option<(Whom, Option<Arc<Profile>>)>>);

/// All that a request's name may come from.
struct Whom {
    canonical: Option<HeaderValue>,
    authority: Option<Authority>,
    host: Option<HeaderValue>,
}

impl Profiles {
    /// None is watched yet.
    pub(super) fn new(config: &Config, control: Control, metrics: Metrics) -> Self {
        Self(Arc::new(Inner {
            control,
            metrics,
            suffixes: config.destination.profile_suffixes.clone(),
            idle: config.inbound.discovery_idle_timeout,
            watched: Mutex::default(),
        }))
    }

    /// The series of the route that a request takes, if the name it is for has a profile with
    /// routes, and that is known by now.
    pub(super) fn series<B>(&self, last: &Last, request: &Request<B>) -> Option<HttpMetrics> {
        if self.0.suffixes.is_empty() {
            return None;
        }
        let mut last = last.0.lock();
        if !last
            .as_ref()
            .is_some_and(|(whom, _)| whom.is_that_of(request))
        {
            let profile = Name::of(request).and_then(|name| self.watched(name));
            *last = Some((Whom::of(request), profile));
        }
        let (_, profile) = last.as_ref()?;
        profile.as_ref()?.series(&self.0.metrics, request)
    }

    fn watched(&self, name: Name) -> Option<Arc<Profile>> {
        if !self.0.suffixes.contains(&name.host) {
            return None;
        }
        let mut watched = self.0.watched.lock();
        if let Some(known) = watched.get(&name) {
            known.used.store(true, Ordering::Relaxed);
            return Some(known.clone());
        }
        if watched.len() >= MAX_WATCHED {
            return None;
        }
        let new = Arc::new(Profile {
            dst: format!("{}:{}", name.host, name.port),
            routes: RwLock::default(),
            used: AtomicBool::new(true),
        });
        watched.insert(name.clone(), new.clone());
        tokio::spawn(self.clone().watch(name, new.clone()));
        Some(new)
    }

    /// Follows a profile until nobody needs it.
    async fn watch(self, name: Name, profile: Arc<Profile>) {
        let follow = self.0.control.profile(&profile.dst, |event| {
            *profile.routes.write() = match event {
                Event::Message { message, .. } => routes(&message),
                Event::Refused(_) => Vec::new(),
            };
        });
        tokio::select! {
            () = follow => {}
            () = self.unused(&name, &profile) => {}
        }
    }

    /// Completes, with the profile forgotten, once it was not used for the configured time.
    async fn unused(&self, name: &Name, profile: &Arc<Profile>) {
        loop {
            tokio::time::sleep(self.0.idle).await;
            let mut watched = self.0.watched.lock();
            let was_used = profile.used.swap(false, Ordering::Relaxed);
            // The table and the task that watches have one each; the rest is of connections.
            if !was_used && Arc::strong_count(profile) <= 2 {
                watched.remove(name);
                return;
            }
        }
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.0.watched.lock().len()
    }
}

impl Profile {
    fn series<B>(&self, metrics: &Metrics, request: &Request<B>) -> Option<HttpMetrics> {
        let routes = self.routes.read();
        let route = routes.iter().find(|route| route.takes(request))?;
        let make = || metrics.inbound_profile_route(&self.dst, &route.labels);
        Some(route.series.get_or_init(make).clone())
    }
}

impl Route {
    fn takes<B>(&self, request: &Request<B>) -> bool {
        self.condition.as_ref().is_none_or(|c| c.holds(request))
    }
}

impl Whom {
    fn of<B>(request: &Request<B>) -> Self {
        let headers = request.headers();
        Self {
            canonical: headers.get(DST_CANONICAL).cloned(),
            authority: request.uri().authority().cloned(),
            host: headers.get(HOST).cloned(),
        }
    }

    fn is_that_of<B>(&self, request: &Request<B>) -> bool {
        let headers = request.headers();
        self.canonical.as_ref() == headers.get(DST_CANONICAL)
            && self.authority.as_ref() == request.uri().authority()
            && self.host.as_ref() == headers.get(HOST)
    }
}

/// The routes of a profile, and the rest; nothing if it has none, or one that makes no sense.
fn routes(profile: &DestinationProfile) -> Vec<Route> {
    // A route nobody can match is none, as stock proxies have it.
    let routes = profile.routes.iter().filter(|r| r.condition.is_some());
    let route = |route: &api::Route| {
        let labels: BTreeMap<_, _> = route.metrics_labels.clone().into_iter().collect();
        Ok(Route {
            condition: Some(condition(route.condition.as_ref())?),
            labels: labels.into_iter().collect(),
            series: OnceLock::new(),
        })
    };
    let mut routes = match routes.map(route).collect::<Result<Vec<_>, Invalid>>() {
        Ok(routes) => routes,
        Err(invalid) => {
            tracing::warn!(%invalid, "the control plane sent a profile that cannot be followed");
            return Vec::new();
        }
    };
    if !routes.is_empty() {
        routes.push(Route {
            condition: None,
            labels: Vec::new(),
            series: OnceLock::new(),
        });
    }
    routes
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::{PathMatch, RequestMatch, request_match::Match};

    fn route(regex: &str) -> api::Route {
        let path = PathMatch {
            regex: regex.to_owned(),
        };
        api::Route {
            condition: Some(RequestMatch {
                r#match: Some(Match::Path(path)),
            }),
            ..Default::default()
        }
    }

    fn count(all: &[api::Route]) -> usize {
        let profile = DestinationProfile {
            routes: all.to_vec(),
            ..Default::default()
        };
        routes(&profile).len()
    }

    #[test]
    fn a_profile_counts_by_its_routes_and_the_rest_or_not_at_all() {
        let nobody = api::Route::default();
        assert_eq!(count(&[route("/a"), nobody.clone(), route("/b")]), 3);
        assert_eq!(count(&[]), 0);
        assert_eq!(count(&[nobody]), 0);
        assert_eq!(count(&[route("/a"), route("(")]), 0);
    }
}
