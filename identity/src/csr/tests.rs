//! Requests as proxies make them, and as they must not be.

use super::*;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

pub(crate) const WEB: &str = "web.default.serviceaccount.identity.linkerd.cluster.local";

/// Makes requests, right unless told otherwise.
pub(crate) struct Maker {
    pub(crate) sans: Vec<SanType>,
    pub(crate) subject: Vec<(DnType, String)>,
    pub(crate) algorithm: &'static rcgen::SignatureAlgorithm,
}

pub(crate) fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

impl Maker {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            sans: vec![dns(name)],
            subject: vec![(DnType::CommonName, name.to_owned())],
            algorithm: &rcgen::PKCS_ECDSA_P256_SHA256,
        }
    }

    pub(crate) fn make(&self) -> Vec<u8> {
        let key = KeyPair::generate_for(self.algorithm).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in &self.subject {
            params.distinguished_name.push(kind.clone(), value.clone());
        }
        params.subject_alt_names = self.sans.clone();
        params.serialize_request(&key).unwrap().der().to_vec()
    }
}

fn read_sans(sans: Vec<SanType>) -> Result<Csr, CsrError> {
    let made = Maker {
        sans,
        ..Maker::new(WEB)
    };
    Csr::read(&made.make())
}

#[test]
fn a_proxys_request_is_read() {
    let csr = Csr::read(&Maker::new(WEB).make()).unwrap();
    assert_eq!(csr.name(), WEB);
    assert_eq!(csr.spki_der().len(), 91);
    let bare = Maker {
        subject: vec![],
        ..Maker::new(WEB)
    };
    assert_eq!(Csr::read(&bare.make()).unwrap().name(), WEB);
}

#[test]
fn exactly_one_dns_name_is_accepted() {
    let refused = |sans| match read_sans(sans) {
        Err(CsrError::Names(found)) => found,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(vec![]), "none");
    assert_eq!(refused(vec![dns(WEB), dns("other.name")]), "2");
    assert_eq!(refused(vec![dns(WEB), dns(WEB)]), "2");
    let ip = SanType::IpAddress([127, 0, 0, 1].into());
    assert_eq!(refused(vec![ip.clone()]), "an IP address");
    assert_eq!(refused(vec![dns(WEB), ip]), "2");
    let mail = SanType::Rfc822Name("root@web".try_into().unwrap());
    assert_eq!(refused(vec![mail.clone()]), "an e-mail address");
    assert_eq!(refused(vec![dns(WEB), mail]), "2");
    let uri = SanType::URI("spiffe://cluster.local/web".try_into().unwrap());
    assert_eq!(refused(vec![uri.clone()]), "a URI");
    assert_eq!(refused(vec![dns(WEB), uri]), "2");
}

#[test]
fn the_subject_is_the_name_or_nothing() {
    let name = |text: &str| (DnType::CommonName, text.to_owned());
    for subject in [
        vec![name("other")],
        vec![name("")],
        vec![
            name(WEB),
            (DnType::OrganizationName, "system:masters".to_owned()),
        ],
        vec![(DnType::OrganizationName, WEB.to_owned())],
    ] {
        let made = Maker {
            subject,
            ..Maker::new(WEB)
        };
        let read = Csr::read(&made.make());
        assert!(matches!(read, Err(CsrError::Subject { .. })), "{read:?}");
    }
}

#[test]
fn only_p256_keys_are_accepted() {
    for algorithm in [&rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
        let made = Maker {
            algorithm,
            ..Maker::new(WEB)
        };
        assert_eq!(Csr::read(&made.make()), Err(CsrError::Key));
    }
}

/// Made once with openssl, as other tools encode them.
#[test]
fn requests_of_other_tools_are_read() {
    let csr = Csr::read(include_bytes!("fixtures/p256.csr.der")).unwrap();
    assert_eq!(csr.name(), WEB);
}

/// Made once with openssl: RSA keys take seconds to make in a test build.
#[test]
fn rsa_keys_are_refused() {
    assert_eq!(
        Csr::read(include_bytes!("fixtures/rsa.csr.der")),
        Err(CsrError::Key)
    );
}

/// The attack that proof of possession is against: a request for somebody else's public key.
#[test]
fn a_key_without_its_holder_is_refused() {
    let (victim, attacker) = (Maker::new(WEB).make(), Maker::new(WEB).make());
    let spki = |der: &[u8]| Csr::read(der).unwrap().spki_der().to_vec();
    let (theirs, ours) = (spki(&victim), spki(&attacker));
    let at = attacker
        .windows(ours.len())
        .position(|part| part == ours)
        .unwrap();
    let mut forged = attacker.clone();
    forged[at..at + theirs.len()].copy_from_slice(&theirs);
    assert_eq!(Csr::read(&forged), Err(CsrError::Signature));
}

#[test]
fn a_changed_request_is_refused() {
    let der = Maker::new(WEB).make();
    let at = der.windows(3).rposition(|part| part == b"web").unwrap();
    let mut changed = der.clone();
    changed[at] = b'x';
    assert_eq!(Csr::read(&changed), Err(CsrError::Signature));
    let mut changed = der.clone();
    *changed.last_mut().unwrap() ^= 1;
    assert!(Csr::read(&changed).is_err());
}

#[test]
fn what_is_no_request_is_refused() {
    let der = Maker::new(WEB).make();
    let pem = format!("-----BEGIN CERTIFICATE REQUEST-----\n{der:?}");
    let mut longer = der.clone();
    longer.push(0);
    for (what, bytes) in [
        ("nothing", &[][..]),
        ("text", b"hello"),
        ("PEM", pem.as_bytes()),
        ("half", &der[..der.len() / 2]),
        ("bytes behind it", &longer),
        ("zeros", &[0; 400]),
        ("an endless length", &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]),
    ] {
        assert_eq!(Csr::read(bytes), Err(CsrError::Garbage), "{what}");
    }
    assert_eq!(Csr::read(&[0x30; MAX + 1]), Err(CsrError::TooLong(MAX + 1)));
}

#[test]
fn no_changed_byte_gets_another_key_or_name_through() {
    let der = Maker::new(WEB).make();
    let original = Csr::read(&der).unwrap();
    for at in 0..der.len() {
        for value in [0, 0xff, der[at] ^ 1, der[at] ^ 0x80] {
            let mut changed = der.clone();
            changed[at] = value;
            // The outermost header is not signed and may be read leniently.
            if let Ok(read) = Csr::read(&changed) {
                assert_eq!(read, original, "byte {at} as {value}");
            }
        }
    }
}
