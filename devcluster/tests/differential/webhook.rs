//! A webhook for one of the servers: what it answers is said by the path it is asked at, and it
//! remembers what it was asked.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, KeyPair, SanType};
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Longer than any webhook here is waited for.
const SLOW: Duration = Duration::from_secs(20);

/// A webhook that serves for as long as the runtime lives. Clones are the same one.
#[derive(Clone)]
pub struct Webhook {
    pub addr: SocketAddr,
    ca: String,
    /// Path and `request` of every question.
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Webhook {
    pub async fn start() -> Self {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        params.subject_alt_names.push(SanType::IpAddress(ip));
        let key = KeyPair::generate().unwrap();
        let cert = params.self_signed(&key).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![cert.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        let listener = TcpListener::bind((ip, 0)).await.unwrap();
        let webhook = Self {
            addr: listener.local_addr().unwrap(),
            ca: STANDARD.encode(cert.pem()),
            asked: Arc::default(),
        };
        let acceptor = TlsAcceptor::from(Arc::new(config));
        tokio::spawn(webhook.clone().serve(listener, acceptor));
        webhook
    }

    /// The `clientConfig` that leads to it.
    pub fn client(&self, path: &str) -> Value {
        json!({"url": format!("https://{}{path}", self.addr), "caBundle": self.ca})
    }

    /// What it was asked about a namespace since it was last looked at, without what is told apart
    /// by chance.
    pub fn take(&self, ns: &str) -> Vec<Value> {
        let mut asked = self.asked.lock().unwrap();
        let about = |(_, request): &mut (String, Value)| request["namespace"] == ns;
        let mut taken: Vec<Value> = Vec::new();
        for (path, mut request) in asked.extract_if(.., about) {
            for (place, field) in [("", "uid"), ("/userInfo", "uid"), ("/userInfo", "extra")] {
                let place = request.pointer_mut(place).and_then(Value::as_object_mut);
                place.and_then(|p| p.remove(field));
            }
            let told = json!({"path": path, "request": request});
            // How often one is asked the same is the server's business.
            if taken.last() != Some(&told) {
                taken.push(told);
            }
        }
        taken
    }

    /// Whether it was asked anything about a namespace at this path.
    pub fn was_asked(&self, ns: &str, at: &str) -> bool {
        let asked = self.asked.lock().unwrap();
        asked
            .iter()
            .any(|(path, request)| path == at && request["namespace"] == ns)
    }

    async fn serve(self, listener: TcpListener, acceptor: TlsAcceptor) {
        while let Ok((tcp, _)) = listener.accept().await {
            let (webhook, acceptor) = (self.clone(), acceptor.clone());
            tokio::spawn(async move {
                let Ok(tls) = acceptor.accept(tcp).await else {
                    return;
                };
                let service = service_fn(|request| webhook.answer(request));
                let served = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(tls), service);
                // Who asked may have gone.
                let _ = served.await;
            });
        }
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let path = request.uri().path().to_owned();
        let body = request.into_body().collect().await;
        let body = body.map(|b| b.to_bytes()).unwrap_or_default();
        let review: Value = serde_json::from_slice(&body).unwrap_or_default();
        let asked = review["request"].clone();
        self.asked
            .lock()
            .unwrap()
            .push((path.clone(), asked.clone()));
        let (code, text) = match path.as_str() {
            "/error" => (StatusCode::INTERNAL_SERVER_ERROR, "out of order".to_owned()),
            "/not-found" => (StatusCode::NOT_FOUND, "404 page not found".to_owned()),
            "/slow" => {
                tokio::time::sleep(SLOW).await;
                (StatusCode::OK, String::new())
            }
            path => (StatusCode::OK, said(path, &review).to_string()),
        };
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = code;
        let kind = if code.is_success() {
            "application/json"
        } else {
            "text/plain"
        };
        let kind = http::HeaderValue::from_static(kind);
        response.headers_mut().insert("content-type", kind);
        Ok(response)
    }
}

/// The answer at a path.
fn said(path: &str, review: &Value) -> Value {
    let request = &review["request"];
    let allowed = json!({"uid": request["uid"], "allowed": true});
    let with = |more: Value| {
        let mut response = allowed.clone();
        let fields = more.as_object().cloned().unwrap_or_default();
        response.as_object_mut().unwrap().extend(fields);
        json!({"apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": response})
    };
    let patch = |patch: Value| {
        with(json!({"patchType": "JSONPatch", "patch": STANDARD.encode(patch.to_string())}))
    };
    match path {
        "/mutate" => patch(annotate(&request["object"], "yes")),
        "/count" => {
            let was = &request["object"]["metadata"]["annotations"]["example.com/mutated"];
            let count: u32 = was.as_str().and_then(|c| c.parse().ok()).unwrap_or(0);
            patch(annotate(&request["object"], &(count + 1).to_string()))
        }
        "/container" => patch(json!([{"op": "add", "path": "/spec/containers/-",
            "value": {"name": "extra", "image": "example.com/extra:1"}}])),
        "/scale" => patch(json!([{"op": "replace", "path": "/spec/replicas", "value": 1}])),
        "/deny" => with(json!({"allowed": false,
            "status": {"code": 403, "reason": "Forbidden", "message": "not today"}})),
        "/deny-updates" if request["operation"] == "UPDATE" => with(json!({"allowed": false,
            "status": {"message": "it is finished"}})),
        "/silent" => with(json!({"allowed": false})),
        "/success" => with(json!({"allowed": false, "status": {"code": 200, "status": "Success"}})),
        "/teapot" => with(
            json!({"allowed": false, "status": {"code": 418, "reason": "Teapot",
            "details": {"causes": [{"field": "spec.tea", "message": "missing",
                                    "reason": "FieldValueRequired"}]}}}),
        ),
        "/warn" => with(json!({"warnings": ["mind the gap", "and the \"quotes\""]})),
        "/no-response" => json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}),
        "/wrong-uid" => with(json!({"uid": "somebody-elses"})),
        "/wrong-kind" => json!({"apiVersion": "v1", "kind": "ConfigMap", "response": allowed}),
        "/untyped-patch" => with(json!({"patch": STANDARD.encode("[]")})),
        "/patchless-type" => with(json!({"patchType": "JSONPatch"})),
        "/merge-patch" => with(json!({"patchType": "Merge", "patch": STANDARD.encode("{}")})),
        "/bad-patch" => with(json!({"patchType": "JSONPatch", "patch": STANDARD.encode("{}")})),
        "/empty-patch" => patch(json!([])),
        "/failing-patch" => patch(json!([{"op": "remove", "path": "/nowhere"}])),
        "/rename" => patch(json!([{"op": "replace", "path": "/metadata/name", "value": "b"}])),
        "/invalid" => patch(json!([{"op": "add", "path": "/metadata/labels",
            "value": {"not a label": "x"}}])),
        "/unknown" => patch(json!([{"op": "add", "path": "/unheard", "value": "of"}])),
        _ => with(json!({})),
    }
}

fn annotate(object: &Value, value: &str) -> Value {
    let mut patch = Vec::new();
    if object["metadata"]["annotations"].is_null() {
        patch.push(json!({"op": "add", "path": "/metadata/annotations", "value": {}}));
    }
    patch.push(
        json!({"op": "add", "path": "/metadata/annotations/example.com~1mutated",
        "value": value}),
    );
    Value::Array(patch)
}
