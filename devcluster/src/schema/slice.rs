//! EndpointSlices.

use super::json::{at, default, items, items_mut, text};
use super::names::{self, check};
use crate::status::Cause;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::net::IpAddr;

const KINDS: &[&str] = &["FQDN", "IPv4", "IPv6"];
const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const ENDPOINTS_MAX: usize = 1000;
const ADDRESSES_MAX: usize = 100;
const PORTS_MAX: usize = 20_000;

/// Fills in what writers leave out.
pub(super) fn complete(obj: &mut Value) {
    // Both lists are always written, as kube-apiserver does.
    default(obj, "endpoints", json!([]));
    default(obj, "ports", json!([]));
    for port in items_mut(obj, "ports") {
        default(port, "name", "");
        default(port, "protocol", "TCP");
    }
}

/// Whether a slice is well formed.
pub(super) fn validate(obj: &Value, causes: &mut Vec<Cause>) {
    let kind = text(obj, &["addressType"]);
    if kind.is_empty() {
        causes.push(Cause::required("addressType", ""));
    } else if !KINDS.contains(&kind) {
        causes.push(Cause::unsupported("addressType", &json!(kind), KINDS));
    }
    let endpoints = items(obj, &["endpoints"]);
    too_many(endpoints.len(), ENDPOINTS_MAX, "endpoints", causes);
    for (i, endpoint) in endpoints.iter().enumerate() {
        let field = format!("endpoints[{i}].addresses");
        let addresses = items(endpoint, &["addresses"]);
        if addresses.is_empty() {
            causes.push(Cause::required(
                field.clone(),
                "must contain at least 1 address",
            ));
        }
        too_many(addresses.len(), ADDRESSES_MAX, &field, causes);
        for (j, address) in addresses.iter().enumerate() {
            validate_address(kind, address, &format!("{field}[{j}]"), causes);
        }
        let hostname = text(endpoint, &["hostname"]);
        if !hostname.is_empty() {
            check(
                causes,
                &format!("endpoints[{i}].hostname"),
                hostname,
                names::label,
            );
        }
    }
    validate_ports(items(obj, &["ports"]), causes);
}

fn too_many(count: usize, max: usize, field: &str, causes: &mut Vec<Cause>) {
    if count > max {
        let message = format!("Too many: {count}: must have at most {max} items");
        causes.push(Cause {
            reason: "FieldValueTooMany",
            message,
            field: field.to_owned(),
        });
    }
}

fn validate_address(kind: &str, address: &Value, field: &str, causes: &mut Vec<Cause>) {
    let text = address.as_str().unwrap_or_default();
    if kind == "FQDN" {
        check(causes, field, text, names::subdomain);
        return;
    }
    let parsed = text.parse::<IpAddr>();
    let fits = match parsed {
        Ok(IpAddr::V4(_)) => kind == "IPv4",
        Ok(IpAddr::V6(_)) => kind == "IPv6",
        Err(_) => false,
    };
    if !fits {
        let detail = match (kind, parsed) {
            ("IPv6", Ok(_)) => "must be an IPv6 address",
            ("IPv4", Ok(_)) => "must be an IPv4 address",
            _ => "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        };
        causes.push(Cause::invalid(field, address, detail));
    } else if let Ok(ip) = parsed
        && ip.is_unspecified()
    {
        let detail = format!("may not be unspecified ({ip})");
        causes.push(Cause::invalid(field, address, &detail));
    }
}

fn validate_ports(ports: &[Value], causes: &mut Vec<Cause>) {
    too_many(ports.len(), PORTS_MAX, "ports", causes);
    let mut seen = HashSet::new();
    for (i, port) in ports.iter().enumerate() {
        let field = format!("ports[{i}]");
        let name = text(port, &["name"]);
        if !name.is_empty() {
            check(causes, &format!("{field}.name"), name, names::label);
        }
        if !seen.insert(name) {
            causes.push(Cause::duplicate(format!("{field}.name"), &json!(name)));
        }
        let protocol = text(port, &["protocol"]);
        if !PROTOCOLS.contains(&protocol) {
            let at = format!("{field}.protocol");
            causes.push(Cause::unsupported(at, &json!(protocol), PROTOCOLS));
        }
        if let Some(number) = at(port, &["port"]).as_i64() {
            for detail in names::port_number(number) {
                causes.push(Cause::invalid(
                    format!("{field}.port"),
                    &json!(number),
                    &detail,
                ));
            }
        }
    }
}

/// The kind of addresses stays.
pub(super) fn validate_update(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    if at(old, &["addressType"]) != at(new, &["addressType"]) {
        super::meta::immutable(causes, "addressType", at(new, &["addressType"]));
    }
}
