//! What tests wait for in a cluster.

use super::{Cluster, NS, eventually, text};
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice, events::v1::Event};
use kube::api::ListParams;
use mesh_api::link::{Condition, ServiceStatus};

impl Cluster {
    /// Waits for a Service, and for `holds` to hold of it.
    pub(crate) async fn sees(&self, name: &str, holds: impl Fn(&Service) -> bool) -> Service {
        let services = self.services();
        eventually(async || match services.get_opt(name).await {
            Ok(Some(service)) if holds(&service) => Ok(service),
            other => Err(format!("the Service {name} as wanted, but: {other:#?}")),
        })
        .await
    }

    pub(crate) async fn misses(&self, name: &str) {
        let services = self.services();
        eventually(async || match services.get_opt(name).await {
            Ok(None) => Ok(()),
            other => Err(format!("the Service {name} to be gone, but: {other:#?}")),
        })
        .await;
    }

    pub(crate) async fn sees_slice(
        &self,
        name: &str,
        holds: impl Fn(&EndpointSlice) -> bool,
    ) -> EndpointSlice {
        let slices = self.slices();
        eventually(async || match slices.get_opt(name).await {
            Ok(Some(slice)) if holds(&slice) => Ok(slice),
            other => Err(format!("the slice {name} as wanted, but: {other:#?}")),
        })
        .await
    }

    pub(crate) async fn misses_slice(&self, name: &str) {
        let slices = self.slices();
        eventually(async || match slices.get_opt(name).await {
            Ok(None) => Ok(()),
            other => Err(format!("the slice {name} to be gone, but: {other:#?}")),
        })
        .await;
    }

    /// Waits until the Link has the condition with the status and the reason.
    pub(crate) async fn condition(
        &self,
        link: &str,
        type_: &str,
        status: &str,
        reason: &str,
    ) -> Condition {
        let links = self.links();
        eventually(async || {
            let link = links.get(link).await.map_err(text)?;
            let conditions = link.status.unwrap_or_default().conditions;
            let found = conditions
                .iter()
                .find(|c| c.type_ == type_ && c.status == status && c.reason == reason);
            let missing = || format!("{type_}={status} ({reason}), but: {conditions:#?}");
            found.cloned().ok_or_else(missing)
        })
        .await
    }

    /// Waits for what the Link says of an exported Service.
    pub(crate) async fn told(&self, link: &str, service: &str, reason: &str) -> ServiceStatus {
        let links = self.links();
        eventually(async || {
            let link = links.get(link).await.map_err(text)?;
            let services = link.status.unwrap_or_default().mirror_services;
            let found = services
                .iter()
                .find(|s| s.remote_ref.name == service && s.conditions[0].reason == reason);
            let missing = || format!("{service}: {reason}, but: {services:#?}");
            found.cloned().ok_or_else(missing)
        })
        .await
    }

    /// Waits for an Event about the Link; its text.
    pub(crate) async fn event(&self, link: &str, reason: &str) -> String {
        let events = self.api::<Event>(NS);
        eventually(async || {
            let list = events.list(&ListParams::default()).await.map_err(text)?;
            let found = list.items.iter().find(|event| {
                let about = event.regarding.as_ref();
                event.reason.as_deref() == Some(reason)
                    && about.is_some_and(|about| {
                        about.kind.as_deref() == Some("Link") && about.name.as_deref() == Some(link)
                    })
            });
            let note = found.and_then(|event| event.note.clone());
            note.ok_or_else(|| format!("an Event {reason} about {link}, but: {:#?}", list.items))
        })
        .await
    }
}
