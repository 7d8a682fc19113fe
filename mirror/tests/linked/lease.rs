//! Of several mirrors only the holder of the lease writes.

use crate::sandbox::{Cluster, Mirror, NS, eventually, tapped};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Client,
    api::{Patch, PatchParams},
};
use parking_lot::Mutex;
use serde_json::json;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

type Writes = Arc<Mutex<Vec<String>>>;

/// How often the Lease was looked at, and every write but those to it.
#[derive(Clone, Default)]
struct Noted {
    looks: Arc<AtomicUsize>,
    writes: Writes,
}

impl Noted {
    /// Waits until the Lease was looked at twice from now on: what the first look showed is known.
    async fn looked(&self) {
        let before = self.looks.load(Ordering::SeqCst);
        eventually(async || match self.looks.load(Ordering::SeqCst) {
            looks if looks >= before + 2 => Ok(()),
            looks => Err(format!(
                "a look at the Lease, {before} then and {looks} now"
            )),
        })
        .await;
    }
}

/// A client that notes what its holder does.
async fn noted(cluster: &Cluster) -> (Client, Noted) {
    let seen = Noted::default();
    let noted = seen.clone();
    let client = tapped(
        cluster,
        Arc::new(move |request| {
            let path = request.uri.path().to_owned();
            if path.contains("/leases") {
                noted
                    .looks
                    .fetch_add(usize::from(request.method == "GET"), Ordering::SeqCst);
            } else if request.method != "GET" {
                noted
                    .writes
                    .lock()
                    .push(format!("{} {path}", request.method));
            }
            Box::pin(std::future::ready(()))
        }),
    )
    .await;
    (client, seen)
}

async fn holder(west: &Cluster) -> Option<String> {
    let lease = west
        .api::<Lease>(NS)
        .get_opt("service-mirror-write")
        .await
        .unwrap();
    lease?.spec?.holder_identity
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_holder_of_the_lease_writes_and_another_takes_over() {
    let (west, east) = (
        Cluster::importing("west").await,
        Cluster::start("east").await,
    );
    west.link(&east).await;
    let (client, first_noted) = noted(&west).await;
    let first = Mirror::with(&west, client, |setup| setup.pod_name = "first".into()).await;
    eventually(async || match holder(&west).await.as_deref() {
        Some("first") => Ok(()),
        other => Err(format!("first to hold the lease, not {other:?}")),
    })
    .await;
    let (client, second_noted) = noted(&west).await;
    let second = Mirror::with(&west, client, |setup| setup.pod_name = "second".into()).await;

    east.export("web").await;
    west.sees_slice("web-east", |_| true).await;
    west.told("east", "web", "Mirrored").await;
    assert!(!first_noted.writes.lock().is_empty());
    assert_eq!(*second_noted.writes.lock(), Vec::<String>::new());

    first.stop().await;
    let before = first_noted.writes.lock().len();
    east.export("api").await;
    west.sees_slice("api-east", |_| true).await;
    assert_eq!(holder(&west).await.as_deref(), Some("second"));
    assert!(!second_noted.writes.lock().is_empty());
    assert_eq!(first_noted.writes.lock().len(), before);
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_lost_the_lease_writes_no_more() {
    let (west, east) = (
        Cluster::importing("west").await,
        Cluster::start("east").await,
    );
    west.link(&east).await;
    let (client, noted) = noted(&west).await;
    let mirror = Mirror::with(&west, client, |setup| setup.pod_name = "mirror".into()).await;
    east.export("web").await;
    west.told("east", "web", "Mirrored").await;

    give(&west, json!("thief")).await;
    noted.looked().await;
    let before = noted.writes.lock().clone();
    east.export("api").await;
    noted.looked().await;
    assert_eq!(*noted.writes.lock(), before);
    assert_eq!(holder(&west).await.as_deref(), Some("thief"));

    give(&west, json!(null)).await;
    west.sees_slice("api-east", |_| true).await;
    mirror.stop().await;
}

/// Makes `holder` the holder of the lease.
async fn give(west: &Cluster, holder: serde_json::Value) {
    let now = k8s_openapi::jiff::Timestamp::now();
    let now = k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime(now);
    let spec = json!({"spec": {
        "holderIdentity": holder, "renewTime": now, "leaseDurationSeconds": 30,
    }});
    west.api::<Lease>(NS)
        .patch(
            "service-mirror-write",
            &PatchParams::default(),
            &Patch::Merge(spec),
        )
        .await
        .unwrap();
}
