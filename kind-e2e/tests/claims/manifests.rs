//! What users apply: ordinary workloads that know nothing of the mesh.

/// A namespace whose pods get a sidecar.
pub fn meshed_namespace(name: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Namespace
metadata:
  name: {name}
  annotations:
    linkerd.io/inject: enabled
"
    )
}

/// A namespace whose pods get none.
pub fn plain_namespace(name: &str) -> String {
    format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n")
}

/// A web server `name` that says which cluster it is in, with its Service.
pub fn web(namespace: &str, name: &str, cluster: &str) -> String {
    web_with(namespace, name, cluster, "{}")
}

/// The same, with annotations of its pods.
pub fn web_with(namespace: &str, name: &str, cluster: &str, annotations: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Service
metadata:
  name: {name}
  namespace: {namespace}
  labels: {{app: {name}}}
spec:
  selector: {{app: {name}}}
  ports:
    - {{name: http, port: 80, targetPort: 8080}}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
  namespace: {namespace}
  labels: {{app: {name}}}
spec:
  replicas: 1
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata:
      labels: {{app: {name}}}
      annotations: {annotations}
    spec:
      containers:
        - name: web
          image: mesh.io/mesh:0.1.0
          args: [demo-web, --port=8080, --cluster={cluster}]
          ports:
            - {{name: http, containerPort: 8080}}
          readinessProbe:
            httpGet: {{path: /healthz, port: http}}
            periodSeconds: 1
"
    )
}

/// A pod `client` to send requests from, with an account of its own.
pub fn client(namespace: &str) -> String {
    format!(
        "
apiVersion: v1
kind: ServiceAccount
metadata: {{name: client, namespace: {namespace}}}
---
{}",
        pod(namespace, "client", "{}", "serviceAccountName: client")
    )
}

/// A pod `name` that does nothing, with annotations and more of its spec.
pub fn pod(namespace: &str, name: &str, annotations: &str, more: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Pod
metadata:
  name: {name}
  namespace: {namespace}
  labels: {{app: {name}}}
  annotations: {annotations}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: {name}
      image: mesh.io/mesh:0.1.0
      args: [pause]
  {more}
"
    )
}
