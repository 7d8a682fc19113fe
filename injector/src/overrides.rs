//! `config.linkerd.io/*` annotations: which the sidecar understands, and what each one sets.
//!
//! A pod's annotation wins over its namespace's. A value that would be refused by the sidecar or
//! by Kubernetes is refused here, where the user still sees it; a key that nothing reads is told.

mod check;

use self::check::{Kind, check};
use crate::{
    decide::InjectError,
    settings::{ProxyInit, Resource, Settings},
};
use mesh_contract::annotations::CONFIG_PREFIX;
use std::collections::BTreeMap;

/// Linkerd's prefixes for the same keys on their way to becoming stable.
const EARLIER_PREFIXES: &[&str] = &["config.beta.linkerd.io/", "config.alpha.linkerd.io/"];

/// Annotations (without their prefix) that become one environment variable each.
const ENVIRONMENT: &[(&str, &str, Kind)] = &[
    ("proxy-log-level", "LOG", Kind::Text),
    ("proxy-log-format", "LOG_FORMAT", Kind::LogFormat),
    ("access-log", "ACCESS_LOG", Kind::AccessLog),
    (
        "proxy-inbound-connect-timeout",
        "INBOUND_CONNECT_TIMEOUT",
        Kind::Duration,
    ),
    (
        "proxy-outbound-connect-timeout",
        "OUTBOUND_CONNECT_TIMEOUT",
        Kind::Duration,
    ),
    (
        "proxy-inbound-discovery-cache-unused-timeout",
        "INBOUND_DISCOVERY_IDLE_TIMEOUT",
        Kind::Duration,
    ),
    (
        "proxy-outbound-discovery-cache-unused-timeout",
        "OUTBOUND_DISCOVERY_IDLE_TIMEOUT",
        Kind::Duration,
    ),
    (
        "proxy-disable-inbound-protocol-detect-timeout",
        "INBOUND_DETECT_TIMEOUT",
        Kind::NoTimeout,
    ),
    (
        "proxy-disable-outbound-protocol-detect-timeout",
        "OUTBOUND_DETECT_TIMEOUT",
        Kind::NoTimeout,
    ),
    (
        "shutdown-grace-period",
        "SHUTDOWN_GRACE_PERIOD",
        Kind::Duration,
    ),
    (
        "default-inbound-policy",
        "INBOUND_DEFAULT_POLICY",
        Kind::Policy,
    ),
    (
        "opaque-ports",
        "INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION",
        Kind::Ports,
    ),
    (
        "proxy-require-identity-inbound-ports",
        "INBOUND_PORTS_REQUIRE_IDENTITY",
        Kind::Ports,
    ),
    (
        "proxy-admin-shutdown",
        "SHUTDOWN_ENDPOINT_ENABLED",
        Kind::Enabled,
    ),
    (
        "proxy-outbound-max-idle-conns-per-host",
        "OUTBOUND_MAX_IDLE_CONNS_PER_ENDPOINT",
        Kind::Number,
    ),
    (
        "proxy-outbound-max-requests-per-connection",
        "OUTBOUND_MAX_REQUESTS_PER_CONNECTION",
        Kind::Number,
    ),
    ("proxy-cpu-ratio-limit", "CORES_MAX_RATIO", Kind::Ratio),
];

/// Annotations read below, beside [`ENVIRONMENT`].
const OTHERS: &[&str] = &[
    "admin-port",
    "control-port",
    "enable-gateway",
    "inbound-port",
    "image-pull-policy",
    "init-image",
    "init-image-version",
    "outbound-port",
    "pod-inbound-ports",
    "proxy-await",
    "proxy-cpu-limit",
    "proxy-cpu-request",
    "proxy-enable-native-sidecar",
    "proxy-ephemeral-storage-limit",
    "proxy-ephemeral-storage-request",
    "proxy-gid",
    "proxy-image",
    "proxy-memory-limit",
    "proxy-memory-request",
    "proxy-uid",
    "proxy-version",
    "proxy-wait-before-exit-seconds",
    "skip-inbound-ports",
    "skip-outbound-ports",
    "skip-subnets",
    "trace-collector",
    "trace-collector-service-account",
];

/// What the spans of a pod bear; `$(…)` are variables of the sidecar.
const WHOSE: &str = "k8s.pod.name=$(_pod_name)\nk8s.namespace.name=$(_pod_ns)\n\
                     k8s.pod.uid=$(_pod_uid)\nk8s.node.name=$(_pod_nodeName)";

/// The sidecar's settings for one pod, after its annotations.
#[derive(Debug)]
pub(crate) struct Effective {
    /// Environment variables, without the common prefix.
    pub(crate) env: BTreeMap<&'static str, String>,
    /// Image with its tag.
    pub(crate) image: String,
    /// Image of the init container, with its tag.
    pub(crate) init_image: String,
    /// When images are pulled.
    pub(crate) pull_policy: String,
    /// Ports of this pod's application, where the pod names them.
    pub(crate) inbound_ports: Option<String>,
    /// Whether the sidecar serves other clusters.
    pub(crate) gateway: bool,
    /// Proxy settings with ports, uid, resources and the like laid over them.
    pub(crate) proxy: crate::settings::Proxy,
    /// What is not redirected.
    pub(crate) init: ProxyInit,
}

