//! A cluster, and what tests do in it.

use super::{GATEWAY_IDENTITY, NS, eventually, exported, text, wire::Wire};
use devcluster::testing;
use k8s_openapi::{
    api::{
        core::v1::{ConfigMap, Namespace, Secret, Service},
        discovery::v1::EndpointSlice,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use mesh_api::link::Link;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{fmt::Debug, ops::Deref};

/// A cluster, as an administrator uses it.
pub(crate) struct Cluster(testing::Cluster);

impl Deref for Cluster {
    type Target = testing::Cluster;

    fn deref(&self) -> &testing::Cluster {
        &self.0
    }
}

impl Cluster {
    pub(crate) async fn start(name: &str) -> Self {
        Self(testing::Cluster::start(name).await)
    }

    /// A cluster that others can be linked into.
    pub(crate) async fn importing(name: &str) -> Self {
        let cluster = Self::start(name).await;
        for crd in mesh_api::crds() {
            let api: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
            api.create(&PostParams::default(), &crd).await.unwrap();
        }
        let links: Api<Link> = Api::namespaced(cluster.client.clone(), NS);
        eventually(async || links.list(&ListParams::default()).await.map_err(text)).await;
        cluster.namespace(NS).await;
        cluster
    }

    pub(crate) fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    pub(crate) fn services(&self) -> Api<Service> {
        self.api("default")
    }

    pub(crate) fn slices(&self) -> Api<EndpointSlice> {
        self.api("default")
    }

    pub(crate) fn links(&self) -> Api<Link> {
        self.api(NS)
    }

    pub(crate) async fn namespace(&self, name: &str) {
        let namespace: Namespace =
            serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        let api: Api<Namespace> = Api::all(self.client.clone());
        api.create(&PostParams::default(), &namespace)
            .await
            .unwrap();
    }

    pub(crate) async fn create<K>(&self, object: Value) -> K
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        let object: K = serde_json::from_value(object).unwrap();
        let namespace = object.namespace().unwrap_or_else(|| "default".to_owned());
        let api = self.api::<K>(&namespace);
        api.create(&PostParams::default(), &object).await.unwrap()
    }

    /// A Service with one ready endpoint, labelled as given.
    pub(crate) async fn service(&self, namespace: &str, name: &str, labels: Value) -> Service {
        self.endpoints(namespace, name, true).await;
        self.create(json!({
            "metadata": {
                "name": name, "namespace": namespace, "labels": labels,
                "annotations": {"team": "web"},
            },
            "spec": {"ports": [{"name": "http", "port": 80, "targetPort": 8080, "appProtocol": "http"}]},
        }))
        .await
    }

    /// The one endpoint of a Service, as a controller would have it.
    pub(crate) async fn endpoints(&self, namespace: &str, service: &str, ready: bool) {
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": format!("{service}-abcde"),
                "labels": {"kubernetes.io/service-name": service},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.1.2.3"], "conditions": {"ready": ready}}],
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        });
        let name = format!("{service}-abcde");
        let params = PatchParams::apply("test").force();
        self.api::<EndpointSlice>(namespace)
            .patch(&name, &params, &Patch::Apply(slice))
            .await
            .unwrap();
    }

    /// A Service of the name in `default`, exported.
    pub(crate) async fn export(&self, name: &str) -> Service {
        self.service("default", name, exported()).await
    }

    pub(crate) async fn patch(&self, service: &str, patch: Value) {
        self.services()
            .patch(service, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
    }

    pub(crate) async fn delete(&self, service: &str) {
        self.services()
            .delete(service, &DeleteParams::default())
            .await
            .unwrap();
    }

    /// Stops the API server; its address answers no more.
    pub(crate) async fn kill(self) {
        self.0.kill().await;
    }

    /// What gets one into this cluster, by `wire` if there is one.
    pub(crate) fn kubeconfig(&self, wire: Option<&Wire>) -> String {
        let text = self.0.kubeconfig();
        match wire {
            Some(wire) => text.replace(&self.addr().to_string(), &wire.addr.to_string()),
            None => text.to_owned(),
        }
    }

    pub(crate) async fn wire(&self) -> Wire {
        Wire::to(self.addr()).await
    }

    /// Links `other` into this cluster.
    pub(crate) async fn link(&self, other: &Cluster) {
        self.secret(&other.name, &other.kubeconfig(None)).await;
        self.create_link(&other.name, json!({})).await;
    }

    pub(crate) async fn secret(&self, cluster: &str, kubeconfig: &str) {
        let name = format!("cluster-credentials-{cluster}");
        let secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name},
            "type": "mirror.linkerd.io/remote-kubeconfig",
            "stringData": {"kubeconfig": kubeconfig},
        });
        self.api::<Secret>(NS)
            .patch(
                &name,
                &PatchParams::apply("test").force(),
                &Patch::Apply(secret),
            )
            .await
            .unwrap();
    }

    /// A Link, with `spec` laid over what `mesh multicluster link` writes.
    pub(crate) async fn create_link(&self, name: &str, spec: Value) {
        let mut link = json!({
            "apiVersion": "multicluster.linkerd.io/v1alpha3",
            "kind": "Link",
            "metadata": {"name": name, "namespace": NS},
            "spec": {
                "targetClusterName": name,
                "targetClusterDomain": "cluster.local",
                "targetClusterLinkerdNamespace": "linkerd",
                "clusterCredentialsSecret": format!("cluster-credentials-{name}"),
                "gatewayAddress": "192.0.2.9",
                "gatewayPort": "4143",
                "gatewayIdentity": GATEWAY_IDENTITY,
                "probeSpec": {"path": "/ready", "port": "4191", "period": "1s"},
                "selector": {"matchLabels": {"mirror.linkerd.io/exported": "true"}},
                "remoteDiscoverySelector":
                    {"matchLabels": {"mirror.linkerd.io/exported": "remote-discovery"}},
                "federatedServiceSelector":
                    {"matchLabels": {"mirror.linkerd.io/federated": "member"}},
            },
        });
        let known = link["spec"].as_object_mut().unwrap();
        known.extend(spec.as_object().unwrap().clone());
        self.create::<Link>(link).await;
    }

    pub(crate) async fn trust_roots(&self, namespace: &str, bundle: &str) {
        self.namespace(namespace).await;
        self.create::<ConfigMap>(json!({
            "metadata": {"name": "linkerd-identity-trust-roots", "namespace": namespace},
            "data": {"ca-bundle.crt": bundle},
        }))
        .await;
    }
}
