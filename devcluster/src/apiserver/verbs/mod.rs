//! What can be done to a resource. One file per verb; each takes a [`Call`] that is already
//! authorised and returns a reply or an error, and none knows about connections.

mod body;
mod connect;
mod crd;
mod create;
mod delete;
mod evict;
mod log;
mod maker;
mod nodes;
mod patch;
mod read;
mod scale;
mod sub;
mod update;
mod watch;

pub(super) use connect::Upgrade;
pub(super) use crd::{follow_deletions, serve_stored};
pub(super) use maker::Maker;
pub(super) use nodes::Nodes;

use super::admission::{Ask, Gate, Operation};
use super::convert;
use super::fields::managed::Writer;
use super::fields::shape::Shape;
use super::reply::{Form, Reply};
use super::request::{Query, ResourcePath, WriteParams};
use super::resources::{Registry, ResourceDef};
use super::tables::{self, IncludeObject};
use crate::auth::{Auth, User};
use crate::schema::Schema;
use crate::schema::json::name;
use crate::status::ApiError;
use crate::store::{ResourceKey, Store};
use bytes::Bytes;
use http::{Method, StatusCode};
use mesh_daemon::Shutdown;
use serde_json::{Value, json};
use std::sync::Arc;

/// What verbs work with.
pub(super) struct Api {
    pub(super) store: Store,
    pub(super) registry: Registry,
    pub(super) auth: Auth,
    pub(super) schema: Schema,
    pub(super) nodes: Nodes,
    pub(super) shutdown: Shutdown,
}

/// One request for a resource.
pub(super) struct Call {
    pub(super) api: Arc<Api>,
    pub(super) def: Arc<ResourceDef>,
    pub(super) path: ResourcePath,
    pub(super) query: Query,
    pub(super) form: Form,
    pub(super) user: User,
    /// Who manages fields unless the query says so: the program named by `User-Agent`.
    pub(super) agent: String,
    pub(super) content_type: String,
    pub(super) body: Bytes,
    /// The connection is to become something else.
    pub(super) upgrade: Option<Upgrade>,
}

impl Call {
    fn key(&self) -> ResourceKey {
        self.def.key()
    }

    /// The namespace objects are looked for in; `None` when they live in none.
    fn namespace(&self) -> Option<&str> {
        if self.def.namespaced {
            self.path.namespace.as_deref()
        } else {
            None
        }
    }

    fn name(&self) -> &str {
        self.path.name.as_deref().unwrap_or_default()
    }

    fn version(&self) -> &str {
        &self.path.version
    }

    fn api_version(&self) -> String {
        self.def.api_version(self.version())
    }

    fn conflict(&self) -> ApiError {
        ApiError::conflict(&self.def.group, &self.def.plural, self.name())
    }

    fn not_found(&self) -> ApiError {
        ApiError::not_found(&self.def.group, &self.def.plural, self.name())
    }

    /// The object of the path, in the version of the path.
    fn object(&self) -> Result<Arc<Value>, ApiError> {
        let stored = self
            .api
            .store
            .get(&self.key(), self.namespace(), self.name());
        let stored = stored.ok_or_else(|| self.not_found())?;
        Ok(convert::shown(&self.def, self.version(), &stored))
    }

    fn shape(&self) -> Shape<'_> {
        if self.def.custom {
            Shape::Custom(
                self.def
                    .version(self.version())
                    .and_then(|v| v.schema.as_ref()),
            )
        } else {
            Shape::builtin(&self.def.group, &self.def.kind)
        }
    }

    fn writer<'a>(&'a self, manager: Option<&'a str>, api_version: &'a str) -> Writer<'a> {
        let subresource = self.path.subresource.as_deref().unwrap_or_default();
        Writer {
            manager: manager.unwrap_or(&self.agent),
            api_version,
            subresource,
        }
    }

    /// Who has a say in what this call does; `object` is the new one, where there is one.
    fn gate(
        &self,
        operation: Operation,
        object: Option<&Value>,
        options: Value,
        dry_run: bool,
    ) -> Gate<'_> {
        self.gate_of(None, operation, object, options, dry_run)
    }

    /// The same, where webhooks are shown something else than the object itself.
    fn gate_of(
        &self,
        shows: Option<(&'static str, &'static str, &'static str)>,
        operation: Operation,
        object: Option<&Value>,
        options: Value,
        dry_run: bool,
    ) -> Gate<'_> {
        let named = object.map(|obj| name(obj).to_owned());
        let name = self.path.name.clone().or(named).unwrap_or_default();
        let namespace = match &self.path.namespace {
            Some(namespace) => namespace.clone(),
            None if self.def.kind == "Namespace" && self.def.group.is_empty() => name.clone(),
            None => String::new(),
        };
        let ask = Ask {
            operation,
            def: self.def.clone(),
            version: self.version().to_owned(),
            subresource: self.path.subresource.clone().unwrap_or_default(),
            shows,
            namespace,
            name,
            user: self.user.clone(),
            options,
            dry_run,
        };
        Gate::open(&self.api, ask)
    }

    /// The options of a write, as webhooks are told them.
    fn write_options(&self, kind: &str, params: &WriteParams) -> Value {
        let mut options = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
        if params.dry_run {
            options["dryRun"] = json!(["All"]);
        }
        for field in ["fieldManager", "fieldValidation"] {
            if let Some(text) = self.query.text(field) {
                options[field] = json!(text);
            }
        }
        options
    }

    /// One object in the form the client wants.
    fn show(&self, code: StatusCode, obj: &Arc<Value>) -> Result<Reply, ApiError> {
        Ok(match self.form {
            Form::Object => Reply::json(code, obj),
            Form::Metadata => Reply::json(code, &tables::metadata_only(obj)),
            Form::Table => {
                let include = IncludeObject::read(self.query.text("includeObject"))?;
                let metadata = json!({"resourceVersion": obj["metadata"]["resourceVersion"]});
                let one = std::slice::from_ref(obj);
                let table = tables::table(&self.def, self.version(), one, &metadata, include, true);
                Reply::json(code, &table)
            }
        })
    }
}

/// The verb of a request, as RBAC names it.
pub(super) fn verb(method: &Method, path: &ResourcePath, query: &Query) -> &'static str {
    let named = path.name.is_some();
    match *method {
        Method::GET | Method::HEAD if query.flag("watch") && path.subresource.is_none() => "watch",
        Method::GET | Method::HEAD if named => "get",
        Method::GET | Method::HEAD => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if named => "delete",
        Method::DELETE => "deletecollection",
        _ => "",
    }
}

/// Does what a request asks for.
pub(super) async fn handle(method: &Method, call: Call) -> Result<Reply, ApiError> {
    if let Some(subresource) = call.path.subresource.clone() {
        return sub::handle(method, call, &subresource).await;
    }
    let verb = verb(method, &call.path, &call.query);
    if !call.def.verbs.iter().any(|v| v == verb) {
        return Err(ApiError::method_not_allowed());
    }
    match (verb, call.path.name.is_some()) {
        ("get", true) => read::get(&call),
        ("list", false) => read::list(&call),
        ("watch", _) => watch::watch(call),
        ("create", false) => create::create(&call).await,
        ("update", true) => update::update(&call, None).await,
        ("patch", true) => patch::patch(&call, None).await,
        ("delete", true) => delete::delete(&call).await,
        ("deletecollection", false) => delete::delete_collection(&call).await,
        _ => Err(ApiError::method_not_allowed()),
    }
}
