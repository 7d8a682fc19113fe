//! One sequence talking to one server, and the record of what it was answered.

use crate::normal::Names;
use crate::webhook::Webhook;
use crate::worlds::Access;
use http::{Method, Request};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::{Value, json};
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

const REVISION: &str = "deployment.kubernetes.io/revision";
const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

/// What was asked, and what was answered.
#[derive(Clone, Debug)]
pub struct Entry {
    pub asked: String,
    pub status: u16,
    pub body: Value,
}

/// All of a sequence.
#[derive(Clone, Debug)]
pub struct Trace {
    pub entries: Vec<Entry>,
    /// Why it ended early.
    pub broken: Option<String>,
}

pub struct Session {
    runtime: Handle,
    access: Access,
    ns: String,
    user: Option<(String, Vec<String>)>,
    accept: &'static str,
    /// Whether what controllers write meanwhile is left out of the record.
    still: bool,
    entries: Vec<Entry>,
}

impl Session {
    pub fn new(runtime: Handle, access: Access, sequence: &'static str) -> Self {
        Self {
            runtime,
            access,
            ns: sequence.replace('_', "-"),
            user: None,
            accept: JSON,
            still: false,
            entries: Vec::new(),
        }
    }

    /// Makes the sequence's namespace, with everything a namespace has from the start.
    pub fn settle(&mut self) {
        let ns = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.ns}});
        self.ask(&Method::POST, "/api/v1/namespaces", JSON, Some(&ns));
        for furnishing in ["serviceaccounts/default", "configmaps/kube-root-ca.crt"] {
            let path = self.core(furnishing);
            self.wait(&path, |_| true);
        }
    }

    pub fn finish(mut self, broken: Option<String>) -> Trace {
        let path = format!("/api/v1/namespaces/{}", self.ns);
        self.user = None;
        self.ask(&Method::DELETE, &path, JSON, None);
        let mut names = Names::default();
        names.webhook(self.access.webhook.addr);
        names.learn(self.entries.iter().map(|e| &e.body));
        for entry in &mut self.entries {
            names.normalise(&mut entry.body);
            entry.asked = names.text(&entry.asked);
        }
        Trace {
            entries: self.entries,
            broken,
        }
    }

    /// The namespace.
    pub fn ns(&self) -> String {
        self.ns.clone()
    }

    /// A path in the namespace, of the core group.
    pub fn core(&self, rest: &str) -> String {
        format!("/api/v1/namespaces/{}/{rest}", self.ns)
    }

    /// A path in the namespace, of `group/version`.
    pub fn group(&self, group_version: &str, rest: &str) -> String {
        format!("/apis/{group_version}/namespaces/{}/{rest}", self.ns)
    }

    pub fn apps(&self, rest: &str) -> String {
        self.group("apps/v1", rest)
    }

    /// Asks as somebody else from now on.
    pub fn become_user(&mut self, name: &str, groups: &[&str]) {
        let groups = groups.iter().map(|&g| g.to_owned()).collect();
        self.user = Some((name.to_owned(), groups));
    }

    /// Asks as the administrator from now on.
    pub fn become_admin(&mut self) {
        self.user = None;
    }

    /// Leaves out of the record what controllers write at times of their own.
    pub fn without_controllers(&mut self) {
        self.still = true;
    }

    pub fn get(&mut self, path: &str) -> Value {
        self.record(&Method::GET, path, JSON, None)
    }

    /// A list or object as kubectl prints it.
    pub fn table(&mut self, path: &str) -> Value {
        self.accept = TABLE;
        let body = self.record(&Method::GET, path, JSON, None);
        self.accept = JSON;
        body
    }

    pub fn post(&mut self, path: &str, body: Value) -> Value {
        self.record(&Method::POST, path, JSON, Some(&body))
    }

    pub fn put(&mut self, path: &str, body: Value) -> Value {
        self.record(&Method::PUT, path, JSON, Some(&body))
    }

    pub fn delete(&mut self, path: &str, options: Option<Value>) -> Value {
        self.record(&Method::DELETE, path, JSON, options.as_ref())
    }

    pub fn merge(&mut self, path: &str, patch: Value) -> Value {
        self.record(&Method::PATCH, path, MERGE, Some(&patch))
    }

    pub fn json_patch(&mut self, path: &str, patch: Value) -> Value {
        self.record(&Method::PATCH, path, JSON_PATCH, Some(&patch))
    }

    pub fn strategic(&mut self, path: &str, patch: Value) -> Value {
        self.record(&Method::PATCH, path, STRATEGIC, Some(&patch))
    }

    /// Server-side apply; `query` begins with the field manager: `one&force=true`.
    pub fn apply(&mut self, path: &str, query: &str, config: Value) -> Value {
        let path = format!("{path}?fieldManager={query}");
        self.record(&Method::PATCH, &path, APPLY, Some(&config))
    }

    /// Sends a body as it is.
    pub fn raw(&mut self, method: &Method, path: &str, content_type: &str, body: &str) -> Value {
        let answer = self.send(method, path, content_type, body.as_bytes().to_vec());
        self.note(format!("{method} {path}"), answer)
    }

    /// Asks until the answer is as wanted, and records that one.
    pub fn until(&mut self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let body = self.wait(path, wanted);
        self.note(format!("UNTIL {path}"), (200, body))
    }

    /// Asks until the answer is as wanted; nothing is recorded.
    pub fn wait(&mut self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let (status, body) = self.ask(&Method::GET, path, JSON, None);
            if status == 200 && wanted(&body) {
                return body;
            }
            assert!(
                Instant::now() < until,
                "{path} never became as wanted: {body}"
            );
            std::thread::sleep(POLL);
        }
    }

    /// Asks until there is nothing.
    pub fn gone(&mut self, path: &str) {
        let until = Instant::now() + PATIENCE;
        while self.ask(&Method::GET, path, JSON, None).0 != 404 {
            assert!(Instant::now() < until, "{path} never went");
            std::thread::sleep(POLL);
        }
    }

    /// The webhook this server can be told to ask.
    pub fn webhook(&self) -> &Webhook {
        &self.access.webhook
    }

    /// Does something again until the webhook was asked at this path.
    pub fn until_asked(&mut self, at: &str, mut act: impl FnMut(&mut Self)) {
        let until = Instant::now() + PATIENCE;
        while !self.access.webhook.was_asked(&self.ns, at) {
            assert!(Instant::now() < until, "{at} was never asked");
            act(self);
            std::thread::sleep(POLL);
        }
    }

    /// Tries until nobody keeps an object from being created, or is asked about it.
    pub fn until_free(&mut self, all: &str, object: &Value) {
        let until = Instant::now() + PATIENCE;
        let all = format!("{all}?dryRun=All");
        loop {
            self.forget_reviews();
            let (status, _) = self.ask(&Method::POST, &all, JSON, Some(object));
            if status == 201 && self.access.webhook.take(&self.ns).is_empty() {
                return;
            }
            assert!(Instant::now() < until, "{all} was never free again");
            std::thread::sleep(POLL);
        }
    }

    /// Records what the webhook was asked about the namespace.
    pub fn reviews(&mut self) {
        let asked = self.access.webhook.take(&self.ns);
        self.note("REVIEWS".to_owned(), (200, json!(asked)));
    }

    /// Leaves out what the webhook was asked so far.
    pub fn forget_reviews(&mut self) {
        self.access.webhook.take(&self.ns);
    }

    /// A request that is not recorded.
    pub fn quietly(&mut self, method: &Method, path: &str, body: Value) -> Value {
        self.ask(method, path, JSON, Some(&body)).1
    }

    /// The first `count` events of a watch that ends by itself when they do not come.
    pub fn watch(&mut self, path: &str, count: usize) -> Vec<Value> {
        let joint = if path.contains('?') { '&' } else { '?' };
        let request = self.request(&Method::GET, &format!("{path}{joint}watch=true"), JSON);
        let request = request.body(Body::empty()).unwrap();
        let client = self.access.client.clone();
        let (status, events) = self.runtime.block_on(async move {
            let response = client.send(request).await.unwrap();
            let status = response.status().as_u16();
            let mut body = response.into_body();
            let (mut pending, mut events) = (Vec::new(), Vec::new());
            while events.len() < count {
                let frame = tokio::time::timeout(PATIENCE, body.frame()).await;
                let Some(frame) = frame.expect("an event in time") else {
                    break;
                };
                pending.extend_from_slice(&frame.unwrap().into_data().unwrap_or_default());
                while let Some(end) = pending.iter().position(|b| *b == b'\n') {
                    let line: Vec<u8> = pending.drain(..=end).collect();
                    events.push(serde_json::from_slice::<Value>(&line).unwrap());
                }
            }
            if let Ok(last) = serde_json::from_slice::<Value>(&pending) {
                events.push(last);
            }
            (status, events)
        });
        self.note(format!("WATCH {path}"), (status, json!(events)));
        events
    }

    /// Runs kubectl in the namespace.
    pub fn kubectl(&mut self, args: &[&str]) -> String {
        self.kubectl_fed(args, "")
    }

    /// Runs kubectl in the namespace, with something to read.
    pub fn kubectl_fed(&mut self, args: &[&str], input: &str) -> String {
        let output = self.run_kubectl(args, input);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let out = text(&output.stdout);
        let body = json!({
            "out": out.lines().collect::<Vec<_>>(),
            "err": text(&output.stderr).lines().collect::<Vec<_>>(),
        });
        let code = u16::try_from(output.status.code().unwrap_or(255)).unwrap_or(255);
        self.note(format!("kubectl {}", args.join(" ")), (code, body));
        out
    }

    fn run_kubectl(&self, args: &[&str], input: &str) -> std::process::Output {
        let mut child = Command::new(&self.access.kubectl)
            .args(["-n", &self.ns])
            .args(args)
            .env("KUBECONFIG", &self.access.kubeconfig)
            .env("HOME", self.access.kubeconfig.parent().unwrap())
            .env("KUBE_EDITOR", "sed -i s/before/after/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl runs");
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).expect("kubectl reads");
        drop(stdin);
        child.wait_with_output().expect("kubectl ends")
    }

    fn record(&mut self, method: &Method, path: &str, kind: &str, body: Option<&Value>) -> Value {
        let answer = self.ask(method, path, kind, body);
        let kind = if *method == Method::PATCH {
            kind.trim_start_matches("application/")
                .split('-')
                .next()
                .unwrap_or_default()
        } else {
            ""
        };
        self.note(format!("{method} {path} {kind}").trim().to_owned(), answer)
    }

    fn note(&mut self, asked: String, (status, body): (u16, Value)) -> Value {
        let asked = format!("{} {asked}", self.entries.len() + 1);
        let mut recorded = body.clone();
        if self.still && status < 300 {
            for (parent, field) in [("", "status"), ("/metadata/annotations", REVISION)] {
                let parent = recorded.pointer_mut(parent).and_then(Value::as_object_mut);
                parent.and_then(|p| p.remove(field));
            }
            if recorded.pointer("/metadata/annotations") == Some(&json!({})) {
                let metadata = recorded["metadata"].as_object_mut();
                metadata.and_then(|m| m.remove("annotations"));
            }
        }
        self.entries.push(Entry {
            asked,
            status,
            body: recorded,
        });
        body
    }

    fn ask(&self, method: &Method, path: &str, kind: &str, body: Option<&Value>) -> (u16, Value) {
        let body = body.map(|b| b.to_string().into_bytes()).unwrap_or_default();
        self.send(method, path, kind, body)
    }

    fn request(&self, method: &Method, path: &str, kind: &str) -> http::request::Builder {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", kind)
            .header("accept", self.accept)
            .header("user-agent", "differential");
        if let Some((name, groups)) = &self.user {
            request = request.header("impersonate-user", name);
            for group in groups {
                request = request.header("impersonate-group", group);
            }
        }
        request
    }

    fn send(&self, method: &Method, path: &str, kind: &str, body: Vec<u8>) -> (u16, Value) {
        let request = self
            .request(method, path, kind)
            .body(Body::from(body))
            .unwrap();
        let client = self.access.client.clone();
        self.runtime.block_on(async move {
            let answer = tokio::time::timeout(PATIENCE, answer(client, request));
            answer.await.unwrap_or((0, json!("no answer in time")))
        })
    }
}

async fn answer(client: kube::Client, request: Request<Body>) -> (u16, Value) {
    let response = client.send(request).await.expect("an answer");
    let status = response.status().as_u16();
    let warnings = response.headers().get_all("warning").iter();
    let warnings: Vec<Value> = warnings
        .map(|w| json!(String::from_utf8_lossy(w.as_bytes())))
        .collect();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let mut body = serde_json::from_slice(&bytes)
        .unwrap_or_else(|_| json!({"text": String::from_utf8_lossy(&bytes)}));
    if !warnings.is_empty() && body.is_object() {
        body["warnings"] = json!(warnings);
    }
    (status, body)
}
