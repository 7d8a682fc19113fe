//! The controllers together on a store, waited for through its watches.

use super::*;
use crate::apiserver::resources::ResourceDef;
use crate::auth::AuthConfig;
use crate::schema::json::{at, deleting, items, name, text};
use crate::status::ApiError;
use crate::store::{DeleteOptions, Propagation, ResourceKey};
use objects::{deployments, number, pods, ready, replicasets, services, slices};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

struct Cast {
    store: Store,
    registry: Registry,
    schema: Schema,
    auth: Auth,
    trigger: mesh_daemon::Trigger,
}

/// Makes pods without anybody else having a say.
struct Plain {
    store: Store,
    registry: Registry,
    schema: Schema,
}

impl Make for Plain {
    fn pod(&self, _: &'static str, _: &str, mut pod: Value) -> Made {
        let def = self.registry.get("", "pods").unwrap();
        if pod["metadata"]["name"].is_null() {
            let base = text(&pod, &["metadata", "generateName"]).to_owned();
            pod["metadata"]["name"] = json!(format!("{base}{}", crate::schema::random_suffix()));
        }
        let made = self.store.exclusive(|| {
            self.schema.prepare_create(&def, "v1", &mut pod)?;
            self.store.create(&pods(), pod)
        });
        Box::pin(std::future::ready(made))
    }
}

impl Drop for Cast {
    fn drop(&mut self) {
        self.trigger.shutdown();
    }
}

fn cast() -> Cast {
    let store = Store::default();
    let registry = Registry::builtin();
    let auth = Auth::new(store.clone(), AuthConfig::default()).unwrap();
    let schema = Schema::new(store.clone(), "10.96.0.0/24".parse().unwrap());
    let (trigger, shutdown) = mesh_daemon::shutdown();
    let config = ControllersConfig {
        ca_pem: "the CA".into(),
        service_cidr: "10.96.0.0/16".parse().unwrap(),
        cluster_domain: "cluster.local".into(),
    };
    spawn(
        store.clone(),
        registry.clone(),
        auth.clone(),
        Arc::new(Plain {
            store: store.clone(),
            registry: registry.clone(),
            schema: schema.clone(),
        }),
        config,
        shutdown,
    );
    Cast {
        store,
        registry,
        schema,
        auth,
        trigger,
    }
}

impl Cast {
    fn def(&self, group: &str, kind: &str) -> Arc<ResourceDef> {
        self.registry.by_kind(group, kind).unwrap()
    }

    /// Creates an object as the API server does.
    fn create(&self, group: &str, mut obj: Value) -> Value {
        let def = self.def(group, obj["kind"].as_str().unwrap());
        if def.namespaced && obj["metadata"]["namespace"].is_null() {
            obj["metadata"]["namespace"] = json!("default");
        }
        let made = self.store.exclusive(|| {
            self.schema.prepare_create(&def, "v1", &mut obj)?;
            self.store.create(&def.key(), obj)
        });
        (*made.unwrap()).clone()
    }

    fn edit(&self, key: &ResourceKey, name: &str, change: impl FnOnce(&mut Value)) {
        let def = self.registry.get(&key.group, &key.plural).unwrap();
        let edit = |old: &Value| -> Result<Value, ApiError> {
            let mut new = old.clone();
            change(&mut new);
            self.schema
                .prepare_update(&def, "v1", old, &mut new, None)?;
            Ok(new)
        };
        self.store.update(key, Some("default"), name, edit).unwrap();
    }

    fn delete(&self, key: &ResourceKey, ns: Option<&str>, name: &str, how: Propagation) {
        let options = DeleteOptions {
            propagation: Some(how),
            ..DeleteOptions::default()
        };
        self.store.delete(key, ns, name, &options).unwrap();
    }

