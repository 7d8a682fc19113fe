//! Service `kubernetes` in namespace `default`, by which pods know the API server.

use crate::status::ApiError;
use crate::store::{ResourceKey, Store};
use ipnet::Ipv4Net;
use serde_json::json;
use std::net::Ipv4Addr;

const NAME: &str = "kubernetes";

/// Makes it, at the first address of the range, unless it is there.
pub(super) fn ensure(store: &Store, range: Ipv4Net, port: u16) -> Result<(), ApiError> {
    let ip = Ipv4Addr::from(u32::from(range.network()).saturating_add(1)).to_string();
    let key = ResourceKey::core("services");
    if store.get(&key, Some("default"), NAME).is_some() {
        return Ok(());
    }
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": NAME, "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {"type": "ClusterIP", "clusterIP": ip, "clusterIPs": [ip],
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
            "internalTrafficPolicy": "Cluster", "sessionAffinity": "None",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}]},
        "status": {"loadBalancer": {}},
    });
    store.create(&key, service).map(drop)
}
