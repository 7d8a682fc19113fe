//! Which Links count. Everything a Link makes carries its cluster's name, so that name must be one
//! that Services can end in, and one that no other Link has.

use super::{Problem, cluster_name};
use k8s_openapi::jiff::Timestamp;
use mesh_clusters::RemoteState;
use mesh_contract::names;
use std::collections::BTreeMap;

/// Links that are not followed, and why.
pub(super) fn rejected(remotes: &BTreeMap<String, RemoteState>) -> BTreeMap<String, Problem> {
    let mut owners: BTreeMap<String, &String> = BTreeMap::new();
    for (link, remote) in remotes {
        let owner = owners.entry(cluster_name(remote)).or_insert(link);
        if age(remotes, link) < age(remotes, owner) {
            *owner = link;
        }
    }
    let judge = |(link, remote): (&String, &RemoteState)| {
        let cluster = cluster_name(remote);
        let problem = match owners.get(&cluster) {
            _ if !is_name(&cluster) => Problem {
                reason: "InvalidClusterName",
                message: format!(
                    "targetClusterName is {cluster:?}, and becomes the end of Services' names: use \
                     lower-case letters, digits and '-', and not {:?}",
                    names::FEDERATED_SUFFIX.trim_start_matches('-')
                ),
            },
            Some(owner) if *owner != link => Problem {
                reason: "DuplicateClusterName",
                message: format!(
                    "the Link {owner:?} is older and links a cluster called {cluster:?} too: give \
                     one of them another targetClusterName, or delete it"
                ),
            },
            _ => return None,
        };
        Some((link.clone(), problem))
    };
    remotes.iter().filter_map(judge).collect()
}

/// Older is smaller; by name where two are of one age.
fn age<'a>(remotes: &BTreeMap<String, RemoteState>, link: &'a String) -> (Timestamp, &'a String) {
    let remote = remotes.get(link);
    let created = remote.and_then(|remote| remote.link.metadata.creation_timestamp.as_ref());
    (created.map_or(Timestamp::MAX, |time| time.0), link)
}

fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !name.is_empty()
        && name.len() <= super::MAX_NAME
        && name.bytes().all(plain)
        && !name.starts_with('-')
        && !name.ends_with('-')
        && name != names::FEDERATED_SUFFIX.trim_start_matches('-')
}
