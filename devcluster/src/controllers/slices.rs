//! EndpointSlices of Services that select pods. The decision is pure ([`wanted`]); the controller
//! compares it with the slices it made before and writes the difference. Slices of others (mirrors)
//! are left alone.

use super::driver::Controller;
use super::objects::{Key, control, finished, pods, ready, services, slices, suffixed};
use crate::schema::json::{at, deleting, items, name, namespace, text, uid};
use crate::schema::{random_suffix, selector};
use crate::status::ApiError;
use crate::store::{DeleteOptions, ResourceKey, Store};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const SERVICE: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const OURSELVES: &str = "endpointslice-controller.k8s.io";
const HEADLESS: &str = "service.kubernetes.io/headless";
/// Endpoints in one slice.
const FULL: usize = 100;

/// Keeps slices.
pub(super) struct Slices {
    pub(super) store: Store,
}

/// One slice as it should be.
#[derive(Clone, Debug, PartialEq)]
struct Slice {
    ports: Vec<Value>,
    endpoints: Vec<Value>,
}

/// The slices of a service. There is always at least one, so that "nobody" is said and not
/// implied. Pods that give a named port different numbers go to different slices.
fn wanted(service: &Value, pods: &[Arc<Value>]) -> Vec<Slice> {
    let selector = at(service, &["spec", "selector"]);
    let mut by_ports: BTreeMap<String, Slice> = BTreeMap::new();
    for pod in pods {
        let chosen = selector::matches_map(selector, at(pod, &["metadata", "labels"]));
        if !chosen || finished(pod) {
            continue;
        }
        let Some(endpoint) = endpoint(service, pod) else {
            continue;
        };
        let ports = ports(service, pod);
        let slice = by_ports
            .entry(Value::Array(ports.clone()).to_string())
            .or_insert_with(|| Slice {
                ports,
                endpoints: Vec::new(),
            });
        slice.endpoints.push(endpoint);
    }
    let mut out = Vec::new();
    for slice in by_ports.values() {
        for endpoints in slice.endpoints.chunks(FULL) {
            let (ports, endpoints) = (slice.ports.clone(), endpoints.to_vec());
            out.push(Slice { ports, endpoints });
        }
    }
    if out.is_empty() {
        out.push(Slice {
            ports: Vec::new(),
            endpoints: Vec::new(),
        });
    }
    out
}

/// A pod as an endpoint, once it has an address.
fn endpoint(service: &Value, pod: &Value) -> Option<Value> {
    let address = text(pod, &["status", "podIP"]);
    if address.is_empty() {
        return None;
    }
    let (serving, terminating) = (ready(pod), deleting(pod));
    let always = service["spec"]["publishNotReadyAddresses"] == true;
    let mut out = json!({
        "addresses": [address],
        "conditions": {"ready": always || (serving && !terminating), "serving": serving,
                       "terminating": terminating},
        "targetRef": {"kind": "Pod", "namespace": namespace(pod), "name": name(pod), "uid": uid(pod)},
    });
    let node = text(pod, &["spec", "nodeName"]);
    if !node.is_empty() {
        out["nodeName"] = json!(node);
    }
    let hostname = text(pod, &["spec", "hostname"]);
    if !hostname.is_empty() && text(pod, &["spec", "subdomain"]) == name(service) {
        out["hostname"] = json!(hostname);
    }
    Some(out)
}

/// The service's ports as a pod serves them; those it does not have by name are left out.
fn ports(service: &Value, pod: &Value) -> Vec<Value> {
    let resolve = |port: &Value| {
        let number = match at(port, &["targetPort"]) {
            Value::String(wanted) => named(pod, wanted, text(port, &["protocol"]))?,
            Value::Number(number) if number.as_i64() != Some(0) => number.as_i64()?,
            _ => port["port"].as_i64()?,
        };
        let mut out = json!({"name": text(port, &["name"]), "port": number,
                             "protocol": text(port, &["protocol"])});
        if let Some(protocol) = port["appProtocol"].as_str() {
            out["appProtocol"] = json!(protocol);
        }
        Some(out)
    };
    items(service, &["spec", "ports"])
        .iter()
        .filter_map(resolve)
        .collect()
}

