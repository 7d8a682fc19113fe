//! What objects must look like: types, defaults, validation, and what an update may change.
//!
//! The verbs of `apiserver` call [`Schema`] with every object before it is stored; `controllers`
//! do so with the pods they make. It reads the store (namespaces, ServiceAccounts, addresses in
//! use) and writes nothing but a missing `default` ServiceAccount. One file per kind; the generic
//! parts are `meta` (metadata), `decode` (unknown fields, built-in kinds) and `custom` (custom
//! resources).
//!
//! ```text
//! body ─ decode ─ (patch, metadata: apiserver) ─ prepare_create | prepare_update ─ store
//!        types,                                  complete → validate
//!        unknown fields
//! ```

mod address;
mod config;
mod crd;
mod custom;
mod decode;
mod disruption;
pub(crate) mod json;
mod meta;
mod names;
mod namespace;
mod others;
mod pod;
mod ports;
mod rbac;
pub(crate) mod selector;
mod service;
mod slice;
mod stateful;
mod webhook;
mod workload;

#[cfg(test)]
mod tests;

use crate::apiserver::resources::ResourceDef;
use crate::status::{ApiError, Cause};
use crate::store::Store;
use ipnet::Ipv4Net;
use json::{at, keep, map_in, name, remove};
use serde_json::{Value, json};

pub(crate) use address::free as free_address;
pub(crate) use config::{TOKEN_SECRET, TOKEN_SECRET_ACCOUNT};
pub use crd::crd_to_def;
pub(crate) use disruption::percent;
pub(crate) use pod::random_suffix;
pub(crate) use webhook::GROUP as WEBHOOK_GROUP;

/// What to do about unknown fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// Drop them silently.
    Ignore,
    /// Drop them, and warn.
    #[default]
    Warn,
    /// Refuse the object.
    Strict,
}

/// The rules objects are held to. Clones share the store.
#[derive(Clone)]
pub struct Schema {
    store: Store,
    service_cidr: Ipv4Net,
}

impl Schema {
    /// Rules over the objects of a store; Services take addresses of `service_cidr`.
    pub fn new(store: Store, service_cidr: Ipv4Net) -> Self {
        Self {
            store,
            service_cidr,
        }
    }

    /// Makes an object what its kind's types hold of it: as [`Schema::read`], and without what
    /// they do not tell from nothing. To be called on every body that is an object, and on the
    /// outcome of every patch.
    pub fn decode(
        &self,
        def: &ResourceDef,
        version: &str,
        obj: &mut Value,
        mode: FieldValidation,
    ) -> Result<Vec<String>, ApiError> {
        let warnings = self.read(def, version, obj, mode)?;
        decode::zeros(def, version, obj);
        Ok(warnings)
    }

    /// Checks the types of a body and drops what the kind does not know, which is answered as
    /// warnings, or refused. What an apply patch is held to: who applies a zero owns the field.
    pub fn read(
        &self,
        def: &ResourceDef,
        version: &str,
        obj: &mut Value,
        mode: FieldValidation,
    ) -> Result<Vec<String>, ApiError> {
        if !obj.is_object() {
            return Err(ApiError::bad_request(
                "the object provided is unrecognized: not a JSON object",
            ));
        }
        let unknown = match decode::builtin(def, version, obj) {
            Some(unknown) => unknown?,
            None => decode_custom(def, version, obj)?,
        };
        decode::judge(unknown, mode, def, version)
    }

    /// Fills in what users leave out of a new object, as far as it takes nothing but the object.
    pub fn defaults(&self, def: &ResourceDef, version: &str, obj: &mut Value) {
        const ADMITTED: &[&str] = &["preemptionPolicy", "priority", "tolerations"];
        let given = |obj: &Value, field: &str| !at(obj, &["spec", field]).is_null();
        let finalizers = given(obj, "finalizers");
        let admitted: Vec<&str> = ADMITTED
            .iter()
            .filter(|field| !given(obj, field))
            .copied()
            .collect();
        complete(def, version, obj, true);
        if def.group.is_empty() && def.kind == "Pod" {
            admitted.iter().for_each(|field| {
                if let Some(spec) = obj.get_mut("spec") {
                    remove(spec, field);
                }
            });
        }
        if has_status(def, version) {
            remove(obj, "status");
        }
        // Namespaces get theirs when they are stored.
        if def.group.is_empty() && def.kind == "Namespace" && !finalizers {
            remove(obj, "spec");
        }
    }

