//! What a container may do, and what happens at its start and end.

use kube::api::LogParams;
use serde_json::{Value, json};

use super::{cluster, ip};
use crate::node_agent_world::{World, eventually, shell};

const WAIT: &str = "while :; do sleep 0.1; done";

async fn log(world: &World, pod: &str, container: &str) -> String {
    let params = LogParams {
        container: Some(container.to_owned()),
        ..Default::default()
    };
    world.logs(pod, &params).await.unwrap_or_default()
}

async fn until_said(world: &World, pod: &str, container: &str, lines: usize) -> Vec<String> {
    eventually(&format!("{lines} lines of {container}"), || async {
        let log = log(world, pod, container).await;
        let said: Vec<String> = log.lines().map(str::to_owned).collect();
        (said.len() >= lines).then_some(said)
    })
    .await
}

pub(crate) async fn containers_may_do_what_they_ask_for() {
    let world = cluster("west", 151, &[]).await;
    let script = format!(
        "ip addr add 10.9.9.9/32 dev lo 2>/dev/null && echo admin || echo no-admin; \
         touch /here 2>/dev/null && echo writes || echo no-writes; \
         touch /shared/{{}} 2>/dev/null && chown 5 /shared/{{}} 2>/dev/null && echo owns || echo no-owns; \
         grep -c 'NoNewPrivs:.1' /proc/self/status; {WAIT}"
    );
    let container = |name: &str, security: Value| {
        let mut container = shell(&script.replace("{}", name));
        container["name"] = json!(name);
        container["securityContext"] = security;
        container["volumeMounts"] = json!([{"name": "shared", "mountPath": "/shared"}]);
        container
    };
    let init = json!({"runAsUser": 0, "readOnlyRootFilesystem": true,
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW"]}});
    let sidecar = json!({"runAsUser": 2102, "runAsNonRoot": true, "readOnlyRootFilesystem": true,
        "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    let spec = json!({"volumes": [{"name": "shared", "emptyDir": {"medium": "Memory"}}],
    "containers": [
        container("usual", json!({})),
        container("init", init),
        container("sidecar", sidecar),
        container("never", json!({"runAsNonRoot": true, "runAsUser": 0})),
    ]});
    world.create("web", spec).await;
    let wanted = [
        ("usual", ["no-admin", "writes", "owns", "0"]),
        ("init", ["admin", "no-writes", "no-owns", "1"]),
        ("sidecar", ["no-admin", "no-writes", "no-owns", "1"]),
    ];
    for (name, wanted) in wanted {
        assert_eq!(until_said(&world, "web", name, 4).await, wanted, "{name}");
    }
    let why = world
        .until("web", "root is refused", |pod| {
            let statuses = pod["status"]["containerStatuses"].as_array()?;
            let never = statuses.iter().find(|s| s["name"] == "never")?;
            never["state"]["waiting"]["message"]
                .as_str()
                .map(str::to_owned)
        })
        .await;
    assert_eq!(why, "container's runAsUser breaks non-root policy");
    // Further processes may do no more than the container.
    for (name, wanted) in [("init", "3000"), ("sidecar", "0")] {
        let path = format!(
            "/api/v1/namespaces/default/pods/web/exec?container={name}&stdout=true\
             &command=sh&command=-c&command=grep%20CapBnd%20/proc/self/status"
        );
        let said = crate::upgrade::exec(&world.client, &path).await;
        let left = said
            .trim()
            .rsplit('\t')
            .next()
            .unwrap()
            .trim_start_matches('0');
        assert_eq!(left, wanted.trim_start_matches('0'), "{name}: {said}");
    }
}

pub(crate) async fn hooks_run_after_the_start_and_before_the_end() {
    let world = cluster("west", 151, &[]).await;
    let mount = json!([{"name": "shared", "mountPath": "/shared"}]);
    let hook = |words: &str| json!({"exec": {"command": ["sh", "-c", words]}});
    let mut first = shell(&format!("trap 'cat /shared/stop; exit 0' TERM; {WAIT}"));
    first["name"] = json!("first");
    first["volumeMounts"] = mount.clone();
    first["lifecycle"] = json!({
        "postStart": hook("sleep 0.5; echo started > /shared/start"),
        "preStop": hook("sleep 0.5; echo stopping > /shared/stop")});
    // It does not listen, so that the pod and what was said stay to be looked at for a while.
    let mut second = shell(&format!("trap '' TERM; cat /shared/start; {WAIT}"));
    second["volumeMounts"] = mount;
    let spec = json!({"volumes": [{"name": "shared", "emptyDir": {}}],
        "containers": [first, second], "terminationGracePeriodSeconds": 5});
    world.create("web", spec).await;
    assert_eq!(until_said(&world, "web", "main", 1).await, ["started"]);
    world.until_ready("web").await;
    world.delete("web").await;
    assert_eq!(until_said(&world, "web", "first", 1).await, ["stopping"]);
    world.until_gone("web").await;
}

pub(crate) async fn a_container_whose_hook_fails_is_restarted() {
    let world = cluster("west", 151, &[]).await;
    let mut main = shell(WAIT);
    main["lifecycle"] = json!({"postStart": {"exec": {"command": ["/bin/false"]}}});
    world.create("web", json!({"containers": [main]})).await;
    world
        .until("web", "it is started again", |pod| {
            let count = &pod["status"]["containerStatuses"][0]["restartCount"];
            (count.as_i64()? >= 1).then_some(())
        })
        .await;
}

pub(crate) async fn pods_of_the_machines_network_have_its_address() {
    let world = cluster("west", 151, &[]).await;
    let mut pod = crate::netns_claims::pod::part("api", &[]);
    pod["name"] = json!("api");
    let spec = json!({"hostNetwork": true, "restartPolicy": "Never", "containers": [pod]});
    world.create("client", spec).await;
    let pod = world
        .until("client", "the API server has answered", |pod| {
            (pod["status"]["phase"] == "Succeeded").then(|| pod.clone())
        })
        .await;
    assert_eq!(ip(&pod), "10.151.0.1");
    assert_eq!(pod["status"]["hostIP"], "10.151.0.1");
    world.delete("client").await;
    world.until_gone("client").await;
    // The node still has its address: what it serves there is reached.
    let dns = tokio::net::TcpStream::connect("10.151.0.1:53").await;
    assert!(dns.is_ok(), "{dns:?}");
}
