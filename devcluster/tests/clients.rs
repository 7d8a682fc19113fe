//! What controllers rely on, seen through the kube client: watches that resume, expire and send
//! bookmarks, conflicts, apply, pages, and the limits a stranger meets.

#![allow(
    clippy::unwrap_used,
    reason = "all of this is a test; a failure is a panic"
)]

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{
    Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, WatchEvent,
    WatchParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, GroupVersionKind, PartialObjectMeta};
use kube::runtime::watcher;
use kube::{Client, Config};
use mesh_daemon::Trigger;
use mesh_devcluster::apiserver::{self, Running, start};
use serde_json::json;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

struct Cluster {
    running: Running,
    client: Client,
    trigger: Trigger,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.trigger.shutdown();
    }
}

async fn cluster(history: usize) -> Cluster {
    cluster_of(apiserver::Config {
        history,
        ..apiserver::Config::default()
    })
    .await
}

async fn cluster_of(config: apiserver::Config) -> Cluster {
    let (trigger, shutdown) = mesh_daemon::shutdown();
    let running = start(config, shutdown).await.unwrap();
    let kubeconfig = Kubeconfig::from_yaml(&running.admin_kubeconfig).unwrap();
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .unwrap();
    let client = Client::try_from(config).unwrap();
    let cluster = Cluster {
        running,
        client,
        trigger,
    };
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(cluster.client.clone());
    let made = async {
        // The controllers make it in their own time.
        while namespaces.get_opt("default").await.unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, made)
        .await
        .expect("namespace default");
    cluster
}

fn maps(c: &Cluster) -> Api<ConfigMap> {
    Api::namespaced(c.client.clone(), "default")
}

fn map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name, "labels": {"of": "test"}}})).unwrap()
}

async fn touch(c: &Cluster, name: &str, value: usize) {
    let patch = json!({"data": {"n": value.to_string()}});
    maps(c)
        .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .unwrap();
}

async fn create(c: &Cluster, name: &str) -> ConfigMap {
    maps(c)
        .create(&PostParams::default(), &map(name))
        .await
        .unwrap()
}

fn of_test() -> WatchParams {
    WatchParams::default().labels("of=test")
}

