//! `Federation.WatchDirectives`: what Linkerd's API cannot say of clients and exports.

use super::{Api, caller::Caller, metrics::Open};
use crate::index::{Restriction, Standing};
use futures::{StreamExt as _, stream};
use mesh_daemon::Shutdown;
use mesh_federation::{Directives, Messages, Method as _, Server, WatchDirectives};
use prost::Message as _;
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;
use tonic::Status;

/// All restrictions of one message in bytes: with the rest, no more than a proxy takes.
const ROOM: usize = WatchDirectives::MAX_ANSWER - 64;
/// What a message costs in another, besides itself.
const FRAME: usize = 8;
/// Messages within a lease, so that one that is late ends nothing.
const PER_LEASE: u32 = 3;

impl Api {
    /// The service.
    pub(super) fn directives(self) -> Server<WatchDirectives> {
        Server::new(move |request| {
            let caller = Caller::of(&self, &request)?;
            let follow = Follow {
                standing: self.index.lock().standing(),
                caller: caller.identity(),
                told: None,
                shutdown: self.shutdown.clone(),
                open: self.metrics.open("WatchDirectives"),
            };
            let messages: Messages<Directives> = stream::unfold(follow, Follow::next).boxed();
            Ok(messages)
        })
    }
}

/// One caller's stream.
struct Follow {
    standing: watch::Receiver<Arc<Standing>>,
    caller: Arc<str>,
    told: Option<Directives>,
    shutdown: Shutdown,
    open: Open,
}

impl Follow {
    /// The next message: of the first value, of every other one, and of none when a lease needs it.
    async fn next(mut self) -> Option<(Result<Directives, Status>, Self)> {
        loop {
            let repeat = match &self.told {
                None => Some(Duration::ZERO),
                Some(told) if told.lease_seconds > 0 => {
                    Some(Duration::from_secs(told.lease_seconds.into()) / PER_LEASE)
                }
                Some(_) => None,
            };
            let due = tokio::select! {
                () = self.shutdown.requested() => return None,
                changed = self.standing.changed() => changed.ok().map(|()| false)?,
                () = sleep(repeat) => true,
            };
            let directives = directives(&self.standing.borrow_and_update(), &self.caller);
            if due || self.told.as_ref() != Some(&directives) {
                self.told = Some(directives.clone());
                self.open.sent();
                return Some((Ok(directives), self));
            }
        }
    }
}

async fn sleep(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

/// What `caller` is told. If there is more than a proxy takes, those who are denied come first.
fn directives(standing: &Standing, caller: &str) -> Directives {
    let (denied, capped): (Vec<_>, Vec<_>) =
        standing.restrictions.iter().partition(|(_, one)| one.deny);
    let mut left = ROOM;
    let mut restrictions = Vec::new();
    for (name, restriction) in denied.into_iter().chain(capped) {
        let message = message(name, restriction);
        let Some(rest) = left.checked_sub(message.encoded_len() + FRAME) else {
            tracing::error!(
                name = &**name,
                "a ClientRestriction is not told to proxies: all together name too many \
                 identities; use suffixes such as *.NAMESPACE.serviceaccount.identity.…"
            );
            continue;
        };
        left = rest;
        restrictions.push(message);
    }
    Directives {
        restrictions,
        lease_seconds: standing.leases.get(caller).map_or(0, |lease| {
            u32::try_from(lease.as_secs()).unwrap_or(u32::MAX)
        }),
        close_withdrawn: true,
    }
}

fn message(name: &str, restriction: &Restriction) -> mesh_federation::Restriction {
    let identities = &restriction.identities;
    mesh_federation::Restriction {
        name: name.to_owned(),
        identities: identities.exact.iter().map(|one| one.to_string()).collect(),
        suffixes: identities
            .suffixes
            .iter()
            .map(|parts| parts.join("."))
            .collect(),
        deny: restriction.deny,
        max_connections: restriction.max_connections,
        max_requests: restriction.max_requests,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::{GATEWAY, Sandbox, annotated, gateway_service, object};
    use mesh_api::policy::ClientRestriction;
    use serde_json::json;

    fn restriction(name: &str, spec: serde_json::Value) -> ClientRestriction {
        object(json!({"metadata": {"name": name}, "spec": spec}))
    }

    fn told(sandbox: &Sandbox, caller: &str) -> Directives {
        let standing = sandbox.index.lock().standing().borrow().clone();
        directives(&standing, caller)
    }

    #[test]
    fn everybody_is_told_who_is_restricted() {
        let sandbox = Sandbox::new();
        assert_eq!(told(&sandbox, "web").restrictions, []);
        let names = [
            "Web.Default.example",
            "spiffe://A",
            "*.bad.example",
            "*",
            "no name",
        ];
        sandbox.apply(restriction(
            "a",
            json!({"identities": names, "deny": true, "maxRequests": 3}),
        ));
        let told_now = told(&sandbox, "web").restrictions;
        assert_eq!(
            told_now,
            [mesh_federation::Restriction {
                name: "a".into(),
                identities: vec!["spiffe://A".into(), "web.default.example".into()],
                suffixes: vec!["".into(), "bad.example".into()],
                deny: true,
                max_connections: None,
                max_requests: Some(3),
            }]
        );
        sandbox.delete::<ClientRestriction>("", "a");
        assert_eq!(told(&sandbox, "web").restrictions, []);
    }

    #[test]
    fn more_than_a_proxy_takes_is_not_told_and_denials_come_first() {
        let sandbox = Sandbox::new();
        let long = vec!["x".repeat(60); 4].join(".");
        let capped: Vec<_> = (0..9000).map(|n| format!("{n}.{long}")).collect();
        let denied: Vec<_> = (0..9000).map(|n| format!("{n}.d{long}")).collect();
        sandbox.apply(restriction(
            "a",
            json!({"identities": capped, "maxRequests": 1}),
        ));
        assert_eq!(told(&sandbox, "web").restrictions.len(), 1);
        sandbox.apply(restriction(
            "b",
            json!({"identities": denied, "deny": true}),
        ));
        sandbox.apply(restriction(
            "c",
            json!({"identities": ["x.example"], "maxRequests": 1}),
        ));
        let told = told(&sandbox, "web");
        let names: Vec<_> = told.restrictions.iter().map(|one| &*one.name).collect();
        assert_eq!(names, ["b", "c"]);
        assert!(told.encoded_len() <= WatchDirectives::MAX_ANSWER);
    }

    #[test]
    fn a_gateway_has_the_lease_that_its_service_states() {
        let sandbox = Sandbox::new();
        sandbox.apply(gateway_service());
        assert_eq!(told(&sandbox, GATEWAY).lease_seconds, 0);
        for (written, lease) in [("10m", 600), ("1s", 0), ("soon", 0), ("999d", 0)] {
            let annotation = mesh_contract::annotations::EXPORT_LEASE;
            sandbox.apply(annotated(gateway_service(), annotation, written));
            assert_eq!(told(&sandbox, GATEWAY).lease_seconds, lease, "{written}");
            assert_eq!(told(&sandbox, "web").lease_seconds, 0);
        }
    }
}
