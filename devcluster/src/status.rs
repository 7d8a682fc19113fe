//! What went wrong, as Kubernetes says it: a `Status` with a code, a reason and a message.
//!
//! Every layer of the API server returns [`ApiError`]; `apiserver` turns it into a response in one
//! place. Messages are those of kube-apiserver, as users and scripts match on them.

use serde_json::{Value, json};
use std::fmt;

/// A failed request.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// HTTP status.
    pub code: u16,
    /// Machine-readable reason, such as `NotFound`.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// The object at fault, when there is one.
    pub details: Option<Box<Details>>,
    /// The `Status` somebody else answered, to be passed on whole.
    status: Option<Box<Value>>,
}

/// Which object a failure is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// Its name.
    pub name: String,
    /// Its API group.
    pub group: String,
    /// Its resource (plural), or its kind where validation failed.
    pub kind: String,
    /// Field by field, what is wrong.
    pub causes: Vec<Cause>,
    /// Seconds a client should wait before it tries again.
    pub retry_after_seconds: Option<u32>,
}

/// One wrong field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Such as `FieldValueRequired`, `FieldValueInvalid`.
    pub reason: &'static str,
    /// For people; does not repeat the field.
    pub message: String,
    /// Path of the field.
    pub field: String,
}

impl Cause {
    /// A field that must be there is not.
    pub fn required(field: impl Into<String>, detail: &str) -> Self {
        let message = if detail.is_empty() {
            "Required value".to_owned()
        } else {
            format!("Required value: {detail}")
        };
        Self {
            reason: "FieldValueRequired",
            message,
            field: field.into(),
        }
    }

    /// A field holds something it must not.
    pub fn invalid(field: impl Into<String>, value: &Value, detail: &str) -> Self {
        let shown = shown(value);
        let message = format!("Invalid value: {shown}: {detail}");
        Self {
            reason: "FieldValueInvalid",
            message,
            field: field.into(),
        }
    }

    /// A field holds none of the allowed values.
    pub fn unsupported(field: impl Into<String>, value: &Value, allowed: &[&str]) -> Self {
        let shown = shown(value);
        let allowed: Vec<String> = allowed.iter().map(|a| format!("{a:?}")).collect();
        let message = format!(
            "Unsupported value: {shown}: supported values: {}",
            allowed.join(", ")
        );
        Self {
            reason: "FieldValueNotSupported",
            message,
            field: field.into(),
        }
    }

    /// A field must not be set here.
    pub fn forbidden(field: impl Into<String>, detail: &str) -> Self {
        let message = format!("Forbidden: {detail}");
        Self {
            reason: "FieldValueForbidden",
            message,
            field: field.into(),
        }
    }

    /// Two items share what must be unique.
    pub fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        let message = format!("Duplicate value: {}", shown(value));
        Self {
            reason: "FieldValueDuplicate",
            message,
            field: field.into(),
        }
    }

    /// A value is of the wrong type.
    pub fn type_invalid(field: impl Into<String>, value: &Value, detail: &str) -> Self {
        let message = format!("Invalid value: {}: {detail}", shown(value));
        Self {
            reason: "FieldValueTypeInvalid",
            message,
            field: field.into(),
        }
    }
}

/// A value as kube-apiserver quotes it in messages.
fn shown(value: &Value) -> String {
    match value {
        Value::String(s) => format!("{s:?}"),
        Value::Object(_) | Value::Array(_) => value.to_string(),
        other => other.to_string(),
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.field, self.message)
        }
    }
}

/// `services`, or `deployments.apps`.
pub fn qualified(group: &str, resource: &str) -> String {
    if group.is_empty() {
        resource.to_owned()
    } else {
        format!("{resource}.{group}")
    }
}

/// Reason of an error that is shown as a page.
pub(crate) const NO_SUCH_PAGE: &str = "NoSuchPage";

