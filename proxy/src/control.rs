//! The control plane as the proxy sees it: channels, and streams that are followed for ever.
//!
//! Owns how a control-plane address becomes a channel ([`channel`]) and how a stream of answers is
//! kept going ([`follow`]): a stream that ends, stalls or fails is opened again after a jittered
//! pause while whoever listens keeps the last answer. The outbound half asks through [`Control`];
//! the inbound half follows its own stream with the same function. Nothing here knows what the
//! answers mean.

mod channel;
mod dial;

use std::{future::Future, sync::Arc, time::Duration};

use linkerd2_proxy_api::{
    destination::{
        self as dst, DestinationProfile, GetDestination, destination_client::DestinationClient,
    },
    outbound::{
        OutboundPolicy, TrafficSpec, outbound_policies_client::OutboundPoliciesClient, traffic_spec,
    },
};
use mesh_daemon::{backoff, net::Resolver};
use mesh_tls::{Store, control as tls_control};
use tokio::time::{Instant, timeout};
use tonic::{Code, Response, Status, Streaming};

pub use channel::Channel;
pub(crate) use dial::dialer;

use crate::{
    Runtime,
    config::{Backoff, ControlAddr, StreamLimits},
    metrics::{ControlClient, Metrics, TlsLabels},
};

/// Clients of discovery and policy for the outbound half. Cloned freely.
#[derive(Clone)]
pub struct Control {
    destination: DestinationClient<Channel>,
    policy: OutboundPoliciesClient<Channel>,
    shared: Arc<Shared>,
}

struct Shared {
    context: Arc<str>,
    workload: Arc<str>,
    destination_limits: StreamLimits,
    destination_backoff: Backoff,
    policy_limits: StreamLimits,
    policy_backoff: Backoff,
}

/// What happens on a followed stream.
#[derive(Debug)]
pub enum Event<M> {
    /// An answer.
    Message {
        /// What was answered.
        message: M,
        /// Whether it is the first of a (re)opened stream: the whole truth, not a change.
        first: bool,
    },
    /// The control plane will not answer this question. It is asked again from time to time, as
    /// what does not exist may be created.
    Refused(Status),
}

/// Tens of thousands of endpoints come in one message; the library's limit of 4 MiB would refuse them
/// again and again.
pub const MAX_MESSAGE: usize = 64 * 1024 * 1024;
/// However long the control plane was away, it is asked at least this often: endpoints of a whole
/// cluster may have changed meanwhile.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Pauses before a refused question is asked again.
const REFUSED_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// A lazy, reconnecting channel of `client` to `addr`: mesh TLS whenever the service's name is known, also on
/// loopback; in the clear only for a loopback address without one.
pub fn channel(
    client: ControlClient,
    addr: &ControlAddr,
    store: &Store,
    resolver: &Resolver,
    metrics: &Metrics,
) -> Channel {
    let dial = dialer(client, addr, resolver, metrics);
    let channel = match &addr.name {
        Some(identity) => tls_control::channel(
            tls_control::ControlAddr {
                host: addr.host.clone(),
                port: addr.port,
                identity: identity.clone(),
            },
            store.clone(),
            dial,
        ),
        None => tls_control::plaintext_channel(&addr.host, addr.port, dial),
    };
    let tls = match &addr.name {
        Some(identity) => TlsLabels::Server(identity.as_str().into()),
        None => TlsLabels::None("loopback"),
    };
    Channel::new(channel, metrics.control(&addr.to_string(), &tls))
}

/// Opens a stream and hands every event to `on_event`, for ever: drop the future to stop.
///
/// `InvalidArgument`, `FailedPrecondition`, `NotFound` and `Unimplemented` are
/// [`Event::Refused`]; everything else, a regular end included, is a reason to open it again.
pub async fn follow<M, O, F>(
    what: &str,
    limits: StreamLimits,
    pauses: Backoff,
    mut open: O,
    mut on_event: impl FnMut(Event<M>),
) where
    O: FnMut() -> F,
    F: Future<Output = Result<Response<Streaming<M>>, Status>>,
{
    let mut pause = backoff::Backoff::new(pauses.min, pauses.max.min(LONGEST_PAUSE), pauses.jitter);
    let mut refused = backoff::Backoff::new(REFUSED_PAUSE.0, REFUSED_PAUSE.1, 0.1);
    loop {
        match one_stream(limits, &mut open, &mut on_event).await {
            End::Refused(status) => {
                tracing::debug!(what, code = ?status.code(), message = status.message(), "refused");
                on_event(Event::Refused(status));
                refused.wait().await;
                continue;
            }
            End::Answered(why) => {
                tracing::debug!(what, why, "stream ended after answers; opening it again");
                pause.reset();
                refused.reset();
            }
            End::Silent(why) => tracing::debug!(what, why, "no answer; asking again"),
        }
        pause.wait().await;
    }
}

