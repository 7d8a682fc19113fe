//! Watches: resuming, expiring, filtering, bookmarks.

use super::*;
use futures::{StreamExt as _, TryStreamExt as _};

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
