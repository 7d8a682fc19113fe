//! What objects must look like. Placeholder: anything goes.

use crate::apiserver::resources::ResourceDef;
use crate::status::ApiError;
use crate::store::Store;
use serde_json::{Value, json};

/// What to do about unknown fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// Nothing.
    Ignore,
    /// Warn.
    #[default]
    Warn,
    /// Refuse.
    Strict,
}

/// Placeholder.
#[derive(Clone)]
pub struct Schema;

impl Schema {
    /// Placeholder.
    pub fn new(_store: Store, _service_cidr: ipnet::Ipv4Net) -> Self {
        Self
    }

    /// Placeholder.
    pub fn decode(
        &self,
        _def: &ResourceDef,
        _version: &str,
        _obj: &mut Value,
        _mode: FieldValidation,
    ) -> Result<Vec<String>, ApiError> {
        Ok(Vec::new())
    }

    /// Placeholder.
    pub fn prepare_create(
        &self,
        _def: &ResourceDef,
        _version: &str,
        _obj: &mut Value,
    ) -> Result<(), ApiError> {
        Ok(())
    }

    /// Placeholder.
    pub fn prepare_update(
        &self,
        _def: &ResourceDef,
        _version: &str,
        old: &Value,
        new: &mut Value,
        subresource: Option<&str>,
    ) -> Result<(), ApiError> {
        if subresource == Some("status") {
            let status = new["status"].take();
            *new = old.clone();
            new["status"] = status;
        }
        Ok(())
    }
}

/// Placeholder.
pub fn crd_to_def(_crd: &Value) -> Result<ResourceDef, ApiError> {
    Err(ApiError::internal("custom resources are not here yet"))
}

/// Placeholder.
pub fn convert(def: &ResourceDef, obj: &mut Value, version: &str) {
    obj["apiVersion"] = json!(def.api_version(version));
}
