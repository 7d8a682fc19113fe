//! Who may do what: RBAC, reviews, tokens.

use super::{Named, config_map};
use crate::session::Session;
use serde_json::{Value, json};

pub const ALL: &[Named] = &[
    ("rbac_in_a_namespace", rbac_in_a_namespace),
    ("rbac_escalation", rbac_escalation),
    ("access_reviews", access_reviews),
    ("tokens", tokens),
    ("whoami", whoami),
    ("anonymous_paths", anonymous_paths),
];

const RBAC: &str = "rbac.authorization.k8s.io/v1";

fn grant(s: &mut Session, user: &str, rules: Value) {
    let (roles, bindings) = (s.group(RBAC, "roles"), s.group(RBAC, "rolebindings"));
    s.post(&roles, json!({"metadata": {"name": user}, "rules": rules}));
    s.post(
        &bindings,
        json!({"metadata": {"name": user},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": user},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}]}),
    );
    // A real server learns of them through watches.
    let review = json!({"spec": {"user": user, "resourceAttributes": {"namespace": s.ns(), "verb": "get",
        "resource": "configmaps", "name": "a"}}});
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let answer = s.quietly(
            &http::Method::POST,
            "/apis/authorization.k8s.io/v1/subjectaccessreviews",
            review.clone(),
        );
        if answer["status"]["allowed"] == true {
            return;
        }
        assert!(std::time::Instant::now() < until, "never allowed: {answer}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

fn rbac_in_a_namespace(s: &mut Session) {
    let (maps, path) = (s.core("configmaps"), s.core("configmaps/a"));
    s.post(&maps, config_map("a"));
    grant(
        s,
        "reader",
        json!([{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["a"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["*"]}]),
    );
    s.become_user("reader", &["system:authenticated"]);
    s.get(&path);
    s.get(&maps);
    s.get(&format!("{maps}?fieldSelector=metadata.name=a"));
    s.delete(&path, None);
    s.merge(&path, json!({}));
    s.apply(&path, "x", config_map("a"));
    s.post(&maps, config_map("b"));
    s.get("/api/v1/nodes");
    s.get("/api/v1/configmaps");
    s.get("/apis/none/v1/things");
    s.get("/healthz");
    s.get("/api");
    s.get("/metrics");
    let other = s.core("pods/a/log");
    s.get(&other);
    let deployments = s.apps("deployments/none/scale");
    s.get(&deployments);
    s.get("/api/v1/namespaces/default");
    s.become_user("nobody", &[]);
    s.get(&path);
    s.become_user("system:serviceaccount:default:default", &[]);
    s.get(&path);
    s.become_admin();
}

fn rbac_escalation(s: &mut Session) {
    let maps = s.core("configmaps");
    s.post(&maps, config_map("a"));
    grant(
        s,
        "builder",
        json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]},
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"], "verbs": ["create", "get", "update", "patch"]}]),
    );
    s.become_user("builder", &["system:authenticated"]);
    let (roles, bindings) = (s.group(RBAC, "roles"), s.group(RBAC, "rolebindings"));
    s.post(&roles, json!({"metadata": {"name": "within"}, "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]}));
    s.post(&roles, json!({"metadata": {"name": "beyond"}, "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list"]}]}));
    s.post(&bindings, json!({"metadata": {"name": "beyond"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "builder"}]}));
    s.become_admin();
}

fn access_reviews(s: &mut Session) {
    const SAR: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    const SELF: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let ns = s.ns();
    let maps = s.core("configmaps");
    s.post(&maps, config_map("a"));
    grant(
        s,
        "asker",
        json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]),
    );
    for spec in [
        json!({"user": "asker", "resourceAttributes": {"namespace": ns, "verb": "get", "resource": "configmaps"}}),
        json!({"user": "asker", "resourceAttributes": {"namespace": ns, "verb": "delete", "resource": "configmaps"}}),
        json!({"user": "asker", "resourceAttributes": {"verb": "get", "resource": "configmaps"}}),
        json!({"user": "x", "groups": ["system:masters"], "resourceAttributes": {"verb": "*", "resource": "*", "group": "*"}}),
        json!({"user": "x", "groups": ["system:authenticated"], "nonResourceAttributes": {"path": "/version", "verb": "get"}}),
        json!({"user": "x", "nonResourceAttributes": {"path": "/secret", "verb": "get"}}),
        json!({"resourceAttributes": {"verb": "get"}}),
        json!({"user": "x"}),
        json!({}),
    ] {
        s.post(SAR, json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}));
    }
    s.post(
        SELF,
        json!({"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}}),
    );
    s.post(SELF, json!({"spec": {}}));
    s.become_user("asker", &["system:authenticated"]);
    s.post(SELF, json!({"spec": {"resourceAttributes": {"namespace": ns, "verb": "get", "resource": "configmaps"}}}));
    s.post(SELF, json!({"spec": {"resourceAttributes": {"namespace": ns, "verb": "get", "resource": "secrets"}}}));
    s.post(
        "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
        json!({"spec": {}}),
    );
    s.post(
        SAR,
        json!({"spec": {"user": "x", "resourceAttributes": {"verb": "get"}}}),
    );
    s.become_admin();
    let local = s.group("authorization.k8s.io/v1", "localsubjectaccessreviews");
    s.post(&local, json!({"metadata": {"namespace": ns}, "spec": {"user": "asker", "resourceAttributes": {"namespace": ns, "verb": "get", "resource": "configmaps"}}}));
    s.post(&local, json!({"metadata": {"namespace": ns}, "spec": {"user": "asker", "resourceAttributes": {"namespace": "other", "verb": "get", "resource": "configmaps"}}}));
    s.get(SAR);
}

fn tokens(s: &mut Session) {
    const REVIEW: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
    let path = s.core("serviceaccounts/default/token");
    let made = s.post(
        &path,
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": {"audiences": ["one", "two"], "expirationSeconds": 3600}}),
    );
    let token = made["status"]["token"].as_str().unwrap().to_owned();
    let plain = s.post(&path, json!({}));
    let plain = plain["status"]["token"].as_str().unwrap().to_owned();
    for spec in [
        json!({"token": token}),
        json!({"token": token, "audiences": ["two", "three"]}),
        json!({"token": token, "audiences": ["three"]}),
        json!({"token": plain}),
        json!({"token": "garbage"}),
        json!({"token": ""}),
        json!({}),
    ] {
        s.post(REVIEW, json!({"spec": spec}));
    }
    s.post(&path, json!({"spec": {"expirationSeconds": 5}}));
    s.post(
        &path,
        json!({"spec": {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "none"}}}),
    );
    s.post(&path, json!({"spec": {"boundObjectRef": {"kind": "Deployment", "apiVersion": "apps/v1", "name": "none"}}}));
    let missing = s.core("serviceaccounts/none/token");
    s.post(&missing, json!({}));
    let pods = s.core("pods");
    s.post(&pods, super::pod("a"));
    let bound = s.post(
        &path,
        json!({"spec": {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "a"}}}),
    );
    let bound = bound["status"]["token"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    s.post(REVIEW, json!({"spec": {"token": bound}}));
    let pod = s.core("pods/a");
    s.delete(&pod, Some(json!({"gracePeriodSeconds": 0})));
    let secrets = s.core("secrets");
    s.post(&secrets, json!({"metadata": {"name": "t", "annotations": {"kubernetes.io/service-account.name": "default"}}, "type": "kubernetes.io/service-account-token"}));
    let secret = s.core("secrets/t");
    s.until(&secret, |o| o["data"]["token"].is_string());
}

fn whoami(s: &mut Session) {
    const SELF: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    s.post(SELF, json!({}));
    s.become_user("somebody", &["a", "b"]);
    s.post(SELF, json!({}));
    s.become_user("system:serviceaccount:default:default", &[]);
    s.post(SELF, json!({}));
    s.become_admin();
}

fn anonymous_paths(s: &mut Session) {
    s.become_user("system:anonymous", &["system:unauthenticated"]);
    for path in [
        "/healthz",
        "/readyz",
        "/livez",
        "/api",
        "/api/v1/pods",
        "/metrics",
    ] {
        s.get(path);
    }
    s.become_admin();
}
