//! Claims about a sidecar as its neighbours see it: bytes in, bytes out, through one sidecar and
//! through two.

mod answers;
mod foreign;
mod grpc;
mod hints;
pub(crate) mod hostile;
mod http1;
mod http2;
mod telemetry;
mod values;
mod windows;
mod wire;
