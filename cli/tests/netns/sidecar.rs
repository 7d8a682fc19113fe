//! What a sidecar does with connections the kernel redirected: real pods, real NAT.

use crate::cluster_sandbox::{Cluster, Files, eventually};
use crate::sandbox::{Claim, ok};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::Api;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::{Value, json};
use std::{
    fs::{File, Permissions},
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::{
        fd::AsFd as _,
        unix::fs::{MetadataExt as _, PermissionsExt as _},
    },
    process::{Child, Command, Stdio},
    time::Duration,
};
use x509_parser::{certification_request::X509CertificationRequest, prelude::FromDer as _};

pub(crate) fn all() -> Vec<Claim> {
    vec![
        claim(
            "sidecars_carry_what_is_redirected_to_them",
            sidecars_carry_what_is_redirected_to_them,
        ),
        claim(
            "another_proxy_finds_its_key_and_request_on_disk",
            another_proxy_finds_its_key_and_request_on_disk,
        ),
    ]
}

fn claim<F: Future<Output = ()>>(name: &str, test: impl FnOnce() -> F + Send + 'static) -> Claim {
    Claim {
        name: name.to_owned(),
        needs: &["ip", "nft"],
        test: Box::new(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(test());
        }),
    }
}

/// A node agent with pods in network namespaces; it ends with this, and so do its pods.
struct Node {
    agent: Child,
    files: Files,
}

impl Node {
    fn start(cluster: &Cluster) -> Self {
        Self::start_with(cluster, Files::new(), &[])
    }

    fn start_with(cluster: &Cluster, files: Files, flags: &[String]) -> Self {
        let state = files.path("node");
        let log = File::create(files.path("log")).unwrap();
        let agent = Command::new(env!("CARGO_BIN_EXE_mesh"))
            .args(["node-agent", "--network=netns", "--cluster-name=west"])
            .args(["--pod-cidr=10.161.0.0/16", "--lb-cidr=10.162.0.0/24"])
            .arg(format!("--kubeconfig={}", cluster.kubeconfig))
            .arg(format!("--state-dir={}", state.display()))
            .arg(format!("--run-id={}", state.display()))
            .args(flags)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { agent, files }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.files.path("log")).unwrap_or_default()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ended = self.agent.kill().and_then(|()| self.agent.wait());
        let state = self.files.path("node");
        let run = state.display().to_string();
        if let Err(error) = devcluster::node::end_run(&run, &state) {
            eprintln!("{error:#}");
        }
    }
}

const PODS: &str = r#"
apiVersion: v1
kind: ServiceAccount
metadata: {name: client, namespace: default}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: plain, namespace: default, annotations: {linkerd.io/inject: disabled}}
spec: {containers: [{name: main, image: "registry.k8s.io/pause:3"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: default, labels: {app: web}, annotations: {linkerd.io/inject: enabled}}
spec:
  containers: [{name: main, image: "mesh.io/demo-web:1", ports: [{containerPort: 8080}]}]
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: default, annotations: {linkerd.io/inject: enabled}}
spec:
  serviceAccountName: client
  containers: [{name: main, image: "registry.k8s.io/pause:3"}]
"#;

async fn sidecars_carry_what_is_redirected_to_them() {
    let cluster = Cluster::start("west").await;
    let node = Node::start(&cluster);
    run_meshed(&cluster, &node, PODS).await;
    let [web, client, plain] = [
        until_ready(&cluster, &node, "web").await,
        until_ready(&cluster, &node, "client").await,
        until_ready(&cluster, &node, "plain").await,
    ];
    let services: Api<Service> = Api::namespaced(cluster.client.clone(), "default");
    let service = services.get("web").await.unwrap();
    let cluster_ip = service.spec.unwrap().cluster_ip.unwrap();
    let by_service: SocketAddr = format!("{cluster_ip}:80").parse().unwrap();
    let by_pod: SocketAddr = format!("{web}:8080").parse().unwrap();

    // Outbound: the sidecar learns of the cluster IP from the kernel alone, and speaks mTLS.
    let seen = eventually(async || {
        let seen = ask_from(&client, by_service).map_err(|e| e.to_string())?;
        let known = seen["client_id"].is_string();
        known
            .then(|| seen.clone())
            .ok_or_else(|| format!("an answer to a client with an identity, not {seen}"))
    })
    .await;
    assert_eq!(seen["pod"], "web");
    assert_eq!(
        seen["client_id"],
        "client.default.serviceaccount.identity.linkerd.cluster.local"
    );
    // Inbound: whoever has no sidecar is led through the server's all the same.
    for to in [by_service, by_pod] {
        let seen = ask_from(&plain, to).unwrap();
        assert_eq!(
            (&seen["pod"], &seen["client_id"]),
            (&json!("web"), &Value::Null)
        );
    }
    let carried = metrics(&web);
    let of_port = carried
        .lines()
        .filter(|l| l.starts_with("request_total{") && l.contains("direction=\"inbound\""));
    let ports: Vec<&str> = of_port.filter(|l| l.contains(":8080\"")).collect();
    assert!(!ports.is_empty(), "{carried}");
    let carried = metrics(&client);
    let target = format!("{cluster_ip}:80");
    assert!(carried.contains(&target), "{target}: {carried}");
    // Its own connections are not redirected, or nothing of the above would have ended.
    let check = ok(
        "ip",
        &[
            "netns",
            "exec",
            &namespace(&client),
            env!("CARGO_BIN_EXE_mesh"),
            "proxy-init",
            "--check",
            "--inbound-ports-to-ignore=4190,4191",
        ],
    );
    assert!(
        check.contains("uid 2102") && !check.contains('×'),
        "{check}"
    );
}

const OTHER: &str = r#"
apiVersion: v1
kind: Pod
metadata:
  name: web
  namespace: default
  annotations:
    linkerd.io/inject: enabled
    config.linkerd.io/proxy-image: example.com/other-proxy
    config.linkerd.io/proxy-version: "1"
spec:
  containers: [{name: main, image: "mesh.io/demo-web:1", ports: [{containerPort: 8080}]}]
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: default, annotations: {linkerd.io/inject: enabled}}
spec:
  containers: [{name: main, image: "registry.k8s.io/pause:3"}]
