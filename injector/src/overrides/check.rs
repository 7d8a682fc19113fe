//! What the value of an annotation may look like. Pure; called by `overrides` alone.

use crate::{decide::InjectError, settings::Resource, validate::is_label};
use mesh_contract::annotations::CONFIG_PREFIX;
use std::net::IpAddr;

#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Text,
    LogFormat,
    AccessLog,
    Duration,
    /// `true` stands for no timeout, which sidecars spell as a very long one.
    NoTimeout,
    Policy,
    Ports,
    Port,
    /// `enabled` or `disabled`, told the sidecar as `true` or `false`.
    Enabled,
    /// `true`/`false`, or `enabled`/`disabled`.
    Flag,
    Number,
    Ratio,
    Id,
    Quantity,
    Networks,
    PullPolicy,
    /// `service.namespace:port`, the domain behind it or not.
    Collector,
    /// Of an object, where it is a DNS label or several.
    Name,
}

const POLICIES: &[&str] = &[
    "all-unauthenticated",
    "all-authenticated",
    "cluster-unauthenticated",
    "cluster-authenticated",
    "deny",
    "audit",
];

/// The value as the sidecar takes it, or what it should be.
pub(super) fn check(key: &str, value: &str, kind: Kind) -> Result<String, InjectError> {
    let value = value.trim();
    let (ok, expected) = match kind {
        Kind::Text => (!value.is_empty(), "a value"),
        Kind::LogFormat => (matches!(value, "plain" | "json"), "plain or json"),
        Kind::AccessLog => (
            matches!(value, "apache" | "json" | "none"),
            "apache, json or none",
        ),
        Kind::Duration => (is_duration(value), "a duration such as 500ms, 10s or 2m"),
        Kind::Policy => (
            POLICIES.contains(&value),
            "all-unauthenticated, all-authenticated, cluster-unauthenticated, \
             cluster-authenticated, audit or deny",
        ),
        Kind::Ports => (
            are_ports(value),
            "ports or ranges such as 25,3306,8000-8010",
        ),
        Kind::Port => (
            value.parse::<u16>().is_ok_and(|port| port > 0),
            "a port number",
        ),
        Kind::Enabled => (
            matches!(value, "enabled" | "disabled"),
            "enabled or disabled",
        ),
        Kind::Flag | Kind::NoTimeout => (
            matches!(value, "true" | "false" | "enabled" | "disabled"),
            "true or false",
        ),
        Kind::Number => (value.parse::<u32>().is_ok(), "a whole number"),
        Kind::Ratio => (
            value
                .parse::<f64>()
                .is_ok_and(|ratio| 0.0 < ratio && ratio <= 1.0),
            "a number between 0 and 1",
        ),
        // 0 is root, and every exemption from redirection is by this number.
        Kind::Id => (
            value.parse::<u32>().is_ok_and(|id| id > 0),
            "a user or group id above 0",
        ),
        Kind::Quantity => (
            quantity(value).is_some(),
            "a quantity such as 100m, 0.5, 64Mi or 1G",
        ),
        Kind::Networks => (
            value.split(',').map(str::trim).all(is_network),
            "networks such as 10.0.0.0/8,192.0.2.1/32",
        ),
        Kind::PullPolicy => (
            matches!(value, "Always" | "IfNotPresent" | "Never"),
            "Always, IfNotPresent or Never",
        ),
        Kind::Collector => (
            is_collector(value),
            "the service, namespace and port of a collector such as collector.tracing:4317",
        ),
        Kind::Name => (is_name(value), "the name of an object"),
    };
    if !ok {
        return Err(invalid(key, value, expected));
    }
    Ok(match (kind, value) {
        (Kind::Enabled | Kind::Flag, value) => matches!(value, "enabled" | "true").to_string(),
        (Kind::NoTimeout, "true" | "enabled") => "365d".to_owned(),
        (Kind::NoTimeout, _) | (Kind::AccessLog, "none") => String::new(),
        (_, value) => value.to_owned(),
    })
}

/// Kubernetes refuses a request above its limit; here the annotation can still be named.
pub(super) fn fits(key: &str, resource: &Resource) -> Result<(), InjectError> {
    match (quantity(&resource.request), quantity(&resource.limit)) {
        (Some(request), Some(limit)) if request > limit => {
            Err(invalid(key, &resource.request, "at most the limit"))
        }
        _ => Ok(()),
    }
}

/// The CPUs of a limit, rounded up.
pub(super) fn whole_cores(limit: &str) -> Option<u32> {
    let cores = quantity(limit)?.ceil();
    (1.0..=1024.0).contains(&cores).then_some(cores as u32)
}

fn invalid(key: &str, value: &str, expected: &'static str) -> InjectError {
    InjectError::InvalidAnnotation {
        key: format!("{CONFIG_PREFIX}{key}"),
        value: value.to_owned(),
        expected,
    }
}

fn is_collector(value: &str) -> bool {
    value.rsplit_once(':').is_some_and(|(host, port)| {
        let port = port.parse::<u16>().is_ok_and(|port| port > 0);
        let host = host.strip_suffix('.').unwrap_or(host);
        port && is_name(host) && host.contains('.') && host.parse::<IpAddr>().is_err()
    })
}

fn is_name(value: &str) -> bool {
    value.len() <= 253 && value.split('.').all(is_label)
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

fn is_network(value: &str) -> bool {
    let (address, bits) = match value.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (value, None),
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        return false;
    };
    let max = if address.is_ipv4() { 32 } else { 128 };
    bits.is_none_or(|bits| bits.parse::<u8>().is_ok_and(|bits| bits <= max))
}

/// A Kubernetes quantity as a number.
fn quantity(value: &str) -> Option<f64> {
    let number = value
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(value.len());
    let (digits, suffix) = value.split_at(number);
    let factor = match suffix {
        "" => 1.0,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "Ki" => 1024.0,
        "Mi" => 1024.0 * 1024.0,
        "Gi" => 1024.0 * 1024.0 * 1024.0,
        "Ti" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    Some(digits.parse::<f64>().ok()? * factor)
}
