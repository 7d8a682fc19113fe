//! The sidecar's environment: Linkerd's names, so that a stock sidecar runs with it too.

use super::{TOKEN_DIR, TOKEN_VOLUME};
use crate::{overrides::Effective, settings::Settings};
use mesh_contract::{env, names, ports};
use serde_json::{Value, json};

/// Environment in an order in which every `$(NAME)` refers to an earlier entry.
pub(super) fn environment(settings: &Settings, effective: &Effective, app_ports: &str) -> Value {
    let mut list = Vec::new();
    for (name, field) in [
        ("_pod_name", "metadata.name"),
        ("_pod_ns", "metadata.namespace"),
        ("_pod_uid", "metadata.uid"),
        ("_pod_nodeName", "spec.nodeName"),
        ("_pod_sa", "spec.serviceAccountName"),
        ("_pod_ips", "status.podIPs"),
    ] {
        list.push(json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": field } } }));
    }
    let mut set = |name: &str, value: String| {
        if !value.is_empty() {
            list.push(json!({ "name": format!("{}{name}", env::PREFIX), "value": value }));
        }
    };
    for (name, value) in &effective.env {
        set(name, value.clone());
    }
    control_plane(settings, &mut set);
    listeners(settings, effective, app_ports, &mut set);
    identity(settings, &mut set);
    list.extend(effective.proxy.additional_env.iter().cloned());
    Value::Array(list)
}

fn control_plane(settings: &Settings, set: &mut impl FnMut(&str, String)) {
    let identity = settings.control_identity(names::IDENTITY);
    let destination = settings.control_identity(names::DESTINATION);
    for (group, service, port, name) in [
        (
            "IDENTITY",
            names::IDENTITY_HEADLESS,
            ports::IDENTITY,
            &identity,
        ),
        (
            "DESTINATION",
            names::DST_HEADLESS,
            ports::DESTINATION,
            &destination,
        ),
        ("POLICY", names::POLICY, ports::POLICY, &destination),
    ] {
        set(
            &format!("{group}_SVC_ADDR"),
            settings.control_addr(service, port),
        );
        set(&format!("{group}_SVC_NAME"), name.clone());
    }
    let values = &settings.values;
    let streams = &values.proxy.control.streams;
    set(
        "CONTROL_STREAM_INITIAL_TIMEOUT",
        streams.initial_timeout.clone(),
    );
    set("CONTROL_STREAM_IDLE_TIMEOUT", streams.idle_timeout.clone());
    set("CONTROL_STREAM_LIFETIME", streams.lifetime.clone());
    set(
        "DESTINATION_PROFILE_SUFFIXES",
        format!("svc.{}.", values.cluster_domain),
    );
    set(
        "DESTINATION_PROFILE_NETWORKS",
        values.cluster_networks.clone(),
    );
    set("POLICY_CLUSTER_NETWORKS", values.cluster_networks.clone());
    set(
        "POLICY_WORKLOAD",
        r#"{"ns":"$(_pod_ns)","pod":"$(_pod_name)"}"#.into(),
    );
    set(
        "DESTINATION_CONTEXT",
        r#"{"ns":"$(_pod_ns)","nodeName":"$(_pod_nodeName)","pod":"$(_pod_name)"}"#.into(),
    );
}

fn listeners(
    settings: &Settings,
    effective: &Effective,
    app_ports: &str,
    set: &mut impl FnMut(&str, String),
) {
    let ports = &effective.proxy.ports;
    let outbound = ports.outbound;
    set("OUTBOUND_LISTEN_ADDR", format!("127.0.0.1:{outbound}"));
    let any = if settings.values.disable_ipv6 {
        "0.0.0.0"
    } else {
        set(
            "OUTBOUND_LISTEN_ADDRS",
            format!("127.0.0.1:{outbound},[::1]:{outbound}"),
        );
        "[::]"
    };
    set("INBOUND_LISTEN_ADDR", format!("{any}:{}", ports.inbound));
    set("CONTROL_LISTEN_ADDR", format!("{any}:{}", ports.control));
    set("ADMIN_LISTEN_ADDR", format!("{any}:{}", ports.admin));
    set("INBOUND_IPS", "$(_pod_ips)".into());
    let named = effective.inbound_ports.as_deref();
    set("INBOUND_PORTS", named.unwrap_or(app_ports).to_owned());
    set("INBOUND_ACCEPT_KEEPALIVE", "10s".into());
    set("INBOUND_ACCEPT_USER_TIMEOUT", "30s".into());
    set("OUTBOUND_CONNECT_KEEPALIVE", "10s".into());
    set("OUTBOUND_CONNECT_USER_TIMEOUT", "30s".into());
    // What our own sidecar does unasked: others never look whether an HTTP/2 client is still there.
    for half in ["INBOUND", "OUTBOUND"] {
        let name = |what: &str| format!("{half}_SERVER_HTTP2_KEEP_ALIVE_{what}");
        set(&name("INTERVAL"), "30s".into());
        set(&name("TIMEOUT"), "20s".into());
    }
    if effective.gateway {
        set(
            "INBOUND_GATEWAY_SUFFIXES",
            format!("svc.{}.", settings.values.cluster_domain),
        );
    }
}

fn identity(settings: &Settings, set: &mut impl FnMut(&str, String)) {
    set("IDENTITY_DIR", names::END_ENTITY_DIR.into());
    set("IDENTITY_TRUST_ANCHORS", settings.trust_anchors.clone());
    set("IDENTITY_TOKEN_FILE", format!("{TOKEN_DIR}/{TOKEN_VOLUME}"));
    set(
        "IDENTITY_LOCAL_NAME",
        format!(
            "$(_pod_sa).$(_pod_ns).serviceaccount.identity.{}.{}",
            settings.control_plane_ns, settings.values.identity_trust_domain
        ),
    );
}
