//! Names: the hosts file every process of the cluster asks before DNS. Pure.

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

fn headless(view: &View, key: &Key, unready: bool, names: &mut BTreeMap<String, BTreeSet<IpAddr>>) {
    let name = format!("{}.{}", key.1, key.0);
    for endpoint in view.slices_of(key).flat_map(|s| &s.endpoints) {
        let ready = endpoint
            .conditions
            .as_ref()
            .and_then(|c| c.ready)
            .unwrap_or(true);
        if !(ready || unready) {
            continue;
        }
        let addresses = endpoint.addresses.iter().filter_map(|a| a.parse().ok());
        for address in addresses {
            names.entry(name.clone()).or_default().insert(address);
            if let Some(host) = &endpoint.hostname {
                let own = format!("{host}.{name}");
                names.entry(own).or_default().insert(address);
            }
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
}
