//! Defaults of custom resources.

use super::{field, flag};
use serde_json::Value;

/// Fills in what the schema has defaults for. `null` where the schema knows none counts as
/// missing.
pub(in crate::schema) fn defaults(value: &mut Value, schema: &Value) {
    match value {
        Value::Object(map) => {
            let properties = schema.get("properties").and_then(Value::as_object);
            for (key, inner) in properties.into_iter().flatten() {
                if map.get(key).is_some_and(Value::is_null) && !flag(inner, "nullable") {
                    map.remove(key);
                }
                if let Some(default) = inner.get("default")
                    && !map.contains_key(key)
                {
                    map.insert(key.clone(), default.clone());
                }
            }
            for (key, inner) in map {
                if let Some(schema) = field(schema, key) {
                    defaults(inner, schema);
                }
            }
        }
        Value::Array(list) => {
            if let Some(items) = schema.get("items") {
                list.iter_mut().for_each(|inner| defaults(inner, items));
            }
        }
        _ => {}
    }
}
