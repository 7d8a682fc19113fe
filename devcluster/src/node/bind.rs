//! The scheduler of a cluster with one node: binds pods nobody has placed, if they may run here.
//! Called by the manager, once at a time for each pod.
//!
//! Of what pods demand of nodes it knows `nodeSelector`; a cordoned node (`kubectl cordon`) takes
//! nothing. Pods with gates, or with a scheduler of
//! their own, are left alone.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Binding, Node, ObjectReference, Pod};
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, ResourceExt as _};

use super::agent::Agent;
use super::events::Severity::Warning;

const TRIES: u32 = 8;
/// Why nothing can be placed at first.
const UNREGISTERED: &str = "the node has not registered yet";
/// How often a pod that may not run here is looked at again: nodes change seldom.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Whether somebody waits for a scheduler like this one to place the pod.
pub(super) fn is_ours(pod: &Pod) -> bool {
    let spec = pod.spec.as_ref();
    let gates = spec.and_then(|s| s.scheduling_gates.as_ref());
    let scheduler = spec.and_then(|s| s.scheduler_name.as_deref());
    gates.is_none_or(Vec::is_empty)
        && matches!(scheduler, None | Some("" | "default-scheduler"))
        && pod.metadata.deletion_timestamp.is_none()
}

/// Places the pod on this node as soon as it may run here; returns when it is placed or gone.
pub(super) async fn bind(agent: &Agent, pod: &Pod) {
    let nodes: Api<Node> = Api::all(agent.client.clone());
    let pods: Api<Pod> = Api::namespaced(
        agent.client.clone(),
        pod.metadata.namespace.as_deref().unwrap_or("default"),
    );
    let mut told = None;
    loop {
        match nodes.get_opt(&agent.node_name).await {
            Ok(node) => {
                let obstacle = node
                    .as_ref()
                    .map_or(Some(UNREGISTERED), |n| obstacle(pod, n));
                let Some(why) = obstacle else {
                    return place(agent, pod).await;
                };
                if told != Some(why) {
                    let text = format!("0/1 nodes are available: {why}");
                    agent
                        .events
                        .say(pod, None, Warning, "FailedScheduling", text);
                    told = Some(why);
                }
            }
            Err(error) => tracing::debug!(%error, "cannot read the node, will retry"),
        }
        tokio::time::sleep(LOOK_AGAIN).await;
        if let Ok(now) = pods.get_opt(&pod.name_any()).await
            && !now.is_some_and(|now| now.uid() == pod.uid() && is_ours(&now))
        {
            return;
        }
    }
}

/// Why the pod may not run on the node.
fn obstacle(pod: &Pod, node: &Node) -> Option<&'static str> {
    let none = BTreeMap::new();
    let selector = pod.spec.as_ref().and_then(|s| s.node_selector.as_ref());
    let labels = node.metadata.labels.as_ref().unwrap_or(&none);
    let mut wanted = selector.unwrap_or(&none).iter();
    if node.spec.as_ref().and_then(|s| s.unschedulable) == Some(true) {
        Some("1 node(s) were unschedulable")
    } else if !wanted.all(|(key, value)| labels.get(key) == Some(value)) {
        Some("1 node(s) didn't match Pod's node selector")
    } else {
        None
    }
}

async fn place(agent: &Agent, pod: &Pod) {
    let name = pod.name_any();
    let namespace = pod.namespace().unwrap_or_default();
    let api: Api<Pod> = Api::namespaced(agent.client.clone(), &namespace);
    let body = Binding {
        metadata: ObjectMeta {
            name: pod.metadata.name.clone(),
            namespace: pod.metadata.namespace.clone(),
            uid: pod.uid(),
            ..Default::default()
        },
        target: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Node".to_owned()),
            name: Some(agent.node_name.clone()),
            ..Default::default()
        },
    };
    for attempt in 0..TRIES {
        let params = PostParams::default();
        let bound: kube::Result<serde_json::Value> = api
            .create_subresource("binding", &name, &params, &body)
            .await;
        match bound {
            Ok(_) => return,
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => return,
            Err(error) => {
                tracing::warn!(pod = name, ns = namespace, %error, "cannot bind a pod, will retry");
                tokio::time::sleep(Duration::from_millis(100 << attempt)).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap()
    }

    #[test]
    fn gated_and_foreign_pods_are_left_alone() {
        assert!(is_ours(&pod(json!({"containers": []}))));
        let scheduled = json!({"containers": [], "schedulerName": "default-scheduler"});
        assert!(is_ours(&pod(scheduled)));
        assert!(!is_ours(&pod(
            json!({"containers": [], "schedulerName": "mine"})
        )));
        let gated = json!({"containers": [], "schedulingGates": [{"name": "wait"}]});
        assert!(!is_ours(&pod(gated)));
    }

    #[test]
    fn every_label_of_a_selector_counts_and_cordons_are_kept() {
        let node = |unschedulable: bool| -> Node {
            let labels = json!({"kubernetes.io/os": "linux", "disk": "fast"});
            serde_json::from_value(json!({"metadata": {"labels": labels},
                "spec": {"unschedulable": unschedulable}}))
            .unwrap()
        };
        let wants =
            |selector: serde_json::Value| pod(json!({"containers": [], "nodeSelector": selector}));
        let suits = |selector| obstacle(&wants(selector), &node(false)).is_none();
        assert!(suits(json!({})) && suits(json!({"kubernetes.io/os": "linux"})));
        assert!(!suits(json!({"kubernetes.io/os": "linux", "gpu": "yes"})));
        assert!(!suits(json!({"disk": "slow"})));
        let cordoned = obstacle(&wants(json!({})), &node(true));
        assert_eq!(cordoned, Some("1 node(s) were unschedulable"));
    }
}
