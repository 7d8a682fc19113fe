//! What the process was told about its cluster; read by the index and its views.

use crate::{args::Args, policy::DefaultPolicy, ports::PortSet};
use ipnet::IpNet;
use kube::core::{Selector, SelectorExt};
use std::{collections::BTreeMap, sync::Arc};

/// Facts that do not change while the process lives.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Namespace of the control plane, part of every identity it issues.
    pub(crate) controller_ns: Arc<str>,
    /// DNS domain, without a trailing dot.
    pub(crate) cluster_domain: Arc<str>,
    /// Trust domain, without a trailing dot.
    pub(crate) trust_domain: Arc<str>,
    /// For ports no Server selects.
    pub(crate) default_policy: DefaultPolicy,
    /// What the `cluster-*` policies mean.
    pub(crate) cluster_networks: Vec<IpNet>,
    /// Where probes come from.
    pub(crate) probe_networks: Vec<IpNet>,
    /// Opaque unless an annotation says otherwise.
    pub(crate) opaque_ports: PortSet,
    /// What gateways may learn of, beside the two labels.
    pub(crate) exports: Vec<Selector>,
}

/// Not a label selector.
#[derive(Debug, thiserror::Error)]
#[error(
    "--export-selector {selector:?}: {problem}; write it as kubectl's -l, e.g. team=shop,tier!=db"
)]
pub(crate) struct InvalidSelector {
    selector: String,
    problem: &'static str,
}

impl Config {
    /// From the flags.
    pub(crate) fn new(args: &Args) -> Result<Self, InvalidSelector> {
        let exports = args
            .export_selector
            .iter()
            .filter(|text| !text.trim().is_empty())
            .map(|text| selector(text))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            controller_ns: args.member.controller_namespace.as_str().into(),
            cluster_domain: trim_dot(&args.member.cluster_domain),
            trust_domain: trim_dot(&args.member.trust_domain),
            default_policy: args.default_inbound_policy,
            cluster_networks: args.cluster_networks.clone(),
            probe_networks: args.probe_networks.clone(),
            opaque_ports: args.opaque_ports.clone(),
            exports,
        })
    }

    /// Whether a Service with these labels may be reached through this cluster's gateway.
    pub(crate) fn exports(&self, labels: &BTreeMap<String, String>) -> bool {
        use mesh_contract::labels::{EXPORTED, FEDERATED};
        let has = |key: &str, value: &str| labels.get(key).is_some_and(|v| v == value);
        has(EXPORTED, "true")
            || has(FEDERATED, "member")
            || self.exports.iter().any(|selector| selector.matches(labels))
    }

    /// The identity of a ServiceAccount of this cluster.
    pub(crate) fn identity(&self, service_account: &str, namespace: &str) -> Arc<str> {
        mesh_contract::identity::WorkloadIdentity {
            service_account,
            namespace,
            control_plane_ns: &self.controller_ns,
            trust_domain: &self.trust_domain,
        }
        .to_string()
        .into()
    }
}

fn trim_dot(name: &str) -> Arc<str> {
    name.trim_end_matches('.').to_ascii_lowercase().into()
}

/// The equality and existence forms of kubectl's `-l`. An empty selector would export everything,
/// so it is never made.
fn selector(text: &str) -> Result<Selector, InvalidSelector> {
    use kube::core::Expression;
    let invalid = |problem| InvalidSelector {
        selector: text.to_owned(),
        problem,
    };
    let word = |word: &str| -> Result<String, InvalidSelector> {
        let word = word.trim();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        match word.chars().all(plain) {
            true => Ok(word.to_owned()),
            false => Err(invalid(
                "only key, !key, key=value and key!=value are known",
            )),
        }
    };
    let mut selector = Selector::default();
    for item in text.split(',') {
        let expression = if let Some((key, value)) = item.split_once("!=") {
            Expression::NotEqual(word(key)?, word(value)?)
        } else if let Some((key, value)) = item.split_once("==").or_else(|| item.split_once('=')) {
            Expression::Equal(word(key)?, word(value)?)
        } else if let Some(key) = item.trim().strip_prefix('!') {
            Expression::DoesNotExist(word(key)?)
        } else {
            Expression::Exists(word(item)?)
        };
        if let Expression::Exists(key) | Expression::DoesNotExist(key) = &expression
            && key.is_empty()
        {
            return Err(invalid("a key is missing"));
        }
        selector.extend(expression);
    }
    Ok(selector)
}

#[cfg(test)]
impl Config {
    /// The default flags.
    pub(crate) fn for_tests() -> Self {
        Self {
            controller_ns: "linkerd".into(),
            cluster_domain: "cluster.local".into(),
            trust_domain: "cluster.local".into(),
            default_policy: DefaultPolicy::Allow {
                authenticated: false,
                cluster_only: false,
            },
            cluster_networks: vec!["10.0.0.0/8".parse().unwrap()],
            probe_networks: vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()],
            opaque_ports: "25,3306".parse().unwrap(),
            exports: vec![],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn only_the_two_labels_export_by_default() {
        let config = Config::for_tests();
        assert!(config.exports(&labels(&[("mirror.linkerd.io/exported", "true")])));
        assert!(config.exports(&labels(&[("mirror.linkerd.io/federated", "member")])));
        for not in [
            labels(&[]),
            labels(&[("mirror.linkerd.io/exported", "remote-discovery")]),
            labels(&[("mirror.linkerd.io/exported", "")]),
            labels(&[("mirror.linkerd.io/federated", "true")]),
        ] {
            assert!(!config.exports(&not), "{not:?}");
        }
    }

    #[test]
    fn selectors_add_exports_and_bad_ones_are_refused() {
        let mut config = Config::for_tests();
        config.exports = vec![selector("team=shop,!internal,tier!=db").unwrap()];
        assert!(config.exports(&labels(&[("team", "shop")])));
        assert!(!config.exports(&labels(&[("team", "shop"), ("internal", "")])));
        assert!(!config.exports(&labels(&[("team", "shop"), ("tier", "db")])));
        for bad in ["a in (b)", ",", "!", "a b"] {
            assert!(selector(bad).is_err(), "{bad}");
        }
    }
}
