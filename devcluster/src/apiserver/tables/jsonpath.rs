//! The JSON paths printed columns use: `.a.b`, `['a.b']`, `[0]`, `[*]`, `[?(@.a=="b")]`.

use serde_json::Value;

#[derive(Debug, PartialEq)]
enum Step {
    Field(String),
    Index(i64),
    All,
    Where {
        path: String,
        equal: bool,
        value: Value,
    },
}

/// What a path leads to; a path that cannot be read leads nowhere.
pub(in crate::apiserver) fn find<'a>(value: &'a Value, path: &str) -> Vec<&'a Value> {
    let path = path.trim().trim_start_matches('{').trim_end_matches('}');
    let Some(steps) = parse(path) else {
        return Vec::new();
    };
    let mut found = vec![value];
    for step in &steps {
        found = found.into_iter().flat_map(|v| follow(v, step)).collect();
    }
    found
}

fn follow<'a>(value: &'a Value, step: &Step) -> Vec<&'a Value> {
    match step {
        Step::Field(name) => value.get(name).into_iter().collect(),
        Step::Index(at) => {
            let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
            let at = if *at < 0 {
                i64::try_from(list.len()).unwrap_or(0) + at
            } else {
                *at
            };
            usize::try_from(at)
                .ok()
                .and_then(|at| list.get(at))
                .into_iter()
                .collect()
        }
        Step::All => match value {
            Value::Array(list) => list.iter().collect(),
            Value::Object(map) => map.values().collect(),
            _ => Vec::new(),
        },
        Step::Where {
            path,
            equal,
            value: wanted,
        } => {
            let fits = |item: &&Value| {
                (find(item, path).first().copied().unwrap_or(&Value::Null) == wanted) == *equal
            };
            value
                .as_array()
                .into_iter()
                .flatten()
                .filter(fits)
                .collect()
        }
    }
}

fn parse(path: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut rest = path.trim_start_matches('$');
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('[') {
            let end = closing(after)?;
            steps.push(bracket(after[..end].trim())?);
            rest = &after[end + 1..];
            continue;
        }
        let after = rest.strip_prefix('.').unwrap_or(rest);
        // A backslash takes the next character as it is: `.metadata.labels.a\.b`.
        let (mut name, mut length, mut escaped) = (String::new(), 0, false);
        for c in after.chars() {
            if !escaped && matches!(c, '.' | '[') {
                break;
            }
            length += c.len_utf8();
            if c == '\\' && !escaped {
                escaped = true;
            } else {
                escaped = false;
                name.push(c);
            }
        }
        match name.as_str() {
            "" if length == 0 && after.len() == rest.len() => return None,
            "" => {}
            "*" => steps.push(Step::All),
            _ => steps.push(Step::Field(name)),
        }
        rest = &after[length..];
    }
    Some(steps)
}

/// Where a bracket opened before `text` closes, quotes and nesting respected.
fn closing(text: &str) -> Option<usize> {
    let (mut quote, mut depth) = (None, 0);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') if depth == 0 => return Some(at),
            (None, ']') => depth -= 1,
            _ => {}
        }
    }
    None
}

fn bracket(text: &str) -> Option<Step> {
    if text == "*" {
        return Some(Step::All);
    }
    if let Some(name) = unquoted(text) {
        return Some(Step::Field(name.to_owned()));
    }
    if let Some(condition) = text.strip_prefix("?(").and_then(|t| t.strip_suffix(')')) {
        let (path, value, equal) = match condition.split_once("==") {
            Some((path, value)) => (path, value, true),
            None => condition
                .split_once("!=")
                .map(|(path, value)| (path, value, false))?,
        };
        let value = value.trim();
        let value = match unquoted(value) {
            Some(text) => Value::String(text.to_owned()),
            None => serde_json::from_str(value).ok()?,
        };
        let path = path.trim().strip_prefix('@')?.to_owned();
        return Some(Step::Where { path, equal, value });
    }
    text.parse().ok().map(Step::Index)
}

fn unquoted(text: &str) -> Option<&str> {
    ['"', '\'']
        .iter()
        .find_map(|q| text.strip_prefix(*q)?.strip_suffix(*q))
}
