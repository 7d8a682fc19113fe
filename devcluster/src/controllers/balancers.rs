//! Addresses of LoadBalancer Services, from a range of their own. A Service keeps its address for
//! as long as it wants one.

use super::driver::Controller;
use super::objects::{Key, services};
use crate::schema::free_address;
use crate::schema::json::{deleting, items, map_in, remove, text};
use crate::status::ApiError;
use crate::store::{ResourceKey, Store};
use ipnet::Ipv4Net;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::time::Duration;

/// Gives addresses.
pub(super) struct Balancers {
    pub(super) store: Store,
    pub(super) range: Ipv4Net,
}

fn wants(service: &Value) -> bool {
    text(service, &["spec", "type"]) == "LoadBalancer" && !deleting(service)
}

fn held(service: &Value) -> impl Iterator<Item = Ipv4Addr> {
    items(service, &["status", "loadBalancer", "ingress"])
        .iter()
        .filter_map(|i| i["ip"].as_str()?.parse().ok())
}

/// The address a service is to have, given those that others hold. One it asks for by
/// `spec.loadBalancerIP` is given if it can be.
fn choose(service: &Value, range: Ipv4Net, taken: &HashSet<Ipv4Addr>) -> Option<Ipv4Addr> {
    let asked = text(service, &["spec", "loadBalancerIP"]).parse().ok();
    asked
        .filter(|ip| range.contains(ip) && !taken.contains(ip))
        .or_else(|| free_address(range, taken, 0))
}

impl Controller for Balancers {
    fn name(&self) -> &'static str {
        "balancers"
    }

    fn sources(&self) -> Vec<ResourceKey> {
        vec![services()]
    }

    fn touched(&self, _: &ResourceKey, object: &Value) -> Vec<Key> {
        vec![Key::of(object)]
    }

    fn reconcile(&self, key: &Key) -> Result<Option<Duration>, ApiError> {
        self.store.exclusive(|| {
            let Some(service) = self.store.get(&services(), key.namespace(), &key.name) else {
                return Ok(None);
            };
            let has = held(&service).next().is_some();
            if wants(&service) == has {
                return Ok(None);
            }
            let address = if has {
                None
            } else {
                let (all, _) = self.store.list(&services(), None);
                let taken = all.iter().flat_map(|s| held(s)).collect();
                let Some(ip) = choose(&service, self.range, &taken) else {
                    let detail = format!("no address is left in {} for LoadBalancers", self.range);
                    tracing::warn!(ns = key.ns, name = key.name, "{detail}");
                    return Err(ApiError::unavailable(detail));
                };
                Some(ip)
            };
            let settle = |old: &Value| {
                let mut new = old.clone();
                map_in(&mut new, "status");
                match address {
                    Some(ip) => {
                        let ingress = json!([{"ip": ip.to_string(), "ipMode": "VIP"}]);
                        new["status"]["loadBalancer"] = json!({"ingress": ingress});
                    }
                    None => {
                        remove(&mut new["status"]["loadBalancer"], "ingress");
                    }
                }
                Ok(new)
            };
            self.store
                .update(&services(), key.namespace(), &key.name, settle)?;
            Ok(None)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_granted_if_it_can_be() {
        let range: Ipv4Net = "127.65.0.0/29".parse().unwrap();
        let taken: HashSet<Ipv4Addr> = ["127.65.0.2".parse().unwrap()].into();
        let service = |ip: &str| json!({"spec": {"loadBalancerIP": ip}});
        let chosen = |ip: &str| choose(&service(ip), range, &taken).unwrap().to_string();
        assert_eq!(chosen("127.65.0.5"), "127.65.0.5");
        assert_eq!(chosen("127.65.0.2"), "127.65.0.3");
        assert_eq!(chosen("10.0.0.1"), "127.65.0.3");
        assert_eq!(chosen(""), "127.65.0.3");
    }
}
