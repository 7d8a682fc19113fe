//! What is heard of another cluster, and the snapshot that a Link takes of it.

use crate::{
    pod::Sidecar,
    selector::matches,
    snapshot::{Key, PodGroup, Pods, RemoteService, ServicePort, Snapshot, describe},
};
use k8s_openapi::api::{
    core::v1::{Pod, Service},
    discovery::v1::EndpointSlice,
};
use kube::ResourceExt as _;
use mesh_api::link::LinkSpec;
use mesh_contract::labels;
use mesh_watch::Index;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

/// Follows the Services, EndpointSlices and, where they matter, meshed pods of one cluster.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    services: BTreeMap<Key, Service>,
    services_synced: bool,
    /// The slices of each Service, by their names.
    slices: BTreeMap<Key, BTreeMap<String, Slice>>,
    slices_synced: bool,
    owners: BTreeMap<Key, Key>,
    pods: BTreeMap<Key, Sidecar>,
    pods_synced: bool,
}

/// What matters of an EndpointSlice.
#[derive(Debug)]
struct Slice {
    ports: Vec<ServicePort>,
    endpoints: Vec<Endpoint>,
}

#[derive(Debug)]
struct Endpoint {
    addresses: Vec<IpAddr>,
    ready: bool,
    hostname: Option<String>,
    pod: Option<String>,
}

/// How a snapshot is taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub(crate) spec: &'a LinkSpec,
    /// Trust domain of the cluster.
    pub(crate) trust_domain: &'a str,
    /// Why its pods cannot be read, where they cannot.
    pub(crate) pods_error: Option<&'a str>,
}

impl Observed {
    /// What the Link selects of it.
    pub(crate) fn snapshot(&self, view: View<'_>) -> Snapshot {
        let services: BTreeMap<_, _> = self
            .services
            .iter()
            .filter_map(|(key, service)| {
                let service = self.select(view, key, service)?;
                Some((key.clone(), Arc::new(service)))
            })
            .collect();
        let wants_pods = services.values().any(|service| service.remote_discovery);
        let pods = !wants_pods || self.pods_synced || view.pods_error.is_some();
        Snapshot {
            services,
            synced: self.services_synced && self.slices_synced && pods,
        }
    }

    /// Whether the Link asks for pods: something is exported pod to pod.
    pub(crate) fn wants_pods(&self, spec: &LinkSpec) -> bool {
        let mut services = self.services.values();
        services.any(|service| {
            let labels = service.labels();
            !is_imported(labels) && matches(spec.remote_discovery_selector.as_ref(), labels)
        })
    }

