//! One request from its head to its reply: who asks, may they, for what. Errors become
//! responses here and nowhere else.

use super::discovery;
use super::reply::{Body, Reply, form};
use super::request::{Query, ResourcePath, Target, target};
use super::verbs::{self, Api, Call, Upgrade};
use crate::apiserver::select::FieldSelector;
use crate::auth::{Attributes, Decision, User, forbidden};
use crate::status::ApiError;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, USER_AGENT};
use http::request::Parts;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Largest body, as in kube-apiserver.
const MAX_BODY: usize = 3 << 20;
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest field manager made of a `User-Agent`.
const MAX_AGENT: usize = 128;

/// What answers requests.
pub(super) struct App {
    pub(super) api: Arc<Api>,
    pub(super) addr: SocketAddr,
}

impl App {
    /// Answers a request, whatever it is.
    pub(super) async fn respond(&self, mut request: Request<Incoming>) -> Response<Body> {
        let upgrade = Upgrade::take(&mut request);
        let (parts, body) = request.into_parts();
        let started = Instant::now();
        let reply = self
            .reply(&parts, body, upgrade)
            .await
            .unwrap_or_else(Reply::from);
        let response = reply.into_response();
        tracing::debug!(
            method = %parts.method, uri = %parts.uri, status = response.status().as_u16(),
            elapsed = ?started.elapsed(), "request"
        );
        response
    }

    async fn reply(
        &self,
        parts: &Parts,
        body: Incoming,
        upgrade: Option<Upgrade>,
    ) -> Result<Reply, ApiError> {
        let authorization = header(&parts.headers, AUTHORIZATION);
        let user = self.api.auth.authenticate(authorization)?;
        let user = self.impersonated(user, &parts.headers)?;
        let path = parts.uri.path();
        match target(path)? {
            Target::Path => {
                let attributes = Attributes {
                    verb: &parts.method.as_str().to_ascii_lowercase(),
                    non_resource_path: Some(path),
                    ..Attributes::default()
                };
                self.permit(&user, &attributes)?;
                if parts.method != Method::GET {
                    return Err(ApiError::method_not_allowed());
                }
                let accept = header(&parts.headers, ACCEPT);
                discovery::answer(&self.api.registry, path, accept, self.addr)
            }
            Target::Resource(path) => {
                let asked = (user, path, upgrade);
                self.resource(parts, body, asked).await
            }
        }
    }

    async fn resource(
        &self,
        parts: &Parts,
        body: Incoming,
        (user, path, upgrade): (User, ResourcePath, Option<Upgrade>),
    ) -> Result<Reply, ApiError> {
        let query = Query::parse(parts.uri.query());
        let verb = verbs::verb(&parts.method, &path, &query);
        if verb.is_empty() {
            return Err(ApiError::method_not_allowed());
        }
        let namespace_of_itself = (path.resource == "namespaces" && path.group.is_empty())
            .then_some(path.name.as_deref())
            .flatten();
        let selected = match verb {
            "list" | "watch" | "deletecollection" => {
                FieldSelector::parse(query.text("fieldSelector").unwrap_or_default())?
            }
            _ => FieldSelector::default(),
        };
        let attributes = Attributes {
            verb,
            group: &path.group,
            version: &path.version,
            resource: &path.resource,
            subresource: path.subresource.as_deref().unwrap_or_default(),
            namespace: path
                .namespace
                .as_deref()
                .or(namespace_of_itself)
                .unwrap_or_default(),
            name: path.name.as_deref().or(selected.name()).unwrap_or_default(),
            non_resource_path: None,
        };
        self.permit(&user, &attributes)?;
        let def = self.api.registry.get(&path.group, &path.resource);
        let def = def.filter(|d| d.version(&path.version).is_some());
        let known = || {
            self.api
                .registry
                .all()
                .iter()
                .any(|d| d.group == path.group)
        };
        let def = match def {
            Some(def) => def,
            None if known() => return Err(ApiError::no_such_path()),
            None => return Err(ApiError::no_such_page()),
        };
        if path.namespace.is_some() && !def.namespaced {
            return Err(ApiError::no_such_path());
        }
        if def.namespaced && path.name.is_some() && path.namespace.is_none() {
            return Err(ApiError::no_such_path());
        }
        let accept = header(&parts.headers, ACCEPT);
        let form = match path.subresource.as_deref() {
            Some("log" | "exec" | "portforward") => super::reply::Form::Object,
            _ => form(accept)?,
        };
        let content_type = header(&parts.headers, CONTENT_TYPE)
            .unwrap_or_default()
            .to_owned();
        let agent = agent(header(&parts.headers, USER_AGENT));
        let body = read(body).await?;
        let api = self.api.clone();
        let call = Call {
            api,
            def,
            path,
            query,
            form,
            user,
            agent,
            content_type,
            body,
            upgrade,
        };
        Box::pin(verbs::handle(&parts.method, call)).await
    }

