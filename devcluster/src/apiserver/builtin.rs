//! The built-in resources. Only what this cluster gives a meaning to is listed.

use super::resources::{ResourceDef, ScalePaths, VersionDef};
use crate::store::ResourceKey;

const ALL_VERBS: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

/// The short form of a definition; `v1` unless said.
struct Row {
    group: &'static str,
    plural: &'static str,
    singular: &'static str,
    kind: &'static str,
    short: &'static [&'static str],
    all: bool,
    namespaced: bool,
    /// `status` and `scale` included.
    subresources: &'static [&'static str],
}

const fn row(
    group: &'static str,
    plural: &'static str,
    singular: &'static str,
    kind: &'static str,
) -> Row {
    let short: &[&str] = &[];
    Row {
        group,
        plural,
        singular,
        kind,
        short,
        all: false,
        namespaced: true,
        subresources: &[],
    }
}

impl Row {
    const fn short(mut self, names: &'static [&'static str]) -> Self {
        self.short = names;
        self
    }
    const fn sub(mut self, names: &'static [&'static str]) -> Self {
        self.subresources = names;
        self
    }
    const fn all(mut self) -> Self {
        self.all = true;
        self
    }
    const fn cluster(mut self) -> Self {
        self.namespaced = false;
        self
    }
}

const RBAC: &str = "rbac.authorization.k8s.io";
const ADMISSION: &str = crate::schema::WEBHOOK_GROUP;
const AUTHZ: &str = "authorization.k8s.io";
const AUTHN: &str = "authentication.k8s.io";

const OBJECTS: &[Row] = &[
    row("", "configmaps", "configmap", "ConfigMap").short(&["cm"]),
    row("", "events", "event", "Event").short(&["ev"]),
    row("", "namespaces", "namespace", "Namespace")
        .short(&["ns"])
        .cluster()
        .sub(&["status", "finalize"]),
    row("", "nodes", "node", "Node")
        .short(&["no"])
        .cluster()
        .sub(&["status"]),
    row("", "pods", "pod", "Pod").short(&["po"]).all().sub(&[
        "status",
        "log",
        "binding",
        "eviction",
        "exec",
        "portforward",
    ]),
    row("", "secrets", "secret", "Secret"),
    row("", "serviceaccounts", "serviceaccount", "ServiceAccount")
        .short(&["sa"])
        .sub(&["token"]),
    row("", "services", "service", "Service")
        .short(&["svc"])
        .all()
        .sub(&["status"]),
    row("apps", "deployments", "deployment", "Deployment")
        .short(&["deploy"])
        .all()
        .sub(&["status", "scale"]),
    row("apps", "replicasets", "replicaset", "ReplicaSet")
        .short(&["rs"])
        .all()
        .sub(&["status", "scale"]),
    row("apps", "statefulsets", "statefulset", "StatefulSet")
        .short(&["sts"])
        .all()
        .sub(&["status", "scale"]),
    row(
        "discovery.k8s.io",
        "endpointslices",
        "endpointslice",
        "EndpointSlice",
    ),
    row("coordination.k8s.io", "leases", "lease", "Lease"),
    row("events.k8s.io", "events", "event", "Event").short(&["ev"]),
    row(
        "apiextensions.k8s.io",
        "customresourcedefinitions",
        "customresourcedefinition",
        "CustomResourceDefinition",
    )
    .short(&["crd", "crds"])
    .cluster()
    .sub(&["status"]),
    row(
        ADMISSION,
        "mutatingwebhookconfigurations",
        "mutatingwebhookconfiguration",
        "MutatingWebhookConfiguration",
    )
    .cluster(),
    row(
        ADMISSION,
        "validatingwebhookconfigurations",
        "validatingwebhookconfiguration",
        "ValidatingWebhookConfiguration",
    )
    .cluster(),
    row(
        "policy",
        "poddisruptionbudgets",
        "poddisruptionbudget",
        "PodDisruptionBudget",
    )
    .short(&["pdb"])
    .sub(&["status"]),
    row(RBAC, "roles", "role", "Role"),
    row(RBAC, "rolebindings", "rolebinding", "RoleBinding"),
    row(RBAC, "clusterroles", "clusterrole", "ClusterRole").cluster(),
    row(
        RBAC,
        "clusterrolebindings",
        "clusterrolebinding",
        "ClusterRoleBinding",
    )
    .cluster(),
];

/// Questions: created, answered, never stored.
const REVIEWS: &[Row] = &[
    row(AUTHN, "tokenreviews", "tokenreview", "TokenReview").cluster(),
    row(
        AUTHN,
        "selfsubjectreviews",
        "selfsubjectreview",
        "SelfSubjectReview",
    )
    .cluster(),
    row(
        AUTHZ,
        "subjectaccessreviews",
        "subjectaccessreview",
        "SubjectAccessReview",
    )
    .cluster(),
    row(
        AUTHZ,
        "selfsubjectaccessreviews",
        "selfsubjectaccessreview",
        "SelfSubjectAccessReview",
    )
    .cluster(),
    row(
        AUTHZ,
        "selfsubjectrulesreviews",
        "selfsubjectrulesreview",
        "SelfSubjectRulesReview",
    )
    .cluster(),
    row(
        AUTHZ,
        "localsubjectaccessreviews",
        "localsubjectaccessreview",
        "LocalSubjectAccessReview",
    ),
];

fn strings(of: &[&str]) -> Vec<String> {
    of.iter().map(|&s| s.to_owned()).collect()
}

fn define(row: &Row, verbs: &[&str]) -> ResourceDef {
    let scale = row.subresources.contains(&"scale").then(|| ScalePaths {
        spec_replicas: ".spec.replicas".into(),
        status_replicas: ".status.replicas".into(),
        label_selector: None,
    });
    let version = VersionDef {
        name: "v1".into(),
        served: true,
        storage: true,
        status_subresource: row.subresources.contains(&"status"),
        scale,
        ..VersionDef::default()
    };
    let others = row
        .subresources
        .iter()
        .filter(|s| !matches!(**s, "status" | "scale"));
    ResourceDef {
        group: row.group.into(),
        versions: vec![version],
        plural: row.plural.into(),
        singular: row.singular.into(),
        kind: row.kind.into(),
        list_kind: format!("{}List", row.kind),
        short_names: strings(row.short),
        categories: if row.all {
            strings(&["all"])
        } else {
            Vec::new()
        },
        namespaced: row.namespaced,
        verbs: strings(verbs),
        subresources: others.map(|&s| s.to_owned()).collect(),
        // The two event APIs show the same objects.
        stored_as: (row.group == "events.k8s.io").then(|| ResourceKey::core("events")),
        custom: false,
    }
}

/// All of them.
pub(super) fn all() -> Vec<ResourceDef> {
    let objects = OBJECTS.iter().map(|row| define(row, ALL_VERBS));
    let reviews = REVIEWS.iter().map(|row| define(row, &["create"]));
    objects.chain(reviews).collect()
}