    /// Waits until something holds, looking again at every write.
    async fn until<T>(&self, what: &str, mut look: impl FnMut(&Store) -> Option<T>) -> T {
        let mut changed = self.store.changed();
        let wait = async {
            loop {
                changed.mark_unchanged();
                if let Some(found) = look(&self.store) {
                    return found;
                }
                changed.changed().await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, wait)
            .await
            .unwrap_or_else(|_| panic!("never: {what}"))
    }

    /// Says what a node would: every pod that is not yet ready is, with an address.
    fn serve(&self) {
        for pod in self.store.list(&pods(), None).0 {
            if ready(&pod) || deleting(&pod) {
                continue;
            }
            let number = pod["metadata"]["resourceVersion"]
                .as_str()
                .unwrap()
                .parse::<u32>()
                .unwrap();
            let ip = std::net::Ipv4Addr::from(0x7f40_0000 + number);
            let up = |old: &Value| {
                let mut new = old.clone();
                new["spec"]["nodeName"] = json!("n");
                new["status"] = json!({"phase": "Running", "podIP": ip.to_string(), "conditions": [
                    {"type": "Ready", "status": "True", "lastTransitionTime": crate::store::now()}]});
                Ok(new)
            };
            // A controller may have deleted it meanwhile.
            let _ = self.store.update(&pods(), Some("default"), name(&pod), up);
        }
        // What a node has been told to stop has stopped.
        for pod in self
            .store
            .list(&pods(), None)
            .0
            .iter()
            .filter(|p| deleting(p))
        {
            let now = DeleteOptions {
                grace_period_seconds: Some(0),
                ..DeleteOptions::default()
            };
            let _ = self.store.delete(&pods(), Some("default"), name(pod), &now);
        }
    }

    /// Waits until a rollout is over, playing the node.
    async fn rolled_out(&self, wanted: i64) -> Value {
        self.until("the rollout ends", |store| {
            self.serve();
            let d = store.get(&deployments(), Some("default"), "web")?;
            let count = |f: &str| number(&d, &["status", f]);
            let done = ["replicas", "updatedReplicas", "availableReplicas"]
                .iter()
                .all(|f| count(f) == wanted)
                && count("observedGeneration") == number(&d, &["metadata", "generation"])
                && store.list(&pods(), Some("default")).0.len() as i64 == wanted;
            done.then(|| (*d).clone())
        })
        .await
    }
}

fn deployment(replicas: i64) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": "i:1",
                "ports": [{"name": "http", "containerPort": 8080}]}]}}}})
}

fn image(version: &str) -> impl FnOnce(&mut Value) {
    let version = json!(version);
    move |d| d["spec"]["template"]["spec"]["containers"][0]["image"] = version
}

#[tokio::test]
async fn a_new_namespace_is_furnished() {
    let cast = cast();
    for ns in ["default", "kube-system", "kube-public"] {
        assert!(
            cast.store.get(&objects::namespaces(), None, ns).is_some(),
            "{ns}"
        );
    }
    let ns = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}});
    cast.create("", ns);
    cast.until("account and CA", |store| {
        store.get(&ResourceKey::core("serviceaccounts"), Some("a"), "default")?;
        let ca = store.get(
            &ResourceKey::core("configmaps"),
            Some("a"),
            "kube-root-ca.crt",
        )?;
        (ca["data"]["ca.crt"] == "the CA").then_some(())
    })
    .await;
    let key = ResourceKey::core("configmaps");
    cast.delete(&key, Some("a"), "kube-root-ca.crt", Propagation::Background);
    cast.until("the CA is back", |store| {
        store.get(&key, Some("a"), "kube-root-ca.crt")
    })
    .await;
}

