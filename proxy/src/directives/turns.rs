//! How many things each client has at once.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use mesh_tls::Id;
use parking_lot::Mutex;

use super::Refusal;

/// Counts by client. As large as the number of clients that have any.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns(Arc<Mutex<HashMap<Id, u32>>>);

/// One of them, given back when dropped.
#[derive(Debug)]
pub struct Turn {
    turns: Turns,
    id: Id,
}

impl Turns {
    /// One more for `id`, which may have `most`.
    pub(super) fn take(&self, id: &Id, most: Option<u32>) -> Result<Turn, Refusal> {
        let mut counts = self.0.lock();
        let count = counts.get(id).copied().unwrap_or_default();
        if most.is_some_and(|most| count >= most) {
            return Err(Refusal::Full);
        }
        counts.insert(id.clone(), count.saturating_add(1));
        Ok(Turn {
            turns: self.clone(),
            id: id.clone(),
        })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut counts = self.turns.0.lock();
        if let Entry::Occupied(mut count) = counts.entry(self.id.clone()) {
            match count.get().saturating_sub(1) {
                0 => drop(count.remove()),
                left => *count.get_mut() = left,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_its_own_share_and_gets_it_back() {
        let turns = Turns::default();
        let id = |name: &str| name.parse::<Id>().unwrap();
        let (web, api) = (id("web.example"), id("api.example"));
        let first = turns.take(&web, Some(2)).unwrap();
        let _second = turns.take(&web, Some(2)).unwrap();
        assert_eq!(turns.take(&web, Some(2)).unwrap_err(), Refusal::Full);
        let other = turns.take(&api, Some(1)).unwrap();
        drop(first);
        let third = turns.take(&web, Some(2)).unwrap();
        // Without a limit it counts all the same.
        let fourth = turns.take(&web, None).unwrap();
        assert_eq!(turns.take(&web, Some(3)).unwrap_err(), Refusal::Full);
        drop((third, fourth, other));
        assert_eq!(turns.0.lock().len(), 1, "only who has any is remembered");
    }
}
