//! Addresses for pods. Which are taken is remembered by the pods' own records on disk; this is
//! only the allocator.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// Hands out addresses of one range, the least recently used first.
#[derive(Debug)]
pub(super) struct Ipam {
    range: Ipv4Net,
    taken: HashMap<Ipv4Addr, String>,
    /// Pods may share it; it is never given back.
    node: Ipv4Addr,
    cursor: u32,
}

impl Ipam {
    /// Keeps `node`, the node's own address, out of the pool.
    pub(super) fn new(range: Ipv4Net, node: Ipv4Addr) -> Self {
        let taken = HashMap::from([(node, String::from("node"))]);
        Self {
            range,
            taken,
            node,
            cursor: u32::from(range.network()),
        }
    }

    /// Takes back an address from an earlier start; false if it is out of range or taken.
    pub(super) fn restore(&mut self, ip: Ipv4Addr, uid: &str) -> bool {
        if !self.range.contains(&ip) || self.taken.contains_key(&ip) {
            return false;
        }
        self.cursor = self.cursor.max(u32::from(ip));
        self.taken.insert(ip, uid.to_owned());
        true
    }

    /// An address nobody has; `None` if the range is used up.
    pub(super) fn allocate(&mut self, uid: &str) -> Option<Ipv4Addr> {
        let (first, last) = (
            u32::from(self.range.network()),
            u32::from(self.range.broadcast()),
        );
        for _ in first..=last {
            self.cursor = if self.cursor >= last {
                first
            } else {
                self.cursor + 1
            };
            let ip = Ipv4Addr::from(self.cursor);
            // Ends of /24s are left out: they look like network and broadcast addresses.
            if !matches!(ip.octets()[3], 0 | 255) && !self.taken.contains_key(&ip) {
                self.taken.insert(ip, uid.to_owned());
                return Some(ip);
            }
        }
        None
    }

    /// Gives an address back.
    pub(super) fn release(&mut self, ip: Ipv4Addr) {
        if ip != self.node {
            self.taken.remove(&ip);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> Ipam {
        Ipam::new("127.9.0.0/29".parse().unwrap(), Ipv4Addr::new(127, 9, 0, 1))
    }

    #[test]
    fn a_released_address_is_the_last_to_be_used_again() {
        let mut pool = pool();
        let first = pool.allocate("a").unwrap();
        assert_eq!(first, Ipv4Addr::new(127, 9, 0, 2));
        pool.release(first);
        assert_eq!(pool.allocate("b").unwrap(), Ipv4Addr::new(127, 9, 0, 3));
    }

    #[test]
    fn the_nodes_own_address_is_never_handed_out() {
        let mut pool = pool();
        pool.release(Ipv4Addr::new(127, 9, 0, 1));
        while let Some(ip) = pool.allocate("x") {
            assert_ne!(ip, Ipv4Addr::new(127, 9, 0, 1));
        }
    }

    #[test]
    fn an_exhausted_range_says_so_and_recovers() {
        let mut pool = pool();
        let all: Vec<_> = std::iter::from_fn(|| pool.allocate("x")).collect();
        assert_eq!(all.len(), 6);
        pool.release(all[3]);
        assert_eq!(pool.allocate("y"), Some(all[3]));
    }

    #[test]
    fn restored_addresses_are_not_handed_out_again() {
        let mut pool = pool();
        let ip = Ipv4Addr::new(127, 9, 0, 4);
        assert!(pool.restore(ip, "a"));
        assert!(!pool.restore(ip, "b"));
        assert!(!pool.restore(Ipv4Addr::new(127, 8, 0, 4), "c"));
        while let Some(other) = pool.allocate("x") {
            assert_ne!(other, ip);
        }
    }
}
