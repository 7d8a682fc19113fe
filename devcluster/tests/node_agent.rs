//! Claims about the node agent, with real processes: the pods are shell scripts.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests; clippy.toml reaches unit tests only"
)]

mod node_agent_world;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Event, Node, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::{ListParams, LogParams, PostParams};
use mesh_contract::annotations::HOLD_RESTARTS;
use node_agent_world::{World, be_the_agent, eventually, is_alive, is_ready, kill, shell};
use serde_json::{Value, json};

const SLEEP: &str = "while :; do sleep 1; done";

/// Not a test: what [`World::start_agent`] starts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the other tests to be the agent"]
async fn agent_process() {
    be_the_agent().await;
}

#[tokio::test]
async fn a_pod_is_bound_runs_is_ready_and_leaves_in_order() {
    let world = World::start().await;
    let script = "trap 'echo bye; exit 0' TERM; echo hello from $MESH_LOOPBACK_POD_IP; \
                  while :; do sleep 0.05; done";
    world.run_script("web", script).await;
    let pod = world.until_ready("web").await;
    assert_eq!(pod["spec"]["nodeName"], "west-node");
    assert_eq!(pod["status"]["phase"], "Running");
    let ip = pod["status"]["podIP"].as_str().unwrap().to_owned();
    let logs = eventually("the script's word", || async {
        let logs = world.logs("web", &LogParams::default()).await.ok()?;
        (!logs.is_empty()).then_some(logs)
    })
    .await;
    assert_eq!(logs, format!("hello from {ip}\n"));
    let stamped = LogParams {
        timestamps: true,
        tail_lines: Some(1),
        ..Default::default()
    };
    assert!(
        world
            .logs("web", &stamped)
            .await
            .unwrap()
            .contains("Z hello from")
    );
    let pid = world.pid(&pod, "main");
    world.delete("web").await;
    world.until_gone("web").await;
    assert!(!is_alive(pid));
    eventually("the folder is gone", || async {
        std::fs::read_dir(world.state_dir().join("pods"))
            .unwrap()
            .next()
            .is_none()
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_node_registers_itself_and_says_where_logs_are() {
    let world = World::start().await;
    let nodes: Api<Node> = Api::all(world.client.clone());
    let node = eventually("the node is ready", || async {
        let node = serde_json::to_value(nodes.get_opt("west-node").await.ok()??).unwrap();
        (node["status"]["conditions"][0]["status"] == "True").then_some(node)
    })
    .await;
    assert_eq!(
        node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"],
        10250
    );
    assert_eq!(node["status"]["addresses"][0]["type"], "InternalIP");
}

#[tokio::test]
async fn an_unknown_image_names_the_known_ones_and_a_known_one_heals_it() {
    let world = World::start().await;
    world
        .create(
            "web",
            json!({"containers": [{"name": "main", "image": "nginx:1",
            "command": ["/bin/sh", "-c", SLEEP]}]}),
        )
        .await;
    let message = world
        .until("web", "ErrImagePull", |pod| {
            let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
            (waiting["reason"] == "ErrImagePull").then(|| waiting["message"].to_string())
        })
        .await;
    assert!(
        message.contains("nginx") && message.contains("mesh.io/mesh"),
        "{message}"
    );
    let events: Api<Event> = Api::namespaced(world.client.clone(), "default");
    eventually("an event says so too", || async {
        let all = events.list(&ListParams::default()).await.ok()?;
        let said = |e: &Event| e.message.as_ref().is_some_and(|m| m.contains("nginx"));
        all.items.iter().any(said).then_some(())
    })
    .await;
    world.set_image("web", "test:1").await;
    world.until_ready("web").await;
}

#[tokio::test]
async fn pods_survive_the_agent_and_are_adopted_by_the_next() {
    let mut world = World::start().await;
    world.run_script("stays", SLEEP).await;
    world.run_script("dies", SLEEP).await;
    world.run_script("deleted", SLEEP).await;
    let stays = world.until_ready("stays").await;
    let dies = world.until_ready("dies").await;
    let deleted = world.until_ready("deleted").await;
    world.kill_agent();
    let pids = [&stays, &dies, &deleted].map(|p| world.pid(p, "main"));
    assert!(pids.iter().all(|pid| is_alive(*pid)));
    kill(pids[1]);
    // Nobody is there to end it in order.
    let now = kube::api::DeleteParams {
        grace_period_seconds: Some(0),
        ..Default::default()
    };
    world.pods().delete("deleted", &now).await.unwrap();
    world.until_gone("deleted").await;

    world.start_agent();
    world
        .until("dies", "the dead one is restarted", |pod| {
            (pod["status"]["containerStatuses"][0]["restartCount"] == 1 && is_ready(pod))
                .then_some(())
        })
        .await;
    eventually("the orphan is ended", || async {
        (!is_alive(pids[2])).then_some(())
    })
    .await;
    assert!(is_alive(pids[0]));
    let after = world.until_ready("stays").await;
    assert_eq!(after["status"]["podIP"], stays["status"]["podIP"]);
    assert_eq!(after["status"]["containerStatuses"][0]["restartCount"], 0);
    assert_eq!(world.pid(&after, "main"), pids[0]);
    // An adopted process's end is noticed although it is not the agent's child.
    kill(pids[0]);
    world
        .until("stays", "it is restarted", |pod| {
            (pod["status"]["containerStatuses"][0]["restartCount"] == 1 && is_ready(pod))
                .then_some(())
        })
        .await;
}

#[tokio::test]
async fn held_restarts_keep_the_dead_dead_until_released() {
    let world = World::start().await;
    world.run_script("web", SLEEP).await;
    let pod = world.until_ready("web").await;
    world
        .patch(
            "web",
            json!({"metadata": {"annotations": {HOLD_RESTARTS: "true"}}}),
        )
        .await;
    // The agent has seen the annotation once it shows in what it reports next.
    kill(world.pid(&pod, "main"));
    world
        .until("web", "it is shown dead", |pod| {
            let state = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
            (state["signal"] == 9 && !is_ready(pod)).then_some(())
        })
        .await;
    tokio::time::sleep(std::time::Duration::from_millis(800)).await; // longer than the back-off
    let held = serde_json::to_value(world.pods().get("web").await.unwrap()).unwrap();
    assert_eq!(held["status"]["containerStatuses"][0]["restartCount"], 0);
    world
        .patch(
            "web",
            json!({"metadata": {"annotations": {HOLD_RESTARTS: null}}}),
        )
        .await;
    let back = world.until_ready("web").await;
    assert_eq!(back["status"]["containerStatuses"][0]["restartCount"], 1);
}

#[tokio::test]
async fn crashes_back_off_and_the_previous_log_is_kept() {
    let world = World::start().await;
    world.run_script("web", "echo run; exit 7").await;
    let status = world
        .until("web", "CrashLoopBackOff", |pod| {
            let status = &pod["status"]["containerStatuses"][0];
            (status["state"]["waiting"]["reason"] == "CrashLoopBackOff").then(|| status.clone())
        })
        .await;
    assert_eq!(status["lastState"]["terminated"]["exitCode"], 7);
    let previous = LogParams {
        previous: true,
        ..Default::default()
    };
    assert_eq!(world.logs("web", &previous).await.unwrap(), "run\n");
}

/// How a pod is over, and what is known of its first container's ends.
fn end(pod: &Value) -> Value {
    let status = &pod["status"]["containerStatuses"][0];
    let last = |state: &Value| state["terminated"]["exitCode"].clone();
    json!({"phase": pod["status"]["phase"], "restarts": status["restartCount"],
        "exit": last(&status["state"]), "before": last(&status["lastState"])})
}

fn is_over(pod: &Value) -> bool {
    matches!(
        pod["status"]["phase"].as_str(),
        Some("Succeeded" | "Failed")
    )
}

#[tokio::test]
async fn a_pod_is_over_when_its_restart_policy_says_so() {
    let mut world = World::start().await;
    let second_time = "test -e tried && exit 0; touch tried; exit 3";
    let table = [
        (
            "never-0",
            "Never",
            "exit 0",
            json!(["Succeeded", 0, 0, null]),
        ),
        ("never-3", "Never", "exit 3", json!(["Failed", 0, 3, null])),
        (
            "on-failure-0",
            "OnFailure",
            "exit 0",
            json!(["Succeeded", 0, 0, null]),
        ),
        (
            "on-failure-3",
            "OnFailure",
            second_time,
            json!(["Succeeded", 1, 0, 3]),
        ),
    ];
    for (name, policy, script, _) in &table {
        let spec = json!({"restartPolicy": policy, "containers": [shell(script)]});
        world.create(name, spec).await;
    }
    for (name, _, _, expected) in &table {
        let pod = world
            .until(name, "it is over", |pod| is_over(pod).then(|| pod.clone()))
            .await;
        let end = end(&pod);
        let end = json!([end["phase"], end["restarts"], end["exit"], end["before"]]);
        assert_eq!(&end, expected, "{name}");
        assert!(!is_ready(&pod), "{name}");
    }
    // Over it stays, whoever looks after it.
    let ended = world.pods().get("never-3").await.unwrap();
    world.kill_agent();
    world.start_agent();
    world.run_script("later", SLEEP).await;
    world.until_ready("later").await;
    assert_eq!(
        world.pods().get("never-3").await.unwrap().status,
        ended.status
    );
}

#[tokio::test]
async fn a_pod_is_not_over_while_one_of_its_containers_may_run() {
    let world = World::start().await;
    // The policy of most pods: an end without a fault is a restart too.
    world.run_script("always", "exit 0").await;
    let pod = world
        .until("always", "it was started again", |pod| {
            let end = end(pod);
            (end["restarts"].as_u64() >= Some(1)).then(|| pod.clone())
        })
        .await;
    assert!(!is_over(&pod), "{}", pod["status"]);
    let mut other = shell("while ! test -e over; do sleep 0.05; done");
    other["name"] = json!("other");
    other["volumeMounts"] = json!([{"name": "v", "mountPath": "/v"}]);
    other["workingDir"] = json!("/v");
    let spec = json!({"restartPolicy": "Never", "containers": [shell("exit 3"), other],
        "volumes": [{"name": "v", "emptyDir": {}}]});
    world.create("two", spec).await;
    let pod = world
        .until("two", "the first one is over", |pod| {
            (end(pod)["exit"] == 3).then(|| pod.clone())
        })
        .await;
    assert_eq!(pod["status"]["phase"], "Running");
    let uid = pod["metadata"]["uid"].as_str().unwrap();
    let volume = world.state_dir().join("pods").join(uid).join("volumes/v");
    std::fs::write(volume.join("over"), "").unwrap();
    world
        .until("two", "it is over", |pod| {
            (pod["status"]["phase"] == "Failed").then_some(())
        })
        .await;
}

#[tokio::test]
async fn init_containers_volumes_and_variables_reach_the_process() {
    let world = World::start().await;
    let meta = |name: &str| kube::api::ObjectMeta {
        name: Some(name.into()),
        ..Default::default()
    };
    let config = ConfigMap {
        metadata: meta("settings"),
        data: Some(BTreeMap::from([("greeting".into(), "hi".into())])),
        ..Default::default()
    };
    let secret = Secret {
        metadata: meta("secret"),
        string_data: Some(BTreeMap::from([("pw".into(), "hush".into())])),
        ..Default::default()
    };
    let maps: Api<ConfigMap> = Api::namespaced(world.client.clone(), "default");
    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), "default");
    secrets
        .create(&PostParams::default(), &secret)
        .await
        .unwrap();
    let mounts = json!([{"name": "shared", "mountPath": "/shared"},
        {"name": "config", "mountPath": "/etc/config"},
        {"name": "token", "mountPath": "/var/run/secrets/tokens"}]);
    let mut init = shell("echo from-init > $DIR/file");
    init["name"] = json!("init");
    init["env"] = json!([{"name": "DIR", "value": "/shared"}]);
    init["volumeMounts"] = mounts.clone();
    let mut main = shell(
        "cat $FILE $CONFIG/greeting; echo $PW $NAME $POD_JSON; \
        cut -c1-3 $1; ls $KUBECONFIG; cat $CONFIG/greeting; while :; do sleep 1; done",
    );
    main["args"]
        .as_array_mut()
        .unwrap()
        .extend([json!("sh"), json!("/var/run/secrets/tokens/t")]);
    main["volumeMounts"] = mounts;
    main["env"] = json!([
        {"name": "FILE", "value": "/shared/file"}, {"name": "CONFIG", "value": "/etc/config"},
        {"name": "PW", "valueFrom": {"secretKeyRef": {"name": "secret", "key": "pw"}}},
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "POD_JSON", "value": "{$(NAME)}"}]);
    world
        .create(
            "web",
            json!({"initContainers": [init], "containers": [main], "volumes": [
            {"name": "shared", "emptyDir": {}},
            {"name": "config", "configMap": {"name": "settings"}},
            {"name": "token", "projected": {"sources": [{"serviceAccountToken":
                {"path": "t", "audience": "identity.l5d.io", "expirationSeconds": 86400}}]}}]}),
        )
        .await;
    // The ConfigMap is missing: the pod waits for it and says so.
    world
        .until("web", "the missing ConfigMap is named", |pod| {
            let state = pod["status"]["initContainerStatuses"][0]["state"].to_string();
            state.contains("settings").then_some(())
        })
        .await;
    maps.create(&PostParams::default(), &config).await.unwrap();
    let pod = world.until_ready("web").await;
    assert_eq!(
        pod["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"],
        0
    );
    let logs = eventually("the script's words", || async {
        let params = LogParams {
            container: Some("main".into()),
            ..Default::default()
        };
        let logs = world.logs("web", &params).await.ok()?;
        (logs.matches("hi").count() == 2).then_some(logs)
    })
    .await;
    let lines: Vec<&str> = logs.lines().collect();
    assert_eq!(lines[..2], ["from-init", "hihush web {web}"], "{logs}");
    assert_eq!(lines[2], "eyJ", "{logs}");
    assert!(lines[3].ends_with("/kube/config"), "{logs}");
}