    fn permit(&self, user: &User, attributes: &Attributes<'_>) -> Result<(), ApiError> {
        match self.api.auth.authorize(user, attributes) {
            Decision::Allow => Ok(()),
            Decision::Deny { .. } => Err(forbidden(user, attributes)),
        }
    }

    /// `kubectl --as`: who may act as somebody is somebody.
    fn impersonated(&self, user: User, headers: &HeaderMap) -> Result<User, ApiError> {
        const GROUP: HeaderName = HeaderName::from_static("impersonate-group");
        let name = header(headers, HeaderName::from_static("impersonate-user"));
        let groups: Vec<&str> = headers
            .get_all(GROUP)
            .iter()
            .filter_map(|v| v.to_str().ok())
            .collect();
        let Some(name) = name else {
            if groups.is_empty() {
                return Ok(user);
            }
            let message = "requested groups without impersonating a user";
            return Err(ApiError::bad_request(message));
        };
        let impersonate = |resource, namespace, name| Attributes {
            verb: "impersonate",
            version: "v1",
            resource,
            namespace,
            name,
            ..Attributes::default()
        };
        let account = name
            .strip_prefix("system:serviceaccount:")
            .and_then(|rest| rest.split_once(':'));
        let mut all: Vec<String> = groups.iter().map(|g| (*g).to_owned()).collect();
        match account {
            Some((namespace, account)) => {
                self.permit(&user, &impersonate("serviceaccounts", namespace, account))?;
                if all.is_empty() {
                    all.push("system:serviceaccounts".to_owned());
                    all.push(format!("system:serviceaccounts:{namespace}"));
                }
            }
            None => self.permit(&user, &impersonate("users", "", name))?,
        }
        for group in &groups {
            self.permit(&user, &impersonate("groups", "", group))?;
        }
        if name != "system:anonymous" && !all.iter().any(|g| g == "system:authenticated") {
            all.push("system:authenticated".to_owned());
        }
        Ok(User {
            name: name.to_owned(),
            groups: all,
            ..User::default()
        })
    }
}

fn header(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// The program a `User-Agent` names.
fn agent(user_agent: Option<&str>) -> String {
    let program = user_agent
        .unwrap_or_default()
        .split('/')
        .next()
        .unwrap_or_default()
        .trim();
    let program: String = program
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_AGENT)
        .collect();
    if program.is_empty() {
        "unknown".to_owned()
    } else {
        program
    }
}

async fn read(body: Incoming) -> Result<Bytes, ApiError> {
    let collected = Limited::new(body, MAX_BODY).collect();
    match tokio::time::timeout(BODY_TIMEOUT, collected).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ApiError::too_large(MAX_BODY)),
        Ok(Err(error)) => Err(ApiError::bad_request(format!("reading the body: {error}"))),
        Err(_) => Err(ApiError::new(
            408,
            "Timeout",
            "the body did not arrive in time",
        )),
    }
}
