use super::*;
use crate::apiserver::resources::Registry;
use crate::store::{DeleteOptions, ResourceKey};
use serde_json::{Value, json};

const API: &str = ISSUER;

fn cast() -> (Store, Auth) {
    let store = Store::default();
    bootstrap(&store).unwrap();
    let config = AuthConfig {
        admin_token: "secret".into(),
        ..AuthConfig::default()
    };
    let auth = Auth::new(store.clone(), config).unwrap();
    put(
        &store,
        "",
        "serviceaccounts",
        json!({"kind": "ServiceAccount",
        "metadata": {"name": "web", "namespace": "a", "uid": "sa-1"}}),
    );
    put(
        &store,
        "",
        "pods",
        json!({"kind": "Pod", "spec": {"serviceAccountName": "web"},
        "metadata": {"name": "web-1", "namespace": "a", "uid": "pod-1"}}),
    );
    (store, auth)
}

fn put(store: &Store, group: &str, plural: &str, obj: Value) {
    store.create(&ResourceKey::new(group, plural), obj).unwrap();
}

fn token(auth: &Auth, spec: Value) -> String {
    let answer = auth
        .token_request("a", "web", json!({"spec": spec}))
        .unwrap();
    answer["status"]["token"].as_str().unwrap().to_owned()
}

fn bearer(auth: &Auth, token: &str) -> Result<User, ApiError> {
    auth.authenticate(Some(&format!("Bearer {token}")))
}

fn review(auth: &Auth, token: &str, audiences: Value) -> Value {
    let body = json!({"spec": {"token": token, "audiences": audiences}});
    auth.review(&User::admin(), "TokenReview", None, body)
        .unwrap()["status"]
        .clone()
}

fn delete(store: &Store, plural: &str, name: &str) {
    let key = ResourceKey::core(plural);
    store
        .delete(&key, Some("a"), name, &DeleteOptions::default())
        .unwrap();
}

#[test]
fn the_admin_is_the_admin_and_a_bad_token_is_401() {
    let (_, auth) = cast();
    assert!(bearer(&auth, "secret").unwrap().is_master());
    assert_eq!(bearer(&auth, "secre").unwrap_err().code, 401);
    assert_eq!(bearer(&auth, "a.b.c").unwrap_err().code, 401);
    assert_eq!(auth.authenticate(None).unwrap(), User::anonymous());
}

#[test]
fn a_bound_token_names_its_account_and_pod() {
    let (_, auth) = cast();
    let pod = json!({"kind": "Pod", "apiVersion": "v1", "name": "web-1", "uid": "pod-1"});
    let token = token(&auth, json!({"boundObjectRef": pod}));
    let user = bearer(&auth, &token).unwrap();
    assert_eq!(user.name, "system:serviceaccount:a:web");
    assert_eq!(
        user.groups,
        [
            "system:serviceaccounts",
            "system:serviceaccounts:a",
            "system:authenticated"
        ]
    );
    assert_eq!(
        user.extra["authentication.kubernetes.io/pod-name"],
        ["web-1"]
    );
}

#[test]
fn a_token_dies_with_its_pod_or_account() {
    let (store, auth) = cast();
    let pod = json!({"kind": "Pod", "name": "web-1"});
    let bound = token(&auth, json!({"boundObjectRef": pod}));
    let free = token(&auth, json!({}));
    delete(&store, "pods", "web-1");
    assert_eq!(bearer(&auth, &bound).unwrap_err().code, 401);
    assert!(bearer(&auth, &free).is_ok());
    delete(&store, "serviceaccounts", "web");
    put(
        &store,
        "",
        "serviceaccounts",
        json!({"metadata": {"name": "web", "namespace": "a"}}),
    );
    assert_eq!(bearer(&auth, &free).unwrap_err().code, 401);
    let status = review(&auth, &free, json!([]));
    assert_eq!(status["authenticated"], Value::Null);
    assert!(
        status["error"].as_str().unwrap().contains("UID"),
        "{status}"
    );
}

#[test]
fn token_requests_are_checked() {
    let (_, auth) = cast();
    let ask = |sa: &str, spec: Value| auth.token_request("a", sa, json!({"spec": spec}));
    assert_eq!(ask("nobody", json!({})).unwrap_err().code, 404);
    let short = ask("web", json!({"expirationSeconds": 60})).unwrap_err();
    assert_eq!(
        short.message,
        "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid \
         value: 60: may not specify a duration less than 10 minutes"
    );
    let gone = json!({"boundObjectRef": {"kind": "Pod", "name": "x"}});
    assert_eq!(ask("web", gone).unwrap_err().code, 404);
    let other = json!({"boundObjectRef": {"kind": "Pod", "name": "web-1", "uid": "x"}});
    assert_eq!(ask("web", other).unwrap_err().code, 409);
    let made = ask("web", json!({})).unwrap();
    assert_eq!(made["spec"]["audiences"], json!([API]));
    assert_eq!(made["kind"], "TokenRequest");
}

