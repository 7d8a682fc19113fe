//! Names: of Services and of what is behind them, and the hosts file every process of the cluster
//! asks before DNS. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;

use super::{Key, View};

/// Addresses by `<svc>.<ns>`: the cluster IP, or each ready pod of a headless Service (with
/// `<hostname>.` in front where an endpoint has one).
pub(super) fn names(view: &View) -> BTreeMap<String, BTreeSet<IpAddr>> {
    let mut names = BTreeMap::new();
    for (key, service) in &view.services {
        let Some(spec) = &service.spec else { continue };
        if spec.type_.as_deref() == Some("ExternalName") {
            continue;
        }
        let name = format!("{}.{}", key.1, key.0);
        match spec.cluster_ip.as_deref() {
            Some("None") => {
                let unready = spec.publish_not_ready_addresses == Some(true);
                headless(view, key, unready, &mut names);
            }
            Some(ip) => {
                if let Ok(ip) = ip.parse::<IpAddr>() {
                    names.entry(name).or_default().insert(ip);
                }
            }
            None => {}
        }
    }
    names
}

/// The whole file, each name in the three forms it is asked for.
pub(super) fn render(view: &View, domain: &str) -> String {
    let mut text =
        String::from("# Written by the node agent; changes are lost.\n127.0.0.1 localhost\n");
    for (name, addresses) in names(view) {
        for address in addresses {
            let _infallible = writeln!(text, "{address} {name}.svc.{domain} {name}.svc {name}");
        }
    }
    text
}

/// A port of a Service, as an SRV record has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PortOf {
    pub(super) port: u16,
    /// Whose port, `<svc>.<ns>` or, behind a headless Service, `<host>.<svc>.<ns>`.
    pub(super) target: String,
    /// Where that is.
    pub(super) address: IpAddr,
}

/// Ports by `<svc>.<ns>`, and each again by `_<port>._<protocol>.<svc>.<ns>` where it has a name:
/// the Service's own, or each ready pod's behind a headless one. A pod without a name of its own is
/// called by its address, with dashes.
pub(super) fn ports(view: &View) -> BTreeMap<String, BTreeSet<PortOf>> {
    let mut ports: BTreeMap<String, BTreeSet<PortOf>> = BTreeMap::new();
    for (key, service) in &view.services {
        let Some(spec) = &service.spec else { continue };
        let name = format!("{}.{}", key.1, key.0);
        let mut put =
            |port_name: Option<&str>, protocol: Option<&str>, port: i32, at: &str, address| {
                let Ok(port) = port.try_into() else { return };
                let port = PortOf {
                    port,
                    target: at.to_owned(),
                    address,
                };
                if let Some(port_name) = port_name.filter(|name| !name.is_empty()) {
                    let protocol = protocol.unwrap_or("TCP").to_ascii_lowercase();
                    let named = format!("_{port_name}._{protocol}.{name}");
                    ports.entry(named).or_default().insert(port.clone());
                }
                ports.entry(name.clone()).or_default().insert(port);
            };
        match spec.cluster_ip.as_deref() {
            Some("None") => {
                let unready = spec.publish_not_ready_addresses == Some(true);
                for (slice, endpoint, address) in view.endpoints_of(key, unready) {
                    let host = match &endpoint.hostname {
                        Some(host) => host.clone(),
                        None => address.to_string().replace(['.', ':'], "-"),
                    };
                    let target = format!("{host}.{name}");
                    for of in slice.ports.iter().flatten() {
                        let Some(port) = of.port else { continue };
                        let (name, protocol) = (of.name.as_deref(), of.protocol.as_deref());
                        put(name, protocol, port, &target, address);
                    }
                }
            }
            Some(ip) => {
                let Ok(address) = ip.parse() else { continue };
                for of in spec.ports.iter().flatten() {
                    let protocol = of.protocol.as_deref();
                    put(of.name.as_deref(), protocol, of.port, &name, address);
                }
            }
            None => {}
        }
    }
    ports
}

