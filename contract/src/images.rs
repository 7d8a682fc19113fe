//! Container images we ship, without tags. A devcluster runs them as local processes.

/// Every daemon; the container's first argument says which.
pub const MESH: &str = "mesh.io/mesh";
/// The sidecar.
pub const PROXY: &str = "mesh.io/proxy";
/// A web server that answers who it is and who it saw; for demos and tests.
pub const DEMO_WEB: &str = "mesh.io/demo-web";
/// A client that sends steady load and reports every answer; for demos and tests.
pub const DEMO_CLIENT: &str = "mesh.io/demo-client";
/// The container of a pod whose sidecar does all the work.
pub const PAUSE: &str = "registry.k8s.io/pause";
