//! Whatever a cluster holds, every message is valid; and however it came to hold it, the answers
//! are those of an index that sees it for the first time.

use super::valid;
use crate::index::Answer;
use crate::{
    grpc::{endpoints::Diff, inbound::server, outbound::policy, profile::profile},
    index::ObjectRef,
    sandbox::*,
    view::{Audience, Authority, Endpoints, EndpointsKey, InboundKey, Target, TargetKey},
};
use serde_json::json;
use std::collections::BTreeMap;
use tokio::sync::watch;

const AUDIENCES: [Audience; 2] = [Audience::Mesh, Audience::Gateway];

const NAMES: &[&str] = &[
    "web.default.svc.cluster.local:80",
    "web.default.svc.cluster.local:81",
    "web-federated.default.svc.cluster.local:80",
    "east.web-federated.default.svc.cluster.local:80",
    "north.web-federated.default.svc.cluster.local:80",
    "web-1.web.default.svc.cluster.local:80",
    "web.other.svc.cluster.local:80",
];

const ADDRESSES: &[&str] = &[
    "10.96.0.1:80",
    "10.96.0.1:1",
    "10.96.0.2:80",
    "10.0.0.1:8080",
    "10.0.0.1:3306",
    "10.0.0.2:4143",
    "[fd00::1]:80",
];

/// Numbers that look random and are the same every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(sides).unwrap()).unwrap()
    }

    fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.roll(of.len())]
    }
}

