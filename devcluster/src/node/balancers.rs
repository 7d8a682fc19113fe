//! Addresses of LoadBalancer Services, from a range of the node's (`--lb-cidr`): what a cloud does
//! for a cluster. Called by `run`; who listens at the addresses is the network's business.
//!
//! What is taken is what Services say, so nothing is remembered here and nothing is lost with the
//! agent: a Service keeps its address for as long as it wants one.

use std::collections::{BTreeMap, HashSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use futures::StreamExt as _;
use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::{LoadBalancerIngress, Service};
use kube::api::{Patch, PatchParams};
use kube::runtime::watcher::Event;
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

use super::follow::follow;

const FIRST_RETRY: Duration = Duration::from_millis(100);
const MAX_RETRY: Duration = Duration::from_secs(10);
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// (namespace, name).
type Key = (String, String);

/// Gives addresses.
pub(super) struct Balancers {
    pub(super) client: Client,
    pub(super) range: Ipv4Net,
}

/// What is to change about one Service.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    Give(Ipv4Addr),
    TakeBack,
    /// The range is used up.
    Nothing,
}

impl Balancers {
    /// Follows the Services for ever.
    pub(super) async fn run(self) {
        let services = follow(Api::<Service>::all(self.client.clone()), "services");
        let mut services = std::pin::pin!(services);
        let (mut known, mut listed) = (BTreeMap::new(), HashSet::new());
        let mut complete = false;
        let mut retry = FIRST_RETRY;
        loop {
            // Half a list would give an address away that somebody has.
            let settled = !complete || self.settle(&mut known).await;
            if settled {
                retry = FIRST_RETRY;
            }
            let event = tokio::select! {
                event = services.next() => event,
                () = tokio::time::sleep(retry), if !settled => {
                    retry = (retry * 2).min(MAX_RETRY);
                    continue;
                }
            };
            match event {
                Some(Event::Init) => listed.clear(),
                Some(Event::InitApply(service)) => {
                    listed.insert(key(&service));
                    known.insert(key(&service), service);
                }
                Some(Event::InitDone) => {
                    known.retain(|key, _| listed.contains(key));
                    complete = true;
                }
                Some(Event::Apply(service)) => {
                    known.insert(key(&service), service);
                }
                Some(Event::Delete(service)) => {
                    known.remove(&key(&service));
                }
                None => return,
            }
        }
    }

    /// One Service after the other; false if something is left to do.
    async fn settle(&self, known: &mut BTreeMap<Key, Service>) -> bool {
        let mut done = true;
        for (key, change) in changes(known, self.range) {
            let ingress = match change {
                Change::Give(ip) => json!([{"ip": ip.to_string(), "ipMode": "VIP"}]),
                Change::TakeBack => json!(null),
                Change::Nothing => {
                    let (ns, name) = &key;
                    tracing::warn!(ns, name, range = %self.range, "no address is left for a load balancer; widen --lb-cidr");
                    done = false;
                    continue;
                }
            };
            match self.write(&key, known.get(&key), &ingress).await {
                Ok(service) => {
                    known.insert(key, service);
                }
                Err(error) => {
                    let (ns, name) = &key;
                    tracing::debug!(ns, name, error, "cannot settle a load balancer, will retry");
                    done = false;
                }
            }
        }
        done
    }

    /// Answers the Service as it is then. One that changed meanwhile is left to the watch.
    async fn write(
        &self,
        (ns, name): &Key,
        service: Option<&Service>,
        ingress: &serde_json::Value,
    ) -> Result<Service, String> {
        let api: Api<Service> = Api::namespaced(self.client.clone(), ns);
        let metadata = service.map(|s| &s.metadata);
        let body = json!({
            "metadata": {
                "uid": metadata.and_then(|m| m.uid.as_ref()),
                "resourceVersion": metadata.and_then(|m| m.resource_version.as_ref()),
            },
            "status": {"loadBalancer": {"ingress": ingress}},
        });
        let (params, patch) = (PatchParams::default(), Patch::Merge(body));
        let call = api.patch_status(name, &params, &patch);
        match tokio::time::timeout(CALL_TIMEOUT, call).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err("the API server did not answer in time".to_owned()),
        }
    }
}

