//! `Destination`: endpoints of a name, and what is known of an address.

use super::{
    Api,
    caller::Caller,
    endpoints::Diff,
    follow::{Messages, Step, follow},
    profile::profile,
};
use crate::{
    index::Answer,
    view::{Audience, Authority, EndpointsKey, Profile, Target, TargetKey},
};
use linkerd2_proxy_api::destination::{
    DestinationProfile, GetDestination, Update, destination_server::Destination,
};
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl Destination for Api {
    type GetStream = Messages<Update>;
    type GetProfileStream = Messages<DestinationProfile>;

    /// `no_endpoints` for what a workload asks and is not there, as it may come; `NotFound` for
    /// what a gateway asks and may not know.
    async fn get(
        &self,
        request: Request<GetDestination>,
    ) -> Result<Response<Self::GetStream>, Status> {
        let caller = Caller::of(self, &request)?;
        let path = &request.get_ref().path;
        let Authority::Name(host, port) = self.authority(path)? else {
            return Err(self.invalid("only names of this cluster have endpoints", path));
        };
        let audience = caller.audience;
        let view = self.index.lock().endpoints(EndpointsKey {
            audience,
            host,
            port,
        });
        if audience == Audience::Gateway && view.borrow().is_none() {
            return Err(self.not_exported());
        }
        let mut diff = Diff::new(audience);
        Ok(self.stream("Get", caller, view, move |answer| diff.step(answer)))
    }

    async fn get_profile(
        &self,
        request: Request<GetDestination>,
    ) -> Result<Response<Self::GetProfileStream>, Status> {
        let caller = Caller::of(self, &request)?;
        let path = &request.get_ref().path;
        let target = self.target(path)?;
        let audience = caller.audience;
        let view = self.index.lock().profile(TargetKey { audience, target });
        if view.borrow().is_none() {
            return Err(self.not_exported());
        }
        let step = |answer: &Answer<Profile>| match answer {
            Some(answer) => Step::send([profile(answer)]),
            None => Step::end(Status::not_found("no such exported Service any more")),
        };
        Ok(self.stream("GetProfile", caller, view, step))
    }
}

impl Api {
    /// A stream on `view`.
    pub(super) fn stream<V, M>(
        &self,
        rpc: &'static str,
        caller: Caller,
        view: tokio::sync::watch::Receiver<V>,
        step: impl FnMut(&V) -> Step<M> + Send + 'static,
    ) -> Response<Messages<M>>
    where
        V: Clone + Send + Sync + 'static,
        M: Send + 'static,
    {
        let open = self.metrics.open(rpc);
        Response::new(follow(view, caller, self.shutdown.clone(), open, step))
    }

    /// An address, or a name of this cluster.
    pub(super) fn target(&self, path: &str) -> Result<Target, Status> {
        match self.authority(path)? {
            Authority::Address(address) => Ok(Target::Address(address)),
            Authority::Name(host, port) => Ok(Target::Name(host, port)),
            Authority::External => Err(self.invalid("not a name of this cluster", path)),
        }
    }

    fn authority(&self, path: &str) -> Result<Authority, Status> {
        Authority::parse(path, &self.config.cluster_domain).map_err(|error| {
            self.metrics.refused("invalid");
            Status::invalid_argument(error.to_string())
        })
    }

    /// Said for good: proxies do not ask again.
    pub(super) fn invalid(&self, problem: &str, what: &str) -> Status {
        self.metrics.refused("invalid");
        Status::invalid_argument(format!("{problem}: {what:?}"))
    }

    /// The same words for what is not there and what is not exported.
    pub(super) fn not_exported(&self) -> Status {
        self.metrics.refused("not exported");
        Status::not_found(
            "no such exported Service; export it with the label mirror.linkerd.io/exported=true \
             or mirror.linkerd.io/federated=member",
        )
    }
}
