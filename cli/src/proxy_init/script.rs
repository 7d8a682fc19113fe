//! The rules in the two languages of programs, nft's and iptables'. Pure.

use super::rules::{Family, Hook, Match, Redirect, Rule, Verdict};
use std::fmt::Write as _;

/// Name of the table that holds the rules.
pub(super) const TABLE: &str = "mesh_proxy_init";

/// A script for `nft -f -`. It replaces what an earlier run made, in one transaction.
pub(super) fn nft(redirect: &Redirect, families: &[Family]) -> String {
    let mut script = String::new();
    for family in families {
        let ip = nft_family(*family);
        let chain = |name: &str, kernels: &str, hook: Hook| {
            let rules = redirect.rules(hook, *family);
            let rules: Vec<String> = rules
                .iter()
                .map(|rule| nft_rule(rule, hook, *family))
                .collect();
            let rules = rules.join("\n        ");
            format!(
                "    chain {name} {{\n        type nat hook {kernels} priority -100; policy accept;\n        {rules}\n    }}\n"
            )
        };
        let _infallible = write!(
            script,
            "table {ip} {TABLE}\ndelete table {ip} {TABLE}\ntable {ip} {TABLE} {{\n{}{}}}\n",
            chain("inbound", "prerouting", Hook::Inbound),
            chain("outbound", "output", Hook::Outbound),
        );
    }
    script
}

fn nft_family(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

/// A rule as `nft` has it.
pub(super) fn nft_rule(rule: &Rule, hook: Hook, family: Family) -> String {
    let ip = nft_family(family);
    let (interface, address) = match hook {
        Hook::Inbound => ("iifname", "saddr"),
        Hook::Outbound => ("oifname", "daddr"),
    };
    let packets = match &rule.packets {
        Match::Loopback => format!("{interface} \"lo\""),
        Match::User(uid) => format!("meta skuid {uid}"),
        Match::Group(gid) => format!("meta skgid {gid}"),
        Match::Subnet(subnet) => format!("{ip} {address} {subnet}"),
        Match::Port(ports) => format!("tcp dport {ports}"),
        Match::Tcp => "meta l4proto tcp".to_owned(),
    };
    match rule.verdict {
        Verdict::Return => format!("{packets} return"),
        Verdict::Redirect(port) => format!("{packets} redirect to :{port}"),
    }
}

/// The hooks, as iptables calls them, and our chain of each.
const CHAINS: [(Hook, &str, &str); 2] = [
    (Hook::Inbound, "PREROUTING", "MESH_PROXY_INIT_IN"),
    (Hook::Outbound, "OUTPUT", "MESH_PROXY_INIT_OUT"),
];

/// A script for `iptables-restore --noflush`. `saved` is what `iptables-save -t nat` says, so that
/// a second run does not lead into the chains twice.
pub(super) fn iptables(redirect: &Redirect, family: Family, saved: &str) -> String {
    let mut script = "*nat\n".to_owned();
    // With --noflush a declared chain is emptied, and everything else is left as it is.
    for (_, _, chain) in CHAINS {
        let _infallible = writeln!(script, ":{chain} - [0:0]");
    }
    for (hook, _, chain) in CHAINS {
        for rule in redirect.rules(hook, family) {
            let _infallible = writeln!(script, "-A {chain} {}", iptables_rule(&rule, hook));
        }
    }
    for (_, kernels, chain) in CHAINS {
        let jump = format!("-A {kernels} -j {chain}");
        if !saved.lines().any(|line| line.trim() == jump) {
            let _infallible = writeln!(script, "{jump}");
        }
    }
    script + "COMMIT\n"
}

fn iptables_rule(rule: &Rule, hook: Hook) -> String {
    let (interface, address) = match hook {
        Hook::Inbound => ("-i", "-s"),
        Hook::Outbound => ("-o", "-d"),
    };
    let packets = match &rule.packets {
        Match::Loopback => format!("{interface} lo"),
        Match::User(uid) => format!("-m owner --uid-owner {uid}"),
        Match::Group(gid) => format!("-m owner --gid-owner {gid}"),
        Match::Subnet(subnet) => format!("{address} {subnet}"),
        Match::Port(ports) => format!("-p tcp --dport {}", ports.to_string().replace('-', ":")),
        Match::Tcp => "-p tcp".to_owned(),
    };
    match rule.verdict {
        Verdict::Return => format!("{packets} -j RETURN"),
        Verdict::Redirect(port) => format!("{packets} -j REDIRECT --to-ports {port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redirect() -> Redirect {
        Redirect {
            gid: Some(7),
            only_inbound: vec![80.into()],
            ..super::super::rules::tests::redirect()
        }
    }

    #[test]
    fn nft_reads_a_table_for_each_family() {
        let script = nft(&redirect(), &[Family::V4, Family::V6]);
        let chains: Vec<&str> = script.split("chain ").collect();
        assert_eq!(chains.len(), 5, "{script}");
        let inbound = [
            "iifname \"lo\" return",
            "ip saddr 10.0.0.0/8 return",
            "tcp dport 4190-4191 return",
            "tcp dport 80 redirect to :4143",
        ];
        let outbound = [
            "meta skuid 2102 return",
            "meta skgid 7 return",
            "oifname \"lo\" return",
            "ip daddr 10.0.0.0/8 return",
            "tcp dport 25 return",
            "tcp dport 8000-8010 return",
            "meta l4proto tcp redirect to :4140",
        ];
        for (chain, rules) in [(chains[1], &inbound[..]), (chains[2], &outbound[..])] {
            let written: Vec<&str> = chain.lines().skip(2).map(str::trim).collect();
            assert_eq!(&written[..rules.len()], rules);
        }
        assert!(chains[3].contains("ip6 saddr fd00::/8 return"));
        assert!(!chains[3].contains("10.0.0.0"));
    }

    #[test]
    fn iptables_leads_into_its_chains_once() {
        let first = iptables(&redirect(), Family::V4, "");
        assert!(first.contains("-A PREROUTING -j MESH_PROXY_INIT_IN\n"));
        assert!(first.contains("-A MESH_PROXY_INIT_OUT -p tcp --dport 8000:8010 -j RETURN\n"));
        assert!(
            first.contains("-A MESH_PROXY_INIT_IN -p tcp --dport 80 -j REDIRECT --to-ports 4143\n")
        );
        let second = iptables(&redirect(), Family::V4, &first);
        assert!(!second.contains("-A PREROUTING"), "{second}");
        assert!(!second.contains("-A OUTPUT"), "{second}");
        assert_eq!(
            second.lines().filter(|l| l.contains("RETURN")).count(),
            first.lines().filter(|l| l.contains("RETURN")).count()
        );
    }
}
