//! What a port speaks, as far as anybody said so.

use crate::index::{ObjectRef, Pod, Reader, Service};
use mesh_api::policy::ProxyProtocol;
use std::sync::Arc;

/// What a port of a Service speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Protocol {
    /// To be found out for each connection.
    Detect,
    /// Bytes.
    Opaque,
    /// HTTP/1.
    Http1,
    /// HTTP/2.
    Http2,
    /// gRPC.
    Grpc,
}

impl Protocol {
    /// By the opaque-ports annotations and the port's `appProtocol`.
    pub(super) fn of_service(
        reader: &Reader<'_>,
        key: &ObjectRef,
        service: &Service,
        port: u16,
    ) -> Self {
        let namespace = reader.namespace(&key.namespace);
        let opaque_ports = service
            .opaque_ports
            .as_ref()
            .or_else(|| namespace?.opaque_ports.as_ref())
            .unwrap_or(&reader.config.opaque_ports);
        if opaque_ports.contains(port) {
            return Self::Opaque;
        }
        let declared = service.port(port).and_then(|p| p.app_protocol.as_deref());
        match declared {
            Some("http" | "kubernetes.io/ws") => Self::Http1,
            Some("http2" | "kubernetes.io/h2c") => Self::Http2,
            Some("grpc") => Self::Grpc,
            // The application's own TLS is bytes to us.
            Some("linkerd.io/opaque" | "linkerd.io/tls" | "tcp" | "tls" | "https") => Self::Opaque,
            Some("kubernetes.io/wss") => Self::Opaque,
            Some(_) | None => Self::Detect,
        }
    }
}

/// Whether a port of a pod takes bytes: by its Server if that says, else by annotation.
pub(super) fn pod_port_is_opaque(
    reader: &Reader<'_>,
    namespace: &Arc<str>,
    pod: &Pod,
    port: u16,
) -> bool {
    let server = reader.server_for(namespace, pod, port);
    match server.map(|(_, server)| server.protocol) {
        Some(ProxyProtocol::Opaque) => true,
        Some(ProxyProtocol::Unknown) | None => annotated_opaque(reader, namespace, pod, port),
        Some(_) => false,
    }
}

/// Whether the annotations of a pod, else its namespace's, else the default, call a port opaque.
pub(super) fn annotated_opaque(
    reader: &Reader<'_>,
    namespace: &Arc<str>,
    pod: &Pod,
    port: u16,
) -> bool {
    let namespace = reader.namespace(namespace);
    pod.opaque_ports
        .as_ref()
        .or_else(|| namespace?.opaque_ports.as_ref())
        .unwrap_or(&reader.config.opaque_ports)
        .contains(port)
}
