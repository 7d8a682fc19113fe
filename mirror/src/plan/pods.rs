//! Mirrors that go pod to pod, over a network both clusters share: their slices hold the other
//! cluster's pods, each with the identity it must prove.

use super::{Input, Plan, Problem, mirrors::Mirror, object};
use mesh_clusters::Pods;
use mesh_contract::labels;

/// Plans the mirror; what there is to say of it.
pub(super) fn plan(
    input: Input<'_>,
    plan: &mut Plan,
    mirror: &Mirror<'_>,
) -> Result<String, Problem> {
    let groups = match &mirror.service.pods {
        Pods::Known(groups) => groups,
        unread => {
            // What is there stays: not being able to read does not mean that there is nothing.
            if input.local.services.contains_key(&mirror.key) {
                plan.kept.insert(mirror.key.clone());
            }
            return Err(unreadable(unread));
        }
    };
    let (owner, fq) = (mirror.owner(), mirror.fq_name());
    for (index, group) in groups.iter().enumerate() {
        let name = match index {
            0 => mirror.key.1.clone(),
            // No Service's name has a dot, so no other mirror's slice has this name.
            index => format!("{}.{index}", mirror.key.1),
        };
        plan.slices
            .extend(object::pod_slices(owner, &name, &fq, group));
    }
    let mut desired = mirror.describe();
    let text = |text: &str| text.to_owned();
    desired.labels.extend([
        (text(labels::REMOTE_DISCOVERY), mirror.cluster.clone()),
        (text(labels::REMOTE_SERVICE), mirror.service.name.clone()),
    ]);
    plan.services.insert(mirror.key.clone(), desired);
    Ok(match groups.is_empty() && mirror.service.ready {
        true => "none of its pods is meshed, so none can be sent to: inject them".to_owned(),
        false => String::new(),
    })
}

fn unreadable(pods: &Pods) -> Problem {
    let message = match pods {
        Pods::Unreadable(error) => format!(
            "its pods cannot be read there, and what was known of them stays: apply the output of \
             'mesh multicluster install --remote-discovery' there, or of 'mesh multicluster allow \
             --remote-discovery' and link with that account ({error})"
        ),
        _ => "its pods are being listed".to_owned(),
    };
    Problem {
        reason: "PodsUnreadable",
        message,
    }
}
