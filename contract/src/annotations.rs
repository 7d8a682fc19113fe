//! Annotation keys.

/// `enabled`, `ingress` or `disabled`, on namespaces and pods.
pub const INJECT: &str = "linkerd.io/inject";
/// Which version injected the proxy of a pod.
pub const PROXY_VERSION: &str = "linkerd.io/proxy-version";
/// Who rendered an object.
pub const CREATED_BY: &str = "linkerd.io/created-by";
/// The trust anchors' SHA-256 a pod was injected with.
pub const TRUST_ROOT_SHA256: &str = "linkerd.io/trust-root-sha256";
/// On injected pods: keys that were copied from their namespace, comma separated.
pub const INHERITED: &str = "federation.mesh.io/inherited-annotations";
/// Prefix of the proxy's configuration.
pub const CONFIG_PREFIX: &str = "config.linkerd.io/";
/// Ports (or ranges, comma separated) whose bytes are forwarded without detection.
pub const OPAQUE_PORTS: &str = "config.linkerd.io/opaque-ports";
/// `true` makes a sidecar a gateway.
pub const ENABLE_GATEWAY: &str = "config.linkerd.io/enable-gateway";
/// Policy for ports without a Server.
pub const DEFAULT_INBOUND_POLICY: &str = "config.linkerd.io/default-inbound-policy";
/// Log filter of the proxy.
pub const PROXY_LOG_LEVEL: &str = "config.linkerd.io/proxy-log-level";

/// On a mirror Service and its EndpointSlices: the exported name in the other cluster.
pub const REMOTE_SVC_FQ_NAME: &str = "mirror.linkerd.io/remote-svc-fq-name";
/// On a mirror Service: the revision of the exported Service it shows.
pub const REMOTE_RESOURCE_VERSION: &str = "mirror.linkerd.io/remote-resource-version";
/// On a mirror's EndpointSlices: the identity the gateway must prove.
pub const REMOTE_GATEWAY_IDENTITY: &str = "mirror.linkerd.io/remote-gateway-identity";

/// On EndpointSlices of a mirror that goes pod to pod: the identity its pods must prove.
pub const REMOTE_POD_IDENTITY: &str = "federation.mesh.io/pod-identity";
/// On EndpointSlices of a mirror that goes pod to pod: where their sidecars take connections.
pub const REMOTE_POD_INBOUND_PORT: &str = "federation.mesh.io/pod-inbound-port";

/// On a gateway Service: its identity, its probe, and that it is one.
pub const GATEWAY_IDENTITY: &str = "mirror.linkerd.io/gateway-identity";
/// On a gateway Service: the path that answers 200.
pub const PROBE_PATH: &str = "mirror.linkerd.io/probe-path";
/// On a gateway Service: seconds between probes.
pub const PROBE_PERIOD: &str = "mirror.linkerd.io/probe-period";
/// On a gateway Service: how long its gateway serves what was exported while it hears nothing of
/// its control plane, such as `10m`; for ever without it.
pub const EXPORT_LEASE: &str = "federation.mesh.io/export-lease";
/// On a gateway Service: `true`.
pub const MULTICLUSTER_GATEWAY: &str = "mirror.linkerd.io/multicluster-gateway";

/// On a federated Service: `<svc>@<cluster>,…`.
pub const REMOTE_DISCOVERY: &str = "multicluster.linkerd.io/remote-discovery";
/// On a federated Service: the local member.
pub const LOCAL_DISCOVERY: &str = "multicluster.linkerd.io/local-discovery";
/// On a credentials Secret: the other cluster's trust domain.
pub const TRUST_DOMAIN: &str = "multicluster.linkerd.io/trust-domain";
/// On a credentials Secret: the other cluster's DNS domain.
pub const CLUSTER_DOMAIN: &str = "multicluster.linkerd.io/cluster-domain";

/// On a Pod of a devcluster: `true` keeps dead containers dead. For fault experiments.
pub const HOLD_RESTARTS: &str = "devcluster.mesh.io/hold-restarts";

/// Annotations under these prefixes are never imported from another cluster.
pub const NEVER_IMPORTED: &[&str] = &[
    "mirror.linkerd.io/",
    "multicluster.linkerd.io/",
    "federation.mesh.io/",
    "linkerd.io/",
    "kubectl.kubernetes.io/",
    "service.kubernetes.io/topology",
];
