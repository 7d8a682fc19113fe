//! A profile as a message.

use super::{endpoints::weighted, meta};
use crate::view::Profile;
use linkerd2_proxy_api::destination::DestinationProfile;

/// The message. It names no routes and no overrides, so that policies decide.
pub(super) fn profile(profile: &Profile) -> DestinationProfile {
    DestinationProfile {
        fully_qualified_name: profile.name.clone(),
        opaque_protocol: profile.opaque,
        endpoint: profile
            .endpoint
            .as_ref()
            .map(|(address, endpoint)| weighted(*address, endpoint)),
        parent_ref: profile.resource.as_ref().map(meta::resource),
        ..DestinationProfile::default()
    }
}