fn headless(view: &View, key: &Key, unready: bool, names: &mut BTreeMap<String, BTreeSet<IpAddr>>) {
    let name = format!("{}.{}", key.1, key.0);
    for (_, endpoint, address) in view.endpoints_of(key, unready) {
        names.entry(name.clone()).or_default().insert(address);
        if let Some(host) = &endpoint.hostname {
            let own = format!("{host}.{name}");
            names.entry(own).or_default().insert(address);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn view(services: Value, slices: Value) -> View {
        let mut view = View::default();
        for service in services.as_array().unwrap() {
            let service: k8s_openapi::api::core::v1::Service =
                serde_json::from_value(service.clone()).unwrap();
            let key = ("ns".to_owned(), service.metadata.name.clone().unwrap());
            view.services.insert(key, service);
        }
        for (i, slice) in slices.as_array().unwrap().iter().enumerate() {
            let slice = serde_json::from_value(slice.clone()).unwrap();
            view.slices
                .insert(("ns".to_owned(), format!("s{i}")), slice);
        }
        view
    }

    #[test]
    fn services_resolve_to_cluster_ips_and_headless_ones_to_ready_pods() {
        let text = render(
            &view(
                json!([
                    {"metadata": {"name": "web"}, "spec": {"clusterIP": "10.0.0.1"}},
                    {"metadata": {"name": "dst"}, "spec": {"clusterIP": "None"}},
                    {"metadata": {"name": "ext"}, "spec": {"type": "ExternalName", "externalName": "x.y"}},
                    {"metadata": {"name": "new"}, "spec": {}}
                ]),
                json!([
                    {"metadata": {"labels": {SERVICE_NAME_KEY: "dst"}}, "addressType": "IPv4", "endpoints": [
                        {"addresses": ["127.1.0.3"], "hostname": "dst-0", "conditions": {"ready": true}},
                        {"addresses": ["127.1.0.4"], "conditions": {"ready": false}},
                        {"addresses": ["bad\n6.6.6.6 bank"], "conditions": {"ready": true}}]},
                    {"metadata": {"labels": {SERVICE_NAME_KEY: "other"}}, "addressType": "IPv4", "endpoints": [
                        {"addresses": ["127.1.0.9"]}]}
                ]),
            ),
            "cluster.local",
        );
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "127.1.0.3 dst-0.dst.ns.svc.cluster.local dst-0.dst.ns.svc dst-0.dst.ns",
                "127.1.0.3 dst.ns.svc.cluster.local dst.ns.svc dst.ns",
                "10.0.0.1 web.ns.svc.cluster.local web.ns.svc web.ns",
            ]
        );
    }

    const SERVICE_NAME_KEY: &str = mesh_contract::labels::SERVICE_NAME;

    #[test]
    fn ports_lead_to_the_service_and_behind_a_headless_one_to_each_ready_pod() {
        let view = view(
            json!([
                {"metadata": {"name": "web"}, "spec": {"clusterIP": "10.0.0.1",
                    "ports": [{"name": "http", "port": 80}, {"port": 53, "protocol": "UDP"}]}},
                {"metadata": {"name": "dst"}, "spec": {"clusterIP": "None"}},
                {"metadata": {"name": "ext"}, "spec": {"type": "ExternalName", "externalName": "x.y"}}
            ]),
            json!([
                {"metadata": {"labels": {SERVICE_NAME_KEY: "dst"}}, "addressType": "IPv4",
                 "ports": [{"name": "grpc", "port": 8086, "protocol": "TCP"}], "endpoints": [
                    {"addresses": ["10.1.0.3"], "hostname": "dst-0"},
                    {"addresses": ["10.1.0.4"], "conditions": {"ready": true}},
                    {"addresses": ["10.1.0.5"], "conditions": {"ready": false}}]}
            ]),
        );
        let ports = ports(&view);
        let of = |name: &str| -> Vec<String> {
            let found = ports.get(name).into_iter().flatten();
            found
                .map(|p| format!("{}:{} at {}", p.target, p.port, p.address))
                .collect()
        };
        let pods = [
            "10-1-0-4.dst.ns:8086 at 10.1.0.4",
            "dst-0.dst.ns:8086 at 10.1.0.3",
        ];
        assert_eq!(of("dst.ns"), pods);
        assert_eq!(of("_grpc._tcp.dst.ns"), pods);
        let web = ["web.ns:53 at 10.0.0.1", "web.ns:80 at 10.0.0.1"];
        assert_eq!(of("web.ns"), web);
        assert_eq!(of("_http._tcp.web.ns"), web[1..]);
        assert_eq!(ports.len(), 4);
    }
}