    /// Fills in what users leave out, as kube-apiserver does whenever it has read an object.
    pub fn complete(&self, def: &ResourceDef, version: &str, obj: &mut Value) {
        complete(def, version, obj, false);
    }

    /// Makes a new object what it is when admission webhooks see it: completed, in a namespace
    /// that takes it, a pod with its account, but nothing yet that is decided on storing it.
    pub fn admit(&self, def: &ResourceDef, version: &str, obj: &mut Value) -> Result<(), ApiError> {
        namespace::takes_content(&self.store, def, obj)?;
        complete(def, version, obj, false);
        if def.group.is_empty() && def.kind == "Pod" {
            pod::admit(obj, &self.store)?;
            map_in(obj, "status");
        }
        Ok(())
    }

    /// Makes an object that is to replace `old` what it is when it has taken over what an update
    /// cannot say, but is not checked yet.
    pub fn settle(
        &self,
        def: &ResourceDef,
        version: &str,
        old: &Value,
        new: &mut Value,
        subresource: Option<&str>,
    ) {
        match subresource {
            Some("status") => take_status(old, new),
            Some("binding") => {}
            Some("finalize") => {
                let finalizers = at(new, &["spec", "finalizers"]).clone();
                *new = old.clone();
                new["spec"]["finalizers"] = finalizers;
            }
            _ => {
                meta::reset_for_update(old, new);
                if has_status(def, version) {
                    keep(old, new, "status");
                }
                if def.group.is_empty() && def.kind == "Service" {
                    service::carry_over(old, new);
                    ports::drop_outer(old, new);
                }
                complete(def, version, new, false);
            }
        }
    }

    /// Completes and checks a new object. `metadata` is already what it will be; the caller holds
    /// the store's writer lock until the object is stored, so that addresses stay free.
    pub fn prepare_create(
        &self,
        def: &ResourceDef,
        version: &str,
        obj: &mut Value,
    ) -> Result<(), ApiError> {
        namespace::takes_content(&self.store, def, obj)?;
        meta::reset_for_create(obj);
        // Nodes register themselves together with what they are.
        if has_status(def, version) && !(def.group.is_empty() && def.kind == "Node") {
            remove(obj, "status");
        }
        if counts_generations(def) {
            obj["metadata"]["generation"] = json!(1);
        }
        let mut causes = Vec::new();
        meta::validate(def, obj, &mut causes);
        complete(def, version, obj, true);
        self.validate(def, version, obj, &mut causes);
        match (def.group.as_str(), def.kind.as_str()) {
            // Counts nobody has made yet.
            ("apps", "Deployment") => obj["status"] = json!({}),
            ("apps", "ReplicaSet") => obj["status"] = json!({"replicas": 0}),
            ("apps", "StatefulSet") => {
                obj["status"] = json!({"replicas": 0, "availableReplicas": 0});
            }
            ("policy", _) => {
                obj["status"] = json!({"currentHealthy": 0, "desiredHealthy": 0,
                    "disruptionsAllowed": 0, "expectedPods": 0});
            }
            ("", "Service") if causes.is_empty() => {
                service::assign(obj, &self.store, self.service_cidr, &mut causes);
                ports::assign(obj, &self.store, &mut causes);
                obj["status"] = json!({"loadBalancer": {}});
            }
            ("", "Pod") => {
                let class = pod::quality(at(obj, &["spec"]));
                obj["status"] = json!({"phase": "Pending", "qosClass": class});
                if causes.is_empty() {
                    pod::admit(obj, &self.store)?;
                }
            }
            ("apiextensions.k8s.io", _) if causes.is_empty() => {
                crd::establish(None, obj, &self.store);
            }
            _ => {}
        }
        verdict(def, obj, causes)
    }

