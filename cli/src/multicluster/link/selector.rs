//! Label selectors as kubectl writes them, as the API has them.

use anyhow::bail;
use serde_json::{Map, Value, json};

/// `a=b,c!=d,e in (f,g),h,!i` as a LabelSelector. An empty one selects nothing, as Links have it.
pub(super) fn parse(text: &str) -> anyhow::Result<Value> {
    let mut equal = Map::new();
    let mut expressions = Vec::new();
    for part in split(text) {
        match requirement(part) {
            Some(Requirement::Equal(key, value)) => {
                equal.insert(key.to_owned(), json!(value));
            }
            Some(Requirement::Expression(key, operator, values)) => {
                let mut expression = json!({ "key": key, "operator": operator });
                if !values.is_empty() {
                    expression["values"] = json!(values);
                }
                expressions.push(expression);
            }
            None => bail!(
                "the selector {text:?} cannot be read at {part:?}: expected KEY=VALUE, KEY!=VALUE, \
                 KEY in (A,B), KEY notin (A,B), KEY or !KEY, comma separated"
            ),
        }
    }
    let mut selector = json!({});
    if !equal.is_empty() {
        selector["matchLabels"] = Value::Object(equal);
    }
    if !expressions.is_empty() {
        selector["matchExpressions"] = json!(expressions);
    }
    Ok(selector)
}

enum Requirement<'a> {
    Equal(&'a str, &'a str),
    Expression(&'a str, &'static str, Vec<&'a str>),
}

/// The parts between commas that are not in parentheses.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    text.split(move |c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth == 0
    })
    .map(str::trim)
    .filter(|part| !part.is_empty())
}

fn requirement(part: &str) -> Option<Requirement<'_>> {
    if let Some((key, values)) = part.split_once('(') {
        let values: Vec<_> = values
            .strip_suffix(')')?
            .split(',')
            .map(str::trim)
            .collect();
        let (key, operator) = key.trim().rsplit_once(char::is_whitespace)?;
        let operator = match operator {
            "in" => "In",
            "notin" => "NotIn",
            _ => return None,
        };
        let good = values.iter().all(|value| is_value(value));
        return (good && is_key(key.trim())).then_some(Requirement::Expression(
            key.trim(),
            operator,
            values,
        ));
    }
    if let Some((key, value)) = part.split_once("!=") {
        let (key, value) = (key.trim(), value.trim());
        return (is_key(key) && is_value(value)).then_some(Requirement::Expression(
            key,
            "NotIn",
            vec![value],
        ));
    }
    if let Some((key, value)) = part.split_once('=') {
        let (key, value) = (key.trim(), value.strip_prefix('=').unwrap_or(value).trim());
        return (is_key(key) && is_value(value)).then_some(Requirement::Equal(key, value));
    }
    let (key, operator) = match part.strip_prefix('!') {
        Some(key) => (key.trim(), "DoesNotExist"),
        None => (part, "Exists"),
    };
    is_key(key).then_some(Requirement::Expression(key, operator, Vec::new()))
}

/// A label key: a name, behind a DNS name and a slash where it has a prefix.
pub(super) fn is_key(key: &str) -> bool {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let prefixed = prefix.is_none_or(|prefix| {
        !prefix.is_empty()
            && prefix.len() <= 253
            && prefix
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
    });
    prefixed && !name.is_empty() && is_value(name)
}

fn is_value(value: &str) -> bool {
    let ends = |b: Option<u8>| b.is_none_or(|b| b.is_ascii_alphanumeric());
    value.len() <= 63
        && value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && ends(value.bytes().next())
        && ends(value.bytes().last())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_read_as_kubectl_reads_them() {
        let expression = |key: &str, operator: &str, values: &[&str]| {
            let mut expression = json!({"key": key, "operator": operator});
            if !values.is_empty() {
                expression["values"] = json!(values);
            }
            json!({"matchExpressions": [expression]})
        };
        for (text, expected) in [
            ("a=b", json!({"matchLabels": {"a": "b"}})),
            (" a == b ", json!({"matchLabels": {"a": "b"}})),
            (
                "x.io/a=b,c=",
                json!({"matchLabels": {"x.io/a": "b", "c": ""}}),
            ),
            ("a", expression("a", "Exists", &[])),
            ("!a", expression("a", "DoesNotExist", &[])),
            ("a!=b", expression("a", "NotIn", &["b"])),
            ("a in (b, c)", expression("a", "In", &["b", "c"])),
            ("a notin (b)", expression("a", "NotIn", &["b"])),
            ("", json!({})),
        ] {
            assert_eq!(parse(text).unwrap(), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for text in [
            "=b", "a b", "a in b", "a in (b", "a=b=c", "a=b c", "/a", "a/", "a=-b", "!",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
