//! Certificates for the webhooks: what a Secret holds, whether it will do, and what to put there.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Long, so that trust in it need hardly ever change.
const CA_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
const CA_RENEWAL: Duration = Duration::from_secs(365 * 24 * 60 * 60);
const LEAF_LIFE: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// A third of its life is left for whatever keeps us from renewing it.
const LEAF_RENEWAL: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Clocks of nodes may be wrong by this much.
const SKEW: Duration = Duration::from_secs(60 * 60);

pub(super) const CERTIFICATE: &str = "tls.crt";
pub(super) const KEY: &str = "tls.key";
pub(super) const CA: &str = "ca.crt";
/// Ours alone: somebody else's Secret has none.
const CA_KEY: &str = "ca.key";

/// PEM by the keys of the Secret.
pub(super) type Data = BTreeMap<String, String>;

/// What is served, and for how long.
#[derive(Debug)]
pub(super) struct Usable {
    pub(super) key: CertifiedKey,
    pub(super) expiry: SystemTime,
}

/// What is to be done about a Secret.
#[derive(Debug, PartialEq)]
pub(super) enum Plan {
    /// It will do until then.
    Keep(SystemTime),
    /// This is to replace it.
    Replace(Data),
}

/// Why a certificate cannot be used or made.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    #[error("the Secret has no {0}")]
    Missing(&'static str),
    #[error("{0} is not usable PEM: {1}")]
    Pem(&'static str, String),
    #[error("tls.crt and tls.key do not belong together: {0}")]
    Mismatch(rustls::Error),
    #[error("tls.crt is not for {0}, the name the API server asks for")]
    Name(String),
    #[error("tls.crt has expired")]
    Expired,
    #[error("tls.crt is not signed by ca.crt")]
    Chain,
    #[error("a certificate cannot be made: {0}")]
    Make(#[from] rcgen::Error),
}

/// Plans for a Secret of our own: nothing while all is well, a new leaf when it ages, a new CA
/// beside the old one when that ages, and all new where something is wrong.
pub(super) fn plan(data: Option<&Data>, name: &str, now: SystemTime) -> Result<Plan, Problem> {
    let Some(data) = data else {
        return Ok(Plan::Replace(new_ca(None, name, now)?));
    };
    let ca = first(data, CA).and_then(|ca| Ok((expiry(&ca)?, text(data, CA_KEY)?)));
    let (ca_expiry, ca_key) = match ca {
        Ok((expiry, key)) if expiry > now => (expiry, key),
        _ => return Ok(Plan::Replace(new_ca(None, name, now)?)),
    };
    if ca_expiry < now + CA_RENEWAL {
        return Ok(Plan::Replace(new_ca(Some(data), name, now)?));
    }
    match usable(data, name, now) {
        Ok(usable) if usable.expiry > now + LEAF_RENEWAL => {
            let leaf = usable.expiry - LEAF_RENEWAL;
            Ok(Plan::Keep(leaf.min(ca_expiry - CA_RENEWAL)))
        }
        _ => match leaf(text(data, CA)?, ca_key, name, now) {
            Ok(pair) => {
                let mut data = data.clone();
                data.extend(pair);
                Ok(Plan::Replace(data))
            }
            // The CA's key is not its own.
            Err(_) => Ok(Plan::Replace(new_ca(None, name, now)?)),
        },
    }
}

/// What a Secret, ours or not, can be served with.
pub(super) fn usable(data: &Data, name: &str, now: SystemTime) -> Result<Usable, Problem> {
    let pem = |error: rustls_pki_types::pem::Error| Problem::Pem(CERTIFICATE, error.to_string());
    let chain = CertificateDer::pem_slice_iter(text(data, CERTIFICATE)?.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(pem)?;
    let leaf = chain.first().ok_or(Problem::Missing(CERTIFICATE))?;
    let expiry = expiry(leaf)?;
    if expiry <= now {
        return Err(Problem::Expired);
    }
    if !names(leaf)?.iter().any(|san| matches(san, name)) {
        return Err(Problem::Name(name.to_owned()));
    }
    if let Ok(ca) = text(data, CA)
        && chain.len() == 1
        && !signed_by(leaf, ca)
    {
        return Err(Problem::Chain);
    }
    let key = PrivateKeyDer::from_pem_slice(text(data, KEY)?.as_bytes())
        .map_err(|error| Problem::Pem(KEY, error.to_string()))?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let key = CertifiedKey::from_der(chain.clone(), key, &provider).map_err(Problem::Mismatch)?;
    Ok(Usable { key, expiry })
}

/// A new CA, trusted beside those of `old` that still count.
fn new_ca(old: Option<&Data>, name: &str, now: SystemTime) -> Result<Data, Problem> {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = (now - SKEW).into();
    params.not_after = (now + CA_LIFE).into();
    let ca_key = key.serialize_pem();
    let ca = CertifiedIssuer::self_signed(params, key)?.pem();
    let mut bundle = ca.clone();
    if let Some(old) = old.and_then(|old| old.get(CA)) {
        bundle.push_str(old);
    }
    let mut data = Data::from([(CA.to_owned(), bundle), (CA_KEY.to_owned(), ca_key.clone())]);
    data.extend(leaf(&ca, &ca_key, name, now)?);
    Ok(data)
}

/// A new leaf below the first CA of a bundle.
fn leaf(ca: &str, ca_key: &str, name: &str, now: SystemTime) -> Result<Data, Problem> {
    let key = KeyPair::from_pem(ca_key)?;
    let ca_der = CertificateDer::from_pem_slice(ca.as_bytes())
        .map_err(|error| Problem::Pem(CA, error.to_string()))?;
    let issuer = rcgen::Issuer::from_ca_cert_der(&ca_der, key)?;
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names = vec![SanType::DnsName(name.try_into()?)];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.not_before = (now - SKEW).into();
    params.not_after = (now + LEAF_LIFE).into();
    let certificate = params.signed_by(&key, &issuer)?;
    if !signed_by(certificate.der(), ca) {
        return Err(Problem::Chain);
    }
    Ok(Data::from([
        (CERTIFICATE.to_owned(), certificate.pem()),
        (KEY.to_owned(), key.serialize_pem()),
    ]))
}

/// When to look at a Secret again that somebody else keeps.
pub(super) fn look_again(usable: &Usable) -> SystemTime {
    usable.expiry - DAY
}

fn text<'d>(data: &'d Data, key: &'static str) -> Result<&'d str, Problem> {
    let text = data.get(key).map(String::as_str);
    text.filter(|text| !text.trim().is_empty())
        .ok_or(Problem::Missing(key))
}

fn first(data: &Data, key: &'static str) -> Result<CertificateDer<'static>, Problem> {
    CertificateDer::from_pem_slice(text(data, key)?.as_bytes())
        .map_err(|error| Problem::Pem(key, error.to_string()))
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Problem> {
    X509Certificate::from_der(certificate)
        .map(|(_, parsed)| parsed)
        .map_err(|error| Problem::Pem(CERTIFICATE, error.to_string()))
}

fn expiry(certificate: &CertificateDer<'_>) -> Result<SystemTime, Problem> {
    let seconds = parse(certificate)?.validity().not_after.timestamp();
    let since = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    Ok(SystemTime::UNIX_EPOCH + since)
}

fn names(certificate: &CertificateDer<'_>) -> Result<Vec<String>, Problem> {
    let parsed = parse(certificate)?;
    let Ok(Some(sans)) = parsed.subject_alternative_name() else {
        return Ok(Vec::new());
    };
    let dns = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    };
    Ok(sans.value.general_names.iter().filter_map(dns).collect())
}

fn matches(san: &str, name: &str) -> bool {
    let wildcard = san.strip_prefix("*.").zip(name.split_once('.'));
    san.eq_ignore_ascii_case(name) || wildcard.is_some_and(|(suffix, (_, rest))| suffix == rest)
}

fn signed_by(leaf: &CertificateDer<'_>, bundle: &str) -> bool {
    let Ok(leaf) = parse(leaf) else {
        return false;
    };
    let cas = CertificateDer::pem_slice_iter(bundle.as_bytes());
    cas.filter_map(Result::ok)
        .any(|ca| parse(&ca).is_ok_and(|ca| leaf.verify_signature(Some(ca.public_key())).is_ok()))
}

/// The certificates of a bundle, by content: order and white space are no difference.
pub(super) fn certificates(bundle: &str) -> std::collections::BTreeSet<Vec<u8>> {
    let all = CertificateDer::pem_slice_iter(bundle.as_bytes());
    all.filter_map(Result::ok).map(|one| one.to_vec()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "linkerd-proxy-injector.linkerd.svc";

    fn now() -> SystemTime {
        SystemTime::now()
    }

    fn replaced(data: Option<&Data>, at: SystemTime) -> Data {
        match plan(data, NAME, at).unwrap() {
            Plan::Replace(data) => data,
            Plan::Keep(until) => panic!("kept until {until:?}"),
        }
    }

    #[test]
    fn a_new_secret_will_do_until_two_thirds_of_its_life() {
        let data = replaced(None, now());
        usable(&data, NAME, now()).unwrap();
        let Plan::Keep(until) = plan(Some(&data), NAME, now()).unwrap() else {
            panic!("it was just made");
        };
        assert!(until > now() + 59 * DAY && until < now() + 61 * DAY);
    }

    #[test]
    fn an_ageing_leaf_is_replaced_below_the_same_ca() {
        let old = replaced(None, now());
        let new = replaced(Some(&old), now() + 61 * DAY);
        assert_eq!(old[CA], new[CA], "trust does not change");
        assert_ne!(old[CERTIFICATE], new[CERTIFICATE]);
    }

    #[test]
    fn an_ageing_ca_is_replaced_and_still_trusted() {
        let old = replaced(None, now());
        let new = replaced(Some(&old), now() + CA_LIFE - 300 * DAY);
        let (before, after) = (certificates(&old[CA]), certificates(&new[CA]));
        assert!(after.is_superset(&before) && after.len() == 2);
    }

    #[test]
    fn what_is_wrong_is_made_anew() {
        let good = replaced(None, now());
        let other = replaced(None, now());
        let with = |key: &str, value: &str| {
            let mut data = good.clone();
            data.insert(key.to_owned(), value.to_owned());
            data
        };
        for data in [
            with(CA, "garbage"),
            with(CERTIFICATE, "garbage"),
            with(CERTIFICATE, &other[CERTIFICATE]),
            with(KEY, &other[KEY]),
            Data::new(),
        ] {
            let made = replaced(Some(&data), now());
            usable(&made, NAME, now()).unwrap();
        }
        // The CA's key is not needed before the leaf ages.
        for key in ["garbage", &other[CA_KEY]] {
            let later = now() + 61 * DAY;
            let made = replaced(Some(&with(CA_KEY, key)), later);
            usable(&made, NAME, later).unwrap();
        }
        let renamed = plan(Some(&good), "other.linkerd.svc", now()).unwrap();
        assert!(matches!(renamed, Plan::Replace(_)));
    }

    #[test]
    fn a_secret_of_somebody_elses_is_judged_by_what_it_serves() {
        let data = replaced(None, now());
        let later = now() + 91 * DAY;
        assert!(matches!(usable(&data, NAME, later), Err(Problem::Expired)));
        let other = usable(&data, "other.svc", now());
        assert!(matches!(other, Err(Problem::Name(_))));
        let mut without_ca = data.clone();
        without_ca.remove(CA);
        without_ca.remove(CA_KEY);
        usable(&without_ca, NAME, now()).unwrap();
        assert!(matches("*.linkerd.svc", NAME) && !matches("*.svc", NAME));
    }
}
