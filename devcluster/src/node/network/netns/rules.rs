//! The cluster's rules, as a script for `nft`: what cluster IPs mean, and who reaches whom. Pure.
//!
//! Packets of pods come in by their cables. Pods reach pods of their own cluster, and what some
//! cluster of this machine declares: load balancers and API servers. Those are marked on arrival,
//! so that a cluster need not know the others' addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use k8s_openapi::api::core::v1::Service;

use super::super::View;
use super::super::forward::endpoints;
use super::names::Names;
use super::{API_PORT, DNS_PORT};

/// The cables of all clusters of the machine.
const ALL_CABLES: &str = "mv*";

/// On packets to declared addresses.
const DECLARED: &str = "0x10000000";

/// What the rules are about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Cluster IP, protocol and port of Services, and who serves them.
    pub(super) services: BTreeMap<(Ipv4Addr, Protocol, u16), BTreeSet<SocketAddrV4>>,
    /// Where load balancers listen.
    pub(super) balancers: BTreeSet<SocketAddrV4>,
}

/// What a Service's port speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }
    }
}

/// The fixed part.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) names: Names,
    pub(super) node: Ipv4Addr,
    /// Pods of all flat clusters reach each other.
    pub(super) flat: bool,
}

/// Cluster IPs and who serves them, as the cluster says.
pub(super) fn services(
    view: &View,
    node: Ipv4Addr,
) -> BTreeMap<(Ipv4Addr, Protocol, u16), BTreeSet<SocketAddrV4>> {
    let mut all = BTreeMap::new();
    for (key, service) in &view.services {
        let Some((ip, spec)) = cluster_ip(service) else {
            continue;
        };
        for port in spec.ports.iter().flatten() {
            let protocol = match port.protocol.as_deref() {
                None | Some("TCP") => Protocol::Tcp,
                Some("UDP") => Protocol::Udp,
                Some(_) => continue,
            };
            let Ok(number) = u16::try_from(port.port) else {
                continue;
            };
            let v4 = |addr| match addr {
                SocketAddr::V4(addr) => Some(addr),
                SocketAddr::V6(_) => None,
            };
            let mut to: BTreeSet<_> = endpoints(view, key, port)
                .into_iter()
                .filter_map(v4)
                .collect();
            // The API server's own address may be one that only this machine reaches.
            if key.0 == "default" && key.1 == "kubernetes" && protocol == Protocol::Tcp {
                to = BTreeSet::from([SocketAddrV4::new(node, API_PORT)]);
            }
            all.insert((ip, protocol, number), to);
        }
    }
    all
}

fn cluster_ip(service: &Service) -> Option<(Ipv4Addr, &k8s_openapi::api::core::v1::ServiceSpec)> {
    let spec = service.spec.as_ref()?;
    Some((spec.cluster_ip.as_deref()?.parse().ok()?, spec))
}

/// The whole table, in place of what was there.
pub(super) fn script(frame: &Frame, wanted: &Wanted) -> String {
    let (table, cables) = (frame.names.table(), frame.names.cables());
    let mut text = format!("table ip {table}\ndelete table ip {table}\ntable ip {table} {{\n");
    let mut chain = |name: &str, hook: &str, rules: &[String]| {
        let _infallible = write!(text, "  chain {name} {{\n    type {hook}; policy accept;\n");
        for rule in rules {
            let _infallible = writeln!(text, "    {rule}");
        }
        text.push_str("  }\n");
    };
    let from_pods = format!("iifname != \"{cables}\" accept");
    let mut services = vec![from_pods.clone()];
    services.extend(
        wanted
            .services
            .iter()
            .filter_map(|(to, by)| translate(*to, by)),
    );
    chain("services", "nat hook prerouting priority -100", &services);
    chain(
        "declared",
        "filter hook prerouting priority -50",
        &declared(frame, wanted),
    );
    chain(
        "hairpin",
        "nat hook postrouting priority 100",
        &hairpin(frame.node, wanted),
    );
    chain("forward", "filter hook forward priority 0", &forward(frame));
    let marked = format!("meta mark & {DECLARED} == {DECLARED} accept");
    let node = frame.node;
    let input = [
        from_pods,
        "ct state established,related accept".to_owned(),
        marked,
        format!("ip daddr {node} udp dport {DNS_PORT} accept"),
        format!("ip daddr {node} tcp dport {DNS_PORT} accept"),
        format!("ip daddr {node} icmp type echo-request accept"),
        "meta l4proto tcp reject with tcp reset".to_owned(),
        "reject with icmp type admin-prohibited".to_owned(),
    ];
    chain("input", "filter hook input priority 0", &input);
    text.push_str("}\n");
    text
}

/// Takes the rules away.
pub(super) fn none(names: &Names) -> String {
    let table = names.table();
    format!("table ip {table}\ndelete table ip {table}\n")
}

fn translate(
    (ip, protocol, port): (Ipv4Addr, Protocol, u16),
    endpoints: &BTreeSet<SocketAddrV4>,
) -> Option<String> {
    let name = protocol.name();
    let list = endpoints.iter().enumerate();
    let list: Vec<String> = list
        .map(|(i, e)| format!("{i} : {} . {}", e.ip(), e.port()))
        .collect();
    let to = match endpoints.len() {
        // Nobody is there: the packet goes on to where cluster IPs are refused.
        0 => return None,
        1 => endpoints.iter().map(ToString::to_string).collect(),
        n => format!("numgen inc mod {n} map {{ {} }}", list.join(", ")),
    };
    let verb = if endpoints.len() == 1 {
        "dnat to"
    } else {
        "dnat ip to"
    };
    Some(format!("ip daddr {ip} {name} dport {port} {verb} {to}"))
}