/// Every way to change the cluster, most of them nasty.
fn shake(sandbox: &Sandbox, dice: &mut Dice) {
    let hostile = "\"quoted\"\n\\ü";
    let ip = dice.pick(&["10.0.0.1", "10.0.0.2", "fd00::1", "garbage", "0.0.0.0", ""]);
    let name = dice.pick(&["web-1", "web-2", hostile]);
    let service_name = dice.pick(&["web", "web-federated"]);
    let refs = ["MeshTLSAuthentication", "NetworkAuthentication"]
        .map(|kind| json!({"group": "policy.linkerd.io", "kind": kind, "name": "a"}));
    match dice.roll(16) {
        0 => sandbox.apply(pod(name, ip)),
        1 => sandbox.apply(plain_pod(name, ip)),
        2 => sandbox.delete::<Pod>("default", name),
        3 => {
            let mut odd = pod(name, ip);
            if let Some(spec) = &mut odd.spec {
                spec.service_account_name = Some(dice.pick(&["", "web", "web"]).to_owned());
                spec.host_network = Some(dice.roll(2) == 0);
            }
            odd.metadata.owner_references.as_mut().unwrap()[0].kind = hostile.to_owned();
            let key = "config.linkerd.io/opaque-ports";
            let ports = dice.pick(&["", "8080", "1-65535", "0,99999,x", "http"]);
            sandbox.apply(annotated(odd, key, ports));
        }
        4 => sandbox.apply(slice(service_name, 8080, &[(name, ip), ("web-1", "10.0.0.1")])),
        5 => {
            let mut odd = slice(service_name, 8080, &[(name, ip)]);
            match dice.roll(6) {
                0 => odd.ports = None,
                1 => odd.ports.as_mut().unwrap()[0].port = None,
                2 => odd.ports.as_mut().unwrap()[0].port = Some(-1),
                3 => odd.endpoints[0].target_ref = None,
                4 => odd.endpoints[0].conditions = None,
                _ => odd.endpoints[0].zone = Some(hostile.to_owned()),
            }
            sandbox.apply(odd);
        }
        6 => sandbox.delete::<EndpointSlice>("default", &format!("{service_name}-1")),
        7 => {
            let cluster = dice.pick(&["east", "north", hostile]);
            let mut odd = gateway_slice(service_name, cluster, "192.0.2.1");
            let annotations = odd.metadata.annotations.as_mut().unwrap();
            let key = dice.pick(&[
                "mirror.linkerd.io/remote-svc-fq-name",
                "mirror.linkerd.io/remote-gateway-identity",
                "unrelated",
            ]);
            match dice.roll(3) {
                0 => drop(annotations.remove(key)),
                1 => drop(annotations.insert(key.to_owned(), hostile.to_owned())),
                _ => {}
            }
            sandbox.apply(odd);
        }
        8 => sandbox.delete::<EndpointSlice>("default", &format!("{service_name}-east")),
        9 => {
            let ip = dice.pick(&["10.96.0.1", "10.96.0.2", "None", "", "10.0.0.1"]);
            let port = [80, 81][dice.roll(2)];
            let mut odd = service(service_name, ip, port);
            let label = dice.pick(&["mirror.linkerd.io/exported", "mirror.linkerd.io/mirrored-service"]);
            odd = labelled(odd, label, dice.pick(&["true", "false"]));
            let spec = odd.spec.as_mut().unwrap();
            if dice.roll(4) == 0 {
                spec.ports = None;
            } else if let Some(ports) = &mut spec.ports {
                ports[0].app_protocol =
                    Some(dice.pick(&["http", "grpc", "", hostile, "tcp"]).to_owned());
            }
            sandbox.apply(odd);
        }
        10 => {
            let members = dice.pick(&["web@east,web@north", "", "@,x@,@y", "web@\"", "web@east"]);
            let local = dice.pick(&["web", "web-federated", "", "missing", hostile]);
            let key = "multicluster.linkerd.io/remote-discovery";
            let odd = annotated(service(service_name, "10.96.0.2", 80), key, members);
            let key = "multicluster.linkerd.io/local-discovery";
            sandbox.apply(annotated(odd, key, local));
        }
        11 => sandbox.delete::<Service>("default", service_name),
        12 => sandbox.apply(object::<Server>(json!({
            "apiVersion": "policy.linkerd.io/v1beta3", "kind": "Server",
            "metadata": {"namespace": "default", "name": dice.pick(&["s", hostile])},
            "spec": {
                "podSelector": {"matchLabels": {"app": dice.pick(&["web", "db"])}},
                "port": dice.pick(&["http", "linkerd-proxy", "8080"]),
                "proxyProtocol": dice.pick(&["unknown", "HTTP/1", "HTTP/2", "gRPC", "opaque", "TLS"]),
                "accessPolicy": dice.pick(&["deny", "audit", "nonsense", "cluster-authenticated"])
            }
        }))),
        13 => sandbox.apply(object::<AuthorizationPolicy>(json!({
            "apiVersion": "policy.linkerd.io/v1alpha1", "kind": "AuthorizationPolicy",
            "metadata": {"namespace": "default", "name": "a"},
            "spec": {
                "targetRef": {
                    "group": dice.pick(&["policy.linkerd.io", "core"]),
                    "kind": dice.pick(&["Server", "Namespace"]),
                    "name": dice.pick(&["s", "default"])
                },
                "requiredAuthenticationRefs": refs[..dice.roll(3)]
            }
        }))),
        14 => sandbox.apply(object::<MeshTLSAuthentication>(json!({
            "apiVersion": "policy.linkerd.io/v1alpha1", "kind": "MeshTLSAuthentication",
            "metadata": {"namespace": "default", "name": "a"},
            "spec": {
                "identities": [dice.pick(&["*", "*.", "", hostile, "*.default.local", "a.b"])],
                "identityRefs": [{"kind": dice.pick(&["ServiceAccount", "Namespace", "Pod"]), "name": "web"}]
            }
        }))),
        _ => sandbox.apply(object::<NetworkAuthentication>(json!({
            "apiVersion": "policy.linkerd.io/v1alpha1", "kind": "NetworkAuthentication",
            "metadata": {"namespace": "default", "name": "a"},
            "spec": {"networks": [{
                "cidr": dice.pick(&["0.0.0.0/0", "10.0.0.0/8", "1.2.3.4", "nonsense"]),
                "except": [dice.pick(&["10.1.0.0/16", "::/0", "bad"])]
            }]}
        }))),
    }
}

/// A stream of endpoints as a proxy has it.
struct Stream {
    view: watch::Receiver<Answer<Endpoints>>,
    diff: Diff,
    proxy: valid::Balancer,
}

impl Stream {
    fn catch_up(&mut self) {
        let answer = self.view.borrow_and_update().clone();
        for update in self.diff.step(&answer).messages {
            self.proxy.update(&update);
        }
        let now = answer
            .as_ref()
            .map(|e| e.addresses.keys().copied().collect());
        assert_eq!(self.proxy.exists, answer.is_some());
        assert_eq!(self.proxy.addresses, now.unwrap_or_default());
    }
}

