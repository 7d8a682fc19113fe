//! Gives what must differ between two servers the same names: uids, times, revisions, generated
//! names and hashes, addresses and ports.

use regex::{Captures, Regex};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::LazyLock;

fn regex(text: &str) -> Regex {
    Regex::new(text).expect("a pattern")
}

static UID: LazyLock<Regex> =
    LazyLock::new(|| regex("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"));
static TIME: LazyLock<Regex> = LazyLock::new(|| regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"));
static JWT: LazyLock<Regex> = LazyLock::new(|| regex(r"eyJ[\w-]+\.[\w-]+\.[\w-]+"));
static IP: LazyLock<Regex> = LazyLock::new(|| regex(r"\b10\.96\.\d+\.\d+\b"));
static PEM: LazyLock<Regex> = LazyLock::new(|| regex(r"(?s)-----BEGIN.*-----END [A-Z ]+-----\n?"));
/// What a template's hash is in a name.
static HASH: LazyLock<Regex> = LazyLock::new(|| regex("-[bcdfghjklmnpqrstvwxz2456789]{8,10}\\b"));
static TEMPLATE: LazyLock<Regex> = LazyLock::new(|| regex("pod-template-hash=[a-z0-9]+"));
static REVISION: LazyLock<Regex> = LazyLock::new(|| {
    regex(r#"resourceVersion: "\d+"|"resourceVersion": "\d+"|resourceVersion=[1-9]\d+"#)
});
/// Where `kubectl diff` puts what it compares.
static DIFF: LazyLock<Regex> =
    LazyLock::new(|| regex(r"/tmp/(LIVE|MERGED)-\d+|\t\d{4}-\d\d-\d\d [\d:.]+ \+0000"));
/// What kubectl prints as an age.
static AGE: LazyLock<Regex> =
    LazyLock::new(|| regex(r"^(\d+[smhd])+( ago)?$|^<invalid>$|^<unknown>$|^just now$"));
/// What the server appends to `generateName`.
static RANDOM: LazyLock<Regex> =
    LazyLock::new(|| regex("-[bcdfghjklmnpqrstvwxz2456789]{5}(?:$|\\b)"));

/// What one server called things.
#[derive(Default)]
pub struct Names {
    uids: BTreeMap<String, usize>,
    /// `pod-template-hash` and revision hashes.
    hashes: BTreeSet<String>,
    /// Where the webhook is that the server asks.
    webhook: Option<String>,
}

impl Names {
    /// Where the server's webhook is.
    pub fn webhook(&mut self, addr: SocketAddr) {
        self.webhook = Some(addr.to_string());
    }

    /// Finds the hashes in all answers, to replace them wherever they are.
    pub fn learn<'a>(&mut self, bodies: impl Iterator<Item = &'a Value>) {
        bodies.for_each(|body| self.learn_from(body));
    }

    fn learn_from(&mut self, value: &Value) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    match value.as_str() {
                        Some(hash) if key == "pod-template-hash" => {
                            self.hashes.insert(hash.to_owned());
                        }
                        Some(hash) if key == "controller-revision-hash" => {
                            let hash = hash.rsplit('-').next().unwrap_or(hash);
                            self.hashes.insert(hash.to_owned());
                        }
                        _ => self.learn_from(value),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.learn_from(item)),
            _ => {}
        }
    }

    /// Renames what is in an answer.
    pub fn normalise(&mut self, value: &mut Value) {
        match value {
            Value::Object(map) => {
                // What Go writes as null is not there.
                map.retain(|_, value| !value.is_null());
                for key in map
                    .keys()
                    .filter(|k| UID.is_match(k))
                    .cloned()
                    .collect::<Vec<_>>()
                {
                    let value = map.remove(&key).unwrap_or_default();
                    map.insert(self.text(&key), value);
                }
                for (key, value) in map.iter_mut() {
                    match key.as_str() {
                        "caBundle" => *value = json!("<pem>"),
                        "resourceVersion" | "continue" | "resourceVersionMatch"
                            if value.as_str().is_some_and(|v| !v.is_empty()) =>
                        {
                            *value = json!(format!("<{key}>"));
                        }
                        "nodePort" | "healthCheckNodePort" if value.is_number() => {
                            *value = json!("<port>");
                        }
                        "managedFields" => {
                            self.normalise(value);
                            sort_managed(value);
                        }
                        _ => self.normalise(value),
                    }
                }
                if map.get("managedFields") == Some(&json!([])) {
                    map.remove("managedFields");
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.normalise(item)),
            Value::String(text) => *text = self.text(text),
            _ => {}
        }
    }

    /// Renames what is in a text.
    pub fn text(&mut self, text: &str) -> String {
        let mut text = text.to_owned();
        for hash in &self.hashes {
            text = text.replace(hash.as_str(), "<hash>");
        }
        if let Some(webhook) = &self.webhook {
            text = text.replace(webhook, "<webhook>");
        }
        let uids = &mut self.uids;
        let text = UID.replace_all(&text, |found: &Captures<'_>| {
            let next = uids.len() + 1;
            format!("<uid{}>", uids.entry(found[0].to_owned()).or_insert(next))
        });
        let text = TIME.replace_all(&text, "<time>");
        let text = JWT.replace_all(&text, "<jwt>");
        let text = IP.replace_all(&text, "<ip>");
        let text = PEM.replace_all(&text, "<pem>");
        let text = REVISION.replace_all(&text, "<resourceVersion>");
        let text = DIFF.replace_all(&text, "<diff>");
        let text = HASH.replace_all(&text, "-<hash>");
        let text = TEMPLATE.replace_all(&text, "pod-template-hash=<hash>");
        let text = RANDOM.replace_all(&text, "-<random>");
        if text.contains("  ") || AGE.is_match(&text) {
            // A line of a table: widths and ages differ.
            let words = text.split_whitespace();
            let words = words.map(|w| if AGE.is_match(w) { "<age>" } else { w });
            return words.collect::<Vec<_>>().join(" ");
        }
        text.into_owned()
    }
}

/// The order of managers is that of their names.
fn sort_managed(value: &mut Value) {
    if let Some(entries) = value.as_array_mut() {
        // The embedded server's controllers write down nothing; see `controllers_manage_fields`.
        entries.retain(|e| e["manager"] != "kube-controller-manager");
        entries.sort_by_key(|e| {
            let text = |key: &str| e[key].as_str().unwrap_or_default().to_owned();
            (text("manager"), text("operation"), text("subresource"))
        });
    }
}
