//! Keeps the Secret, the certificate in use and the CA bundles in step.
//!
//! The order matters: a CA is trusted by the webhook configurations before anything it signed is
//! in the Secret, and stays trusted as long as the Secret's bundle has it. Replicas do the same
//! thing and meet in the Secret's revision; none need be elected.

use super::material::{self, Data, Plan};
use crate::{args::Args, metrics::Metrics, webhook::CertificateSlot};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::{
    ByteString,
    api::{
        admissionregistration::v1::{
            MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
        },
        core::v1::Secret,
    },
};
use kube::{
    Api, Client, Resource,
    api::{Patch, PatchParams, PostParams},
};
use mesh_contract::{labels, names};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::{
    fmt::Debug,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::sync::{Notify, watch};

/// Even if no watch says so, everything is looked at again.
const RESYNC: Duration = Duration::from_secs(600);
/// After a failure.
const AGAIN: Duration = Duration::from_secs(2);

/// Where things are.
#[derive(Clone, Debug)]
struct Names {
    namespace: String,
    secret: String,
    server_name: String,
}

/// The work, and what it works on.
pub(crate) struct Keeper {
    client: Client,
    names: Names,
    external_secret: bool,
    external_ca_bundle: bool,
    certificate: CertificateSlot,
    metrics: Metrics,
    /// Something changed that may need work.
    pub(crate) changed: Arc<Notify>,
    ready: watch::Sender<bool>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    expiry: Option<SystemTime>,
    problem: Option<String>,
}

impl Keeper {
    pub(crate) fn new(
        client: Client,
        args: &Args,
        certificate: CertificateSlot,
        metrics: Metrics,
    ) -> Self {
        Self {
            client,
            names: Names {
                namespace: args.controller_namespace.clone(),
                secret: args.tls_secret.clone(),
                server_name: args.server_name(),
            },
            external_secret: args.external_secret,
            external_ca_bundle: args.external_ca_bundle,
            certificate,
            metrics,
            changed: Arc::default(),
            ready: watch::Sender::new(false),
            state: Arc::default(),
        }
    }

    /// Tells when the first certificate is in use and trusted.
    pub(crate) fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// For `/state`.
    pub(crate) fn state(&self) -> Arc<dyn Fn() -> Value + Send + Sync> {
        let state = self.state.clone();
        Arc::new(move || {
            let state = state.lock();
            let since = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).ok();
            json!({
                "expiry": state.expiry.and_then(since).map(|since| since.as_secs()),
                "problem": state.problem,
            })
        })
    }

    /// Works for ever.
    pub(crate) async fn run(self) {
        loop {
            let pause = match self.pass().await {
                Ok(until) => {
                    self.state.lock().problem = None;
                    self.ready.send_replace(true);
                    let left = until.duration_since(SystemTime::now());
                    left.unwrap_or(AGAIN).clamp(AGAIN, RESYNC)
                }
                Err(error) => {
                    let problem = format!("{error:#}");
                    let known = self.state.lock().problem.replace(problem.clone());
                    if known.as_ref() != Some(&problem) {
                        tracing::warn!(
                            problem,
                            "the serving certificate is not in order; retrying"
                        );
                    }
                    AGAIN
                }
            };
            tokio::select! {
                () = self.changed.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// One look at everything; when to look again.
    async fn pass(&self) -> anyhow::Result<SystemTime> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.names.namespace);
        let found = api.get_opt(&self.names.secret).await?;
        let data = found.as_ref().map(read);
        if self.external_secret {
            return self.external(data).await;
        }
        let name = &self.names.server_name;
        match material::plan(data.as_ref(), name, SystemTime::now())? {
            Plan::Keep(until) => {
                let data = data.unwrap_or_default();
                self.trust(&data).await?;
                self.install(&data)?;
                Ok(until)
            }
            Plan::Replace(data) => {
                // Trusted first, served then.
                self.trust(&data).await?;
                self.write(&api, found, &data).await?;
                tracing::info!(
                    secret = self.names.secret,
                    "a new serving certificate was made"
                );
                Ok(SystemTime::now())
            }
        }
    }

    async fn external(&self, data: Option<Data>) -> anyhow::Result<SystemTime> {
        let Names {
            namespace, secret, ..
        } = &self.names;
        let Some(data) = data else {
            anyhow::bail!("the Secret {namespace}/{secret} does not exist; who makes it?");
        };
        let usable = self.install(&data)?;
        if data.contains_key(material::CA) {
            self.trust(&data).await?;
        }
        Ok(usable)
    }

    fn install(&self, data: &Data) -> anyhow::Result<SystemTime> {
        let usable = material::usable(data, &self.names.server_name, SystemTime::now())?;
        let until = material::look_again(&usable);
        let expiry = usable.expiry.duration_since(SystemTime::UNIX_EPOCH);
        let expiry = expiry.map_or(0, |since| since.as_secs());
        self.metrics
            .certificate_expiry
            .set(i64::try_from(expiry).unwrap_or(i64::MAX));
        self.state.lock().expiry = Some(usable.expiry);
        self.certificate.install(usable.key);
        Ok(until)
    }

    async fn write(
        &self,
        api: &Api<Secret>,
        found: Option<Secret>,
        data: &Data,
    ) -> anyhow::Result<()> {
        let bytes = |(key, value): (&String, &String)| {
            (key.clone(), ByteString(value.clone().into_bytes()))
        };
        let data = data.iter().map(bytes).collect();
        let exists = found.is_some();
        let mut secret = found.unwrap_or_default();
        secret.data = Some(data);
        let written = if exists {
            // With the revision that was read: of two replicas one writes, the other reads.
            api.replace(&self.names.secret, &PostParams::default(), &secret)
                .await
        } else {
            secret.metadata.name = Some(self.names.secret.clone());
            let labels = secret.metadata.labels.get_or_insert_default();
            labels.insert(
                labels::CONTROL_PLANE_NS.to_owned(),
                self.names.namespace.clone(),
            );
            secret.type_ = Some("kubernetes.io/tls".to_owned());
            api.create(&PostParams::default(), &secret).await
        };
        match written {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes the API server trust the Secret's CAs, where it is ours to say.
    async fn trust(&self, data: &Data) -> anyhow::Result<()> {
        let Some(bundle) = data.get(material::CA).filter(|_| !self.external_ca_bundle) else {
            return Ok(());
        };
        let (injector, validator) = (
            names::INJECTOR_WEBHOOK_CONFIG,
            names::VALIDATOR_WEBHOOK_CONFIG,
        );
        self.trust_in::<MutatingWebhookConfiguration>(injector, bundle)
            .await?;
        self.trust_in::<ValidatingWebhookConfiguration>(validator, bundle)
            .await
    }

    async fn trust_in<K>(&self, name: &str, bundle: &str) -> anyhow::Result<()>
    where
        K: Webhooks + Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let api: Api<K> = Api::all(self.client.clone());
        let Some(configuration) = api.get_opt(name).await? else {
            // Removed by somebody who wants no webhook; nothing to trust.
            return Ok(());
        };
        let wanted = material::certificates(bundle);
        let mut operations = vec![json!({
            "op": "test", "path": "/metadata/resourceVersion",
            "value": configuration.meta().resource_version,
        })];
        let before = operations.len();
        for (index, client) in configuration.clients().into_iter().enumerate() {
            let has = client.ca_bundle.as_ref().map(|bytes| bytes.0.clone());
            let has = material::certificates(&String::from_utf8_lossy(&has.unwrap_or_default()));
            if has != wanted {
                operations.push(json!({
                    "op": "add",
                    "path": format!("/webhooks/{index}/clientConfig/caBundle"),
                    "value": STANDARD.encode(bundle),
                }));
            }
        }
        if operations.len() == before {
            return Ok(());
        }
        let patch: json_patch::Patch = serde_json::from_value(operations.into())?;
        api.patch(name, &PatchParams::default(), &Patch::<Value>::Json(patch))
            .await?;
        tracing::info!(name, "the API server was told whom to trust");
        Ok(())
    }
}

fn read(secret: &Secret) -> Data {
    let text = |(key, value): (&String, &ByteString)| {
        (key.clone(), String::from_utf8_lossy(&value.0).into_owned())
    };
    secret.data.iter().flatten().map(text).collect()
}

/// What both kinds of webhook configuration have.
trait Webhooks {
    fn clients(&self) -> Vec<&WebhookClientConfig>;
}

impl Webhooks for MutatingWebhookConfiguration {
    fn clients(&self) -> Vec<&WebhookClientConfig> {
        let webhooks = self.webhooks.iter().flatten();
        webhooks.map(|webhook| &webhook.client_config).collect()
    }
}

impl Webhooks for ValidatingWebhookConfiguration {
    fn clients(&self) -> Vec<&WebhookClientConfig> {
        let webhooks = self.webhooks.iter().flatten();
        webhooks.map(|webhook| &webhook.client_config).collect()
    }
}
