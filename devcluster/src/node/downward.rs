//! The downward API: what a Pod may ask about itself, in variables and in files. Pure.

use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};

use super::quantity;

/// The pod and where it runs.
#[derive(Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) pod: &'a Pod,
    pub(super) ip: Ipv4Addr,
    pub(super) node_ip: Ipv4Addr,
    pub(super) node_name: &'a str,
}

/// A field the downward API does not have.
#[derive(Debug, thiserror::Error)]
pub(super) enum DownwardError {
    #[error("fieldPath {0:?} is not supported by the downward API")]
    Field(String),
    #[error("resourceFieldRef {0:?}: no such container, resource or divisor")]
    Resource(String),
}

impl Facts<'_> {
    /// `fieldRef`.
    pub(super) fn field(&self, path: &str) -> Result<String, DownwardError> {
        let meta = &self.pod.metadata;
        let spec = self.pod.spec.as_ref();
        let own = |v: &Option<String>| v.clone().unwrap_or_default();
        if let Some(key) = subscript(path, "metadata.labels") {
            return Ok(meta
                .labels
                .as_ref()
                .and_then(|m| m.get(key))
                .cloned()
                .unwrap_or_default());
        }
        if let Some(key) = subscript(path, "metadata.annotations") {
            let annotations = meta.annotations.as_ref();
            return Ok(annotations
                .and_then(|m| m.get(key))
                .cloned()
                .unwrap_or_default());
        }
        Ok(match path {
            "metadata.name" => own(&meta.name),
            "metadata.namespace" => own(&meta.namespace),
            "metadata.uid" => own(&meta.uid),
            "metadata.labels" => lines(meta.labels.as_ref()),
            "metadata.annotations" => lines(meta.annotations.as_ref()),
            "spec.nodeName" => self.node_name.to_owned(),
            "spec.serviceAccountName" => service_account(self.pod).to_owned(),
            "spec.restartPolicy" => spec.map(|s| own(&s.restart_policy)).unwrap_or_default(),
            "status.podIP" | "status.podIPs" => self.ip.to_string(),
            "status.hostIP" | "status.hostIPs" => self.node_ip.to_string(),
            _ => return Err(DownwardError::Field(path.to_owned())),
        })
    }

    /// `resourceFieldRef`; without a limit it is the machine's.
    pub(super) fn resource(
        &self,
        selector: &ResourceFieldSelector,
        own: Option<&Container>,
    ) -> Result<String, DownwardError> {
        let fail = || DownwardError::Resource(selector.resource.clone());
        let container = match &selector.container_name {
            Some(name) => super::plan::containers(self.pod)
                .find(|(_, c)| &c.name == name)
                .map(|(_, c)| c)
                .ok_or_else(fail)?,
            None => own.ok_or_else(fail)?,
        };
        let (kind, name) = selector.resource.split_once('.').ok_or_else(fail)?;
        let resources = container.resources.as_ref();
        let limits = resources.and_then(|r| r.limits.as_ref());
        let requests = resources.and_then(|r| r.requests.as_ref());
        let declared = match kind {
            "limits" => limits.and_then(|m| m.get(name)),
            "requests" => requests
                .and_then(|m| m.get(name))
                .or(limits.and_then(|m| m.get(name))),
            _ => return Err(fail()),
        };
        let value = match (declared, kind, name) {
            (Some(quantity), ..) => quantity.0.clone(),
            (None, "limits", "cpu") => machine_cpus().to_string(),
            (None, "limits", "memory") => machine_memory(),
            (None, "requests", _) => "0".to_owned(),
            _ => return Err(fail()),
        };
        let divisor = selector.divisor.as_ref().map(|q| q.0.as_str());
        quantity::divide(&value, divisor).ok_or_else(fail)
    }
}

/// The ServiceAccount a pod runs as.
pub(super) fn service_account(pod: &Pod) -> &str {
    let name = pod
        .spec
        .as_ref()
        .and_then(|s| s.service_account_name.as_deref());
    name.filter(|n| !n.is_empty()).unwrap_or("default")
}

/// How many CPUs the machine has.
pub(super) fn machine_cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The machine's memory as a quantity.
pub(super) fn machine_memory() -> String {
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = info.lines().find_map(|l| l.strip_prefix("MemTotal:"));
    let kib = total
        .and_then(|l| l.trim().strip_suffix(" kB"))
        .unwrap_or("1048576");
    format!("{}Ki", kib.trim())
}

fn subscript<'p>(path: &'p str, field: &str) -> Option<&'p str> {
    path.strip_prefix(field)?
        .strip_prefix("['")?
        .strip_suffix("']")
}

fn lines(map: Option<&std::collections::BTreeMap<String, String>>) -> String {
    let lines = map.into_iter().flatten().map(|(k, v)| format!("{k}={v:?}"));
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_can_ask_about_itself() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u",
                "labels": {"app": "web", "a.b/c": "d"}, "annotations": {"note": "x"}},
            "spec": {"serviceAccountName": "sa", "containers": [{"name": "c",
                "resources": {"limits": {"cpu": "500m", "memory": "64Mi"}}}]}
        }))
        .unwrap();
        let facts = Facts {
            pod: &pod,
            ip: Ipv4Addr::new(127, 1, 0, 2),
            node_ip: Ipv4Addr::new(127, 1, 0, 1),
            node_name: "n",
        };
        let table = [
            ("metadata.name", "p"),
            ("metadata.labels['a.b/c']", "d"),
            ("metadata.labels['absent']", ""),
            ("metadata.annotations['note']", "x"),
            ("metadata.labels", "a.b/c=\"d\"\napp=\"web\""),
            ("spec.nodeName", "n"),
            ("spec.serviceAccountName", "sa"),
            ("status.podIP", "127.1.0.2"),
            ("status.hostIP", "127.1.0.1"),
        ];
        for (path, expected) in table {
            assert_eq!(facts.field(path).unwrap(), expected, "{path}");
        }
        assert!(facts.field("spec.secrets").is_err());

        let container = &pod.spec.as_ref().unwrap().containers[0];
        let ask = |resource: &str, divisor: &str| {
            let selector =
                serde_json::from_value(json!({"resource": resource, "divisor": divisor}));
            facts.resource(&selector.unwrap(), Some(container)).ok()
        };
        assert_eq!(ask("limits.cpu", "1m").as_deref(), Some("500"));
        assert_eq!(ask("requests.memory", "1Mi").as_deref(), Some("64"));
        assert_eq!(ask("limits.gpu", "1"), None);
    }
}
