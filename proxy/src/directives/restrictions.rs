//! Which clients are restricted, and how. Pure.

use std::{collections::HashMap, fmt};

use mesh_federation as api;
use mesh_tls::Id;

use crate::{inbound::policy::is_below, metrics::Meta};

/// All restrictions, found by identity.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Restrictions {
    all: Vec<Restriction>,
    /// Places in `all` of those that name an identity.
    exact: HashMap<String, Vec<usize>>,
    /// And of those that name what identities end in.
    suffixes: Vec<(String, usize)>,
}

#[derive(Debug, PartialEq)]
struct Restriction {
    meta: Meta,
    deny: bool,
    max_connections: Option<u32>,
    max_requests: Option<u32>,
}

/// All that holds for one client.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Verdict<'r> {
    /// What denies it.
    pub(super) denied: Option<&'r Meta>,
    /// How many connections it may have.
    pub(super) max_connections: Option<u32>,
    /// How many requests it may have in flight.
    pub(super) max_requests: Option<u32>,
}

impl Restrictions {
    pub(super) fn new(said: &[api::Restriction]) -> Self {
        let mut restrictions = Self::default();
        for (place, one) in said.iter().enumerate() {
            for identity in &one.identities {
                let places = restrictions.exact.entry(identity.clone()).or_default();
                places.push(place);
            }
            let suffixes = one.suffixes.iter().map(|suffix| (suffix.clone(), place));
            restrictions.suffixes.extend(suffixes);
            restrictions.all.push(Restriction {
                meta: Meta {
                    group: "federation.mesh.io".into(),
                    kind: "clientrestriction".into(),
                    name: one.name.as_str().into(),
                },
                deny: one.deny,
                max_connections: one.max_connections,
                max_requests: one.max_requests,
            });
        }
        restrictions
    }

    /// What holds for a client: a denial if there is any, and the lowest of its caps.
    pub(super) fn of(&self, id: &Id) -> Verdict<'_> {
        if self.all.is_empty() {
            return Verdict::default();
        }
        let exact = self.exact.get(id.as_str()).into_iter().flatten();
        let suffixes = self.suffixes.iter();
        let below = suffixes.filter_map(|(suffix, place)| is_below(id, suffix).then_some(place));
        let mut verdict = Verdict::default();
        for one in exact.chain(below).filter_map(|place| self.all.get(*place)) {
            if one.deny {
                verdict.denied.get_or_insert(&one.meta);
            }
            verdict.max_connections = lower(verdict.max_connections, one.max_connections);
            verdict.max_requests = lower(verdict.max_requests, one.max_requests);
        }
        verdict
    }

    /// Names of the objects.
    pub(super) fn names(&self) -> Vec<&str> {
        self.all.iter().map(|one| &*one.meta.name).collect()
    }
}

impl fmt::Display for Restrictions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

fn lower(one: Option<u32>, other: Option<u32>) -> Option<u32> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(name: &str, identities: &[&str], suffixes: &[&str]) -> api::Restriction {
        api::Restriction {
            name: name.into(),
            identities: identities.iter().map(|&one| one.into()).collect(),
            suffixes: suffixes.iter().map(|&one| one.into()).collect(),
            ..Default::default()
        }
    }

    fn denies(restrictions: &Restrictions, id: &str) -> Option<String> {
        let verdict = restrictions.of(&id.parse().unwrap());
        verdict.denied.map(|meta| meta.name.to_string())
    }

    #[test]
    fn a_client_is_denied_by_its_name_or_by_whole_labels_of_its_end() {
        let deny = |one| api::Restriction { deny: true, ..one };
        let restrictions = Restrictions::new(&[
            said("no denial", &["web.example"], &[]),
            deny(said(
                "exact",
                &["bad.shop.example", "spiffe://east/bad"],
                &[],
            )),
            deny(said("below", &[], &["west.example"])),
        ]);
        for (id, by) in [
            ("bad.shop.example", Some("exact")),
            ("a.bad.shop.example", None),
            ("spiffe://east/bad", Some("exact")),
            ("spiffe://east/BAD", None),
            ("a.west.example", Some("below")),
            ("b.a.west.example", Some("below")),
            ("west.example", None),
            ("awest.example", None),
            ("web.example", None),
        ] {
            assert_eq!(denies(&restrictions, id).as_deref(), by, "{id}");
        }
        let everybody = Restrictions::new(&[deny(said("all", &[], &[""]))]);
        assert_eq!(denies(&everybody, "a.example").as_deref(), Some("all"));
        assert_eq!(denies(&everybody, "spiffe://a").as_deref(), Some("all"));
    }

    #[test]
    fn the_lowest_cap_counts() {
        let cap = |name, connections, requests| api::Restriction {
            max_connections: connections,
            max_requests: requests,
            ..said(name, &["web.example"], &[""])
        };
        let restrictions = Restrictions::new(&[
            cap("a", Some(5), None),
            cap("b", Some(3), Some(9)),
            cap("c", None, Some(10)),
        ]);
        let verdict = restrictions.of(&"web.example".parse().unwrap());
        assert_eq!(verdict.max_connections, Some(3));
        assert_eq!(verdict.max_requests, Some(9));
        assert_eq!(verdict.denied, None);
    }
}