#[tokio::test]
async fn a_deleted_namespace_goes_with_all_it_holds() {
    let cast = cast();
    let ns = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}});
    cast.create("", ns);
    let held = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "c", "namespace": "a", "finalizers": ["x.io/held"]}});
    cast.create("", held);
    let key = objects::namespaces();
    cast.delete(&key, None, "a", Propagation::Background);
    cast.until("it says what it waits for", |store| {
        let ns = store.get(&key, None, "a")?;
        let message = text(
            objects::condition(&ns, "NamespaceContentRemaining")?,
            &["message"],
        )
        .to_owned();
        message
            .ends_with("remaining: configmaps. has 1 resource instances")
            .then_some(())
    })
    .await;
    let release = |old: &Value| {
        let mut new = old.clone();
        new["metadata"]["finalizers"] = json!([]);
        Ok(new)
    };
    cast.store
        .update(&ResourceKey::core("configmaps"), Some("a"), "c", release)
        .unwrap();
    cast.until("it is gone", |store| {
        store.get(&key, None, "a").is_none().then_some(())
    })
    .await;
    assert!(
        cast.store
            .list(&ResourceKey::core("serviceaccounts"), Some("a"))
            .0
            .is_empty()
    );
}

#[tokio::test]
async fn a_token_secret_is_filled_when_its_account_comes_and_goes_with_it() {
    let cast = cast();
    let (secrets, accounts) = (
        ResourceKey::core("secrets"),
        ResourceKey::core("serviceaccounts"),
    );
    cast.create(
        "",
        json!({"apiVersion": "v1", "kind": "Secret",
        "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "t", "annotations": {"kubernetes.io/service-account.name": "sa"}}}),
    );
    cast.create(
        "",
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "sa"}}),
    );
    let token = cast
        .until("the token", |store| {
            let secret = store.get(&secrets, Some("default"), "t")?;
            let token = text(&secret, &["data", "token"]).to_owned();
            (!token.is_empty() && !secret["data"]["ca.crt"].is_null()).then_some(token)
        })
        .await;
    use base64::Engine;
    let token = base64::engine::general_purpose::STANDARD
        .decode(token)
        .unwrap();
    let header = format!("Bearer {}", String::from_utf8(token).unwrap());
    let user = cast.auth.authenticate(Some(&header)).unwrap();
    assert_eq!(user.name, "system:serviceaccount:default:sa");
    cast.delete(&accounts, Some("default"), "sa", Propagation::Background);
    cast.until("the secret is gone", |store| {
        store
            .get(&secrets, Some("default"), "t")
            .is_none()
            .then_some(())
    })
    .await;
    assert_eq!(cast.auth.authenticate(Some(&header)).unwrap_err().code, 401);
}

#[tokio::test]
async fn a_deployment_brings_pods_and_says_when_they_serve() {
    let cast = cast();
    cast.create("apps", deployment(3));
    let done = cast.rolled_out(3).await;
    assert_eq!(
        objects::condition(&done, "Available").unwrap()["status"],
        "True"
    );
    assert_eq!(
        text(
            &done,
            &[
                "metadata",
                "annotations",
                "deployment.kubernetes.io/revision"
            ]
        ),
        "1"
    );
    for pod in cast.store.list(&pods(), Some("default")).0 {
        let set = text(&items(&pod, &["metadata", "ownerReferences"])[0], &["name"]).to_owned();
        assert!(set.starts_with("web-") && name(&pod).starts_with(&set));
        assert!(!text(&pod, &["metadata", "labels", "pod-template-hash"]).is_empty());
        assert_eq!(pod["spec"]["serviceAccountName"], "default");
        assert!(name_of_volume(&pod).starts_with("kube-api-access-"));
    }
    // A pod that is taken away is replaced.
    let first = name(&cast.store.list(&pods(), Some("default")).0[0]).to_owned();
    cast.delete(&pods(), Some("default"), &first, Propagation::Background);
    cast.rolled_out(3).await;
    assert!(cast.store.get(&pods(), Some("default"), &first).is_none());
}

fn name_of_volume(pod: &Value) -> String {
    text(&items(pod, &["spec", "volumes"])[0], &["name"]).to_owned()
}

