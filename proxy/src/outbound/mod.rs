//! What the workload sends.

use tokio::net::TcpListener;

use crate::{Drain, Runtime};

/// The outbound half. Cloned freely.
#[derive(Clone)]
pub struct Outbound {}

impl Outbound {
    /// Builds it; nothing is dialled before it is used.
    pub fn new(_runtime: &Runtime) -> Self {
        todo!()
    }

    /// Accepts until drained.
    pub async fn serve(&self, _listener: TcpListener, _drain: Drain) {
        todo!()
    }
}
