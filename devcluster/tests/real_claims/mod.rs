//! The claims, and what they share.

mod cluster;
mod inside;
pub(crate) mod world;

use serde_json::{Value, json};

use crate::pod::part;
use world::World;

type Claim = fn(&mut World);

macro_rules! claims {
    ($($module:ident :: $name:ident),* $(,)?) => {
        vec![$((stringify!($name), $module::$name as Claim)),*]
    };
}

pub(crate) fn all() -> Vec<(&'static str, Claim)> {
    claims![
        cluster::the_node_registers_and_stays_ready,
        cluster::a_deployment_serves_by_name_and_cluster_ip,
        cluster::load_balancers_have_addresses_that_stay,
        cluster::a_pod_waits_for_a_node_that_suits_it,
        cluster::a_cordoned_node_takes_no_pods,
        cluster::pods_outlive_their_agent,
        cluster::pods_outlive_the_api_server,
        inside::pods_reach_the_api_server_with_tokens_it_knows,
        inside::a_deleted_pod_has_its_grace,
        inside::a_container_that_is_not_live_is_restarted,
        inside::logs_exec_cp_and_port_forward_work,
        inside::strangers_are_not_served,
    ]
}

/// A container that runs a shell script.
fn shell(script: &str) -> Value {
    json!({"name": "main", "image": "test:1", "args": ["-c", script]})
}

/// A server at port 80, ready once it listens.
fn server() -> Value {
    let mut main = part("serve", &["0.0.0.0:80"]);
    main["readinessProbe"] = json!({"tcpSocket": {"port": 80}, "periodSeconds": 1});
    main
}
