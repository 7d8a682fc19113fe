//! Questions about users and access, asked as objects: each is answered in its `status` and never
//! stored.

use super::{Attributes, Auth, User, rbac};
use crate::schema::json::{at, items, text};
use crate::status::{ApiError, Cause};
use serde_json::{Map, Value, json};

const AUTHENTICATION: &str = "authentication.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";

impl Auth {
    /// Answers a review. `ns` is the namespace of a `LocalSubjectAccessReview`.
    pub fn review(
        &self,
        user: &User,
        kind: &str,
        ns: Option<&str>,
        mut body: Value,
    ) -> Result<Value, ApiError> {
        if !body.is_object() {
            return Err(ApiError::bad_request(
                "the review provided is not a JSON object",
            ));
        }
        let spec = at(&body, &["spec"]);
        let (group, status) = match kind {
            "TokenReview" => (AUTHENTICATION, self.review_token(spec)?),
            "SelfSubjectReview" => (AUTHENTICATION, json!({"userInfo": user.to_value()})),
            "SelfSubjectAccessReview" => (AUTHORIZATION, self.review_access(kind, spec, user)?),
            "SubjectAccessReview" => (
                AUTHORIZATION,
                self.review_access(kind, spec, &subject(kind, spec)?)?,
            ),
            "LocalSubjectAccessReview" => {
                let asked = text(spec, &["resourceAttributes", "namespace"]);
                if ns != Some(asked) {
                    let value = json!(asked);
                    let detail =
                        format!("must match metadata.namespace: {}", ns.unwrap_or_default());
                    let field = "spec.resourceAttributes.namespace";
                    return Err(refused(kind, Cause::invalid(field, &value, &detail)));
                }
                (
                    AUTHORIZATION,
                    self.review_access(kind, spec, &subject(kind, spec)?)?,
                )
            }
            "SelfSubjectRulesReview" => (AUTHORIZATION, self.review_rules(kind, spec, user)?),
            _ => return Err(ApiError::no_such_path()),
        };
        body["apiVersion"] = json!(format!("{group}/v1"));
        body["kind"] = json!(kind);
        if !body["metadata"].is_object() {
            body["metadata"] = json!({});
        }
        if !body["spec"].is_object() {
            body["spec"] = json!({});
        }
        body["status"] = status;
        Ok(body)
    }

    fn review_token(&self, spec: &Value) -> Result<Value, ApiError> {
        let token = text(spec, &["token"]);
        if token.is_empty() {
            let cause = Cause::required("spec.token", "");
            return Err(ApiError::invalid(
                AUTHENTICATION,
                "TokenReview",
                "",
                vec![cause],
            ));
        }
        let asked: Vec<String> = items(spec, &["audiences"])
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        let wanted = if asked.is_empty() {
            &self.shared.audiences
        } else {
            &asked
        };
        Ok(match self.identify(token, wanted) {
            Ok((user, audiences)) => {
                json!({"authenticated": true, "user": user.to_value(), "audiences": audiences})
            }
            Err(refused) => {
                json!({"user": {}, "error": format!("[invalid bearer token, {refused}]")})
            }
        })
    }

    fn review_access(&self, kind: &str, spec: &Value, user: &User) -> Result<Value, ApiError> {
        let (about, path) = (
            at(spec, &["resourceAttributes"]),
            at(spec, &["nonResourceAttributes"]),
        );
        if about.is_null() == path.is_null() {
            let detail =
                "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            return Err(refused(
                kind,
                Cause::invalid("spec.resourceAttributes", about, detail),
            ));
        }
        let attributes = if path.is_null() {
            Attributes {
                verb: text(about, &["verb"]),
                group: text(about, &["group"]),
                version: text(about, &["version"]),
                resource: text(about, &["resource"]),
                subresource: text(about, &["subresource"]),
                namespace: text(about, &["namespace"]),
                name: text(about, &["name"]),
                non_resource_path: None,
            }
        } else {
            Attributes {
                verb: text(path, &["verb"]),
                non_resource_path: Some(text(path, &["path"])),
                ..Attributes::default()
            }
        };
        Ok(match self.explain(user, &attributes) {
            Ok(reason) => json!({"allowed": true, "reason": reason}),
            Err(reason) if reason.is_empty() => json!({"allowed": false}),
            Err(reason) => json!({"allowed": false, "reason": reason}),
        })
    }

    fn review_rules(&self, kind: &str, spec: &Value, user: &User) -> Result<Value, ApiError> {
        let ns = text(spec, &["namespace"]);
        if ns.is_empty() {
            let cause = Cause::required("spec.namespace", "no namespace on request");
            return Err(refused(kind, cause));
        }
        let (grants, broken) = rbac::grants(&self.shared.store, user, ns);
        let (mut resources, mut paths) = (Vec::new(), Vec::new());
        for rule in grants.iter().flat_map(|g| &g.rules) {
            let part = |keys: &[&str]| {
                let of = keys.iter().filter(|k| !items(rule, &[k]).is_empty());
                Value::Object(
                    of.map(|k| ((*k).to_owned(), rule[*k].clone()))
                        .collect::<Map<_, _>>(),
                )
            };
            if items(rule, &["nonResourceURLs"]).is_empty() {
                resources.push(part(&["verbs", "apiGroups", "resources", "resourceNames"]));
            } else {
                paths.push(part(&["verbs", "nonResourceURLs"]));
            }
        }
        let mut status = json!({
            "resourceRules": resources, "nonResourceRules": paths, "incomplete": !broken.is_empty(),
        });
        if !broken.is_empty() {
            status["evaluationError"] = json!(broken.join(", "));
        }
        Ok(status)
    }
}

fn refused(kind: &str, cause: Cause) -> ApiError {
    ApiError::invalid(AUTHORIZATION, kind, "", vec![cause])
}

/// The user a review is about.
fn subject(kind: &str, spec: &Value) -> Result<User, ApiError> {
    let texts = |value: &Value| -> Vec<String> {
        value
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    };
    let extra = at(spec, &["extra"]).as_object().into_iter().flatten();
    let user = User {
        name: text(spec, &["user"]).to_owned(),
        uid: text(spec, &["uid"]).to_owned(),
        groups: texts(at(spec, &["groups"])),
        extra: extra
            .map(|(key, values)| (key.clone(), texts(values)))
            .collect(),
    };
    if user.name.is_empty() && user.groups.is_empty() {
        let detail = "at least one of user or group must be specified";
        return Err(refused(
            kind,
            Cause::invalid("spec.user", &json!(""), detail),
        ));
    }
    Ok(user)
}
