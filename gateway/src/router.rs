//! From a name another cluster asks for to our own endpoints.

use std::time::Duration;

use futures::future::BoxFuture;
use http::{HeaderValue, Request, Response, Version, header, uri::Authority};
use mesh_proxy::{
    Error,
    config::Suffixes,
    directives::Directives,
    http::{Body, cut, orig_proto},
    inbound::gateway::{Gateway, NamedTarget},
    io::BoxIo,
    outbound::{Discovered, Outbound, SETTLED},
};
use mesh_tls::Id;

use crate::forwarded;

/// What a request gets to end in once its Service is exported no more.
const GRACE: Duration = Duration::from_secs(5);

/// Another cluster may serve it; here nobody knows any more whether it may be.
const LAPSED: Error =
    Error::LoadShed("the gateway's control plane has been away for longer than its export lease");

/// Routes what the gateway's clients ask for, for as long as it is exported.
#[derive(Clone)]
pub struct Router {
    id: Id,
    suffixes: Suffixes,
    outbound: Outbound,
    directives: Directives,
}

impl Router {
    /// For the gateway called `id`, which serves names below `suffixes` for as long as
    /// `directives` let it believe that they are exported.
    pub fn new(id: Id, suffixes: Suffixes, outbound: Outbound, directives: Directives) -> Self {
        Self {
            id,
            suffixes,
            outbound,
            directives,
        }
    }

    /// Finds out where a client's name leads. What the control plane denies and what it never
    /// heard of look the same to the client.
    async fn discover(&self, target: &NamedTarget) -> Result<Discovered, Error> {
        let NamedTarget { name, port, client } = target;
        if client.id() == &self.id {
            return Err(Error::GatewayLoop(self.id.to_string()));
        }
        let refused = |why: &str| {
            tracing::info!(client = %client.id(), name, port, "refused: {why}");
            Error::GatewayDomainInvalid(format!("{name}:{port}"))
        };
        if !self.suffixes.contains(name) {
            return Err(refused("the name is of no domain this gateway serves"));
        }
        if self.directives.has_lapsed() {
            return Err(LAPSED);
        }
        let found = self.outbound.discover_name(name, *port).await?;
        found.ok_or_else(|| refused("no exported Service has this name and port"))
    }

    async fn http(
        self,
        target: NamedTarget,
        mut request: Request<Body>,
    ) -> Result<Response<Body>, Error> {
        if forwarded::has_passed(request.headers(), &self.id) {
            return Err(Error::GatewayLoop(self.id.to_string()));
        }
        let discovered = self.discover(&target).await?;
        let host = host(&target);
        let client = target.client.id();
        forwarded::append(request.headers_mut(), &self.id, client, &host);
        readdress(&mut request, &host)?;
        let directives = self.directives.clone();
        let response = tokio::select! {
            biased;
            answered = self.outbound.call(&discovered, request) => answered?,
            error = over(&discovered, &directives, GRACE) => return Err(error),
        };
        // The response may go on for as long as it likes, its Service may not.
        let over = async move { over(&discovered, &directives, GRACE).await };
        Ok(cut::until(response, over))
    }

    async fn tcp(self, target: NamedTarget, io: BoxIo) -> Result<(), Error> {
        let discovered = self.discover(&target).await?;
        tokio::select! {
            biased;
            served = self.outbound.forward(&discovered, io) => served,
            error = over(&discovered, &self.directives, SETTLED) => Err(error),
        }
    }
}

/// Completes when what was discovered must not be served any more: it was withdrawn, or nobody
/// knows whether it was.
async fn over(discovered: &Discovered, directives: &Directives, settled: Duration) -> Error {
    tokio::select! {
        () = discovered.withdrawn(settled) => Error::Unexported(discovered.name().to_owned()),
        () = directives.lapsed() => LAPSED,
    }
}

impl Gateway for Router {
    fn http(
        &self,
        target: NamedTarget,
        request: Request<Body>,
    ) -> BoxFuture<'static, Result<Response<Body>, Error>> {
        Box::pin(self.clone().http(target, request))
    }

    fn tcp(&self, target: NamedTarget, io: BoxIo) -> BoxFuture<'static, Result<(), Error>> {
        Box::pin(self.clone().tcp(target, io))
    }
}

/// The authority of a target, as its clients would write it.
fn host(target: &NamedTarget) -> String {
    match target.port {
        80 => target.name.clone(),
        port => format!("{}:{port}", target.name),
    }
}

/// The name that was looked up is the name the application sees: a client cannot be admitted for
/// one service and address another behind it.
fn readdress(request: &mut Request<Body>, host: &str) -> Result<(), Error> {
    let bad = || Error::BadRequest("the name in the transport header is no host");
    let http1 = request.version() < Version::HTTP_2;
    if !http1 || request.uri().authority().is_some() {
        let authority = Authority::try_from(host).map_err(|_| bad())?;
        orig_proto::set_authority(request, authority);
    }
    let headers = request.headers_mut();
    match http1 {
        true => {
            let host = HeaderValue::from_str(host).map_err(|_| bad())?;
            headers.insert(header::HOST, host);
        }
        false => drop(headers.remove(header::HOST)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(version: Version, uri: &str) -> Request<Body> {
        let mut request = Request::new(Body::empty());
        *request.version_mut() = version;
        *request.uri_mut() = uri.parse().unwrap();
        let liar = HeaderValue::from_static("admin.internal");
        request.headers_mut().insert(header::HOST, liar);
        request
    }

    #[test]
    fn the_application_sees_the_name_that_was_looked_up() {
        let mut origin = request(Version::HTTP_11, "/a?b");
        readdress(&mut origin, "web.default:8080").unwrap();
        assert_eq!(origin.uri(), "/a?b", "relative form stays relative");
        assert_eq!(origin.headers()[header::HOST], "web.default:8080");

        let mut absolute = request(Version::HTTP_11, "http://admin.internal/a");
        readdress(&mut absolute, "web.default").unwrap();
        assert_eq!(absolute.uri(), "http://web.default/a");
        assert_eq!(absolute.headers()[header::HOST], "web.default");

        let mut h2 = request(Version::HTTP_2, "http://admin.internal/a");
        readdress(&mut h2, "web.default").unwrap();
        assert_eq!(h2.uri(), "http://web.default/a");
        assert!(!h2.headers().contains_key(header::HOST));
    }
}
