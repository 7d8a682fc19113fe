//! The rules of the service mirror, as scenarios.

use super::*;
use k8s_openapi::api::core::v1::Service;
use mesh_clusters::{
    Connection, Gateway, Liveness, PodGroup, Pods, RemoteService, ServicePort, Snapshot, Trust,
};
use serde_json::json;
use std::sync::Arc;

const IDENTITY: &str =
    "linkerd-gateway.linkerd-multicluster.serviceaccount.identity.linkerd.cluster.local";

/// A service of another cluster, exported and federated unless changed.
fn remote_service(name: &str) -> RemoteService {
    RemoteService {
        namespace: "default".into(),
        name: name.into(),
        labels: [("app".to_owned(), name.to_owned())].into(),
        ports: vec![port("http", 80)],
        resource_version: "7".into(),
        ready: true,
        exported: true,
        federated: true,
        ..RemoteService::default()
    }
}

fn port(name: &str, port: u16) -> ServicePort {
    ServicePort {
        name: name.into(),
        protocol: "TCP".into(),
        port,
        app_protocol: None,
    }
}

fn remote(name: &str, created: &str, services: Vec<RemoteService>) -> RemoteState {
    let link = json!({
        "metadata": {"name": name, "creationTimestamp": created},
        "spec": {"targetClusterName": name, "targetClusterDomain": "cluster.local"},
    });
    let services = services
        .into_iter()
        .map(|s| ((s.namespace.clone(), s.name.clone()), Arc::new(s)))
        .collect();
    RemoteState {
        link: Arc::new(serde_json::from_value(link).unwrap()),
        connection: Connection::Connected,
        trust: Trust::Shared,
        gateway: Some(Gateway {
            addresses: ["10.0.0.9".parse().unwrap()].into(),
            port: 4143,
            identity: IDENTITY.into(),
            liveness: Liveness::Alive,
            ..Gateway::default()
        }),
        gateway_error: None,
        snapshot: Arc::new(Snapshot {
            services,
            synced: true,
        }),
    }
}

/// What is linked and what is here.
struct Scene {
    remotes: BTreeMap<String, RemoteState>,
    local: Local,
    headless: bool,
}

impl Scene {
    fn new(remotes: Vec<RemoteState>) -> Self {
        let remotes = remotes.into_iter().map(|r| (cluster_name(&r), r)).collect();
        let local = Local {
            namespaces: ["default".to_owned()].into(),
            ..Local::default()
        };
        Self {
            remotes,
            local,
            headless: false,
        }
    }

    fn plan(&self) -> Plan {
        plan(Input {
            remotes: &self.remotes,
            local: &self.local,
            headless: self.headless,
        })
    }

    /// Carries the plan out, as the API server would.
    fn settle(&mut self) {
        self.step(); // Services
        self.step(); // their slices
        assert_eq!(
            diff(&self.plan(), &self.local),
            [],
            "a settled cluster needs nothing"
        );
    }

    fn step(&mut self) {
        for (key, action) in diff(&self.plan(), &self.local) {
            match (key, action) {
                (
                    ObjectKey::Service(key),
                    Action::CreateService(service) | Action::ReplaceService(service),
                ) => {
                    self.local.services.insert(key, *service);
                }
                (
                    ObjectKey::Slice(key),
                    Action::CreateSlice(slice) | Action::ReplaceSlice(slice),
                ) => {
                    self.local.slices.insert(key, *slice);
                }
                (ObjectKey::Service(key), _) => drop(self.local.services.remove(&key)),
                (ObjectKey::Slice(key), _) => drop(self.local.slices.remove(&key)),
            }
        }
    }

    fn service(&self, name: &str) -> &Service {
        &self.local.services[&key(name)]
    }

    fn names(&self) -> Vec<&str> {
        self.local
            .services
            .keys()
            .map(|(_, name)| name.as_str())
            .collect()
    }

    fn add(&mut self, service: serde_json::Value) {
        let service: Service = serde_json::from_value(service).unwrap();
        let name = service.metadata.name.clone().unwrap();
        self.local.services.insert(key(&name), service);
    }

    fn problem(&self, name: &str, federated: bool) -> Problem {
        let plan = self.plan();
        let report = plan
            .reports
            .into_iter()
            .find(|r| r.remote.1 == name && r.federated == federated);
        report.unwrap().result.unwrap_err()
    }
}

