//! Label selectors.

use crate::status::ApiError;
use serde_json::Value;

/// Which labels an object must have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::apiserver) struct LabelSelector {
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
    pub(in crate::apiserver) fn parse(text: &str) -> Result<Self, ApiError> {
        let mut all_of = Vec::new();
        for part in split_outside_parentheses(text) {
            all_of.push(label_rule(part.trim())?);
        }
        Ok(Self { all_of })
    }

    pub(in crate::apiserver) fn is_empty(&self) -> bool {
        self.all_of.is_empty()
    }

    pub(in crate::apiserver) fn matches(&self, obj: &Value) -> bool {
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
