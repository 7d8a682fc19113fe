//! Asking the control plane about a target, for as long as it is used.

use std::{sync::Arc, time::Duration};

use linkerd2_proxy_api::{
    destination::DestinationProfile,
    outbound::{OutboundPolicy, traffic_spec},
};
use tokio::sync::watch;
use tonic::Code;

use super::{
    Plan, State, Target,
    plan::{Answer, Next, plan},
};
use crate::{control::Control, outbound::backend::Backends};

/// How long a profile is waited for once the policy is known.
const PROFILE_DEADLINE: Duration = Duration::from_millis(500);

/// Whom to ask, and what to make of it.
pub(super) struct Asker {
    pub(super) control: Control,
    pub(super) backends: Backends,
    pub(super) networks: Arc<[ipnet::IpNet]>,
}

/// Keeps `state` fresh, for ever.
pub(super) async fn watch_target(asker: Asker, target: Target, state: watch::Sender<State>) {
    let (policy_tx, mut policy) = watch::channel(Answer::<OutboundPolicy>::Pending);
    let (profile_tx, mut profile) = watch::channel(Answer::<DestinationProfile>::Pending);
    let name = target.describe();
    let question = match &target {
        Target::Addr(addr) => traffic_spec::Target::Addr((*addr).into()),
        Target::Name(..) => traffic_spec::Target::Authority(target.describe()),
    };
    let ask_policy = asker.control.policy(question, |event| {
        policy_tx.send_replace(Answer::of(event));
    });
    let ask_profile = ask_profile(&asker, &target, policy.clone(), &profile_tx);
    let combine = async {
        let mut late = false;
        loop {
            let next = {
                let (policy, profile) = (policy.borrow_and_update(), profile.borrow_and_update());
                plan(&target, &policy, &profile, late)
            };
            match next {
                Next::Wait => {}
                Next::NotFound => drop(state.send_replace(State::NotFound)),
                Next::Plan(spec, opaque) => {
                    let policy = asker.backends.enliven(&name, spec);
                    let plan = Plan { policy, opaque };
                    state.send_replace(State::Known(Arc::new(plan)));
                }
            }
            let waiting = matches!(*profile.borrow(), Answer::Pending)
                && !matches!(*policy.borrow(), Answer::Pending)
                && !late;
            tokio::select! {
                changed = policy.changed() => if changed.is_err() { return },
                changed = profile.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(PROFILE_DEADLINE), if waiting => late = true,
            }
        }
    };
    tokio::join!(ask_policy, ask_profile, combine);
}

/// Asks for a profile where one may matter.
async fn ask_profile(
    asker: &Asker,
    target: &Target,
    mut policy: watch::Receiver<Answer<OutboundPolicy>>,
    profile: &watch::Sender<Answer<DestinationProfile>>,
) {
    let path = match target {
        Target::Addr(addr) if asker.networks.iter().any(|n| n.contains(&addr.ip())) => {
            addr.to_string()
        }
        Target::Addr(_) => {
            profile.send_replace(Answer::Refused(Code::Unimplemented));
            return;
        }
        Target::Name(name, port) => {
            // Only a control plane without policies is asked for the profile of a name. One that
            // has them and denies a name must be believed.
            let without = |p: &Answer<_>| matches!(p, Answer::Refused(Code::Unimplemented));
            if policy.wait_for(without).await.is_err() {
                return;
            }
            format!("{name}:{port}")
        }
    };
    let follow = asker.control.profile(&path, |event| {
        profile.send_replace(Answer::of(event));
    });
    follow.await;
}