fn key(name: &str) -> Key {
    ("default".to_owned(), name.to_owned())
}

fn annotation<'a>(service: &'a Service, key: &str) -> Option<&'a str> {
    service
        .metadata
        .annotations
        .as_ref()?
        .get(key)
        .map(String::as_str)
}

const OLD: &str = "2024-01-01T00:00:00Z";
const NEW: &str = "2025-01-01T00:00:00Z";

#[test]
fn an_exported_service_appears_behind_its_gateway() {
    let mut scene = Scene::new(vec![remote("east", OLD, vec![remote_service("web")])]);
    scene.settle();
    assert_eq!(scene.names(), ["web-east", "web-federated"]);
    let mirror = scene.service("web-east");
    let labels = mirror.metadata.labels.as_ref().unwrap();
    assert_eq!(labels["mirror.linkerd.io/mirrored-service"], "true");
    assert_eq!(labels["mirror.linkerd.io/cluster-name"], "east");
    assert_eq!(labels["app"], "web");
    assert_eq!(
        annotation(mirror, "mirror.linkerd.io/remote-svc-fq-name"),
        Some("web.default.svc.cluster.local")
    );
    assert_eq!(
        annotation(mirror, "mirror.linkerd.io/remote-resource-version"),
        Some("7")
    );
    let slice = serde_json::to_value(&scene.local.slices[&key("web-east")]).unwrap();
    assert_eq!(
        slice["metadata"]["labels"]["kubernetes.io/service-name"],
        "web-east"
    );
    assert_eq!(
        slice["metadata"]["annotations"]["mirror.linkerd.io/remote-gateway-identity"],
        IDENTITY
    );
    assert_eq!(slice["endpoints"][0]["addresses"], json!(["10.0.0.9"]));
    assert_eq!(slice["endpoints"][0]["conditions"]["ready"], true);
    assert_eq!(
        slice["ports"],
        json!([{"name": "http", "port": 4143, "protocol": "TCP"}])
    );
}

#[test]
fn a_federated_service_has_one_slice_for_each_remote_member_and_names_its_members() {
    let mut scene = Scene::new(vec![
        remote("east", NEW, vec![remote_service("web")]),
        remote("north", OLD, vec![remote_service("web")]),
    ]);
    scene.add(json!({
        "metadata": {"name": "web", "namespace": "default", "labels": {
            "mirror.linkerd.io/federated": "member", "team": "local"}},
        "spec": {"clusterIP": "10.1.1.1", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]},
    }));
    scene.settle();
    let service = scene.service("web-federated");
    assert_eq!(
        annotation(service, "multicluster.linkerd.io/remote-discovery"),
        Some("web@east,web@north")
    );
    assert_eq!(
        annotation(service, "multicluster.linkerd.io/local-discovery"),
        Some("web")
    );
    let labels = service.metadata.labels.as_ref().unwrap();
    assert_eq!(
        labels.get("team").map(String::as_str),
        Some("local"),
        "the local member owns it"
    );
    assert!(
        !labels.contains_key("mirror.linkerd.io/federated"),
        "it is no member itself"
    );
    let slices: Vec<_> = scene
        .local
        .slices
        .iter()
        .filter(|(_, s)| {
            s.metadata.labels.as_ref().unwrap()["kubernetes.io/service-name"] == "web-federated"
        })
        .map(|((_, name), s)| {
            (
                name.as_str(),
                s.metadata.labels.as_ref().unwrap()["mirror.linkerd.io/cluster-name"].as_str(),
            )
        })
        .collect();
    assert_eq!(
        slices,
        [
            ("web-federated-east", "east"),
            ("web-federated-north", "north")
        ]
    );
}

#[test]
fn without_a_local_member_the_oldest_link_owns_the_federated_service() {
    let mut young = remote_service("web");
    young.labels.insert("from".into(), "east".into());
    let mut old = remote_service("web");
    old.labels.insert("from".into(), "north".into());
    let mut scene = Scene::new(vec![
        remote("east", NEW, vec![young]),
        remote("north", OLD, vec![old]),
    ]);
    scene.settle();
    assert_eq!(
        scene
            .service("web-federated")
            .metadata
            .labels
            .as_ref()
            .unwrap()["from"],
        "north"
    );
}

