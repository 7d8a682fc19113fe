//! Node ports: which kinds of Services have them, and which are free.

use super::json::{at, items, items_mut, name, namespace, remove, text};
use crate::status::Cause;
use crate::store::{ResourceKey, Store};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::ops::RangeInclusive;

const RANGE: RangeInclusive<u16> = 30000..=32767;

/// Gives every port of a Service that is reached at nodes one of its own.
pub(super) fn assign(obj: &mut Value, store: &Store, causes: &mut Vec<Cause>) {
    let kind = text(obj, &["spec", "type"]);
    let allocated = obj["spec"]["allocateLoadBalancerNodePorts"] != false;
    let wanted = kind == "NodePort" || (kind == "LoadBalancer" && allocated);
    if !wanted && kind != "LoadBalancer" {
        return;
    }
    let mut taken = taken(store, obj);
    let Some(spec) = obj.get_mut("spec") else {
        return;
    };
    for (i, port) in items_mut(spec, "ports").iter_mut().enumerate() {
        let given = at(port, &["nodePort"]).as_u64().unwrap_or(0);
        if given == 0 && wanted {
            let free = RANGE.filter(|p| !taken.contains(&u64::from(*p)));
            let free: Vec<u16> = free.collect();
            let Some(free) = free.get(rand::random_range(0..free.len().max(1))) else {
                let detail = "failed to allocate a nodePort: range is full";
                causes.push(Cause::forbidden(
                    format!("spec.ports[{i}].nodePort"),
                    detail,
                ));
                return;
            };
            port["nodePort"] = json!(free);
            taken.insert(u64::from(*free));
        } else if given > 0 {
            let field = format!("spec.ports[{i}].nodePort");
            let known = u16::try_from(given).is_ok_and(|p| RANGE.contains(&p));
            if !known {
                let detail = "provided port is not in the valid range. The range of valid ports \
                              is 30000-32767";
                causes.push(Cause::invalid(field, &json!(given), detail));
            } else if !taken.insert(given) {
                let detail = "provided port is already allocated";
                causes.push(Cause::invalid(field, &json!(given), detail));
            }
        }
    }
}

/// The node ports of all other Services.
fn taken(store: &Store, but: &Value) -> HashSet<u64> {
    let (all, _) = store.list(&ResourceKey::core("services"), None);
    let others = all
        .iter()
        .filter(|s| (namespace(s), name(s)) != (namespace(but), name(but)));
    let ports = others.flat_map(|s| items(s, &["spec", "ports"]).to_vec());
    ports.filter_map(|p| p["nodePort"].as_u64()).collect()
}

/// What only Services reached from outside have goes when a Service becomes an inner one.
pub(super) fn drop_outer(old: &Value, new: &mut Value) {
    let outer = |obj: &Value| matches!(text(obj, &["spec", "type"]), "NodePort" | "LoadBalancer");
    if !outer(old) {
        return;
    }
    let inner = !outer(new);
    let balanced = text(new, &["spec", "type"]) == "LoadBalancer";
    let Some(spec) = new.get_mut("spec") else {
        return;
    };
    let same = |spec: &Value, field: &str| spec.get(field) == at(old, &["spec"]).get(field);
    if inner && same(spec, "externalTrafficPolicy") {
        remove(spec, "externalTrafficPolicy");
    }
    if !balanced && same(spec, "allocateLoadBalancerNodePorts") {
        remove(spec, "allocateLoadBalancerNodePorts");
    }
    if inner {
        let had: Vec<Value> = items(old, &["spec", "ports"])
            .iter()
            .map(|p| p["nodePort"].clone())
            .collect();
        for port in items_mut(spec, "ports") {
            if had.contains(at(port, &["nodePort"])) {
                remove(port, "nodePort");
            }
        }
    }
}

/// Whether what a Service says about its outside fits its type.
pub(super) fn validate(spec: &Value, causes: &mut Vec<Cause>) {
    let outer = matches!(text(spec, &["type"]), "NodePort" | "LoadBalancer");
    for (i, port) in items(spec, &["ports"]).iter().enumerate() {
        if !outer && at(port, &["nodePort"]).as_u64().unwrap_or(0) > 0 {
            let detail = "may not be used when `type` is 'ClusterIP'";
            causes.push(Cause::forbidden(
                format!("spec.ports[{i}].nodePort"),
                detail,
            ));
        }
    }
    let policies: [(&str, &[&str]); 2] = [
        ("internalTrafficPolicy", &["Cluster", "Local"]),
        ("externalTrafficPolicy", &["Cluster", "Local"]),
    ];
    for (field, allowed) in policies {
        let (value, field) = (at(spec, &[field]), format!("spec.{field}"));
        if value.is_null() {
            continue;
        }
        if field == "spec.externalTrafficPolicy" && !outer {
            let detail = "may only be set for externally-accessible services";
            causes.push(Cause::invalid(field, value, detail));
        } else if !allowed.iter().any(|a| value == a) {
            causes.push(Cause::unsupported(field, value, allowed));
        }
    }
    let families = at(spec, &["ipFamilyPolicy"]);
    let allowed = &["PreferDualStack", "RequireDualStack", "SingleStack"];
    if !families.is_null() && !allowed.iter().any(|a| families == a) {
        causes.push(Cause::unsupported("spec.ipFamilyPolicy", families, allowed));
    }
    for (i, ip) in items(spec, &["externalIPs"]).iter().enumerate() {
        let parsed = ip.as_str().unwrap_or_default().parse::<std::net::IpAddr>();
        if parsed.is_err() {
            let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            causes.push(Cause::invalid(format!("spec.externalIPs[{i}]"), ip, detail));
        }
    }
}
