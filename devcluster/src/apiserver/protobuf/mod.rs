//! Reads objects that Go clients send as protobuf (`kubectl create` does). Answers are JSON,
//! which such clients accept as well.
//!
//! What the fields are is in `fields.txt`; a kind that is not there is refused with 415.

mod wire;

#[cfg(test)]
mod tests;

use crate::status::ApiError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SecondsFormat};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::OnceLock;
use wire::{Item, Reader};

/// First bytes of every such body.
const MAGIC: &[u8] = b"k8s\0";
/// Messages within messages.
const MAX_DEPTH: usize = 64;

/// One field of a message.
#[derive(Debug)]
struct Field {
    name: String,
    many: Many,
    kind: Kind,
    /// Zero is something else than nothing.
    keep_zero: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Many {
    One,
    List,
    Map,
}

#[derive(Debug)]
enum Kind {
    Text,
    Bool,
    Int,
    Bytes,
    Time,
    MicroTime,
    Quantity,
    IntOrString,
    Raw,
    Texts,
    Nanoseconds,
    Message(String),
}

type Fields = HashMap<u64, Field>;

#[derive(Default)]
struct Catalogue {
    /// `apps/v1 Deployment` → message.
    roots: HashMap<String, String>,
    messages: HashMap<String, Fields>,
}

fn catalogue() -> &'static Catalogue {
    static CATALOGUE: OnceLock<Catalogue> = OnceLock::new();
    CATALOGUE.get_or_init(|| read_catalogue(include_str!("fields.txt")))
}

fn read_catalogue(text: &str) -> Catalogue {
    let mut out = Catalogue::default();
    let mut message = String::new();
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        if let Some(root) = line.strip_prefix("= ") {
            if let Some((kind, message)) = root.rsplit_once(' ') {
                out.roots.insert(kind.to_owned(), message.to_owned());
            }
        } else if let Some(field) = line.strip_prefix(' ') {
            if let Some((number, field)) = read_field(field) {
                out.messages
                    .entry(message.clone())
                    .or_default()
                    .insert(number, field);
            }
        } else {
            message = line.to_owned();
            out.messages.entry(message.clone()).or_default();
        }
    }
    out
}

fn read_field(line: &str) -> Option<(u64, Field)> {
    let mut words = line.split(' ');
    let (number, name, kind) = (words.next()?, words.next()?, words.next()?);
    let (many, kind) = match (kind.strip_prefix("[]"), kind.strip_prefix("{}")) {
        (Some(kind), _) => (Many::List, kind),
        (_, Some(kind)) => (Many::Map, kind),
        _ => (Many::One, kind),
    };
    let (keep_zero, kind) = match kind.strip_prefix('*') {
        Some(kind) => (true, kind),
        None => (many != Many::One, kind),
    };
    let kind = match kind {
        "string" => Kind::Text,
        "bool" => Kind::Bool,
        "int" => Kind::Int,
        "bytes" => Kind::Bytes,
        "Time" => Kind::Time,
        "MicroTime" => Kind::MicroTime,
        "Quantity" => Kind::Quantity,
        "IntOrString" => Kind::IntOrString,
        "RawExtension" | "FieldsV1" => Kind::Raw,
        "ExtraValue" => Kind::Texts,
        "Duration" => Kind::Nanoseconds,
        message => Kind::Message(message.to_owned()),
    };
    Some((
        number.parse().ok()?,
        Field {
            name: name.to_owned(),
            many,
            kind,
            keep_zero,
        },
    ))
}

fn malformed(why: &str) -> ApiError {
    ApiError::bad_request(format!("the protobuf body cannot be read: {why}"))
}

