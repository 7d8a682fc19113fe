//! What each column of a built-in kind shows of an object.

use crate::apiserver::resources::ResourceDef;
use crate::apiserver::tables::{age, pods};
use serde_json::{Value, json};

/// The cells of a row, one for each heading.
pub(in crate::apiserver::tables) fn cells(def: &ResourceDef, obj: &Value) -> Vec<Value> {
    let name = obj["metadata"]["name"].clone();
    let age = json!(age::since(obj["metadata"]["creationTimestamp"].as_str()));
    match def.kind.as_str() {
        "Pod" => pod(name, age, obj),
        "Service" => service(name, age, obj),
        "Deployment" => deployment(name, age, obj),
        "ReplicaSet" => replica_set(name, age, obj),
        "StatefulSet" => {
            let wanted = obj["spec"]["replicas"].as_u64().unwrap_or(1);
            let ready = count(&obj["status"]["readyReplicas"]);
            let [names, images, _] = template(obj);
            vec![name, json!(format!("{ready}/{wanted}")), age, names, images]
        }
        "EndpointSlice" => endpoint_slice(name, age, obj),
        "Node" => node(name, age, obj),
        "Namespace" => vec![name, obj["status"]["phase"].clone(), age],
        "Secret" => vec![name, obj["type"].clone(), json!(size(&obj["data"])), age],
        "ConfigMap" => {
            let data = size(&obj["data"]) + size(&obj["binaryData"]);
            vec![name, json!(data), age]
        }
        "ServiceAccount" => vec![name, json!(size(&obj["secrets"])), age],
        "Event" => event(name, obj),
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => {
            vec![name, json!(size(&obj["webhooks"])), age]
        }
        "PodDisruptionBudget" => budget(name, age, obj),
        "Lease" => vec![name, obj["spec"]["holderIdentity"].clone(), age],
        "CustomResourceDefinition" | "Role" | "ClusterRole" => {
            vec![name, obj["metadata"]["creationTimestamp"].clone()]
        }
        "RoleBinding" | "ClusterRoleBinding" => binding(name, age, obj),
        _ => vec![name, age],
    }
}

fn budget(name: Value, age: Value, obj: &Value) -> Vec<Value> {
    let limit = |field: &str| match &obj["spec"][field] {
        Value::Null => "N/A".to_owned(),
        Value::String(percent) => percent.clone(),
        count => count.to_string(),
    };
    vec![
        name,
        json!(limit("minAvailable")),
        json!(limit("maxUnavailable")),
        json!(obj["status"]["disruptionsAllowed"].as_i64().unwrap_or(0)),
        age,
    ]
}

