//! Leader election with a Lease of `coordination.k8s.io/v1`.

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{Api, Client, api::PostParams};
use mesh_daemon::Shutdown;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How long a lease is valid without being renewed.
const DURATION: Duration = Duration::from_secs(30);
/// Time between renewals, and between attempts to get it.
const RENEW: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_secs(1);
/// A holder that could not renew for so long stops writing, well before others may start.
const RENEW_DEADLINE: Duration = Duration::from_secs(20);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Which lease, and who asks for it.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Who asks; a process that comes back under the same name gets its lease at once.
    pub holder: String,
}

/// Contends for the lease until shutdown, and then gives it up. The receiver says whether this
/// process holds it: check it before every write.
pub fn contend(client: Client, claim: Claim, shutdown: Shutdown) -> watch::Receiver<bool> {
    let (held, receiver) = watch::channel(false);
    tokio::spawn(async move {
        let api: Api<Lease> = Api::namespaced(client, &claim.namespace);
        let mut renewed: Option<Instant> = None;
        while !held.is_closed() {
            let attempt = tokio::time::timeout(REQUEST_TIMEOUT, attempt(&api, &claim)).await;
            let holds = match attempt {
                Ok(Ok(true)) => {
                    renewed = Some(Instant::now());
                    true
                }
                Ok(Ok(false)) => {
                    renewed = None;
                    false
                }
                failed => {
                    if let Ok(Err(error)) = failed {
                        tracing::warn!(%error, lease = claim.name, "cannot renew the lease");
                    }
                    renewed.is_some_and(|at| at.elapsed() < RENEW_DEADLINE)
                }
            };
            if held.send_if_modified(|now| std::mem::replace(now, holds) != holds) {
                tracing::info!(lease = claim.name, holds, "lease");
            }
            let pause = if holds { RENEW } else { RETRY };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.requested() => break,
            }
        }
        if held.send_replace(false) {
            let _ = tokio::time::timeout(REQUEST_TIMEOUT, release(&api, &claim)).await;
        }
    });
    receiver
}

/// Tries to get or renew the lease; whether this process holds it now.
async fn attempt(api: &Api<Lease>, claim: &Claim) -> Result<bool, kube::Error> {
    let now = Timestamp::now();
    let Some(mut lease) = api.get_opt(&claim.name).await? else {
        let mut lease = Lease {
            spec: Some(spec(claim, None, now)),
            ..Lease::default()
        };
        lease.metadata.name = Some(claim.name.clone());
        return taken(api.create(&PostParams::default(), &lease).await);
    };
    if !is_free(lease.spec.as_ref(), &claim.holder, now) {
        return Ok(false);
    }
    // The resourceVersion read above makes this fail if somebody else was quicker.
    lease.spec = Some(spec(claim, lease.spec.as_ref(), now));
    taken(
        api.replace(&claim.name, &PostParams::default(), &lease)
            .await,
    )
}

fn taken(result: Result<Lease, kube::Error>) -> Result<bool, kube::Error> {
    match result {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}

async fn release(api: &Api<Lease>, claim: &Claim) -> Result<(), kube::Error> {
    let mut lease = api.get(&claim.name).await?;
    if let Some(spec) = lease.spec.as_mut()
        && spec.holder_identity.as_deref() == Some(&claim.holder)
    {
        spec.holder_identity = None;
        spec.renew_time = None;
        api.replace(&claim.name, &PostParams::default(), &lease)
            .await?;
    }
    Ok(())
}

/// Whether `holder` may take the lease: nobody has it, it has it itself, or it has expired.
fn is_free(spec: Option<&LeaseSpec>, holder: &str, now: Timestamp) -> bool {
    let Some(spec) = spec else { return true };
    match spec.holder_identity.as_deref() {
        None | Some("") => true,
        Some(current) if current == holder => true,
        Some(_) => {
            let seconds = i64::from(spec.lease_duration_seconds.unwrap_or(0));
            spec.renew_time.as_ref().is_none_or(|renewed| {
                renewed.0.as_second().saturating_add(seconds) < now.as_second()
            })
        }
    }
}

fn spec(claim: &Claim, before: Option<&LeaseSpec>, now: Timestamp) -> LeaseSpec {
    let same = before.filter(|b| b.holder_identity.as_deref() == Some(&claim.holder));
    let transitions = before.and_then(|b| b.lease_transitions).unwrap_or(0);
    LeaseSpec {
        holder_identity: Some(claim.holder.clone()),
        lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
        acquire_time: same
            .and_then(|b| b.acquire_time.clone())
            .or(Some(MicroTime(now))),
        renew_time: Some(MicroTime(now)),
        lease_transitions: Some(transitions + i32::from(before.is_some() && same.is_none())),
        ..LeaseSpec::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(by: &str, renewed: i64) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(by.to_owned()),
            lease_duration_seconds: Some(30),
            renew_time: Some(MicroTime(Timestamp::from_second(renewed).unwrap())),
            ..LeaseSpec::default()
        }
    }

    #[test]
    fn a_lease_is_taken_only_when_nobody_else_holds_it() {
        let now = Timestamp::from_second(1000).unwrap();
        for (spec, free) in [
            (None, true),
            (Some(LeaseSpec::default()), true),
            (Some(held("me", 999)), true),
            (Some(held("other", 999)), false),
            (Some(held("other", 970)), false),
            (Some(held("other", 969)), true),
        ] {
            assert_eq!(is_free(spec.as_ref(), "me", now), free, "{spec:?}");
        }
    }

    #[test]
    fn taking_a_lease_over_counts_as_a_transition_and_renewing_does_not() {
        let claim = Claim {
            namespace: "n".into(),
            name: "l".into(),
            holder: "me".into(),
        };
        let now = Timestamp::from_second(1000).unwrap();
        assert_eq!(spec(&claim, None, now).lease_transitions, Some(0));
        assert_eq!(
            spec(&claim, Some(&held("other", 1)), now).lease_transitions,
            Some(1)
        );
        assert_eq!(
            spec(&claim, Some(&held("me", 1)), now).lease_transitions,
            Some(0)
        );
    }
}
