//! What the decision needs to know of the control plane, the same for every pod.
//!
//! The value types are those of an installation (`install` embeds them), so that what a Helm user
//! writes below `proxy:` is what sidecars get. The injector reads them from the ConfigMap
//! `linkerd-config`; values it does not need are not its business.

use mesh_contract::{identity::WorkloadIdentity, images, names, ports};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// The control plane as sidecars must see it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// Namespace of the control plane.
    pub control_plane_ns: String,
    /// PEM bundle of the trust anchors.
    pub trust_anchors: String,
    /// SHA-256 of the bundle, in hex; recorded on pods so that stale ones can be found.
    pub trust_anchors_sha256: String,
    /// Where control and data plane are told the same.
    pub values: SidecarValues,
}

/// The values of an installation that sidecars depend on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SidecarValues {
    /// Version written on injected pods.
    pub linkerd_version: String,
    /// DNS domain of the cluster.
    pub cluster_domain: String,
    /// Networks whose addresses are looked up in discovery, comma separated.
    pub cluster_networks: String,
    /// Trust domain of every identity of this cluster.
    pub identity_trust_domain: String,
    /// Traffic is redirected by somebody else, so pods get no init container.
    pub cni_enabled: bool,
    /// Listeners are IPv4 only.
    #[serde(rename = "disableIPv6")]
    pub disable_ipv6: bool,
    /// Sidecars.
    pub proxy: Proxy,
    /// The container that redirects a pod's traffic.
    pub proxy_init: ProxyInit,
}

/// Defaults of sidecars; annotations of a pod or its namespace win over them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Proxy {
    /// Image of the sidecar.
    pub image: Image,
    /// Log filter.
    pub log_level: String,
    /// `plain` or `json`.
    pub log_format: String,
    /// Access log: empty (none), `apache` or `json`.
    pub access_log: String,
    /// Policy for ports without a Server.
    pub default_inbound_policy: String,
    /// Ports (or ranges) that are opaque unless a pod says otherwise.
    pub opaque_ports: String,
    /// Ports of the sidecar.
    pub ports: Ports,
    /// Requests and limits.
    pub resources: Resources,
    /// Uid the sidecar runs as; redirection exempts its traffic by it.
    pub uid: u32,
    /// Gid the sidecar runs as; negative for the uid's number.
    pub gid: i64,
    /// Run the sidecar as an init container that stays (Kubernetes 1.29 and later).
    pub native_sidecar: bool,
    /// Hold the application's containers back until the sidecar is ready.
    #[serde(rename = "await")]
    pub await_ready: bool,
    /// Seconds between the order to stop a pod and the sidecar's.
    pub wait_before_exit_seconds: u32,
    /// How long a stopping sidecar lets requests finish; empty for its own default.
    pub shutdown_grace_period: String,
    /// Timeout of connections to other pods.
    pub outbound_connect_timeout: String,
    /// Timeout of connections to the application.
    pub inbound_connect_timeout: String,
    /// How long unused outbound discovery is kept.
    pub outbound_discovery_cache_unused_timeout: String,
    /// How long unused inbound policy is kept.
    pub inbound_discovery_cache_unused_timeout: String,
    /// Serve POST /shutdown on the admin port.
    pub enable_shutdown_endpoint: bool,
    /// Streams to the control plane.
    pub control: Control,
    /// Worker threads of a sidecar that has no CPU limit.
    pub cores: u32,
    /// Further environment, appended as it is.
    #[schemars(with = "Vec<serde_json::Map<String, Value>>")]
    pub additional_env: Vec<Value>,
}

/// An image in the parts Helm users set; also read from one text, `name:tag`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Image {
    /// Repository.
    pub name: String,
    /// Tag; the version of the control plane where it is empty.
    pub version: String,
    /// When it is pulled; `IfNotPresent` where it is empty.
    pub pull_policy: String,
}

/// The ways an image is written.
#[derive(Deserialize)]
#[serde(untagged)]
enum ImageForm {
    Reference(String),
    #[serde(rename_all = "camelCase")]
    Parts {
        #[serde(default)]
        name: String,
        #[serde(default)]
        version: String,
        #[serde(default)]
        pull_policy: String,
    },
}

