//! Secrets and bundles as they are found in clusters.

use super::{
    watch::{Follower, Seen},
    *,
};
use k8s_openapi::ByteString;
use mesh_tls::testing::Ca;

const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn names() -> Names {
    Names {
        namespace: "linkerd".to_owned(),
        secret: "linkerd-identity-issuer".to_owned(),
        roots: "linkerd-identity-trust-roots".to_owned(),
    }
}

/// Issuers fixed to what these objects say.
pub(crate) fn issuers(secret: Option<Secret>, roots: Option<ConfigMap>) -> Issuers {
    let mut state = State {
        current: None,
        problem: Some(Problem::Starting),
    };
    state.update(load(&names(), secret.as_ref(), roots.as_ref()));
    Issuers(tokio::sync::watch::channel(state).1)
}

pub(crate) fn secret(data: &[(&str, &str)]) -> Secret {
    let data = data.iter();
    let data = data.map(|(key, text)| ((*key).to_owned(), ByteString(text.as_bytes().to_vec())));
    Secret {
        data: Some(data.collect()),
        ..Secret::default()
    }
}

pub(crate) fn roots(bundle: &str) -> ConfigMap {
    ConfigMap {
        data: Some([(TRUST_ROOTS_KEY.to_owned(), bundle.to_owned())].into()),
        ..ConfigMap::default()
    }
}

pub(crate) fn issuer_secret(ca: &Ca, ttl: Duration) -> Secret {
    let issuer = ca.0.issuer("identity.linkerd.cluster.local", ttl).unwrap();
    secret(&[
        ("crt.pem", &issuer.cert_pem()),
        ("key.pem", &issuer.key_pem()),
    ])
}

fn problem(secret: Option<&Secret>, roots: Option<&ConfigMap>) -> String {
    load(&names(), secret, roots).unwrap_err().to_string()
}

#[test]
fn both_ways_of_naming_the_keys_are_read() {
    let ca = Ca::new("root");
    let issuer = ca.0.issuer("west", HOUR).unwrap();
    let roots = roots(&ca.0.cert_pem());
    for (certificate, key) in KEYS {
        let secret = secret(&[(certificate, &issuer.cert_pem()), (key, &issuer.key_pem())]);
        load(&names(), Some(&secret), Some(&roots)).unwrap();
    }
}

#[test]
fn every_problem_names_its_object_and_a_remedy() {
    let (ca, other) = (Ca::new("root"), Ca::new("other"));
    let good = issuer_secret(&ca, HOUR);
    let bundle = roots(&ca.0.cert_pem());
    let issuer = ca.0.issuer("west", HOUR).unwrap();
    let certificate = issuer.cert_pem();
    let in_secret = "Secret linkerd/linkerd-identity-issuer: ";
    let in_roots = "ConfigMap linkerd/linkerd-identity-trust-roots: ";

    let expect = |text: String, object: &str, hint: &str| {
        assert!(text.starts_with(object), "{text}");
        assert!(text.contains(hint), "{text}");
    };
    expect(
        problem(None, Some(&bundle)),
        in_secret,
        "does not exist; `mesh install`",
    );
    expect(
        problem(Some(&good), None),
        in_roots,
        "does not exist; `mesh install`",
    );
    let empty = ConfigMap::default();
    expect(
        problem(Some(&good), Some(&empty)),
        in_roots,
        "no key ca-bundle.crt",
    );
    expect(
        problem(Some(&good), Some(&roots("x"))),
        in_roots,
        "BEGIN CERTIFICATE",
    );
    let none = secret(&[("password", "x")]);
    expect(
        problem(Some(&none), Some(&bundle)),
        in_secret,
        "neither crt.pem",
    );
    let half = secret(&[("tls.crt", &certificate)]);
    expect(problem(Some(&half), Some(&bundle)), in_secret, "no tls.key");
    let bad_key = secret(&[("crt.pem", &certificate), ("key.pem", "x")]);
    expect(
        problem(Some(&bad_key), Some(&bundle)),
        in_secret,
        "private key",
    );
    let stranger = other.0.issuer("x", HOUR).unwrap();
    let mixed = secret(&[("crt.pem", &certificate), ("key.pem", &stranger.key_pem())]);
    expect(
        problem(Some(&mixed), Some(&bundle)),
        in_secret,
        "does not belong",
    );

    let foreign = issuer_secret(&other, HOUR);
    let text = problem(Some(&foreign), Some(&bundle));
    expect(
        text.clone(),
        in_secret,
        "does not verify against the trust anchors",
    );
    assert!(
        text.contains("ConfigMap linkerd/linkerd-identity-trust-roots"),
        "{text}"
    );

    let expired = issuer_secret(&ca, Duration::ZERO);
    expect(
        problem(Some(&expired), Some(&bundle)),
        in_secret,
        "expired at",
    );
}

