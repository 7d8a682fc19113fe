//! `config.linkerd.io/*` annotations: which the sidecar understands, and what each one sets.
//!
//! A pod's annotation wins over its namespace's. A value that would be refused by the sidecar is
//! refused here, where the user still sees it.

use crate::{decide::InjectError, settings::Settings};
use mesh_contract::annotations::CONFIG_PREFIX;
use std::collections::BTreeMap;

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
        "proxy-admin-shutdown",
        "SHUTDOWN_ENDPOINT_ENABLED",
        Kind::Enabled,
    ),
];

/// Annotations that set a resource request or limit of the sidecar.
const RESOURCES: &[(&str, &str, &str)] = &[
    ("proxy-cpu-request", "requests", "cpu"),
    ("proxy-memory-request", "requests", "memory"),
    (
        "proxy-ephemeral-storage-request",
        "requests",
        "ephemeral-storage",
    ),
    ("proxy-cpu-limit", "limits", "cpu"),
    ("proxy-memory-limit", "limits", "memory"),
    (
        "proxy-ephemeral-storage-limit",
        "limits",
        "ephemeral-storage",
    ),
];

#[derive(Clone, Copy)]
enum Kind {
    Text,
    LogFormat,
    AccessLog,
    Duration,
    Policy,
    Ports,
    Enabled,
}

/// The sidecar's settings for one pod, after its annotations.
pub(crate) struct Effective {
    /// Environment variables, without the common prefix.
    pub(crate) env: BTreeMap<&'static str, String>,
    /// `requests`/`limits` → resource → quantity.
    pub(crate) resources: BTreeMap<&'static str, BTreeMap<&'static str, String>>,
    /// Image with its tag.
    pub(crate) image: String,
    /// Whether the sidecar serves other clusters.
    pub(crate) gateway: bool,
    /// Seconds to wait before the sidecar is told to stop.
    pub(crate) wait_before_exit: Option<u32>,
}

/// Works out the sidecar's settings from `annotations` (the pod's over its namespace's).
pub(crate) fn effective(
    settings: &Settings,
    annotations: &BTreeMap<String, String>,
) -> Result<Effective, InjectError> {
    let get = |key: &str| annotations.get(&format!("{CONFIG_PREFIX}{key}"));
    let mut env = BTreeMap::from([
        ("LOG", settings.proxy_log_level.clone()),
        ("LOG_FORMAT", settings.proxy_log_format.clone()),
        (
            "INBOUND_DEFAULT_POLICY",
            settings.default_inbound_policy.clone(),
        ),
        (
            "INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION",
            settings.opaque_ports.clone(),
        ),
    ]);
    for (key, variable, kind) in ENVIRONMENT {
        if let Some(value) = get(key) {
            env.insert(variable, check(key, value, *kind)?);
        }
    }
    let mut resources: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    for (key, group, resource) in RESOURCES {
        if let Some(value) = get(key) {
            resources
                .entry(*group)
                .or_default()
                .insert(*resource, value.clone());
        }
    }
    let image = match (get("proxy-image"), get("proxy-version")) {
        (Some(image), Some(version)) => format!("{image}:{version}"),
        (Some(image), None) if image.rsplit('/').next().is_some_and(|n| n.contains(':')) => {
            image.clone()
        }
        (Some(image), None) => format!("{image}:{}", settings.version),
        (None, Some(version)) => match settings.proxy_image.rsplit_once(':') {
            Some((name, _)) => format!("{name}:{version}"),
            None => format!("{}:{version}", settings.proxy_image),
        },
        (None, None) => settings.proxy_image.clone(),
    };
    let wait_before_exit = ["proxy-wait-before-exit-seconds"]
        .iter()
        .find_map(|key| get(key).map(|v| (key, v)))
        .map(|(key, value)| {
            value
                .parse()
                .map_err(|_| invalid(key, value, "whole seconds"))
        })
        .transpose()?;
    Ok(Effective {
        env,
        resources,
        image,
        gateway: get("enable-gateway").is_some_and(|v| v == "true"),
        wait_before_exit: wait_before_exit.filter(|s| *s > 0),
    })
}

fn check(key: &str, value: &str, kind: Kind) -> Result<String, InjectError> {
    let (ok, expected) = match kind {
        Kind::Text => (!value.trim().is_empty(), "a value"),
        Kind::LogFormat => (matches!(value, "plain" | "json"), "plain or json"),
        Kind::AccessLog => (
            matches!(value, "apache" | "json" | "none"),
            "apache, json or none",
        ),
        Kind::Duration => (is_duration(value), "a duration such as 500ms, 10s or 2m"),
        Kind::Policy => (
            matches!(
                value,
                "all-unauthenticated"
                    | "all-authenticated"
                    | "cluster-unauthenticated"
                    | "cluster-authenticated"
                    | "deny"
                    | "audit"
            ),
            "all-unauthenticated, all-authenticated, cluster-unauthenticated, \
             cluster-authenticated, audit or deny",
        ),
        Kind::Ports => (
            are_ports(value),
            "ports or ranges such as 25,3306,8000-8010",
        ),
        Kind::Enabled => (
            matches!(value, "enabled" | "disabled"),
            "enabled or disabled",
        ),
    };
    if !ok {
        return Err(invalid(key, value, expected));
    }
    Ok(match kind {
        Kind::Enabled => (value == "enabled").to_string(),
        _ => value.to_owned(),
    })
}

fn invalid(key: &str, value: &str, expected: &'static str) -> InjectError {
    InjectError::InvalidAnnotation {
        key: format!("{CONFIG_PREFIX}{key}"),
        value: value.to_owned(),
        expected,
    }
}

fn is_duration(value: &str) -> bool {
    let digits = value.chars().take_while(char::is_ascii_digit).count();
    digits > 0
        && value[..digits].parse::<u64>().is_ok()
        && matches!(&value[digits..], "ms" | "s" | "m" | "h" | "d")
}

fn are_ports(value: &str) -> bool {
    value.split(',').map(str::trim).all(|range| {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        match (from.parse::<u16>(), to.parse::<u16>()) {
            (Ok(from), Ok(to)) => 0 < from && from <= to,
            _ => false,
        }
    })
}
