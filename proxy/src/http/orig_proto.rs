//! HTTP/1 carried over HTTP/2 between proxies: the client side upgrades, the server side
//! restores. The header that says so never reaches an application.

use http::{Request, Response};

/// What the client side must remember until the response.
#[derive(Clone, Copy, Debug)]
pub struct Upgraded {
    /// The version the application speaks.
    pub version: http::Version,
}

/// Client side: makes an HTTP/1 request (not an upgrade) an HTTP/2 one, noting its version.
pub fn upgrade_request<B>(_request: &mut Request<B>) -> Upgraded {
    todo!()
}

/// Client side: gives the response the version its application expects.
pub fn restore_response<B>(_upgraded: Upgraded, _response: &mut Response<B>) {
    todo!()
}

/// Server side: gives the request its original version back, if it carries one.
pub fn downgrade_request<B>(_request: &mut Request<B>) -> Option<Upgraded> {
    todo!()
}

/// Server side: notes the application's version on the response and makes it HTTP/2 again.
pub fn upgrade_response<B>(_upgraded: Upgraded, _response: &mut Response<B>) {
    todo!()
}

/// In a request's extensions: its target was absolute (`GET http://host/path`).
#[derive(Clone, Copy, Debug)]
pub struct AbsoluteForm;
