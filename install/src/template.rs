//! Documents with holes: one tree that becomes manifests here and Helm templates in `helm`.
//!
//! A hole is `${path}` inside any string, where `path` names a value (`proxy.logLevel`), or one of
//! `release.namespace`, `release.createdBy` and `values` (all of them, without secrets, as YAML). A
//! string that is nothing but a hole takes the value's type; `${path?message}` must not be empty;
//! `${path|base64}` is encoded and `${path|text}` text even where it is a number. A field whose key is a hole is replaced by the fields of that
//! value, and an item `${path...}` by its items.
//! [`when`] keeps a list item, a field or a whole document only while a condition holds.
//!
//! Builders write trees, [`Scope::evaluate`] fills them. What neither knows is how Helm spells it.

use anyhow::{Context as _, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

const WHEN: &str = "$when";
const THEN: &str = "$then";

/// Kept only while `condition` holds: `path`, `!path`, `path == word`, `path != word`, joined by
/// `&&`. A path holds as Helm sees it: unless it is false, zero or empty.
pub fn when(condition: &str, then: Value) -> Value {
    json!({ WHEN: condition, THEN: then })
}

/// The condition and what it keeps, where `value` is conditional.
pub(crate) fn conditional(value: &Value) -> Option<(&str, &Value)> {
    let condition = value.get(WHEN)?.as_str()?;
    Some((condition, value.get(THEN)?))
}

/// The value whose fields replace the field called `key`.
pub(crate) fn spread(key: &str) -> Option<&str> {
    key.strip_prefix("${")?.strip_suffix('}')
}

/// The value whose items replace `item`.
pub(crate) fn spread_items(item: &Value) -> Option<&str> {
    spread(item.as_str()?)?.strip_suffix("...")
}

/// A part of a string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part<'t> {
    Text(&'t str),
    Hole {
        path: &'t str,
        /// What is done to the value, if anything.
        filter: Option<&'t str>,
        /// Said where the value is empty, which then is an error.
        required: Option<&'t str>,
    },
}

/// Splits a string at its holes.
pub(crate) fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((hole, after)) = after.split_once('}') else {
            break;
        };
        if !before.is_empty() {
            parts.push(Part::Text(before));
        }
        let (path, required) = match hole.split_once('?') {
            Some((path, message)) => (path, Some(message)),
            None => (hole, None),
        };
        let (path, filter) = match path.split_once('|') {
            Some((path, filter)) => (path, Some(filter)),
            None => (path, None),
        };
        parts.push(Part::Hole {
            path,
            filter,
            required,
        });
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest));
    }
    parts
}

/// One comparison of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Test<'c> {
    Holds(&'c str),
    HoldsNot(&'c str),
    Is(&'c str, &'c str),
    IsNot(&'c str, &'c str),
}

/// The comparisons of a condition, all of which must be true.
pub(crate) fn tests(condition: &str) -> impl Iterator<Item = Test<'_>> {
    condition.split("&&").map(|test| {
        let test = test.trim();
        if let Some((path, word)) = test.split_once("==") {
            Test::Is(path.trim(), word.trim())
        } else if let Some((path, word)) = test.split_once("!=") {
            Test::IsNot(path.trim(), word.trim())
        } else if let Some(path) = test.strip_prefix('!') {
            Test::HoldsNot(path.trim())
        } else {
            Test::Holds(test)
        }
    })
}

/// What fills the holes.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Namespace it is installed in.
    pub namespace: String,
    /// Every value.
    pub values: Value,
    /// What `linkerd-config` shows of them.
    pub public_values: Value,
}

impl Scope {
    /// Fills every hole; documents whose condition does not hold are left out.
    pub fn evaluate(&self, templates: &[Value]) -> anyhow::Result<Vec<Value>> {
        let mut out = Vec::new();
        for template in templates {
            out.extend(self.fill(template)?);
        }
        Ok(out)
    }

    fn fill(&self, template: &Value) -> anyhow::Result<Option<Value>> {
        if let Some((condition, then)) = conditional(template) {
            return if self.holds(condition)? {
                self.fill(then)
            } else {
                Ok(None)
            };
        }
        Ok(Some(match template {
            Value::String(text) => self.text(text)?,
            Value::Array(items) => {
                let mut out = Vec::with_capacity(items.len());
                for item in items {
                    if let Some(path) = spread_items(item) {
                        if let Value::Array(more) = self.value(path)? {
                            out.extend(more);
                        }
                    } else {
                        out.extend(self.fill(item)?);
                    }
                }
                out.into()
            }
            Value::Object(fields) => {
                let mut out = Map::new();
                for (key, value) in fields {
                    if let Some(path) = spread(key) {
                        if let Value::Object(more) = self.value(path)? {
                            out.extend(more);
                        }
                    } else if let Some(value) = self.fill(value)? {
                        out.insert(key.clone(), value);
                    }
                }
                out.into()
            }
            other => other.clone(),
        }))
    }

