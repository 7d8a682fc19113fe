//! Issuers that work, and every way in which one does not.

use super::*;
use crate::testing::Ca;

const HOUR: Duration = Duration::from_secs(3600);
const SKEW: Duration = Duration::from_secs(10);

/// Made once with openssl, as other tools write their keys; they protect nothing.
mod fixtures {
    pub(super) const SEC1_KEY: &str = include_str!("fixtures/sec1.key");
    pub(super) const SEC1_CERT: &str = include_str!("fixtures/sec1.crt");
    pub(super) const PKCS1_KEY: &str = include_str!("fixtures/pkcs1.key");
    pub(super) const PKCS1_CERT: &str = include_str!("fixtures/pkcs1.crt");
}

fn id() -> Id {
    "web.default.serviceaccount.identity.linkerd.cluster.local"
        .parse()
        .unwrap()
}

fn spki() -> Vec<u8> {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)
        .unwrap()
        .subject_public_key_info()
}

#[test]
fn an_issuer_survives_its_own_pem() {
    let ca = Ca::new("root.linkerd.cluster.local");
    let issuer = ca.0.issuer("identity.linkerd.cluster.local", HOUR).unwrap();
    let again = Issuer::from_pem(&issuer.cert_pem(), &issuer.key_pem()).unwrap();
    assert_eq!(again.expiry(), issuer.expiry());
    again.check(&ca.anchors()).unwrap();
}

#[test]
fn an_issuer_whose_time_has_not_come_says_so() {
    let ca = Ca::new("root");
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = ca_params("ahead", IsCa::Ca(BasicConstraints::Constrained(0)), HOUR).unwrap();
    params.not_before = (SystemTime::now() + HOUR / 2).into();
    let certificate = params.signed_by(&key, &ca.0.signer).unwrap();
    let pem = certificate_pem(certificate.der());
    let issuer = Issuer::from_pem(&pem, &key.serialize_pem()).unwrap();
    let error = issuer.check(&ca.anchors()).unwrap_err();
    assert!(matches!(error, CaError::NotYetValid(_)), "{error}");
    assert!(error.to_string().contains("clocks"), "{error}");
}

#[test]
fn an_anchor_survives_its_own_pem() {
    let anchor = Anchor::generate("root", HOUR).unwrap();
    let again = Anchor::from_pem(&anchor.cert_pem(), &anchor.key_pem()).unwrap();
    assert_eq!(again.cert_pem(), anchor.cert_pem());
    let issuer = again.issuer("west", HOUR).unwrap();
    issuer.check(&anchor.trust().unwrap()).unwrap();
}

#[test]
fn keys_as_other_tools_write_them_are_understood() {
    for (certificate, key) in [
        (fixtures::SEC1_CERT, fixtures::SEC1_KEY),
        (fixtures::PKCS1_CERT, fixtures::PKCS1_KEY),
    ] {
        let issuer = Issuer::from_pem(certificate, key).unwrap();
        let anchors = TrustAnchors::from_pem(certificate).unwrap();
        issuer.check(&anchors).unwrap();
        let again = Issuer::from_pem(certificate, &issuer.key_pem()).unwrap();
        again.check(&anchors).unwrap();
    }
}

#[test]
fn a_leaf_says_what_it_should() {
    let ca = Ca::new("root");
    let issuer = ca.0.issuer("west", HOUR).unwrap();
    let before = SystemTime::now();
    let certified = issuer.sign(&id(), &spki(), HOUR / 2, SKEW).unwrap();
    let leaf = parse(&certified.leaf).unwrap();
    assert_eq!(validity(&leaf).1, certified.valid_until);
    assert!(certified.valid_until >= whole_seconds(before + HOUR / 2 + SKEW));
    let not_before = leaf.validity().not_before.timestamp();
    let earliest = before - SKEW - Duration::from_secs(1);
    let earliest = earliest.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    assert!(not_before >= i64::try_from(earliest.as_secs()).unwrap());
    assert!(not_before < i64::try_from(earliest.as_secs()).unwrap() + 60);
    assert_eq!(Id::all_of(&certified.leaf), [id()]);
    assert!(!leaf.is_ca());
    let usage = leaf.key_usage().unwrap().unwrap().value;
    assert!(usage.digital_signature() && usage.key_encipherment() && !usage.key_cert_sign());
    let extended = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.server_auth && extended.client_auth);
    assert_eq!(certified.intermediates.len(), 1);
    let other = issuer.sign(&id(), &spki(), HOUR, SKEW).unwrap();
    assert_ne!(leaf.raw_serial(), parse(&other.leaf).unwrap().raw_serial());
}

