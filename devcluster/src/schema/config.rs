//! Secrets, ConfigMaps and ServiceAccounts.

use super::json::{at, default, map_in, remove, text};
use super::names::{self, check};
use crate::status::Cause;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// What a Secret or ConfigMap may hold in all.
const SIZE_MAX: usize = 1024 * 1024;

/// Type of Secrets that hold a token.
pub(crate) const TOKEN_SECRET: &str = "kubernetes.io/service-account-token";
/// Annotation of such a Secret: the ServiceAccount it is for.
pub(crate) const TOKEN_SECRET_ACCOUNT: &str = "kubernetes.io/service-account.name";

/// Folds `stringData` into `data`, and sets the type.
pub(super) fn complete_secret(obj: &mut Value) {
    default(obj, "type", "Opaque");
    if let Some(Value::Object(plain)) = remove(obj, "stringData")
        && let Some(data) = map_in(obj, "data")
    {
        for (key, value) in plain {
            let bytes = value.as_str().unwrap_or_default();
            data.insert(key, json!(STANDARD.encode(bytes)));
        }
    }
}

/// Whether a Secret is well formed.
pub(super) fn validate_secret(obj: &Value, causes: &mut Vec<Cause>) {
    let data = at(obj, &["data"]);
    let size = data.as_object().into_iter().flatten().map(|(key, value)| {
        check(causes, &format!("data[{key}]"), key, names::config_key);
        value.as_str().map_or(0, |v| v.len() / 4 * 3)
    });
    too_large(size.sum(), "data", causes);
    let required: &[&str] = match text(obj, &["type"]) {
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        "kubernetes.io/basic-auth" => {
            // One of the two is enough.
            let keys = ["username", "password"];
            if keys.iter().any(|key| !at(data, &[key]).is_null()) {
                &[]
            } else {
                &["username", "password"]
            }
        }
        TOKEN_SECRET => {
            if text(obj, &["metadata", "annotations", TOKEN_SECRET_ACCOUNT]).is_empty() {
                let field = format!("metadata.annotations[{TOKEN_SECRET_ACCOUNT}]");
                causes.push(Cause::required(field, ""));
            }
            &[]
        }
        _ => &[],
    };
    for key in required.iter().filter(|k| at(data, &[**k]).is_null()) {
        causes.push(Cause::required(format!("data[{key}]"), ""));
    }
}

/// Whether a ConfigMap is well formed.
pub(super) fn validate_config_map(obj: &Value, causes: &mut Vec<Cause>) {
    let mut size = 0;
    let (data, binary) = (at(obj, &["data"]), at(obj, &["binaryData"]));
    for (field, map) in [("data", data), ("binaryData", binary)] {
        for (key, value) in map.as_object().into_iter().flatten() {
            check(causes, &format!("{field}[{key}]"), key, names::config_key);
            if field == "data" && !at(binary, &[key]).is_null() {
                let detail = "duplicate of key present in binaryData";
                causes.push(Cause::invalid(format!("data[{key}]"), &json!(key), detail));
            }
            size += value.as_str().map_or(0, str::len);
        }
    }
    too_large(size, "", causes);
}

fn too_large(size: usize, field: &str, causes: &mut Vec<Cause>) {
    if size > SIZE_MAX {
        let message = format!("Too long: may not be more than {SIZE_MAX} bytes");
        causes.push(Cause {
            reason: "FieldValueTooLong",
            message,
            field: field.to_owned(),
        });
    }
}

/// What an update of a Secret or ConfigMap may not change.
pub(super) fn validate_update(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    if at(old, &["type"]) != at(new, &["type"]) {
        super::meta::immutable(causes, "type", at(new, &["type"]));
    }
    if old["immutable"] != true {
        return;
    }
    if new["immutable"] != true {
        let detail = "field is immutable when `immutable` is set";
        causes.push(Cause::forbidden("immutable", detail));
    }
    for field in ["data", "binaryData"] {
        if at(old, &[field]) != at(new, &[field]) {
            let detail = "field is immutable when `immutable` is set";
            causes.push(Cause::forbidden(field, detail));
        }
    }
}
