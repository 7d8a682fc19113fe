//! What a cluster's network is called on the machine. Everything is found again by these names,
//! after a crash too. Pure.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use crate::node::room::MEMORY;

/// The names of one cluster; two clusters share none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    id: String,
}

/// Where namespaces are named, as `ip netns` does it.
const NAMESPACES: &str = "/run/netns";

impl Names {
    /// Of the node agent with this folder.
    pub(super) fn of(state_dir: &Path) -> Self {
        // FNV-1a: the same in every build, which the standard library's hashers do not promise.
        let hash = state_dir
            .as_os_str()
            .as_encoded_bytes()
            .iter()
            .fold(0x811c_9dc5_u32, |hash, byte| {
                (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
            });
        Self {
            id: format!("{hash:08x}"),
        }
    }

    /// Of a cluster met by its id.
    pub(super) fn with_id(id: &str) -> Option<Self> {
        let plain = id.len() == 8 && id.bytes().all(|b| b.is_ascii_hexdigit());
        plain.then(|| Self { id: id.to_owned() })
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The device with the node's address and those of load balancers; no packet passes it.
    pub(super) fn hub(&self) -> String {
        format!("mb{}", self.id)
    }

    /// nft's table.
    pub(super) fn table(&self) -> String {
        format!("mesh_{}", self.id)
    }

    /// A pod's network namespace.
    pub(super) fn namespace(&self, ip: Ipv4Addr) -> String {
        format!("mesh-{}-{ip}", self.id)
    }

    /// The file of a pod's network namespace.
    pub(super) fn namespace_file(&self, ip: Ipv4Addr) -> PathBuf {
        Path::new(NAMESPACES).join(self.namespace(ip))
    }

    /// The machine's end of a pod's cable: 15 characters are all there are, so the address is cut
    /// to the 20 bits in which pods of one cluster differ.
    pub(super) fn cable(&self, ip: Ipv4Addr) -> String {
        format!("mv{}{:05x}", self.id, u32::from(ip) & 0xf_ffff)
    }

    /// The folder of all pods' volumes in memory.
    pub(super) fn memory(&self) -> PathBuf {
        Path::new(MEMORY).join(&self.id)
    }

    /// All cables of the cluster, as rules name them.
    pub(super) fn cables(&self) -> String {
        format!("mv{}*", self.id)
    }

    /// The pods whose namespaces exist.
    pub(super) fn namespaces(&self) -> Vec<Ipv4Addr> {
        let prefix = format!("mesh-{}-", self.id);
        let entries = std::fs::read_dir(NAMESPACES)
            .into_iter()
            .flatten()
            .flatten();
        entries
            .filter_map(|e| e.file_name().to_str()?.strip_prefix(&prefix)?.parse().ok())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_share_no_name_and_names_fit_into_the_kernel() {
        let (west, east) = (
            Names::of(Path::new("/r/west")),
            Names::of(Path::new("/r/east")),
        );
        let ip = Ipv4Addr::new(10, 255, 255, 254);
        assert_ne!(west.hub(), east.hub());
        assert_ne!(west.cable(ip), east.cable(ip));
        assert!(west.cable(ip).len() <= 15 && west.hub().len() <= 15);
        assert_eq!(Names::with_id(west.id()), Some(west));
        assert_eq!(Names::with_id("../../x"), None);
    }
}
