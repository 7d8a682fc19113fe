//! Trust anchors and issuers as files, as users make them with a tool such as `step`.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use std::path::Path;
use time::{Duration, OffsetDateTime};

/// Writes `ca.crt`, and `<name>.crt` and `<name>.key` for every issuer of `names`.
pub fn write(dir: &Path, names: &[&str]) {
    let save = |name: String, text: String| std::fs::write(dir.join(name), text).unwrap();
    let anchor_key = KeyPair::generate().unwrap();
    let anchor = authority("root.linkerd.cluster.local", 1);
    let anchor_pem = anchor.self_signed(&anchor_key).unwrap().pem();
    let anchor = Issuer::new(anchor, &anchor_key);
    for name in names {
        let key = KeyPair::generate().unwrap();
        let issuer = authority("identity.linkerd.cluster.local", 0);
        let pem = issuer.signed_by(&key, &anchor).unwrap().pem();
        save(format!("{name}.crt"), pem);
        save(format!("{name}.key"), key.serialize_pem());
    }
    save("ca.crt".to_owned(), anchor_pem);
}

fn authority(name: &str, below: u8) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Duration::hours(1);
    params.not_after = now + Duration::days(30);
    params
}
