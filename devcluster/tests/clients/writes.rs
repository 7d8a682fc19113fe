//! Writes: conflicts, apply, status, allocation.

use super::*;

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
