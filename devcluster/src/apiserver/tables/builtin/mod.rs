//! Headings and cells of the built-in kinds, as kubectl's users know them.

mod cells;

pub(super) use cells::cells;

use super::Heading;
use crate::apiserver::resources::ResourceDef;

/// Name, type, priority.
type Column = (&'static str, &'static str, i64);

const NAME: Column = ("Name", "string", 0);
const AGE: Column = ("Age", "string", 0);

fn columns(def: &ResourceDef) -> &'static [Column] {
    match def.kind.as_str() {
        "Pod" => &[
            NAME,
            ("Ready", "string", 0),
            ("Status", "string", 0),
            ("Restarts", "string", 0),
            AGE,
            ("IP", "string", 1),
            ("Node", "string", 1),
            ("Nominated Node", "string", 1),
            ("Readiness Gates", "string", 1),
        ],
        "Service" => &[
            NAME,
            ("Type", "string", 0),
            ("Cluster-IP", "string", 0),
            ("External-IP", "string", 0),
            ("Port(s)", "string", 0),
            AGE,
            ("Selector", "string", 1),
        ],
        "Deployment" => &[
            NAME,
            ("Ready", "string", 0),
            ("Up-to-date", "string", 0),
            ("Available", "string", 0),
            AGE,
            ("Containers", "string", 1),
            ("Images", "string", 1),
            ("Selector", "string", 1),
        ],
        "ReplicaSet" => &[
            NAME,
            ("Desired", "integer", 0),
            ("Current", "integer", 0),
            ("Ready", "integer", 0),
            AGE,
            ("Containers", "string", 1),
            ("Images", "string", 1),
            ("Selector", "string", 1),
        ],
        "StatefulSet" => &[
            NAME,
            ("Ready", "string", 0),
            AGE,
            ("Containers", "string", 1),
            ("Images", "string", 1),
        ],
        "EndpointSlice" => &[
            NAME,
            ("AddressType", "string", 0),
            ("Ports", "string", 0),
            ("Endpoints", "string", 0),
            AGE,
        ],
        "Node" => &[
            NAME,
            ("Status", "string", 0),
            ("Roles", "string", 0),
            AGE,
            ("Version", "string", 0),
            ("Internal-IP", "string", 1),
            ("External-IP", "string", 1),
            ("OS-Image", "string", 1),
            ("Kernel-Version", "string", 1),
            ("Container-Runtime", "string", 1),
        ],
        "Namespace" => &[NAME, ("Status", "string", 0), AGE],
        "Secret" => &[NAME, ("Type", "string", 0), ("Data", "string", 0), AGE],
        "ConfigMap" => &[NAME, ("Data", "string", 0), AGE],
        "ServiceAccount" => &[NAME, ("Secrets", "string", 0), AGE],
        "Event" => &[
            ("Last Seen", "string", 0),
            ("Type", "string", 0),
            ("Reason", "string", 0),
            ("Object", "string", 0),
            ("Subobject", "string", 1),
            ("Source", "string", 1),
            ("Message", "string", 0),
            ("First Seen", "string", 1),
            ("Count", "string", 1),
            ("Name", "string", 1),
        ],
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => {
            &[NAME, ("Webhooks", "integer", 0), AGE]
        }
        "PodDisruptionBudget" => &[
            NAME,
            ("Min Available", "string", 0),
            ("Max Unavailable", "string", 0),
            ("Allowed Disruptions", "integer", 0),
            AGE,
        ],
        "Lease" => &[NAME, ("Holder", "string", 0), AGE],
        "CustomResourceDefinition" | "Role" | "ClusterRole" => &[NAME, ("Created At", "date", 0)],
        "RoleBinding" | "ClusterRoleBinding" => &[
            NAME,
            ("Role", "string", 0),
            AGE,
            ("Users", "string", 1),
            ("Groups", "string", 1),
            ("ServiceAccounts", "string", 1),
        ],
        _ => &[NAME, AGE],
    }
}

pub(super) fn headings(def: &ResourceDef) -> Vec<Heading> {
    columns(def)
        .iter()
        .map(|(name, kind, priority)| Heading::new(name, kind, *priority))
        .collect()
}
