//! `--set` as Helm parses it: `a.b=c,d[0].e=f,g={x,y}`, with `\` before a character that is meant.

use anyhow::bail;
use serde_json::{Map, Value, json};

/// A step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

/// A list longer than this is a mistake.
const MAX_INDEX: usize = 1024;

/// Lays the settings of one flag over `values`; with `typed`, `true`, `3` and `null` are those.
pub(super) fn apply(values: &mut Value, settings: &str, typed: bool) -> anyhow::Result<()> {
    for setting in split(settings, ',') {
        if setting.is_empty() {
            continue;
        }
        let Some((path, text)) = cut(&setting, '=') else {
            bail!("{setting:?} is not KEY=VALUE");
        };
        let value = match text.strip_prefix('{').and_then(|t| t.strip_suffix('}')) {
            Some("") => json!([]),
            Some(items) => split(items, ',')
                .iter()
                .map(|item| leaf(item, typed))
                .collect(),
            None => leaf(text, typed),
        };
        lay(values, &steps(path)?, value);
    }
    Ok(())
}

/// Lays one value at a path, as `--set-file` does.
pub(super) fn put_text(values: &mut Value, path: &str, text: &str) -> anyhow::Result<()> {
    lay(values, &steps(path)?, text.into());
    Ok(())
}

/// Lays one value at a dotted path of plain keys.
pub fn put(values: &mut Value, path: &str, value: Value) {
    let steps: Vec<_> = path.split('.').map(|key| Step::Key(key.into())).collect();
    lay(values, &steps, value);
}

fn steps(path: &str) -> anyhow::Result<Vec<Step>> {
    let mut steps = Vec::new();
    for key in split(path, '.') {
        let (name, mut rest) = match key.find('[') {
            Some(at) => key.split_at(at),
            None => (key.as_str(), ""),
        };
        if name.is_empty() {
            bail!("{path:?} has an empty key");
        }
        steps.push(Step::Key(unescape(name)));
        while let Some((index, tail)) = rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
            match index.parse() {
                Ok(index) if index <= MAX_INDEX => steps.push(Step::Index(index)),
                _ => bail!("{path:?}: [{index}] is no index"),
            }
            rest = tail;
        }
        if !rest.is_empty() {
            bail!("{path:?}: {rest:?} is no index");
        }
    }
    Ok(steps)
}

fn lay(into: &mut Value, steps: &[Step], value: Value) {
    match steps {
        [] => *into = value,
        [Step::Key(key), rest @ ..] => {
            if !into.is_object() {
                *into = Value::Object(Map::new());
            }
            if let Some(map) = into.as_object_mut() {
                lay(map.entry(key.as_str()).or_insert(Value::Null), rest, value);
            }
        }
        [Step::Index(index), rest @ ..] => {
            if !into.is_array() {
                *into = json!([]);
            }
            if let Some(list) = into.as_array_mut() {
                if list.len() <= *index {
                    list.resize(index + 1, Value::Null);
                }
                lay(&mut list[*index], rest, value);
            }
        }
    }
}

fn leaf(text: &str, typed: bool) -> Value {
    let text = unescape(text);
    if typed {
        match text.as_str() {
            "true" => return json!(true),
            "false" => return json!(false),
            "null" => return Value::Null,
            // Helm keeps what begins with a zero as text: it is a code and no number.
            number if number == "0" || !number.starts_with('0') => {
                if let Ok(number) = number.parse::<i64>() {
                    return json!(number);
                }
            }
            _ => {}
        }
    }
    text.into()
}

/// Splits at `at`, but not behind a backslash or within braces.
fn split(text: &str, at: char) -> Vec<String> {
    let mut parts = vec![String::new()];
    let (mut escaped, mut depth) = (false, 0_usize);
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            c if c == at && depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = parts.last_mut() {
            last.push(c);
        }
    }
    parts
}

fn cut(text: &str, at: char) -> Option<(&str, &str)> {
    let mut escaped = false;
    for (index, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == at => return Some((&text[..index], &text[index + c.len_utf8()..])),
            _ => {}
        }
    }
    None
}

fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.extend(chars.next()),
            c => out.push(c),
        }
    }
    out
}
