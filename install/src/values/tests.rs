//! Values as Helm users set them.

use super::{set, *};
use serde_json::json;

fn with(set: &[&str]) -> Loaded {
    let args = ValuesArgs {
        set: set.iter().map(|setting| (*setting).to_owned()).collect(),
        ..ValuesArgs::default()
    };
    load(&args, json!({}), json!({})).unwrap()
}

#[test]
fn settings_win_over_the_defaults_and_keep_their_types() {
    let loaded = with(&[
        "controllerReplicas=3,identity.externalCA=true",
        "identity.issuer.scheme=kubernetes.io/tls",
        "proxy.image.version=2",
    ]);
    let values = loaded.values;
    assert_eq!(values.controller_replicas, 3);
    assert_eq!(values.identity.issuer.scheme, "kubernetes.io/tls");
    assert!(values.identity.external_ca);
    assert_eq!(values.proxy.image.version, "2", "a tag is text");
    assert_eq!(values.cluster_domain, "cluster.local");
    assert_eq!(loaded.given["controllerReplicas"], 3);
    assert_eq!(loaded.given.get("clusterDomain"), None);
}

#[test]
fn settings_are_parsed_as_helm_parses_them() {
    for (setting, typed, expected) in [
        ("a=1", true, json!({"a": 1})),
        ("a=1", false, json!({"a": "1"})),
        ("a=007", true, json!({"a": "007"})),
        ("a=true,b.c=x", true, json!({"a": true, "b": {"c": "x"}})),
        ("a={x,y}", true, json!({"a": ["x", "y"]})),
        ("a={}", true, json!({"a": []})),
        (
            "a[0].k=v,a[1].k=w",
            true,
            json!({"a": [{"k": "v"}, {"k": "w"}]}),
        ),
        (r"a=x\,y", true, json!({"a": "x,y"})),
        (
            r"n.kubernetes\.io/os=linux",
            true,
            json!({"n": {"kubernetes.io/os": "linux"}}),
        ),
        ("a=b=c", true, json!({"a": "b=c"})),
        ("a=", true, json!({"a": ""})),
    ] {
        let mut values = json!({});
        set::apply(&mut values, setting, typed).unwrap();
        assert_eq!(values, expected, "{setting}");
    }
    for wrong in ["a", "=x", "a[x]=1", "a[99999]=1", "a[0=1", ".a=1,b"] {
        let mut values = json!({});
        assert!(set::apply(&mut values, wrong, true).is_err(), "{wrong}");
    }
}

#[test]
fn null_takes_a_default_away_and_is_remembered() {
    let loaded = with(&[r"nodeSelector.kubernetes\.io/os=null"]);
    assert_eq!(loaded.values.deployments.node_selector.len(), 0);
    let again: Loaded = load(&ValuesArgs::default(), loaded.given, json!({})).unwrap();
    assert_eq!(again.values.deployments.node_selector.len(), 0);
}

#[test]
fn ha_is_what_its_flag_says_and_settings_win_over_it() {
    let args = ValuesArgs {
        ha: true,
        set: vec!["controllerReplicas=2".into()],
        ..ValuesArgs::default()
    };
    let loaded: Loaded = load(&args, json!({}), json!({})).unwrap();
    assert_eq!(loaded.unknown, Vec::<String>::new(), "every key is known");
    assert_eq!(loaded.values.controller_replicas, 2);
    assert_eq!(loaded.values.webhook_failure_policy, "Fail");
    assert_eq!(loaded.values.proxy.resources.cpu.request, "100m");
}

#[test]
fn unknown_keys_are_found_wherever_they_are() {
    let known = json!({"a": {"b": 1}, "free": {}, "n": {"x/y": "z"}});
    let given = json!({"a": {"b": 1, "c": 2}, "d": {}, "free": {"k": 1}, "n": {"o": "p"}});
    assert_eq!(unknown_keys(&known, &given, ""), ["a.c", "d"]);
    let old = with(&["global.proxy.logLevel=debug", "prometheusUrl=x"]);
    assert_eq!(old.unknown, ["prometheusUrl"]);
    assert_eq!(old.values.proxy.log_level, "debug");
}

#[test]
fn what_is_published_has_no_key() {
    let mut values = Values::default();
    values.identity.issuer.tls.key_pem = "PRIVATE KEY".into();
    assert_eq!(values.public().identity.issuer.tls, IssuerTls::default());
    assert!(!format!("{values:?}").contains("PRIVATE KEY"));
}
