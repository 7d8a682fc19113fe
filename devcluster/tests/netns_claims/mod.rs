//! The claims, and what they share.

mod clusters;
mod lifecycle;
pub(crate) mod pod;
mod pods;

use std::pin::Pin;

use kube::api::LogParams;
use serde_json::{Value, json};

use crate::node_agent_world::{World, eventually};

type Claim = fn() -> Pin<Box<dyn Future<Output = ()>>>;

macro_rules! claims {
    ($($module:ident :: $name:ident),* $(,)?) => {
        vec![$((stringify!($name), (|| Box::pin($module::$name())) as Claim)),*]
    };
}

pub(crate) fn all() -> Vec<(&'static str, Claim)> {
    claims![
        pods::a_pod_has_a_namespace_of_its_own_and_leaves_nothing,
        pods::names_and_cluster_ips_work_without_a_sidecar,
        pods::a_pod_reaches_itself_by_its_cluster_ip,
        pods::volumes_are_where_the_pod_wants_them_and_users_are_honoured,
        pods::volumes_in_memory_are_bounded_and_end_with_their_pod,
        pods::containers_write_into_a_layer_of_their_own,
        pods::init_containers_share_the_pods_network_and_run_first,
        pods::probes_reach_pods_and_run_inside_them,
        pods::pods_reach_the_api_server,
        pods::exec_runs_inside_the_container,
        lifecycle::containers_may_do_what_they_ask_for,
        lifecycle::hooks_run_after_the_start_and_before_the_end,
        lifecycle::a_container_whose_hook_fails_is_restarted,
        lifecycle::pods_of_the_machines_network_have_its_address,
        clusters::clusters_meet_only_where_they_declare_it,
        clusters::flat_clusters_reach_each_others_pods,
        clusters::overlapping_clusters_are_refused_by_name,
        clusters::pods_outlive_their_agent,
        clusters::what_a_dead_cluster_left_is_removed,
        clusters::what_dead_pods_had_in_memory_is_given_back,
        clusters::pods_nobody_can_adopt_any_more_are_ended,
    ]
}

/// A cluster with pods in 10.`second`.0.0/16 and load balancers in 10.`second + 1`.0.0/24.
pub(crate) async fn cluster(name: &str, second: u8, more: &[&str]) -> World {
    let balancers = format!("10.{}.0.0/24", second + 1);
    let own = std::env::current_exe().unwrap();
    let mut flags = vec![
        "--network=netns".to_owned(),
        format!("--pod-cidr=10.{second}.0.0/16"),
        format!("--lb-cidr={balancers}"),
        format!("--image=part={}", own.display()),
    ];
    flags.extend(more.iter().map(|flag| (*flag).to_owned()));
    World::start_with(name, flags).await
}

/// Waits until the pod has answered about `target` as `wanted` says.
pub(crate) async fn until_answered(
    world: &World,
    pod: &str,
    target: &str,
    wanted: impl Fn(&str) -> bool,
) -> String {
    let (wanted, mut last) = (&wanted, String::new());
    let prefix = format!("{target} ");
    eventually(&format!("the right answer from {target}"), || {
        let prefix = prefix.clone();
        async move {
            let params = LogParams {
                tail_lines: Some(20),
                ..Default::default()
            };
            let log = world.logs(pod, &params).await.ok()?;
            let mut answers = log.lines().rev().filter_map(|l| l.strip_prefix(&prefix));
            answers.find(|a| wanted(a)).map(str::to_owned)
        }
    })
    .await
    .clone_into(&mut last);
    last
}

/// A pod's address.
pub(crate) fn ip(pod: &Value) -> String {
    pod["status"]["podIP"].as_str().unwrap().to_owned()
}

/// A server with a label, ready once it listens.
pub(crate) fn server(at: &str) -> Value {
    let mut main = pod::part("serve", &[at]);
    let port: u16 = at.rsplit_once(':').unwrap().1.parse().unwrap();
    main["readinessProbe"] = json!({"tcpSocket": {"port": port}, "periodSeconds": 1});
    main
}

/// The volumes in memory this machine has mounted for a pod: mount points with their options.
pub(crate) fn in_memory(pod: &Value) -> Vec<String> {
    let uid = pod["metadata"]["uid"].as_str().unwrap();
    let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let ours = mountinfo.lines().filter(|line| line.contains(uid));
    ours.map(str::to_owned).collect()
}

/// What `program` prints.
pub(crate) fn output(program: &str, args: &[&str]) -> String {
    let output = std::process::Command::new(program).args(args).output();
    String::from_utf8(output.unwrap().stdout).unwrap()
}