/// What is to be done. Pure.
fn changes(known: &BTreeMap<Key, Service>, range: Ipv4Net) -> Vec<(Key, Change)> {
    let mut taken: HashSet<Ipv4Addr> = known.values().flat_map(held).collect();
    let mut all = Vec::new();
    for (key, service) in known {
        let change = match (wants(service), held(service).next()) {
            (true, None) => choose(service, range, &taken).map_or(Change::Nothing, Change::Give),
            // Others may give addresses too: theirs are theirs to take back.
            (false, Some(ip)) if range.contains(&ip) => Change::TakeBack,
            _ => continue,
        };
        if let Change::Give(ip) = change {
            taken.insert(ip);
        }
        all.push((key.clone(), change));
    }
    all
}

/// One with a class is somebody else's.
fn wants(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    spec.is_some_and(|s| {
        s.type_.as_deref() == Some("LoadBalancer") && s.load_balancer_class.is_none()
    }) && service.metadata.deletion_timestamp.is_none()
}

fn held(service: &Service) -> impl Iterator<Item = Ipv4Addr> {
    let status = service
        .status
        .iter()
        .filter_map(|s| s.load_balancer.as_ref());
    let parse = |ingress: &LoadBalancerIngress| ingress.ip.as_deref()?.parse().ok();
    status
        .flat_map(|l| l.ingress.iter().flatten())
        .filter_map(parse)
}

/// The address a service is to have, given those that others hold. One it asks for by
/// `spec.loadBalancerIP` is given if it can be.
fn choose(service: &Service, range: Ipv4Net, taken: &HashSet<Ipv4Addr>) -> Option<Ipv4Addr> {
    let asked = service.spec.as_ref()?.load_balancer_ip.as_deref();
    asked
        .and_then(|ip| ip.parse().ok())
        .filter(|ip| range.contains(ip) && !taken.contains(ip))
        .or_else(|| crate::schema::free_address(range, taken, 0))
}

fn key(service: &Service) -> Key {
    (service.namespace().unwrap_or_default(), service.name_any())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, spec: serde_json::Value, held: Option<&str>) -> (Key, Service) {
        let ingress = held.map(|ip| json!([{"ip": ip}]));
        let service: Service = serde_json::from_value(json!({
            "metadata": {"namespace": "ns", "name": name}, "spec": spec,
            "status": {"loadBalancer": {"ingress": ingress}}}))
        .unwrap();
        (key(&service), service)
    }

    fn found(services: Vec<(Key, Service)>, range: &str) -> Vec<(String, Change)> {
        let found = changes(&services.into_iter().collect(), range.parse().unwrap());
        found
            .into_iter()
            .map(|((_, n), change)| (n, change))
            .collect()
    }

    fn ip(text: &str) -> Change {
        Change::Give(text.parse().unwrap())
    }

    #[test]
    fn a_wish_is_granted_if_it_can_be_and_nobody_shares() {
        let wish = |ip: &str| json!({"type": "LoadBalancer", "loadBalancerIP": ip});
        let all = vec![
            service("a", wish(""), None),
            service("b", wish("10.0.0.6"), None),
            service("c", wish("10.9.9.9"), None),
            service("d", wish("10.0.0.3"), Some("10.0.0.3")),
        ];
        let wanted = [
            ("a".to_owned(), ip("10.0.0.2")),
            ("b".to_owned(), ip("10.0.0.6")),
            ("c".to_owned(), ip("10.0.0.4")),
        ];
        assert_eq!(found(all, "10.0.0.0/29"), wanted);
    }

    #[test]
    fn only_what_this_node_gave_is_taken_back_and_classes_are_left_alone() {
        let cluster_ip = json!({"type": "ClusterIP"});
        let all = vec![
            service("ours", cluster_ip.clone(), Some("10.0.0.2")),
            service("theirs", cluster_ip, Some("192.0.2.1")),
            service(
                "class",
                json!({"type": "LoadBalancer", "loadBalancerClass": "x.io/y"}),
                None,
            ),
        ];
        assert_eq!(
            found(all, "10.0.0.0/29"),
            [("ours".to_owned(), Change::TakeBack)]
        );
    }

    #[test]
    fn a_range_that_is_used_up_is_told() {
        let balancer = json!({"type": "LoadBalancer"});
        let all = vec![
            service("a", balancer.clone(), Some("10.0.0.2")),
            service("b", balancer, None),
        ];
        assert_eq!(
            found(all, "10.0.0.0/30"),
            [("b".to_owned(), Change::Nothing)]
        );
    }
}
