//! `exec`, `cp` and `port-forward`, with a real node agent: pods are processes of this machine.

use super::Claim;
use crate::sandbox::{Cluster, eventually, runtime, upgrade};
use clap::Parser;
use devcluster::node;
use kube::config::{KubeConfigOptions, Kubeconfig};
use mesh_daemon::Trigger;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;
use tempfile::TempDir;

pub const CLAIMS: &[Claim] = &[
    ("exec runs in the pod and exits as the command did", exits),
    ("exec passes standard input to its end", input),
    ("exec gives a terminal to who asks for one", terminal),
    ("exec names what does not run", missing),
    ("cp copies to and fro", copies),
    ("exec works over SPDY too", spdy),
    ("port-forward carries connections side by side", forwards),
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
        let kubeconfig = Kubeconfig::from_yaml(&cluster.running.admin_kubeconfig).unwrap();
        let options = KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await;
        let client = kube::Client::try_from(config.unwrap()).unwrap();
        upgrade::exec(&client, path).await
    });
    assert!(said.starts_with("/dev/pts/"), "{said}");
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

/// As kubectl before 1.31 does it, and API servers towards nodes.
fn spdy(cluster: &Cluster) {
    let _node = Node::start(cluster, 6);
    let run = |words: &[&str], input: &str| {
        let words = [&["exec", "-i", "web", "-c", "main", "--"], words].concat();
        let mut child = cluster
            .command(&words)
            .env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false")
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // It may end before it has heard everything.
        let _ended = stdin.write_all(input.as_bytes());
        drop(stdin);
        child.wait_with_output().unwrap()
    };
    let text = "All work and no play.\n".repeat(50_000);
    let echoed = run(&["cat"], &text);
    assert!(echoed.status.success(), "{echoed:?}");
    assert!(
        echoed.stdout == text.as_bytes(),
        "{} bytes",
        echoed.stdout.len()
    );
    let failed = run(&["sh", "-c", "echo $COLOR >&2; exit 7"], "");
    let err = String::from_utf8_lossy(&failed.stderr);
    assert_eq!(failed.status.code(), Some(7), "{err}");
    assert!(err.starts_with("green\n"), "{err}");
}

fn forwards(cluster: &Cluster) {
    let _node = Node::start(cluster, 7);
    let ip = cluster.ok(&["get", "pod", "web", "-o", "jsonpath={.status.podIP}"]);
    let server = TcpListener::bind((ip.as_str(), 8080)).unwrap();
    std::thread::spawn(move || {
        for stream in server.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut heard = String::new();
                stream.read_to_string(&mut heard).unwrap();
                stream
                    .write_all(format!("{} {heard}", heard.len()).as_bytes())
                    .unwrap();
            });
        }
    });
    let mut kubectl = cluster.spawn(&["port-forward", "pod/web", ":8080", ":8081"]);
    let mut lines = BufReader::new(kubectl.stdout.take().unwrap()).lines();
    let mut port_to = |pod: &str| -> u16 {
        loop {
            let line = lines.next().unwrap().unwrap();
            let (near, far) = line
                .trim_start_matches("Forwarding from ")
                .split_once(" -> ")
                .unwrap();
            if far == pod && near.starts_with("127.0.0.1:") {
                return near.rsplit_once(':').unwrap().1.parse().unwrap();
            }
        }
    };
    let (open, closed) = (port_to("8080"), port_to("8081"));
    let connect = |port: u16| {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream
            .set_read_timeout(Some(crate::sandbox::PATIENCE))
            .unwrap();
        stream
    };
    let ask = |mut stream: TcpStream, text: &str| {
        stream.write_all(text.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    // The first is open while the second is asked and answered.
    let (first, second) = (connect(open), connect(open));
    let long = "x".repeat(300_000);
    assert!(ask(second, &long) == format!("300000 {long}"));
    assert_eq!(ask(first, "hello"), "5 hello");
    // Nobody listens there: the connection ends, and kubectl says why.
    let mut stream = connect(closed);
    let mut nothing = String::new();
    let _reset = stream.read_to_string(&mut nothing);
    assert_eq!(nothing, "");
    kubectl.kill().unwrap();
    let said = String::from_utf8(kubectl.wait_with_output().unwrap().stderr).unwrap();
    assert!(said.contains("cannot connect to port 8081"), "{said}");
}
