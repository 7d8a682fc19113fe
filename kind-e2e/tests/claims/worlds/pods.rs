//! Requests from inside a pod: one, or a steady load.
//!
//! A pod's own container sends them (`mesh demo-client --print`, by `kubectl exec`), so that they
//! take the way of the pod's traffic.

use super::{POLL, World, patience};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// What became of a request.
#[derive(Clone, Debug, Deserialize)]
pub struct Answer {
    /// When it was sent, in milliseconds since 1970.
    pub started_ms: u64,
    /// Its status.
    pub status: Option<u16>,
    /// Which cluster answered, if it was `mesh demo-web`.
    pub cluster: Option<String>,
    /// Why it failed, if it did.
    pub error: Option<String>,
    /// The body, as JSON or as text.
    #[serde(default)]
    pub answer: Value,
}

impl Answer {
    /// Whether this cluster answered.
    pub fn is_from(&self, cluster: &str) -> bool {
        self.error.is_none() && self.cluster.as_deref() == Some(cluster)
    }
}

/// What is typed for a URL whose port is not HTTP to the mesh: where a sidecar is asked as a proxy, it
/// is asked for a tunnel.
pub fn tunnelled(url: &str) -> String {
    format!("{url} --tunnel")
}

impl World {
    fn client(&self, cluster: &str, namespace: &str, more: &str, url: &str) -> String {
        let program = &self.program;
        format!(
            "kubectl --context={cluster} -n {namespace} exec {more} client -c client -- {program} \
             demo-client --print --target={url}"
        )
    }

    /// Sends a request from the pod `client`.
    #[track_caller]
    pub fn ask(&self, cluster: &str, namespace: &str, url: &str) -> Result<Answer, String> {
        let line = self.client(cluster, namespace, "", url);
        let said = self.try_sh(&format!("{line} --requests=1"));
        let answer = serde_json::from_str(&said.out);
        answer.map_err(|error| format!("$ {line}\n{}{error}", said.words()))
    }

    /// Sends requests until one is answered as it should be.
    #[track_caller]
    pub fn ask_until(
        &self,
        cluster: &str,
        namespace: &str,
        url: &str,
        wanted: impl Fn(&Answer) -> bool,
    ) -> Answer {
        self.eventually(&format!("the right answer from {url}"), || {
            let answer = self.ask(cluster, namespace, url)?;
            if wanted(&answer) {
                return Ok(answer);
            }
            Err(format!("{answer:?}"))
        })
    }

    /// Sends `rate` requests per second from the pod `client` until it is told to stop.
    pub fn load(&self, cluster: &str, namespace: &str, url: &str, rate: u32) -> Load {
        let line = self.client(cluster, namespace, "-i", url);
        let words = &crate::typed::parse(&format!("{line} --rate={rate}"))[0];
        let mut child = self
            .command("kubectl")
            .args(&words[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let answers: Arc<Mutex<Vec<Answer>>> = Arc::default();
        let (lines, into) = (child.stdout.take().unwrap(), answers.clone());
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(lines).lines().map_while(Result::ok) {
                let answer = serde_json::from_str(&line).unwrap();
                into.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(answer);
            }
        });
        Load {
            child,
            reader: Some(reader),
            answers,
            seen: 0,
        }
    }
}

/// A steady load that is under way.
pub struct Load {
    child: Child,
    reader: Option<JoinHandle<()>>,
    answers: Arc<Mutex<Vec<Answer>>>,
    /// How many answers earlier questions have looked at.
    seen: usize,
}

impl Load {
    /// Waits until `count` requests in a row, of those that end from now on, are answered by
    /// `clusters`.
    #[track_caller]
    pub fn until_answered_by(&mut self, clusters: &[&str], count: usize) {
        let deadline = Instant::now() + patience();
        loop {
            let new = self.answers.lock().unwrap()[self.seen..].to_vec();
            let last = new.iter().rev().take(count);
            let right = last.filter(|a| clusters.iter().any(|c| a.is_from(c)));
            if right.count() == count {
                self.seen += new.len();
                return;
            }
            assert!(
                Instant::now() < deadline && self.child.try_wait().unwrap().is_none(),
                "waited in vain for answers by {clusters:?}: {}",
                summary(&new)
            );
            std::thread::sleep(POLL);
        }
    }

    /// Has `act` done, and waits until a request fails that was under way before, when no request
    /// had failed.
    #[track_caller]
    pub fn until_cut(&mut self, act: impl FnOnce()) {
        let failed = |answers: &[Answer], before: u64| {
            let early = answers.iter().filter(|a| a.started_ms < before);
            let errors = early.filter_map(|a| a.error.as_deref());
            // A client that lost its patience was not cut off.
            errors.filter(|e| !e.contains("no answer within")).count()
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now = u64::try_from(now.as_millis()).unwrap();
        assert_eq!(failed(&self.answers.lock().unwrap(), now), 0);
        act();
        let deadline = Instant::now() + patience();
        loop {
            let answers = self.answers.lock().unwrap().clone();
            if failed(&answers, now) > 0 {
                return;
            }
            let over = answers.iter().filter(|a| a.started_ms >= now).count();
            assert!(
                Instant::now() < deadline,
                "nothing that was under way failed, though {over} that began later ended: {}",
                summary(&answers)
            );
            std::thread::sleep(POLL);
        }
    }

    /// Stops it, waits for what is under way, and demands that no request failed.
    #[track_caller]
    pub fn none_failed(mut self) {
        drop(self.child.stdin.take());
        let deadline = Instant::now() + patience();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "the load does not end");
            std::thread::sleep(POLL);
        };
        self.reader.take().unwrap().join().unwrap();
        let answers = std::mem::take(&mut *self.answers.lock().unwrap());
        assert!(status.success() && !answers.is_empty(), "{status}");
        let first = answers.iter().map(|answer| answer.started_ms).min();
        let failed: Vec<_> = answers
            .iter()
            .filter_map(|answer| {
                let at = answer.started_ms - first.unwrap_or_default();
                Some(format!("after {at} ms: {}", answer.error.as_ref()?))
            })
            .collect();
        assert!(
            failed.is_empty(),
            "{} of {} requests failed ({}):\n{}",
            failed.len(),
            answers.len(),
            summary(&answers),
            failed[..failed.len().min(10)].join("\n")
        );
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Who answered how often.
fn summary(answers: &[Answer]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for answer in answers {
        let who = match (&answer.error, &answer.cluster) {
            (None, Some(cluster)) => cluster,
            (error, _) => error.as_deref().unwrap_or("nobody"),
        };
        *counts.entry(who).or_default() += 1;
    }
    format!("{counts:?}")
}
