//! Which names, labels and keys Kubernetes accepts. Pure; each check answers with what it expects,
//! or nothing when the text is fine.

use crate::status::Cause;
use serde_json::json;

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
    characters, '-' or '.', and must start and end with an alphanumeric character (e.g. \
    'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters \
    or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', \
    regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or \
    '-', start with an alphabetic character, and end with an alphanumeric character (e.g. \
    'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const NAME_PART: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and \
    must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or \
    '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric \
    characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. \
    'MyValue',  or 'my_value',  or '12345', regex used for validation is \
    '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or \
    '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is \
    '[-._a-zA-Z0-9]+')";

/// How names of a kind are checked.
pub(super) type Check = fn(&str) -> Vec<String>;

fn too_long(text: &str, max: usize) -> Option<String> {
    (text.len() > max).then(|| format!("must be no more than {max} bytes"))
}

fn answer(long: Option<String>, fits: bool, expected: &str) -> Vec<String> {
    long.into_iter()
        .chain((!fits).then(|| expected.to_owned()))
        .collect()
}

fn lower(c: u8) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    matches!((bytes.first(), bytes.last()), (Some(&a), Some(&z)) if lower(a) && lower(z))
        && bytes.iter().all(|&c| lower(c) || c == b'-')
}

fn is_name_part(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends = |c: &u8| c.is_ascii_alphanumeric();
    matches!((bytes.first(), bytes.last()), (Some(a), Some(z)) if ends(a) && ends(z))
        && bytes
            .iter()
            .all(|c| ends(c) || matches!(c, b'-' | b'_' | b'.'))
}

/// A DNS-1123 label: most names that end up in DNS.
pub(super) fn label(text: &str) -> Vec<String> {
    answer(too_long(text, 63), is_label(text), LABEL)
}

/// A DNS-1123 subdomain: names of most objects.
pub(super) fn subdomain(text: &str) -> Vec<String> {
    let fits = text.split('.').all(is_label);
    answer(too_long(text, 253), fits, SUBDOMAIN)
}

/// A DNS-1035 label: names of Services.
pub(super) fn label_1035(text: &str) -> Vec<String> {
    let fits = is_label(text) && text.starts_with(|c: char| c.is_ascii_lowercase());
    answer(too_long(text, 63), fits, LABEL_1035)
}

/// Names that only must fit into a path: RBAC objects.
pub(super) fn path_segment(text: &str) -> Vec<String> {
    if text == "." || text == ".." {
        return vec![format!("may not be '{text}'")];
    }
    ["/", "%"]
        .iter()
        .filter(|bad| text.contains(**bad))
        .map(|bad| format!("may not contain '{bad}'"))
        .collect()
}

/// The key of a label or annotation: `name`, or `dns.prefix/name`.
pub(super) fn qualified(text: &str) -> Vec<String> {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    let mut out = Vec::new();
    if let Some(prefix) = prefix {
        if prefix.is_empty() {
            out.push("prefix part must be non-empty".to_owned());
        } else {
            out.extend(
                subdomain(prefix)
                    .into_iter()
                    .map(|m| format!("prefix part {m}")),
            );
        }
    }
    if name.is_empty() {
        out.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        out.push("name part must be no more than 63 bytes".to_owned());
    }
    if !is_name_part(name) {
        out.push(NAME_PART.to_owned());
    }
    out
}

/// The value of a label.
pub(super) fn label_value(text: &str) -> Vec<String> {
    let fits = text.is_empty() || is_name_part(text);
    answer(too_long(text, 63), fits, LABEL_VALUE)
}

/// A key of a ConfigMap or Secret.
pub(super) fn config_key(text: &str) -> Vec<String> {
    let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    let fits = !text.is_empty() && text.bytes().all(plain);
    let mut out = answer(too_long(text, 253), fits, CONFIG_KEY);
    if text == "." || text == ".." || text.starts_with("..") {
        out.push(format!("must not be '{text}' nor start with '..'"));
    }
    out
}

/// The name of a port of a pod: an IANA service name.
pub(super) fn port_name(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text.is_empty() || text.len() > 15 {
        out.push("must be no more than 15 characters".to_owned());
    }
    let plain = |c: u8| lower(c) || c == b'-';
    if !text.bytes().all(plain) {
        out.push(
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned(),
        );
    }
    if !text.bytes().any(|c| c.is_ascii_lowercase()) {
        out.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        out.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        out.push("must not begin or end with a hyphen".to_owned());
    }
    out
}

/// A port number.
pub(super) fn port_number(port: i64) -> Vec<String> {
    if (1..=65535).contains(&port) {
        Vec::new()
    } else {
        vec!["must be between 1 and 65535, inclusive".to_owned()]
    }
}

/// Runs a check on the text of a field.
pub(super) fn check(causes: &mut Vec<Cause>, field: &str, text: &str, check: Check) {
    for detail in check(text) {
        causes.push(Cause::invalid(field, &json!(text), &detail));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_accepted_and_refused_as_kubernetes_does() {
        let long = "a".repeat(64);
        let table: &[(Check, &str, bool)] = &[
            (label, "web-1", true),
            (label, "1web", true),
            (label, "Web", false),
            (label, "web.x", false),
            (label, "-web", false),
            (label, "", false),
            (label, &long, false),
            (subdomain, "a.b-c.d", true),
            (subdomain, "a..b", false),
            (subdomain, "a_b", false),
            (subdomain, &long, true),
            (label_1035, "web", true),
            (label_1035, "1web", false),
            (path_segment, "system:node", true),
            (path_segment, "a/b", false),
            (path_segment, "..", false),
            (qualified, "app", true),
            (qualified, "mirror.linkerd.io/exported", true),
            (qualified, "/x", false),
            (qualified, "a/b/c", false),
            (qualified, "app/", false),
            (qualified, "a b", false),
            (label_value, "", true),
            (label_value, "true", true),
            (label_value, "a b", false),
            (label_value, &long, false),
            (config_key, "ca.crt", true),
            (config_key, "a/b", false),
            (config_key, "..", false),
            (port_name, "http", true),
            (port_name, "mc-gateway", true),
            (port_name, "80", false),
            (port_name, "this-is-too-long-", false),
        ];
        for (check, text, good) in table {
            assert_eq!(check(text).is_empty(), *good, "{text}: {:?}", check(text));
        }
    }
}
