//! The cluster's entrance: proxy outbound mounted behind proxy inbound; the lean `mesh-proxy` binary.