    /// Completes and checks an object that is to replace `old`. `subresource` is `status` or
    /// `finalize` where that is what was asked to be written.
    pub fn prepare_update(
        &self,
        def: &ResourceDef,
        version: &str,
        old: &Value,
        new: &mut Value,
        subresource: Option<&str>,
    ) -> Result<(), ApiError> {
        self.settle(def, version, old, new, subresource);
        match subresource {
            Some("status") => return self.check_status(def, version, new),
            // Made by the server out of the object as it was.
            Some("binding" | "finalize") => return Ok(()),
            _ => {}
        }
        let service = def.group.is_empty() && def.kind == "Service";
        let mut causes = Vec::new();
        meta::validate(def, new, &mut causes);
        meta::validate_update(old, new, &mut causes);
        self.validate(def, version, new, &mut causes);
        validate_update(def, old, new, &mut causes);
        if causes.is_empty() && service && old["spec"]["type"] == "ExternalName" {
            service::assign(new, &self.store, self.service_cidr, &mut causes);
        }
        if causes.is_empty() && service {
            ports::assign(new, &self.store, &mut causes);
        }
        verdict(def, new, causes)?;
        if def.group == "apiextensions.k8s.io" {
            crd::establish(Some(old), new, &self.store);
        }
        if counts_generations(def) && wanted_changed(old, new) {
            let generation = old["metadata"]["generation"].as_i64().unwrap_or_default();
            new["metadata"]["generation"] = json!(generation + 1);
        }
        Ok(())
    }

    fn check_status(
        &self,
        def: &ResourceDef,
        version: &str,
        new: &mut Value,
    ) -> Result<(), ApiError> {
        if !def.custom {
            return Ok(());
        }
        complete(def, version, new, false);
        let mut causes = Vec::new();
        self.validate(def, version, new, &mut causes);
        verdict(def, new, causes)
    }

    fn validate(&self, def: &ResourceDef, version: &str, obj: &Value, causes: &mut Vec<Cause>) {
        match (def.group.as_str(), def.kind.as_str()) {
            ("", "Service") => service::validate(obj, causes),
            ("", "Pod") => pod::validate_spec(at(obj, &["spec"]), "spec", false, causes),
            ("", "Secret") => config::validate_secret(obj, causes),
            ("", "ConfigMap") => config::validate_config_map(obj, causes),
            ("" | "events.k8s.io", "Event") => others::validate_event(obj, causes),
            ("apps", "StatefulSet") => stateful::validate(obj, causes),
            ("apps", _) => workload::validate(obj, causes),
            (webhook::GROUP, _) => webhook::validate(obj, causes),
            ("policy", _) => disruption::validate(obj, causes),
            ("coordination.k8s.io", _) => others::validate_lease(obj, causes),
            ("discovery.k8s.io", _) => slice::validate(obj, causes),
            ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => {
                rbac::validate_role(obj, causes);
            }
            ("rbac.authorization.k8s.io", _) => rbac::validate_binding(obj, causes),
            ("apiextensions.k8s.io", _) => crd::validate(obj, causes),
            _ => {
                if let Some(schema) = schema_of(def, version) {
                    custom::validate(obj, schema, "", causes);
                }
            }
        }
    }
}

/// What users leave out of an object.
fn complete(def: &ResourceDef, version: &str, obj: &mut Value, new: bool) {
    match (def.group.as_str(), def.kind.as_str()) {
        ("", "Namespace") => namespace::complete(obj, new),
        ("", "Service") => service::complete(obj),
        ("", "Pod") => pod::complete_pod(obj),
        ("", "Secret") => config::complete_secret(obj),
        ("" | "events.k8s.io", "Event") => others::complete_event(obj),
        ("apps", "Deployment") => workload::complete_deployment(obj),
        ("apps", "ReplicaSet") => workload::complete_replicaset(obj),
        ("apps", "StatefulSet") => stateful::complete(obj),
        ("discovery.k8s.io", _) => slice::complete(obj),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => {
            rbac::complete_binding(obj);
        }
        ("apiextensions.k8s.io", _) => crd::complete(obj),
        (webhook::GROUP, _) => webhook::complete(def, obj),
        _ => {
            if let Some(schema) = schema_of(def, version) {
                custom::defaults(obj, schema);
            }
        }
    }
}

