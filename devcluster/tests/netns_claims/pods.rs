//! What holds in one cluster.

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::Api;
use kube::api::{LogParams, PostParams};
use serde_json::{Value, json};

use super::pod::part;
use super::{cluster, in_memory, ip, output, server, until_answered};
use crate::node_agent_world::{World, eventually, is_ready, shell};

async fn run(world: &World, name: &str, labels: Value, spec: Value) {
    let mut pod = json!({"metadata": {"name": name, "labels": labels}, "spec": spec});
    pod["spec"]["terminationGracePeriodSeconds"] = json!(1);
    let pod: Pod = serde_json::from_value(pod).unwrap();
    world
        .pods()
        .create(&PostParams::default(), &pod)
        .await
        .unwrap();
}

async fn serve(world: &World, name: &str) {
    run(
        world,
        name,
        json!({"app": "web"}),
        json!({"containers": [server("0.0.0.0:80")]}),
    )
    .await;
}

async fn service(world: &World) -> String {
    let api: Api<Service> = Api::namespaced(world.client.clone(), "default");
    let service = serde_json::from_value(json!({"metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 8080, "targetPort": 80}]}}));
    let made = api
        .create(&PostParams::default(), &service.unwrap())
        .await
        .unwrap();
    made.spec.unwrap().cluster_ip.unwrap()
}

pub(crate) async fn a_pod_has_a_namespace_of_its_own_and_leaves_nothing() {
    let world = cluster("west", 151, &[]).await;
    serve(&world, "web").await;
    let pod = world.until_ready("web").await;
    let ip = ip(&pod);
    assert!(ip.starts_with("10.151.0."), "{ip}");
    let ours = || {
        output("ip", &["netns", "list"])
            .lines()
            .filter(|l| l.contains(&ip))
            .count()
    };
    assert_eq!(ours(), 1);
    run(
        &world,
        "ask",
        json!({}),
        json!({"containers": [part("ask", &[&format!("{ip}:80")])]}),
    )
    .await;
    let asker = super::ip(&world.until_ready("ask").await);
    until_answered(&world, "ask", &format!("{ip}:80"), |a| {
        a == format!("web {asker}")
    })
    .await;
    world.delete("web").await;
    world.until_gone("web").await;
    eventually("the namespace is gone", || async {
        (ours() == 0).then_some(())
    })
    .await;
}

pub(crate) async fn names_and_cluster_ips_work_without_a_sidecar() {
    let world = cluster("west", 151, &[]).await;
    serve(&world, "one").await;
    serve(&world, "two").await;
    let cluster_ip = service(&world).await;
    let by_ip = format!("{cluster_ip}:8080");
    let nobody = format!("{cluster_ip}:8081");
    let targets = [
        "web:8080",
        "web.default.svc.cluster.local:8080",
        &by_ip,
        &nobody,
        "no.default:1",
    ];
    run(
        &world,
        "ask",
        json!({}),
        json!({"containers": [part("ask", &targets)]}),
    )
    .await;
    for target in &targets[..3] {
        for name in ["one ", "two "] {
            until_answered(&world, "ask", target, |a| a.starts_with(name)).await;
        }
    }
    until_answered(&world, "ask", &nobody, |a| a == "ConnectionRefused").await;
    until_answered(&world, "ask", "no.default:1", |a| a == "no-address").await;
    world.delete("one").await;
    world.delete("two").await;
    until_answered(&world, "ask", &by_ip, |a| a == "ConnectionRefused").await;
}

pub(crate) async fn a_pod_reaches_itself_by_its_cluster_ip() {
    let world = cluster("west", 151, &[]).await;
    service(&world).await;
    let mut ask = part("ask", &["web.default:8080"]);
    ask["name"] = json!("ask");
    let spec = json!({"containers": [server("0.0.0.0:80"), ask]});
    run(&world, "web", json!({"app": "web"}), spec).await;
    eventually("it hears from itself", || async {
        let params = LogParams {
            container: Some("ask".into()),
            ..Default::default()
        };
        let log = world.logs("web", &params).await.ok()?;
        log.contains("web.default:8080 web 10.151.0.1\n")
            .then_some(())
    })
    .await;
}

pub(crate) async fn volumes_are_where_the_pod_wants_them_and_users_are_honoured() {
    let world = cluster("west", 151, &[]).await;
    let mut main = shell(
        "id -u; id -g; cut -c1-3 /var/run/secrets/tokens/t; cat $ACCOUNT/namespace; echo; \
         head -1 $ACCOUNT/ca.crt; echo x > /shared/deep/x && cat /shared/deep/x; \
         echo x 2>/dev/null > /var/run/secrets/tokens/t || echo read-only; \
         grep -c 10.151.0.1 /etc/resolv.conf; while :; do sleep 1; done",
    );
    main["env"] =
        json!([{"name": "ACCOUNT", "value": "/var/run/secrets/kubernetes.io/serviceaccount"}]);
    main["securityContext"] = json!({"runAsUser": 2102, "runAsGroup": 2103});
    main["volumeMounts"] = json!([{"name": "shared", "mountPath": "/shared/deep"},
        {"name": "token", "mountPath": "/var/run/secrets/tokens", "readOnly": true}]);
    let spec = json!({"containers": [main], "volumes": [
        {"name": "shared", "emptyDir": {}},
        {"name": "token", "projected": {"sources": [{"serviceAccountToken":
            {"path": "t", "audience": "identity.l5d.io", "expirationSeconds": 86400}}]}}]});
    run(&world, "web", json!({}), spec).await;
    let log = eventually("the script's words", || async {
        let log = world.logs("web", &LogParams::default()).await.ok()?;
        (log.lines().count() >= 8).then_some(log)
    })
    .await;
    let lines: Vec<&str> = log.lines().collect();
    let wanted = [
        "2102",
        "2103",
        "eyJ",
        "default",
        "-----BEGIN CERTIFICATE-----",
        "x",
        "read-only",
        "1",
    ];
    assert_eq!(lines, wanted);
}

pub(crate) async fn volumes_in_memory_are_bounded_and_end_with_their_pod() {
    let mut world = cluster("west", 151, &[]).await;
    let mounts = json!([{"name": "keys", "mountPath": "/keys"}]);
    let mut main = shell(
        "test -e /keys/first || echo first; touch /keys/first; stat -f -c %T /keys; \
         head -c 3000000 /dev/zero > /keys/big 2>/dev/null || echo full; rm /keys/big; \
         touch /keys/room; while ! test -e /keys/word; do sleep 0.1; done; cat /keys/word; \
         while :; do sleep 1; done",
    );
    main["securityContext"] = json!({"runAsUser": 2102});
    main["volumeMounts"] = mounts.clone();
    // While the volume is full it could say nothing; and its word is there at once, or not at all.
    let mut other = shell(
        "while ! test -e /keys/room; do sleep 0.1; done; \
         echo shared > /keys/w; mv /keys/w /keys/word; while :; do sleep 1; done",
    );
    other["name"] = json!("other");
    other["volumeMounts"] = mounts;
    let spec = json!({"containers": [main, other], "volumes": [
        {"name": "keys", "emptyDir": {"medium": "Memory", "sizeLimit": "2M"}}]});
    run(&world, "web", json!({}), spec).await;
    let said = |wanted: &'static str| {
        let params = LogParams {
            container: Some("main".into()),
            ..Default::default()
        };
        let world = &world;
        async move {
            eventually("the script's words", || async {
                let log = world.logs("web", &params).await.ok()?;
                (log == wanted).then_some(())
            })
            .await;
        }
    };
    said("first\ntmpfs\nfull\nshared\n").await;
    let pod = world.until_ready("web").await;
    let [mount] = &in_memory(&pod)[..] else {
        panic!("one mount, not {:?}", in_memory(&pod));
    };
    assert!(mount.contains("size=1956k"), "{mount}");
    // What is in it outlives the container, and the agent.
    crate::node_agent_world::kill(world.pid(&pod, "main"));
    said("tmpfs\nfull\nshared\n").await;
    world.kill_agent();
    world.start_agent();
    let after = world.until_ready("web").await;
    crate::node_agent_world::kill(world.pid(&after, "main"));
    world
        .until("web", "it is started again", |pod| {
            let statuses = pod["status"]["containerStatuses"].as_array()?;
            let main = statuses.iter().find(|s| s["name"] == "main")?;
            (main["restartCount"] == 2 && is_ready(pod)).then_some(())
        })
        .await;
    assert_eq!(in_memory(&after).len(), 1);
    world.delete("web").await;
    world.until_gone("web").await;
    eventually("the volume is gone", || async {
        in_memory(&pod).is_empty().then_some(())
    })
    .await;
}

pub(crate) async fn containers_write_into_a_layer_of_their_own() {
    let world = cluster("west", 151, &[]).await;
    let file = format!("/mesh-test-{}", std::process::id());
    let script = format!("touch {file} && ls {file}; while :; do sleep 1; done");
    world.run_script("web", &script).await;
    eventually("the pod sees it", || async {
        let log = world.logs("web", &LogParams::default()).await.ok()?;
        (log.trim() == file).then_some(())
    })
    .await;
    assert!(
        !std::path::Path::new(&file).exists(),
        "it is on the machine's own disk"
    );
}

pub(crate) async fn init_containers_share_the_pods_network_and_run_first() {
    let world = cluster("west", 151, &[]).await;
    let mut init = shell("ip addr add 10.9.9.9/32 dev lo && echo done");
    init["securityContext"] = json!({"capabilities": {"add": ["NET_ADMIN"]}});
    init["name"] = json!("init");
    let main = shell("ip -o addr show dev lo; while :; do sleep 1; done");
    world
        .create(
            "web",
            json!({"initContainers": [init], "containers": [main]}),
        )
        .await;
    eventually("the address is there", || async {
        let log = world.logs("web", &LogParams::default()).await.ok()?;
        log.contains("10.9.9.9").then_some(())
    })
    .await;
    let machine = output("ip", &["-o", "addr"]);
    assert!(!machine.contains("10.9.9.9"), "{machine}");
}

pub(crate) async fn probes_reach_pods_and_run_inside_them() {
    let world = cluster("west", 151, &[]).await;
    let mut main = server("0.0.0.0:80");
    // True in the container alone: the file is in its own layer.
    let inside = "grep -q web /etc/hosts && touch /mine && test -e /mine";
    main["readinessProbe"] = json!({"exec": {"command": ["/bin/sh", "-c", inside]},
        "periodSeconds": 1, "failureThreshold": 1});
    main["livenessProbe"] = json!({"tcpSocket": {"port": 80}, "periodSeconds": 1});
    world.create("web", json!({"containers": [main]})).await;
    let pod = world.until_ready("web").await;
    assert!(!std::path::Path::new("/mine").exists());
    crate::node_agent_world::kill(world.pid(&pod, "main"));
    world
        .until("web", "it is started again", |pod| {
            let again = pod["status"]["containerStatuses"][0]["restartCount"] == 1;
            (again && is_ready(pod)).then_some(())
        })
        .await;
}

pub(crate) async fn pods_reach_the_api_server() {
    let world = cluster("west", 151, &[]).await;
    let spec = json!({"containers": [part("api", &[])], "restartPolicy": "Never"});
    run(&world, "client", json!({}), spec).await;
    world
        .until("client", "it has been answered", |pod| {
            (pod["status"]["phase"] == "Succeeded").then_some(())
        })
        .await;
    let log = world.logs("client", &LogParams::default()).await.unwrap();
    assert!(log.starts_with("version 1."), "{log}");
}

pub(crate) async fn exec_runs_inside_the_container() {
    let world = cluster("west", 151, &[]).await;
    let mut main = shell("touch /tmp/mine-web; while :; do sleep 1; done");
    main["securityContext"] = json!({"runAsUser": 2102});
    world.create("web", json!({"containers": [main]})).await;
    let ip = ip(&world.until_ready("web").await);
    eventually("the file is there", || async {
        let script = "ls%20/tmp/mine-web;%20ip%20-o%20addr%20show%20dev%20eth0;%20id%20-u";
        let path = format!(
            "/api/v1/namespaces/default/pods/web/exec?command=sh&command=-c&command={script}\
             &container=main&stdout=true&stderr=true"
        );
        let said = crate::upgrade::exec(&world.client, &path).await;
        let lines: Vec<&str> = said.lines().collect();
        let there = lines.first() == Some(&"/tmp/mine-web");
        (there && said.contains(&ip) && lines.last() == Some(&"2102")).then_some(())
    })
    .await;
    assert!(!std::path::Path::new("/tmp/mine-web").exists());
}
