//! Where two records differ.

use crate::session::{Entry, Trace};
use serde_json::Value;

/// One place where they do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The request, with its number in the sequence.
    pub asked: String,
    /// `status`, or a path in the body: `/spec/ports/0`.
    pub at: String,
    pub embedded: String,
    pub real: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            asked,
            at,
            embedded,
            real,
        } = self;
        write!(
            f,
            "{asked}\n   at {at}\n     embedded: {embedded}\n     real:     {real}"
        )
    }
}

/// All of them.
pub fn traces(embedded: &Trace, real: &Trace) -> Vec<Difference> {
    let mut found = Vec::new();
    for (ours, theirs) in embedded.entries.iter().zip(&real.entries) {
        let mut add = |at: &str, ours_text: String, theirs_text: String| {
            found.push(Difference {
                asked: theirs.asked.clone(),
                at: at.to_owned(),
                embedded: ours_text,
                real: theirs_text,
            });
        };
        if ours.asked != theirs.asked {
            add("request", ours.asked.clone(), theirs.asked.clone());
        }
        if ours.status != theirs.status {
            // The bodies of a success and a failure have nothing in common.
            add("status", summary(ours), summary(theirs));
            continue;
        }
        values("", &ours.body, &theirs.body, &mut add);
    }
    let ends = (&embedded.broken, &real.broken);
    if embedded.entries.len() != real.entries.len() || ends != (&None, &None) {
        let end = |trace: &Trace| {
            let last = trace.entries.last().map(|e| e.asked.as_str());
            let why = trace.broken.as_deref().unwrap_or("all of it was replayed");
            format!("after {}: {why}", last.unwrap_or("nothing"))
        };
        found.push(Difference {
            asked: "the end".into(),
            at: "end".into(),
            embedded: end(embedded),
            real: end(real),
        });
    }
    found
}

fn values(at: &str, ours: &Value, theirs: &Value, add: &mut impl FnMut(&str, String, String)) {
    let inside = |key: &str| format!("{at}/{}", key.replace('/', "~1"));
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            let mut keys: Vec<&String> = a.keys().chain(b.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                match (a.get(key), b.get(key)) {
                    (Some(x), Some(y)) => values(&inside(key), x, y, add),
                    (x, y) => add(&inside(key), shown(x), shown(y)),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (x, y)) in a.iter().zip(b).enumerate() {
                values(&inside(&index.to_string()), x, y, add);
            }
        }
        _ if ours == theirs => {}
        _ => add(at, shown(Some(ours)), shown(Some(theirs))),
    }
}

fn summary(entry: &Entry) -> String {
    let text = ["message", "text", "err", "out"]
        .iter()
        .find_map(|key| entry.body.get(key));
    format!("{} {}", entry.status, shown(text))
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "(nothing)".to_owned(), Value::to_string)
}