fn validate_update(def: &ResourceDef, old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    match (def.group.as_str(), def.kind.as_str()) {
        ("", "Service") => service::validate_update(old, new, causes),
        ("", "Pod") => pod::validate_update(old, new, causes),
        ("", "Secret" | "ConfigMap") => config::validate_update(old, new, causes),
        ("", "Node") => others::validate_node_update(old, new, causes),
        ("apps", "StatefulSet") => stateful::validate_update(old, new, causes),
        ("apps", _) => workload::validate_update(old, new, causes),
        ("discovery.k8s.io", _) => slice::validate_update(old, new, causes),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => {
            rbac::validate_binding_update(old, new, causes);
        }
        ("apiextensions.k8s.io", _) => crd::validate_update(old, new, causes),
        _ => {}
    }
}

fn decode_custom(
    def: &ResourceDef,
    version: &str,
    obj: &mut Value,
) -> Result<Vec<String>, ApiError> {
    let mut unknown = decode::metadata(def, version, obj)?;
    if let Some(schema) = schema_of(def, version) {
        custom::prune(obj, schema, "", true, &mut unknown);
    }
    Ok(unknown)
}

/// A stored custom resource as a version of it shows it.
pub fn convert(def: &ResourceDef, obj: &mut Value, version: &str) {
    if let Some(map) = obj.as_object_mut() {
        map.insert("apiVersion".to_owned(), json!(def.api_version(version)));
    }
    if let Some(schema) = schema_of(def, version) {
        custom::defaults(obj, schema);
    }
}

/// A write of `status`: everything else stays, but for what says who wrote it.
fn take_status(old: &Value, new: &mut Value) {
    let managed = at(new, &["metadata", "managedFields"]).clone();
    let status = remove(new, "status");
    let mut next = old.clone();
    match status {
        Some(status) => next["status"] = status,
        None => {
            remove(&mut next, "status");
        }
    }
    if !managed.is_null() {
        next["metadata"]["managedFields"] = managed;
    }
    *new = next;
}

fn schema_of<'a>(def: &'a ResourceDef, version: &str) -> Option<&'a Value> {
    if !def.custom {
        return None;
    }
    def.versions
        .iter()
        .find(|v| v.name == version)?
        .schema
        .as_ref()
}

fn has_status(def: &ResourceDef, version: &str) -> bool {
    def.versions
        .iter()
        .any(|v| v.name == version && v.status_subresource)
}

/// Kinds whose `metadata.generation` counts changes of what is wanted.
fn counts_generations(def: &ResourceDef) -> bool {
    def.custom
        || matches!(
            (def.group.as_str(), def.kind.as_str()),
            (
                "apps" | "apiextensions.k8s.io" | "discovery.k8s.io" | "policy" | webhook::GROUP,
                _
            ) | ("", "Pod")
        )
}

/// Whether anything but metadata and status differs.
fn wanted_changed(old: &Value, new: &Value) -> bool {
    let wanted = |obj: &Value| {
        let mut obj = obj.clone();
        for field in ["apiVersion", "kind", "metadata", "status"] {
            remove(&mut obj, field);
        }
        obj
    };
    wanted(old) != wanted(new)
}

fn verdict(def: &ResourceDef, obj: &Value, causes: Vec<Cause>) -> Result<(), ApiError> {
    if causes.is_empty() {
        Ok(())
    } else {
        Err(ApiError::invalid(&def.group, &def.kind, name(obj), causes))
    }
}