fn streams(sandbox: &Sandbox) -> BTreeMap<(usize, &'static str), Stream> {
    let mut streams = BTreeMap::new();
    for (n, audience) in AUDIENCES.into_iter().enumerate() {
        for name in NAMES {
            let stream = Stream {
                view: sandbox.endpoints(audience, name),
                diff: Diff::new(audience),
                proxy: valid::Balancer::default(),
            };
            streams.insert((n, *name), stream);
        }
    }
    streams
}

/// Every question about where traffic goes, and who may come in.
fn validate_policies(sandbox: &Sandbox) {
    for audience in AUDIENCES {
        for target in NAMES.iter().chain(ADDRESSES) {
            if let Some(answer) = sandbox.outbound(audience, target) {
                valid::policy(&policy(&answer));
            }
            if let Some(answer) = sandbox.profile(audience, target) {
                valid::profile(&profile(&answer));
            }
        }
    }
    for pod in ["web-1", "web-2"] {
        for port in [80, 8080, 4143, 4191, 3306] {
            if let Some(answer) = &*sandbox.inbound(pod, port).borrow() {
                valid::server(&server(answer));
            }
        }
    }
}

#[test]
fn messages_are_valid_whatever_the_cluster_holds() {
    for seed in 1..40 {
        let mut dice = Dice(seed << 20 | 0x9E37);
        let sandbox = Sandbox::federated();
        let mut streams = streams(&sandbox);
        for _ in 0..200 {
            shake(&sandbox, &mut dice);
            // Proxies do not hear every change.
            if dice.roll(2) == 0 {
                streams.values_mut().for_each(Stream::catch_up);
                validate_policies(&sandbox);
            }
        }
    }
}

/// Answers of an index that lived through everything, and of one made from what is left: if the
/// index forgot what an answer rests on, the first is stale.
#[test]
fn answers_do_not_depend_on_how_the_cluster_came_to_be() {
    for seed in 1..40 {
        let mut dice = Dice(seed << 24 | 0xD1B5);
        let lived = Sandbox::federated();
        let watched = Watched::all(&lived);
        for _ in 0..150 {
            shake(&lived, &mut dice);
            let fresh = lived.index.lock().rebuilt();
            let now = Watched::all_of(&mut { fresh });
            assert_eq!(watched.values(), now.values(), "seed {seed}");
        }
    }
}

/// Every answer, watched.
struct Watched {
    endpoints: Vec<watch::Receiver<Answer<Endpoints>>>,
    outbound: Vec<watch::Receiver<Answer<crate::view::Outbound>>>,
    profiles: Vec<watch::Receiver<Answer<crate::view::Profile>>>,
    inbound: Vec<watch::Receiver<Answer<crate::view::Inbound>>>,
}

impl Watched {
    fn all(sandbox: &Sandbox) -> Self {
        Self::all_of(&mut sandbox.index.lock())
    }

    fn all_of(index: &mut crate::index::Index) -> Self {
        let mut all = Self {
            endpoints: vec![],
            outbound: vec![],
            profiles: vec![],
            inbound: vec![],
        };
        for audience in AUDIENCES {
            for path in NAMES.iter().chain(ADDRESSES) {
                let target = match Authority::parse(path, "cluster.local").unwrap() {
                    Authority::Address(address) => Target::Address(address),
                    Authority::External => panic!("{path}"),
                    Authority::Name(host, port) => {
                        all.endpoints.push(index.endpoints(EndpointsKey {
                            audience,
                            host: host.clone(),
                            port,
                        }));
                        Target::Name(host, port)
                    }
                };
                let key = TargetKey { audience, target };
                all.outbound.push(index.outbound(key.clone()));
                all.profiles.push(index.profile(key));
            }
        }
        for port in [8080, 4143, 4191] {
            let pod = ObjectRef::new("default", "web-1");
            all.inbound.push(index.inbound(InboundKey { pod, port }));
        }
        all
    }

    fn values(&self) -> impl PartialEq + std::fmt::Debug + use<> {
        fn now<T: Clone>(views: &[watch::Receiver<T>]) -> Vec<T> {
            views.iter().map(|view| view.borrow().clone()).collect()
        }
        (
            now(&self.endpoints),
            now(&self.outbound),
            now(&self.profiles),
            now(&self.inbound),
        )
    }
}