/// How one stream ended.
enum End {
    Refused(Status),
    Answered(String),
    Silent(String),
}

async fn one_stream<M, O, F>(
    limits: StreamLimits,
    open: &mut O,
    on_event: &mut impl FnMut(Event<M>),
) -> End
where
    O: FnMut() -> F,
    F: Future<Output = Result<Response<Streaming<M>>, Status>>,
{
    let opened = Instant::now();
    let mut stream = match within(limits.initial, open()).await {
        None => return End::Silent("not opened in time".to_owned()),
        Some(Err(status)) if is_refusal(status.code()) => return End::Refused(status),
        Some(Err(status)) => return End::Silent(status.to_string()),
        Some(Ok(response)) => response.into_inner(),
    };
    let mut first = true;
    loop {
        let wait = if first { limits.initial } else { limits.idle };
        let left = limits
            .lifetime
            .map(|life| life.saturating_sub(opened.elapsed()));
        let wait = match (wait, left) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let why = match within(wait, stream.message()).await {
            Some(Ok(Some(message))) => {
                on_event(Event::Message { message, first });
                first = false;
                continue;
            }
            Some(Err(status)) if is_refusal(status.code()) => return End::Refused(status),
            Some(Err(status)) => status.to_string(),
            Some(Ok(None)) => "ended".to_owned(),
            None => "limit reached".to_owned(),
        };
        return if first {
            End::Silent(why)
        } else {
            End::Answered(why)
        };
    }
}

async fn within<F: Future>(limit: Option<Duration>, future: F) -> Option<F::Output> {
    match limit {
        Some(limit) => timeout(limit, future).await.ok(),
        None => Some(future.await),
    }
}

fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::InvalidArgument | Code::FailedPrecondition | Code::NotFound | Code::Unimplemented
    )
}

impl Control {
    /// Channels to the configured addresses; nothing is dialled before the first question.
    pub fn new(runtime: &Runtime) -> Self {
        let config = &runtime.config;
        let open = |client, addr| {
            let (resolver, metrics) = (&runtime.resolver, &runtime.metrics);
            channel(client, addr, &runtime.store, resolver, metrics)
        };
        let destination = open(ControlClient::Destination, &config.destination.addr);
        let policy = open(ControlClient::Policy, &config.policy.addr);
        Self {
            destination: DestinationClient::new(destination).max_decoding_message_size(MAX_MESSAGE),
            policy: OutboundPoliciesClient::new(policy).max_decoding_message_size(MAX_MESSAGE),
            shared: Arc::new(Shared {
                context: config.destination.context.clone(),
                workload: config.policy.workload.clone(),
                destination_limits: config.destination.limits,
                destination_backoff: config.destination.backoff,
                policy_limits: config.policy.limits,
                policy_backoff: config.policy.backoff,
            }),
        }
    }

    /// Follows the endpoints of `path` (`name:port`).
    pub async fn endpoints(&self, path: &str, on_event: impl FnMut(Event<dst::Update>)) {
        let shared = &self.shared;
        let open = || {
            let mut client = self.destination.clone();
            let question = self.question(path);
            async move { client.get(question).await }
        };
        let (limits, pauses) = (shared.destination_limits, shared.destination_backoff);
        follow(path, limits, pauses, open, on_event).await;
    }

    /// Follows the profile of `path` (`name:port` or `ip:port`).
    pub async fn profile(&self, path: &str, on_event: impl FnMut(Event<DestinationProfile>)) {
        let shared = &self.shared;
        let open = || {
            let mut client = self.destination.clone();
            let question = self.question(path);
            async move { client.get_profile(question).await }
        };
        let (limits, pauses) = (shared.destination_limits, shared.destination_backoff);
        follow(path, limits, pauses, open, on_event).await;
    }

    /// Follows the policy of `target`.
    pub async fn policy(
        &self,
        target: traffic_spec::Target,
        on_event: impl FnMut(Event<OutboundPolicy>),
    ) {
        let shared = &self.shared;
        let open = || {
            let mut client = self.policy.clone();
            let question = TrafficSpec {
                source_workload: shared.workload.to_string(),
                target: Some(target.clone()),
            };
            async move { client.watch(question).await }
        };
        let (limits, pauses) = (shared.policy_limits, shared.policy_backoff);
        follow("outbound policy", limits, pauses, open, on_event).await;
    }

    fn question(&self, path: &str) -> GetDestination {
        GetDestination {
            scheme: String::new(),
            path: path.to_owned(),
            context_token: self.shared.context.to_string(),
        }
    }
}
