//! What is redirected and what is not, and the two languages it can be said in. Pure.
//!
//! Both say the same: what comes in goes to the inbound port, unless its port or its sender is to
//! be left alone; what goes out goes to the outbound port, unless the proxy itself sends it, it
//! stays on the loopback interface, or its port or its receiver is to be left alone.

use super::ports::{Ports, merged};
use ipnet::IpNet;
use std::fmt::Write as _;

/// nft's table, and the prefix of iptables' chains.
pub(crate) const TABLE: &str = "mesh_proxy_init";
const INBOUND: &str = "MESH_PROXY_INIT_IN";
const OUTBOUND: &str = "MESH_PROXY_INIT_OUT";

/// What is redirected where.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Redirect {
    pub(crate) inbound_port: u16,
    pub(crate) outbound_port: u16,
    /// Who is the proxy.
    pub(crate) uid: u32,
    pub(crate) gid: Option<u32>,
    /// Inbound ports to redirect; all if there is none.
    pub(crate) only_inbound: Vec<Ports>,
    pub(crate) skip_inbound: Vec<Ports>,
    pub(crate) skip_outbound: Vec<Ports>,
    pub(crate) skip_subnets: Vec<IpNet>,
}

/// A version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    fn has(self, subnet: &IpNet) -> bool {
        matches!(
            (self, subnet),
            (Family::V4, IpNet::V4(_)) | (Family::V6, IpNet::V6(_))
        )
    }

    fn nft(self) -> &'static str {
        match self {
            Family::V4 => "ip",
            Family::V6 => "ip6",
        }
    }
}

impl Redirect {
    fn subnets(&self, family: Family) -> Vec<IpNet> {
        let of_family = self.skip_subnets.iter().filter(|s| family.has(s));
        IpNet::aggregate(&of_family.copied().collect())
    }
}

/// A script for `nft -f -`. It replaces what an earlier run made, in one transaction.
pub(crate) fn nft(redirect: &Redirect, families: &[Family]) -> String {
    let mut script = String::new();
    for family in families {
        let ip = family.nft();
        let subnets = redirect.subnets(*family);
        let mut inbound = vec!["iifname \"lo\" return".to_owned()];
        let mut outbound = vec![format!("meta skuid {} return", redirect.uid)];
        outbound.extend(redirect.gid.map(|gid| format!("meta skgid {gid} return")));
        outbound.push("oifname \"lo\" return".to_owned());
        if !subnets.is_empty() {
            inbound.push(format!("{ip} saddr {} return", set(&subnets)));
            outbound.push(format!("{ip} daddr {} return", set(&subnets)));
        }
        inbound.extend(tcp(&redirect.skip_inbound, "return"));
        outbound.extend(tcp(&redirect.skip_outbound, "return"));
        let to = format!("redirect to :{}", redirect.inbound_port);
        let some = tcp(&redirect.only_inbound, &to);
        inbound.push(some.unwrap_or_else(|| format!("meta l4proto tcp {to}")));
        let to = format!("redirect to :{}", redirect.outbound_port);
        outbound.push(format!("meta l4proto tcp {to}"));
        let chain = |name: &str, hook: &str, rules: &[String]| {
            let rules = rules.join("\n        ");
            format!(
                "    chain {name} {{\n        type nat hook {hook} priority -100; policy accept;\n        {rules}\n    }}\n"
            )
        };
        let _infallible = write!(
            script,
            "table {ip} {TABLE}\ndelete table {ip} {TABLE}\ntable {ip} {TABLE} {{\n{}{}}}\n",
            chain("inbound", "prerouting", &inbound),
            chain("outbound", "output", &outbound),
        );
    }
    script
}

fn tcp(ports: &[Ports], verdict: &str) -> Option<String> {
    let ports = merged(ports);
    (!ports.is_empty()).then(|| format!("tcp dport {} {verdict}", set(&ports)))
}

fn set(items: &[impl ToString]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    format!("{{ {} }}", items.join(", "))
}