#[tokio::test]
async fn a_new_template_is_rolled_out_and_an_old_one_is_found_again() {
    let cast = cast();
    cast.create("apps", deployment(2));
    cast.rolled_out(2).await;
    cast.edit(&deployments(), "web", image("i:2"));
    cast.rolled_out(2).await;
    let sets = cast.store.list(&replicasets(), Some("default")).0;
    assert_eq!(sets.len(), 2);
    for pod in cast.store.list(&pods(), Some("default")).0 {
        assert_eq!(pod["spec"]["containers"][0]["image"], "i:2");
    }
    cast.edit(&deployments(), "web", image("i:1"));
    let done = cast.rolled_out(2).await;
    assert_eq!(cast.store.list(&replicasets(), Some("default")).0.len(), 2);
    assert_eq!(
        text(
            &done,
            &[
                "metadata",
                "annotations",
                "deployment.kubernetes.io/revision"
            ]
        ),
        "3"
    );
}

#[tokio::test]
async fn a_recreated_deployment_never_runs_two_versions() {
    let cast = cast();
    let mut d = deployment(2);
    d["spec"]["strategy"] = json!({"type": "Recreate"});
    cast.create("apps", d);
    cast.rolled_out(2).await;
    let mut watch = cast
        .store
        .watch(&pods(), Some(cast.store.revision()))
        .unwrap();
    cast.edit(&deployments(), "web", image("i:2"));
    cast.rolled_out(2).await;
    let (mut old, mut new) = (2, 0);
    while let Some(event) = watch.try_next().unwrap() {
        let is_new = event.object["spec"]["containers"][0]["image"] == "i:2";
        match event.kind {
            crate::store::EventKind::Added if is_new => new += 1,
            crate::store::EventKind::Deleted if !is_new => old -= 1,
            _ => {}
        }
        assert!(old == 0 || new == 0, "{old} old beside {new} new");
    }
}

#[tokio::test]
async fn pods_without_an_account_are_made_once_it_comes() {
    let cast = cast();
    let mut d = deployment(1);
    d["spec"]["template"]["spec"]["serviceAccountName"] = json!("late");
    cast.create("apps", d);
    cast.until("the failure is told", |store| {
        let d = store.get(&deployments(), Some("default"), "web")?;
        let message = text(objects::condition(&d, "ReplicaFailure")?, &["message"]).to_owned();
        message
            .contains("serviceaccount \"late\" not found")
            .then_some(())
    })
    .await;
    let events = cast
        .store
        .list(&ResourceKey::core("events"), Some("default"))
        .0;
    assert!(events.iter().any(|e| e["reason"] == "FailedCreate"));
    cast.create(
        "",
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "late"}}),
    );
    let done = cast.rolled_out(1).await;
    assert!(objects::condition(&done, "ReplicaFailure").is_none());
}

#[tokio::test]
async fn slices_follow_services_and_pods() {
    let cast = cast();
    cast.create("apps", deployment(2));
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {
        "selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}});
    cast.create("", service);
    cast.rolled_out(2).await;
    let endpoints = |store: &Store, wanted: usize| {
        let all = store.list(&slices(), Some("default")).0;
        let [slice] = all.as_slice() else { return None };
        let is_ready = |e: &&Value| e["conditions"]["ready"] == true;
        let count = items(slice, &["endpoints"]).iter().filter(is_ready).count();
        (count == wanted).then(|| slice.clone())
    };
    let slice = cast
        .until("two endpoints", |store| endpoints(store, 2))
        .await;
    assert_eq!(
        slice["ports"],
        json!([{"name": "http", "port": 8080, "protocol": "TCP"}])
    );
    assert_eq!(
        slice["metadata"]["labels"]["kubernetes.io/service-name"],
        "web"
    );
    cast.edit(&deployments(), "web", |d| d["spec"]["replicas"] = json!(0));
    cast.until("nobody", |store| {
        cast.serve();
        let slice = endpoints(store, 0)?;
        at(&slice, &["endpoints"])
            .as_array()?
            .is_empty()
            .then_some(())
    })
    .await;
    // The slice is the same one all along.
    assert_eq!(
        name(&cast.store.list(&slices(), Some("default")).0[0]),
        name(&slice)
    );
    cast.delete(&services(), Some("default"), "web", Propagation::Background);
    cast.until("no slice", |store| {
        store
            .list(&slices(), Some("default"))
            .0
            .is_empty()
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn slices_of_others_are_left_alone() {
    let cast = cast();
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "addressType": "IPv4", "metadata": {"name": "web-east", "labels": {
            "kubernetes.io/service-name": "web-east",
            "endpointslice.kubernetes.io/managed-by": "service-mirror.linkerd.io"}},
        "endpoints": [{"addresses": ["127.0.0.9"]}], "ports": []});
    cast.create("discovery.k8s.io", slice);
    cast.create(
        "",
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web-east"},
        "spec": {"ports": [{"port": 80}]}}),
    );
    cast.create(
        "",
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}),
    );
    cast.until("the other service has its slice", |store| {
        (store.list(&slices(), Some("default")).0.len() == 2).then_some(())
    })
    .await;
    let kept = cast
        .store
        .get(&slices(), Some("default"), "web-east")
        .unwrap();
    assert_eq!(kept["endpoints"][0]["addresses"][0], "127.0.0.9");
}

