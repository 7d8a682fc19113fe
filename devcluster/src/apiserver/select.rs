//! Label and field selectors.

use super::resources::ResourceDef;
use crate::status::ApiError;
use serde_json::Value;

/// Which labels an object must have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LabelSelector {
    all_of: Vec<LabelRule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum LabelRule {
    Exists(String),
    Missing(String),
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Above(String, i64),
    Below(String, i64),
}

impl LabelSelector {
    /// Reads `a=b,c!=d,e in (x,y),f notin (z),g,!h,i>1,j<2`.
    pub(super) fn parse(text: &str) -> Result<Self, ApiError> {
        let mut all_of = Vec::new();
        for part in split_outside_parentheses(text) {
            all_of.push(label_rule(part.trim())?);
        }
        Ok(Self { all_of })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all_of.is_empty()
    }

    pub(super) fn matches(&self, obj: &Value) -> bool {
        let labels = &obj["metadata"]["labels"];
        let value = |key: &str| labels.get(key).and_then(Value::as_str);
        let number = |key: &str| value(key).and_then(|v| v.parse::<i64>().ok());
        self.all_of.iter().all(|rule| match rule {
            LabelRule::Exists(key) => value(key).is_some(),
            LabelRule::Missing(key) => value(key).is_none(),
            LabelRule::In(key, of) => value(key).is_some_and(|v| of.iter().any(|o| o == v)),
            LabelRule::NotIn(key, of) => value(key).is_none_or(|v| of.iter().all(|o| o != v)),
            LabelRule::Above(key, bound) => number(key).is_some_and(|v| v > *bound),
            LabelRule::Below(key, bound) => number(key).is_some_and(|v| v < *bound),
        })
    }
}

fn unreadable(part: &str, why: &str) -> ApiError {
    ApiError::bad_request(format!("unable to parse requirement: {part:?}: {why}"))
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_i32, 0);
    if text.trim().is_empty() {
        return parts;
    }
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn label_rule(part: &str) -> Result<LabelRule, ApiError> {
    if let Some(key) = part.strip_prefix('!') {
        return Ok(LabelRule::Missing(label_key(part, key)?));
    }
    for (operator, make) in [
        (
            "!=",
            LabelRule::NotIn as fn(String, Vec<String>) -> LabelRule,
        ),
        ("==", LabelRule::In),
        ("=", LabelRule::In),
    ] {
        if let Some((key, value)) = part.split_once(operator) {
            return Ok(make(label_key(part, key)?, vec![label_value(part, value)?]));
        }
    }
    for (operator, make) in [
        (">", LabelRule::Above as fn(String, i64) -> LabelRule),
        ("<", LabelRule::Below),
    ] {
        if let Some((key, bound)) = part.split_once(operator) {
            let bound = bound.trim().parse().map_err(|_| {
                unreadable(
                    part,
                    "for 'Gt', 'Lt' operators, the value must be an integer",
                )
            })?;
            return Ok(make(label_key(part, key)?, bound));
        }
    }
    if let Some((head, set)) = part.split_once('(') {
        return set_rule(part, head, set);
    }
    Ok(LabelRule::Exists(label_key(part, part)?))
}

/// `key in (a,b)`; `head` is what stands before the parenthesis.
fn set_rule(part: &str, head: &str, set: &str) -> Result<LabelRule, ApiError> {
    let set = set
        .trim_end()
        .strip_suffix(')')
        .ok_or_else(|| unreadable(part, "expected: ')'"))?;
    let values: Result<Vec<_>, _> = set.split(',').map(|v| label_value(part, v)).collect();
    let mut words = head.split_whitespace();
    match (words.next(), words.next(), words.next()) {
        (Some(key), Some("in"), None) => Ok(LabelRule::In(label_key(part, key)?, values?)),
        (Some(key), Some("notin"), None) => Ok(LabelRule::NotIn(label_key(part, key)?, values?)),
        _ => Err(unreadable(part, "expected: in, notin, =, ==, !=, gt, lt")),
    }
}

fn label_key(part: &str, key: &str) -> Result<String, ApiError> {
    let key = key.trim();
    let name = key.rsplit('/').next().unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    if name.is_empty() || name.len() > 63 || !key.chars().all(plain) {
        return Err(unreadable(part, &format!("{key:?} is not a label key")));
    }
    Ok(key.to_owned())
}

fn label_value(part: &str, value: &str) -> Result<String, ApiError> {
    let value = value.trim();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if value.len() > 63 || !value.chars().all(plain) {
        return Err(unreadable(part, &format!("{value:?} is not a label value")));
    }
    Ok(value.to_owned())
}

/// What some fields of an object must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FieldSelector {
    all_of: Vec<FieldRule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct FieldRule {
    path: String,
    value: String,
    equal: bool,
}

