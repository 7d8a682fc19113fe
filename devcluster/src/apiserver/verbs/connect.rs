//! `pods/<name>/exec` and `pods/<name>/portforward`: the client's connection becomes one to the
//! node that runs the pod, and this passes bytes to and fro. What they mean (WebSocket, SPDY) is
//! between the client and the node.

use super::super::admission::{Operation, Subject};
use super::super::reply::Reply;
use super::Call;
use super::nodes::{self, container};
use crate::status::ApiError;
use http::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use mesh_daemon::Shutdown;
use serde_json::{Value, json};
use tokio::io::copy_bidirectional;

/// A client's wish that its connection become something else.
pub(in crate::apiserver) struct Upgrade {
    on: OnUpgrade,
    headers: HeaderMap,
}

impl Upgrade {
    /// The wish of a request that has one.
    pub(in crate::apiserver) fn take(request: &mut Request<Incoming>) -> Option<Self> {
        request.headers().get(UPGRADE)?;
        let headers = about_upgrades(request.headers());
        let on = hyper::upgrade::on(request);
        Some(Self { on, headers })
    }
}

/// What the two ends tell each other about the protocol to come.
fn about_upgrades(headers: &HeaderMap) -> HeaderMap {
    // SPDY's clients name the meaning of their streams in a header of Kubernetes' own.
    let speaks = |name: &HeaderName| {
        *name == UPGRADE
            || name == "x-stream-protocol-version"
            || name.as_str().starts_with("sec-websocket-")
    };
    let mut about: HeaderMap = headers
        .iter()
        .filter(|(name, _)| speaks(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    about.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    about
}

pub(super) async fn exec(call: Call) -> Result<Reply, ApiError> {
    let pod = call.object()?;
    let path = exec_path(&call, &container(&call, &pod)?);
    reviewed(&call, "PodExecOptions", exec_options(&call)).await?;
    connect(call, &pod, path).await
}

pub(super) async fn port_forward(call: Call) -> Result<Reply, ApiError> {
    let pod = call.object()?;
    let path = port_forward_path(&call);
    let ports: Vec<u64> = call
        .query
        .all("ports")
        .filter_map(|p| p.parse().ok())
        .collect();
    reviewed(&call, "PodPortForwardOptions", json!({"ports": ports})).await?;
    connect(call, &pod, path).await
}

/// Lets webhooks refuse a connection to a pod.
async fn reviewed(call: &Call, kind: &'static str, mut options: Value) -> Result<(), ApiError> {
    options["kind"] = json!(kind);
    options["apiVersion"] = json!("v1");
    let shows = Some(("", "v1", kind));
    let gate = call.gate_of(shows, Operation::Connect, None, Value::Null, false);
    let subject = Subject {
        object: Some(options),
        old: None,
    };
    gate.review(subject).await.map(drop)
}

fn exec_options(call: &Call) -> Value {
    let command: Vec<&str> = call.query.all("command").collect();
    let mut options = json!({"command": command});
    for flag in ["stdin", "stdout", "stderr", "tty"] {
        if call.query.flag(flag) {
            options[flag] = json!(true);
        }
    }
    if let Some(container) = call.query.text("container") {
        options["container"] = json!(container);
    }
    options
}

/// With the kubelet's own names for the client's parameters.
fn exec_path(call: &Call, container: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for word in call.query.all("command") {
        query.append_pair("command", word);
    }
    for (asked, told) in [
        ("stdin", "input"),
        ("stdout", "output"),
        ("stderr", "error"),
        ("tty", "tty"),
    ] {
        if call.query.flag(asked) {
            query.append_pair(told, "1");
        }
    }
    let (namespace, query) = (call.namespace().unwrap_or_default(), query.finish());
    format!("/exec/{namespace}/{}/{container}?{query}", call.name())
}

fn port_forward_path(call: &Call) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for port in call.query.all("ports") {
        query.append_pair("port", port);
    }
    let (namespace, query) = (call.namespace().unwrap_or_default(), query.finish());
    format!("/portForward/{namespace}/{}?{query}", call.name())
}

async fn connect(mut call: Call, pod: &Value, path: String) -> Result<Reply, ApiError> {
    let Some(upgrade) = call.upgrade.take() else {
        return Err(ApiError::bad_request("Upgrade request required"));
    };
    let mut request = Request::get(path);
    if let Some(headers) = request.headers_mut() {
        *headers = upgrade.headers;
    }
    let response = nodes::ask(&call, pod, request).await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(nodes::refused(response).await);
    }
    let reply = Reply::switch(about_upgrades(response.headers()));
    let node = hyper::upgrade::on(response);
    tokio::spawn(pass_on(upgrade.on, node, call.api.shutdown.clone()));
    Ok(reply)
}

async fn pass_on(client: OnUpgrade, node: OnUpgrade, shutdown: Shutdown) {
    let passed = async {
        let (client, node) = futures::try_join!(client, node)?;
        let (mut client, mut node) = (TokioIo::new(client), TokioIo::new(node));
        // Either end may break off; the other is told by the end of its stream.
        let _ended = copy_bidirectional(&mut client, &mut node).await;
        Ok::<_, hyper::Error>(())
    };
    tokio::select! {
        passed = passed => {
            if let Err(error) = passed {
                tracing::debug!(%error, "a connection to a pod was not upgraded");
            }
        }
        () = shutdown.requested() => {}
    }
}
