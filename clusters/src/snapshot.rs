//! What is known of another cluster's exported Services: plain data.

use crate::selector::matches;
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use kube::ResourceExt as _;
use mesh_api::link::LinkSpec;
use mesh_contract::labels;
use mesh_watch::Index;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Namespace and name.
pub type Key = (String, String);

/// A Service another cluster exports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoteService {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// It has no cluster IP.
    pub headless: bool,
    /// Its revision there.
    pub resource_version: String,
    /// It has at least one endpoint that is ready.
    pub ready: bool,
    /// It is to be mirrored through the gateway.
    pub exported: bool,
    /// It is to be mirrored pod to pod.
    pub remote_discovery: bool,
    /// It joins the federated service of its name.
    pub federated: bool,
}

/// A port of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServicePort {
    /// Empty for a single nameless port.
    pub name: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The number clients use.
    pub port: u16,
    /// What the port speaks, where it says so.
    pub app_protocol: Option<String>,
}

/// The exported Services of one cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// By namespace and name.
    pub services: BTreeMap<Key, Arc<RemoteService>>,
    /// Whether Services were listed at least once. Before that, absence says nothing.
    pub synced: bool,
}

/// Follows the Services and EndpointSlices of one cluster.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    services: BTreeMap<Key, Service>,
    services_synced: bool,
    /// For each Service, its slices and whether each has a ready endpoint.
    slices: BTreeMap<Key, BTreeMap<String, bool>>,
    slices_synced: bool,
    owners: BTreeMap<Key, Key>,
}

impl Observed {
    /// What `spec` selects of it.
    pub(crate) fn snapshot(&self, spec: &LinkSpec) -> Snapshot {
        let services = self
            .services
            .iter()
            .filter_map(|(key, service)| {
                let service = self.select(spec, key, service)?;
                Some((key.clone(), Arc::new(service)))
            })
            .collect();
        Snapshot {
            services,
            synced: self.services_synced && self.slices_synced,
        }
    }

    fn select(&self, spec: &LinkSpec, key: &Key, service: &Service) -> Option<RemoteService> {
        let labels = service.labels();
        // What was imported is never exported again: it would come back, or loop.
        if labels.get(labels::MIRRORED_SERVICE).map(String::as_str) == Some("true") {
            return None;
        }
        let has_gateway = spec
            .gateway_address
            .as_deref()
            .is_some_and(|a| !a.trim().is_empty());
        let exported = has_gateway && matches(spec.selector.as_ref(), labels);
        let remote_discovery = matches(spec.remote_discovery_selector.as_ref(), labels);
        let federated = matches(spec.federated_service_selector.as_ref(), labels);
        if !(exported || remote_discovery || federated) || service.spec.is_none() {
            return None;
        }
        let ready = self
            .slices
            .get(key)
            .is_some_and(|slices| slices.values().any(|ready| *ready));
        Some(RemoteService {
            ready,
            exported,
            remote_discovery,
            federated,
            ..describe(service)
        })
    }

    fn forget_slice(&mut self, slice: &Key) {
        if let Some(service) = self.owners.remove(slice)
            && let Some(slices) = self.slices.get_mut(&service)
        {
            slices.remove(&slice.1);
            if slices.is_empty() {
                self.slices.remove(&service);
            }
        }
    }
}

/// The plain data of a Service; nothing is selected yet.
pub fn describe(service: &Service) -> RemoteService {
    let spec = service.spec.clone().unwrap_or_default();
    let ports = spec
        .ports
        .unwrap_or_default()
        .into_iter()
        .filter_map(|port| {
            Some(ServicePort {
                name: port.name.unwrap_or_default(),
                protocol: port.protocol.unwrap_or_else(|| "TCP".to_owned()),
                port: u16::try_from(port.port).ok()?,
                app_protocol: port.app_protocol,
            })
        });
    RemoteService {
        namespace: service.namespace().unwrap_or_default(),
        name: service.name_any(),
        labels: service.labels().clone(),
        annotations: service.annotations().clone(),
        ports: ports.collect(),
        headless: spec.cluster_ip.as_deref() == Some("None"),
        resource_version: service.resource_version().unwrap_or_default(),
        ..RemoteService::default()
    }
}

fn key<K: kube::Resource>(object: &K) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

impl Index<Service> for Observed {
    fn apply(&mut self, service: Service) {
        self.services.insert(key(&service), service);
    }

    fn delete(&mut self, namespace: Option<&str>, name: &str) {
        self.services
            .remove(&(namespace.unwrap_or_default().to_owned(), name.to_owned()));
    }

