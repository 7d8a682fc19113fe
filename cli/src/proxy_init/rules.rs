//! What is redirected and what is not, rule by rule. Pure.
//!
//! What comes in goes to the inbound port, unless its port or its sender is to be left alone; what
//! goes out goes to the outbound port, unless the proxy itself sends it, it stays on the loopback
//! interface, or its port or its receiver is to be left alone. `script.rs` spells the rules for
//! programs, `netlink.rs` for the kernel.

use super::ports::{Ports, merged};
use ipnet::IpNet;

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

/// Which packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    /// Those that come in: interface and subnet are where they come from.
    Inbound,
    /// Those that the pod sends: interface and subnet are where they go to.
    Outbound,
}

/// A rule. The first of its hook that fits is the one that counts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rule {
    pub(crate) packets: Match,
    pub(crate) verdict: Verdict,
}

/// What a packet must be like.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Match {
    /// On the loopback interface.
    Loopback,
    /// Sent by a process of this user.
    User(u32),
    /// Sent by a process of this group.
    Group(u32),
    /// From or to this network.
    Subnet(IpNet),
    /// TCP to one of these ports.
    Port(Ports),
    /// TCP.
    Tcp,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is left alone.
    Return,
    /// It goes to this port of the pod.
    Redirect(u16),
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
}

impl Redirect {
    /// The rules for one version of IP, in their order.
    pub(crate) fn rules(&self, hook: Hook, family: Family) -> Vec<Rule> {
        match hook {
            Hook::Inbound => self.inbound(family),
            Hook::Outbound => self.outbound(family),
        }
    }

    fn inbound(&self, family: Family) -> Vec<Rule> {
        let to = Verdict::Redirect(self.inbound_port);
        let mut rules = vec![Match::Loopback.then(Verdict::Return)];
        rules.extend(self.left_alone(family, &self.skip_inbound));
        let only = merged(&self.only_inbound);
        if only.is_empty() {
            rules.push(Match::Tcp.then(to));
        }
        rules.extend(only.into_iter().map(|ports| Match::Port(ports).then(to)));
        rules
    }

    fn outbound(&self, family: Family) -> Vec<Rule> {
        // The proxy's own before anything else: what is led back to it goes round for ever.
        let mut rules = vec![Match::User(self.uid).then(Verdict::Return)];
        let group = |gid| Match::Group(gid).then(Verdict::Return);
        rules.extend(self.gid.map(group));
        rules.push(Match::Loopback.then(Verdict::Return));
        rules.extend(self.left_alone(family, &self.skip_outbound));
        rules.push(Match::Tcp.then(Verdict::Redirect(self.outbound_port)));
        rules
    }

    fn left_alone(&self, family: Family, ports: &[Ports]) -> impl Iterator<Item = Rule> {
        let subnets = self.subnets(family).into_iter().map(Match::Subnet);
        let ports = merged(ports).into_iter().map(Match::Port);
        subnets.chain(ports).map(|all| all.then(Verdict::Return))
    }

    fn subnets(&self, family: Family) -> Vec<IpNet> {
        let of_family = self.skip_subnets.iter().filter(|s| family.has(s));
        IpNet::aggregate(&of_family.copied().collect())
    }
}

impl Match {
    fn then(self, verdict: Verdict) -> Rule {
        Rule {
            packets: self,
            verdict,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Something of all that can be left alone.
    pub(crate) fn redirect() -> Redirect {
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
    fn the_proxy_is_exempted_before_anything_else_and_families_are_kept_apart() {
        let alone = |packets: Match| packets.then(Verdict::Return);
        let port = |ports: &str| alone(Match::Port(ports.parse().unwrap()));
        let subnet = |subnet: &str| alone(Match::Subnet(subnet.parse().unwrap()));
        assert_eq!(
            redirect().rules(Hook::Inbound, Family::V4),
            [
                alone(Match::Loopback),
                subnet("10.0.0.0/8"),
                port("4190-4191"),
                Match::Tcp.then(Verdict::Redirect(4143)),
            ]
        );
        let with_group = Redirect {
            gid: Some(7),
            ..redirect()
        };
        assert_eq!(
            with_group.rules(Hook::Outbound, Family::V6),
            [
                alone(Match::User(2102)),
                alone(Match::Group(7)),
                alone(Match::Loopback),
                subnet("fd00::/8"),
                port("25"),
                port("8000-8010"),
                Match::Tcp.then(Verdict::Redirect(4140)),
            ]
        );
    }

    #[test]
    fn only_the_ports_asked_for_are_redirected() {
        let some = Redirect {
            only_inbound: vec![443.into(), 80.into()],
            ..redirect()
        };
        let rules = some.rules(Hook::Inbound, Family::V4);
        let redirected: Vec<_> = rules
            .into_iter()
            .filter(|rule| rule.verdict == Verdict::Redirect(4143))
            .map(|rule| rule.packets)
            .collect();
        assert_eq!(
            redirected,
            [Match::Port(80.into()), Match::Port(443.into())]
        );
    }
}