"#;

/// Stands for a proxy that reads its key at its start, and then for any proxy.
const OTHER_PROXY: &str = r#"#!/bin/sh
test -s "$LINKERD2_PROXY_IDENTITY_DIR/key.p8" || exit 66
test -s "$LINKERD2_PROXY_IDENTITY_DIR/csr.der" || exit 66
exec /run/mesh/image/mesh proxy
"#;

async fn another_proxy_finds_its_key_and_request_on_disk() {
    let cluster = Cluster::start("west").await;
    let files = Files::new();
    let program = files.file("other-proxy", OTHER_PROXY);
    std::fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let flag = format!("--proxy-image=example.com/other-proxy={program}");
    let node = Node::start_with(&cluster, files, &[flag]);
    run_meshed(&cluster, &node, OTHER).await;
    let web = until_ready(&cluster, &node, "web").await;
    let client = until_ready(&cluster, &node, "client").await;
    // The proxy is there, and a proxy it is.
    let by_pod: SocketAddr = format!("{web}:8080").parse().unwrap();
    let name = "default.default.serviceaccount.identity.linkerd.cluster.local";
    eventually(async || {
        let seen = ask_from(&client, by_pod).map_err(|e| e.to_string())?;
        let known = seen["client_id"] == name;
        known
            .then_some(())
            .ok_or_else(|| format!("{name}, not {seen}"))
    })
    .await;

    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "default");
    let pod = serde_json::to_value(pods.get("web").await.unwrap()).unwrap();
    let image = &pod["spec"]["containers"][0]["image"];
    assert_eq!(image, "example.com/other-proxy:1");
    let uid = pod["metadata"]["uid"].as_str().unwrap();
    let volume = format!("node/pods/{uid}/volumes/linkerd-identity-end-entity");
    let folder = node.files.path(&volume);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let entry = entry.unwrap();
        let file = entry.metadata().unwrap();
        let mode = file.permissions().mode() & 0o777;
        let file_name = entry.file_name().into_string().unwrap();
        found.push((file_name, mode, file.uid()));
    }
    found.sort();
    let expected = [("csr.der", 0o600, 2102), ("key.p8", 0o600, 2102)];
    assert_eq!(
        found,
        expected.map(|(name, mode, uid)| (name.to_owned(), mode, uid))
    );
    let csr = std::fs::read(folder.join("csr.der")).unwrap();
    let (_, csr) = X509CertificationRequest::from_der(&csr).unwrap();
    csr.verify_signature().unwrap();
    let subject = csr.certification_request_info.subject.to_string();
    assert_eq!(subject, format!("CN={name}"));
}

/// Installs the control plane, and applies these pods with their sidecars.
async fn run_meshed(cluster: &Cluster, node: &Node, pods: &str) {
    let install = cluster.mesh(&["install", "--ignore-cluster"]).await.out();
    cluster.apply(&install).await;
    let pods = node.files.file("pods.yaml", pods);
    let pods = cluster.mesh(&["inject", &pods]).await.out();
    cluster.apply(&pods).await;
}

async fn until_ready(cluster: &Cluster, node: &Node, name: &str) -> String {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "default");
    eventually(async || {
        let pod = pods.get(name).await.map_err(|e| e.to_string())?;
        let pod = serde_json::to_value(pod).unwrap();
        let conditions = pod["status"]["conditions"].as_array();
        let is_ready = conditions
            .into_iter()
            .flatten()
            .any(|c| c["type"] == "Ready" && c["status"] == "True");
        let ip = pod["status"]["podIP"].as_str().filter(|_| is_ready);
        ip.map(str::to_owned)
            .ok_or_else(|| format!("{name} ready: {:#}\n{}", pod["status"], node.log()))
    })
    .await
}

/// The name of a pod's network namespace.
fn namespace(ip: &str) -> String {
    let names = ok("ip", &["netns", "list"]);
    let suffix = format!("-{ip}");
    let mut names = names.lines().filter_map(|l| l.split(' ').next());
    names
        .find(|name| name.ends_with(&suffix))
        .unwrap()
        .to_owned()
}

/// Asks as a program in the pod at `ip` would: with a socket of its network namespace.
fn ask_from(ip: &str, to: SocketAddr) -> std::io::Result<Value> {
    let file = File::open(format!("/run/netns/{}", namespace(ip)))?;
    let asked = std::thread::spawn(move || {
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
        get(to, "web.default.svc.cluster.local", "/")
    });
    let body = asked.join().unwrap()?;
    serde_json::from_str(&body).map_err(|e| std::io::Error::other(format!("{e}: {body}")))
}

fn metrics(ip: &str) -> String {
    get(format!("{ip}:4191").parse().unwrap(), ip, "/metrics").unwrap()
}

fn get(to: SocketAddr, host: &str, path: &str) -> std::io::Result<String> {
    let timeout = Duration::from_secs(10);
    let mut stream = TcpStream::connect_timeout(&to, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer
        .split_once("\r\n\r\n")
        .map(|(_, body)| body.to_owned());
    body.ok_or_else(|| std::io::Error::other(format!("no answer: {answer:?}")))
}
