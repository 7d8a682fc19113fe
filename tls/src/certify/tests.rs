//! The loop against scripted certifiers.

use super::*;
use crate::testing::{Ca, Issuer};
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};
use x509_parser::prelude::{FromDer, X509CertificationRequest};

const FAST: Schedule = Schedule {
    attempt: Duration::from_secs(5),
    refresh: (Duration::from_millis(1), Duration::from_millis(1)),
    retry: (Duration::from_millis(1), Duration::from_millis(2)),
};

/// Fails a few times, then signs.
#[derive(Clone)]
struct Moody {
    issuer: Issuer,
    failures: u32,
    calls: Arc<AtomicU32>,
}

impl Certifier for Moody {
    async fn certify(&self, csr_der: Vec<u8>) -> Result<Certified, CertifyError> {
        if self.calls.fetch_add(1, Ordering::SeqCst) < self.failures {
            return Err(CertifyError::Other("not in the mood".to_owned()));
        }
        self.issuer.certify(csr_der).await
    }
}

fn id() -> Id {
    "web.default.serviceaccount.identity.linkerd.cluster.local"
        .parse()
        .unwrap()
}

fn moody(failures: u32) -> (Store, Moody) {
    let issuer = Ca::new("anchor").issuer("west");
    let store = Store::new(id(), issuer.anchors.clone());
    let calls = Arc::default();
    (
        store,
        Moody {
            issuer,
            failures,
            calls,
        },
    )
}

#[tokio::test]
async fn failures_are_retried_until_there_is_a_certificate() {
    let (store, certifier) = moody(3);
    let (looping, calls) = (store.clone(), certifier.calls.clone());
    let task = tokio::spawn(async move { run(&looping, &certifier, FAST).await });
    store.ready().await;
    assert!(calls.load(Ordering::SeqCst) >= 4);
    task.abort();
}

#[tokio::test]
async fn a_certificate_is_renewed_without_being_asked() {
    let (store, certifier) = moody(0);
    let looping = store.clone();
    let task = tokio::spawn(async move { run(&looping, &certifier, FAST).await });
    store.ready().await;
    store.renewed().await;
    store.renewed().await;
    task.abort();
}

#[tokio::test]
async fn a_certificate_for_another_name_is_not_taken() {
    let (_, certifier) = moody(0);
    let store = Store::new(
        "other.name".parse().unwrap(),
        certifier.issuer.anchors.clone(),
    );
    struct Fixed(Certified);
    impl Certifier for Fixed {
        async fn certify(&self, _csr: Vec<u8>) -> Result<Certified, CertifyError> {
            Ok(self.0.clone())
        }
    }
    let (certified, _) = certifier.issuer.leaf(&id(), Duration::from_secs(60));
    let error = attempt(&store, &Fixed(certified), FAST.attempt)
        .await
        .unwrap_err();
    assert!(matches!(error, CertifyError::Install(_)), "{error}");
    assert!(!store.is_ready());
}

#[tokio::test]
async fn an_issuer_that_never_answers_is_given_up() {
    struct Silent;
    impl Certifier for Silent {
        async fn certify(&self, _csr: Vec<u8>) -> Result<Certified, CertifyError> {
            std::future::pending().await
        }
    }
    let (store, _) = moody(0);
    let error = attempt(&store, &Silent, Duration::from_millis(5))
        .await
        .unwrap_err();
    assert!(matches!(error, CertifyError::Timeout(_)), "{error}");
}

#[tokio::test]
async fn the_loop_ends_with_its_shutdown() {
    let (store, certifier) = moody(u32::MAX);
    certify_loop(store, certifier, std::future::ready(())).await;
}

#[test]
fn requests_carry_the_name_once_and_prove_the_key() {
    let (_, csr) = request(&id()).unwrap();
    let (rest, csr) = X509CertificationRequest::from_der(&csr).unwrap();
    assert!(rest.is_empty());
    csr.verify_signature().unwrap();
    let info = &csr.certification_request_info;
    let name = info.subject.iter_common_name().next().unwrap();
    assert_eq!(name.as_str().unwrap(), id().as_str());
    let (_, again) = request(&id()).unwrap();
    let (_, again) = X509CertificationRequest::from_der(&again).unwrap();
    let key = |csr: &X509CertificationRequest<'_>| {
        csr.certification_request_info.subject_pki.raw.to_vec()
    };
    assert_ne!(key(&csr), key(&again), "each round has a key of its own");
}

#[test]
fn a_certificate_is_renewed_after_seven_tenths_of_its_life_within_bounds() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    for (life, wait) in [(1000, 700), (5, 10), (0, 10), (864_000, 86_400)] {
        let until = now + Duration::from_secs(life);
        let expected = Duration::from_secs(wait);
        assert_eq!(refresh_in(until, now, SCHEDULE.refresh), expected, "{life}");
    }
    let gone = now - Duration::from_secs(5);
    assert_eq!(refresh_in(gone, now, SCHEDULE.refresh), SCHEDULE.refresh.0);
}

#[test]
fn retries_slow_down_to_the_limit() {
    for failures in [0, 1, 5, 6, 7, 31, 32, u32::MAX] {
        let wait = retry_in(failures, SCHEDULE.retry);
        let full = Duration::from_millis(100 << failures.min(10)).min(SCHEDULE.retry.1);
        assert!(
            wait >= full.mul_f64(0.49) && wait <= full,
            "{failures}: {wait:?}"
        );
    }
}