    fn reset(&mut self, services: Vec<Service>) {
        self.services = services
            .into_iter()
            .map(|service| (key(&service), service))
            .collect();
        self.services_synced = true;
    }
}

impl Index<EndpointSlice> for Observed {
    fn apply(&mut self, slice: EndpointSlice) {
        let slice_key = key(&slice);
        self.forget_slice(&slice_key);
        let Some(service) = slice.labels().get(labels::SERVICE_NAME) else {
            return;
        };
        let service = (slice_key.0.clone(), service.clone());
        let ready = slice.endpoints.iter().any(|endpoint| {
            endpoint
                .conditions
                .as_ref()
                .and_then(|conditions| conditions.ready)
                .unwrap_or(true)
        });
        self.owners.insert(slice_key.clone(), service.clone());
        self.slices
            .entry(service)
            .or_default()
            .insert(slice_key.1, ready);
    }

    fn delete(&mut self, namespace: Option<&str>, name: &str) {
        self.forget_slice(&(namespace.unwrap_or_default().to_owned(), name.to_owned()));
    }

    fn reset(&mut self, slices: Vec<EndpointSlice>) {
        let kept: BTreeSet<Key> = slices.iter().map(key).collect();
        let gone: Vec<_> = self
            .owners
            .keys()
            .filter(|k| !kept.contains(*k))
            .cloned()
            .collect();
        for slice in gone {
            self.forget_slice(&slice);
        }
        for slice in slices {
            self.apply(slice);
        }
        self.slices_synced = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service(name: &str, labels: serde_json::Value) -> Service {
        serde_json::from_value(json!({
            "metadata": {
                "name": name, "namespace": "shop", "labels": labels, "resourceVersion": "7",
            },
            "spec": { "ports": [{"port": 80, "name": "http", "appProtocol": "http"}] },
        }))
        .unwrap()
    }

    fn slice(name: &str, service: &str, ready: bool) -> EndpointSlice {
        serde_json::from_value(json!({
            "metadata": {
                "name": name, "namespace": "shop",
                "labels": {"kubernetes.io/service-name": service},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": ready}}],
        }))
        .unwrap()
    }

    fn spec() -> LinkSpec {
        serde_json::from_value(json!({
            "gatewayAddress": "1.2.3.4",
            "selector": {"matchLabels": {"mirror.linkerd.io/exported": "true"}},
            "federatedServiceSelector": {"matchLabels": {"mirror.linkerd.io/federated": "member"}},
        }))
        .unwrap()
    }

    #[test]
    fn only_what_the_link_selects_is_in_the_snapshot() {
        let mut observed = Observed::default();
        let exported = json!({"mirror.linkerd.io/exported": "true"});
        let imported = json!({
            "mirror.linkerd.io/exported": "true", "mirror.linkerd.io/mirrored-service": "true",
        });
        observed.reset(vec![
            service("web", exported),
            service("db", json!({})),
            service("again", imported),
        ]);
        let snapshot = observed.snapshot(&spec());
        let names: Vec<_> = snapshot
            .services
            .keys()
            .map(|(_, name)| name.as_str())
            .collect();
        assert_eq!(names, ["web"]);
        assert!(!snapshot.synced, "slices were not listed yet");
    }

    #[test]
    fn without_a_gateway_nothing_is_exported_through_one() {
        let mut observed = Observed::default();
        observed.apply(service(
            "web",
            json!({"mirror.linkerd.io/exported": "true"}),
        ));
        let spec = LinkSpec {
            gateway_address: None,
            ..spec()
        };
        assert!(observed.snapshot(&spec).services.is_empty());
    }

    #[test]
    fn a_service_is_ready_while_any_of_its_slices_is() {
        let mut observed = Observed::default();
        observed.apply(service(
            "web",
            json!({"mirror.linkerd.io/federated": "member"}),
        ));
        let ready = |observed: &Observed| {
            observed.snapshot(&spec()).services[&("shop".into(), "web".into())].ready
        };
        assert!(!ready(&observed));
        observed.apply(slice("web-1", "web", true));
        observed.apply(slice("web-2", "web", false));
        assert!(ready(&observed));
        observed.apply(slice("web-1", "web", false));
        assert!(!ready(&observed));
        observed.apply(slice("web-2", "web", true));
        Index::<EndpointSlice>::delete(&mut observed, Some("shop"), "web-2");
        assert!(!ready(&observed));
        observed.apply(slice("web-3", "web", true));
        Index::<EndpointSlice>::reset(&mut observed, vec![]);
        assert!(!ready(&observed));
    }
}
