//! The init container that redirects a pod's traffic to its sidecar.

use crate::{overrides::Effective, settings::Settings};
use mesh_contract::names;
use serde_json::{Value, json};

/// Renders it. It alone needs capabilities: it writes the redirection of the pod's own network.
pub(crate) fn init(settings: &Settings, effective: &Effective) -> Value {
    let mut security = json!({
        "allowPrivilegeEscalation": false,
        "capabilities": { "drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW"] },
        "readOnlyRootFilesystem": true,
        "runAsNonRoot": false,
        "runAsUser": 0,
        "seccompProfile": { "type": "RuntimeDefault" },
    });
    if effective.init.privileged {
        security["privileged"] = json!(true);
        security["allowPrivilegeEscalation"] = json!(true);
    }
    let mut container = json!({
        "name": names::INIT_CONTAINER,
        "image": effective.init_image,
        "imagePullPolicy": effective.pull_policy,
        "args": args(settings, effective),
        "securityContext": security,
        "terminationMessagePolicy": "FallbackToLogsOnError",
    });
    let resources = effective.init.resources.to_json();
    if !resources.is_empty() {
        container["resources"] = json!(resources);
    }
    container
}

fn args(settings: &Settings, effective: &Effective) -> Vec<String> {
    let proxy = &effective.proxy;
    let own = format!("{},{}", proxy.ports.control, proxy.ports.admin);
    let inbound = join(&own, &effective.init.ignore_inbound_ports);
    let mut args: Vec<String> = vec!["proxy-init".into()];
    let mut flag = |name: &str, value: String| {
        if !value.is_empty() {
            args.extend([format!("--{name}"), value]);
        }
    };
    flag("incoming-proxy-port", proxy.ports.inbound.to_string());
    flag("outgoing-proxy-port", proxy.ports.outbound.to_string());
    flag("proxy-uid", proxy.uid.to_string());
    flag("inbound-ports-to-ignore", inbound);
    let outbound = effective.init.ignore_outbound_ports.clone();
    flag("outbound-ports-to-ignore", outbound);
    flag("subnets-to-ignore", effective.init.skip_subnets.clone());
    if settings.values.disable_ipv6 {
        // The sidecar does not listen there.
        args.push("--ipv6=false".into());
    }
    args
}

fn join(one: &str, other: &str) -> String {
    if other.is_empty() {
        return one.to_owned();
    }
    format!("{one},{other}")
}