#[test]
fn a_leaf_never_outlives_its_issuer() {
    let issuer = Ca::new("root").0.issuer("west", HOUR).unwrap();
    let certified = issuer.sign(&id(), &spki(), 24 * HOUR, SKEW).unwrap();
    assert_eq!(certified.valid_until, issuer.expiry());
}

#[test]
fn an_expired_issuer_signs_nothing_and_says_so() {
    let issuer = Ca::new("root").0.issuer("west", Duration::ZERO).unwrap();
    let error = issuer.sign(&id(), &spki(), HOUR, SKEW).unwrap_err();
    assert!(matches!(error, CaError::Expired(_)), "{error}");
}

#[test]
fn an_issuer_of_another_anchor_is_found_out() {
    let issuer = Ca::new("west").0.issuer("west", HOUR).unwrap();
    let error = issuer.check(&Ca::new("east").anchors()).unwrap_err();
    assert!(matches!(error, CaError::Chain(_)), "{error}");
    // The same name does not help.
    let error = issuer.check(&Ca::new("west").anchors()).unwrap_err();
    assert!(matches!(error, CaError::Chain(_)), "{error}");
}

#[test]
fn an_anchor_may_sign_leaves_itself_and_is_not_sent() {
    let anchor = Anchor::generate("root", HOUR).unwrap();
    let issuer = Issuer::from_pem(&anchor.cert_pem(), &anchor.key_pem()).unwrap();
    issuer.check(&anchor.trust().unwrap()).unwrap();
    let certified = issuer.sign(&id(), &spki(), HOUR, SKEW).unwrap();
    assert!(certified.intermediates.is_empty());
}

#[test]
fn a_chain_may_hold_the_anchor_too() {
    let anchor = Anchor::generate("root", HOUR).unwrap();
    let issuer = anchor.issuer("west", HOUR).unwrap();
    let pem = format!("{}{}", issuer.cert_pem(), anchor.cert_pem());
    let issuer = Issuer::from_pem(&pem, &issuer.key_pem()).unwrap();
    issuer.check(&anchor.trust().unwrap()).unwrap();
    let certified = issuer.sign(&id(), &spki(), HOUR, SKEW).unwrap();
    assert_eq!(certified.intermediates.len(), 1);
}

#[test]
fn an_issuer_may_bear_its_anchors_name() {
    let anchor = Anchor::generate("linkerd", HOUR).unwrap();
    let issuer = anchor.issuer("linkerd", HOUR).unwrap();
    issuer.check(&anchor.trust().unwrap()).unwrap();
}

#[test]
fn what_is_no_issuer_is_refused_with_its_reason() {
    let ca = Ca::new("root");
    let issuer = ca.0.issuer("west", HOUR).unwrap();
    let (leaf, key) = ca.issuer("west").leaf(&id(), HOUR);
    let leaf = certificate_pem(&leaf.leaf);
    let key = KeyPair::try_from(&key).unwrap().serialize_pem();
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let (good_cert, good_key) = (issuer.cert_pem(), issuer.key_pem());
    let load = |certificate: &str, key: &str| Issuer::from_pem(certificate, key).unwrap_err();
    assert!(matches!(load("", &good_key), CaError::Certificate(_)));
    assert!(matches!(load(broken, &good_key), CaError::Certificate(_)));
    assert!(matches!(load(&good_cert, ""), CaError::Key(_)));
    assert!(matches!(load(&good_cert, "-----BEGIN"), CaError::Key(_)));
    assert!(matches!(load(&good_cert, &key), CaError::Mismatch));
    assert!(matches!(load(&leaf, &key), CaError::NotCa));
}
