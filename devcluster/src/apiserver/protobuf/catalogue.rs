//! What messages there are and what their fields are called in JSON, read once from
//! `fields.txt` (which says what its signs mean where it is made).

use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;

/// A message: its fields by number.
pub(super) type Message = HashMap<u32, Field>;

/// One field of a message.
#[derive(Debug, PartialEq)]
pub(super) struct Field {
    /// Name in JSON; `None` when its fields are the parent's.
    pub(super) name: Option<&'static str>,
    pub(super) many: Many,
    pub(super) kind: Kind,
    /// JSON shows it when it is zero or empty.
    pub(super) show_zero: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Many {
    One,
    List,
    Map,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Text,
    Bool,
    Int,
    Double,
    /// Base64 in JSON.
    Bytes,
    Time,
    MicroTime,
    Quantity,
    IntOrString,
    /// JSON as it is.
    Raw,
    /// A message of texts that is a list of them in JSON.
    Texts,
    Message(&'static str),
    /// A message that is, in JSON, the one field it has set.
    Union(&'static str),
}

#[derive(Default)]
pub(super) struct Catalogue {
    /// Kinds that bodies have, by version and name.
    roots: HashMap<(&'static str, &'static str), &'static str>,
    versions: HashSet<&'static str>,
    messages: HashMap<&'static str, Message>,
}

pub(super) fn catalogue() -> &'static Catalogue {
    static CATALOGUE: OnceLock<Catalogue> = OnceLock::new();
    CATALOGUE.get_or_init(|| Catalogue::read(include_str!("fields.txt")))
}

impl Catalogue {
    /// The message of a kind.
    pub(super) fn root(&self, version: &str, kind: &str) -> Option<&Message> {
        self.message(self.roots.get(&(version, kind))?)
    }

    /// Whether a version (`apps/v1`) has any kinds here.
    pub(super) fn has_version(&self, version: &str) -> bool {
        self.versions.contains(version)
    }

    pub(super) fn message(&self, name: &str) -> Option<&Message> {
        self.messages.get(name)
    }

    /// Lines that make no sense are left out; the tests see that there are none.
    fn read(text: &'static str) -> Self {
        let mut out = Self::default();
        let mut message = "";
        for line in text.lines() {
            if line.starts_with('#') {
                continue;
            }
            if let Some(root) = line.strip_prefix("= ") {
                out.read_root(root);
            } else if let Some(field) = line.strip_prefix(' ') {
                let fields = out.messages.entry(message).or_default();
                fields.extend(read_field(field));
            } else {
                message = line;
                out.messages.entry(message).or_default();
            }
        }
        out
    }

    fn read_root(&mut self, line: &'static str) {
        if let [version, kind, message] = *line.split(' ').collect::<Vec<_>>() {
            self.roots.insert((version, kind), message);
            self.versions.insert(version);
        }
    }

    /// Messages that fields have and that are not there, for the tests.
    #[cfg(test)]
    pub(super) fn dangling(&self) -> Vec<&'static str> {
        let fields = self.messages.values().flat_map(HashMap::values);
        let named = fields.filter_map(|field| match field.kind {
            Kind::Message(name) | Kind::Union(name) => Some(name),
            _ => None,
        });
        named
            .chain(self.roots.values().copied())
            .filter(|name| !self.messages.contains_key(name))
            .collect()
    }

    /// Messages and their fields, for the tests.
    #[cfg(test)]
    pub(super) fn lines(&self) -> usize {
        let fields = self.messages.values().map(HashMap::len).sum::<usize>();
        self.roots.len() + self.messages.len() + fields
    }
}

fn read_field(line: &'static str) -> Option<(u32, Field)> {
    let [number, name, kind] = *line.split(' ').collect::<Vec<_>>() else {
        return None;
    };
    let bare = kind.strip_prefix('*');
    let kind = bare.unwrap_or(kind);
    let (many, kind) = match (kind.strip_prefix("[]"), kind.strip_prefix("{}")) {
        (Some(kind), _) => (Many::List, kind),
        (_, Some(kind)) => (Many::Map, kind),
        _ => (Many::One, kind),
    };
    let field = Field {
        name: Some(name).filter(|name| *name != "-"),
        many,
        kind: read_kind(kind),
        show_zero: bare.is_some(),
    };
    Some((number.parse().ok()?, field))
}

fn read_kind(kind: &'static str) -> Kind {
    match kind {
        "string" => Kind::Text,
        "bool" => Kind::Bool,
        "int" => Kind::Int,
        "double" => Kind::Double,
        "bytes" => Kind::Bytes,
        "Time" => Kind::Time,
        "MicroTime" => Kind::MicroTime,
        "Quantity" => Kind::Quantity,
        "IntOrString" => Kind::IntOrString,
        "FieldsV1" | "JSON" => Kind::Raw,
        "ExtraValue" => Kind::Texts,
        message => match message.strip_prefix('|') {
            Some(union) => Kind::Union(union),
            None => Kind::Message(message),
        },
    }
}