impl ApiError {
    /// Any failure; prefer the named constructors.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: None,
            status: None,
        }
    }

    /// What somebody the server asked answered: a `Status` with this code and message.
    pub fn passed_on(code: u16, message: String, status: Value) -> Self {
        Self {
            status: Some(Box::new(status)),
            ..Self::new(code, "", message)
        }
    }

    fn about(mut self, group: &str, kind: &str, name: &str) -> Self {
        let details = self.details.get_or_insert_default();
        details.group = group.to_owned();
        details.kind = kind.to_owned();
        details.name = name.to_owned();
        self
    }

    fn causes(mut self, causes: Vec<Cause>) -> Self {
        self.details.get_or_insert_default().causes = causes;
        self
    }

    /// 404: `services "x" not found`.
    pub fn not_found(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} {name:?} not found", qualified(group, resource));
        Self::new(404, "NotFound", message).about(group, resource, name)
    }

    /// 404 for a path that serves nothing.
    pub fn no_such_path() -> Self {
        let message = "the server could not find the requested resource";
        Self::new(404, "NotFound", message).about("", "", "")
    }

    /// 404 for a path, or a group, nobody knows: a page, not a Status, as in kube-apiserver.
    pub fn no_such_page() -> Self {
        Self::new(404, NO_SUCH_PAGE, "404 page not found")
    }

    /// 409: `services "x" already exists`.
    pub fn already_exists(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} {name:?} already exists", qualified(group, resource));
        Self::new(409, "AlreadyExists", message).about(group, resource, name)
    }

    /// 409 because somebody wrote in between.
    pub fn conflict(group: &str, resource: &str, name: &str) -> Self {
        let detail = "the object has been modified; please apply your changes to the latest \
                      version and try again";
        Self::conflict_because(group, resource, name, detail)
    }

    /// 409 for another reason.
    pub fn conflict_because(group: &str, resource: &str, name: &str, detail: &str) -> Self {
        let what = qualified(group, resource);
        let message = format!("Operation cannot be fulfilled on {what} {name:?}: {detail}");
        Self::new(409, "Conflict", message).about(group, resource, name)
    }

    /// 409 of server-side apply: fields owned by other managers.
    pub fn apply_conflict(message: String, causes: Vec<Cause>) -> Self {
        Self::new(409, "Conflict", message).causes(causes)
    }

    /// 422: the object does not validate. `group` and `kind` are the object's own.
    pub fn invalid(group: &str, kind: &str, name: &str, causes: Vec<Cause>) -> Self {
        let what = qualified(group, kind);
        let texts: Vec<String> = causes.iter().map(Cause::to_string).collect();
        let all = match texts.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let message = format!("{what} {name:?} is invalid: {all}");
        Self::new(422, "Invalid", message)
            .about(group, kind, name)
            .causes(causes)
    }

    /// 422 for a patch that cannot be applied.
    pub fn unprocessable(message: impl Into<String>) -> Self {
        Self::new(422, "Invalid", message).about("", "", "")
    }

    /// 403: `services "x" is forbidden: …`.
    pub fn forbidden(group: &str, resource: &str, name: &str, detail: &str) -> Self {
        let what = qualified(group, resource);
        let message = if name.is_empty() {
            format!("{what} is forbidden: {detail}")
        } else {
            format!("{what} {name:?} is forbidden: {detail}")
        };
        Self::new(403, "Forbidden", message).about(group, resource, name)
    }

    /// 403 for creating in a namespace that is going away.
    pub fn namespace_terminating(group: &str, resource: &str, name: &str, ns: &str) -> Self {
        let detail = format!(
            "unable to create new content in namespace {ns} because it is being terminated"
        );
        let cause = Cause {
            reason: "NamespaceTerminating",
            message: format!("namespace {ns} is being terminated"),
            field: "metadata.namespace".into(),
        };
        Self::forbidden(group, resource, name, &detail).causes(vec![cause])
    }

    /// 401.
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// 410: the wanted revision is no longer (or not yet) known.
    pub fn expired(wanted: u64, oldest: u64) -> Self {
        Self::new(
            410,
            "Expired",
            format!("too old resource version: {wanted} ({oldest})"),
        )
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 405.
    pub fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(405, "MethodNotAllowed", message).about("", "", "")
    }

    /// 406.
    pub fn not_acceptable(accepted: &str) -> Self {
        let message = format!("only the following media types are accepted: {accepted}");
        Self::new(406, "NotAcceptable", message)
    }

    /// 415.
    pub fn unsupported_media_type(accepted: &str) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: \
             {accepted}"
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// 413.
    pub fn too_large(limit: usize) -> Self {
        let message = format!("Request entity too large: limit is {limit}");
        Self::new(413, "RequestEntityTooLarge", message)
    }

    /// 500: a fault of ours.
    pub fn internal(detail: impl fmt::Display) -> Self {
        Self::new(
            500,
            "InternalError",
            format!("Internal error occurred: {detail}"),
        )
    }

    /// 429 with a cause, and when to try again.
    pub fn too_many_requests(message: &str, cause: Cause, again: Option<u32>) -> Self {
        let mut error = Self::new(429, "TooManyRequests", message).causes(vec![cause]);
        error.details.get_or_insert_default().retry_after_seconds = again;
        error
    }

    /// 500: a fault of what this server depends on, named as the cause too.
    pub fn internal_because(detail: &str) -> Self {
        let mut error = Self::internal(detail);
        let cause = json!({"message": detail});
        let mut status = error.to_value();
        status["details"] = json!({"causes": [cause]});
        error.status = Some(Box::new(status));
        error
    }

    /// 503: something this server depends on does not answer.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", message)
    }

    /// The `Status` object.
    pub fn to_value(&self) -> Value {
        if let Some(status) = &self.status {
            return (**status).clone();
        }
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if self.reason.is_empty()
            && let Some(status) = status.as_object_mut()
        {
            status.remove("reason");
        }
        if let Some(details) = &self.details {
            status["details"] = details.to_value();
        }
        status
    }
}

impl Details {
    fn to_value(&self) -> Value {
        let mut out = serde_json::Map::new();
        for (key, text) in [
            ("name", &self.name),
            ("group", &self.group),
            ("kind", &self.kind),
        ] {
            if !text.is_empty() {
                out.insert(key.into(), json!(text));
            }
        }
        if !self.causes.is_empty() {
            let causes = self.causes.iter().map(|c| {
                let mut cause = json!({"reason": c.reason, "message": c.message});
                if !c.field.is_empty() {
                    cause["field"] = json!(c.field);
                }
                cause
            });
            out.insert("causes".into(), causes.collect());
        }
        if let Some(seconds) = self.retry_after_seconds {
            out.insert("retryAfterSeconds".into(), json!(seconds));
        }
        Value::Object(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_those_of_kube_apiserver() {
        let not_found = ApiError::not_found("apps", "deployments", "web");
        assert_eq!(not_found.message, r#"deployments.apps "web" not found"#);
        let causes = vec![
            Cause::required("spec.ports", ""),
            Cause::invalid("spec.type", &json!("X"), "no"),
        ];
        let invalid = ApiError::invalid("", "Service", "web", causes);
        assert_eq!(
            invalid.message,
            "Service \"web\" is invalid: [spec.ports: Required value, \
             spec.type: Invalid value: \"X\": no]"
        );
        assert_eq!(
            invalid.to_value()["details"]["causes"][0]["reason"],
            "FieldValueRequired"
        );
    }
}