/// Annotations with the prefixes taken off.
struct Given<'a>(&'a BTreeMap<String, String>);

impl<'a> Given<'a> {
    fn text(&self, key: &str) -> Option<&'a String> {
        let stable = self.0.get(&format!("{CONFIG_PREFIX}{key}"));
        stable.or_else(|| {
            EARLIER_PREFIXES
                .iter()
                .find_map(|prefix| self.0.get(&format!("{prefix}{key}")))
        })
    }

    fn checked(&self, key: &str, kind: Kind) -> Result<Option<String>, InjectError> {
        self.text(key)
            .map(|value| check(key, value, kind))
            .transpose()
    }

    fn flag(&self, key: &str, default: bool) -> Result<bool, InjectError> {
        let value = self.checked(key, Kind::Flag)?;
        Ok(value.map_or(default, |value| value == "true"))
    }

    /// Lays a value over `into`.
    fn over(&self, key: &str, kind: Kind, into: &mut String) -> Result<(), InjectError> {
        if let Some(value) = self.checked(key, kind)? {
            *into = value;
        }
        Ok(())
    }

    fn number<T>(&self, key: &str, kind: Kind, into: &mut T) -> Result<(), InjectError>
    where
        T: std::str::FromStr,
    {
        if let Some(value) = self.checked(key, kind)?
            && let Ok(number) = value.parse()
        {
            *into = number;
        }
        Ok(())
    }
}

/// Works out the sidecar's settings from `annotations` (the pod's over its namespace's).
pub(crate) fn effective(
    settings: &Settings,
    annotations: &BTreeMap<String, String>,
) -> Result<Effective, InjectError> {
    let given = Given(annotations);
    let mut proxy = settings.values.proxy.clone();
    let mut init = settings.values.proxy_init.clone();
    let mut pull_policy = proxy.image.pull_policy().to_owned();
    given.over("image-pull-policy", Kind::PullPolicy, &mut pull_policy)?;
    for (key, into) in [
        ("admin-port", &mut proxy.ports.admin),
        ("control-port", &mut proxy.ports.control),
        ("inbound-port", &mut proxy.ports.inbound),
        ("outbound-port", &mut proxy.ports.outbound),
    ] {
        given.number(key, Kind::Port, into)?;
    }
    given.number("proxy-uid", Kind::Id, &mut proxy.uid)?;
    given.number("proxy-gid", Kind::Id, &mut proxy.gid)?;
    let wait = "proxy-wait-before-exit-seconds";
    given.number(wait, Kind::Number, &mut proxy.wait_before_exit_seconds)?;
    proxy.native_sidecar = given.flag("proxy-enable-native-sidecar", proxy.native_sidecar)?;
    proxy.await_ready = given.flag("proxy-await", proxy.await_ready)?;
    resources(&given, "cpu", &mut proxy.resources.cpu)?;
    resources(&given, "memory", &mut proxy.resources.memory)?;
    let storage = &mut proxy.resources.ephemeral_storage;
    resources(&given, "ephemeral-storage", storage)?;
    skipped(&given, &mut init)?;
    Ok(Effective {
        env: environment(&given, annotations, &proxy, settings)?,
        image: image(&given, settings),
        init_image: init_image(&given, settings),
        inbound_ports: given.checked("pod-inbound-ports", Kind::Ports)?,
        gateway: given.flag("enable-gateway", false)?,
        pull_policy,
        proxy,
        init,
    })
}

/// Keys with one of our prefixes that nothing reads.
pub(crate) fn unread(annotations: &BTreeMap<String, String>) -> Vec<&String> {
    let read =
        |name: &str| OTHERS.contains(&name) || ENVIRONMENT.iter().any(|(known, ..)| *known == name);
    annotations
        .keys()
        .filter(|key| setting(key).is_some_and(|name| !read(name)))
        .collect()
}

/// Whether a key sets something of sidecars, known or not.
pub(crate) fn is_sidecar_setting(key: &str) -> bool {
    setting(key).is_some()
}

fn setting(key: &str) -> Option<&str> {
    std::iter::once(&CONFIG_PREFIX)
        .chain(EARLIER_PREFIXES)
        .find_map(|prefix| key.strip_prefix(prefix))
}

