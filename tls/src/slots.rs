//! How many connections there may be, in all and from one address.
//!
//! Whoever accepts from anybody takes a [`Slot`] for each connection that has not proven anything
//! yet, so that one peer with many sockets costs itself its turn and nobody else theirs.

use parking_lot::Mutex;
use std::{collections::HashMap, net::IpAddr, sync::Arc};

/// A number of slots. Cheap to clone; clones share them.
#[derive(Clone, Debug)]
pub struct Slots(Arc<Inner>);

/// One connection's; given back when dropped.
#[derive(Debug)]
pub struct Slot {
    slots: Slots,
    peer: IpAddr,
}

#[derive(Debug)]
struct Inner {
    total: usize,
    each: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    /// Only who holds any.
    of: HashMap<IpAddr, usize>,
}

impl Slots {
    /// At most `total`, and at most `each` for one address.
    pub fn new(total: usize, each: usize) -> Self {
        Self(Arc::new(Inner {
            total,
            each,
            taken: Mutex::default(),
        }))
    }

    /// One for `peer`, if there is one left for it.
    pub fn take(&self, peer: IpAddr) -> Option<Slot> {
        let peer = peer.to_canonical();
        let mut taken = self.0.taken.lock();
        let of_peer = taken.of.get(&peer).copied().unwrap_or(0);
        if taken.total >= self.0.total || of_peer >= self.0.each {
            return None;
        }
        taken.total += 1;
        taken.of.insert(peer, of_peer + 1);
        Some(Slot {
            slots: self.clone(),
            peer,
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.0.taken.lock();
        taken.total = taken.total.saturating_sub(1);
        if let Some(of_peer) = taken.of.get_mut(&self.peer) {
            *of_peer -= 1;
            if *of_peer == 0 {
                taken.of.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_peer_leaves_room_for_others_and_nobody_exceeds_the_total() {
        let slots = Slots::new(3, 2);
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let (greedy, other, third) = (ip("10.0.0.1"), ip("10.0.0.2"), ip("10.0.0.3"));
        let first = slots.take(greedy).unwrap();
        let _second = slots.take(ip("::ffff:10.0.0.1")).unwrap();
        assert!(slots.take(greedy).is_none(), "two are its share");
        let held = slots.take(other).unwrap();
        assert!(slots.take(third).is_none(), "three are all");
        drop(first);
        assert!(slots.take(greedy).is_some());
        drop(held);
        assert!(slots.take(third).is_some());
        drop(_second);
        assert!(slots.0.taken.lock().of.is_empty());
        assert_eq!(slots.0.taken.lock().total, 0);
    }
}
