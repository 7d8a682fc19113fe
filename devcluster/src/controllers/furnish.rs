//! What every namespace contains: a `default` ServiceAccount, and the ConfigMap with the CA pods
//! trust the API server by.

use super::driver::Controller;
use super::namespaces::living;
use super::objects::{Key, namespaces};
use crate::schema::json::{name, namespace};
use crate::status::ApiError;
use crate::store::{ResourceKey, Store};
use serde_json::{Value, json};
use std::time::Duration;

const ACCOUNT: &str = "default";
/// In the words of kube-controller-manager.
const ROOT_CA_DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the \
    kube-apiserver when using internal endpoints such as the internal service IP or \
    kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes \
    clusters.";
const ROOT_CA: &str = "kube-root-ca.crt";

/// Furnishes namespaces. Keys are namespaces without a name.
pub(super) struct Furnish {
    pub(super) store: Store,
    pub(super) ca_pem: String,
}

fn accounts() -> ResourceKey {
    ResourceKey::core("serviceaccounts")
}

fn config_maps() -> ResourceKey {
    ResourceKey::core("configmaps")
}

impl Furnish {
    fn root_ca(&self, ns: &str) -> Result<(), ApiError> {
        let wanted = json!({"ca.crt": self.ca_pem});
        if self.store.get(&config_maps(), Some(ns), ROOT_CA).is_none() {
            let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": wanted,
                "metadata": {"name": ROOT_CA, "namespace": ns, "annotations": {
                    "kubernetes.io/description": ROOT_CA_DESCRIPTION}}});
            return self.store.create(&config_maps(), map).map(drop);
        }
        let restore = |old: &Value| {
            let mut new = old.clone();
            new["data"] = wanted;
            Ok(new)
        };
        self.store
            .update(&config_maps(), Some(ns), ROOT_CA, restore)
            .map(drop)
    }
}

impl Controller for Furnish {
    fn name(&self) -> &'static str {
        "furnish"
    }

    fn sources(&self) -> Vec<ResourceKey> {
        vec![namespaces(), accounts(), config_maps()]
    }

    fn touched(&self, source: &ResourceKey, object: &Value) -> Vec<Key> {
        let ns = if *source == namespaces() {
            name(object)
        } else if matches!(name(object), ACCOUNT | ROOT_CA) {
            namespace(object)
        } else {
            return Vec::new();
        };
        vec![Key::new(ns, "")]
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, ApiError> {
        self.store.exclusive(|| {
            if !living(&self.store, key) {
                return Ok(None);
            }
            let ns = key.ns.as_str();
            if self.store.get(&accounts(), Some(ns), ACCOUNT).is_none() {
                let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
                                     "metadata": {"name": ACCOUNT, "namespace": ns}});
                self.store.create(&accounts(), account)?;
            }
            self.root_ca(ns)?;
            Ok(None)
        })
    }
}
