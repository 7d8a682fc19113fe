//! Reads objects that Go clients send as protobuf (`kubectl create` does) into the JSON they
//! would have sent instead. `verbs` calls it with whole bodies. Answers are JSON, which such
//! clients accept as well; nothing is ever written as protobuf.
//!
//! What the fields are is in `fields.txt`; a custom kind, which has none, is refused with 415.

mod catalogue;
mod message;
mod special;
mod wire;
mod zeros;

#[cfg(test)]
mod tests;

use crate::status::ApiError;
use catalogue::{Message, catalogue};
use serde_json::{Map, Value, json};
use wire::Reader;

pub use zeros::leave_out_zeros;

/// First bytes of every such body.
const MAGIC: &[u8] = b"k8s\0";
const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

fn malformed(why: &str) -> ApiError {
    ApiError::bad_request(format!("the protobuf body cannot be read: {why}"))
}

/// Reads a body: an envelope that names the kind, and the object. An object that is larger or
/// deeper than any real one is refused.
pub fn decode(body: &[u8]) -> Result<Value, ApiError> {
    let envelope = Envelope::read(body)?;
    let message = envelope.message()?;
    let mut out = Map::new();
    out.insert("apiVersion".into(), json!(envelope.api_version));
    out.insert("kind".into(), json!(envelope.kind));
    message::read(envelope.raw, message, &mut out)?;
    Ok(Value::Object(out))
}

/// What is around an object.
#[derive(Default)]
struct Envelope<'a> {
    api_version: &'a str,
    kind: &'a str,
    raw: &'a [u8],
}

impl<'a> Envelope<'a> {
    fn read(body: &'a [u8]) -> Result<Self, ApiError> {
        let body = body
            .strip_prefix(MAGIC)
            .ok_or_else(|| malformed("it does not start with k8s and a zero byte"))?;
        let mut out = Self::default();
        let mut reader = Reader::new(body);
        while let Some((number, item)) = reader.next()? {
            match number {
                1 => out.read_type(item.bytes()?)?,
                2 => out.raw = item.bytes()?,
                3 if !item.bytes()?.is_empty() => {
                    return Err(malformed("its object is encoded in some other way"));
                }
                4 if !matches!(item.text()?, "" | MEDIA_TYPE) => {
                    return Err(malformed("its object is not protobuf"));
                }
                _ => {}
            }
        }
        Ok(out)
    }

    fn read_type(&mut self, bytes: &'a [u8]) -> Result<(), ApiError> {
        let mut reader = Reader::new(bytes);
        while let Some((number, item)) = reader.next()? {
            match number {
                1 => self.api_version = item.text()?,
                2 => self.kind = item.text()?,
                _ => {}
            }
        }
        Ok(())
    }

    fn message(&self) -> Result<&'static Message, ApiError> {
        let Self {
            api_version, kind, ..
        } = *self;
        if kind.is_empty() {
            return Err(malformed("Object 'Kind' is missing"));
        }
        // Options of a deletion come in whatever group the object is of.
        let version = match kind {
            "DeleteOptions" => "v1",
            _ => api_version,
        };
        if let Some(message) = catalogue().root(version, kind) {
            return Ok(message);
        }
        if catalogue().has_version(version) {
            return Err(ApiError::bad_request(format!(
                "no kind {kind:?} is registered for version {version:?} in this server"
            )));
        }
        Err(ApiError::unsupported_media_type(
            "application/json, application/yaml",
        ))
    }
}
