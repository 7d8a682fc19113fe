//! Label keys and the values that matter.

/// On a Service: `true` mirrors it through the gateway, `remote-discovery` pod to pod.
pub const EXPORTED: &str = "mirror.linkerd.io/exported";
/// On a Service: `member` joins the federated service of its name.
pub const FEDERATED: &str = "mirror.linkerd.io/federated";
/// On what the mirror made: always `true`.
pub const MIRRORED_SERVICE: &str = "mirror.linkerd.io/mirrored-service";
/// On what the mirror made for one cluster: that cluster's name.
pub const MIRROR_CLUSTER_NAME: &str = "mirror.linkerd.io/cluster-name";
/// On an endpoint mirror: the headless mirror it belongs to.
pub const HEADLESS_MIRROR: &str = "mirror.linkerd.io/headless-mirror-svc-name";
/// On a mirror that goes pod to pod: the cluster it goes to.
pub const REMOTE_DISCOVERY: &str = "multicluster.linkerd.io/remote-discovery";
/// On a mirror that goes pod to pod: the Service's name there.
pub const REMOTE_SERVICE: &str = "multicluster.linkerd.io/remote-service";
/// On EndpointSlices of headless Services.
pub const HEADLESS: &str = "service.kubernetes.io/headless";
/// On a credentials Secret in the control-plane namespace: the cluster it is for.
pub const SECRET_CLUSTER_NAME: &str = "multicluster.linkerd.io/cluster-name";
/// On pods: the namespace of the control plane they belong to.
pub const CONTROL_PLANE_NS: &str = "linkerd.io/control-plane-ns";
/// On pods and objects of the control plane: which component they are.
pub const CONTROL_PLANE_COMPONENT: &str = "linkerd.io/control-plane-component";
/// On objects of an extension.
pub const EXTENSION: &str = "linkerd.io/extension";
/// On pods of the multicluster extension: `gateway`, `linkerd-service-mirror`.
pub const COMPONENT: &str = "component";
/// On EndpointSlices.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// On EndpointSlices: who writes them.
pub const SLICE_MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// On injected pods, followed by the kind of the owner: `linkerd.io/proxy-deployment: web`.
pub const PROXY_OWNER_PREFIX: &str = "linkerd.io/proxy-";
/// On injected pods: the namespace they run in.
pub const WORKLOAD_NS: &str = "linkerd.io/workload-ns";

/// Labels under these prefixes are never imported from another cluster.
pub const NEVER_IMPORTED: &[&str] = &[
    "mirror.linkerd.io/",
    "multicluster.linkerd.io/",
    "federation.mesh.io/",
];
