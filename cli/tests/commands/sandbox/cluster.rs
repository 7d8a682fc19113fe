//! An API server in this process, and manifests applied to it as `kubectl apply` does.

use super::{Files, documents, eventually};
use devcluster::testing;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{
    Api,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams},
    core::GroupVersionKind,
    discovery::{Scope, pinned_kind},
};
use serde_json::{Value, json};
use std::ops::Deref;

pub(crate) struct Cluster {
    cluster: testing::Cluster,
    /// Path of the administrator's kubeconfig.
    pub(crate) kubeconfig: String,
    _files: Files,
}

impl Deref for Cluster {
    type Target = testing::Cluster;

    fn deref(&self) -> &testing::Cluster {
        &self.cluster
    }
}

impl Cluster {
    pub(crate) async fn start(name: &str) -> Self {
        let (cluster, files) = (testing::Cluster::start(name).await, Files::new());
        Self {
            kubeconfig: files.file("kubeconfig", cluster.kubeconfig()),
            cluster,
            _files: files,
        }
    }

    /// Runs `mesh` against this cluster.
    pub(crate) async fn mesh(&self, args: &[&str]) -> super::Said {
        super::mesh(&[&["--kubeconfig", &self.kubeconfig], args].concat()).await
    }

    /// Applies every document, server-side.
    pub(crate) async fn apply(&self, text: &str) {
        for document in documents(text) {
            self.apply_one(&document).await;
        }
    }

    /// Deletes every document that is there, in its order, and waits until all are gone.
    pub(crate) async fn delete(&self, documents: &[Value]) {
        for document in documents {
            let (api, name) = self.api_of(document).await;
            if let Err(kube::Error::Api(status)) = api.delete(&name, &DeleteParams::default()).await
            {
                assert_eq!(status.code, 404, "{document}: {status:?}");
            }
        }
        for document in documents {
            let (api, name) = self.api_of(document).await;
            eventually(async || match api.get_opt(&name).await {
                Ok(None) => Ok(()),
                other => Err(format!("no {name}, but {other:?}")),
            })
            .await;
        }
    }

    /// Says of every pod in `namespace` that it is ready, as a node would, until the Deployments
    /// there have all they want.
    pub(crate) async fn run_pods(&self, namespace: &str) {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), namespace);
        eventually(async || {
            let all = pods.list(&ListParams::default()).await;
            for pod in all.map_err(|e| e.to_string())? {
                let name = pod.metadata.name.clone().unwrap();
                let (params, status) = (PatchParams::default(), Patch::Merge(running(&pod)));
                let patched = pods.patch_status(&name, &params, &status).await;
                patched.map_err(|e| e.to_string())?;
            }
            let all = deployments.list(&ListParams::default()).await;
            let all = all.map_err(|e| e.to_string())?;
            let available = |d: &Deployment| d.status.as_ref()?.available_replicas;
            match all.iter().find(|d| available(d).is_none()) {
                Some(missing) => Err(format!("pods of {:?}", missing.metadata.name)),
                None => Ok(()),
            }
        })
        .await;
    }

    async fn apply_one(&self, document: &Value) {
        let (api, name) = self.api_of(document).await;
        let strict = PatchParams {
            field_manager: Some("kubectl".into()),
            field_validation: Some(kube::api::ValidationDirective::Strict),
            ..PatchParams::default()
        };
        if let Err(error) = api.patch(&name, &strict, &Patch::Apply(document)).await {
            panic!("{name}: {error}\n{document:#}");
        }
    }

    /// Where an object of the kind and namespace of `document` is, and its name.
    async fn api_of(&self, document: &Value) -> (Api<DynamicObject>, String) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let api_version = text(&document["apiVersion"]);
        let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
        let kind = GroupVersionKind::gvk(group, version, &text(&document["kind"]));
        // A kind whose definition was applied a moment ago is served a moment later.
        let (resource, capabilities) = eventually(async || {
            pinned_kind(&self.client, &kind)
                .await
                .map_err(|e| e.to_string())
        })
        .await;
        let namespace = text(&document["metadata"]["namespace"]);
        let api: Api<DynamicObject> = match capabilities.scope {
            Scope::Cluster => Api::all_with(self.client.clone(), &resource),
            Scope::Namespaced => {
                assert_ne!(namespace, "", "no namespace: {document}");
                Api::namespaced_with(self.client.clone(), &namespace, &resource)
            }
        };
        let name = text(&document["metadata"]["name"]);
        (api, name)
    }
}

/// The status of a pod whose containers are all ready.
fn running(pod: &Pod) -> Value {
    let spec = pod.spec.as_ref().unwrap();
    let ready = |name: &String| json!({"name": name, "ready": true, "restartCount": 0, "image": "", "imageID": ""});
    let of = spec.containers.iter().map(|c| ready(&c.name));
    let init = spec.init_containers.iter().flatten();
    json!({"status": {
        "phase": "Running",
        "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"},
        ],
        "containerStatuses": of.collect::<Vec<_>>(),
        "initContainerStatuses": init.map(|c| ready(&c.name)).collect::<Vec<_>>(),
    }})
}