    fn text(&self, text: &str) -> anyhow::Result<Value> {
        let parts = parts(text);
        if let [
            Part::Hole {
                path,
                filter,
                required,
            },
        ] = parts.as_slice()
        {
            let value = filtered(self.value(path)?, *filter)?;
            if let Some(message) = required
                && !truthy(&value)
            {
                bail!("{message}");
            }
            return Ok(value);
        }
        let mut out = String::new();
        for part in parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Hole { path, .. } => match self.value(path)? {
                    Value::String(text) => out.push_str(&text),
                    Value::Null => {}
                    other => out.push_str(&other.to_string()),
                },
            }
        }
        Ok(out.into())
    }

    fn value(&self, path: &str) -> anyhow::Result<Value> {
        match path {
            "release.namespace" => return Ok(json!(self.namespace)),
            "release.createdBy" => return Ok(json!(crate::created_by())),
            "values" => return Ok(serde_saphyr::to_string(&self.public_values)?.into()),
            _ => {}
        }
        let mut value = &self.values;
        for key in path.split('.') {
            value = value
                .get(key)
                .with_context(|| format!("a template asks for the value {path}, which is none"))?;
        }
        Ok(value.clone())
    }

    fn holds(&self, condition: &str) -> anyhow::Result<bool> {
        for test in tests(condition) {
            let word = |path: &str| -> anyhow::Result<String> {
                Ok(match self.value(path)? {
                    Value::String(text) => text,
                    other => other.to_string(),
                })
            };
            let holds = match test {
                Test::Holds(path) => truthy(&self.value(path)?),
                Test::HoldsNot(path) => !truthy(&self.value(path)?),
                Test::Is(path, other) => word(path)? == other,
                Test::IsNot(path, other) => word(path)? != other,
            };
            if !holds {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn filtered(value: Value, filter: Option<&str>) -> anyhow::Result<Value> {
    let text = match &value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    Ok(match filter {
        None => value,
        Some("base64") => STANDARD.encode(text).into(),
        Some("text") => text.into(),
        Some(other) => bail!("a template uses the filter {other:?}, which is none"),
    })
}

/// As Helm's `if` sees a value.
fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Scope {
        Scope {
            namespace: "linkerd".into(),
            values: json!({"replicas": 3, "ha": true, "none": "", "a": {"b-c": "x"}, "l": {"k": "v"}, "items": [1, 2]}),
            public_values: json!({"replicas": 3}),
        }
    }

    #[test]
    fn holes_take_the_values_type_alone_and_are_text_among_text() {
        let template = json!({
            "n": "${replicas}", "t": "r=${replicas},${a.b-c}", "ns": "${release.namespace}",
            "plain": "$(POD)", "values": "${values}", "labels": {"own": "1", "${l}": null},
            "list": [0, "${items...}"], "bytes": "${a.b-c|base64}",
        });
        let filled = scope().evaluate(&[template]).unwrap();
        assert_eq!(
            filled[0],
            json!({"n": 3, "t": "r=3,x", "ns": "linkerd", "plain": "$(POD)", "values": "replicas: 3\n",
                   "labels": {"own": "1", "k": "v"}, "list": [0, 1, 2], "bytes": "eA=="})
        );
    }

    #[test]
    fn what_a_condition_does_not_keep_is_gone() {
        for (condition, kept) in [
            ("ha", true),
            ("!ha", false),
            ("none", false),
            ("!none", true),
            ("replicas == 3", true),
            ("replicas != 3", false),
            ("ha && a.b-c == x", true),
            ("ha && a.b-c == y", false),
        ] {
            let template =
                json!([{"f": when(condition, json!(1)), "l": [when(condition, json!(2))]}]);
            let filled = scope().evaluate(&[template]).unwrap();
            let expected = if kept {
                json!([{"f": 1, "l": [2]}])
            } else {
                json!([{"l": []}])
            };
            assert_eq!(filled, [expected], "{condition}");
            let document = when(condition, json!({}));
            assert_eq!(
                scope().evaluate(&[document]).unwrap().len(),
                usize::from(kept)
            );
        }
    }

    #[test]
    fn a_hole_for_no_value_is_an_error_and_so_is_a_required_one_that_is_empty() {
        let error = |text: &str| scope().evaluate(&[json!(text)]).unwrap_err().to_string();
        assert!(error("${replica}").contains("replica"));
        assert!(error("x${a.b}").contains("a.b"));
        assert_eq!(error("${none?say it}"), "say it");
    }
}
