//! How Helm spells a template: block YAML with the holes and conditions as actions.

use crate::template::{Part, Test, conditional, parts, spread, spread_items, tests};
use serde_json::Value;

/// A file of `templates/`: the documents, each behind its condition.
pub(crate) fn file(documents: &[Value]) -> String {
    let mut out = String::new();
    for document in documents {
        guarded(document, "", &mut out, |document, out| {
            out.push_str("---\n");
            block(document, 0, out);
        });
    }
    out
}

/// A mapping or a sequence on lines of its own.
fn block(value: &Value, indent: usize, out: &mut String) {
    let pad = " ".repeat(indent);
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                if let Some(path) = spread(key) {
                    spread_block(path, &pad, indent, out);
                    continue;
                }
                guarded(value, &pad, out, |value, out| {
                    field(
                        &format!("{pad}{}:", scalar_key(key)),
                        value,
                        indent + 2,
                        out,
                    );
                });
            }
        }
        Value::Array(items) => {
            for item in items {
                if let Some(path) = spread_items(item) {
                    spread_block(path, &pad, indent, out);
                    continue;
                }
                guarded(item, &pad, out, |item, out| {
                    field(&format!("{pad}-"), item, indent + 2, out);
                });
            }
        }
        other => out.push_str(&format!("{pad}{}\n", scalar(other))),
    }
}

/// A value's own fields or items, among ours.
fn spread_block(path: &str, pad: &str, indent: usize, out: &mut String) {
    let value = reference(path);
    out.push_str(&format!("{pad}{{{{- with {value} }}}}\n"));
    out.push_str(&format!("{pad}{{{{- toYaml . | nindent {indent} }}}}\n"));
    out.push_str(&format!("{pad}{{{{- end }}}}\n"));
}

/// A value after its key or dash.
fn field(head: &str, value: &Value, indent: usize, out: &mut String) {
    let empty = match value {
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        other => {
            out.push_str(&format!("{head} {}\n", scalar(other)));
            return;
        }
    };
    if empty {
        let text = if value.is_object() { "{}" } else { "[]" };
        out.push_str(&format!("{head} {text}\n"));
        return;
    }
    out.push_str(head);
    out.push('\n');
    block(value, indent, out);
}

fn guarded(value: &Value, pad: &str, out: &mut String, write: impl Fn(&Value, &mut String)) {
    match conditional(value) {
        Some((condition, then)) => {
            out.push_str(&format!("{pad}{{{{- if {} }}}}\n", expression(condition)));
            guarded(then, pad, out, write);
            out.push_str(&format!("{pad}{{{{- end }}}}\n"));
        }
        None => write(value, out),
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => string(text),
        other => other.to_string(),
    }
}

fn string(text: &str) -> String {
    let parts = parts(text);
    match parts.as_slice() {
        [
            Part::Hole {
                path,
                filter,
                required,
            },
        ] => {
            let value = match required {
                Some(message) => format!("required {} {}", quoted(message), reference(path)),
                None => reference(path),
            };
            let filter = match filter {
                Some("base64") => " | b64enc",
                Some(_) => " | toString",
                None => "",
            };
            format!("{{{{ {value}{filter} | toJson }}}}")
        }
        parts if parts.iter().any(|part| matches!(part, Part::Hole { .. })) => {
            let mut format = String::new();
            let mut arguments = String::new();
            for part in parts {
                match part {
                    Part::Text(text) => format.push_str(&text.replace('%', "%%")),
                    Part::Hole { path, .. } => {
                        format.push_str("%v");
                        arguments.push(' ');
                        arguments.push_str(&reference(path));
                    }
                }
            }
            format!("{{{{ printf {}{arguments} | toJson }}}}", quoted(&format))
        }
        // Actions in plain text would be executed.
        _ if text.contains("{{") => format!("{{{{ {} | toJson }}}}", quoted(text)),
        _ => plain(text),
    }
}

/// A string as YAML: bare where it cannot be mistaken for something else.
fn plain(text: &str) -> String {
    let first = text.chars().next();
    let bare = first.is_some_and(|c| c.is_ascii_alphabetic() || c == '/')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c))
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
            .contains(&text.to_lowercase().as_str());
    if bare { text.to_owned() } else { quoted(text) }
}

fn scalar_key(key: &str) -> String {
    plain(key)
}

/// JSON, which both YAML and Helm's language read as a string.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn reference(path: &str) -> String {
    match path {
        "release.namespace" => return ".Release.Namespace".to_owned(),
        "release.createdBy" => return r#"(printf "mesh/helm %s" .Chart.Version)"#.to_owned(),
        "values" => return r#"(include "mesh.values" .)"#.to_owned(),
        _ => {}
    }
    let keys: Vec<_> = path.split('.').collect();
    let word = |key: &&str| key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if keys.iter().all(word) {
        return format!(".Values.{path}");
    }
    let keys: Vec<_> = keys.into_iter().map(quoted).collect();
    format!("(index .Values {})", keys.join(" "))
}

fn expression(condition: &str) -> String {
    let tests: Vec<_> = tests(condition)
        .map(|test| match test {
            Test::Holds(path) => reference(path),
            Test::HoldsNot(path) => format!("(not {})", reference(path)),
            Test::Is(path, word) => {
                format!("(eq (toString {}) {})", reference(path), quoted(word))
            }
            Test::IsNot(path, word) => {
                format!("(ne (toString {}) {})", reference(path), quoted(word))
            }
        })
        .collect();
    match tests.as_slice() {
        [one] => {
            let inner = one.strip_prefix('(').and_then(|one| one.strip_suffix(')'));
            inner.unwrap_or(one).to_owned()
        }
        several => format!("and {}", several.join(" ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::when;
    use serde_json::json;

    #[test]
    fn a_tree_is_spelled_as_a_template() {
        let document = json!({
            "args": ["--n=${a.n}", when("ha", json!("--ha")), "true"],
            "empty": {},
            "limits": { "x": when("r.b-c && m == w", json!("${r.b-c}")) },
            "own": { "${more}": null, "a": 1 },
            "text": "{{ no action }}",
        });
        assert_eq!(
            file(&[document, when("!ha", json!({"kind": "Last"}))]),
            r#"---
args:
  - {{ printf "--n=%v" .Values.a.n | toJson }}
  {{- if .Values.ha }}
  - "--ha"
  {{- end }}
  - "true"
empty: {}
limits:
  {{- if and (index .Values "r" "b-c") (eq (toString .Values.m) "w") }}
  x: {{ (index .Values "r" "b-c") | toJson }}
  {{- end }}
own:
  {{- with .Values.more }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  a: 1
text: {{ "{{ no action }}" | toJson }}
{{- if not .Values.ha }}
---
kind: Last
{{- end }}
"#
        );
    }
}