#[tokio::test]
async fn probes_decide_about_readiness_and_restarts() {
    let world = World::start().await;
    let mut main = shell("rm -f $HOME/ok; sleep 0.3; touch $HOME/ok; while :; do sleep 1; done");
    let exec = |script: &str| {
        json!({"exec": {"command": ["/bin/sh", "-c", script]},
        "periodSeconds": 1, "failureThreshold": 1})
    };
    main["readinessProbe"] = exec("test -e $HOME/ok");
    main["livenessProbe"] = exec("! test -e $HOME/stuck");
    main["livenessProbe"]["failureThreshold"] = json!(1);
    world.create("web", json!({"containers": [main]})).await;
    let pod = world.until_ready("web").await;
    let uid = pod["metadata"]["uid"].as_str().unwrap();
    let home = world
        .state_dir()
        .join(format!("pods/{uid}/containers/main/work"));
    std::fs::remove_file(home.join("ok")).unwrap();
    world
        .until("web", "it is unready", |pod| (!is_ready(pod)).then_some(()))
        .await;
    std::fs::write(home.join("stuck"), "").unwrap();
    world
        .until("web", "it is restarted", |pod| {
            (pod["status"]["containerStatuses"][0]["restartCount"] == 1).then_some(())
        })
        .await;
}