fn environment(
    given: &Given<'_>,
    annotations: &BTreeMap<String, String>,
    proxy: &crate::settings::Proxy,
    settings: &Settings,
) -> Result<BTreeMap<&'static str, String>, InjectError> {
    let in_timeout = &proxy.inbound_discovery_cache_unused_timeout;
    let out_timeout = &proxy.outbound_discovery_cache_unused_timeout;
    let mut env = BTreeMap::from([
        ("LOG", proxy.log_level.clone()),
        ("LOG_FORMAT", proxy.log_format.clone()),
        ("ACCESS_LOG", proxy.access_log.clone()),
        (
            "INBOUND_DEFAULT_POLICY",
            proxy.default_inbound_policy.clone(),
        ),
        (
            "INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION",
            proxy.opaque_ports.clone(),
        ),
        (
            "INBOUND_CONNECT_TIMEOUT",
            proxy.inbound_connect_timeout.clone(),
        ),
        (
            "OUTBOUND_CONNECT_TIMEOUT",
            proxy.outbound_connect_timeout.clone(),
        ),
        ("INBOUND_DISCOVERY_IDLE_TIMEOUT", in_timeout.clone()),
        ("OUTBOUND_DISCOVERY_IDLE_TIMEOUT", out_timeout.clone()),
        ("SHUTDOWN_GRACE_PERIOD", proxy.shutdown_grace_period.clone()),
    ]);
    if proxy.enable_shutdown_endpoint {
        env.insert("SHUTDOWN_ENDPOINT_ENABLED", "true".to_owned());
    }
    for (key, variable, kind) in ENVIRONMENT {
        if let Some(value) = given.checked(key, *kind)? {
            env.insert(variable, value);
        }
    }
    let inject = annotations.get(mesh_contract::annotations::INJECT);
    if inject.is_some_and(|value| value == "ingress") {
        env.insert("INGRESS_MODE", "true".to_owned());
    }
    traces(given, settings, &mut env)?;
    let cores = check::whole_cores(&proxy.resources.cpu.limit).unwrap_or(proxy.cores);
    if cores > 0 {
        env.insert("CORES", cores.to_string());
    }
    env.retain(|_, value| !value.is_empty());
    Ok(env)
}

/// Where spans go, and whose they are; the pod's variables are written before these.
fn traces(
    given: &Given<'_>,
    settings: &Settings,
    env: &mut BTreeMap<&'static str, String>,
) -> Result<(), InjectError> {
    let Some(collector) = given.checked("trace-collector", Kind::Collector)? else {
        return Ok(());
    };
    let mut account = "default".to_owned();
    let key = "trace-collector-service-account";
    given.over(key, Kind::Name, &mut account)?;
    let (host, port) = collector.rsplit_once(':').unwrap_or((&collector, ""));
    let labels: Vec<&str> = host.split('.').collect();
    let address = match labels[..] {
        // A name the sidecar's resolver would have to guess the rest of.
        [service, namespace] | [service, namespace, "svc"] => {
            let domain = &settings.values.cluster_domain;
            format!("{service}.{namespace}.svc.{domain}.:{port}")
        }
        _ => collector.clone(),
    };
    let namespace = labels.get(1).copied().unwrap_or_default();
    env.insert("TRACE_COLLECTOR_SVC_ADDR", address);
    let name = settings.identity(&account, namespace);
    env.insert("TRACE_COLLECTOR_SVC_NAME", name);
    env.insert("TRACE_EXTRA_ATTRIBUTES", WHOSE.to_owned());
    Ok(())
}

fn resources(given: &Given<'_>, resource: &str, into: &mut Resource) -> Result<(), InjectError> {
    let key = |kind: &str| format!("proxy-{resource}-{kind}");
    given.over(&key("request"), Kind::Quantity, &mut into.request)?;
    given.over(&key("limit"), Kind::Quantity, &mut into.limit)?;
    check::fits(&key("request"), into)
}

fn skipped(given: &Given<'_>, init: &mut ProxyInit) -> Result<(), InjectError> {
    for (key, into) in [
        ("skip-inbound-ports", &mut init.ignore_inbound_ports),
        ("skip-outbound-ports", &mut init.ignore_outbound_ports),
    ] {
        given.over(key, Kind::Ports, into)?;
    }
    given.over("skip-subnets", Kind::Networks, &mut init.skip_subnets)
}

fn image(given: &Given<'_>, settings: &Settings) -> String {
    let image = &settings.values.proxy.image;
    tagged(
        given.text("proxy-image").unwrap_or(&image.name),
        given.text("proxy-version").unwrap_or(&image.version),
        &settings.values.linkerd_version,
    )
}

fn init_image(given: &Given<'_>, settings: &Settings) -> String {
    let image = &settings.values.proxy_init.image;
    tagged(
        given.text("init-image").unwrap_or(&image.name),
        given.text("init-image-version").unwrap_or(&image.version),
        &settings.values.linkerd_version,
    )
}

/// A name that brings its own tag or digest keeps it, unless a version is named too.
fn tagged(name: &str, version: &str, default: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains(':') || last.contains('@') {
        return match version {
            "" => name.to_owned(),
            version => {
                let bare = &name[..name.len() - last.len()];
                let stem = last.split([':', '@']).next().unwrap_or(last);
                format!("{bare}{stem}:{version}")
            }
        };
    }
    let version = if version.is_empty() { default } else { version };
    format!("{name}:{version}")
}
