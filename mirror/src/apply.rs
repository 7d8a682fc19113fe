//! Carries out one action on the API server.
//!
//! A first write is a create; later ones carry uid and revision. So nothing that somebody else
//! made, even a moment ago under the same name, is ever merged into or removed.

use crate::{local::Follower, plan::Action};
use kube::{
    Api, Client, Error, Resource, ResourceExt as _,
    api::{DeleteParams, PostParams, Preconditions},
    core::NamespaceResourceScope,
};
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Debug;

/// Carries `action` out and tells the index what is there now.
pub(crate) async fn apply(client: &Client, local: &Follower, action: Action) -> Result<(), Error> {
    match action {
        Action::CreateService(service) => local.wrote(create(client, *service).await?),
        Action::ReplaceService(service) => local.wrote(replace(client, *service).await?),
        Action::DeleteService(service) => {
            delete(client, &*service).await?;
            local.removed::<k8s_openapi::api::core::v1::Service>(&key(&*service));
        }
        Action::CreateSlice(slice) => local.wrote(create(client, *slice).await?),
        Action::ReplaceSlice(slice) => local.wrote(replace(client, *slice).await?),
        Action::DeleteSlice(slice) => {
            delete(client, &*slice).await?;
            local.removed::<k8s_openapi::api::discovery::v1::EndpointSlice>(&key(&*slice));
        }
    }
    Ok(())
}

fn key<K: Resource>(object: &K) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// What the mirror writes: a namespaced kind of Kubernetes' own.
trait Object:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
{
}

impl<K> Object for K where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
{
}

fn api<K: Object>(client: &Client, object: &K) -> Api<K> {
    Api::namespaced(client.clone(), &object.namespace().unwrap_or_default())
}

async fn create<K: Object>(client: &Client, object: K) -> Result<K, Error> {
    api(client, &object).create(&params(), &object).await
}

async fn replace<K: Object>(client: &Client, object: K) -> Result<K, Error> {
    api(client, &object)
        .replace(&object.name_any(), &params(), &object)
        .await
}

async fn delete<K: Object>(client: &Client, object: &K) -> Result<(), Error> {
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: object.uid(),
            resource_version: object.resource_version(),
        }),
        ..DeleteParams::default()
    };
    match api(client, object)
        .delete(&object.name_any(), &params)
        .await
    {
        Ok(_) => Ok(()),
        Err(Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error),
    }
}

fn params() -> PostParams {
    PostParams {
        field_manager: Some(mesh_contract::names::SERVICE_MIRROR.to_owned()),
        ..PostParams::default()
    }
}