#[tokio::test]
async fn a_load_balancer_and_the_hosts_file_follow_the_services() {
    let world = World::start().await;
    let services: Api<Service> = Api::namespaced(world.client.clone(), "default");
    let slices: Api<EndpointSlice> = Api::namespaced(world.client.clone(), "default");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let create = |v: Value| serde_json::from_value(v).unwrap();
    let service: Service = create(json!({"metadata": {"name": "gw"}, "spec": {
        "type": "LoadBalancer", "ports": [{"name": "t", "port": 4143}]}}));
    services
        .create(&PostParams::default(), &service)
        .await
        .unwrap();
    let balancer = eventually("it has an address", || async {
        let status = services.get("gw").await.unwrap().status?;
        status.load_balancer?.ingress?.first()?.ip.clone()
    })
    .await;
    let slice: EndpointSlice = serde_json::from_value(json!({
        "metadata": {"name": "gw-1", "labels": {"kubernetes.io/service-name": "gw"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": true}}],
        "ports": [{"name": "t", "port": port}]}))
    .unwrap();
    slices.create(&PostParams::default(), &slice).await.unwrap();
    eventually("somebody answers", || async {
        let address = format!("{balancer}:4143");
        tokio::net::TcpStream::connect(address).await.ok()
    })
    .await;
    listener.accept().await.unwrap();
    let service = services.get("gw").await.unwrap();
    let cluster_ip = service.spec.and_then(|s| s.cluster_ip).unwrap();
    let hosts = std::fs::read_to_string(world.state_dir().join("hosts")).unwrap();
    let line = format!("{cluster_ip} gw.default.svc.cluster.local");
    assert!(hosts.contains(&line), "{hosts}");
}
