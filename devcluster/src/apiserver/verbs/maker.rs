//! How controllers create objects: as the account they are, by way of everything a client's
//! request goes through, admission webhooks included.

use super::super::reply::Form;
use super::super::request::{Query, ResourcePath, WriteParams};
use super::{Api, Call, create};
use crate::auth::User;
use crate::controllers::{Made, Make};
use crate::status::ApiError;
use bytes::Bytes;
use futures::FutureExt;
use serde_json::Value;
use std::sync::Arc;

/// Who controllers are when they write, as in kube-controller-manager.
const AGENT: &str = "kube-controller-manager";

/// Creates pods for controllers.
pub(in crate::apiserver) struct Maker {
    pub(in crate::apiserver) api: Arc<Api>,
}

impl Make for Maker {
    fn pod(&self, account: &'static str, namespace: &str, pod: Value) -> Made {
        let call = self.call(account, namespace);
        async move {
            let call = call?;
            let made = create::made(&call, pod, &WriteParams::default()).await;
            Ok(made?.0)
        }
        .boxed()
    }
}

impl Maker {
    fn call(&self, account: &str, namespace: &str) -> Result<Call, ApiError> {
        let def = self.api.registry.get("", "pods");
        Ok(Call {
            api: self.api.clone(),
            def: def.ok_or_else(|| ApiError::internal("pods are not served"))?,
            path: ResourcePath {
                version: "v1".to_owned(),
                namespace: Some(namespace.to_owned()),
                resource: "pods".to_owned(),
                ..ResourcePath::default()
            },
            query: Query::default(),
            form: Form::Object,
            user: User::account("kube-system", account, ""),
            agent: AGENT.to_owned(),
            content_type: "application/json".to_owned(),
            body: Bytes::new(),
            upgrade: None,
        })
    }
}
