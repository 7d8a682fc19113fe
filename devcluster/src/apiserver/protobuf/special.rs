//! Messages whose JSON is not an object of their fields.

use super::malformed;
use super::wire::Reader;
use crate::status::ApiError;
use chrono::{DateTime, Datelike as _, SecondsFormat};
use serde_json::{Map, Value, json};

/// Above this not every integer is a double.
const MAX_WHOLE: f64 = 9_007_199_254_740_992.0;

/// A number; without a fraction where it has none.
pub(super) fn double(value: f64) -> Result<Value, ApiError> {
    if !value.is_finite() {
        return Err(malformed("a number is infinite or none"));
    }
    if value.fract() == 0.0 && value.abs() < MAX_WHOLE {
        #[allow(clippy::cast_possible_truncation, reason = "it is whole and in range")]
        return Ok(json!(value as i64));
    }
    Ok(json!(value))
}

pub(super) fn time(bytes: &[u8]) -> Result<Value, ApiError> {
    timestamp(bytes, SecondsFormat::Secs)
}

pub(super) fn micro_time(bytes: &[u8]) -> Result<Value, ApiError> {
    timestamp(bytes, SecondsFormat::Micros)
}

/// Seconds and nanoseconds; an empty message is no time.
fn timestamp(bytes: &[u8], format: SecondsFormat) -> Result<Value, ApiError> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let (mut seconds, mut nanos) = (0, 0);
    let mut reader = Reader::new(bytes);
    while let Some((number, item)) = reader.next()? {
        match number {
            1 => seconds = item.varint()?.cast_signed(),
            2 => nanos = item.varint()?,
            _ => {}
        }
    }
    let nanos = u32::try_from(nanos).ok().filter(|n| *n < 1_000_000_000);
    let time = nanos
        .and_then(|nanos| DateTime::from_timestamp(seconds, nanos))
        .filter(|time| (0..=9999).contains(&time.year()))
        .ok_or_else(|| malformed("a time is out of range"))?;
    Ok(json!(time.to_rfc3339_opts(format, true)))
}

/// Its canonical text.
pub(super) fn quantity(bytes: &[u8]) -> Result<Value, ApiError> {
    let mut out = "";
    let mut reader = Reader::new(bytes);
    while let Some((number, item)) = reader.next()? {
        if number == 1 {
            out = item.text()?;
        }
    }
    Ok(json!(out))
}

pub(super) fn int_or_string(bytes: &[u8]) -> Result<Value, ApiError> {
    let (mut is_text, mut int, mut text) = (false, 0, "");
    let mut reader = Reader::new(bytes);
    while let Some((number, item)) = reader.next()? {
        match number {
            1 => is_text = item.varint()? == 1,
            2 => int = item.varint()?.cast_signed(),
            3 => text = item.text()?,
            _ => {}
        }
    }
    Ok(if is_text { json!(text) } else { json!(int) })
}

/// JSON; none at all is null.
pub(super) fn raw(bytes: &[u8]) -> Result<Value, ApiError> {
    let mut out = &[][..];
    let mut reader = Reader::new(bytes);
    while let Some((number, item)) = reader.next()? {
        if number == 1 {
            out = item.bytes()?;
        }
    }
    if out.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(out).map_err(|e| malformed(&format!("JSON in it is malformed: {e}")))
}

pub(super) fn texts(bytes: &[u8]) -> Result<Value, ApiError> {
    let mut out = Vec::new();
    let mut reader = Reader::new(bytes);
    while let Some((number, item)) = reader.next()? {
        if number == 1 {
            out.push(item.text()?);
        }
    }
    Ok(json!(out))
}

/// The one field that is set. A yes or no is always said, and only meant if there is nothing
/// else.
pub(super) fn union(fields: Map<String, Value>) -> Value {
    let mut out = Value::Null;
    for (_, value) in fields {
        if out.is_null() || out.is_boolean() {
            out = value;
        }
    }
    out
}
