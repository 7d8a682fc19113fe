//! `OutboundPolicies` and `InboundServerPolicies`.

use super::{
    Api,
    caller::Caller,
    follow::{Messages, Step},
    inbound::server,
    outbound::policy,
};
use crate::{
    index::{
        Answer, ObjectRef,
        metadata::{is_dns_label, is_dns_name},
    },
    view::{Audience, Inbound, InboundKey, Outbound, Target, TargetKey},
};
use linkerd2_proxy_api::{
    inbound::{PortSpec, Server, inbound_server_policies_server::InboundServerPolicies},
    outbound::{
        OutboundPolicy, TrafficSpec, outbound_policies_server::OutboundPolicies, traffic_spec,
    },
};
use std::net::SocketAddr;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl OutboundPolicies for Api {
    type WatchStream = Messages<OutboundPolicy>;

    async fn get(&self, request: Request<TrafficSpec>) -> Result<Response<OutboundPolicy>, Status> {
        let (_, view) = self.outbound_view(&request)?;
        let answer = view.borrow().clone();
        Ok(Response::new(policy(&*answer.ok_or_else(gone)?)))
    }

    async fn watch(
        &self,
        request: Request<TrafficSpec>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (caller, view) = self.outbound_view(&request)?;
        let step = |answer: &Answer<Outbound>| match answer {
            Some(answer) => Step::send([policy(answer)]),
            None => Step::end(gone()),
        };
        Ok(self.stream("OutboundPolicies.Watch", caller, view, step))
    }
}

#[tonic::async_trait]
impl InboundServerPolicies for Api {
    type WatchPortStream = Messages<Server>;

    async fn get_port(&self, request: Request<PortSpec>) -> Result<Response<Server>, Status> {
        let (_, view) = self.inbound_view(&request)?;
        let answer = view.borrow().clone();
        Ok(Response::new(server(&*answer.ok_or_else(no_pod)?)))
    }

    async fn watch_port(
        &self,
        request: Request<PortSpec>,
    ) -> Result<Response<Self::WatchPortStream>, Status> {
        let (caller, view) = self.inbound_view(&request)?;
        let step = |answer: &Answer<Inbound>| match answer {
            Some(answer) => Step::send([server(answer)]),
            None => Step::end(no_pod()),
        };
        Ok(self.stream("WatchPort", caller, view, step))
    }
}

impl Api {
    fn outbound_view(
        &self,
        request: &Request<TrafficSpec>,
    ) -> Result<(Caller, watch::Receiver<Answer<Outbound>>), Status> {
        let caller = Caller::of(self, request)?;
        let target = self.traffic_target(request.get_ref())?;
        let audience = caller.audience;
        let view = self.index.lock().outbound(TargetKey { audience, target });
        if view.borrow().is_none() {
            return Err(match audience {
                Audience::Gateway => self.not_exported(),
                Audience::Mesh => gone(),
            });
        }
        Ok((caller, view))
    }

    fn traffic_target(&self, spec: &TrafficSpec) -> Result<Target, Status> {
        match &spec.target {
            Some(traffic_spec::Target::Authority(path)) => self.target(path),
            Some(traffic_spec::Target::Addr(address)) => {
                let read = SocketAddr::try_from(*address)
                    .map_err(|error| self.invalid(&error.to_string(), "target address"))?;
                match read.port() {
                    0 => Err(self.invalid("the port must not be 0", "target address")),
                    _ => Ok(Target::Address(read)),
                }
            }
            None => Err(self.invalid("a target is required", "addr or authority")),
        }
    }

    fn inbound_view(
        &self,
        request: &Request<PortSpec>,
    ) -> Result<(Caller, watch::Receiver<Answer<Inbound>>), Status> {
        let caller = Caller::of(self, request)?;
        let PortSpec { workload, port } = request.get_ref();
        let pod = pod(workload).ok_or_else(|| {
            let problem = "the workload must be {\"ns\":NAMESPACE,\"pod\":NAME} or NAMESPACE:NAME";
            self.invalid(problem, &workload.chars().take(300).collect::<String>())
        })?;
        let port = u16::try_from(*port)
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(|| self.invalid("no such port", &port.to_string()))?;
        let view = self.index.lock().inbound(InboundKey { pod, port });
        if view.borrow().is_none() {
            return Err(no_pod());
        }
        Ok((caller, view))
    }
}

/// The pod a proxy says it belongs to.
pub(super) fn pod(workload: &str) -> Option<ObjectRef> {
    #[derive(serde::Deserialize)]
    struct Workload {
        ns: String,
        pod: String,
    }
    let (ns, pod) = match workload.trim_start().starts_with('{') {
        true => serde_json::from_str(workload)
            .ok()
            .map(|Workload { ns, pod }| (ns, pod))?,
        false => workload
            .split_once(':')
            .map(|(ns, pod)| (ns.to_owned(), pod.to_owned()))?,
    };
    // What can be no pod is not looked for, nor kept.
    (is_dns_label(&ns) && is_dns_name(&pod)).then(|| ObjectRef::new(ns, pod))
}

/// Proxies forward plainly then.
fn gone() -> Status {
    Status::not_found("nothing is known of this target")
}

/// Proxies keep their default and ask again then.
fn no_pod() -> Status {
    Status::not_found("no such pod")
}
