//! A pod as it is known → what the API is told.

use serde_json::{Value, json};

use super::super::model::{Running, Waiting};
use super::*;

fn pod() -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
        "spec": {
            "initContainers": [{"name": "init", "image": "test"}],
            "containers": [
                {"name": "a", "image": "test", "readinessProbe": {"tcpSocket": {"port": 1}}},
                {"name": "b", "image": "test"}
            ]
        }
    }))
    .unwrap()
}

fn running(ready: bool) -> Record {
    let state = State::Running(Running {
        pid: 1,
        ticks: 1,
        since: 5000,
        stopping: None,
    });
    Record {
        attempt: 1,
        state,
        started: true,
        ready,
        ..Default::default()
    }
}

fn ended(code: i32, back_off: u32) -> Record {
    let ended = Ended {
        pid: 1,
        code,
        signal: None,
        started: 1000,
        finished: 2000,
        reason: if code == 0 {
            "Completed".into()
        } else {
            "Error".into()
        },
        message: String::new(),
    };
    Record {
        attempt: 3,
        state: State::Ended(ended),
        back_off,
        ..Default::default()
    }
}

fn tell(pod: &Pod, containers: &[(&str, Record)], initialized: bool) -> Value {
    let record = PodRecord {
        uid: "u".into(),
        namespace: "ns".into(),
        name: "p".into(),
        ip: Some(Ipv4Addr::new(127, 1, 0, 2)),
        initialized,
        containers: containers
            .iter()
            .map(|(n, r)| ((*n).to_owned(), r.clone()))
            .collect(),
        ..Default::default()
    };
    let want = plan::want(pod, &record, false, 0);
    let known = Known {
        pod,
        want: &want,
        record: &record,
        node_ip: Ipv4Addr::new(127, 1, 0, 1),
        previous: None,
        now: 9000,
    };
    serde_json::to_value(render(&known)).unwrap()
}

fn condition_of(status: &Value, type_: &str) -> String {
    let list = status["conditions"].as_array().unwrap();
    let found = list.iter().find(|c| c["type"] == type_).unwrap();
    found["status"].as_str().unwrap().to_owned()
}

#[test]
fn a_pod_is_ready_when_every_container_is() {
    let init = ("init", ended(0, 0));
    let half = tell(
        &pod(),
        &[init.clone(), ("a", running(false)), ("b", running(false))],
        true,
    );
    assert_eq!(half["phase"], "Running");
    assert_eq!(condition_of(&half, "Ready"), "False");
    assert_eq!(half["containerStatuses"][0]["ready"], false);
    // No readiness probe: running is ready.
    assert_eq!(half["containerStatuses"][1]["ready"], true);
    let full = tell(
        &pod(),
        &[init, ("a", running(true)), ("b", running(false))],
        true,
    );
    for type_ in OURS {
        assert_eq!(condition_of(&full, type_), "True", "{type_}");
    }
    assert_eq!(full["podIP"], "127.1.0.2");
    assert_eq!(full["hostIP"], "127.1.0.1");
    assert_eq!(
        full["initContainerStatuses"][0]["state"]["terminated"]["reason"],
        "Completed"
    );
}

#[test]
fn containers_wait_for_their_init_containers() {
    let status = tell(&pod(), &[("init", running(false))], false);
    assert_eq!(status["phase"], "Pending");
    assert_eq!(
        status["containerStatuses"][0]["state"]["waiting"]["reason"],
        "PodInitializing"
    );
    assert_eq!(condition_of(&status, "Initialized"), "False");
}

#[test]
fn a_crash_loop_shows_its_back_off_and_its_last_end() {
    let status = tell(
        &pod(),
        &[
            ("init", ended(0, 0)),
            ("a", ended(1, 2)),
            ("b", ended(1, 0)),
        ],
        true,
    );
    let a = &status["containerStatuses"][0];
    assert_eq!(a["state"]["waiting"]["reason"], "CrashLoopBackOff");
    assert!(
        a["state"]["waiting"]["message"]
            .as_str()
            .unwrap()
            .starts_with("back-off 2s")
    );
    assert_eq!(a["lastState"]["terminated"]["exitCode"], 1);
    assert_eq!(a["restartCount"], 2);
    // The first restart follows at once.
    assert_eq!(
        status["containerStatuses"][1]["state"]["terminated"]["reason"],
        "Error"
    );
}

#[test]
fn held_containers_show_how_they_ended() {
    let mut held = pod();
    held.metadata.annotations = Some(
        [(
            mesh_contract::annotations::HOLD_RESTARTS.to_owned(),
            "true".to_owned(),
        )]
        .into(),
    );
    let status = tell(
        &held,
        &[
            ("init", ended(0, 0)),
            ("a", ended(137, 3)),
            ("b", running(true)),
        ],
        true,
    );
    assert_eq!(
        status["containerStatuses"][0]["state"]["terminated"]["exitCode"],
        137
    );
    assert_eq!(condition_of(&status, "Ready"), "False");
}

#[test]
fn a_failed_start_says_why() {
    let waiting = Waiting {
        reason: "ErrImagePull".into(),
        message: "no".into(),
        ..Default::default()
    };
    let record = Record {
        state: State::Waiting(waiting),
        ..Default::default()
    };
    let status = tell(&pod(), &[("init", ended(0, 0)), ("a", record)], true);
    assert_eq!(status["phase"], "Pending");
    assert_eq!(
        status["containerStatuses"][0]["state"]["waiting"],
        json!({"reason": "ErrImagePull", "message": "no"})
    );
}

#[test]
fn readiness_gates_and_foreign_conditions_are_respected() {
    let mut gated = pod();
    gated.spec.as_mut().unwrap().readiness_gates =
        Some(serde_json::from_value(json!([{"conditionType": "x/y"}])).unwrap());
    let all = [
        ("init", ended(0, 0)),
        ("a", running(true)),
        ("b", running(true)),
    ];
    let closed = tell(&gated, &all, true);
    assert_eq!(condition_of(&closed, "Ready"), "False");
    assert_eq!(condition_of(&closed, "ContainersReady"), "True");
    gated.status = serde_json::from_value(json!({"conditions": [
        {"type": "x/y", "status": "True"},
        {"type": "Ready", "status": "True", "lastTransitionTime": "1970-01-01T00:00:01Z"}]}))
    .unwrap();
    let open = tell(&gated, &all, true);
    assert_eq!(condition_of(&open, "Ready"), "True");
    assert_eq!(condition_of(&open, "x/y"), "True");
    let ready = &open["conditions"].as_array().unwrap()[3];
    assert_eq!(ready["lastTransitionTime"], "1970-01-01T00:00:01Z");
}
