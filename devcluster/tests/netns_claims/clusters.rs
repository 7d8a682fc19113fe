//! What holds between clusters, and between one life of an agent and the next.

use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;

use super::pod::part;
use super::{cluster, in_memory, ip, output, server, until_answered};
use crate::node_agent_world::{World, eventually, is_alive};

async fn serve(world: &World) -> String {
    let mut pod = json!({"metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {"containers": [server("0.0.0.0:80")]}});
    pod["spec"]["terminationGracePeriodSeconds"] = json!(1);
    let pod = serde_json::from_value(pod).unwrap();
    world
        .pods()
        .create(&PostParams::default(), &pod)
        .await
        .unwrap();
    ip(&world.until_ready("web").await)
}

async fn balancer(world: &World) -> String {
    let api: Api<Service> = Api::namespaced(world.client.clone(), "default");
    let service = serde_json::from_value(json!({"metadata": {"name": "web"}, "spec": {
        "type": "LoadBalancer", "selector": {"app": "web"},
        "ports": [{"port": 4143, "targetPort": 80}]}}));
    api.create(&PostParams::default(), &service.unwrap())
        .await
        .unwrap();
    eventually("the load balancer has an address", || async {
        let service = api.get("web").await.ok()?;
        service.status?.load_balancer?.ingress?.first()?.ip.clone()
    })
    .await
}

pub(crate) async fn clusters_meet_only_where_they_declare_it() {
    let west = cluster("west", 151, &[]).await;
    let east = cluster("east", 153, &[]).await;
    let pod = format!("{}:80", serve(&east).await);
    let balancer = format!("{}:4143", balancer(&east).await);
    let (dns, kubelet, api) = ("10.153.0.1:53", "10.153.0.1:10250", "10.153.0.1:6443");
    let ask = part("ask", &[&pod, &balancer, dns, kubelet]);
    west.create("ask", json!({"containers": [ask]})).await;
    until_answered(&west, "ask", &balancer, |a| a.starts_with("web ")).await;
    for closed in [pod.as_str(), dns, kubelet] {
        until_answered(&west, "ask", closed, |a| a == "ConnectionRefused").await;
    }
    // Who connects to a TLS server and says nothing hears nothing: connecting is what counts.
    west.create(
        "api",
        json!({"containers": [
        {"name": "main", "image": "part:1", "args": [api],
         "env": [{"name": "MESH_TEST_PART", "value": "connect"}]}], "restartPolicy": "Never"}),
    )
    .await;
    west.until(
        "api",
        "the API server of the other cluster is reached",
        |pod| (pod["status"]["phase"] == "Succeeded").then_some(()),
    )
    .await;
}

pub(crate) async fn flat_clusters_reach_each_others_pods() {
    let west = cluster("west", 151, &["--flat"]).await;
    let east = cluster("east", 153, &["--flat"]).await;
    let pod = format!("{}:80", serve(&east).await);
    west.create("ask", json!({"containers": [part("ask", &[&pod])]}))
        .await;
    let asker = ip(&west.until_ready("ask").await);
    // As itself: nothing translates addresses between pods.
    until_answered(&west, "ask", &pod, |a| a == format!("web {asker}")).await;
}

pub(crate) async fn overlapping_clusters_are_refused_by_name() {
    let west = cluster("west", 151, &[]).await;
    let _ready = serve(&west).await;
    let east = cluster("east", 151, &[]).await;
    eventually("the second agent says why it does not start", || async {
        let log = std::fs::read_to_string(format!("{}/agent.log", east.run_id)).ok()?;
        let named = log.contains("10.151.0.0/16 overlaps with 10.151.0.0/16")
            && log.contains(&west.run_id)
            && log.contains("--pod-cidr");
        named.then_some(())
    })
    .await;
}

pub(crate) async fn pods_outlive_their_agent() {
    let mut world = cluster("west", 151, &[]).await;
    let address = serve(&world).await;
    let before = world.until_ready("web").await;
    world.kill_agent();
    // Reached from this machine, without an agent.
    let there = format!("{address}:80");
    assert!(tokio::net::TcpStream::connect(&there).await.is_ok());
    world.start_agent();
    world
        .create("ask", json!({"containers": [part("ask", &[&there])]}))
        .await;
    until_answered(&world, "ask", &there, |a| a.starts_with("web ")).await;
    let after = world.until_ready("web").await;
    assert_eq!(ip(&after), address);
    assert_eq!(world.pid(&after, "main"), world.pid(&before, "main"));
}

pub(crate) async fn what_a_dead_cluster_left_is_removed() {
    let west = cluster("west", 151, &[]).await;
    serve(&west).await;
    let hub = hub();
    assert!(hub.exists() && traces() > 2);
    drop(west); // kills the agent and the pods, as a crash of the machine's does
    let _next = cluster("east", 153, &[]).await;
    eventually("another agent has tidied up", || async {
        (traces() == 0 && !hub.exists()).then_some(())
    })
    .await;
}

pub(crate) async fn what_dead_pods_had_in_memory_is_given_back() {
    let memory = json!([{"name": "keys", "emptyDir": {"medium": "Memory"}}]);
    let mut main = server("0.0.0.0:80");
    main["volumeMounts"] = json!([{"name": "keys", "mountPath": "/keys"}]);
    let spec = json!({"containers": [main], "volumes": memory});
    // A pod whose record is gone when the agent comes back.
    let mut west = cluster("west", 151, &[]).await;
    west.create("web", spec.clone()).await;
    let pod = west.until_ready("web").await;
    assert_eq!(in_memory(&pod).len(), 1);
    west.kill_agent();
    let uid = pod["metadata"]["uid"].as_str().unwrap();
    std::fs::remove_dir_all(west.state_dir().join("pods").join(uid)).unwrap();
    // Nobody is there to end it in order.
    let at_once = DeleteParams::default().grace_period(0);
    west.pods().delete("web", &at_once).await.unwrap();
    west.start_agent();
    eventually("the next agent has given it back", || async {
        in_memory(&pod).is_empty().then_some(())
    })
    .await;
    // A cluster that is no more.
    west.create("again", spec).await;
    let pod = west.until_ready("again").await;
    assert_eq!(in_memory(&pod).len(), 1);
    drop(west);
    let _next = cluster("east", 153, &[]).await;
    eventually("another agent has given it back", || async {
        in_memory(&pod).is_empty().then_some(())
    })
    .await;
}

pub(crate) async fn pods_nobody_can_adopt_any_more_are_ended() {
    let mut west = cluster("west", 151, &[]).await;
    serve(&west).await;
    let pid = west.pid(&west.until_ready("web").await, "main");
    west.kill_agent();
    // What the next agent of this cluster would adopt them by is gone.
    std::fs::remove_dir_all(west.state_dir()).unwrap();
    assert!(is_alive(pid));
    let _next = cluster("east", 153, &[]).await;
    eventually("another agent has ended them", || async {
        (!is_alive(pid) && traces() == 0).then_some(())
    })
    .await;
}

/// Mentions of west's addresses on this machine.
fn traces() -> usize {
    let all = [
        output("ip", &["-o", "-4", "addr"]),
        output("ip", &["netns", "list"]),
        output("nft", &["list", "ruleset"]),
        output("ip", &["route"]),
    ];
    all.concat().matches("10.151.").count()
}

/// West's hub. Other clusters may be on this machine.
fn hub() -> std::path::PathBuf {
    let addresses = output("ip", &["-o", "-4", "addr"]);
    let hub = addresses.lines().find(|line| line.contains("10.151.0.1/"));
    let hub = hub.unwrap().split_ascii_whitespace().nth(1).unwrap();
    std::path::Path::new("/sys/class/net").join(hub)
}
