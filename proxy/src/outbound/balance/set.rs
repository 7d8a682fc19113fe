//! The endpoints discovery lists, kept across interruptions of its stream. Pure.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
};

use linkerd2_proxy_api::destination::{Update, WeightedAddr, update};

use crate::{
    control::Event,
    outbound::endpoint::{self, Metadata},
};

/// Whether discovery says that there is nothing of this name: not even without endpoints.
pub fn denies(event: &Event<Update>) -> bool {
    match event {
        Event::Refused(status) => status.code() == tonic::Code::NotFound,
        Event::Message { message, .. } => matches!(
            &message.update,
            Some(update::Update::NoEndpoints(none)) if !none.exists
        ),
    }
}

/// Endpoints by address.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    known: BTreeMap<SocketAddr, Metadata>,
    resolved: bool,
}

/// What an event does to a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Kind {
    /// Endpoints come, or change.
    Add,
    /// Endpoints go.
    Remove,
    /// Whatever was known is known no more.
    Reset,
}

/// What `event` does.
pub fn kind(event: &Event<Update>) -> Kind {
    match event {
        Event::Refused(_) | Event::Message { first: true, .. } => Kind::Reset,
        Event::Message { message, .. } => match message.update {
            Some(update::Update::Add(_)) => Kind::Add,
            Some(update::Update::Remove(_)) => Kind::Remove,
            Some(update::Update::NoEndpoints(_)) | None => Kind::Reset,
        },
    }
}

impl Endpoints {
    /// Takes in what discovery said about `path`. Returns whether anything is different now.
    ///
    /// The first message of a stream is the whole list: after an interruption, whatever it does
    /// not name is gone.
    pub fn apply(&mut self, path: &str, event: Event<Update>) -> bool {
        let before = (self.resolved, self.known.clone());
        match event {
            Event::Refused(_) => self.known.clear(),
            Event::Message { message, first } => {
                if first {
                    self.known.clear();
                }
                self.update(path, message);
            }
        }
        self.resolved = true;
        before.0 != self.resolved || before.1 != self.known
    }

    /// All of them, by address.
    pub fn iter(&self) -> impl Iterator<Item = (&SocketAddr, &Metadata)> {
        self.known.iter()
    }

    fn update(&mut self, path: &str, update: Update) {
        match update.update {
            Some(update::Update::Add(set)) => {
                for addr in set.addrs {
                    self.add(path, &set.metric_labels, addr);
                }
            }
            Some(update::Update::Remove(set)) => {
                for addr in set.addrs {
                    match SocketAddr::try_from(addr) {
                        Ok(addr) => drop(self.known.remove(&addr)),
                        Err(error) => tracing::warn!(path, %error, "cannot remove an endpoint"),
                    }
                }
            }
            Some(update::Update::NoEndpoints(_)) => self.known.clear(),
            None => tracing::warn!(path, "discovery sent an empty update"),
        }
    }

    fn add(&mut self, path: &str, labels: &HashMap<String, String>, addr: WeightedAddr) {
        match endpoint::convert(labels, addr) {
            Ok((addr, metadata)) => drop(self.known.insert(addr, metadata)),
            // One bad endpoint costs only itself.
            Err(problem) => tracing::warn!(path, problem, "ignoring an endpoint"),
        }
    }
}

#[cfg(test)]
mod tests {
    use linkerd2_proxy_api::destination::{AddrSet, NoEndpoints, WeightedAddrSet};

    use super::*;

    fn addr(n: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, n], 80))
    }

    fn add(first: bool, hosts: &[u8]) -> Event<Update> {
        let one = |n: &u8| WeightedAddr {
            addr: Some(addr(*n).into()),
            ..Default::default()
        };
        message(
            first,
            update::Update::Add(WeightedAddrSet {
                addrs: hosts.iter().map(one).collect(),
                ..Default::default()
            }),
        )
    }

    fn message(first: bool, update: update::Update) -> Event<Update> {
        let message = Update {
            update: Some(update),
        };
        Event::Message { message, first }
    }

    fn hosts(endpoints: &Endpoints) -> Vec<SocketAddr> {
        endpoints.iter().map(|(addr, _)| *addr).collect()
    }

    #[test]
    fn a_stream_changes_the_set_and_a_new_stream_replaces_it() {
        let mut set = Endpoints::default();
        assert!(set.apply("web", add(true, &[1, 2])));
        assert!(!set.apply("web", add(false, &[2])), "nothing new");
        let gone = AddrSet {
            addrs: vec![addr(1).into()],
        };
        assert!(set.apply("web", message(false, update::Update::Remove(gone))));
        assert_eq!(hosts(&set), [addr(2)]);
        assert!(set.apply("web", add(true, &[3])));
        assert_eq!(hosts(&set), [addr(3)]);
        let none = update::Update::NoEndpoints(NoEndpoints { exists: true });
        assert!(set.apply("web", message(false, none)));
        assert_eq!(hosts(&set), []);
    }

    #[test]
    fn a_first_answer_of_nothing_is_an_answer() {
        let mut set = Endpoints::default();
        let none = update::Update::NoEndpoints(NoEndpoints { exists: false });
        assert!(set.apply("web", message(true, none)));
    }

    #[test]
    fn a_name_is_denied_by_words_and_not_by_having_no_endpoints() {
        let none = |exists| message(true, update::Update::NoEndpoints(NoEndpoints { exists }));
        assert!(denies(&none(false)));
        assert!(!denies(&none(true)));
        assert!(!denies(&add(true, &[1])));
        assert!(denies(&Event::Refused(tonic::Status::not_found(""))));
        assert!(!denies(&Event::Refused(tonic::Status::unimplemented(""))));
    }

    #[test]
    fn one_bad_endpoint_costs_only_itself() {
        let mut set = Endpoints::default();
        let mut event = add(true, &[1]);
        if let Event::Message {
            message: Update {
                update: Some(update::Update::Add(set)),
            },
            ..
        } = &mut event
        {
            set.addrs.push(WeightedAddr::default());
        }
        set.apply("web", event);
        assert_eq!(hosts(&set), [addr(1)]);
    }
}
