//! The small messages the others are made of.

use crate::{
    index::{ObjectRef, metadata::plain},
    view::Resource,
};
use linkerd2_proxy_api::meta::{Metadata, Resource as ResourceRef, metadata::Kind};
use mesh_api::policy::GROUP;
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
    let section = resource.section.as_deref().unwrap_or("");
    Metadata {
        kind: Some(Kind::Resource(ResourceRef {
            section: plain(section),
            port: resource.port.into(),
            ..reference(CORE, resource.kind, &resource.object)
        })),
    }
}

/// A Pod's port.
pub(super) fn pod(pod: &ObjectRef, port: u16) -> Metadata {
    Metadata {
        kind: Some(Kind::Resource(ResourceRef {
            port: port.into(),
            ..reference(CORE, "Pod", pod)
        })),
    }
}

/// A resource of the policy group.
pub(super) fn policy(kind: &str, object: &ObjectRef) -> Metadata {
    Metadata {
        kind: Some(Kind::Resource(reference(GROUP, kind, object))),
    }
}

fn reference(group: &str, kind: &str, object: &ObjectRef) -> ResourceRef {
    ResourceRef {
        group: group.to_owned(),
        kind: kind.to_owned(),
        name: plain(&object.name),
        namespace: plain(&object.namespace),
        ..ResourceRef::default()
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
