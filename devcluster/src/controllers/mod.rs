//! What objects bring about: the controllers of a cluster, in the API server's process and
//! directly on its store.
//!
//! `apiserver` calls [`spawn`] once. Each controller is a file: it follows some kinds, turns
//! changes into keys, and reconciles one key at a time (`driver`). They decide purely where there
//! is something to decide, tolerate starting on a full store, and know nothing about HTTP. Pods
//! they make go the way of anybody's pods ([`Make`]), admission webhooks included.

mod collector;
mod deployments;
mod disruptions;
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
use crate::status::ApiError;
use crate::store::Store;
pub(crate) use disruptions::disruption_allowed;
use driver::Controller;
use events::Recorder;
use futures::future::BoxFuture;
use mesh_daemon::Shutdown;
use serde_json::Value;
use std::sync::Arc;

/// A pod that was made, or why it was not.
pub type Made = BoxFuture<'static, Result<Arc<Value>, ApiError>>;

/// Makes what controllers want, as a client's request would.
pub trait Make: Send + Sync {
    /// A pod (without a name: `generateName` gives it one), made by an account of `kube-system`.
    fn pod(&self, account: &'static str, namespace: &str, pod: Value) -> Made;
}

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
    make: Arc<dyn Make>,
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
        make: make.clone(),
        recorder: recorder("statefulset-controller"),
    });
    start.controller(replicasets::ReplicaSets {
        store: store.clone(),
        make,
        recorder: recorder("replicaset-controller"),
    });
    start.controller(disruptions::Disruptions {
        store: store.clone(),
        recorder: recorder("controllermanager"),
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
