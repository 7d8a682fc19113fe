//! Connections whose bytes are none of our business: authorised once, and again whenever the
//! policy changes.

use std::{net::SocketAddr, sync::Arc};

use super::{
    Inbound,
    client::Client,
    gateway::NamedTarget,
    policy::{
        ServerPolicy,
        watch::{Receiver, given_up},
    },
};
use crate::{
    Drain, Error,
    io::{self, BoxIo, boxed},
    metrics::{Counter, InboundLabels},
};

/// Forwards to the workload until either end, or the policy, ends it.
pub(super) async fn forward(
    inbound: &Inbound,
    target: SocketAddr,
    client: Client,
    mut policy: Receiver,
    io: BoxIo,
    drain: Drain,
) -> Result<(), Error> {
    inbound.refuse_own(target)?;
    let check = Check::new(inbound, target, &client);
    check.admit(&policy.borrow_and_update().clone())?;
    let io = check.open(&policy.borrow().clone(), io);
    let app = Box::pin(inbound.0.apps.connect(target)).await?;
    tokio::select! {
        copied = io::duplex(io, app) => {
            let (received, sent) = copied?;
            tracing::debug!(received, sent, "forwarded connection ended");
            Ok(())
        }
        error = check.revoked(&mut policy) => Err(error),
        () = drain.aborted() => Err(Error::Shutdown),
    }
}

/// Hands a connection for a name to the gateway; `at` is the gateway's own address.
pub(super) async fn through_gateway(
    inbound: &Inbound,
    at: SocketAddr,
    client: Client,
    target: NamedTarget,
    mut policy: Receiver,
    io: BoxIo,
) -> Result<(), Error> {
    let check = Check::new(inbound, at, &client);
    check.admit(&policy.borrow_and_update().clone())?;
    let Some(gateway) = &inbound.0.gateway else {
        return Err(Error::GatewayDomainInvalid(target.name));
    };
    let io = boxed(check.open(&policy.borrow().clone(), io));
    tokio::select! {
        served = gateway.tcp(target, io) => served,
        error = check.revoked(&mut policy) => Err(error),
    }
}

/// One client at one port, and how its admission is counted.
struct Check<'c> {
    inbound: &'c Inbound,
    target: SocketAddr,
    client: &'c Client,
}

impl<'c> Check<'c> {
    fn new(inbound: &'c Inbound, target: SocketAddr, client: &'c Client) -> Self {
        Self {
            inbound,
            target,
            client,
        }
    }

    /// Lets the client in or says why not.
    fn admit(&self, policy: &ServerPolicy) -> Result<(), Error> {
        let authz = policy.authorize_tcp(self.client.for_policy());
        match authz {
            Some(authz) => {
                self.count(Counter::TcpAllow, policy, Some(&authz.meta));
                if authz.meta.is_audit() {
                    tracing::info!(client = %self.client.addr, target = %self.target, "audit: allowed");
                }
                Ok(())
            }
            None => {
                self.count(Counter::TcpDeny, policy, None);
                Err(Error::Unauthorized(policy.meta.name.to_string()))
            }
        }
    }

    /// Completes when a new policy does not allow the client any more, or none is watched for.
    async fn revoked(&self, policy: &mut Receiver) -> Error {
        while policy.changed().await.is_ok() {
            let policy: Arc<ServerPolicy> = policy.borrow_and_update().clone();
            if policy.authorize_tcp(self.client.for_policy()).is_none() {
                self.count(Counter::TcpTerminate, &policy, None);
                return Error::Unauthorized(policy.meta.name.to_string());
            }
        }
        given_up()
    }

    fn count(&self, counter: Counter, policy: &ServerPolicy, authz: Option<&crate::metrics::Meta>) {
        let tls = self.client.labels();
        let metrics = &self.inbound.0.runtime.metrics;
        metrics
            .inbound_count(counter, &self.labels(&tls, policy, authz))
            .increment();
    }

    fn open(&self, policy: &ServerPolicy, io: BoxIo) -> crate::metrics::Counted<BoxIo> {
        let tls = self.client.labels();
        let metrics = &self.inbound.0.runtime.metrics;
        metrics
            .inbound_accept(&self.labels(&tls, policy, None))
            .open(io)
    }

    fn labels<'l>(
        &self,
        tls: &'l crate::metrics::TlsLabels,
        policy: &'l ServerPolicy,
        authz: Option<&'l crate::metrics::Meta>,
    ) -> InboundLabels<'l> {
        InboundLabels {
            target: self.target,
            tls,
            server: &policy.meta,
            route: None,
            authz,
        }
    }
}
