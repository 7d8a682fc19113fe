//! Real Kubernetes for tests: where its binaries are, and control planes made of them.
//!
//! [`assets`] finds or builds kube-apiserver, etcd, kube-controller-manager and kubectl;
//! [`control_plane`] runs the first three as child processes. Tests of any room use both. The
//! library knows no other room: `devcluster`'s tests depend on it and this crate's own tests may
//! depend on `devcluster`, without a cycle. No product code uses it.

pub mod assets;
pub mod control_plane;

/// Whether a test that cannot run is to fail (`MESH_E2E=require`) rather than be ignored.
pub fn required() -> bool {
    std::env::var("MESH_E2E").is_ok_and(|value| value == "require")
}
