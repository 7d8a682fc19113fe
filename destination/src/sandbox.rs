//! A cluster for tests: objects as people and controllers write them, fed to an index.

pub(crate) mod api_server;

use crate::{
    config::Config,
    index::{Answer, Index, Kind},
    view::{
        Audience, Authority, Endpoints, EndpointsKey, Inbound, InboundKey, Outbound, Profile,
        Target, TargetKey,
    },
};
use k8s_openapi::api::{core::v1 as core, discovery::v1 as discovery};
use kube::ResourceExt;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::watch;

pub(crate) use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
pub(crate) use k8s_openapi::api::discovery::v1::EndpointSlice;
pub(crate) use mesh_api::policy::{
    AuthorizationPolicy, MeshTLSAuthentication, NetworkAuthentication, Server,
};

/// The gateway's identity in every sandbox.
pub(crate) const GATEWAY: &str =
    "linkerd-gateway.linkerd-multicluster.serviceaccount.identity.linkerd.cluster.local";
/// East's gateway's identity.
pub(crate) const EAST: &str =
    "linkerd-gateway.linkerd-multicluster.serviceaccount.identity.linkerd.east.local";

/// A cluster's index, and questions in short.
pub(crate) struct Sandbox {
    pub(crate) config: Arc<Config>,
    pub(crate) index: Arc<Mutex<Index>>,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self::with(Config::for_tests())
    }

    pub(crate) fn with(config: Config) -> Self {
        let config = Arc::new(config);
        let index = Arc::new(Mutex::new(Index::new(config.clone())));
        Self { config, index }
    }

    /// `web` on 80 with a meshed pod on 8080, labelled for export, and the cluster's gateway.
    pub(crate) fn exporting() -> Self {
        let sandbox = Self::new();
        sandbox.apply(gateway_service());
        sandbox.apply(labelled(
            service("web", "10.96.0.1", 80),
            "mirror.linkerd.io/exported",
            "true",
        ));
        sandbox.apply(pod("web-1", "10.0.0.1"));
        sandbox.apply(slice("web", 8080, &[("web-1", "10.0.0.1")]));
        sandbox
    }

    /// `web-federated` on 80 with a local member `web` and members in east and north; east's slice
    /// is there, north's is not.
    pub(crate) fn federated() -> Self {
        let sandbox = Self::exporting();
        let federated = service("web-federated", "10.96.0.2", 80);
        let federated = labelled(federated, "mirror.linkerd.io/mirrored-service", "true");
        let federated = annotated(
            federated,
            "multicluster.linkerd.io/remote-discovery",
            "web@north,web@east",
        );
        sandbox.apply(annotated(
            federated,
            "multicluster.linkerd.io/local-discovery",
            "web",
        ));
        sandbox.apply(gateway_slice("web-federated", "east", "192.0.2.1"));
        sandbox
    }

    pub(crate) fn apply<K: Kind>(&self, object: K) {
        self.index.lock().apply(&object);
    }

    pub(crate) fn delete<K: Kind>(&self, namespace: &str, name: &str) {
        self.index.lock().delete::<K>(namespace, name);
    }

    pub(crate) fn endpoints(
        &self,
        audience: Audience,
        path: &str,
    ) -> watch::Receiver<Answer<Endpoints>> {
        let parsed = Authority::parse(path, &self.config.cluster_domain).unwrap();
        let Authority::Name(host, port) = parsed else {
            panic!("{path} is no name of the cluster")
        };
        self.index.lock().endpoints(EndpointsKey {
            audience,
            host,
            port,
        })
    }

    pub(crate) fn outbound(&self, audience: Audience, path: &str) -> Answer<Outbound> {
        let target = self.target(path);
        let key = TargetKey { audience, target };
        self.index.lock().outbound(key).borrow().clone()
    }

    pub(crate) fn profile(&self, audience: Audience, path: &str) -> Answer<Profile> {
        let target = self.target(path);
        let key = TargetKey { audience, target };
        self.index.lock().profile(key).borrow().clone()
    }

    pub(crate) fn inbound(&self, pod: &str, port: u16) -> watch::Receiver<Answer<Inbound>> {
        let pod = crate::index::ObjectRef::new("default", pod);
        self.index.lock().inbound(InboundKey { pod, port })
    }

    fn target(&self, path: &str) -> Target {
        match Authority::parse(path, &self.config.cluster_domain).unwrap() {
            Authority::Address(address) => Target::Address(address),
            Authority::Name(host, port) => Target::Name(host, port),
            Authority::External => panic!("{path} is no name of the cluster"),
        }
    }
}