/// The number of a container port by name. Sidecars that start first are looked at as well.
fn named(pod: &Value, wanted: &str, protocol: &str) -> Option<i64> {
    ["containers", "initContainers"]
        .iter()
        .flat_map(|list| items(pod, &["spec", list]))
        .filter(|c| c.get("restartPolicy").is_none_or(|p| p == "Always"))
        .flat_map(|container| items(container, &["ports"]))
        .find(|p| text(p, &["name"]) == wanted && text(p, &["protocol"]) == protocol)
        .and_then(|p| p["containerPort"].as_i64())
}

/// Labels of the slices of a service: its own, and what says whose they are.
fn labels(service: &Value) -> Value {
    let own = at(service, &["metadata", "labels"]).as_object();
    let mut labels: Map<String, Value> = own.cloned().unwrap_or_default();
    labels.insert(SERVICE.into(), json!(name(service)));
    labels.insert(MANAGED_BY.into(), json!(OURSELVES));
    if text(service, &["spec", "clusterIP"]) == "None" {
        labels.insert(HEADLESS.into(), json!(""));
    } else {
        labels.remove(HEADLESS);
    }
    Value::Object(labels)
}

fn is_ours(slice: &Value) -> bool {
    text(slice, &["metadata", "labels", MANAGED_BY]) == OURSELVES
}

impl Controller for Slices {
    fn name(&self) -> &'static str {
        "slices"
    }

    fn sources(&self) -> Vec<ResourceKey> {
        vec![services(), pods(), slices()]
    }

    fn touched(&self, source: &ResourceKey, object: &Value) -> Vec<Key> {
        if *source == services() {
            return vec![Key::of(object)];
        }
        let ns = namespace(object);
        if *source == slices() {
            let service = text(object, &["metadata", "labels", SERVICE]);
            let ours = is_ours(object) && !service.is_empty();
            return ours.then(|| Key::new(ns, service)).into_iter().collect();
        }
        let labels = at(object, &["metadata", "labels"]);
        let (all, _) = self.store.list(&services(), Some(ns));
        all.iter()
            .filter(|s| selector::matches_map(at(s, &["spec", "selector"]), labels))
            .map(|s| Key::of(s))
            .collect()
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, ApiError> {
        self.store.exclusive(|| {
            let service = self.store.get(&services(), key.namespace(), &key.name);
            let service = service.filter(|s| {
                let selects = at(s, &["spec", "selector"]).as_object();
                selects.is_some_and(|s| !s.is_empty())
                    && s["spec"]["type"] != "ExternalName"
                    && !deleting(s)
            });
            let wanted = match &service {
                Some(service) => wanted(service, &self.store.list(&pods(), Some(&key.ns)).0),
                None => Vec::new(),
            };
            self.apply(key, service.as_deref(), wanted)?;
            Ok(None)
        })
    }
}

impl Slices {
    /// Turns the slices there are into those wanted: same ports first, so that a change of pods
    /// is a change of endpoints and not a new slice.
    fn apply(
        &self,
        key: &Key,
        service: Option<&Value>,
        mut wanted: Vec<Slice>,
    ) -> Result<(), ApiError> {
        let (all, _) = self.store.list(&slices(), Some(&key.ns));
        let mut there: Vec<Arc<Value>> = all
            .into_iter()
            .filter(|s| is_ours(s) && text(s, &["metadata", "labels", SERVICE]) == key.name)
            .collect();
        let mut writes: Vec<(Option<Arc<Value>>, Slice)> = Vec::new();
        wanted.retain(|slice| {
            let same = |s: &Arc<Value>| items(s, &["ports"]) == slice.ports;
            let found = there.iter().position(same);
            if let Some(i) = found {
                writes.push((Some(there.remove(i)), slice.clone()));
            }
            found.is_none()
        });
        for slice in wanted {
            let reused = (!there.is_empty()).then(|| there.remove(0));
            writes.push((reused, slice));
        }
        for (existing, slice) in writes {
            let Some(service) = service else { break };
            match existing {
                Some(existing) => self.update(key, service, &existing, slice)?,
                None => self.create(key, service, slice)?,
            }
        }
        for gone in there {
            let options = DeleteOptions::default();
            self.store
                .delete(&slices(), key.namespace(), name(&gone), &options)?;
        }
        Ok(())
    }

    fn update(
        &self,
        key: &Key,
        service: &Value,
        existing: &Value,
        slice: Slice,
    ) -> Result<(), ApiError> {
        let change = |old: &Value| {
            let mut new = old.clone();
            new["metadata"]["labels"] = labels(service);
            new["endpoints"] = json!(slice.endpoints);
            new["ports"] = json!(slice.ports);
            let same = new["endpoints"] == old["endpoints"] && new["ports"] == old["ports"];
            if !same {
                let generation = old["metadata"]["generation"].as_i64().unwrap_or_default();
                new["metadata"]["generation"] = json!(generation + 1);
            }
            Ok(new)
        };
        self.store
            .update(&slices(), key.namespace(), name(existing), change)
            .map(drop)
    }

