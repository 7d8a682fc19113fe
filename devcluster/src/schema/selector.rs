//! Label selectors inside objects (`matchLabels`, `matchExpressions`). Pure.

use super::json::{at, items, text};
use super::names::{self, check};
use crate::status::Cause;
use serde_json::{Value, json};

/// Whether the selector says nothing, which matches everything.
pub(crate) fn is_empty(selector: &Value) -> bool {
    at(selector, &["matchLabels"])
        .as_object()
        .is_none_or(serde_json::Map::is_empty)
        && items(selector, &["matchExpressions"]).is_empty()
}

/// Whether the plain map of a Service's selector matches; an empty one matches nothing.
pub(crate) fn matches_map(wanted: &Value, labels: &Value) -> bool {
    let Some(wanted) = wanted.as_object().filter(|w| !w.is_empty()) else {
        return false;
    };
    wanted
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value))
}

/// Whether labels satisfy a `LabelSelector`.
pub(crate) fn matches(selector: &Value, labels: &Value) -> bool {
    let map = at(selector, &["matchLabels"]);
    (map.as_object().is_none_or(serde_json::Map::is_empty) || matches_map(map, labels))
        && items(selector, &["matchExpressions"])
            .iter()
            .all(|e| satisfied(e, labels))
}

fn satisfied(expression: &Value, labels: &Value) -> bool {
    let value = labels.get(text(expression, &["key"]));
    let among = value.is_some_and(|v| items(expression, &["values"]).contains(v));
    match text(expression, &["operator"]) {
        "In" => among,
        "NotIn" => !among,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        _ => false,
    }
}

/// Whether a `LabelSelector` is well formed.
pub(super) fn validate(selector: &Value, field: &str, causes: &mut Vec<Cause>) {
    super::meta::labels(
        at(selector, &["matchLabels"]),
        &format!("{field}.matchLabels"),
        causes,
    );
    for (i, expression) in items(selector, &["matchExpressions"]).iter().enumerate() {
        let field = format!("{field}.matchExpressions[{i}]");
        check(
            causes,
            &format!("{field}.key"),
            text(expression, &["key"]),
            names::qualified,
        );
        let values = items(expression, &["values"]).len();
        match text(expression, &["operator"]) {
            "In" | "NotIn" if values == 0 => {
                let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                causes.push(Cause::required(format!("{field}.values"), detail));
            }
            "Exists" | "DoesNotExist" if values > 0 => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                causes.push(Cause::forbidden(format!("{field}.values"), detail));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                let detail = "not a valid selector operator";
                causes.push(Cause::invalid(
                    format!("{field}.operator"),
                    &json!(other),
                    detail,
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_match_as_kubernetes_selects() {
        let labels = json!({"app": "web", "tier": "front"});
        let expression = |key: &str, operator: &str, values: Value| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
        let table = [
            (json!({}), true),
            (json!({"matchLabels": {"app": "web"}}), true),
            (json!({"matchLabels": {"app": "api"}}), false),
            (expression("app", "In", json!(["web", "api"])), true),
            (expression("app", "NotIn", json!(["web"])), false),
            (expression("x", "NotIn", json!(["web"])), true),
            (expression("x", "Exists", json!([])), false),
            (expression("x", "DoesNotExist", json!([])), true),
        ];
        for (selector, expected) in table {
            assert_eq!(matches(&selector, &labels), expected, "{selector}");
        }
        assert!(!matches_map(&json!({}), &labels));
    }
}
