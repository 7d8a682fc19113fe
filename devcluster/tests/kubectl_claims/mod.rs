//! The claims, by verb.

mod apply;
mod bad;
mod change;
mod custom;
mod exec;
mod get;
mod logs;
mod typed;

use crate::sandbox::Cluster;

/// A test: its claim and its body.
pub type Claim = (&'static str, fn(&Cluster));

/// All of them.
pub fn all() -> Vec<Claim> {
    [
        get::CLAIMS,
        apply::CLAIMS,
        change::CLAIMS,
        custom::CLAIMS,
        bad::CLAIMS,
        logs::CLAIMS,
        exec::CLAIMS,
        typed::CLAIMS,
    ]
    .concat()
}

/// A Deployment and its Service.
pub const WEB: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: web, labels: {app: web}}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: "mesh.io/demo-web:dev"
        env: [{name: A, value: "1"}, {name: B, value: "1"}]
        ports: [{containerPort: 8080}]
      - {name: side, image: "mesh.io/pause"}
"#;
