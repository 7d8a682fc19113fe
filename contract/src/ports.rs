//! Port numbers fixed by the public API.

/// The sidecar's outbound listener; in the `loopback` network also an explicit HTTP/CONNECT proxy.
pub const OUTBOUND: u16 = 4140;
/// The sidecar's inbound listener; connections addressed to it carry a transport header.
pub const INBOUND: u16 = 4143;
/// The sidecar's control (tap) listener.
pub const CONTROL: u16 = 4190;
/// The sidecar's admin listener; a gateway answers its probe here.
pub const ADMIN: u16 = 4191;

/// `Identity.Certify`.
pub const IDENTITY: u16 = 8080;
/// `Destination.Get` and `GetProfile`.
pub const DESTINATION: u16 = 8086;
/// `InboundServerPolicies` and `OutboundPolicies`.
pub const POLICY: u16 = 8090;

/// The admission webhooks.
pub const WEBHOOK: u16 = 8443;

/// Admin of the identity process.
pub const IDENTITY_ADMIN: u16 = 9990;
/// Admin of the destination process.
pub const DESTINATION_ADMIN: u16 = 9996;
/// Admin of the mirror process.
pub const MIRROR_ADMIN: u16 = 9999;
/// Admin of the injector process.
pub const INJECTOR_ADMIN: u16 = 9995;
