//! The gateway's part of a Link: read from the gateway Service of the linked cluster.

use super::Args;
use crate::cluster::explain;
use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::Service;
use kube::{Api, Client, ResourceExt as _};
use mesh_api::link::{IntOrText, Period};
use mesh_contract::{annotations, names, ports};
use serde_json::{Value, json};
use std::net::IpAddr;

/// The gateway's part of a Link.
pub(super) async fn read(client: &Client, args: &Args) -> anyhow::Result<Value> {
    let name = format!("{}/{}", args.gateway_namespace, args.gateway_name);
    let api: Api<Service> = Api::namespaced(client.clone(), &args.gateway_namespace);
    let service = api
        .get(&args.gateway_name)
        .await
        .map_err(|e| explain(e, &format!("cannot read the gateway Service {name}")))?;
    let note = |key: &str| {
        service
            .annotations()
            .get(key)
            .filter(|value| !value.is_empty())
            .cloned()
            .with_context(|| format!("the gateway Service {name} has no annotation {key}"))
    };
    let addresses = if args.gateway_addresses.is_empty() {
        addresses(&service).with_context(|| {
            format!(
                "the gateway Service {name} has no load balancer address yet: wait for it, or \
                 give --gateway-addresses"
            )
        })?
    } else {
        args.gateway_addresses.clone()
    };
    let port = match args.gateway_port {
        given @ 1.. => i32::from(given),
        0 => port(&service, names::GATEWAY_PORT_NAME).with_context(|| {
            format!(
                "the gateway Service {name} has no port {}",
                names::GATEWAY_PORT_NAME
            )
        })?,
    };
    let probe_port = port_or_default(&service);
    let period = period(&name, note(annotations::PROBE_PERIOD)?)?;
    Ok(json!({
        "gatewayAddress": addresses.join(","),
        "gatewayPort": port.to_string(),
        "gatewayIdentity": note(annotations::GATEWAY_IDENTITY)?,
        "probeSpec": {
            "path": note(annotations::PROBE_PATH)?,
            "port": probe_port.to_string(),
            "period": period,
        },
    }))
}

fn addresses(service: &Service) -> Option<Vec<String>> {
    let ingress = service
        .status
        .as_ref()?
        .load_balancer
        .as_ref()?
        .ingress
        .as_ref()?;
    let addresses: Vec<_> = ingress
        .iter()
        .filter_map(|entry| entry.ip.clone().or_else(|| entry.hostname.clone()))
        .collect();
    (!addresses.is_empty()).then_some(addresses)
}

/// The port other clusters connect to: a NodePort Service's node port.
fn port(service: &Service, name: &str) -> Option<i32> {
    let spec = service.spec.as_ref()?;
    let port = spec
        .ports
        .as_ref()?
        .iter()
        .find(|port| port.name.as_deref() == Some(name))?;
    match spec.type_.as_deref() {
        Some("NodePort") => port.node_port,
        _ => Some(port.port),
    }
}

fn port_or_default(service: &Service) -> i32 {
    port(service, names::GATEWAY_PROBE_PORT_NAME).unwrap_or_else(|| i32::from(ports::ADMIN))
}

/// The probe period as Links have it. A bare number means seconds.
fn period(gateway: &str, text: String) -> anyhow::Result<String> {
    let parsed = Period(IntOrText::Text(text.clone())).duration();
    if parsed.is_none_or(|period| period.is_zero()) {
        bail!(
            "the gateway Service {gateway} has the annotation {}={text:?}, which is no length of \
             time such as 3 or 3s",
            annotations::PROBE_PERIOD
        );
    }
    Ok(if text.bytes().all(|b| b.is_ascii_digit()) {
        format!("{text}s")
    } else {
        text
    })
}

/// Refuses what is neither an IP address nor a host name: a Link has the port apart.
pub(super) fn check_address(address: &str) -> Result<String, String> {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let host = address.strip_suffix('.').unwrap_or(address);
    let numbers = host
        .split('.')
        .all(|label| label.bytes().all(|b| b.is_ascii_digit()));
    if address.parse::<IpAddr>().is_ok()
        || (!numbers && host.len() <= 253 && host.split('.').all(label))
    {
        return Ok(address.to_owned());
    }
    Err("expected IP addresses or host names, without ports (see --gateway-port)".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_port_gateway_is_reached_on_its_node_port() {
        let service: Service = serde_json::from_value(json!({
            "spec": { "type": "NodePort", "ports": [
                {"name": "mc-gateway", "port": 4143, "nodePort": 30143},
            ]},
        }))
        .unwrap();
        assert_eq!(port(&service, "mc-gateway"), Some(30143));
    }

    #[test]
    fn addresses_have_no_port_and_no_scheme() {
        for good in [
            "192.0.2.1",
            "2001:db8::1",
            "gw.example.com",
            "gw.example.com.",
            "gw",
        ] {
            assert!(check_address(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "192.0.2.1:4143",
            "http://gw",
            "gw example",
            "1.2.3",
            "-gw.com",
            "[::1]",
        ] {
            assert!(check_address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_period_is_a_length_of_time() {
        assert_eq!(period("ns/gw", "3".into()).unwrap(), "3s");
        assert_eq!(period("ns/gw", "500ms".into()).unwrap(), "500ms");
        for bad in ["", "soon", "0", "-3s"] {
            let error = period("ns/gw", bad.into()).unwrap_err().to_string();
            assert!(error.contains("ns/gw") && error.contains("3s"), "{error}");
        }
    }
}
