//! Reads any message by what the catalogue says of its fields. Fields that are not there are
//! skipped.

use super::catalogue::{Field, Kind, Many, Message, catalogue};
use super::wire::{Item, Reader};
use super::{malformed, special};
use crate::status::ApiError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

/// Messages within messages.
const MAX_DEPTH: usize = 64;
/// Values in all. A body of a few bytes per value would become many times its size in memory.
const MAX_VALUES: usize = 1 << 18;

/// Reads a message and all that is in it.
pub(super) fn read(
    bytes: &[u8],
    message: &Message,
    out: &mut Map<String, Value>,
) -> Result<(), ApiError> {
    let mut decoder = Decoder {
        depth: 0,
        values: 0,
    };
    decoder.message(bytes, message, out)
}

struct Decoder {
    depth: usize,
    values: usize,
}

impl Decoder {
    fn message(
        &mut self,
        bytes: &[u8],
        message: &Message,
        out: &mut Map<String, Value>,
    ) -> Result<(), ApiError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(malformed("it is nested too deeply"));
        }
        let mut reader = Reader::new(bytes);
        while let Some((number, item)) = reader.next()? {
            if let Some(field) = message.get(&number) {
                self.field(&item, field, out)?;
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn named(
        &mut self,
        item: &Item<'_>,
        name: &str,
        out: &mut Map<String, Value>,
    ) -> Result<(), ApiError> {
        let message = catalogue().message(name);
        let message = message.ok_or_else(|| malformed("it has a message of no known type"))?;
        self.message(item.bytes()?, message, out)
    }

    fn field(
        &mut self,
        item: &Item<'_>,
        field: &Field,
        out: &mut Map<String, Value>,
    ) -> Result<(), ApiError> {
        let Some(name) = field.name else {
            return match field.kind {
                Kind::Message(inner) => self.named(item, inner, out),
                _ => Ok(()),
            };
        };
        match field.many {
            Many::One => {
                let value = self.value(item, field.kind)?;
                if field.show_zero && !value.is_null() || !is_nothing(&value, field.kind) {
                    out.insert(name.to_owned(), value);
                }
            }
            Many::List => {
                let list = out.entry(name).or_insert_with(|| json!([]));
                if let Some(list) = list.as_array_mut() {
                    self.element(item, field.kind, list)?;
                }
            }
            Many::Map => {
                let (key, value) = self.entry(item, field.kind)?;
                let map = out.entry(name).or_insert_with(|| json!({}));
                if let Some(map) = map.as_object_mut() {
                    map.insert(key, value);
                }
            }
        }
        Ok(())
    }

    fn element(
        &mut self,
        item: &Item<'_>,
        kind: Kind,
        list: &mut Vec<Value>,
    ) -> Result<(), ApiError> {
        // Numbers may be packed into one item.
        if let (Kind::Int | Kind::Bool, Item::Bytes(packed)) = (kind, item) {
            let mut reader = Reader::new(packed);
            while let Some(number) = reader.packed()? {
                list.push(self.value(&number, kind)?);
            }
            return Ok(());
        }
        list.push(self.value(item, kind)?);
        Ok(())
    }

    fn entry(&mut self, item: &Item<'_>, kind: Kind) -> Result<(String, Value), ApiError> {
        // What is missing is empty.
        let (mut key, mut value) = ("", Item::Bytes(&[]));
        let mut reader = Reader::new(item.bytes()?);
        while let Some((number, item)) = reader.next()? {
            match number {
                1 => key = item.text()?,
                2 => value = item,
                _ => {}
            }
        }
        Ok((key.to_owned(), self.value(&value, kind)?))
    }

    fn value(&mut self, item: &Item<'_>, kind: Kind) -> Result<Value, ApiError> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(malformed("it has too many values"));
        }
        Ok(match kind {
            Kind::Text => json!(item.text()?),
            Kind::Bool => json!(item.varint()? != 0),
            Kind::Int => json!(item.varint()?.cast_signed()),
            Kind::Double => special::double(item.double()?)?,
            Kind::Bytes => json!(STANDARD.encode(item.bytes()?)),
            Kind::Time => special::time(item.bytes()?)?,
            Kind::MicroTime => special::micro_time(item.bytes()?)?,
            Kind::Quantity => special::quantity(item.bytes()?)?,
            Kind::IntOrString => special::int_or_string(item.bytes()?)?,
            Kind::Raw => special::raw(item.bytes()?)?,
            Kind::Texts => special::texts(item.bytes()?)?,
            Kind::Message(name) => {
                let mut out = Map::new();
                self.named(item, name, &mut out)?;
                Value::Object(out)
            }
            Kind::Union(name) => {
                let mut out = Map::new();
                self.named(item, name, &mut out)?;
                special::union(out)
            }
        })
    }
}

/// Whether JSON leaves it out where it need not say it.
pub(super) fn is_nothing(value: &Value, kind: Kind) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Bool(yes) => !yes && !matches!(kind, Kind::Union(_)),
        Value::Number(n) => n.as_i64() == Some(0),
        Value::Array(_) | Value::Object(_) => false,
    }
}
