//! One request and its response at an endpoint: in the version it understands best, addressed as it
//! wants to be, counted and judged.

use http::{HeaderValue, Request, Response, Version, header};
use mesh_contract::headers::DST_CANONICAL;
use tokio::time::Instant;

use super::{
    Endpoint,
    judge::{self, Verdict},
};
use crate::{
    Error,
    http::{
        Body,
        client::{Failed, Reuse, Stage, Stream},
        client_fault::ClientFault,
        headers::is_grpc,
        orig_proto,
        upgrade::is_upgrade,
    },
    metrics::StreamMetrics,
};

impl Endpoint {
    /// Sends one request, in the version the endpoint understands best, and gives the response
    /// the version the request came in. It is counted as `backend`'s, too; `client` is its body.
    pub async fn send(
        &self,
        mut request: Request<Body>,
        backend: &StreamMetrics,
        client: &ClientFault,
    ) -> Result<Response<Body>, Box<Failed>> {
        let pending = self.begin();
        let waiting = self.load.wait(Instant::now());
        if !self.local {
            self.readdress(&mut request);
        }
        if request.version() == Version::HTTP_2 {
            orig_proto::name(&mut request, self.addr);
        }
        let exchange = self.http.request(is_grpc(&request));
        let exchange = exchange.counted_as(Some(backend), client);
        let watched = self.watch(&mut request);
        let sent = if is_upgrade(&request) {
            self.client.send_h1(request, Reuse::Single).await.map(alone)
        } else if request.version() == Version::HTTP_2 {
            self.client.send_h2(request).await.map(shared)
        } else if self.speaks_h2() && orig_proto::can_upgrade(&request) {
            self.send_upgraded(request).await.map(shared)
        } else {
            let reuse = Reuse::of(&request);
            self.client.send_h1(request, reuse).await.map(alone)
        };
        let now = Instant::now();
        let took = waiting.over(now);
        match sent {
            Ok((response, stream)) => {
                let verdict = Verdict::of(&response);
                match verdict {
                    Verdict::Failure(hint) => {
                        self.load.record_failure(now, took, hint);
                    }
                    Verdict::Success | Verdict::Later => self.load.record(now, took),
                }
                let response = exchange.response(pending.on(stream).until_end_of(response));
                let response = match watched {
                    Some(watched) => watched.response(response),
                    None => response,
                };
                Ok(match self.judged && verdict == Verdict::Later {
                    true => judge::at_end(response, self.health.clone()),
                    false => response,
                })
            }
            Err(failed) => {
                if failed.stage != Stage::Connect {
                    self.load.record_peak(now, took);
                }
                exchange.error(&failed.error);
                if let Some(watched) = watched {
                    watched.failed(&failed.error);
                }
                Err(failed)
            }
        }
    }

    async fn send_upgraded(
        &self,
        mut request: Request<Body>,
    ) -> Result<(Response<Body>, Stream), Box<Failed>> {
        let upgraded = orig_proto::upgrade_request(&mut request);
        match self.client.send_h2(request).await {
            Ok((mut response, stream)) => {
                orig_proto::restore_response(upgraded, &mut response);
                Ok((response, stream))
            }
            Err(mut failed) => {
                if let Error::Http2(error) = failed.error {
                    failed.error = Error::Downgraded(error);
                }
                Err(failed)
            }
        }
    }

    /// A gateway is asked for the name it knows, and for nothing else.
    fn readdress(&self, request: &mut Request<Body>) {
        let Some(authority) = &self.metadata.authority else {
            return;
        };
        let http1 = request.version() < Version::HTTP_2;
        let headers = request.headers_mut();
        headers.remove(DST_CANONICAL);
        headers.remove(header::HOST);
        if http1
            && request.uri().authority().is_none()
            && let Ok(host) = HeaderValue::from_str(authority.uri.as_str())
        {
            // Origin form: the name is in Host, from which an upgrade takes it.
            request.headers_mut().insert(header::HOST, host);
        } else {
            orig_proto::set_authority(request, authority.uri.clone());
        }
    }
}

/// A response on a connection of its own.
fn alone(response: Response<Body>) -> (Response<Body>, Option<Stream>) {
    (response, None)
}

/// A response on a connection that others use as well.
fn shared((response, stream): (Response<Body>, Stream)) -> (Response<Body>, Option<Stream>) {
    (response, Some(stream))
}