#[test]
fn members_leave_and_the_last_one_takes_the_federated_service_with_it() {
    let mut scene = Scene::new(vec![
        remote("east", OLD, vec![remote_service("web")]),
        remote("north", NEW, vec![remote_service("web")]),
    ]);
    scene.settle();
    scene
        .remotes
        .insert("east".into(), remote("east", OLD, vec![]));
    scene.settle();
    assert_eq!(scene.names(), ["web-federated", "web-north"]);
    let annotations = annotation(
        scene.service("web-federated"),
        "multicluster.linkerd.io/remote-discovery",
    );
    assert_eq!(annotations, Some("web@north"));
    scene.remotes.remove("north");
    scene.settle();
    assert!(scene.local.services.is_empty() && scene.local.slices.is_empty());
}

#[test]
fn slices_are_written_once_their_service_is_known_to_be_ours() {
    let mut scene = Scene::new(vec![remote("east", OLD, vec![remote_service("web")])]);
    let plan = scene.plan();
    assert!(
        diff(&plan, &scene.local)
            .iter()
            .all(|(key, _)| matches!(key, ObjectKey::Service(_)))
    );
    // Somebody else was quicker than the mirror.
    scene.add(json!({"metadata": {"name": "web-east", "namespace": "default"}}));
    scene.step();
    scene.step();
    assert!(!scene.local.slices.contains_key(&key("web-east")));
    assert!(scene.local.slices.contains_key(&key("web-federated-east")));
}

#[test]
fn silence_does_not_mean_empty() {
    let mut scene = Scene::new(vec![remote("east", OLD, vec![remote_service("web")])]);
    scene.settle();
    let before = scene.local.clone();
    // A new process, and east does not answer: nothing is known of it.
    let mut silent = remote("east", OLD, vec![]);
    silent.snapshot = Arc::new(Snapshot::default());
    silent.gateway = Some(Gateway::default());
    scene.remotes.insert("east".into(), silent);
    scene.settle();
    assert_eq!(scene.local.services, before.services);
    assert_eq!(scene.local.slices, before.slices);
}

#[test]
fn a_dead_gateway_takes_its_endpoints_out_of_rotation_and_gives_them_back() {
    let mut scene = Scene::new(vec![remote("east", OLD, vec![remote_service("web")])]);
    for (liveness, ready) in [
        (Liveness::Dead, false),
        (Liveness::Alive, true),
        (Liveness::Unknown, true),
    ] {
        let east = scene.remotes.get_mut("east").unwrap();
        east.gateway.as_mut().unwrap().liveness = liveness;
        scene.settle();
        for slice in scene.local.slices.values() {
            assert_eq!(slice.endpoints.len(), 1, "the address stays");
            assert_eq!(
                slice.endpoints[0].conditions.as_ref().unwrap().ready,
                Some(ready)
            );
        }
    }
}

#[test]
fn a_service_without_ready_endpoints_is_not_ready_here() {
    let empty = RemoteService {
        ready: false,
        ..remote_service("web")
    };
    let mut scene = Scene::new(vec![remote("east", OLD, vec![empty])]);
    scene.settle();
    let slice = &scene.local.slices[&key("web-east")];
    assert_eq!(
        slice.endpoints[0].conditions.as_ref().unwrap().ready,
        Some(false)
    );
}

#[test]
fn a_service_of_somebody_else_is_never_touched() {
    let mut scene = Scene::new(vec![remote("east", OLD, vec![remote_service("web")])]);
    for name in ["web-east", "web-federated"] {
        scene.add(json!({"metadata": {"name": name, "namespace": "default"}, "spec": {}}));
    }
    let before = scene.local.services.clone();
    scene.settle();
    assert_eq!(scene.local.services, before);
    for federated in [false, true] {
        let problem = scene.problem("web", federated);
        assert_eq!(problem.reason, "NameConflict");
        assert!(problem.message.contains("rename"), "{}", problem.message);
    }
    scene.local.services.clear();
    scene.settle();
    assert_eq!(
        scene.names(),
        ["web-east", "web-federated"],
        "it appears once the name is free"
    );
}

