//! Well-known object names.

/// Namespace of the control plane.
pub const CONTROL_PLANE_NS: &str = "linkerd";
/// Namespace of the multicluster extension.
pub const MULTICLUSTER_NS: &str = "linkerd-multicluster";

/// ServiceAccount, Deployment and Service of the issuer.
pub const IDENTITY: &str = "linkerd-identity";
/// Headless Service sidecars dial for certificates.
pub const IDENTITY_HEADLESS: &str = "linkerd-identity-headless";
/// ServiceAccount and Deployment of discovery and policy.
pub const DESTINATION: &str = "linkerd-destination";
/// Service of discovery.
pub const DST: &str = "linkerd-dst";
/// Headless Service sidecars dial for discovery.
pub const DST_HEADLESS: &str = "linkerd-dst-headless";
/// Headless Service sidecars dial for policy.
pub const POLICY: &str = "linkerd-policy";

/// ConfigMap (key `values`, YAML) with what was installed.
pub const CONFIG: &str = "linkerd-config";
/// ConfigMap (key `ca-bundle.crt`, PEM) with the trust anchors.
pub const TRUST_ROOTS: &str = "linkerd-identity-trust-roots";
/// Key of the bundle in the trust roots ConfigMap.
pub const TRUST_ROOTS_KEY: &str = "ca-bundle.crt";
/// Secret with the issuer (`crt.pem`/`key.pem`, or `tls.crt`/`tls.key`).
pub const ISSUER: &str = "linkerd-identity-issuer";

/// Deployment, Service and ServiceAccount of the gateway.
pub const GATEWAY: &str = "linkerd-gateway";
/// Name of the gateway Service's traffic port.
pub const GATEWAY_PORT_NAME: &str = "mc-gateway";
/// Name of the gateway Service's probe port.
pub const GATEWAY_PROBE_PORT_NAME: &str = "mc-probe";
/// Deployment and ServiceAccount of the service mirror (one for all Links).
pub const SERVICE_MIRROR: &str = "linkerd-service-mirror";
/// ServiceAccount another cluster's mirror reads this cluster with.
pub const REMOTE_ACCESS: &str = "linkerd-service-mirror-remote-access-default";
/// Type of a credentials Secret.
pub const CREDENTIALS_SECRET_TYPE: &str = "mirror.linkerd.io/remote-kubeconfig";
/// Key of a credentials Secret.
pub const CREDENTIALS_SECRET_KEY: &str = "kubeconfig";
/// `cluster-credentials-<cluster>`.
pub const CREDENTIALS_SECRET_PREFIX: &str = "cluster-credentials-";
/// Suffix of a federated Service's name.
pub const FEDERATED_SUFFIX: &str = "-federated";
/// The container the injector adds.
pub const PROXY_CONTAINER: &str = "linkerd-proxy";
/// The container the injector adds to redirect a pod's traffic.
pub const INIT_CONTAINER: &str = "linkerd-init";
/// ServiceAccount, Deployment and Service of the admission webhooks.
pub const INJECTOR: &str = "linkerd-proxy-injector";
/// The webhook configuration that adds sidecars.
pub const INJECTOR_WEBHOOK_CONFIG: &str = "linkerd-proxy-injector-webhook-config";
/// The webhook configuration that validates the mesh's own resources.
pub const VALIDATOR_WEBHOOK_CONFIG: &str = "linkerd-policy-validator-webhook-config";
/// Secret with the webhooks' serving certificate (`tls.crt`, `tls.key`, `ca.crt`).
pub const INJECTOR_TLS: &str = "linkerd-proxy-injector-k8s-tls";
/// Secret with the values an installation was given, for `mesh upgrade`.
pub const CONFIG_OVERRIDES: &str = "linkerd-config-overrides";
/// Audience of the token a sidecar sends to the issuer.
pub const IDENTITY_AUDIENCE: &str = "identity.l5d.io";
/// Who manages the EndpointSlices of mirrors; a label value, so without a slash.
pub const SLICE_MANAGER: &str = "service-mirror.linkerd.io";
/// Finalizer of a Link: it goes once everything that was made for the Link is gone.
pub const LINK_FINALIZER: &str = "federation.mesh.io/mirrors";
/// `controllerName` in Link status.
pub const MIRROR_CONTROLLER: &str = "linkerd.io/service-mirror";

/// Default trust domain and DNS domain.
pub const DEFAULT_CLUSTER_DOMAIN: &str = "cluster.local";
/// The program that ends once the sidecar beside it is ready; images have it in a folder of its own.
pub const AWAIT: &str = "linkerd-await";
/// Where images of Linkerd's sidecar have it.
pub const OTHER_PROXY: &str = "/usr/lib/linkerd/linkerd2-proxy";
/// The folder a sidecar that keeps its key on disk finds it in: a volume of every meshed pod.
pub const END_ENTITY_DIR: &str = "/var/run/linkerd/identity/end-entity";