#[test]
fn reviews_answer_for_the_audiences_asked_about() {
    let (_, auth) = cast();
    let mesh = token(&auth, json!({"audiences": ["identity.l5d.io"]}));
    let yes = review(&auth, &mesh, json!(["identity.l5d.io", "other"]));
    assert_eq!(yes["authenticated"], true);
    assert_eq!(yes["audiences"], json!(["identity.l5d.io"]));
    assert_eq!(yes["user"]["username"], "system:serviceaccount:a:web");
    let no = review(&auth, &mesh, json!(["other"]));
    assert_eq!(no["authenticated"], Value::Null);
    assert!(no["error"].as_str().unwrap().contains("audiences"));
    // For the API itself it proves nothing.
    assert_eq!(bearer(&auth, &mesh).unwrap_err().code, 401);
    let admin = review(&auth, "secret", json!([]));
    assert_eq!(admin["user"]["groups"][0], "system:masters");
}

#[test]
fn a_secret_token_lives_as_long_as_its_secret_holds_it() {
    use base64::Engine;
    let (store, auth) = cast();
    let key = ResourceKey::core("secrets");
    let secret = json!({"kind": "Secret", "type": crate::schema::TOKEN_SECRET,
        "metadata": {"name": "t", "namespace": "a", "uid": "s-1"}});
    put(&store, "", "secrets", secret.clone());
    let account = store
        .get(&ResourceKey::core("serviceaccounts"), Some("a"), "web")
        .unwrap();
    let token = auth.secret_token("a", &account, &secret).unwrap();
    assert_eq!(bearer(&auth, &token).unwrap_err().code, 401);
    let held = base64::engine::general_purpose::STANDARD.encode(&token);
    let fill = |s: &Value| {
        let mut s = s.clone();
        s["data"] = json!({"token": held});
        Ok(s)
    };
    store.update(&key, Some("a"), "t", fill).unwrap();
    assert_eq!(
        bearer(&auth, &token).unwrap().name,
        "system:serviceaccount:a:web"
    );
    delete(&store, "secrets", "t");
    assert_eq!(bearer(&auth, &token).unwrap_err().code, 401);
}

fn ask<'a>(verb: &'a str, resource: &'a str, ns: &'a str) -> Attributes<'a> {
    Attributes {
        verb,
        resource,
        namespace: ns,
        version: "v1",
        ..Attributes::default()
    }
}

#[test]
fn a_role_binding_counts_in_its_namespace_only() {
    let (store, auth) = cast();
    let user = User::account("a", "web", "sa-1");
    assert_ne!(
        auth.authorize(&user, &ask("list", "services", "a")),
        Decision::Allow
    );
    put(
        &store,
        rbac::GROUP,
        "rolebindings",
        json!({"kind": "RoleBinding",
        "metadata": {"name": "v", "namespace": "a"},
        "roleRef": {"kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": "web", "namespace": "a"}]}),
    );
    assert_eq!(
        auth.authorize(&user, &ask("list", "services", "a")),
        Decision::Allow
    );
    for asked in [
        ask("list", "services", "b"),
        ask("list", "secrets", "a"),
        ask("list", "services", ""),
    ] {
        assert_ne!(auth.authorize(&user, &asked), Decision::Allow, "{asked:?}");
    }
}

#[test]
fn anonymous_sees_health_and_version_only() {
    let (_, auth) = cast();
    let may = |path| {
        let asked = Attributes {
            verb: "get",
            non_resource_path: Some(path),
            ..Attributes::default()
        };
        auth.authorize(&User::anonymous(), &asked) == Decision::Allow
    };
    assert!(may("/healthz") && may("/livez") && may("/readyz") && may("/version"));
    assert!(!may("/api") && !may("/metrics"));
    assert_ne!(
        auth.authorize(&User::anonymous(), &ask("list", "pods", "a")),
        Decision::Allow
    );
}

