//! Who should not get a request, and for how long.

use crate::outbound::endpoint::live::EndpointId;

/// Who should not get the request (again).
#[derive(Default)]
pub(super) struct Avoid {
    /// Endpoints and backends (by index) that failed it: not asked again.
    pub(super) failed: Vec<EndpointId>,
    pub(super) backends: Vec<usize>,
    /// Endpoints whose answer the route does not want: asked again if there is nobody else.
    pub(super) unwanted: Vec<EndpointId>,
    /// Endpoints that could not be reached just now: asked again after a while.
    pub(super) unreached: Vec<EndpointId>,
}

impl Avoid {
    /// Endpoints that should not get it now.
    pub(super) fn endpoints(&self) -> Vec<EndpointId> {
        [&*self.failed, &*self.unwanted, &*self.unreached].concat()
    }

    /// Whether somebody failed the request for good.
    pub(super) fn is_final(&self) -> bool {
        !self.failed.is_empty() || !self.backends.is_empty()
    }
}
