//! What to do with a target, from what the control plane answered about it. Pure.

use std::collections::HashMap;

use linkerd2_proxy_api::{destination::DestinationProfile, outbound::OutboundPolicy};
use tonic::Code;

use super::Target;
use crate::{
    control::Event,
    outbound::{
        endpoint,
        policy::{BackendSpec, BalancerSpec, Policy, convert, profile},
    },
};

/// What was answered to one question.
#[derive(Clone, Debug, Default)]
pub(super) enum Answer<T> {
    #[default]
    Pending,
    Is(T),
    Refused(Code),
}

impl<T> Answer<T> {
    pub(super) fn of(event: Event<T>) -> Self {
        match event {
            Event::Message { message, .. } => Self::Is(message),
            Event::Refused(status) => Self::Refused(status.code()),
        }
    }
}

/// What follows from the answers.
#[derive(Debug)]
pub(super) enum Next {
    Wait,
    NotFound,
    Plan(Policy, bool),
}

/// `late`: the profile has had its time.
pub(super) fn plan(
    target: &Target,
    policy: &Answer<OutboundPolicy>,
    profile: &Answer<DestinationProfile>,
    late: bool,
) -> Next {
    let is_addr = matches!(target, Target::Addr(_));
    let known = match profile {
        Answer::Is(profile) => Some(profile),
        Answer::Pending if is_addr && !late => return Next::Wait,
        Answer::Pending | Answer::Refused(_) => None,
    };
    let opaque = known.is_some_and(|profile| profile.opaque_protocol);
    let apex = || known.and_then(|profile| from_profile(target, profile));
    // A profile with routes or overrides counts rather than a policy.
    let profiled = || {
        let profile = known.filter(|profile| profile::decides(profile))?;
        Some(profile::policy(profile, apex()?))
    };
    let code = match policy {
        Answer::Pending => return Next::Wait,
        Answer::Is(policy) => {
            let policy = profiled().unwrap_or_else(|| convert::policy(policy.clone()));
            return Next::Plan(policy, opaque);
        }
        Answer::Refused(code) => *code,
    };
    match (target, known) {
        (Target::Name(..), None) if code == Code::Unimplemented => match profile {
            Answer::Refused(_) => Next::NotFound,
            _ => Next::Wait,
        },
        (Target::Name(..), _) if code != Code::Unimplemented => Next::NotFound,
        _ => match profiled().or_else(|| apex().map(|spec| Policy::just(profile::NAME, spec))) {
            Some(policy) => Next::Plan(policy, opaque),
            None => forward(target, opaque),
        },
    }
}

/// The single pod or the service a profile stands for.
fn from_profile(target: &Target, profile: &DestinationProfile) -> Option<BackendSpec> {
    if let Some(addr) = profile.endpoint.clone() {
        return match endpoint::convert(&HashMap::new(), addr) {
            Ok((addr, metadata)) => Some(BackendSpec::Forward(addr, Box::new(metadata))),
            Err(problem) => {
                tracing::warn!(problem, "the endpoint of a profile cannot be used");
                Some(BackendSpec::Fail(problem))
            }
        };
    }
    let port = match target {
        Target::Addr(addr) => addr.port(),
        Target::Name(_, port) => *port,
    };
    let name = profile.fully_qualified_name.trim_end_matches('.');
    (!name.is_empty()).then(|| {
        let path = format!("{name}:{port}");
        BackendSpec::Balancer(BalancerSpec::named(path.into()))
    })
}

/// What metrics call the policy of a target nobody knows.
const UNKNOWN: &str = "fallback";

/// Outside the mesh: to where the application wanted to go.
fn forward(target: &Target, opaque: bool) -> Next {
    match target {
        Target::Addr(addr) => {
            let spec = BackendSpec::Forward(*addr, Box::default());
            Next::Plan(Policy::just(UNKNOWN, spec), opaque)
        }
        Target::Name(..) => Next::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::outbound::policy::{Distribution, Protocol};

    fn addr() -> Target {
        Target::Addr(SocketAddr::from(([10, 1, 2, 3], 80)))
    }

    fn name() -> Target {
        Target::Name("web.default.svc.cluster.local".into(), 80)
    }

    fn first_backend(next: Next) -> BackendSpec {
        let Next::Plan(policy, ..) = next else {
            panic!("no plan: {next:?}")
        };
        let Protocol::Detect { opaque, .. } = policy.protocol else {
            panic!("not detected: {policy:?}")
        };
        match opaque.distribution {
            Ok(Distribution::FirstAvailable(mut backends)) => backends.remove(0).backend,
            other => panic!("no backends: {other:?}"),
        }
    }

    #[test]
    fn an_unknown_address_is_forwarded_plainly() {
        let expected = BackendSpec::Forward(([10, 1, 2, 3], 80).into(), Box::default());
        for code in [
            Code::NotFound,
            Code::Unimplemented,
            Code::InvalidArgument,
            Code::FailedPrecondition,
        ] {
            for profile in [Code::Unimplemented, code] {
                let (policy, profile) = (Answer::Refused(code), Answer::Refused(profile));
                let backend = first_backend(plan(&addr(), &policy, &profile, false));
                assert_eq!(backend, expected, "{code}");
            }
        }
    }

    #[test]
    fn a_denied_name_is_not_found_whatever_a_profile_says() {
        let profile = DestinationProfile {
            fully_qualified_name: "web.default.svc.cluster.local".to_owned(),
            ..Default::default()
        };
        let next = plan(
            &name(),
            &Answer::Refused(Code::NotFound),
            &Answer::Is(profile),
            false,
        );
        assert!(matches!(next, Next::NotFound), "{next:?}");
    }

    #[test]
    fn without_policies_a_name_is_what_its_profile_says() {
        let none = Answer::Refused(Code::Unimplemented);
        let profile = DestinationProfile {
            fully_qualified_name: "web.default.svc.cluster.local".to_owned(),
            ..Default::default()
        };
        let backend = first_backend(plan(&name(), &none, &Answer::Is(profile), false));
        assert!(
            matches!(backend, BackendSpec::Balancer(b) if &*b.path == "web.default.svc.cluster.local:80")
        );
        let next = plan(
            &name(),
            &none,
            &Answer::Refused(Code::InvalidArgument),
            false,
        );
        assert!(matches!(next, Next::NotFound));
    }

    #[test]
    fn a_profile_with_routes_or_overrides_counts_rather_than_the_policy() {
        let policy = Answer::Is(OutboundPolicy::default());
        let mut profile = DestinationProfile {
            fully_qualified_name: "web.default.svc.cluster.local".to_owned(),
            ..Default::default()
        };
        let protocol = |profile: &DestinationProfile| match plan(
            &addr(),
            &policy,
            &Answer::Is(profile.clone()),
            false,
        ) {
            Next::Plan(policy, _) => policy.protocol,
            other => panic!("{other:?}"),
        };
        assert!(matches!(protocol(&profile), Protocol::Invalid(_)));
        profile.routes = vec![Default::default()];
        assert!(matches!(protocol(&profile), Protocol::Detect { .. }));
    }

    #[test]
    fn a_late_profile_does_not_hold_up_a_known_policy() {
        let policy = Answer::Is(OutboundPolicy::default());
        let next = plan(&addr(), &policy, &Answer::Pending, false);
        assert!(matches!(next, Next::Wait));
        let next = plan(&addr(), &policy, &Answer::Pending, true);
        assert!(matches!(next, Next::Plan(..)));
    }
}