    fn create(&self, key: &Key, service: &Value, slice: Slice) -> Result<(), ApiError> {
        let name = suffixed(&key.name, &random_suffix(), 253);
        let object = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": name, "generateName": format!("{}-", key.name),
                         "namespace": key.ns, "generation": 1, "labels": labels(service),
                         "ownerReferences": [control(service)]},
            "endpoints": slice.endpoints, "ports": slice.ports,
        });
        self.store.create(&slices(), object).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, ip: &str, is_ready: bool, port: i64) -> Arc<Value> {
        let status = if is_ready { "True" } else { "False" };
        Arc::new(json!({
            "metadata": {"name": name, "namespace": "a", "uid": name, "labels": {"app": "web"}},
            "spec": {"nodeName": "n", "containers": [
                {"ports": [{"name": "http", "containerPort": port, "protocol": "TCP"}]}]},
            "status": {"podIP": ip, "phase": "Running",
                       "conditions": [{"type": "Ready", "status": status}]},
        }))
    }

    fn service(target: Value) -> Value {
        json!({"metadata": {"name": "web", "namespace": "a"}, "spec": {
            "selector": {"app": "web"}, "clusterIP": "10.0.0.1",
            "ports": [{"name": "web", "port": 80, "targetPort": target, "protocol": "TCP"}]}})
    }

    #[test]
    fn endpoints_say_what_their_pods_say() {
        let mut leaving = (*pod("c", "1.0.0.3", true, 80)).clone();
        leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        let mut stranger = (*pod("d", "1.0.0.4", true, 80)).clone();
        stranger["metadata"]["labels"] = json!({"app": "api"});
        let mut over = (*pod("e", "1.0.0.5", true, 80)).clone();
        over["status"]["phase"] = json!("Failed");
        let pods = [
            pod("a", "1.0.0.1", true, 80),
            pod("b", "1.0.0.2", false, 80),
            Arc::new(leaving),
            Arc::new(stranger),
            Arc::new(over),
            pod("f", "", false, 80),
        ];
        let slices = wanted(&service(json!("http")), &pods);
        assert_eq!(slices.len(), 1);
        assert_eq!(
            slices[0].ports,
            [json!({"name": "web", "port": 80, "protocol": "TCP"})]
        );
        let seen: Vec<(&str, bool, bool, bool)> = slices[0]
            .endpoints
            .iter()
            .map(|e| {
                let c = &e["conditions"];
                let is = |k: &str| c[k].as_bool().unwrap();
                (
                    text(e, &["targetRef", "name"]),
                    is("ready"),
                    is("serving"),
                    is("terminating"),
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("a", true, true, false),
                ("b", false, false, false),
                ("c", false, true, true)
            ]
        );
    }

    #[test]
    fn a_named_port_may_differ_between_pods() {
        let pods = [
            pod("a", "1.0.0.1", true, 80),
            pod("b", "1.0.0.2", true, 8080),
        ];
        let slices = wanted(&service(json!("http")), &pods);
        let ports: Vec<&Value> = slices.iter().map(|s| &s.ports[0]["port"]).collect();
        assert_eq!(ports, [80, 8080]);
        let same = wanted(&service(json!(9000)), &pods);
        assert_eq!((same.len(), &same[0].ports[0]["port"]), (1, &json!(9000)));
    }

    #[test]
    fn nobody_is_said_and_not_implied() {
        let slices = wanted(&service(json!(80)), &[]);
        assert_eq!(slices.len(), 1);
        assert!(slices[0].endpoints.is_empty());
    }

    #[test]
    fn many_endpoints_are_spread_over_slices() {
        let pods: Vec<_> = (0..250)
            .map(|i| {
                pod(
                    &format!("p{i}"),
                    &format!("1.0.{}.{}", i / 250, i % 250),
                    true,
                    80,
                )
            })
            .collect();
        let sizes: Vec<usize> = wanted(&service(json!(80)), &pods)
            .iter()
            .map(|s| s.endpoints.len())
            .collect();
        assert_eq!(sizes, [100, 100, 50]);
    }
}