/// A script for `iptables-restore --noflush`. `saved` is what `iptables-save -t nat` says, so that
/// a second run does not lead into the chains twice.
pub(crate) fn iptables(redirect: &Redirect, family: Family, saved: &str) -> String {
    let mut rules = Vec::new();
    let mut add = |chain: &str, rule: &str| rules.push(format!("-A {chain} {rule}"));
    let subnets = redirect.subnets(family);

    add(INBOUND, "-i lo -j RETURN");
    for subnet in &subnets {
        add(INBOUND, &format!("-s {subnet} -j RETURN"));
    }
    for ports in merged(&redirect.skip_inbound) {
        add(INBOUND, &format!("{} -j RETURN", dport(ports)));
    }
    let to = format!("-j REDIRECT --to-ports {}", redirect.inbound_port);
    for ports in merged(&redirect.only_inbound) {
        add(INBOUND, &format!("{} {to}", dport(ports)));
    }
    if redirect.only_inbound.is_empty() {
        add(INBOUND, &format!("-p tcp {to}"));
    }

    let own = format!("-m owner --uid-owner {} -j RETURN", redirect.uid);
    add(OUTBOUND, &own);
    if let Some(gid) = redirect.gid {
        add(OUTBOUND, &format!("-m owner --gid-owner {gid} -j RETURN"));
    }
    add(OUTBOUND, "-o lo -j RETURN");
    for subnet in &subnets {
        add(OUTBOUND, &format!("-d {subnet} -j RETURN"));
    }
    for ports in merged(&redirect.skip_outbound) {
        add(OUTBOUND, &format!("{} -j RETURN", dport(ports)));
    }
    let to = format!("-p tcp -j REDIRECT --to-ports {}", redirect.outbound_port);
    add(OUTBOUND, &to);

    for (hook, chain) in [("PREROUTING", INBOUND), ("OUTPUT", OUTBOUND)] {
        let jump = format!("-A {hook} -j {chain}");
        if !saved.lines().any(|line| line.trim() == jump) {
            rules.push(jump);
        }
    }
    // With --noflush a declared chain is emptied, and everything else is left as it is.
    format!(
        "*nat\n:{INBOUND} - [0:0]\n:{OUTBOUND} - [0:0]\n{}\nCOMMIT\n",
        rules.join("\n")
    )
}

fn dport(ports: Ports) -> String {
    if ports.first == ports.last {
        format!("-p tcp --dport {}", ports.first)
    } else {
        format!("-p tcp --dport {}:{}", ports.first, ports.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redirect() -> Redirect {
        Redirect {
            inbound_port: 4143,
            outbound_port: 4140,
            uid: 2102,
            gid: None,
            only_inbound: Vec::new(),
            skip_inbound: vec![4190.into(), 4191.into()],
            skip_outbound: vec!["8000-8010".parse().unwrap(), 25.into()],
            skip_subnets: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
        }
    }

    #[test]
    fn nft_exempts_the_proxy_before_anything_else_and_keeps_families_apart() {
        let script = nft(&redirect(), &[Family::V4, Family::V6]);
        let chains: Vec<&str> = script.split("chain ").collect();
        assert_eq!(chains.len(), 5, "{script}");
        let inbound = [
            "iifname \"lo\" return",
            "ip saddr { 10.0.0.0/8 } return",
            "tcp dport { 4190-4191 } return",
            "meta l4proto tcp redirect to :4143",
        ];
        let outbound = [
            "meta skuid 2102 return",
            "oifname \"lo\" return",
            "ip daddr { 10.0.0.0/8 } return",
            "tcp dport { 25, 8000-8010 } return",
            "meta l4proto tcp redirect to :4140",
        ];
        for (chain, rules) in [(chains[1], &inbound[..]), (chains[2], &outbound[..])] {
            let written: Vec<&str> = chain.lines().skip(2).map(str::trim).collect();
            assert_eq!(&written[..rules.len()], rules);
        }
        assert!(chains[3].contains("ip6 saddr { fd00::/8 } return"));
        assert!(!chains[3].contains("10.0.0.0"));
    }

    #[test]
    fn only_the_ports_asked_for_are_redirected() {
        let some = Redirect {
            only_inbound: vec![80.into(), 443.into()],
            ..redirect()
        };
        let script = nft(&some, &[Family::V4]);
        assert!(script.contains("tcp dport { 80, 443 } redirect to :4143"));
        assert!(!script.contains("meta l4proto tcp redirect to :4143"));
        let script = iptables(&some, Family::V4, "");
        assert!(script.contains("-p tcp --dport 443 -j REDIRECT --to-ports 4143"));
        assert!(!script.contains("IN -p tcp -j REDIRECT"), "{script}");
    }

    #[test]
    fn iptables_leads_into_its_chains_once() {
        let first = iptables(&redirect(), Family::V4, "");
        assert!(first.contains("-A PREROUTING -j MESH_PROXY_INIT_IN\n"));
        assert!(first.contains("-A MESH_PROXY_INIT_OUT -p tcp --dport 8000:8010 -j RETURN\n"));
        let second = iptables(&redirect(), Family::V4, &first);
        assert!(!second.contains("-A PREROUTING"), "{second}");
        assert!(!second.contains("-A OUTPUT"), "{second}");
        assert_eq!(
            second.lines().filter(|l| l.contains("RETURN")).count(),
            first.lines().filter(|l| l.contains("RETURN")).count()
        );
    }
}