#[test]
fn two_services_that_would_share_a_name_do_not() {
    let mut scene = Scene::new(vec![
        remote(
            "c",
            OLD,
            vec![RemoteService {
                federated: false,
                ..remote_service("a-b")
            }],
        ),
        remote(
            "b-c",
            OLD,
            vec![RemoteService {
                federated: false,
                ..remote_service("a")
            }],
        ),
    ]);
    scene.settle();
    assert_eq!(scene.names(), ["a-b-c"]);
    let problems = scene
        .plan()
        .reports
        .into_iter()
        .filter(|r| r.result.is_err())
        .count();
    assert_eq!(problems, 1);
}

#[test]
fn a_name_that_becomes_too_long_is_refused_with_the_remedy() {
    let name = "w".repeat(60);
    let mut scene = Scene::new(vec![remote("east", OLD, vec![remote_service(&name)])]);
    scene.settle();
    assert!(scene.local.services.is_empty());
    for federated in [false, true] {
        let problem = scene.problem(&name, federated);
        assert_eq!(problem.reason, "InvalidService");
        assert!(problem.message.contains("63") && problem.message.contains("shorten"));
    }
}

#[test]
fn a_service_waits_for_its_namespace() {
    let elsewhere = RemoteService {
        namespace: "shop".into(),
        ..remote_service("web")
    };
    let mut scene = Scene::new(vec![remote("east", OLD, vec![elsewhere])]);
    scene.settle();
    assert!(scene.local.services.is_empty());
    let problem = scene.problem("web", false);
    assert_eq!(problem.reason, "MissingNamespace");
    assert!(problem.message.contains("kubectl create namespace shop"));
    scene.local.namespaces.insert("shop".into());
    scene.settle();
    assert_eq!(scene.local.services.len(), 2);
}

#[test]
fn a_headless_member_is_refused_and_the_others_stay() {
    let headless = RemoteService {
        headless: true,
        exported: false,
        ..remote_service("web")
    };
    let mut scene = Scene::new(vec![
        remote("east", OLD, vec![headless]),
        remote(
            "north",
            NEW,
            vec![RemoteService {
                exported: false,
                ..remote_service("web")
            }],
        ),
    ]);
    scene.settle();
    assert_eq!(scene.names(), ["web-federated"]);
    let service = scene.service("web-federated");
    assert_eq!(
        annotation(service, "multicluster.linkerd.io/remote-discovery"),
        Some("web@north")
    );
    assert_eq!(scene.problem("web", true).reason, "InvalidService");
}

#[test]
fn ports_that_differ_are_reported() {
    let mut scene = Scene::new(vec![
        remote("east", OLD, vec![remote_service("web")]),
        remote(
            "north",
            NEW,
            vec![RemoteService {
                ports: vec![port("http", 8080)],
                ..remote_service("web")
            }],
        ),
    ]);
    scene.settle();
    let plan = scene.plan();
    let north = plan
        .reports
        .iter()
        .find(|r| r.link == "north" && r.federated)
        .unwrap();
    assert!(
        north.result.as_ref().unwrap().contains("8080"),
        "{:?}",
        north.result
    );
}

#[test]
fn a_changed_service_is_changed_here_and_keeps_what_the_api_server_chose() {
    let mut scene = Scene::new(vec![remote("east", OLD, vec![remote_service("web")])]);
    scene.settle();
    let service = scene.local.services.get_mut(&key("web-east")).unwrap();
    service.metadata.uid = Some("uid".into());
    service.metadata.resource_version = Some("42".into());
    service.spec.as_mut().unwrap().cluster_ip = Some("10.1.2.3".into());
    let changed = RemoteService {
        ports: vec![port("http", 80), port("grpc", 90)],
        resource_version: "8".into(),
        ..remote_service("web")
    };
    scene
        .remotes
        .insert("east".into(), remote("east", OLD, vec![changed]));
    let actions = diff(&scene.plan(), &scene.local);
    let replaced = actions.iter().find_map(|(_, action)| match action {
        Action::ReplaceService(s) if s.metadata.name.as_deref() == Some("web-east") => Some(s),
        _ => None,
    });
    let replaced = replaced.unwrap();
    assert_eq!(replaced.metadata.uid.as_deref(), Some("uid"));
    assert_eq!(replaced.metadata.resource_version.as_deref(), Some("42"));
    let spec = replaced.spec.as_ref().unwrap();
    assert_eq!(spec.cluster_ip.as_deref(), Some("10.1.2.3"));
    assert_eq!(spec.ports.as_ref().unwrap().len(), 2);
}

