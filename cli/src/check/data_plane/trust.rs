//! Whom sidecars trust and who certified them: what they were injected with, or, where that is not
//! what is trusted now or roots are being rotated, what they say themselves.

use super::Scene;
use crate::{
    http, reach,
    sidecars::{none, says},
};
use anyhow::{Context as _, bail};
use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use mesh_contract::{annotations, ports};
use mesh_install::values::Values;
use mesh_tls::TrustAnchors;
use serde::Deserialize;
use std::time::Duration;

/// Sidecars asked at the same time.
const AT_ONCE: usize = 16;
const TIMEOUT: Duration = Duration::from_secs(10);

/// What the sidecars of a cluster should trust.
#[derive(Debug)]
pub(in crate::check) struct Expected {
    /// Fingerprints of the trust anchors.
    anchors: Vec<String>,
    /// What pods injected with them are annotated with.
    annotation: String,
    /// Fingerprint of who signs certificates, where it is known.
    issuer: Option<String>,
}

/// What `/state` of a sidecar says, as far as it is read.
#[derive(Debug, Deserialize)]
struct State {
    identity: Identity,
}

#[derive(Debug, Deserialize)]
struct Identity {
    trust_anchors: Vec<String>,
    issuer: Option<String>,
}

impl Expected {
    /// What the control plane trusts, and who signs.
    pub(in crate::check) fn new(values: &Values, issuer: Option<String>) -> anyhow::Result<Self> {
        let pem = &values.identity_trust_anchors_pem;
        Ok(Self {
            anchors: TrustAnchors::from_pem(pem)?.fingerprints(),
            annotation: mesh_tls::sha256(pem.as_bytes()),
            issuer,
        })
    }

    /// Whether that is so of all `pods`. Asks as few as it can: all of them only while there are
    /// several anchors, as in a rotation.
    pub(super) async fn of_all(&self, scene: &Scene<'_>, pods: &[Pod]) -> anyhow::Result<()> {
        let rotating = self.anchors.len() > 1;
        let current = |pod: &Pod| says(pod, annotations::TRUST_ROOT_SHA256, &self.annotation);
        let asked = pods.iter().filter(|pod| rotating || !current(pod));
        let asked = stream::iter(asked).map(async |pod| (pod, ask(scene, pod).await));
        let answers: Vec<_> = asked.buffered(AT_ONCE).collect().await;
        let which = |differs: &dyn Fn(&Identity) -> bool| {
            let answers = answers.iter();
            let differ = answers.filter(|(_, answer)| answer.as_ref().is_ok_and(differs));
            differ.map(|(pod, _)| *pod).collect::<Vec<_>>()
        };
        let trusting = which(&|identity| identity.trust_anchors != self.anchors);
        none("trust others", trusting.into_iter())?;
        let certified = which(&|identity| self.issuer.is_some() && identity.issuer != self.issuer);
        none("have certificates of another issuer", certified.into_iter())?;
        let silent = answers.iter().find_map(|(pod, answer)| {
            let error = answer.as_ref().err()?;
            Some((pod, error))
        });
        if let Some((pod, error)) = silent {
            let name = format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any());
            bail!("{name} does not tell what it trusts now: {error:#}");
        }
        Ok(())
    }
}

/// What the sidecar of `pod` says.
async fn ask(scene: &Scene<'_>, pod: &Pod) -> anyhow::Result<Identity> {
    let namespace = pod.namespace().unwrap_or_default();
    let name = pod.name_any();
    let ask = async {
        let io = reach::forwarded(&scene.client, &namespace, &name, ports::ADMIN).await?;
        let request = http::get(&format!("http://localhost:{}/state", ports::ADMIN), &[])?;
        let state: State = http::exchange(io, request).await?.json()?;
        Ok(state.identity)
    };
    tokio::time::timeout(TIMEOUT, ask)
        .await
        .with_context(|| format!("no answer within {TIMEOUT:?}"))?
}