fn size(value: &Value) -> usize {
    match value {
        Value::Object(map) => map.len(),
        Value::Array(list) => list.len(),
        _ => 0,
    }
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> Option<&str> {
    value.as_str().filter(|t| !t.is_empty())
}

/// Text, or what stands for its absence.
fn or_none(value: &Value) -> Value {
    json!(text(value).unwrap_or("<none>"))
}

fn joined(parts: Vec<String>) -> Value {
    if parts.is_empty() {
        json!("<none>")
    } else {
        json!(parts.join(","))
    }
}

fn pod(name: Value, age: Value, obj: &Value) -> Vec<Value> {
    let summary = pods::summary(obj);
    let gates = list(&obj["spec"], "readinessGates");
    let gates = if gates.is_empty() {
        json!("<none>")
    } else {
        let holds = |gate: &&Value| {
            list(&obj["status"], "conditions")
                .iter()
                .any(|c| c["type"] == gate["conditionType"] && c["status"] == "True")
        };
        json!(format!(
            "{}/{}",
            gates.iter().filter(holds).count(),
            gates.len()
        ))
    };
    vec![
        name,
        json!(summary.ready),
        json!(summary.status),
        json!(summary.restarts),
        age,
        or_none(&obj["status"]["podIP"]),
        or_none(&obj["spec"]["nodeName"]),
        or_none(&obj["status"]["nominatedNodeName"]),
        gates,
    ]
}

fn service(name: Value, age: Value, obj: &Value) -> Vec<Value> {
    let spec = &obj["spec"];
    let kind = text(&spec["type"]).unwrap_or("ClusterIP");
    let port = |p: &Value| {
        let protocol = text(&p["protocol"]).unwrap_or("TCP");
        match p["nodePort"].as_u64().filter(|n| *n > 0) {
            Some(node) => format!("{}:{node}/{protocol}", p["port"]),
            None => format!("{}/{protocol}", p["port"]),
        }
    };
    let cluster_ip = if kind == "ExternalName" {
        &Value::Null
    } else {
        &spec["clusterIP"]
    };
    vec![
        name,
        json!(kind),
        or_none(cluster_ip),
        external_ip(kind, obj),
        joined(list(spec, "ports").iter().map(port).collect()),
        age,
        pairs(&spec["selector"]),
    ]
}

fn external_ip(kind: &str, obj: &Value) -> Value {
    let mut ips: Vec<String> = Vec::new();
    if kind == "ExternalName" {
        return or_none(&obj["spec"]["externalName"]);
    }
    for ingress in list(&obj["status"]["loadBalancer"], "ingress") {
        ips.extend(
            text(&ingress["ip"])
                .or(text(&ingress["hostname"]))
                .map(str::to_owned),
        );
    }
    ips.extend(
        list(&obj["spec"], "externalIPs")
            .iter()
            .filter_map(text)
            .map(str::to_owned),
    );
    if ips.is_empty() && kind == "LoadBalancer" {
        return json!("<pending>");
    }
    joined(ips)
}

fn pairs(map: &Value) -> Value {
    let pair = |(k, v): (&String, &Value)| format!("{k}={}", v.as_str().unwrap_or_default());
    joined(map.as_object().into_iter().flatten().map(pair).collect())
}

/// Containers, images and selector of something with a pod template.
fn template(obj: &Value) -> [Value; 3] {
    let containers = list(&obj["spec"]["template"]["spec"], "containers");
    let all = |key: &str| {
        let parts = containers.iter().filter_map(|c| c[key].as_str());
        json!(parts.collect::<Vec<_>>().join(","))
    };
    [
        all("name"),
        all("image"),
        selector(&obj["spec"]["selector"]),
    ]
}

fn selector(selector: &Value) -> Value {
    let mut parts: Vec<String> = Vec::new();
    for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
        parts.push(format!("{key}={}", value.as_str().unwrap_or_default()));
    }
    for rule in list(selector, "matchExpressions") {
        let values: Vec<&str> = list(rule, "values")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let (key, values) = (rule["key"].as_str().unwrap_or_default(), values.join(","));
        parts.push(match rule["operator"].as_str().unwrap_or_default() {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    joined(parts)
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn deployment(name: Value, age: Value, obj: &Value) -> Vec<Value> {
    let status = &obj["status"];
    let wanted = obj["spec"]["replicas"].as_u64().unwrap_or(1);
    let mut out = vec![
        name,
        json!(format!("{}/{wanted}", count(&status["readyReplicas"]))),
        json!(count(&status["updatedReplicas"]).to_string()),
        json!(count(&status["availableReplicas"]).to_string()),
        age,
    ];
    out.extend(template(obj));
    out
}

fn replica_set(name: Value, age: Value, obj: &Value) -> Vec<Value> {
    let status = &obj["status"];
    let mut out = vec![
        name,
        json!(obj["spec"]["replicas"].as_u64().unwrap_or(1)),
        json!(count(&status["replicas"])),
        json!(count(&status["readyReplicas"])),
        age,
    ];
    out.extend(template(obj));
    out
}

/// At most three, and how many more.
fn some_of(parts: Vec<String>) -> Value {
    if parts.len() > 3 {
        return json!(format!(
            "{} + {} more...",
            parts[..3].join(","),
            parts.len() - 3
        ));
    }
    if parts.is_empty() {
        json!("<unset>")
    } else {
        json!(parts.join(","))
    }
}

fn endpoint_slice(name: Value, age: Value, obj: &Value) -> Vec<Value> {
    let ports = list(obj, "ports").iter().map(|p| match p["port"].as_u64() {
        Some(port) => port.to_string(),
        None => text(&p["name"]).unwrap_or("*").to_owned(),
    });
    let endpoints = list(obj, "endpoints").iter();
    let addresses = endpoints
        .filter_map(|e| e["addresses"][0].as_str())
        .map(str::to_owned);
    vec![
        name,
        obj["addressType"].clone(),
        some_of(ports.collect()),
        some_of(addresses.collect()),
        age,
    ]
}

fn node(name: Value, age: Value, obj: &Value) -> Vec<Value> {
    let status = &obj["status"];
    let ready = list(status, "conditions")
        .iter()
        .find(|c| c["type"] == "Ready");
    let mut state = match ready.map(|c| c["status"] == "True") {
        Some(true) => "Ready".to_owned(),
        Some(false) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if obj["spec"]["unschedulable"] == true {
        state.push_str(",SchedulingDisabled");
    }
    let labels = obj["metadata"]["labels"].as_object();
    let role = |key: &String| {
        key.strip_prefix("node-role.kubernetes.io/")
            .map(str::to_owned)
    };
    let roles: Vec<String> = labels
        .into_iter()
        .flatten()
        .filter_map(|(k, _)| role(k))
        .collect();
    let address = |kind: &str| {
        let found = list(status, "addresses").iter().find(|a| a["type"] == kind);
        or_none(found.map_or(&Value::Null, |a| &a["address"]))
    };
    let info = &status["nodeInfo"];
    let known = |key: &str| json!(text(&info[key]).unwrap_or("<unknown>"));
    vec![
        name,
        json!(state),
        joined(roles),
        age,
        info["kubeletVersion"].clone(),
        address("InternalIP"),
        address("ExternalIP"),
        known("osImage"),
        known("kernelVersion"),
        known("containerRuntimeVersion"),
    ]
}

/// Either of the two event APIs.
fn event(name: Value, obj: &Value) -> Vec<Value> {
    let either = |a: &str, b: &str| if obj[a].is_null() { &obj[b] } else { &obj[a] };
    let about = either("involvedObject", "regarding");
    let kind = text(&about["kind"]).unwrap_or_default().to_lowercase();
    let object = format!("{kind}/{}", about["name"].as_str().unwrap_or_default());
    let source = either("source", "deprecatedSource");
    let component = text(&source["component"])
        .or_else(|| text(either("reportingComponent", "reportingController")))
        .unwrap_or_default();
    let source = match text(&source["host"]) {
        Some(host) => format!("{component}, {host}"),
        None => component.to_owned(),
    };
    let micro = text(&obj["eventTime"]);
    let first = text(either("firstTimestamp", "deprecatedFirstTimestamp")).or(micro);
    let last = text(&obj["series"]["lastObservedTime"])
        .or_else(|| text(either("lastTimestamp", "deprecatedLastTimestamp")))
        .or(first);
    let times = obj["series"]["count"].as_u64();
    let times = times
        .or_else(|| either("count", "deprecatedCount").as_u64())
        .unwrap_or(1);
    let message = text(either("message", "note")).unwrap_or_default().trim();
    vec![
        json!(age::since(last)),
        obj["type"].clone(),
        obj["reason"].clone(),
        json!(object),
        json!(text(&about["fieldPath"]).unwrap_or_default()),
        json!(source),
        json!(message),
        json!(age::since(first)),
        json!(times.to_string()),
        name,
    ]
}

fn binding(name: Value, age: Value, obj: &Value) -> Vec<Value> {
    let role = &obj["roleRef"];
    let role = format!(
        "{}/{}",
        role["kind"].as_str().unwrap_or_default(),
        role["name"].as_str().unwrap_or_default()
    );
    let subjects = |kind: &str| {
        let of_kind = list(obj, "subjects").iter().filter(|s| s["kind"] == kind);
        let names = of_kind.map(|s| match text(&s["namespace"]) {
            Some(ns) => format!("{ns}/{}", s["name"].as_str().unwrap_or_default()),
            None => s["name"].as_str().unwrap_or_default().to_owned(),
        });
        json!(names.collect::<Vec<_>>().join(", "))
    };
    vec![
        name,
        json!(role),
        age,
        subjects("User"),
        subjects("Group"),
        subjects("ServiceAccount"),
    ]
}