impl FieldSelector {
    /// Reads `a.b=c,d!=e`.
    pub(super) fn parse(text: &str) -> Result<Self, ApiError> {
        let mut all_of = Vec::new();
        for part in split_unescaped(text) {
            let (path, value, equal) = if let Some((path, value)) = part.split_once("!=") {
                (path, value, false)
            } else if let Some((path, value)) = part.split_once("==") {
                (path, value, true)
            } else if let Some((path, value)) = part.split_once('=') {
                (path, value, true)
            } else {
                let message = format!("invalid selector: '{text}'; can't understand '{part}'");
                return Err(ApiError::bad_request(message));
            };
            let value = unescape(value);
            all_of.push(FieldRule {
                path: path.trim().to_owned(),
                value,
                equal,
            });
        }
        Ok(Self { all_of })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all_of.is_empty()
    }

    /// The one object it can match, where it names one. A role that is limited to some names
    /// allows to list and watch those when they are asked for so.
    pub(super) fn name(&self) -> Option<&str> {
        let named = |rule: &&FieldRule| rule.equal && rule.path == "metadata.name";
        self.all_of
            .iter()
            .find(named)
            .map(|rule| rule.value.as_str())
    }

    /// Refuses fields objects of this resource are not selected by, instead of matching nothing.
    pub(super) fn check(&self, def: &ResourceDef) -> Result<(), ApiError> {
        for rule in &self.all_of {
            let common = matches!(rule.path.as_str(), "metadata.name" | "metadata.namespace");
            if !common && !selectable(def).contains(&rule.path.as_str()) {
                let message = format!("field label not supported: {}", rule.path);
                return Err(ApiError::bad_request(message));
            }
        }
        Ok(())
    }

    /// `obj` is in its stored form.
    pub(super) fn matches(&self, obj: &Value) -> bool {
        self.all_of
            .iter()
            .all(|rule| (field(obj, &rule.path) == rule.value) == rule.equal)
    }
}

fn split_unescaped(text: &str) -> Vec<&str> {
    let (mut parts, mut escaped, mut start) = (Vec::new(), false, 0);
    for (at, c) in text.char_indices() {
        if c == ',' && !escaped {
            parts.push(&text[start..at]);
            start = at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    parts.push(&text[start..]);
    parts.retain(|p| !p.is_empty());
    parts
}

fn unescape(value: &str) -> String {
    let (mut out, mut escaped) = (String::new(), false);
    for c in value.chars() {
        escaped = c == '\\' && !escaped;
        if !escaped {
            out.push(c);
        }
    }
    out
}

fn selectable(def: &ResourceDef) -> &'static [&'static str] {
    match (def.group.as_str(), def.plural.as_str()) {
        ("", "pods") => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        ("" | "events.k8s.io", "events") => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "reason",
            "reportingComponent",
            "reportingController",
            "source",
            "type",
        ],
        ("", "secrets") => &["type"],
        ("", "namespaces") => &["status.phase", "name"],
        ("", "nodes") => &["spec.unschedulable"],
        ("", "services") => &["spec.clusterIP", "spec.type"],
        ("apps", "replicasets") => &["status.replicas"],
        _ => &[],
    }
}

/// What a field holds, as text; empty when it is not there.
fn field(obj: &Value, path: &str) -> String {
    let renamed = match path {
        "source" => "source.component".to_owned(),
        "name" => "metadata.name".to_owned(),
        "reportingController" => "reportingComponent".to_owned(),
        other => match other.strip_prefix("regarding.") {
            Some(rest) => format!("involvedObject.{rest}"),
            None => other.to_owned(),
        },
    };
    let found = renamed.split('.').try_fold(obj, |at, key| at.get(key));
    match found {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) if is_bool(path) => "false".to_owned(),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    }
}

fn is_bool(path: &str) -> bool {
    matches!(path, "spec.unschedulable" | "spec.hostNetwork")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn labelled(selector: &str, labels: Value) -> bool {
        let selector = LabelSelector::parse(selector).unwrap();
        selector.matches(&json!({"metadata": {"labels": labels}}))
    }

    #[test]
    fn every_label_operator_works() {
        let web = || json!({"app": "web", "a.b/c": "3"});
        for yes in [
            "app=web",
            "app == web",
            "app!=x",
            "app",
            "!gone",
            "app in (web, y)",
            "app notin (x,y),a.b/c>2",
            "a.b/c<4",
            "gone notin (x)",
            "gone!=x",
            "",
        ] {
            assert!(labelled(yes, web()), "{yes}");
        }
        for no in [
            "app=x",
            "!app",
            "gone",
            "app in (x)",
            "app notin (web)",
            "a.b/c>3",
            "app=web,x",
        ] {
            assert!(!labelled(no, web()), "{no}");
        }
    }

    #[test]
    fn unreadable_label_selectors_are_bad_requests() {
        for bad in ["app in web", "a b", "=x", "app in (x", "a>b", "x=y z", ","] {
            assert_eq!(LabelSelector::parse(bad).unwrap_err().code, 400, "{bad}");
        }
    }

    #[test]
    fn field_selectors_follow_dotted_paths() {
        let pod = json!({"metadata": {"name": "x"}, "status": {"phase": "Running"}});
        let matches = |s: &str| FieldSelector::parse(s).unwrap().matches(&pod);
        assert!(matches("status.phase=Running,metadata.name!=y"));
        assert!(!matches("status.phase!=Running"));
        assert!(matches("spec.nodeName="));
        assert_eq!(FieldSelector::parse("x").unwrap_err().code, 400);
    }
}
