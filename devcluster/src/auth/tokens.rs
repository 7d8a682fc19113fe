//! ServiceAccount tokens: made on request, checked against the objects they are bound to.

use super::keys::{Bound, Claims, Reference, Refused};
use super::{Auth, User};
use crate::schema::TOKEN_SECRET;
use crate::schema::json::{at, deleting, items, name, text, uid};
use crate::status::{ApiError, Cause};
use crate::store::{ResourceKey, new_uid};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

const GROUP: &str = "authentication.k8s.io";
const DEFAULT_SECONDS: i64 = 3600;
const MIN_SECONDS: i64 = 600;
const MAX_SECONDS: i64 = 1 << 32;

impl Auth {
    /// Answers `POST serviceaccounts/<sa>/token`.
    pub fn token_request(&self, ns: &str, sa: &str, mut body: Value) -> Result<Value, ApiError> {
        let account = self
            .shared
            .store
            .get(&ResourceKey::core("serviceaccounts"), Some(ns), sa)
            .ok_or_else(|| ApiError::not_found("", "serviceaccounts", sa))?;
        let spec = at(&body, &["spec"]);
        let seconds = lifetime(spec)?;
        let mut audiences: Vec<String> = items(spec, &["audiences"])
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        if audiences.is_empty() {
            audiences.clone_from(&self.shared.audiences);
        }
        let mut bound = Bound {
            namespace: ns.to_owned(),
            serviceaccount: reference(&account),
            ..Bound::default()
        };
        self.bind(spec, ns, sa, &mut bound)?;
        let now = Utc::now();
        let expires = now + chrono::Duration::seconds(seconds);
        let claims = Claims {
            sub: format!("system:serviceaccount:{ns}:{sa}"),
            aud: audiences.clone(),
            exp: Some(expires.timestamp()),
            iat: Some(now.timestamp()),
            nbf: Some(now.timestamp()),
            jti: Some(new_uid()),
            bound,
            ..Claims::default()
        };
        let token = self.shared.keys.sign(claims).map_err(ApiError::internal)?;
        if !body["spec"].is_object() {
            body["spec"] = json!({});
        }
        body["apiVersion"] = json!(format!("{GROUP}/v1"));
        body["kind"] = json!("TokenRequest");
        body["metadata"] = json!({"name": sa, "namespace": ns,
                                  "creationTimestamp": spelled(now)});
        body["spec"]["audiences"] = json!(audiences);
        body["spec"]["expirationSeconds"] = json!(seconds);
        body["status"] = json!({"token": token, "expirationTimestamp": spelled(expires)});
        Ok(body)
    }

    /// Binds a token to the object it asks to be bound to, which must be there.
    fn bind(&self, spec: &Value, ns: &str, sa: &str, bound: &mut Bound) -> Result<(), ApiError> {
        let wanted = at(spec, &["boundObjectRef"]);
        if wanted.is_null() {
            return Ok(());
        }
        let plural = match text(wanted, &["kind"]) {
            "Pod" => "pods",
            "Secret" => "secrets",
            other => {
                let detail = format!("cannot bind token to object of type {other:?}");
                return Err(ApiError::bad_request(detail));
            }
        };
        let object = name_of(wanted);
        let found = self
            .shared
            .store
            .get(&ResourceKey::core(plural), Some(ns), object)
            .ok_or_else(|| ApiError::not_found("", plural, object))?;
        let asked = text(wanted, &["uid"]);
        if !asked.is_empty() && asked != uid(&found) {
            let detail = format!(
                "the UID in the bound object reference ({asked}) does not match the UID in record. \
                 The object might have been deleted and then recreated"
            );
            return Err(ApiError::conflict_because("", plural, object, &detail));
        }
        if plural == "secrets" {
            bound.secret = Some(reference(&found));
            return Ok(());
        }
        let theirs = text(&found, &["spec", "serviceAccountName"]);
        if theirs != sa {
            return Err(ApiError::bad_request(format!(
                "cannot bind token for serviceaccount {sa:?} to pod running with different \
                 serviceaccount name."
            )));
        }
        bound.pod = Some(reference(&found));
        Ok(())
    }

    /// The token of a token Secret. It names the Secret and lives as long as that holds it.
    pub(crate) fn secret_token(
        &self,
        ns: &str,
        account: &Value,
        secret: &Value,
    ) -> Result<String, ApiError> {
        let claims = Claims {
            sub: format!("system:serviceaccount:{ns}:{}", name(account)),
            bound: Bound {
                namespace: ns.to_owned(),
                serviceaccount: reference(account),
                pod: None,
                secret: Some(reference(secret)),
            },
            ..Claims::default()
        };
        self.shared.keys.sign(claims).map_err(ApiError::internal)
    }