#[test]
fn of_links_of_one_cluster_name_the_oldest_counts() {
    let twin = |created: &str, target: &str, service: &str| {
        let mut state = remote(target, created, vec![remote_service(service)]);
        let mut link = (*state.link).clone();
        link.spec.target_cluster_name = Some(target.to_owned());
        state.link = Arc::new(link);
        state
    };
    let mut scene = Scene::new(vec![]);
    scene.remotes = [
        (
            "aaa".to_owned(),
            twin("2026-01-02T00:00:00Z", "east", "late"),
        ),
        (
            "east".to_owned(),
            twin("2026-01-01T00:00:00Z", "east", "web"),
        ),
        (
            "upper".to_owned(),
            twin("2026-01-01T00:00:00Z", "EAST", "up"),
        ),
        (
            "fed".to_owned(),
            twin("2026-01-01T00:00:00Z", "federated", "fed"),
        ),
    ]
    .into();
    scene.settle();
    assert_eq!(scene.names(), ["web-east", "web-federated"]);
    let rejected = scene.plan().rejected;
    let reasons: Vec<_> = rejected
        .iter()
        .map(|(link, p)| (link.as_str(), p.reason))
        .collect();
    assert_eq!(
        reasons,
        [
            ("aaa", "DuplicateClusterName"),
            ("fed", "InvalidClusterName"),
            ("upper", "InvalidClusterName"),
        ]
    );
    assert!(rejected["aaa"].message.contains("\"east\" is older"));
}

fn flat(pods: Pods) -> RemoteService {
    RemoteService {
        exported: false,
        federated: false,
        remote_discovery: true,
        pods,
        ..remote_service("web")
    }
}

fn group(account: &str, addresses: &[(&str, bool)]) -> PodGroup {
    PodGroup {
        identity: format!("{account}.default.serviceaccount.identity.linkerd.cluster.local"),
        inbound_port: 4143,
        ports: vec![port("http", 8080)],
        addresses: addresses
            .iter()
            .map(|(ip, ready)| (ip.parse().unwrap(), *ready))
            .collect(),
    }
}

#[test]
fn a_mirror_that_goes_pod_to_pod_needs_no_gateway() {
    let pods = [
        group("a", &[("10.1.0.1", true), ("10.1.0.2", false)]),
        group("b", &[("10.1.0.3", true)]),
    ];
    let mut east = remote("east", OLD, vec![flat(Pods::Known(pods.into()))]);
    east.gateway = None;
    let mut scene = Scene::new(vec![east]);
    scene.settle();
    let service = serde_json::to_value(scene.service("web-east")).unwrap();
    let labels = &service["metadata"]["labels"];
    assert_eq!(labels["multicluster.linkerd.io/remote-discovery"], "east");
    assert_eq!(labels["multicluster.linkerd.io/remote-service"], "web");
    let slice = |name: &str| serde_json::to_value(&scene.local.slices[&key(name)]).unwrap();
    let (a, b) = (slice("web-east"), slice("web-east.1"));
    for (slice, account) in [(&a, "a"), (&b, "b")] {
        let annotations = &slice["metadata"]["annotations"];
        let identity = annotations["federation.mesh.io/pod-identity"]
            .as_str()
            .unwrap();
        assert!(identity.starts_with(&format!("{account}.default.")));
        assert_eq!(annotations["federation.mesh.io/pod-inbound-port"], "4143");
        assert_eq!(slice["ports"][0]["port"], 8080);
    }
    let ready: Vec<_> = [0, 1]
        .map(|i| a["endpoints"][i]["conditions"]["ready"].clone())
        .into();
    assert_eq!(ready, [true, false]);
    // One of the accounts is gone: so is its slice.
    let pods = [group("b", &[("10.1.0.3", true)])];
    scene.remotes = [(
        "east".to_owned(),
        remote("east", OLD, vec![flat(Pods::Known(pods.into()))]),
    )]
    .into();
    scene.settle();
    assert_eq!(scene.local.slices.len(), 1);
}

