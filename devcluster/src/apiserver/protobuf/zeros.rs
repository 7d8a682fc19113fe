//! What Go programs leave out of the JSON of a built-in kind: texts, numbers and flags that are
//! zero, lists and maps that are empty, where a type does not tell that from nothing
//! (`spec.paused: false`). kube-apiserver reads objects into such types, so what it answers does
//! not have them either.

use serde_json::{Map, Value};

use super::catalogue::{Field, Kind, Many, Message, catalogue};
use super::message::is_nothing;

/// Leaves such zeros out of an object of a kind; of a kind that is not built in, nothing.
pub fn leave_out_zeros(api_version: &str, kind: &str, object: &mut Value) {
    if let (Some(message), Value::Object(map)) = (catalogue().root(api_version, kind), object) {
        of_message(message, map);
    }
}

fn of_message(message: &Message, map: &mut Map<String, Value>) {
    for field in message.values() {
        let Some(name) = field.name else {
            // Its fields are here.
            if let Kind::Message(inner) = field.kind
                && let Some(inner) = catalogue().message(inner)
            {
                of_message(inner, map);
            }
            continue;
        };
        match map.get_mut(name) {
            Some(value) if is_zero(field, value) => {
                map.remove(name);
            }
            Some(value) => inside(field, value),
            None => {}
        }
    }
}

fn is_zero(field: &Field, value: &Value) -> bool {
    let plain = matches!(
        field.kind,
        Kind::Text | Kind::Bool | Kind::Int | Kind::Double
    );
    let zero = match (field.many, value) {
        (Many::One, value) => plain && is_nothing(value, field.kind),
        (Many::List, Value::Array(list)) => list.is_empty(),
        (Many::Map, Value::Object(map)) => map.is_empty(),
        _ => false,
    };
    zero && !field.show_zero
}

fn inside(field: &Field, value: &mut Value) {
    let (Kind::Message(name) | Kind::Union(name)) = field.kind else {
        return;
    };
    let Some(message) = catalogue().message(name) else {
        return;
    };
    // The JSON of a union is that of what it holds; what holds fields is its only message.
    let message = match field.kind {
        Kind::Union(_) => message.values().find_map(|field| match field.kind {
            Kind::Message(name) => catalogue().message(name),
            _ => None,
        }),
        _ => Some(message),
    };
    let Some(message) = message else { return };
    let of_value = |value: &mut Value| {
        if let Value::Object(map) = value {
            of_message(message, map);
        }
    };
    match (field.many, value) {
        (Many::One, value) => of_value(value),
        (Many::List, Value::Array(list)) => list.iter_mut().for_each(of_value),
        (Many::Map, Value::Object(map)) => map.values_mut().for_each(of_value),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn left(version: &str, kind: &str, mut object: Value) -> Value {
        leave_out_zeros(version, kind, &mut object);
        object
    }

    #[test]
    fn zeros_that_say_nothing_are_left_out_and_the_others_stay() {
        let deployment = json!({
            "metadata": {"name": "web", "generateName": "", "generation": 0, "labels": {},
                "ownerReferences": []},
            "spec": {
                "paused": false, "minReadySeconds": 0, "replicas": 0,
                "selector": {"matchLabels": {}}, "strategy": {"rollingUpdate": {"maxSurge": 0}},
                "template": {"spec": {"hostNetwork": false, "terminationGracePeriodSeconds": 0,
                    "containers": [{"name": "", "image": "", "stdin": false,
                        "env": [{"name": "A", "value": ""}],
                        "securityContext": {"privileged": false},
                        "livenessProbe": {"httpGet": {"port": 0}, "initialDelaySeconds": 0}}],
                    "volumes": [{"name": "v", "emptyDir": {"medium": ""}}]}},
            },
        });
        let expected = json!({
            "metadata": {"name": "web"},
            "spec": {
                "replicas": 0,
                "selector": {}, "strategy": {"rollingUpdate": {"maxSurge": 0}},
                "template": {"spec": {"terminationGracePeriodSeconds": 0,
                    "containers": [{"name": "", "env": [{"name": "A"}],
                        "securityContext": {"privileged": false},
                        "livenessProbe": {"httpGet": {"port": 0}}}],
                    "volumes": [{"name": "v", "emptyDir": {}}]}},
            },
        });
        assert_eq!(left("apps/v1", "Deployment", deployment), expected);
    }

    #[test]
    fn what_is_always_shown_stays_when_it_is_empty() {
        let role = json!({"metadata": {"name": "r"}, "rules": [{"verbs": [], "resources": []}]});
        let expected = json!({"metadata": {"name": "r"}, "rules": [{"verbs": []}]});
        let version = "rbac.authorization.k8s.io/v1";
        assert_eq!(left(version, "Role", role), expected);
        let empty = json!({"metadata": {}, "rules": []});
        assert_eq!(left(version, "Role", empty.clone()), empty);
    }

    #[test]
    fn what_has_no_types_stays_as_it_is() {
        let config = json!({"data": {"empty": ""}, "immutable": false});
        assert_eq!(left("v1", "ConfigMap", config.clone()), config);
        let thing = json!({"spec": {"a": false, "b": 0, "c": ""}});
        assert_eq!(left("example.com/v1", "Thing", thing.clone()), thing);
        let schema = |more: Value| {
            json!({"spec": {"versions": [{"name": "v1", "served": false, "schema":
                {"openAPIV3Schema": {"properties": {"a": more}}}}]}})
        };
        let given = schema(json!({"default": false, "nullable": false, "minimum": 0,
            "items": {"format": ""}, "additionalProperties": false}));
        let expected = schema(json!({"default": false, "minimum": 0,
            "items": {}, "additionalProperties": false}));
        let version = "apiextensions.k8s.io/v1";
        assert_eq!(left(version, "CustomResourceDefinition", given), expected);
    }
}
