use super::*;
use serde_json::json;

fn pods() -> ResourceKey {
    ResourceKey::core("pods")
}

fn pod(name: &str) -> Value {
    json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name, "namespace": "a"}})
}

fn set(v: &Value, field: &str, to: Value) -> Result<Value, ApiError> {
    let mut new = v.clone();
    new["spec"][field] = to;
    Ok(new)
}

#[tokio::test]
async fn a_watch_resumes_where_a_list_ended() {
    let store = Store::default();
    store.create(&pods(), pod("x")).unwrap();
    let (items, revision) = store.list(&pods(), Some("a"));
    assert_eq!(items.len(), 1);
    store
        .update(&pods(), Some("a"), "x", |v| set(v, "a", json!(1)))
        .unwrap();
    let mut watch = store.watch(&pods(), Some(revision)).unwrap();
    let event = watch.next().await.unwrap();
    assert_eq!(event.kind, EventKind::Modified);
    assert_eq!(event.previous.unwrap()["spec"], Value::Null);
    assert!(watch.try_next().unwrap().is_none());
    assert_eq!(watch.revision(), store.revision());
}

#[tokio::test]
async fn a_forgotten_or_future_revision_is_410() {
    let store = Store::new(2);
    store.create(&pods(), pod("x")).unwrap();
    let from = store.revision();
    let mut slow = store.watch(&pods(), Some(from)).unwrap();
    for n in 0..3 {
        store
            .update(&pods(), Some("a"), "x", |v| set(v, "n", json!(n)))
            .unwrap();
    }
    assert_eq!(store.watch(&pods(), Some(from)).err().unwrap().code, 410);
    assert_eq!(
        store.watch(&pods(), Some(from + 1000)).err().unwrap().code,
        410
    );
    assert_eq!(slow.next().await.unwrap_err().code, 410);
    assert!(store.watch(&pods(), Some(from + 1)).is_ok());
}

#[tokio::test]
async fn an_update_that_changes_nothing_is_no_event() {
    let store = Store::default();
    store.create(&pods(), pod("x")).unwrap();
    let before = store.revision();
    store
        .update(&pods(), Some("a"), "x", |v| Ok(v.clone()))
        .unwrap();
    assert_eq!(store.revision(), before);
}

#[tokio::test]
async fn finalizers_hold_a_deleted_object_until_they_are_gone() {
    let store = Store::default();
    let mut held = pod("x");
    held["metadata"]["finalizers"] = json!(["a/b"]);
    store.create(&pods(), held).unwrap();
    let deleted = store
        .delete(&pods(), Some("a"), "x", &DeleteOptions::default())
        .unwrap();
    assert!(matches!(deleted, Deleted::Terminating(_)));
    let mut watch = store.watch(&pods(), Some(store.revision())).unwrap();
    store
        .update(&pods(), Some("a"), "x", |v| {
            let mut v = v.clone();
            v["metadata"]["finalizers"] = json!([]);
            Ok(v)
        })
        .unwrap();
    assert_eq!(watch.next().await.unwrap().kind, EventKind::Deleted);
    assert!(store.get(&pods(), Some("a"), "x").is_none());
}

#[tokio::test]
async fn a_pod_on_a_node_waits_for_its_node() {
    let store = Store::default();
    let mut bound = pod("x");
    bound["spec"]["nodeName"] = json!("n");
    store.create(&pods(), bound).unwrap();
    let deleted = store
        .delete(&pods(), Some("a"), "x", &DeleteOptions::default())
        .unwrap();
    let Deleted::Terminating(marked) = deleted else {
        panic!("removed at once")
    };
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);
    let now = DeleteOptions {
        grace_period_seconds: Some(0),
        ..DeleteOptions::default()
    };
    let deleted = store.delete(&pods(), Some("a"), "x", &now).unwrap();
    assert!(matches!(deleted, Deleted::Removed(_)));
}

#[test]
fn a_delete_with_another_uid_is_a_conflict() {
    let store = Store::default();
    store.create(&pods(), pod("x")).unwrap();
    let other = DeleteOptions {
        uid: Some("other".into()),
        ..DeleteOptions::default()
    };
    let error = store.delete(&pods(), Some("a"), "x", &other).unwrap_err();
    assert_eq!((error.code, error.reason), (409, "Conflict"));
    assert!(
        error.message.contains("UID in precondition: other"),
        "{error}"
    );
}

#[test]
fn namespaces_are_listed_apart() {
    let store = Store::default();
    for (ns, name) in [("a", "x"), ("ab", "x"), ("b", "x")] {
        let mut p = pod(name);
        p["metadata"]["namespace"] = json!(ns);
        store.create(&pods(), p).unwrap();
    }
    assert_eq!(store.list(&pods(), Some("a")).0.len(), 1);
    assert_eq!(store.list(&pods(), None).0.len(), 3);
}

#[test]
fn a_store_in_a_folder_starts_with_what_it_had() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), 16).unwrap();
    for name in ["x", "y"] {
        store.create(&pods(), pod(name)).unwrap();
    }
    store
        .update(&pods(), Some("a"), "x", |v| set(v, "n", json!(1)))
        .unwrap();
    store
        .delete(&pods(), Some("a"), "y", &DeleteOptions::default())
        .unwrap();
    let before = store.revision();
    let second = Store::open(dir.path(), 16).err().unwrap();
    assert!(
        second.to_string().contains("another API server uses"),
        "{second}"
    );
    drop(store);

    // As a writer killed in the middle of a line leaves it.
    let journal = dir.path().join("store.journal");
    let mut text = std::fs::read_to_string(&journal).unwrap();
    text.push_str("{\"revision\": 99, \"gro");
    std::fs::write(&journal, text).unwrap();

    let store = Store::open(dir.path(), 16).unwrap();
    let (items, _) = store.list(&pods(), None);
    assert_eq!(items.len(), 1);
    assert_eq!(items[0]["spec"]["n"], 1);
    assert!(store.revision() > before);
    assert_eq!(store.watch(&pods(), Some(before)).err().unwrap().code, 410);
    store.create(&pods(), pod("z")).unwrap();
    drop(store);
    assert_eq!(
        Store::open(dir.path(), 16)
            .unwrap()
            .list(&pods(), None)
            .0
            .len(),
        2
    );
}

#[test]
fn a_journal_that_grew_is_rewritten() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), 16).unwrap();
    store.create(&pods(), pod("x")).unwrap();
    let large = "x".repeat(1 << 20);
    for n in 0..12 {
        store
            .update(&pods(), Some("a"), "x", |v| set(v, "n", json!([n, large])))
            .unwrap();
    }
    let size = std::fs::metadata(dir.path().join("store.journal"))
        .unwrap()
        .len();
    assert!(size < 8 << 20, "{size}");
    drop(store);
    let store = Store::open(dir.path(), 16).unwrap();
    assert_eq!(
        store.get(&pods(), Some("a"), "x").unwrap()["spec"]["n"][0],
        11
    );
}