#[tokio::test]
async fn dependents_go_with_their_owner() {
    let cast = cast();
    cast.create("apps", deployment(2));
    cast.rolled_out(2).await;
    cast.delete(
        &deployments(),
        Some("default"),
        "web",
        Propagation::Background,
    );
    cast.until("all is gone", |store| {
        cast.serve();
        let left = store.list(&replicasets(), None).0.len() + store.list(&pods(), None).0.len();
        (left == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_foreground_deletion_goes_from_below() {
    let cast = cast();
    cast.create("apps", deployment(2));
    cast.rolled_out(2).await;
    cast.delete(
        &deployments(),
        Some("default"),
        "web",
        Propagation::Foreground,
    );
    cast.until("pods are stopped first", |store| {
        let all = store.list(&pods(), None).0;
        all.iter().all(|p| deleting(p)).then_some(())
    })
    .await;
    let there = |key| cast.store.get(key, Some("default"), "web").is_some();
    assert!(there(&deployments()));
    assert_eq!(cast.store.list(&replicasets(), None).0.len(), 1);
    cast.until("all is gone", |store| {
        cast.serve();
        store
            .get(&deployments(), Some("default"), "web")
            .is_none()
            .then_some(())
    })
    .await;
    assert!(cast.store.list(&replicasets(), None).0.is_empty());
    assert!(cast.store.list(&pods(), None).0.is_empty());
}

#[tokio::test]
async fn orphans_stay_and_are_adopted_again() {
    let cast = cast();
    cast.create("apps", deployment(1));
    cast.rolled_out(1).await;
    let before = name(&cast.store.list(&replicasets(), None).0[0]).to_owned();
    cast.delete(&deployments(), Some("default"), "web", Propagation::Orphan);
    cast.until("it is gone", |store| {
        store
            .get(&deployments(), Some("default"), "web")
            .is_none()
            .then_some(())
    })
    .await;
    let set = cast
        .store
        .get(&replicasets(), Some("default"), &before)
        .unwrap();
    assert!(items(&set, &["metadata", "ownerReferences"]).is_empty());
    cast.create("apps", deployment(1));
    cast.rolled_out(1).await;
    assert_eq!(cast.store.list(&replicasets(), None).0.len(), 1);
}

#[tokio::test]
async fn an_object_of_a_stranger_is_collected() {
    let cast = cast();
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "x"});
    let unknown = json!({"apiVersion": "other.io/v1", "kind": "Thing", "name": "t", "uid": "y"});
    let map = |name: &str, owners: Value| {
        json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "ownerReferences": owners}})
    };
    cast.create("", map("lost", json!([owner])));
    cast.create("", map("kept", json!([owner, unknown])));
    let key = ResourceKey::core("configmaps");
    cast.until("the lost one is gone", |store| {
        let kept = store.get(&key, Some("default"), "kept")?;
        let owners = items(&kept, &["metadata", "ownerReferences"]).len();
        (store.get(&key, Some("default"), "lost").is_none() && owners == 1).then_some(())
    })
    .await;
}