#[test]
fn a_bundle_may_hold_several_roots() {
    let (old, new) = (Ca::new("old"), Ca::new("new"));
    let bundle = roots(&format!("{}{}", old.0.cert_pem(), new.0.cert_pem()));
    for ca in [old, new] {
        load(&names(), Some(&issuer_secret(&ca, HOUR)), Some(&bundle)).unwrap();
    }
}

fn seen_secret(secret: &Secret) -> Seen {
    Seen::Secret(Some(Box::new(secret.clone())))
}

#[test]
fn a_changed_secret_is_loaded_again_and_a_repeated_one_is_not() {
    let ca = Ca::new("root");
    let (first, second) = (issuer_secret(&ca, HOUR), issuer_secret(&ca, 2 * HOUR));
    let bundle = || Seen::Roots(Some(Box::new(roots(&ca.0.cert_pem()))));
    let mut follower = Follower::default();
    let names = names();
    assert!(
        follower.follow(&names, seen_secret(&first)).is_none(),
        "the bundle is not known yet"
    );
    let loaded = follower.follow(&names, bundle()).unwrap().unwrap();
    assert!(follower.follow(&names, seen_secret(&first)).is_none());
    assert!(follower.follow(&names, bundle()).is_none());
    let again = follower
        .follow(&names, seen_secret(&second))
        .unwrap()
        .unwrap();
    assert!(again.issuer.expiry() > loaded.issuer.expiry());
    assert!(
        follower
            .follow(&names, Seen::Secret(None))
            .unwrap()
            .is_err()
    );
}

#[test]
fn a_bad_replacement_leaves_the_issuer_that_works() {
    let ca = Ca::new("root");
    let issuers = issuers(
        Some(issuer_secret(&ca, HOUR)),
        Some(roots(&ca.0.cert_pem())),
    );
    let mut state = issuers.0.borrow().clone();
    state.update(Err(Problem::Unusable("broken".to_owned())));
    assert!(state.current.is_some());
    assert_eq!(state.problem, Some(Problem::Unusable("broken".to_owned())));
    state.update(load(
        &names(),
        Some(&issuer_secret(&ca, HOUR)),
        Some(&roots(&ca.0.cert_pem())),
    ));
    assert_eq!(state.problem, None);
}

#[test]
fn what_could_not_be_used_is_tried_again() {
    let ca = Ca::new("root");
    let bundle = || Seen::Roots(Some(Box::new(roots(&ca.0.cert_pem()))));
    let names = names();
    let mut follower = Follower::default();
    let state = |problem: Option<&str>| State {
        current: None,
        problem: problem.map(|text| Problem::Unusable(text.to_owned())),
    };
    assert!(follower.again(&names, &state(Some("early"))).is_none());
    follower.follow(&names, bundle());
    follower.follow(&names, seen_secret(&issuer_secret(&ca, Duration::ZERO)));
    assert!(
        follower.again(&names, &state(Some("expired"))).is_none(),
        "what still cannot be used is not reported again"
    );
    follower.follow(&names, seen_secret(&issuer_secret(&ca, HOUR)));
    let loaded = follower.again(&names, &state(Some("its time had not come")));
    assert!(loaded.unwrap().is_ok());
    assert!(follower.again(&names, &state(None)).is_none());
}