    fn select(&self, view: View<'_>, key: &Key, service: &Service) -> Option<RemoteService> {
        let (labels, spec) = (service.labels(), view.spec);
        // What was imported is never exported again: it would come back, or loop.
        if is_imported(labels) {
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
        let endpoints = || self.endpoints(key).map(|(_, endpoint)| endpoint);
        let mut hosts = BTreeMap::new();
        for endpoint in endpoints() {
            if let Some(hostname) = &endpoint.hostname {
                *hosts.entry(hostname.clone()).or_insert(false) |= endpoint.ready;
            }
        }
        Some(RemoteService {
            ready: endpoints().any(|endpoint| endpoint.ready),
            exported,
            remote_discovery,
            federated,
            hosts,
            pods: match remote_discovery {
                true => self.pods_of(view, key),
                false => Pods::Unknown,
            },
            ..describe(service)
        })
    }

    fn endpoints(&self, key: &Key) -> impl Iterator<Item = (&Slice, &Endpoint)> {
        let slices = self.slices.get(key).into_iter().flat_map(BTreeMap::values);
        slices.flat_map(|slice| {
            slice
                .endpoints
                .iter()
                .map(move |endpoint| (slice, endpoint))
        })
    }

    /// The meshed pods behind a Service. One without a sidecar is left out: its traffic would leave
    /// in the clear.
    fn pods_of(&self, view: View<'_>, key: &Key) -> Pods {
        if !self.pods_synced {
            return match view.pods_error {
                Some(error) => Pods::Unreadable(error.to_owned()),
                None => Pods::Unknown,
            };
        }
        type How = (String, u16, Vec<ServicePort>);
        let mut groups: BTreeMap<How, BTreeMap<IpAddr, bool>> = BTreeMap::new();
        for (slice, endpoint) in self.endpoints(key) {
            let pod = endpoint.pod.as_ref();
            let pod = pod.and_then(|name| self.pods.get(&(key.0.clone(), name.clone())));
            let Some(sidecar) = pod else { continue };
            let identity = sidecar.identity(&key.0, view.trust_domain);
            let how = (identity, sidecar.inbound_port, slice.ports.clone());
            let addresses = groups.entry(how).or_default();
            for ip in &endpoint.addresses {
                *addresses.entry(*ip).or_insert(false) |= endpoint.ready;
            }
        }
        let group = |((identity, inbound_port, ports), addresses)| PodGroup {
            identity,
            inbound_port,
            ports,
            addresses,
        };
        Pods::Known(groups.into_iter().map(group).collect())
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

fn is_imported(labels: &BTreeMap<String, String>) -> bool {
    labels.get(labels::MIRRORED_SERVICE).map(String::as_str) == Some("true")
}

fn key<K: kube::Resource>(object: &K) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

impl Slice {
    fn of(slice: EndpointSlice) -> Self {
        let ports = slice.ports.unwrap_or_default().into_iter();
        let ports = ports.filter_map(|port| {
            Some(ServicePort {
                name: port.name.unwrap_or_default(),
                protocol: port.protocol.unwrap_or_else(|| "TCP".to_owned()),
                port: u16::try_from(port.port?).ok()?,
                app_protocol: port.app_protocol,
            })
        });
        let endpoints = slice.endpoints.into_iter().map(|endpoint| {
            let conditions = endpoint.conditions.unwrap_or_default();
            let target = endpoint
                .target_ref
                .filter(|t| t.kind.as_deref() == Some("Pod"));
            let addresses = endpoint.addresses.iter();
            Endpoint {
                addresses: addresses.filter_map(|ip| ip.parse().ok()).collect(),
                ready: conditions.ready.unwrap_or(true),
                hostname: endpoint.hostname.filter(|name| !name.is_empty()),
                pod: target.and_then(|target| target.name),
            }
        });
        Self {
            ports: ports.collect(),
            endpoints: endpoints.collect(),
        }
    }
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
        self.owners.insert(slice_key.clone(), service.clone());
        self.slices
            .entry(service)
            .or_default()
            .insert(slice_key.1, Slice::of(slice));
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

impl Index<Pod> for Observed {
    fn apply(&mut self, pod: Pod) {
        let key = key(&pod);
        match Sidecar::of(&pod) {
            Some(sidecar) => self.pods.insert(key, sidecar),
            None => self.pods.remove(&key),
        };
    }

    fn delete(&mut self, namespace: Option<&str>, name: &str) {
        self.pods
            .remove(&(namespace.unwrap_or_default().to_owned(), name.to_owned()));
    }

    fn reset(&mut self, pods: Vec<Pod>) {
        self.pods.clear();
        for pod in pods {
            self.apply(pod);
        }
        self.pods_synced = true;
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

    fn view(spec: &LinkSpec) -> View<'_> {
        View {
            spec,
            trust_domain: "east.example",
            pods_error: None,
        }
    }

    fn pod(name: &str, account: &str, container: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {
                "name": name, "namespace": "shop",
                "labels": {"linkerd.io/control-plane-ns": "linkerd"},
            },
            "spec": {"serviceAccountName": account, "containers": [{"name": container}]},
        }))
        .unwrap()
    }

    #[test]
    fn meshed_pods_are_grouped_by_how_they_are_reached() {
        let mut observed = Observed::default();
        let flat = json!({"mirror.linkerd.io/exported": "remote-discovery"});
        observed.reset(vec![service("web", flat)]);
        let endpoint = |ip: &str, pod: &str, ready: bool| {
            json!({"addresses": [ip], "conditions": {"ready": ready},
                   "targetRef": {"kind": "Pod", "name": pod}})
        };
        let slice: EndpointSlice = serde_json::from_value(json!({
            "metadata": {"name": "web-1", "namespace": "shop",
                         "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            "endpoints": [
                endpoint("10.0.0.1", "a", true), endpoint("10.0.0.2", "b", false),
                endpoint("10.0.0.3", "plain", true), endpoint("10.0.0.4", "unknown", true),
            ],
        }))
        .unwrap();
        observed.reset(vec![slice]);
        let spec = LinkSpec {
            gateway_address: None,
            remote_discovery_selector: serde_json::from_value(json!({
                "matchLabels": {"mirror.linkerd.io/exported": "remote-discovery"}}))
            .unwrap(),
            ..spec()
        };
        assert!(observed.wants_pods(&spec));
        let web = |observed: &Observed, view: View<'_>| {
            let snapshot = observed.snapshot(view);
            let service = &snapshot.services[&("shop".into(), "web".into())];
            (snapshot.synced, service.pods.clone())
        };
        assert_eq!(web(&observed, view(&spec)), (false, Pods::Unknown));
        let refused = View {
            pods_error: Some("forbidden"),
            ..view(&spec)
        };
        assert_eq!(
            web(&observed, refused),
            (true, Pods::Unreadable("forbidden".into()))
        );

        observed.reset(vec![
            pod("a", "web", "linkerd-proxy"),
            pod("b", "web", "linkerd-proxy"),
            pod("plain", "web", "app"),
        ]);
        let (synced, pods) = web(&observed, view(&spec));
        assert!(synced);
        let identity = "web.shop.serviceaccount.identity.linkerd.east.example";
        let group = PodGroup {
            identity: identity.into(),
            inbound_port: 4143,
            ports: vec![ServicePort {
                name: "http".into(),
                protocol: "TCP".into(),
                port: 8080,
                app_protocol: None,
            }],
            addresses: [
                ("10.0.0.1".parse().unwrap(), true),
                ("10.0.0.2".parse().unwrap(), false),
            ]
            .into(),
        };
        assert_eq!(pods, Pods::Known([group].into()));
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
        let snapshot = observed.snapshot(view(&spec()));
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
        assert!(observed.snapshot(view(&spec)).services.is_empty());
    }

    #[test]
    fn a_service_is_ready_while_any_of_its_slices_is() {
        let mut observed = Observed::default();
        observed.apply(service(
            "web",
            json!({"mirror.linkerd.io/federated": "member"}),
        ));
        let ready = |observed: &Observed| {
            observed.snapshot(view(&spec())).services[&("shop".into(), "web".into())].ready
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
