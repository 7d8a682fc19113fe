//! PodDisruptionBudgets: what is refused. Counting is `controllers::disruptions`' business.

use super::json::{at, text};
use super::selector;
use crate::status::Cause;
use serde_json::Value;

/// Whether a budget is well formed.
pub(super) fn validate(obj: &Value, causes: &mut Vec<Cause>) {
    let spec = at(obj, &["spec"]);
    let given = |name: &str| !at(spec, &[name]).is_null();
    if given("minAvailable") && given("maxUnavailable") {
        let detail = "minAvailable and maxUnavailable cannot be both set";
        causes.push(Cause::invalid("spec", spec, detail));
    }
    for name in ["minAvailable", "maxUnavailable"] {
        count_or_percent(at(spec, &[name]), &format!("spec.{name}"), causes);
    }
    selector::validate(at(spec, &["selector"]), "spec.selector", causes);
    let policy = at(spec, &["unhealthyPodEvictionPolicy"]);
    let allowed = &["AlwaysAllow", "IfHealthyBudget"];
    if !policy.is_null() && !allowed.contains(&text(policy, &[])) {
        let field = "spec.unhealthyPodEvictionPolicy";
        causes.push(Cause::unsupported(field, policy, allowed));
    }
}

/// A percentage, of a text that is one.
pub(crate) fn percent(value: &Value) -> Option<i64> {
    let digits = value.as_str()?.strip_suffix('%')?;
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().ok())?
}

fn count_or_percent(value: &Value, field: &str, causes: &mut Vec<Cause>) {
    match value {
        Value::Null => {}
        Value::String(_) => match percent(value) {
            None => {
                let detail = "a valid percent string must be a numeric string followed by an \
                              ending '%' (e.g. '1%', or '93%', regex used for validation is \
                              '[0-9]+%')";
                causes.push(Cause::invalid(field, value, detail));
            }
            Some(n) if n > 100 => {
                let detail = "must not be greater than 100%";
                causes.push(Cause::invalid(field, value, detail));
            }
            Some(_) => {}
        },
        _ => {
            if value.as_i64().is_some_and(|n| n < 0) {
                let detail = "must be greater than or equal to 0";
                causes.push(Cause::invalid(field, value, detail));
            }
        }
    }
}