#[tokio::test]
async fn a_watch_resumes_where_the_last_one_ended() {
    let c = cluster(4096).await;
    let first = create(&c, "x").await;
    let version = first.metadata.resource_version.unwrap();
    touch(&c, "x", 1).await;
    create(&c, "y").await;
    maps(&c)
        .delete("x", &DeleteParams::default())
        .await
        .unwrap();
    let seen = maps(&c).watch(&of_test(), &version).await.unwrap().take(3);
    let seen: Vec<_> = tokio::time::timeout(PATIENCE, seen.try_collect())
        .await
        .unwrap()
        .unwrap();
    match seen.as_slice() {
        [
            WatchEvent::Modified(a),
            WatchEvent::Added(b),
            WatchEvent::Deleted(d),
        ] => {
            let names = [a, b, d].map(|m| m.metadata.name.as_deref());
            assert_eq!(names, [Some("x"), Some("y"), Some("x")]);
            assert_ne!(a.metadata.resource_version, d.metadata.resource_version);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_object_that_leaves_the_selection_is_deleted_to_its_watcher() {
    let c = cluster(4096).await;
    let version = create(&c, "x").await.metadata.resource_version.unwrap();
    let unlabel = json!({"metadata": {"labels": {"of": null}}});
    maps(&c)
        .patch("x", &PatchParams::default(), &Patch::Merge(&unlabel))
        .await
        .unwrap();
    let relabel = json!({"metadata": {"labels": {"of": "test"}}});
    maps(&c)
        .patch("x", &PatchParams::default(), &Patch::Merge(&relabel))
        .await
        .unwrap();
    let seen = maps(&c).watch(&of_test(), &version).await.unwrap().take(2);
    let seen: Vec<_> = tokio::time::timeout(PATIENCE, seen.try_collect())
        .await
        .unwrap()
        .unwrap();
    assert!(
        matches!(
            seen.as_slice(),
            [WatchEvent::Deleted(_), WatchEvent::Added(_)]
        ),
        "{seen:?}"
    );
}

#[tokio::test]
async fn a_watch_from_a_forgotten_revision_expires_in_the_stream() {
    let c = cluster(4).await;
    let version = create(&c, "x").await.metadata.resource_version.unwrap();
    for n in 0..8 {
        touch(&c, "x", n).await;
    }
    for from in [version.as_str(), "999999999"] {
        let mut stream = maps(&c).watch(&of_test(), from).await.unwrap().boxed();
        let first = tokio::time::timeout(PATIENCE, stream.next()).await.unwrap();
        match first {
            Some(Ok(WatchEvent::Error(status))) => {
                assert_eq!((status.code, status.reason.as_str()), (410, "Expired"));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_watcher_of_kube_recovers_from_an_expired_watch() {
    let c = cluster(4).await;
    create(&c, "x").await;
    let config = watcher::Config::default().labels("of=test");
    let mut events = watcher(maps(&c), config).boxed();
    let mut ready = false;
    let until_ready = async {
        while let Some(event) = events.next().await {
            if matches!(event, Ok(watcher::Event::InitDone)) {
                ready = true;
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, until_ready).await.unwrap();
    assert!(ready);
    // While nobody reads the stream, more happens than is remembered.
    for n in 0..64 {
        touch(&c, "x", n).await;
    }
    let seen = async {
        while let Some(event) = events.next().await {
            let (Ok(watcher::Event::Apply(map)) | Ok(watcher::Event::InitApply(map))) = event
            else {
                continue;
            };
            if map
                .data
                .is_some_and(|d| d.get("n").is_some_and(|n| n == "63"))
            {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, seen)
        .await
        .expect("the last state is seen");
}

#[tokio::test]
async fn bookmarks_tell_how_far_a_quiet_watch_is() {
    let c = cluster(4096).await;
    let version = create(&c, "x").await.metadata.resource_version.unwrap();
    // Something else moves the revision on.
    create(&c, "other").await;
    let params = WatchParams::default().fields("metadata.name=x").timeout(1);
    let stream = maps(&c).watch(&params, &version).await.unwrap();
    let seen: Vec<_> = tokio::time::timeout(PATIENCE, stream.try_collect())
        .await
        .unwrap()
        .unwrap();
    match seen.last() {
        Some(WatchEvent::Bookmark(mark)) => {
            let number = |v: &str| v.parse::<u64>().unwrap();
            assert!(number(&mark.metadata.resource_version) > number(&version));
        }
        other => panic!("a bookmark before the end: {other:?}"),
    }
}

#[tokio::test]
async fn a_streamed_list_ends_with_its_bookmark() {
    let c = cluster(4096).await;
    create(&c, "x").await;
    let params = of_test().initial_events();
    let mut stream = maps(&c).watch(&params, "0").await.unwrap().boxed();
    let first = tokio::time::timeout(PATIENCE, stream.next()).await.unwrap();
    assert!(matches!(first, Some(Ok(WatchEvent::Added(_)))), "{first:?}");
    let second = tokio::time::timeout(PATIENCE, stream.next()).await.unwrap();
    match second {
        Some(Ok(WatchEvent::Bookmark(mark))) => {
            assert_eq!(
                mark.metadata.annotations["k8s.io/initial-events-end"],
                "true"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_stale_update_is_a_conflict_and_a_new_one_is_not() {
    let c = cluster(4096).await;
    let mut stale = create(&c, "x").await;
    touch(&c, "x", 1).await;
    let params = PostParams::default();
    let error = maps(&c).replace("x", &params, &stale).await.unwrap_err();
    assert!(
        matches!(&error, kube::Error::Api(s) if s.is_conflict()),
        "{error}"
    );
    stale.metadata.resource_version = None;
    maps(&c).replace("x", &params, &stale).await.unwrap();
    let other = DeleteParams {
        preconditions: Some(kube::api::Preconditions {
            uid: Some("another".into()),
            ..kube::api::Preconditions::default()
        }),
        ..DeleteParams::default()
    };
    let error = maps(&c).delete("x", &other).await.unwrap_err();
    assert!(
        matches!(&error, kube::Error::Api(s) if s.is_conflict()),
        "{error}"
    );
}

#[tokio::test]
async fn an_apply_with_a_uid_is_never_merged_into_another_object() {
    let c = cluster(4096).await;
    create(&c, "x").await;
    let apply = |uid: &str| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"},
            "metadata": {"name": "x", "uid": uid}})
    };
    let params = PatchParams::apply("me");
    let foreign = apply("00000000-0000-4000-8000-000000000000");
    let error = maps(&c)
        .patch("x", &params, &Patch::Apply(&foreign))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, kube::Error::Api(s) if s.is_conflict()),
        "{error}"
    );
    let uid = maps(&c).get("x").await.unwrap().metadata.uid.unwrap();
    let mine = maps(&c)
        .patch("x", &params, &Patch::Apply(&apply(&uid)))
        .await
        .unwrap();
    assert_eq!(mine.data.unwrap()["a"], "b");
}

#[tokio::test]
async fn pages_show_one_state_although_objects_change_in_between() {
    let c = cluster(4096).await;
    for name in ["a", "b", "d", "e"] {
        create(&c, name).await;
    }
    let params = ListParams::default().labels("of=test").limit(2);
    let first = maps(&c).list(&params).await.unwrap();
    let token = first.metadata.continue_.clone().unwrap();
    maps(&c)
        .delete("d", &DeleteParams::default())
        .await
        .unwrap();
    create(&c, "c").await;
    let second = maps(&c)
        .list(&params.clone().continue_token(&token))
        .await
        .unwrap();
    let names = |l: &kube::core::ObjectList<ConfigMap>| {
        l.items
            .iter()
            .filter_map(|m| m.metadata.name.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (names(&first), names(&second)),
        (vec!["a".into(), "b".into()], vec!["d".into(), "e".into()])
    );
    assert_eq!(
        first.metadata.resource_version,
        second.metadata.resource_version
    );
}

#[tokio::test]
async fn metadata_alone_can_be_asked_for() {
    let c = cluster(4096).await;
    create(&c, "x").await;
    let one: PartialObjectMeta<ConfigMap> = maps(&c).get_metadata("x").await.unwrap();
    assert_eq!(one.metadata.name.as_deref(), Some("x"));
    let list = maps(&c)
        .list_metadata(&ListParams::default().labels("of=test"))
        .await
        .unwrap();
    assert_eq!(list.items.len(), 1);
}

#[tokio::test]
async fn concurrent_writers_each_win_once() {
    let c = cluster(4096).await;
    create(&c, "x").await;
    let writers = (0..16).map(|n| {
        let maps = maps(&c);
        async move {
            loop {
                let mut map = maps.get("x").await.unwrap();
                map.data
                    .get_or_insert_default()
                    .insert(format!("k{n}"), "v".into());
                match maps.replace("x", &PostParams::default(), &map).await {
                    Ok(_) => return,
                    Err(kube::Error::Api(s)) if s.is_conflict() => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    });
    futures::future::join_all(writers).await;
    assert_eq!(maps(&c).get("x").await.unwrap().data.unwrap().len(), 16);
}

#[tokio::test]
async fn services_get_addresses_nobody_else_has() {
    let c = cluster(4096).await;
    let kind = GroupVersionKind::gvk("", "v1", "Service");
    let api: Api<DynamicObject> =
        Api::namespaced_with(c.client.clone(), "default", &ApiResource::from_gvk(&kind));
    let creates = (0..20).map(|n| {
        let api = api.clone();
        let service: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("s{n}")},
            "spec": {"ports": [{"port": 80}]}}))
        .unwrap();
        async move {
            let made = api.create(&PostParams::default(), &service).await.unwrap();
            made.data["spec"]["clusterIP"].as_str().unwrap().to_owned()
        }
    });
    let mut ips = futures::future::join_all(creates).await;
    ips.sort();
    ips.dedup();
    assert_eq!(ips.len(), 20);
}

#[tokio::test]
async fn strangers_meet_limits() {
    let c = cluster(4096).await;
    let anonymous = |path: &str| {
        let mut request = http::Request::get(path);
        request = request.header("authorization", "Bearer nonsense");
        request.body(Vec::new()).unwrap()
    };
    let mut config = Config::new(format!("https://{}", c.running.addr).parse().unwrap());
    config.accept_invalid_certs = true;
    let stranger = Client::try_from(config).unwrap();
    let refused = stranger
        .request_text(anonymous("/api/v1/secrets"))
        .await
        .unwrap_err();
    assert!(
        matches!(&refused, kube::Error::Api(s) if s.code == 401),
        "{refused}"
    );
    let nobody = http::Request::get("/api/v1/secrets")
        .body(Vec::new())
        .unwrap();
    let refused = stranger.request_text(nobody).await.unwrap_err();
    assert!(
        matches!(&refused, kube::Error::Api(s) if s.code == 403),
        "{refused}"
    );

    let mut large = map("large");
    large
        .data
        .get_or_insert_default()
        .insert("a".into(), "x".repeat(4 << 20));
    let error = maps(&c)
        .create(&PostParams::default(), &large)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, kube::Error::Api(s) if s.code == 413),
        "{error}"
    );
}

#[tokio::test]
async fn many_servers_live_in_one_process_and_stop_when_told() {
    let (a, b) = (cluster(16).await, cluster(16).await);
    create(&a, "x").await;
    assert!(maps(&b).get_opt("x").await.unwrap().is_none());
    a.trigger.shutdown();
    let gone = async {
        while tokio::net::TcpStream::connect(a.running.addr).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone)
        .await
        .expect("it no longer listens");
    create(&b, "x").await;
}

#[tokio::test]
async fn a_server_that_comes_back_has_its_objects_and_knows_its_clients() {
    let dir = tempfile::tempdir().unwrap();
    let config = apiserver::Config {
        state_dir: Some(dir.path().to_owned()),
        ..apiserver::Config::default()
    };
    let first = cluster_of(config.clone()).await;
    let version = create(&first, "x").await.metadata.resource_version.unwrap();
    let (client, addr) = (first.client.clone(), first.running.addr);
    let kubeconfig = first.running.admin_kubeconfig.clone();
    let config = apiserver::Config {
        listen: addr,
        ..config
    };
    drop(first);
    let again = async {
        loop {
            // Until the last task of the first one has let go of the store.
            let (trigger, shutdown) = mesh_daemon::shutdown();
            match start(config.clone(), shutdown).await {
                Ok(running) => return (running, trigger),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    let (running, trigger) = tokio::time::timeout(PATIENCE, again)
        .await
        .expect("a second start");
    assert_eq!(running.admin_kubeconfig, kubeconfig);
    let second = Cluster {
        running,
        client,
        trigger,
    };
    let kept = maps(&second).get("x").await.unwrap();
    assert_eq!(
        kept.metadata.resource_version.as_deref(),
        Some(version.as_str())
    );
    let mut stream = maps(&second)
        .watch(&of_test(), &version)
        .await
        .unwrap()
        .boxed();
    let event = tokio::time::timeout(PATIENCE, stream.next()).await.unwrap();
    assert!(
        matches!(&event, Some(Ok(WatchEvent::Error(s))) if s.code == 410),
        "{event:?}"
    );
    touch(&second, "x", 1).await;
}

fn toys(c: &Cluster) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("test.mesh.io", "v1", "Toy");
    let resource = ApiResource::from_gvk(&kind);
    Api::namespaced_with(c.client.clone(), "default", &resource)
}

async fn define_toys(c: &Cluster) {
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "toys.test.mesh.io"},
        "spec": {"group": "test.mesh.io", "scope": "Namespaced",
            "names": {"plural": "toys", "singular": "toy", "kind": "Toy"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object",
                    "properties": {"spec": open, "status": open}}}}]}});
    let kind = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let api: Api<DynamicObject> = Api::all_with(c.client.clone(), &ApiResource::from_gvk(&kind));
    let definition = serde_json::from_value(definition).unwrap();
    api.create(&PostParams::default(), &definition)
        .await
        .unwrap();
}

#[tokio::test]
async fn spec_and_status_are_applied_apart_by_their_managers() {
    let c = cluster(4096).await;
    define_toys(&c).await;
    let toy = |more: serde_json::Value| {
        let mut toy = json!({"apiVersion": "test.mesh.io/v1", "kind": "Toy",
            "metadata": {"name": "car"}});
        json_patch::merge(&mut toy, &more);
        Patch::Apply(toy)
    };
    let user = PatchParams::apply("user");
    let controller = PatchParams::apply("controller").force();
    let spec = toy(json!({"spec": {"colour": "red"}, "status": {"seen": "not written here"}}));
    let made = toys(&c).patch("car", &user, &spec).await.unwrap();
    assert!(made.data.get("status").is_none(), "{made:?}");
    let status = toy(json!({"status": {"seen": "red"}, "spec": {"colour": "not written here"}}));
    let seen = toys(&c)
        .patch_status("car", &controller, &status)
        .await
        .unwrap();
    assert_eq!(
        (&seen.data["spec"]["colour"], &seen.data["status"]["seen"]),
        (&json!("red"), &json!("red"))
    );
    let managers: Vec<_> = seen
        .metadata
        .managed_fields
        .unwrap()
        .into_iter()
        .map(|m| (m.manager.unwrap(), m.subresource))
        .collect();
    assert!(managers.contains(&("user".into(), None)), "{managers:?}");
    assert!(
        managers.contains(&("controller".into(), Some("status".into()))),
        "{managers:?}"
    );
    let again = toys(&c)
        .patch_status("car", &controller, &status)
        .await
        .unwrap();
    assert_eq!(
        again.metadata.resource_version, seen.metadata.resource_version,
        "nothing changed"
    );
    let spec = toy(json!({"spec": {"colour": "blue"}}));
    let after = toys(&c).patch("car", &user, &spec).await.unwrap();
    assert_eq!(after.data["status"]["seen"], "red");
    assert_eq!(after.metadata.generation, Some(2));
    let merge = Patch::Merge(json!({"status": {"seen": "blue"}}));
    let after = toys(&c)
        .patch_status("car", &PatchParams::default(), &merge)
        .await
        .unwrap();
    assert_eq!(after.data["status"]["seen"], "blue");
    let bus = toy(json!({"metadata": {"name": "bus"}, "status": {"seen": "red"}}));
    let missing = toys(&c)
        .patch_status("bus", &controller, &bus)
        .await
        .unwrap_err();
    assert!(
        matches!(&missing, kube::Error::Api(s) if s.code == 404),
        "{missing}"
    );
}

#[tokio::test]
async fn writers_that_must_not_race_say_which_revision_they_saw() {
    let c = cluster(4096).await;
    create(&c, "x").await;
    let stale = json!({"metadata": {"resourceVersion": "1"}, "data": {"a": "b"}});
    let error = maps(&c)
        .patch("x", &PatchParams::default(), &Patch::Merge(&stale))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, kube::Error::Api(s) if s.is_conflict()),
        "{error}"
    );
    define_toys(&c).await;
    let blind: DynamicObject = serde_json::from_value(
        json!({"apiVersion": "test.mesh.io/v1", "kind": "Toy", "metadata": {"name": "car"}}),
    )
    .unwrap();
    let params = PostParams::default();
    toys(&c).create(&params, &blind).await.unwrap();
    let error = toys(&c).replace("car", &params, &blind).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("must be specified for an update"),
        "{error}"
    );
}
