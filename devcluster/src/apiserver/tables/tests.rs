use super::*;
use crate::apiserver::resources::{Registry, VersionDef};

fn cells(plural: &str, obj: Value) -> Vec<String> {
    let registry = Registry::builtin();
    let def = registry
        .all()
        .into_iter()
        .find(|d| d.plural == plural)
        .unwrap();
    let shown = |v: Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    assert_eq!(
        headings_of(&def, "v1").len(),
        cells_of(&def, "v1", &obj).len()
    );
    cells_of(&def, "v1", &obj).into_iter().map(shown).collect()
}

#[test]
fn a_crash_looping_pod_says_so() {
    let pod = json!({"metadata": {"name": "x"}, "spec": {"containers": [{}, {}]},
        "status": {"phase": "Running", "podIP": "127.0.0.9", "containerStatuses": [
            {"ready": true, "restartCount": 0, "state": {"running": {}}},
            {"ready": false, "restartCount": 2,
             "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}});
    let row = cells("pods", pod);
    assert_eq!(row[..4], ["x", "1/2", "CrashLoopBackOff", "2"]);
    assert_eq!(row[5], "127.0.0.9");
}

#[test]
fn a_pod_being_initialised_or_deleted_says_so() {
    let mut pod = json!({"metadata": {"name": "x"},
        "spec": {"containers": [{}], "initContainers": [{"name": "i"}]},
        "status": {"phase": "Pending", "initContainerStatuses": [
            {"name": "i", "state": {"running": {}}}]}});
    assert_eq!(cells("pods", pod.clone())[2], "Init:0/1");
    pod["metadata"]["deletionTimestamp"] = json!("2024-01-01T00:00:00Z");
    assert_eq!(cells("pods", pod)[2], "Terminating");
}

#[test]
fn services_show_addresses_and_ports() {
    let service = json!({"metadata": {"name": "web"}, "spec": {"type": "LoadBalancer",
        "clusterIP": "10.96.0.7", "selector": {"app": "web"},
        "ports": [{"port": 80, "protocol": "TCP"}, {"port": 81, "nodePort": 30001}]}});
    let row = cells("services", service);
    assert_eq!(
        row[1..5],
        [
            "LoadBalancer",
            "10.96.0.7",
            "<pending>",
            "80/TCP,81:30001/TCP"
        ]
    );
    assert_eq!(row[6], "app=web");
}

#[test]
fn ages_lose_units_as_they_grow() {
    let cases = [
        (5, "5s"),
        (119, "119s"),
        (125, "2m5s"),
        (600, "10m"),
        (3 * 3600, "3h"),
        (3600 * 7 + 120, "7h2m"),
        (3600 * 30, "30h"),
        (86_400 * 5 + 3600, "5d1h"),
        (86_400 * 9, "9d"),
        (86_400 * 800, "2y70d"),
        (-5, "<invalid>"),
    ];
    for (seconds, text) in cases {
        assert_eq!(age::spelled(seconds), text);
    }
}

#[test]
fn columns_of_custom_resources_come_from_their_paths() {
    let column = |name: &str, kind: &str, path: &str| Column {
        name: name.into(),
        r#type: kind.into(),
        json_path: path.into(),
        ..Column::default()
    };
    let columns = vec![
        column(
            "Ready",
            "string",
            r#".status.conditions[?(@.type=="Ready")].status"#,
        ),
        column("Count", "integer", ".spec.count"),
        column("Label", "string", r".metadata.labels.a\.b/c"),
        column("First", "string", ".spec.list[0]['k']"),
        column("Gone", "string", ".spec.gone.x"),
    ];
    let version = VersionDef {
        name: "v1".into(),
        served: true,
        columns,
        ..VersionDef::default()
    };
    let def = ResourceDef {
        custom: true,
        versions: vec![version],
        ..ResourceDef::default()
    };
    let obj = json!({"metadata": {"name": "x", "labels": {"a.b/c": "l"}},
        "spec": {"count": 3, "list": [{"k": "first"}]},
        "status": {"conditions": [{"type": "A", "status": "no"}, {"type": "Ready", "status": "True"}]}});
    let expected = json!(["x", "True", 3, "l", "first", null]);
    assert_eq!(Value::Array(cells_of(&def, "v1", &obj)), expected);
}
