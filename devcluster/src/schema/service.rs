//! Services: defaults, cluster IPs and what is refused.

use super::address;
use super::json::{at, default, items, items_mut, map_in, remove, text};
use super::meta::immutable;
use super::names::{self, check};
use crate::status::Cause;
use crate::store::Store;
use ipnet::Ipv4Net;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

/// Fills in what users leave out.
pub(super) fn complete(obj: &mut Value) {
    map_in(obj, "spec");
    let Some(spec) = obj.get_mut("spec") else {
        return;
    };
    default(spec, "type", "ClusterIP");
    default(spec, "sessionAffinity", "None");
    if spec["sessionAffinity"] == "ClientIP" {
        default(
            spec,
            "sessionAffinityConfig",
            json!({"clientIP": {"timeoutSeconds": 10800}}),
        );
    }
    let kind = spec["type"].clone();
    if kind != "ExternalName" {
        default(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" || kind == "NodePort" {
        default(spec, "externalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        default(spec, "allocateLoadBalancerNodePorts", true);
    }
    for port in items_mut(spec, "ports") {
        default(port, "protocol", "TCP");
        let number = port["port"].clone();
        let target = at(port, &["targetPort"]);
        if target.is_null() || target == 0 || target == "" {
            port["targetPort"] = number;
        }
    }
    let addresses = items(spec, &["clusterIPs"]);
    if text(spec, &["clusterIP"]).is_empty() && !addresses.is_empty() {
        spec["clusterIP"] = addresses[0].clone();
    }
}

/// Whether the service has an address of its own to be given.
fn wants_address(spec: &Value) -> bool {
    spec["type"] != "ExternalName" && text(spec, &["clusterIP"]).is_empty()
}

/// Gives the service its cluster IP, or checks the one it asks for.
pub(super) fn assign(obj: &mut Value, store: &Store, net: Ipv4Net, causes: &mut Vec<Cause>) {
    let Some(spec) = obj.get_mut("spec") else {
        return;
    };
    if spec["type"] == "ExternalName" {
        return;
    }
    if wants_address(spec) {
        match address::free(net, &address::taken(store), rand::random()) {
            Some(ip) => spec["clusterIP"] = json!(ip.to_string()),
            None => {
                let message =
                    format!("Internal error: failed to allocate a serviceIP: range {net} is full");
                let field = "spec.clusterIPs".to_owned();
                causes.push(Cause {
                    reason: "InternalError",
                    message,
                    field,
                });
                return;
            }
        }
    } else if let Ok(ip) = text(spec, &["clusterIP"]).parse::<Ipv4Addr>() {
        let asked = spec["clusterIP"].clone();
        let field = "spec.clusterIPs";
        if !net.contains(&ip) {
            let detail = format!(
                "failed to allocate IP {ip}: the provided IP is not in the valid range. The range \
                 of valid IPs is {net}"
            );
            causes.push(Cause::invalid(field, &json!([asked]), &detail));
        } else if address::taken(store).contains(&ip) {
            let detail = format!("failed to allocate IP {ip}: provided IP is already allocated");
            causes.push(Cause::invalid(field, &json!([asked]), &detail));
        }
    }
    spec["clusterIPs"] = json!([spec["clusterIP"]]);
    default(spec, "ipFamilies", json!(["IPv4"]));
    default(spec, "ipFamilyPolicy", "SingleStack");
}

/// Whether the spec makes sense.
pub(super) fn validate(obj: &Value, causes: &mut Vec<Cause>) {
    let spec = at(obj, &["spec"]);
    let kind = text(spec, &["type"]);
    if !TYPES.contains(&kind) {
        causes.push(Cause::unsupported("spec.type", &json!(kind), TYPES));
    }
    let affinity = text(spec, &["sessionAffinity"]);
    if !matches!(affinity, "None" | "ClientIP") {
        let cause = Cause::unsupported(
            "spec.sessionAffinity",
            &json!(affinity),
            &["ClientIP", "None"],
        );
        causes.push(cause);
    }
    super::meta::labels(at(spec, &["selector"]), "spec.selector", causes);
    super::ports::validate(spec, causes);
    validate_address(spec, causes);
    validate_external_name(spec, causes);
    let headless = text(spec, &["clusterIP"]) == "None";
    let ports = items(spec, &["ports"]);
    if ports.is_empty() && !headless && kind != "ExternalName" {
        causes.push(Cause::required("spec.ports", ""));
    }
    validate_ports(ports, headless, causes);
}

fn validate_address(spec: &Value, causes: &mut Vec<Cause>) {
    let ip = text(spec, &["clusterIP"]);
    let kind = text(spec, &["type"]);
    let asked = json!([ip]);
    if ip == "None" && matches!(kind, "LoadBalancer" | "NodePort") {
        let detail = format!("may not be set to 'None' for {kind} services");
        causes.push(Cause::invalid("spec.clusterIPs[0]", &json!(ip), &detail));
    } else if kind == "ExternalName" && !ip.is_empty() {
        causes.push(Cause::forbidden(
            "spec.clusterIPs",
            "may not be set for ExternalName services",
        ));
    } else if !ip.is_empty() && ip != "None" && ip.parse::<Ipv4Addr>().is_err() {
        let detail = if ip.parse::<IpAddr>().is_ok() {
            "this cluster has IPv4 addresses only"
        } else {
            "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
        };
        causes.push(Cause::invalid("spec.clusterIPs[0]", &json!(ip), detail));
    }
    let all = items(spec, &["clusterIPs"]);
    if all.first().is_some_and(|first| first != ip) {
        let detail = "first value must match `clusterIP`";
        causes.push(Cause::invalid("spec.clusterIPs", &asked, detail));
    }
    if items(spec, &["ipFamilies"]).iter().any(|f| f != "IPv4") {
        let asked = at(spec, &["ipFamilies"]);
        let detail = "not configured on this cluster";
        causes.push(Cause::invalid("spec.ipFamilies[0]", asked, detail));
    }
}

fn validate_external_name(spec: &Value, causes: &mut Vec<Cause>) {
    if spec["type"] != "ExternalName" {
        return;
    }
    let name = text(spec, &["externalName"]);
    if name.is_empty() {
        causes.push(Cause::required("spec.externalName", ""));
    } else {
        check(
            causes,
            "spec.externalName",
            name.trim_end_matches('.'),
            names::subdomain,
        );
    }
}

fn validate_ports(ports: &[Value], headless: bool, causes: &mut Vec<Cause>) {
    let (mut by_name, mut by_number) = (HashSet::new(), HashSet::new());
    for (i, port) in ports.iter().enumerate() {
        let field = format!("spec.ports[{i}]");
        let name = text(port, &["name"]);
        if name.is_empty() && ports.len() > 1 {
            causes.push(Cause::required(format!("{field}.name"), ""));
        } else if !name.is_empty() {
            check(causes, &format!("{field}.name"), name, names::label);
            if !by_name.insert(name) {
                causes.push(Cause::duplicate(format!("{field}.name"), &json!(name)));
            }
        }
        let number = at(port, &["port"]).as_i64().unwrap_or_default();
        let protocol = text(port, &["protocol"]);
        for detail in names::port_number(number) {
            causes.push(Cause::invalid(
                format!("{field}.port"),
                &json!(number),
                &detail,
            ));
        }
        if !PROTOCOLS.contains(&protocol) {
            let at = format!("{field}.protocol");
            causes.push(Cause::unsupported(at, &json!(protocol), PROTOCOLS));
        }
        if !by_number.insert((number, protocol)) {
            let value = json!({"port": number, "protocol": protocol});
            causes.push(Cause::duplicate(field.clone(), &value));
        }
        if !headless {
            target_port(
                at(port, &["targetPort"]),
                &format!("{field}.targetPort"),
                causes,
            );
        }
    }
}

fn target_port(target: &Value, field: &str, causes: &mut Vec<Cause>) {
    if let Some(number) = target.as_i64() {
        for detail in names::port_number(number) {
            causes.push(Cause::invalid(field, target, &detail));
        }
    } else {
        check(
            causes,
            field,
            target.as_str().unwrap_or_default(),
            names::port_name,
        );
    }
}

/// Takes over from the old object what an update need not repeat.
pub(super) fn carry_over(old: &Value, new: &mut Value) {
    let (was, Some(spec)) = (at(old, &["spec"]), new.get_mut("spec")) else {
        return;
    };
    if spec["type"] == "ExternalName" {
        // The address goes back; what is left of it would be refused.
        if was["type"] != "ExternalName" && spec.get("clusterIP") == was.get("clusterIP") {
            for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                remove(spec, field);
            }
        }
        return;
    }
    if was["type"] == "ExternalName" || text(was, &["clusterIP"]).is_empty() {
        return;
    }
    for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        if text(spec, &["clusterIP"]).is_empty() || field != "clusterIP" {
            let given = at(spec, &[field]);
            if given.is_null() || given == "" {
                super::json::keep(was, spec, field);
            }
        }
    }
}

/// A cluster IP stays for the life of a Service.
pub(super) fn validate_update(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    let (was, is) = (at(old, &["spec"]), at(new, &["spec"]));
    if was["type"] == "ExternalName" || is["type"] == "ExternalName" {
        return;
    }
    if !text(was, &["clusterIP"]).is_empty() && was["clusterIP"] != is["clusterIP"] {
        let asked = json!([is["clusterIP"]]);
        causes.push(Cause::invalid(
            "spec.clusterIPs[0]",
            &asked,
            "may not change once set",
        ));
    } else if at(is, &["clusterIPs"]).is_array() && was["clusterIPs"] != is["clusterIPs"] {
        immutable(causes, "spec.clusterIPs", &is["clusterIPs"]);
    }
}
