//! A container's spec → what its process sees.

use super::*;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use std::net::Ipv4Addr;

fn vars(pairs: &[(&str, &str)]) -> Variables {
    pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

fn container(value: Value) -> Container {
    serde_json::from_value(value).unwrap()
}

fn sources() -> Sources {
    let mut sources = Sources::default();
    sources.put_config_map(
        "cm",
        serde_json::from_value(json!({"data": {"a": "1", "b": "2"}})).unwrap(),
    );
    sources.put_secret(
        "s",
        serde_json::from_value(json!({"data": {"pw": "aHVzaA==", "bin": "//4="}})).unwrap(),
    );
    sources
}

fn resolve(c: &Container) -> Result<Variables, EnvironmentError> {
    let pod: Pod =
        serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "ns"}})).unwrap();
    let facts = Facts {
        pod: &pod,
        ip: Ipv4Addr::new(127, 1, 0, 2),
        node_ip: Ipv4Addr::new(127, 1, 0, 1),
        node_name: "n",
    };
    let mounts = Mounts::new(c, &["tokens", "data"], Path::new("/state/volumes"))?;
    variables(c, facts, &sources(), &mounts, vars(&[("HOSTNAME", "p")]))
}

#[test]
fn dollar_parentheses_expand_and_unknown_ones_stay() {
    let v = vars(&[("A", "1"), ("B", "x y")]);
    let table = [
        ("plain", "plain"),
        ("$(A)-$(B)", "1-x y"),
        ("$(C)", "$(C)"),
        ("$$(A)", "$(A)"),
        ("$A", "$A"),
        ("$(A", "$(A"),
        ("cost: 5$", "cost: 5$"),
    ];
    for (text, expected) in table {
        assert_eq!(expand(text, &v), expected, "{text}");
    }
}

#[test]
fn variables_come_from_everywhere_and_see_those_before_them() {
    let c = container(json!({"name": "c",
    "envFrom": [{"configMapRef": {"name": "cm"}, "prefix": "CM_"},
                {"secretRef": {"name": "absent", "optional": true}}],
    "env": [
        {"name": "_pod_name", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "JSON", "value": "{\"pod\":\"$(_pod_name)\",\"later\":\"$(LATER)\"}"},
        {"name": "LATER", "value": "x"},
        {"name": "PW", "valueFrom": {"secretKeyRef": {"name": "s", "key": "pw"}}},
        {"name": "NOPE", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "z", "optional": true}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "HOST", "value": "$(HOSTNAME)"}
    ]}));
    let v = resolve(&c).unwrap();
    assert_eq!(v["CM_a"], "1");
    assert_eq!(v["JSON"], "{\"pod\":\"p\",\"later\":\"$(LATER)\"}");
    assert_eq!(v["PW"], "hush");
    assert_eq!(v["IP"], "127.1.0.2");
    assert_eq!(v["HOST"], "p");
    assert!(!v.contains_key("NOPE"));
}

#[test]
fn what_is_missing_is_named() {
    let table = [
        (
            json!({"configMapKeyRef": {"name": "cm", "key": "z"}}),
            "couldn't find key z in ConfigMap cm",
        ),
        (
            json!({"secretKeyRef": {"name": "gone", "key": "z"}}),
            "Secret \"gone\" not found",
        ),
        (
            json!({"secretKeyRef": {"name": "s", "key": "bin"}}),
            "key bin of Secret s is not text",
        ),
        (
            json!({"fieldRef": {"fieldPath": "spec.x"}}),
            "fieldPath \"spec.x\" is not supported by the downward API",
        ),
    ];
    for (from, expected) in table {
        let c = container(json!({"name": "c", "env": [{"name": "X", "valueFrom": from}]}));
        assert_eq!(resolve(&c).unwrap_err().to_string(), expected);
    }
}

#[test]
fn paths_inside_volumes_are_rewritten_at_component_borders() {
    let c = container(json!({"name": "c", "volumeMounts": [
        {"name": "tokens", "mountPath": "/var/run/secrets/tokens/"},
        {"name": "data", "mountPath": "/var/run", "subPath": "a/../b"}],
        "env": [{"name": "T", "value": "/var/run/secrets/tokens/x"}]}));
    let mounts = Mounts::new(&c, &["tokens", "data"], Path::new("/var/run/state")).unwrap();
    let table = [
        ("/var/run/secrets/tokens", "/var/run/state/tokens"),
        ("/var/run/secrets/tokens/x", "/var/run/state/tokens/x"),
        (
            "/var/run/secrets/tokensX",
            "/var/run/state/data/a/b/secrets/tokensX",
        ),
        ("/var/runner", "/var/runner"),
        // Already rewritten, as a word that expanded a rewritten variable is.
        ("/var/run/state/tokens/x", "/var/run/state/tokens/x"),
        ("--file=/var/run/x", "--file=/var/run/state/data/a/b/x"),
        ("file=/var/run/x", "file=/var/run/x"),
    ];
    for (word, expected) in table {
        assert_eq!(mounts.rewrite_word(word), expected, "{word}");
    }
    assert_eq!(resolve(&c).unwrap()["T"], "/state/volumes/tokens/x");
}

#[test]
fn a_mount_without_a_volume_is_refused() {
    let c = container(json!({"name": "c", "volumeMounts": [{"name": "x", "mountPath": "/x"}]}));
    assert!(Mounts::new(&c, &["y"], Path::new("/v")).is_err());
}
