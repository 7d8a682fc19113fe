//! All pods of the node: follows the API, binds what is unbound, gives each pod a worker, and at
//! the start puts what is found on disk together with what the API says.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use kube::api::ObjectMeta;
use kube::runtime::watcher::Event;
use kube::{Api, ResourceExt as _};
use mesh_daemon::readiness::Guard;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::agent::Agent;
use super::bind;
use super::disk::PodDir;
use super::follow::follow;
use super::model::{PodRecord, now};
use super::plan;
use super::process::{NODE_MARKER, kill_marked};
use super::worker::{self, Seen};

/// A pod the API forgot while the agent was away gets this long to end.
const ORPHAN_GRACE_S: i64 = 5;

/// The pods and their workers.
pub(super) struct Manager {
    agent: Arc<Agent>,
    workers: HashMap<String, Worker>,
    /// What an earlier agent left, until the first list says whose it is.
    left: HashMap<String, PodRecord>,
    /// Pods on their way to this node, so that each is bound once at a time.
    binding: Arc<Mutex<HashSet<String>>>,
}

struct Worker {
    seen: watch::Sender<Seen>,
    task: JoinHandle<()>,
}

impl Manager {
    /// `left`: the records found on disk; their addresses are already reserved.
    pub(super) fn new(agent: Arc<Agent>, left: Vec<PodRecord>) -> Self {
        let left = left.into_iter().map(|r| (r.uid.clone(), r)).collect();
        Self {
            agent,
            workers: HashMap::new(),
            left,
            binding: Arc::default(),
        }
    }

    /// Follows the API for ever. `guard` is dropped after the first list.
    pub(super) async fn run(mut self, guard: Guard) {
        self.end_strays();
        let pods: Api<Pod> = Api::all(self.agent.client.clone());
        let mut stream = std::pin::pin!(follow(pods, "pods"));
        let mut guard = Some(guard);
        let mut listed: HashSet<String> = HashSet::new();
        while let Some(event) = stream.next().await {
            match event {
                Event::Init => listed.clear(),
                Event::InitApply(pod) => {
                    listed.extend(pod.uid());
                    self.apply(pod);
                }
                Event::InitDone => {
                    self.forget_all_but(&listed);
                    guard.take();
                }
                Event::Apply(pod) => self.apply(pod),
                Event::Delete(pod) => self.forget(&pod.uid().unwrap_or_default(), Some(pod)),
            }
            self.workers.retain(|_, w| !w.task.is_finished());
        }
    }

    /// Marked processes no record knows: the agent died between starting and writing it down.
    fn end_strays(&self) {
        let known: HashSet<i32> = self
            .left
            .values()
            .flat_map(|r| r.containers.values())
            .filter_map(|c| c.running().map(|r| r.pid))
            .collect();
        let ended = kill_marked(NODE_MARKER, &self.agent.marker(), |m| {
            known.contains(&m.group)
        });
        if ended > 0 {
            tracing::warn!(ended, "ended processes no record knows");
        }
    }

    fn apply(&mut self, pod: Pod) {
        let Some(uid) = pod.uid() else { return };
        let node = pod
            .spec
            .as_ref()
            .and_then(|s| s.node_name.as_deref())
            .unwrap_or_default();
        if node.is_empty() {
            self.bind(&pod, uid);
        } else if node == self.agent.node_name {
            self.look_after(Arc::new(pod), &uid);
        }
    }

    fn look_after(&mut self, pod: Arc<Pod>, uid: &str) {
        if let Some(worker) = self.workers.get(uid) {
            worker.seen.send_replace(Seen { pod, gone: false });
            return;
        }
        let record = self.left.remove(uid);
        let deleting = pod.metadata.deletion_timestamp.is_some();
        if record.is_none() && is_over(&pod) && !deleting {
            return;
        }
        let record = record.unwrap_or_else(|| self.first_record(&pod, uid));
        self.employ(pod, record, false);
    }

    fn first_record(&self, pod: &Pod, uid: &str) -> PodRecord {
        // Pods of the machine's own network have its address.
        let ip = match plan::is_host_network(pod) {
            true => Some(self.agent.node_ip),
            false => self.agent.ipam.lock().allocate(uid),
        };
        if ip.is_none() {
            tracing::error!(
                pod = pod.name_any(),
                "no pod address is left; widen --pod-cidr"
            );
        }
        PodRecord {
            uid: uid.to_owned(),
            namespace: pod.namespace().unwrap_or_default(),
            name: pod.name_any(),
            ip,
            accepted: now(),
            ..Default::default()
        }
    }

    fn employ(&mut self, pod: Arc<Pod>, record: PodRecord, gone: bool) {
        let dir = match PodDir::new(&self.agent.state_dir, &record.uid) {
            Ok(dir) => dir,
            Err(error) => {
                tracing::error!(pod = record.name, %error, "cannot look after a pod");
                return;
            }
        };
        let uid = record.uid.clone();
        let (seen, pods) = watch::channel(Seen { pod, gone });
        let task = tokio::spawn(worker::run(self.agent.clone(), dir, record, pods));
        self.workers.insert(uid, Worker { seen, task });
    }

    fn forget(&mut self, uid: &str, last: Option<Pod>) {
        if let Some(worker) = self.workers.get(uid) {
            worker.seen.send_modify(|seen| {
                if let Some(pod) = last {
                    seen.pod = Arc::new(pod);
                }
                seen.gone = true;
            });
        }
    }

    /// After a list: what is not in it does not exist, however long nobody said so.
    fn forget_all_but(&mut self, listed: &HashSet<String>) {
        let gone: Vec<String> = self
            .workers
            .keys()
            .filter(|uid| !listed.contains(*uid))
            .cloned()
            .collect();
        gone.iter().for_each(|uid| self.forget(uid, None));
        let left: Vec<PodRecord> = self.left.drain().map(|(_, r)| r).collect();
        for record in left {
            tracing::info!(
                pod = record.name,
                ns = record.namespace,
                "ending a pod the API has forgotten"
            );
            self.employ(Arc::new(remembered(&record)), record, true);
        }
    }

    fn bind(&self, pod: &Pod, uid: String) {
        if !bind::is_ours(pod) || is_over(pod) || !self.binding.lock().insert(uid.clone()) {
            return;
        }
        let (agent, binding, pod) = (self.agent.clone(), self.binding.clone(), pod.clone());
        tokio::spawn(async move {
            bind::bind(&agent, &pod).await;
            binding.lock().remove(&uid);
        });
    }
}

/// Succeeded or failed for good.
fn is_over(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// As much of a pod as its record tells, enough to end it in order.
fn remembered(record: &PodRecord) -> Pod {
    let containers = record.containers.keys();
    Pod {
        metadata: ObjectMeta {
            name: Some(record.name.clone()),
            namespace: Some(record.namespace.clone()),
            uid: Some(record.uid.clone()),
            ..Default::default()
        },
        spec: Some(PodSpec {
            containers: containers
                .map(|name| Container {
                    name: name.clone(),
                    ..Default::default()
                })
                .collect(),
            termination_grace_period_seconds: Some(ORPHAN_GRACE_S),
            ..Default::default()
        }),
        status: None,
    }
}
