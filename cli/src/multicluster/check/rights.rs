//! Whether accounts may do what they must, asked of the API servers that decide.

use super::Scene;
use crate::cluster::explain;
use anyhow::bail;
use futures::future::try_join_all;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReview,
    SubjectAccessReviewSpec,
};
use kube::{Api, Client, api::PostParams};
use mesh_contract::names;

/// Something one must be allowed: group, resource, verbs.
type Need = (&'static str, &'static str, &'static [&'static str]);

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["list", "watch", "create", "update", "delete"];

/// What the service mirror does everywhere in its cluster.
const EVERYWHERE: &[Need] = &[
    ("", "services", WRITE),
    ("discovery.k8s.io", "endpointslices", WRITE),
    ("", "namespaces", &["list", "watch"]),
    ("events.k8s.io", "events", &["create", "patch"]),
];
/// And in its own namespace.
const AT_HOME: &[Need] = &[
    (
        "multicluster.linkerd.io",
        "links",
        &["list", "watch", "patch"],
    ),
    ("multicluster.linkerd.io", "links/status", &["patch"]),
    ("", "secrets", &["list", "watch"]),
    (
        "coordination.k8s.io",
        "leases",
        &["get", "create", "update"],
    ),
];
/// What a service mirror needs in a cluster that is linked.
const REMOTE: &[Need] = &[
    ("", "services", READ),
    ("discovery.k8s.io", "endpointslices", READ),
];

/// Whether the account of the service mirror may do what it does.
pub(super) async fn of_mirror(scene: &Scene<'_>) -> anyhow::Result<()> {
    let user = format!(
        "system:serviceaccount:{}:{}",
        scene.namespace,
        names::SERVICE_MIRROR
    );
    let asked = needs(EVERYWHERE, None).chain(needs(AT_HOME, Some(scene.namespace)));
    let asked = asked.map(|attributes| denied(&scene.client, &user, attributes));
    refuse(try_join_all(asked).await?)
}

/// Whether the account that `remote` is may read what is imported.
pub(super) async fn of_account(remote: &Client) -> anyhow::Result<()> {
    let asked = needs(REMOTE, None).map(|attributes| denied_myself(remote, attributes));
    refuse(try_join_all(asked).await?)
}

fn refuse(denied: Vec<Option<String>>) -> anyhow::Result<()> {
    let denied: Vec<_> = denied.into_iter().flatten().collect();
    if !denied.is_empty() {
        bail!("it may not {}", denied.join(", "));
    }
    Ok(())
}

fn needs<'a>(
    needs: &'a [Need],
    namespace: Option<&'a str>,
) -> impl Iterator<Item = ResourceAttributes> + 'a {
    needs.iter().flat_map(move |(group, resource, verbs)| {
        let (resource, subresource) = match resource.split_once('/') {
            Some((resource, subresource)) => (resource, Some(subresource)),
            None => (*resource, None),
        };
        verbs.iter().map(move |verb| ResourceAttributes {
            group: Some((*group).to_owned()),
            resource: Some(resource.to_owned()),
            subresource: subresource.map(str::to_owned),
            verb: Some((*verb).to_owned()),
            namespace: namespace.map(str::to_owned),
            ..ResourceAttributes::default()
        })
    })
}

/// What `user` may not do, in words; none where it may.
async fn denied(
    client: &Client,
    user: &str,
    attributes: ResourceAttributes,
) -> anyhow::Result<Option<String>> {
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(user.to_owned()),
            resource_attributes: Some(attributes.clone()),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let api: Api<SubjectAccessReview> = Api::all(client.clone());
    let answer = api.create(&PostParams::default(), &review).await;
    let answer = answer.map_err(|e| explain(e, &format!("cannot ask what {user} may do")))?;
    Ok(in_words(&attributes, answer.status.map(|s| s.allowed)))
}

async fn denied_myself(
    client: &Client,
    attributes: ResourceAttributes,
) -> anyhow::Result<Option<String>> {
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(attributes.clone()),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let answer = api.create(&PostParams::default(), &review).await;
    let answer = answer.map_err(|e| explain(e, "cannot ask what the account may do there"))?;
    Ok(in_words(&attributes, answer.status.map(|s| s.allowed)))
}

fn in_words(attributes: &ResourceAttributes, allowed: Option<bool>) -> Option<String> {
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    let mut resource = text(&attributes.resource);
    if let Some(subresource) = &attributes.subresource {
        resource = format!("{resource}/{subresource}");
    }
    (allowed != Some(true)).then(|| format!("{} {resource}", text(&attributes.verb)))
}
