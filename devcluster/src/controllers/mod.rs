//! What objects bring about: the controllers of a cluster, in the API server's process and
//! directly on its store.
//!
//! `apiserver` calls [`spawn`] once. Each controller is a file: it follows some kinds, turns
//! changes into keys, and reconciles one key at a time (`driver`). They decide purely where there
//! is something to decide, tolerate starting on a full store, and know nothing about HTTP. Pods
//! they make go through [`Schema`] like anybody's.

mod collector;
mod deployments;
mod driver;
mod events;
mod furnish;
mod namespaces;
mod objects;
mod replicasets;
mod slices;
mod statefulsets;
mod tokens;

#[cfg(test)]
mod tests;

use crate::apiserver::resources::Registry;
use crate::auth::Auth;
use crate::schema::Schema;
use crate::store::Store;
use driver::Controller;
use events::Recorder;
use mesh_daemon::Shutdown;

/// Settings.
#[derive(Clone, Debug)]
pub struct ControllersConfig {
    /// CA of the server, which pods find in the ConfigMap `kube-root-ca.crt`.
    pub ca_pem: String,
    /// Addresses of Services.
    pub service_cidr: ipnet::Ipv4Net,
    /// DNS domain.
    pub cluster_domain: String,
}

/// Makes the namespaces of every cluster and starts the controllers; they end with the shutdown.
pub fn spawn(
    store: Store,
    registry: Registry,
    auth: Auth,
    config: ControllersConfig,
    shutdown: Shutdown,
) {
    let schema = Schema::new(store.clone(), config.service_cidr);
    if let Err(fault) = namespaces::initial(&store, &registry, &schema) {
        tracing::error!(%fault, "cannot make the initial namespaces");
    }
    let recorder = |component| Recorder {
        store: store.clone(),
        component,
    };
    let start = Start {
        store: store.clone(),
        shutdown: shutdown.clone(),
    };
    start.controller(furnish::Furnish {
        store: store.clone(),
        ca_pem: config.ca_pem.clone(),
    });
    start.controller(tokens::Tokens {
        store: store.clone(),
        auth,
        ca_pem: config.ca_pem,
    });
    start.controller(slices::Slices {
        store: store.clone(),
    });
    start.controller(deployments::Deployments {
        store: store.clone(),
        recorder: recorder("deployment-controller"),
    });
    start.controller(statefulsets::StatefulSets {
        store: store.clone(),
        registry: registry.clone(),
        schema: schema.clone(),
        recorder: recorder("statefulset-controller"),
    });
    start.controller(replicasets::ReplicaSets {
        store: store.clone(),
        registry: registry.clone(),
        schema,
        recorder: recorder("replicaset-controller"),
    });
    tokio::spawn(namespaces::run(
        store.clone(),
        registry.clone(),
        shutdown.clone(),
    ));
    tokio::spawn(collector::run(store.clone(), registry, shutdown));
}

struct Start {
    store: Store,
    shutdown: Shutdown,
}

impl Start {
    fn controller(&self, controller: impl Controller) {
        let run = driver::run(self.store.clone(), controller, self.shutdown.clone());
        tokio::spawn(run);
    }
}
