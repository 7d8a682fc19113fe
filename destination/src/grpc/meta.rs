//! The small messages the others are made of.

use crate::view::Resource;
use linkerd2_proxy_api::meta::{Metadata, Resource as ResourceRef, metadata::Kind};
use prost_types::Duration;

/// The core group, which stock proxies want spelled out.
const CORE: &str = "core";

/// Something no resource states.
pub(super) fn default(name: &str) -> Metadata {
    Metadata {
        kind: Some(Kind::Default(name.to_owned())),
    }
}

/// A Service or Pod.
pub(super) fn resource(resource: &Resource) -> Metadata {
    Metadata {
        kind: Some(Kind::Resource(ResourceRef {
            group: CORE.to_owned(),
            kind: resource.kind.to_owned(),
            name: resource.object.name.to_string(),
            namespace: resource.object.namespace.to_string(),
            section: resource.section.as_deref().unwrap_or("").to_owned(),
            port: resource.port.into(),
        })),
    }
}

/// Of whole seconds.
pub(super) fn seconds(seconds: i64) -> Option<Duration> {
    Some(Duration { seconds, nanos: 0 })
}

/// Of milliseconds.
pub(super) fn millis(millis: u32) -> Option<Duration> {
    Some(Duration {
        seconds: (millis / 1000).into(),
        nanos: i32::try_from(millis % 1000).unwrap_or(0) * 1_000_000,
    })
}