#[test]
fn pods_that_cannot_be_read_change_nothing() {
    let known = Pods::Known([group("a", &[("10.1.0.1", true)])].into());
    let mut scene = Scene::new(vec![remote("east", OLD, vec![flat(known)])]);
    scene.settle();
    let before = scene.local.clone();
    for pods in [Pods::Unknown, Pods::Unreadable("forbidden".into())] {
        scene.remotes = [("east".to_owned(), remote("east", OLD, vec![flat(pods)]))].into();
        scene.settle();
        assert_eq!(scene.local.slices, before.slices);
        assert_eq!(scene.local.services, before.services);
        assert_eq!(scene.problem("web", false).reason, "PodsUnreadable");
    }
}

#[test]
fn a_headless_service_keeps_the_names_of_its_endpoints() {
    let db = RemoteService {
        headless: true,
        federated: false,
        hosts: [("db-0".to_owned(), true), ("db-1".to_owned(), false)].into(),
        ..remote_service("db")
    };
    let mut scene = Scene::new(vec![remote("east", OLD, vec![db])]);
    // Without being asked for, it is mirrored as any other.
    scene.settle();
    assert_eq!(scene.names(), ["db-east"]);
    assert!(!object::is_headless(scene.service("db-east")));

    scene.headless = true;
    scene.step(); // the one with a cluster IP goes
    scene.step();
    for (ip, host) in ["10.96.0.1", "10.96.0.2"]
        .iter()
        .zip(["db-0-east", "db-1-east"])
    {
        let service = scene.local.services.get_mut(&key(host)).unwrap();
        service.spec.as_mut().unwrap().cluster_ip = Some((*ip).to_owned());
    }
    scene.settle();
    assert_eq!(scene.names(), ["db-0-east", "db-1-east", "db-east"]);
    assert!(object::is_headless(scene.service("db-east")));
    let endpoint = serde_json::to_value(scene.service("db-0-east")).unwrap();
    let labels = &endpoint["metadata"]["labels"];
    assert_eq!(
        labels["mirror.linkerd.io/headless-mirror-svc-name"],
        "db-east"
    );
    let slice = |name: &str| serde_json::to_value(&scene.local.slices[&key(name)]).unwrap();
    assert_eq!(
        slice("db-0-east")["metadata"]["annotations"]["mirror.linkerd.io/remote-svc-fq-name"],
        "db-0.db.default.svc.cluster.local"
    );
    let ready = |name: &str| slice(name)["endpoints"][0]["conditions"]["ready"].clone();
    assert_eq!(
        (ready("db-0-east"), ready("db-1-east")),
        (json!(true), json!(false))
    );
    let names = slice("db-east");
    let endpoints = json!([
        {"addresses": ["10.96.0.1"], "hostname": "db-0", "conditions": {"ready": true}},
        {"addresses": ["10.96.0.2"], "hostname": "db-1", "conditions": {"ready": true}},
    ]);
    assert_eq!(names["endpoints"], endpoints);
    assert_eq!(
        names["metadata"]["labels"]["service.kubernetes.io/headless"],
        ""
    );
}

#[test]
fn an_endpoint_whose_name_is_taken_is_left_out_and_named() {
    let db = RemoteService {
        headless: true,
        federated: false,
        hosts: [("db-0".to_owned(), true), ("db".to_owned(), true)].into(),
        ..remote_service("db")
    };
    let mut scene = Scene::new(vec![remote("east", OLD, vec![db])]);
    scene.headless = true;
    scene.add(json!({"metadata": {"name": "db-0-east", "namespace": "default"}}));
    scene.step();
    let report = scene.plan().reports.remove(0);
    let said = report.result.unwrap();
    assert!(
        said.contains("db-0 is left out") && said.contains("db is left out"),
        "{said}"
    );
    assert_eq!(scene.names(), ["db-0-east", "db-east"]);
}

#[test]
fn gateways_of_both_address_families_have_a_slice_each() {
    let mut east = remote("east", OLD, vec![remote_service("web")]);
    east.gateway
        .as_mut()
        .unwrap()
        .addresses
        .insert("fd00::9".parse().unwrap());
    let mut scene = Scene::new(vec![east]);
    scene.settle();
    let types: Vec<_> = ["web-east", "web-east-ipv6"]
        .map(|name| scene.local.slices[&key(name)].address_type.clone())
        .into();
    assert_eq!(types, ["IPv4", "IPv6"]);
}