impl<'de> Deserialize<'de> for Image {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ImageForm::deserialize(deserializer).map(Self::from)
    }
}

impl From<ImageForm> for Image {
    fn from(form: ImageForm) -> Self {
        match form {
            ImageForm::Reference(reference) => {
                let tag = reference
                    .rfind(':')
                    .filter(|at| !reference[*at..].contains('/'));
                let (name, version) = match tag {
                    Some(at) => (&reference[..at], &reference[at + 1..]),
                    None => (reference.as_str(), ""),
                };
                Self {
                    name: name.to_owned(),
                    version: version.to_owned(),
                    pull_policy: String::new(),
                }
            }
            ImageForm::Parts {
                name,
                version,
                pull_policy,
            } => Self {
                name,
                version,
                pull_policy,
            },
        }
    }
}

/// Ports of the sidecar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Ports {
    /// `/live`, `/ready`, `/metrics`.
    pub admin: u16,
    /// Tap.
    pub control: u16,
    /// Redirected inbound traffic.
    pub inbound: u16,
    /// Redirected outbound traffic.
    pub outbound: u16,
}

/// Requests and limits of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Resources {
    /// CPU.
    pub cpu: Resource,
    /// Memory.
    pub memory: Resource,
    /// Disk of the node.
    #[serde(rename = "ephemeral-storage")]
    pub ephemeral_storage: Resource,
}

/// One resource; empty is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Resource {
    /// What it may use at most.
    pub limit: String,
    /// What it is promised.
    pub request: String,
}

/// Streams to the control plane.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Control {
    /// Their deadlines.
    pub streams: Streams,
}

/// Deadlines of streams to the control plane; empty is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Streams {
    /// Until the first message.
    pub initial_timeout: String,
    /// Without a message.
    pub idle_timeout: String,
    /// Of a whole stream.
    pub lifetime: String,
}

/// The container that redirects a pod's traffic to its sidecar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyInit {
    /// Its image; the control plane's where the name is empty.
    pub image: Image,
    /// Inbound ports that are not redirected, comma separated.
    pub ignore_inbound_ports: String,
    /// Outbound ports that are not redirected, comma separated.
    pub ignore_outbound_ports: String,
    /// Networks to which traffic is not redirected, comma separated.
    pub skip_subnets: String,
    /// Run privileged, where a node's security module demands it.
    pub privileged: bool,
    /// Requests and limits.
    pub resources: Resources,
}

impl Default for SidecarValues {
    fn default() -> Self {
        Self {
            linkerd_version: env!("CARGO_PKG_VERSION").to_owned(),
            cluster_domain: names::DEFAULT_CLUSTER_DOMAIN.to_owned(),
            cluster_networks: "10.0.0.0/8,100.64.0.0/10,172.16.0.0/12,192.168.0.0/16,fd00::/8"
                .to_owned(),
            identity_trust_domain: names::DEFAULT_CLUSTER_DOMAIN.to_owned(),
            cni_enabled: false,
            disable_ipv6: true,
            proxy: Proxy::default(),
            proxy_init: ProxyInit::default(),
        }
    }
}

impl Default for Proxy {
    fn default() -> Self {
        Self {
            image: Image {
                name: images::PROXY.to_owned(),
                ..Image::default()
            },
            log_level: "warn,mesh=info".to_owned(),
            log_format: "plain".to_owned(),
            access_log: String::new(),
            default_inbound_policy: "all-unauthenticated".to_owned(),
            opaque_ports: "25,587,3306,4444,5432,6379,9300,11211".to_owned(),
            ports: Ports::default(),
            resources: Resources::default(),
            uid: 2102,
            gid: -1,
            native_sidecar: false,
            await_ready: true,
            wait_before_exit_seconds: 0,
            shutdown_grace_period: String::new(),
            outbound_connect_timeout: "1000ms".to_owned(),
            inbound_connect_timeout: "100ms".to_owned(),
            outbound_discovery_cache_unused_timeout: "5s".to_owned(),
            inbound_discovery_cache_unused_timeout: "90s".to_owned(),
            enable_shutdown_endpoint: false,
            control: Control::default(),
            cores: 1,
            additional_env: Vec::new(),
        }
    }
}