/// Reads a body: an envelope that names the kind, and the object.
pub(super) fn decode(body: &[u8]) -> Result<Value, ApiError> {
    let body = body
        .strip_prefix(MAGIC)
        .ok_or_else(|| malformed("it does not start with k8s"))?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    let mut envelope = Reader::new(body);
    while let Some((number, item)) = envelope.next()? {
        match (number, item) {
            (1, Item::Bytes(meta)) => {
                let mut meta = Reader::new(meta);
                while let Some((number, item)) = meta.next()? {
                    match number {
                        1 => api_version = item.text()?,
                        2 => kind = item.text()?,
                        _ => {}
                    }
                }
            }
            (2, Item::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    // Options of a deletion come in whatever group the object is of.
    let version = if kind == "DeleteOptions" {
        "v1"
    } else {
        &api_version
    };
    let known = catalogue().roots.get(&format!("{version} {kind}"));
    let message = known
        .ok_or_else(|| ApiError::unsupported_media_type("application/json, application/yaml"))?;
    let mut out = Map::new();
    out.insert("apiVersion".into(), json!(api_version));
    out.insert("kind".into(), json!(kind));
    read_message(raw, message, &mut out, 0)?;
    Ok(Value::Object(out))
}

fn read_message(
    bytes: &[u8],
    message: &str,
    out: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), ApiError> {
    if depth > MAX_DEPTH {
        return Err(malformed("it is nested too deeply"));
    }
    let fields = catalogue().messages.get(message);
    let fields = fields.ok_or_else(|| malformed("a message is not known"))?;
    let mut reader = Reader::new(bytes);
    while let Some((number, item)) = reader.next()? {
        let Some(field) = fields.get(&number) else {
            continue;
        };
        if let ("-", Kind::Message(inner)) = (field.name.as_str(), &field.kind) {
            read_message(item.bytes()?, inner, out, depth + 1)?;
            continue;
        }
        match field.many {
            Many::Map => read_entry(item.bytes()?, field, out, depth)?,
            Many::List => {
                if let Some(value) = value(&item, field, depth)? {
                    let list = out.entry(field.name.clone()).or_insert_with(|| json!([]));
                    if let Some(list) = list.as_array_mut() {
                        list.push(value);
                    }
                }
            }
            Many::One => {
                if let Some(value) = value(&item, field, depth)? {
                    out.insert(field.name.clone(), value);
                }
            }
        }
    }
    Ok(())
}

fn read_entry(
    bytes: &[u8],
    field: &Field,
    out: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), ApiError> {
    let (mut key, mut found) = (String::new(), None);
    let mut reader = Reader::new(bytes);
    while let Some((number, item)) = reader.next()? {
        match number {
            1 => key = item.text()?,
            2 => found = value(&item, field, depth)?,
            _ => {}
        }
    }
    let empty = || match field.kind {
        Kind::Text | Kind::Bytes => json!(""),
        _ => Value::Null,
    };
    let map = out.entry(field.name.clone()).or_insert_with(|| json!({}));
    if let Some(map) = map.as_object_mut() {
        map.insert(key, found.unwrap_or_else(empty));
    }
    Ok(())
}

/// A value; `None` for a zero that means nothing.
fn value(item: &Item<'_>, field: &Field, depth: usize) -> Result<Option<Value>, ApiError> {
    let value = match &field.kind {
        Kind::Text => json!(item.text()?),
        Kind::Bool => json!(item.number()? != 0),
        Kind::Int => json!(item.number()?.cast_signed()),
        Kind::Bytes => json!(STANDARD.encode(item.bytes()?)),
        Kind::Time => time(item.bytes()?, SecondsFormat::Secs)?,
        Kind::MicroTime => time(item.bytes()?, SecondsFormat::Micros)?,
        Kind::Quantity => json!(first_text(item.bytes()?)?),
        Kind::IntOrString => int_or_string(item.bytes()?)?,
        Kind::Raw => raw(item.bytes()?)?,
        Kind::Texts => texts(item.bytes()?)?,
        Kind::Nanoseconds => nanoseconds(item.bytes()?)?,
        Kind::Message(message) => {
            let mut out = Map::new();
            read_message(item.bytes()?, message, &mut out, depth + 1)?;
            Value::Object(out)
        }
    };
    let zero = match &value {
        Value::Null => return Ok(None),
        Value::String(text) => text.is_empty(),
        Value::Bool(yes) => !yes,
        Value::Number(n) => n.as_i64() == Some(0),
        Value::Array(_) | Value::Object(_) => false,
    };
    Ok((!zero || field.keep_zero).then_some(value))
}

/// Seconds and nanoseconds; nothing for the zero time.
fn time(bytes: &[u8], format: SecondsFormat) -> Result<Value, ApiError> {
    let (mut seconds, mut nanos) = (None, 0);
    let mut reader = Reader::new(bytes);
    while let Some((number, item)) = reader.next()? {
        match number {
            1 => seconds = Some(item.number()?.cast_signed()),
            2 => nanos = u32::try_from(item.number()?).unwrap_or(0),
            _ => {}
        }
    }
    let Some(seconds) = seconds else {
        return Ok(Value::Null);
    };
    let time = DateTime::from_timestamp(seconds, nanos);
    let time = time.ok_or_else(|| malformed("a time is out of range"))?;
    Ok(json!(time.to_rfc3339_opts(format, true)))
}

fn first_text(bytes: &[u8]) -> Result<String, ApiError> {
    let mut out = String::new();
    let mut reader = Reader::new(bytes);
    while let Some((number, item)) = reader.next()? {
        if number == 1 {
            out = item.text()?;
        }
    }
    Ok(out)
}

fn int_or_string(bytes: &[u8]) -> Result<Value, ApiError> {
    let (mut is_text, mut int, mut text) = (false, 0, String::new());
    let mut reader = Reader::new(bytes);
    while let Some((number, item)) = reader.next()? {
        match number {
            1 => is_text = item.number()? == 1,
            2 => int = item.number()?.cast_signed(),
            3 => text = item.text()?,
            _ => {}
        }
    }
    Ok(if is_text { json!(text) } else { json!(int) })
}

fn raw(bytes: &[u8]) -> Result<Value, ApiError> {
    let mut reader = Reader::new(bytes);
    while let Some((number, item)) = reader.next()? {
        if number == 1 {
            let parsed = serde_json::from_slice(item.bytes()?);
            return parsed.map_err(|_| malformed("raw JSON in it is none"));
        }
    }
    Ok(Value::Null)
}

fn texts(bytes: &[u8]) -> Result<Value, ApiError> {
    let mut out = Vec::new();
    let mut reader = Reader::new(bytes);
    while let Some((number, item)) = reader.next()? {
        if number == 1 {
            out.push(item.text()?);
        }
    }
    Ok(json!(out))
}

fn nanoseconds(bytes: &[u8]) -> Result<Value, ApiError> {
    let mut reader = Reader::new(bytes);
    while let Some((number, item)) = reader.next()? {
        if number == 1 {
            return Ok(json!(format!("{}ns", item.number()?.cast_signed())));
        }
    }
    Ok(Value::Null)
}
