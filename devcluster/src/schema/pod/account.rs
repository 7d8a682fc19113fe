//! The ServiceAccount of a new pod: it must exist, and its token is mounted unless somebody
//! declines.

use crate::schema::json::{at, default, items, items_mut, name, namespace, text};
use crate::status::ApiError;
use crate::store::{ResourceKey, Store};
use serde_json::{Value, json};

const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// A little more than an hour, so that kubelets refresh before clients look.
const TOKEN_SECONDS: u64 = 3607;

/// Settles the account of a new pod and mounts its token.
pub(in crate::schema) fn admit(obj: &mut Value, store: &Store) -> Result<(), ApiError> {
    let (pod, ns) = (name(obj).to_owned(), namespace(obj).to_owned());
    let Some(spec) = obj.get_mut("spec") else {
        return Ok(());
    };
    default(spec, "serviceAccountName", "default");
    if text(spec, &["serviceAccountName"]).is_empty() {
        spec["serviceAccountName"] = json!("default");
    }
    let wanted = text(spec, &["serviceAccountName"]).to_owned();
    spec["serviceAccount"] = json!(wanted);
    let account = account(store, &ns, &wanted)?.ok_or_else(|| {
        let detail = format!(
            "error looking up service account {ns}/{wanted}: serviceaccount {wanted:?} not found"
        );
        ApiError::forbidden("", "pods", &pod, &detail)
    })?;
    let declined = at(spec, &["automountServiceAccountToken"])
        .as_bool()
        .or_else(|| account["automountServiceAccountToken"].as_bool())
        == Some(false);
    if !declined {
        mount(spec);
    }
    if items(spec, &["imagePullSecrets"]).is_empty() {
        let secrets = at(&account, &["imagePullSecrets"]);
        if !secrets.is_null() {
            spec["imagePullSecrets"] = secrets.clone();
        }
    }
    Ok(())
}

/// An account. `default` belongs to every namespace: when the controller has not made it yet, a
/// pod must not fail for having been quicker.
fn account(
    store: &Store,
    ns: &str,
    wanted: &str,
) -> Result<Option<std::sync::Arc<Value>>, ApiError> {
    let key = ResourceKey::core("serviceaccounts");
    let found = store.get(&key, Some(ns), wanted);
    if found.is_some() || wanted != "default" {
        return Ok(found);
    }
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
                         "metadata": {"name": "default", "namespace": ns}});
    store.create(&key, account).map(Some)
}

/// Adds the projected token volume, and its mount where a container has none of its own.
fn mount(spec: &mut Value) {
    let existing = items(spec, &["volumes"])
        .iter()
        .map(|v| text(v, &["name"]))
        .find(|n| n.starts_with("kube-api-access-"))
        .map(str::to_owned);
    let volume = existing
        .clone()
        .unwrap_or_else(|| format!("kube-api-access-{}", random_suffix()));
    let mut used = false;
    for list in ["initContainers", "containers"] {
        for container in items_mut(spec, list) {
            let own = items(container, &["volumeMounts"]);
            if own.iter().any(|m| text(m, &["mountPath"]) == MOUNT) {
                continue;
            }
            used = true;
            let mount = json!({"name": volume, "mountPath": MOUNT, "readOnly": true});
            push(container, "volumeMounts", mount);
        }
    }
    if used && existing.is_none() {
        push(spec, "volumes", token_volume(&volume));
    }
}

fn token_volume(name: &str) -> Value {
    json!({"name": name, "projected": {"defaultMode": 0o644, "sources": [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace",
            "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]}})
}

fn push(value: &mut Value, key: &str, item: Value) {
    match value.get_mut(key).and_then(Value::as_array_mut) {
        Some(list) => list.push(item),
        None => {
            if let Some(map) = value.as_object_mut() {
                map.insert(key.to_owned(), json!([item]));
            }
        }
    }
}

/// Five characters that cannot spell anything.
pub(crate) fn random_suffix() -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let bytes: [u8; 5] = rand::random();
    bytes
        .iter()
        .map(|b| char::from(ALPHABET[usize::from(*b) % ALPHABET.len()]))
        .collect()
}