impl Default for Ports {
    fn default() -> Self {
        Self {
            admin: ports::ADMIN,
            control: ports::CONTROL,
            inbound: ports::INBOUND,
            outbound: ports::OUTBOUND,
        }
    }
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            initial_timeout: "3s".to_owned(),
            idle_timeout: "5m".to_owned(),
            lifetime: "1h".to_owned(),
        }
    }
}

impl Default for ProxyInit {
    fn default() -> Self {
        let quantity = |request: &str, limit: &str| Resource {
            limit: limit.to_owned(),
            request: request.to_owned(),
        };
        Self {
            image: Image {
                name: images::MESH.to_owned(),
                ..Image::default()
            },
            ignore_inbound_ports: "4567,4568".to_owned(),
            ignore_outbound_ports: "4567,4568".to_owned(),
            skip_subnets: String::new(),
            privileged: false,
            resources: Resources {
                cpu: quantity("100m", "100m"),
                memory: quantity("20Mi", "20Mi"),
                ephemeral_storage: Resource::default(),
            },
        }
    }
}

impl Image {
    /// `name:tag`, with `version` where no tag is set.
    pub fn reference(&self, version: &str) -> String {
        let tag = if self.version.is_empty() {
            version
        } else {
            &self.version
        };
        format!("{}:{tag}", self.name)
    }

    /// The pull policy.
    pub fn pull_policy(&self) -> &str {
        match self.pull_policy.as_str() {
            "" => "IfNotPresent",
            given => given,
        }
    }
}

impl Resources {
    /// `requests`/`limits` → resource → quantity, as a container has them.
    pub(crate) fn to_json(&self) -> BTreeMap<&'static str, BTreeMap<&'static str, &str>> {
        let mut out: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for (name, resource) in [
            ("cpu", &self.cpu),
            ("memory", &self.memory),
            ("ephemeral-storage", &self.ephemeral_storage),
        ] {
            for (group, quantity) in [("requests", &resource.request), ("limits", &resource.limit)]
            {
                if !quantity.is_empty() {
                    out.entry(group)
                        .or_default()
                        .insert(name, quantity.as_str());
                }
            }
        }
        out
    }
}

impl Settings {
    /// Settings of a control plane in `namespace`, with the trust anchors it publishes.
    pub fn new(namespace: &str, values: SidecarValues, trust_anchors: &str) -> Self {
        Self {
            control_plane_ns: namespace.to_owned(),
            trust_anchors: trust_anchors.to_owned(),
            trust_anchors_sha256: mesh_tls::sha256(trust_anchors.as_bytes()),
            values,
        }
    }

    /// The identity of a ServiceAccount of the control plane.
    pub(crate) fn control_identity(&self, service_account: &str) -> String {
        self.identity(service_account, &self.control_plane_ns)
    }

    /// The identity of a ServiceAccount of this cluster.
    pub(crate) fn identity(&self, service_account: &str, namespace: &str) -> String {
        WorkloadIdentity {
            service_account,
            namespace,
            control_plane_ns: &self.control_plane_ns,
            trust_domain: &self.values.identity_trust_domain,
        }
        .to_string()
    }

    /// `service.ns.svc.domain.:port`, with the trailing dot that keeps resolvers from searching.
    pub(crate) fn control_addr(&self, service: &str, port: u16) -> String {
        format!(
            "{service}.{}.svc.{}.:{port}",
            self.control_plane_ns, self.values.cluster_domain
        )
    }
}

impl SidecarValues {
    /// From the values of an installation, whoever wrote them: Helm keeps a port list of one port,
    /// or a CPU limit of 1, as a number.
    pub fn read(text: &str) -> Result<Self, String> {
        let given: Value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        let read = || {
            let mut merged = serde_json::to_value(Self::default())?;
            merge(&mut merged, given);
            serde_json::from_value(merged)
        };
        read().map_err(|error: serde_json::Error| error.to_string())
    }
}

/// Lays `from` over `into`: maps are merged, all else replaced.
pub fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        // A version such as 2 or a port list of one port is read as a number.
        (Value::String(into), Value::Number(number)) => *into = number.to_string(),
        (into, from) => *into = from,
    }
}