/// An object from what a manifest would say.
pub(crate) fn object<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).expect("a valid object")
}

/// A Service of `default` with one port `http`.
pub(crate) fn service(name: &str, ip: &str, port: u16) -> core::Service {
    object(json!({
        "metadata": {"namespace": "default", "name": name},
        "spec": {
            "clusterIP": ip,
            "ports": [{"name": "http", "port": port, "targetPort": "http"}]
        }
    }))
}

/// This cluster's gateway's Service.
pub(crate) fn gateway_service() -> core::Service {
    object(json!({
        "metadata": {
            "namespace": "linkerd-multicluster",
            "name": "linkerd-gateway",
            "annotations": {
                "mirror.linkerd.io/multicluster-gateway": "true",
                "mirror.linkerd.io/gateway-identity": GATEWAY
            }
        },
        "spec": {
            "clusterIP": "10.96.9.9",
            "ports": [{"name": "mc-gateway", "port": 4143}, {"name": "mc-probe", "port": 4191}]
        }
    }))
}

/// A pod of `default` with a sidecar, run by Deployment `web`.
pub(crate) fn pod(name: &str, ip: &str) -> core::Pod {
    object(json!({
        "metadata": {
            "namespace": "default",
            "name": name,
            "labels": {
                "app": "web",
                "pod-template-hash": "abc12",
                "linkerd.io/control-plane-ns": "linkerd"
            },
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-abc12",
                "uid": "1", "controller": true
            }]
        },
        "spec": {
            "serviceAccountName": "web",
            "containers": [
                {
                    "name": "app",
                    "ports": [{"name": "http", "containerPort": 8080}],
                    "readinessProbe": {"httpGet": {"path": "/healthz?full=1", "port": "http"}}
                },
                {
                    "name": "linkerd-proxy",
                    "ports": [
                        {"name": "linkerd-proxy", "containerPort": 4143},
                        {"name": "linkerd-admin", "containerPort": 4191}
                    ]
                }
            ]
        },
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]}
    }))
}

/// A pod of `default` without a sidecar.
pub(crate) fn plain_pod(name: &str, ip: &str) -> core::Pod {
    let mut pod = pod(name, ip);
    if let Some(spec) = &mut pod.spec {
        spec.containers.retain(|container| container.name == "app");
    }
    pod
}

/// An EndpointSlice of `default` with ready pods behind port `http`.
pub(crate) fn slice(service: &str, port: u16, pods: &[(&str, &str)]) -> discovery::EndpointSlice {
    let endpoint = |(name, ip): &(&str, &str)| {
        json!({
            "addresses": [ip],
            "conditions": {"ready": true},
            "zone": "z1",
            "targetRef": {"kind": "Pod", "namespace": "default", "name": name}
        })
    };
    object(json!({
        "metadata": {
            "namespace": "default",
            "name": format!("{service}-1"),
            "labels": {"kubernetes.io/service-name": service}
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
        "endpoints": pods.iter().map(endpoint).collect::<Vec<_>>()
    }))
}

/// An EndpointSlice as the mirror writes it: another cluster's gateway on 4143.
pub(crate) fn gateway_slice(service: &str, cluster: &str, ip: &str) -> discovery::EndpointSlice {
    object(json!({
        "metadata": {
            "namespace": "default",
            "name": format!("{service}-{cluster}"),
            "labels": {
                "kubernetes.io/service-name": service,
                "endpointslice.kubernetes.io/managed-by": "service-mirror.linkerd.io",
                "mirror.linkerd.io/mirrored-service": "true",
                "mirror.linkerd.io/cluster-name": cluster
            },
            "annotations": {
                "mirror.linkerd.io/remote-svc-fq-name": "web.default.svc.cluster.local",
                "mirror.linkerd.io/remote-gateway-identity":
                    EAST.replace("east", cluster)
            }
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 4143, "protocol": "TCP"}],
        "endpoints": [{"addresses": [ip], "conditions": {"ready": true}}]
    }))
}

/// The same object with a label.
pub(crate) fn labelled<K: ResourceExt>(mut object: K, key: &str, value: &str) -> K {
    object.labels_mut().insert(key.to_owned(), value.to_owned());
    object
}

/// The same object with an annotation.
pub(crate) fn annotated<K: ResourceExt>(mut object: K, key: &str, value: &str) -> K {
    object
        .annotations_mut()
        .insert(key.to_owned(), value.to_owned());
    object
}
