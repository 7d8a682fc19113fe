//! The server itself: pages, forms, limits, starts and stops.

use super::*;
use futures::StreamExt as _;

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

#[tokio::test]
async fn its_certificate_bears_the_names_it_is_told() {
    let config = apiserver::Config {
        extra_sans: vec!["api.west.example".to_owned(), "10.1.0.1".to_owned()],
        ..apiserver::Config::default()
    };
    let c = cluster_of(config).await;
    let known_as = async |name: &str| {
        let mut config = devcluster::testing::config(&c.running.admin_kubeconfig).await;
        config.tls_server_name = Some(name.to_owned());
        let client = Client::try_from(config).unwrap();
        client.apiserver_version().await.map(drop)
    };
    for name in ["api.west.example", "10.1.0.1", "kubernetes.default.svc"] {
        known_as(name).await.unwrap();
    }
    let stranger = known_as("api.east.example").await.unwrap_err();
    assert!(!matches!(stranger, kube::Error::Api(_)), "{stranger:?}");
}