    /// Whether this server signed a token and it has not expired.
    pub(crate) fn signed(&self, token: &str) -> bool {
        self.shared.keys.check(token).is_ok()
    }

    /// Who a token proves its bearer to be, for one of `wanted`; and for which of them.
    pub(super) fn check_token(
        &self,
        token: &str,
        wanted: &[String],
    ) -> Result<(User, Vec<String>), Refused> {
        let claims = self.shared.keys.check(token)?;
        let bound = &claims.bound;
        let legacy = claims.exp.is_none();
        let found = if legacy {
            &self.shared.audiences
        } else {
            &claims.aud
        };
        let shared: Vec<String> = wanted
            .iter()
            .filter(|w| found.contains(w))
            .cloned()
            .collect();
        if shared.is_empty() {
            let (found, wanted) = (found.clone(), wanted.to_vec());
            return Err(Refused::Audience { found, wanted });
        }
        let account = &bound.serviceaccount;
        let ns = bound.namespace.as_str();
        let sub = format!("system:serviceaccount:{ns}:{}", account.name);
        if claims.sub != sub {
            return Err(Refused::Foreign);
        }
        self.same("serviceaccounts", ns, account)?;
        let mut user = User::account(ns, &account.name, &account.uid);
        if let Some(pod) = &bound.pod {
            self.same("pods", ns, pod)?;
            let mut tell = |key: &str, value: &str| {
                let key = format!("authentication.kubernetes.io/{key}");
                user.extra.insert(key, vec![value.to_owned()]);
            };
            tell("pod-name", &pod.name);
            tell("pod-uid", &pod.uid);
        }
        if let Some(secret) = &bound.secret {
            self.same("secrets", ns, secret)?;
            if legacy {
                self.held_by(ns, secret, token)?;
            }
        }
        if let Some(jti) = &claims.jti {
            let key = "authentication.kubernetes.io/credential-id".to_owned();
            user.extra.insert(key, vec![format!("JTI={jti}")]);
        }
        Ok((user, shared))
    }

    /// Whether an object is still the one a token was bound to. One that is being deleted counts
    /// until it is gone: a pod needs its token to stop in good order.
    fn same(&self, plural: &str, ns: &str, wanted: &Reference) -> Result<(), Refused> {
        let Some(found) = self
            .shared
            .store
            .get(&ResourceKey::core(plural), Some(ns), &wanted.name)
        else {
            let what = format!(
                "{plural} {ns}/{} of the token does not exist any more",
                wanted.name
            );
            return Err(Refused::Unbound(what));
        };
        if uid(&found) != wanted.uid {
            let what = format!(
                "{plural} {ns}/{} is not the one the token was made for: its UID is another",
                wanted.name
            );
            return Err(Refused::Unbound(what));
        }
        if plural != "pods" && deleting(&found) {
            let what = format!(
                "{plural} {ns}/{} of the token is being deleted",
                wanted.name
            );
            return Err(Refused::Unbound(what));
        }
        Ok(())
    }

    /// Whether a token Secret still holds this very token.
    fn held_by(&self, ns: &str, secret: &Reference, token: &str) -> Result<(), Refused> {
        let found = self
            .shared
            .store
            .get(&ResourceKey::core("secrets"), Some(ns), &secret.name);
        let held = found
            .filter(|s| text(s, &["type"]) == TOKEN_SECRET)
            .is_some_and(|s| {
                let held = STANDARD.decode(text(&s, &["data", "token"]));
                held.is_ok_and(|held| held == token.as_bytes())
            });
        if held {
            Ok(())
        } else {
            let what = format!(
                "secrets {ns}/{} does not hold this token any more",
                secret.name
            );
            Err(Refused::Unbound(what))
        }
    }
}

fn name_of(reference: &Value) -> &str {
    text(reference, &["name"])
}

fn reference(obj: &Value) -> Reference {
    Reference {
        name: name(obj).to_owned(),
        uid: uid(obj).to_owned(),
    }
}

fn spelled(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn lifetime(spec: &Value) -> Result<i64, ApiError> {
    let asked = at(spec, &["expirationSeconds"]);
    let refuse = |detail: &str| {
        let cause = Cause::invalid("spec.expirationSeconds", asked, detail);
        Err(ApiError::invalid(GROUP, "TokenRequest", "", vec![cause]))
    };
    match asked.as_i64() {
        None if asked.is_null() => Ok(DEFAULT_SECONDS),
        None => refuse("must be a number of seconds"),
        Some(n) if n < MIN_SECONDS => refuse("may not specify a duration less than 10 minutes"),
        Some(n) if n > MAX_SECONDS => refuse("may not specify a duration larger than 2^32 seconds"),
        Some(n) => Ok(n),
    }
}