#[test]
fn refusals_read_as_those_of_kube_apiserver() {
    let user = User {
        name: "x".into(),
        ..User::default()
    };
    assert_eq!(
        forbidden(&user, &ask("list", "services", "y")).message,
        "services is forbidden: User \"x\" cannot list resource \"services\" in API group \"\" in \
         the namespace \"y\""
    );
    let scale = Attributes {
        group: "apps",
        subresource: "scale",
        name: "web",
        ..ask("get", "deployments", "")
    };
    assert_eq!(
        forbidden(&user, &scale).message,
        "deployments.apps \"web\" is forbidden: User \"x\" cannot get resource \
         \"deployments/scale\" in API group \"apps\" at the cluster scope"
    );
    let path = Attributes {
        verb: "get",
        non_resource_path: Some("/x"),
        ..Attributes::default()
    };
    assert_eq!(
        forbidden(&user, &path).message,
        "forbidden: User \"x\" cannot get path \"/x\""
    );
}

#[test]
fn nobody_grants_more_than_they_hold() {
    let (store, auth) = cast();
    let registry = Registry::builtin();
    let role = registry.get(rbac::GROUP, "roles").unwrap();
    let binding = registry.get(rbac::GROUP, "rolebindings").unwrap();
    let user = User::account("a", "web", "sa-1");
    put(
        &store,
        rbac::GROUP,
        "rolebindings",
        json!({"kind": "RoleBinding",
        "metadata": {"name": "v", "namespace": "a"},
        "roleRef": {"kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "User", "name": user.name}]}),
    );
    let new = |resource: &str| {
        json!({"kind": "Role", "metadata": {"name": "r", "namespace": "a"},
        "rules": [{"apiGroups": [""], "resources": [resource], "verbs": ["get"]}]})
    };
    assert!(auth.admit(&user, &role, None, &new("pods")).is_ok());
    let refused = auth.admit(&user, &role, None, &new("secrets")).unwrap_err();
    assert_eq!(refused.code, 403);
    assert_eq!(
        refused.message,
        "roles.rbac.authorization.k8s.io \"r\" is forbidden: user \
         \"system:serviceaccount:a:web\" (groups=[\"system:serviceaccounts\" \
         \"system:serviceaccounts:a\" \"system:authenticated\"]) is attempting to grant RBAC \
         permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"secrets\"], \
         Verbs:[\"get\"]}"
    );
    assert!(
        auth.admit(&user, &role, Some(&new("secrets")), &new("secrets"))
            .is_ok()
    );
    let bind = |role: &str| {
        json!({"kind": "RoleBinding", "metadata": {"name": "b", "namespace": "a"},
        "roleRef": {"kind": "ClusterRole", "name": role}, "subjects": []})
    };
    assert!(auth.admit(&user, &binding, None, &bind("view")).is_ok());
    assert_eq!(
        auth.admit(&user, &binding, None, &bind("cluster-admin"))
            .unwrap_err()
            .code,
        403
    );
    assert_eq!(
        auth.admit(&user, &binding, None, &bind("nothing"))
            .unwrap_err()
            .code,
        404
    );
    assert!(
        auth.admit(&User::admin(), &binding, None, &bind("cluster-admin"))
            .is_ok()
    );
}

#[test]
fn access_reviews_answer_for_others_and_oneself() {
    let (_, auth) = cast();
    let spec = |ns: &str| json!({"resourceAttributes": {"verb": "get", "resource": "pods", "namespace": ns}});
    let answer = |kind: &str, ns: Option<&str>, spec: Value| {
        auth.review(&User::admin(), kind, ns, json!({"spec": spec}))
    };
    let own = answer("SelfSubjectAccessReview", None, spec("a")).unwrap();
    assert_eq!(own["status"]["allowed"], true);
    let mut other = spec("a");
    assert_eq!(
        answer("SubjectAccessReview", None, other.clone())
            .unwrap_err()
            .code,
        422
    );
    other["user"] = json!("nobody");
    let theirs = answer("SubjectAccessReview", None, other.clone()).unwrap();
    assert_eq!(theirs["status"], json!({"allowed": false}));
    assert_eq!(
        answer("LocalSubjectAccessReview", Some("b"), other)
            .unwrap_err()
            .code,
        422
    );
    assert_eq!(
        answer("SelfSubjectAccessReview", None, json!({}))
            .unwrap_err()
            .code,
        422
    );
    let rules = answer("SelfSubjectRulesReview", None, json!({"namespace": "a"})).unwrap();
    assert_eq!(rules["status"]["resourceRules"][0]["verbs"], json!(["*"]));
    let me = answer("SelfSubjectReview", None, json!({})).unwrap();
    assert_eq!(me["status"]["userInfo"]["username"], "kubernetes-admin");
}