fn declared(frame: &Frame, wanted: &Wanted) -> Vec<String> {
    let mut addresses = wanted.balancers.clone();
    addresses.insert(SocketAddrV4::new(frame.node, API_PORT));
    let list: Vec<String> = addresses
        .iter()
        .map(|a| format!("{} . {}", a.ip(), a.port()))
        .collect();
    vec![format!(
        "ip daddr . tcp dport {{ {} }} meta mark set meta mark | {DECLARED}",
        list.join(", ")
    )]
}

/// A pod that reaches itself by a cluster IP must not see its own address as the sender.
fn hairpin(node: Ipv4Addr, wanted: &Wanted) -> Vec<String> {
    let addresses: BTreeSet<Ipv4Addr> = wanted
        .services
        .values()
        .flatten()
        .map(|a| *a.ip())
        .collect();
    if addresses.is_empty() {
        return Vec::new();
    }
    let pairs: Vec<String> = addresses.iter().map(|a| format!("{a} . {a}")).collect();
    vec![format!(
        "ct status dnat ip saddr . ip daddr {{ {} }} snat to {node}",
        pairs.join(", ")
    )]
}

fn forward(frame: &Frame) -> Vec<String> {
    let own = frame.names.cables();
    let mut rules = vec![
        format!("iifname != \"{own}\" oifname != \"{own}\" accept"),
        "ct state established,related accept".to_owned(),
        format!("iifname \"{own}\" oifname \"{own}\" accept"),
    ];
    if frame.flat {
        rules.push(format!("iifname \"{ALL_CABLES}\" oifname \"{own}\" accept"));
        rules.push(format!("iifname \"{own}\" oifname \"{ALL_CABLES}\" accept"));
    }
    rules.push("meta l4proto tcp reject with tcp reset".to_owned());
    rules.push("reject with icmp type admin-prohibited".to_owned());
    rules
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn frame(flat: bool) -> Frame {
        Frame {
            names: Names::of(Path::new("/r/west")),
            node: Ipv4Addr::new(10, 244, 0, 1),
            flat,
        }
    }

    #[test]
    fn a_cluster_ip_is_shared_out_among_its_endpoints() {
        let ip = Ipv4Addr::new(10, 96, 0, 9);
        let one: BTreeSet<SocketAddrV4> = ["10.244.0.2:8080".parse().unwrap()].into();
        let two = [
            "10.244.0.2:8080".parse().unwrap(),
            "10.244.0.3:80".parse().unwrap(),
        ]
        .into();
        assert_eq!(
            translate((ip, Protocol::Tcp, 80), &one).unwrap(),
            "ip daddr 10.96.0.9 tcp dport 80 dnat to 10.244.0.2:8080"
        );
        assert_eq!(
            translate((ip, Protocol::Udp, 53), &two).unwrap(),
            "ip daddr 10.96.0.9 udp dport 53 dnat ip to numgen inc mod 2 map \
             { 0 : 10.244.0.2 . 8080, 1 : 10.244.0.3 . 80 }"
        );
        assert_eq!(translate((ip, Protocol::Tcp, 80), &BTreeSet::new()), None);
    }

    #[test]
    fn only_flat_clusters_forward_to_each_other() {
        assert!(!script(&frame(false), &Wanted::default()).contains("\"mv*\""));
        let flat = script(&frame(true), &Wanted::default());
        assert!(flat.contains("iifname \"mv*\" oifname"), "{flat}");
    }

    #[test]
    fn load_balancers_and_the_api_server_are_declared() {
        let wanted = Wanted {
            balancers: ["10.245.0.1:4143".parse().unwrap()].into(),
            ..Wanted::default()
        };
        let rule = &declared(&frame(false), &wanted)[0];
        assert!(
            rule.contains("{ 10.244.0.1 . 6443, 10.245.0.1 . 4143 }"),
            "{rule}"
        );
    }

    #[test]
    fn services_are_read_from_the_cluster() {
        let mut view = View::default();
        let service = |value| serde_json::from_value::<Service>(value).unwrap();
        let web = service(serde_json::json!({"spec": {"clusterIP": "10.96.0.1",
            "ports": [{"port": 80}, {"port": 53, "protocol": "UDP"}, {"port": 9, "protocol": "SCTP"}]}}));
        let api = service(
            serde_json::json!({"spec": {"clusterIP": "10.96.0.2", "ports": [{"port": 443}]}}),
        );
        let headless =
            service(serde_json::json!({"spec": {"clusterIP": "None", "ports": [{"port": 80}]}}));
        view.services.insert(("ns".into(), "web".into()), web);
        view.services.insert(("ns".into(), "none".into()), headless);
        view.services
            .insert(("default".into(), "kubernetes".into()), api);
        let found = services(&view, Ipv4Addr::new(10, 244, 0, 1));
        let keys: Vec<String> = found
            .keys()
            .map(|(ip, p, n)| format!("{ip} {} {n}", p.name()))
            .collect();
        assert_eq!(
            keys,
            ["10.96.0.1 tcp 80", "10.96.0.1 udp 53", "10.96.0.2 tcp 443"]
        );
        let api = found.values().last().unwrap();
        assert_eq!(
            api.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["10.244.0.1:6443"]
        );
    }
}
