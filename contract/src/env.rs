//! Environment variables read by the sidecar (the stock names) and the few we add.

/// `LINKERD2_PROXY_` prefix common to every stock variable.
pub const PREFIX: &str = "LINKERD2_PROXY_";

/// The pod address in the `loopback` network, set by the node agent and by nobody else.
///
/// Where it is set, a process binds every listener and the source of every outgoing socket to
/// this address, speaks TLS to the control plane although it is loopback, may connect to
/// loopback targets, and (a sidecar) serves the explicit proxy mode on its outbound listener.
pub const LOOPBACK_POD_IP: &str = "MESH_LOOPBACK_POD_IP";

/// A hosts file (the format of `/etc/hosts`) that is asked before DNS, re-read when it changes.
///
/// The node agent keeps one for each cluster in the `loopback` network, where a pod has no file
/// system of its own: cluster IPs of Services, and pod addresses of headless ones.
pub const HOSTS_FILE: &str = "MESH_HOSTS_FILE";

/// The name of the cluster a devcluster process belongs to; used to find left-over processes.
pub const DEVCLUSTER_RUN: &str = "MESH_DEVCLUSTER_RUN";
