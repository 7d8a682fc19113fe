//! `exec` and `cp`, with a real node agent: pods are processes of this machine.

use super::Claim;
use crate::sandbox::{Cluster, eventually, runtime};
use clap::Parser;
use devcluster::node;
use mesh_daemon::Trigger;
use std::path::Path;
use tempfile::TempDir;

pub const CLAIMS: &[Claim] = &[
    ("exec runs in the pod and exits as the command did", exits),
    ("exec passes standard input to its end", input),
    ("exec gives a terminal to who asks for one", terminal),
    ("exec names what does not run", missing),
    ("cp copies to and fro", copies),
];

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    args: node::Args,
}

/// A node with a running pod `web`; both end with this.
struct Node<'a> {
    cluster: &'a Cluster,
    dir: TempDir,
    trigger: Trigger,
}

const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: main, image: test, args: [-c, "exec sleep 120"], env: [{name: COLOR, value: green}]}
  - {name: side, image: test, args: [-c, "exec sleep 120"]}
"#;

impl<'a> Node<'a> {
    fn start(cluster: &'a Cluster, third: u8) -> Self {
        let dir = TempDir::new().unwrap();
        let kubeconfig = dir.path().join("config");
        std::fs::write(&kubeconfig, &cluster.running.admin_kubeconfig).unwrap();
        let second = 131 + std::process::id() % 100;
        let flags = [
            "node-agent".to_owned(),
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--state-dir={}", dir.path().join("node").display()),
            format!("--pod-cidr=127.{second}.{third}.0/24"),
            "--image=test=/bin/sh".to_owned(),
        ];
        let (trigger, shutdown) = mesh_daemon::shutdown();
        let args = Flags::parse_from(flags).args;
        runtime().spawn(async move { node::run(args, shutdown).await.unwrap() });
        let node = Self {
            cluster,
            dir,
            trigger,
        };
        eventually("the default account", || {
            cluster
                .run(&["get", "serviceaccount", "default"])
                .ok
                .then_some(())
        });
        cluster.fed(&["create", "-f", "-"], POD);
        let ready = ["wait", "--for=condition=Ready", "pod/web", "--timeout=20s"];
        cluster.ok(&ready);
        node
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }
}

impl Drop for Node<'_> {
    fn drop(&mut self) {
        // With its pod, whose processes would outlive the agent.
        self.cluster
            .run(&["delete", "pod", "web", "--now", "--timeout=10s"]);
        self.trigger.shutdown();
    }
}

fn exits(cluster: &Cluster) {
    let _node = Node::start(cluster, 1);
    let script = "echo $COLOR; echo $CLUSTER_NAME >&2";
    let said = cluster.run(&["exec", "web", "-c", "main", "--", "/bin/sh", "-c", script]);
    assert!(said.ok, "{said:?}");
    assert_eq!(said.out, "green\n");
    assert!(said.err.contains("local\n"), "{said:?}");
    // The variable is the other container's.
    let side = cluster.ok(&[
        "exec",
        "web",
        "-c",
        "side",
        "--",
        "sh",
        "-c",
        "echo [$COLOR]",
    ]);
    assert_eq!(side, "[]\n");
    let failed = cluster.fails(&["exec", "web", "-c", "main", "--", "sh", "-c", "exit 7"]);
    assert!(failed.contains("exit code 7"), "{failed}");
    let unknown = cluster.fails(&["exec", "web", "-c", "main", "--", "no-such-program"]);
    assert!(unknown.contains("no-such-program"), "{unknown}");
}

fn input(cluster: &Cluster) {
    let _node = Node::start(cluster, 2);
    // More than all buffers on the way hold, there and back at once.
    let text = "All work and no play.\n".repeat(50_000);
    let said = cluster.feed(&["exec", "-i", "web", "-c", "main", "--", "cat"], &text);
    assert!(said.ok, "{}", said.err);
    assert!(
        said.out == text,
        "{} of {} bytes",
        said.out.len(),
        text.len()
    );
}

fn terminal(cluster: &Cluster) {
    let _node = Node::start(cluster, 3);
    let plain = cluster.run(&["exec", "web", "-c", "main", "--", "tty"]);
    assert!(plain.out.contains("not a tty"), "{plain:?}");
    let path = "/api/v1/namespaces/default/pods/web/exec?command=sh&command=-c\
        &command=tty%3B%20stty%20size&container=main&stdout=true&tty=true";
    let said = runtime().block_on(async {
        use futures::StreamExt as _;
        use tokio_tungstenite::tungstenite::protocol::Role;
        let io = upgraded(cluster, path).await;
        let mut socket =
            tokio_tungstenite::WebSocketStream::from_raw_socket(io, Role::Client, None).await;
        let mut said = String::new();
        while let Some(Ok(message)) = socket.next().await {
            let bytes = message.into_data();
            match bytes.first() {
                Some(1) => said.push_str(&String::from_utf8_lossy(&bytes[1..])),
                Some(3) => {
                    assert!(bytes.windows(7).any(|w| w == b"Success"), "{bytes:?}");
                }
                _ => {}
            }
        }
        said
    });
    assert!(said.starts_with("/dev/pts/"), "{said}");
}

/// A connection that speaks WebSocket, as the API server's administrator.
async fn upgraded(
    cluster: &Cluster,
    path: &str,
) -> hyper_util::rt::TokioIo<hyper::upgrade::Upgraded> {
    let kubeconfig =
        kube::config::Kubeconfig::from_yaml(&cluster.running.admin_kubeconfig).unwrap();
    let options = kube::config::KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .unwrap();
    let client = kube::Client::try_from(config).unwrap();
    let request = http::Request::get(path)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("sec-websocket-protocol", "v5.channel.k8s.io")
        .body(kube::client::Body::empty())
        .unwrap();
    let answer = client.send(request).await.unwrap();
    assert_eq!(answer.status(), 101);
    assert_eq!(
        answer.headers()["sec-websocket-accept"],
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    );
    hyper_util::rt::TokioIo::new(hyper::upgrade::on(answer).await.unwrap())
}

fn missing(cluster: &Cluster) {
    let _node = Node::start(cluster, 4);
    let pod = cluster.fails(&["exec", "nobody", "--", "true"]);
    assert!(pod.contains("\"nobody\" not found"), "{pod}");
    let container = cluster.fails(&["exec", "web", "-c", "nobody", "--", "true"]);
    assert!(container.contains("nobody"), "{container}");
}

fn copies(cluster: &Cluster) {
    let node = Node::start(cluster, 5);
    let (there, back) = (node.path("there"), node.path("back"));
    let text = "x".repeat(200_000);
    std::fs::write(node.path("file"), &text).unwrap();
    cluster.ok(&[
        "cp",
        "-c",
        "main",
        &node.path("file"),
        &format!("web:{there}"),
    ]);
    assert_eq!(std::fs::read_to_string(Path::new(&there)).unwrap(), text);
    cluster.ok(&["cp", "-c", "main", &format!("web:{there}"), &back]);
    assert_eq!(std::fs::read_to_string(Path::new(&back)).unwrap(), text);
}
