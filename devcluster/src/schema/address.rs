//! Cluster IPs. What is taken is what Services in the store say, so nothing is to be given back;
//! the caller holds the store's writer lock from choosing to storing.

use super::json::{items, text};
use crate::store::{ResourceKey, Store};
use ipnet::Ipv4Net;
use serde_json::Value;
use std::collections::HashSet;
use std::net::Ipv4Addr;

/// Addresses Services hold now.
pub(super) fn taken(store: &Store) -> HashSet<Ipv4Addr> {
    let (services, _) = store.list(&ResourceKey::core("services"), None);
    services.iter().flat_map(|s| held(s)).collect()
}

fn held(service: &Value) -> Vec<Ipv4Addr> {
    let first = text(service, &["spec", "clusterIP"]).parse().ok();
    let all = items(service, &["spec", "clusterIPs"]);
    let all = all.iter().filter_map(|ip| ip.as_str()?.parse().ok());
    first.into_iter().chain(all).collect()
}

/// A free address of the range, starting to look at `start`; not its first (kept for the API
/// server, as everywhere), nor the ones that name the network.
pub(crate) fn free(net: Ipv4Net, taken: &HashSet<Ipv4Addr>, start: u32) -> Option<Ipv4Addr> {
    let (low, high) = (u32::from(net.network()), u32::from(net.broadcast()));
    let (first, last) = (low.checked_add(2)?, high.checked_sub(1)?);
    let size = last.checked_sub(first)?.checked_add(1)?;
    (0..size)
        .map(|i| Ipv4Addr::from(first + (start % size + i) % size))
        .find(|ip| !taken.contains(ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_never_given_twice_and_run_out() {
        let net: Ipv4Net = "10.0.0.0/29".parse().unwrap();
        let mut taken = HashSet::new();
        while let Some(ip) = free(net, &taken, 3) {
            assert!(taken.insert(ip), "{ip} twice");
        }
        let mut all: Vec<_> = taken.into_iter().collect();
        all.sort();
        let text: Vec<String> = all.iter().map(Ipv4Addr::to_string).collect();
        assert_eq!(
            text,
            ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]
        );
    }

    #[test]
    fn a_range_without_room_gives_nothing() {
        for net in ["10.0.0.0/31", "10.0.0.0/32", "255.255.255.255/32"] {
            assert_eq!(
                free(net.parse().unwrap(), &HashSet::new(), 7),
                None,
                "{net}"
            );
        }
    }
}
