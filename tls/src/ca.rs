//! Making certificates: trust anchors, issuers and the leaves they sign.
//!
//! `identity` loads an [`Issuer`] and signs with it; the command line makes anchors and issuers for
//! new clusters. Nobody else in a mesh signs. It decides nothing about who may have a certificate.

use crate::{AnchorsError, Certified, Id, TrustAnchors, verify};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PublicKeyData, SerialNumber, SubjectPublicKeyInfo,
};
use rustls_pki_types::{CertificateDer, UnixTime, pem::PemObject};
use std::{
    fmt,
    time::{Duration, SystemTime},
};
use x509_parser::prelude::{FromDer, X509Certificate};

/// A root of trust with its key.
pub struct Anchor {
    certificate: CertificateDer<'static>,
    signer: Signer,
}

/// What signs leaves: an issuer's certificate, those above it, and its key.
pub struct Issuer {
    /// Nearest first; may end with the anchor.
    chain: Vec<CertificateDer<'static>>,
    signer: Signer,
    /// From when on, and until when, every certificate of the chain is valid.
    valid_from: SystemTime,
    expiry: SystemTime,
}

type Signer = rcgen::Issuer<'static, KeyPair>;

/// Why a certificate could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The text is no certificate.
    #[error("cannot read the certificate: {0}")]
    Certificate(String),
    /// The text is no private key.
    #[error(
        "cannot read the private key: {0}; PKCS#8, SEC1 (EC) and PKCS#1 (RSA) in PEM are understood"
    )]
    Key(String),
    /// Two different things were put together.
    #[error("the private key does not belong to the certificate")]
    Mismatch,
    /// A leaf was given where an issuer should be.
    #[error(
        "the certificate is not a CA: it must have basicConstraints CA:TRUE and, if it limits key usage, keyCertSign"
    )]
    NotCa,
    /// It was good once.
    #[error("the issuer expired at {0}; renew it and replace the Secret")]
    Expired(String),
    /// It will be good later.
    #[error(
        "the issuer is valid only from {0} on; do the clocks of this machine and of the one that made it agree?"
    )]
    NotYetValid(String),
    /// What this issuer signs is not accepted by who trusts these anchors.
    #[error("what this issuer signs does not verify against the trust anchors: {0}")]
    Chain(webpki::Error),
    /// The signing library refused.
    #[error("cannot make the certificate: {0}")]
    Sign(#[from] rcgen::Error),
    /// The new anchor cannot be one.
    #[error(transparent)]
    Anchor(#[from] AnchorsError),
}

/// Clocks of one cluster differ by less: what is made now is valid everywhere at once.
const CA_SKEW: Duration = Duration::from_secs(60);

impl Anchor {
    /// A new one, with a P-256 key.
    pub fn generate(name: &str, ttl: Duration) -> Result<Self, CaError> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let params = ca_params(name, IsCa::Ca(BasicConstraints::Unconstrained), ttl)?;
        let certificate = params.self_signed(&key)?.der().clone();
        Ok(Self {
            signer: rcgen::Issuer::from_ca_cert_der(&certificate, key)?,
            certificate,
        })
    }

    /// From PEM.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, CaError> {
        let (mut chain, signer) = load(certificate, key)?;
        Ok(Self {
            certificate: chain.swap_remove(0),
            signer,
        })
    }

    /// The certificate in PEM.
    pub fn cert_pem(&self) -> String {
        certificate_pem(&self.certificate)
    }

    /// The private key in PEM (PKCS#8).
    pub fn key_pem(&self) -> String {
        self.signer.key().serialize_pem()
    }

    /// As what to trust.
    pub fn trust(&self) -> Result<TrustAnchors, CaError> {
        Ok(TrustAnchors::from_der(vec![self.certificate.clone()])?)
    }

    /// A new issuer below this anchor, which can sign leaves only.
    pub fn issuer(&self, name: &str, ttl: Duration) -> Result<Issuer, CaError> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let mut params = ca_params(name, IsCa::Ca(BasicConstraints::Constrained(0)), ttl)?;
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.signer)?;
        let pem = certificate_pem(certificate.der());
        Issuer::from_pem(&pem, &key.serialize_pem())
    }
}

impl Issuer {
    /// From PEM: the issuer's certificate first, then those above it, if any.
    pub fn from_pem(certificates: &str, key: &str) -> Result<Self, CaError> {
        let (chain, signer) = load(certificates, key)?;
        let mut valid = (SystemTime::UNIX_EPOCH, None);
        for certificate in &chain {
            let parsed = parse(certificate)?;
            let (from, until) = validity(&parsed);
            valid = (
                valid.0.max(from),
                Some(valid.1.map_or(until, |v: SystemTime| v.min(until))),
            );
        }
        Ok(Self {
            chain,
            signer,
            valid_from: valid.0,
            expiry: valid.1.unwrap_or(SystemTime::UNIX_EPOCH),
        })
    }

    /// The chain in PEM.
    pub fn cert_pem(&self) -> String {
        self.chain.iter().map(|one| certificate_pem(one)).collect()
    }

    /// The private key in PEM (PKCS#8 unless it was read as something else).
    pub fn key_pem(&self) -> String {
        self.signer.key().serialize_pem()
    }

    /// When the first certificate of the chain expires.
    pub fn expiry(&self) -> SystemTime {
        self.expiry
    }

    /// Checks that what this signs is accepted by who trusts `anchors`, by signing something and
    /// looking at it as a peer would.
    pub fn check(&self, anchors: &TrustAnchors) -> Result<(), CaError> {
        let probe: Id = Id::Dns("probe.invalid".into());
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let spki = key.subject_public_key_info();
        let certified = self.sign(&probe, &spki, CA_SKEW, CA_SKEW)?;
        anchors
            .verify(&certified.leaf, &certified.intermediates, UnixTime::now())
            .map_err(CaError::Chain)
    }

    /// Signs a leaf for `id` and this public key (SubjectPublicKeyInfo, DER), for server and
    /// client use. It is valid from `skew` ago until `skew` after `lifetime`, but never longer
    /// than the issuer itself.
    pub fn sign(
        &self,
        id: &Id,
        spki_der: &[u8],
        lifetime: Duration,
        skew: Duration,
    ) -> Result<Certified, CaError> {
        let now = SystemTime::now();
        let said = |time: SystemTime| time::OffsetDateTime::from(time).to_string();
        if self.expiry <= now {
            return Err(CaError::Expired(said(self.expiry)));
        }
        if self.valid_from > now {
            return Err(CaError::NotYetValid(said(self.valid_from)));
        }
        let public_key = SubjectPublicKeyInfo::from_der(spki_der)?;
        let valid_until = (now + lifetime + skew).min(self.expiry);
        let mut params = id.params()?;
        params.serial_number = Some(serial()?);
        params.not_before = (now - skew).into();
        params.not_after = valid_until.into();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
        ];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(&public_key, &self.signer)?.der().clone();
        Ok(Certified {
            leaf,
            intermediates: self.intermediates(),
            // Certificates count in seconds.
            valid_until: whole_seconds(valid_until),
        })
    }

    /// The chain without the anchor, which peers have, or have not, whatever we send.
    fn intermediates(&self) -> Vec<CertificateDer<'static>> {
        let anchor = |certificate: &CertificateDer<'_>| {
            // By its signature: an issuer may bear its anchor's name.
            parse(certificate).is_ok_and(|parsed| parsed.verify_signature(None).is_ok())
        };
        let chain = self.chain.iter();
        chain.filter(|one| !anchor(one)).cloned().collect()
    }
}

impl fmt::Debug for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Anchor").finish_non_exhaustive()
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer")
            .field("expiry", &self.expiry)
            .finish_non_exhaustive()
    }
}

/// Reads a CA with its key, and sees that they belong together.
fn load(certificates: &str, key: &str) -> Result<(Vec<CertificateDer<'static>>, Signer), CaError> {
    let chain = CertificateDer::pem_slice_iter(certificates.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| CaError::Certificate(error.to_string()))?;
    let first = chain
        .first()
        .ok_or_else(|| CaError::Certificate("there is no block BEGIN CERTIFICATE".to_owned()))?;
    let key = KeyPair::from_pem(key).map_err(|error| CaError::Key(error.to_string()))?;
    let parsed = parse(first)?;
    if *parsed.public_key().subject_public_key.data != *key.public_key_raw() {
        return Err(CaError::Mismatch);
    }
    let may_sign = match parsed.key_usage() {
        Ok(Some(usage)) => usage.value.key_cert_sign(),
        _ => true,
    };
    if !parsed.is_ca() || !may_sign {
        return Err(CaError::NotCa);
    }
    let signer = rcgen::Issuer::from_ca_cert_der(first, key)?;
    Ok((chain, signer))
}

fn ca_params(name: &str, is_ca: IsCa, ttl: Duration) -> Result<CertificateParams, CaError> {
    let now = SystemTime::now();
    let mut params = CertificateParams::default();
    params.serial_number = Some(serial()?);
    params.not_before = (now - CA_SKEW).into();
    params.not_after = (now + ttl).into();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = is_ca;
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// 127 random bits, never zero.
fn serial() -> Result<SerialNumber, CaError> {
    let mut bytes = [0; 16];
    verify::provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| rcgen::Error::RingUnspecified)?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, CaError> {
    X509Certificate::from_der(certificate)
        .map(|(_, parsed)| parsed)
        .map_err(|error| CaError::Certificate(error.to_string()))
}

/// From when, and until when.
pub(crate) fn validity(certificate: &X509Certificate<'_>) -> (SystemTime, SystemTime) {
    let time = |seconds: i64| {
        SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
    };
    let validity = certificate.validity();
    (
        time(validity.not_before.timestamp()),
        time(validity.not_after.timestamp()),
    )
}

fn whole_seconds(time: SystemTime) -> SystemTime {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

/// RFC 7468: base64 in lines of 64.
fn certificate_pem(der: &[u8]) -> String {
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der);
    for line in encoded.as_bytes().chunks(64) {
        text.extend(line.iter().map(|byte| char::from(*byte)));
        text.push('\n');
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

#[cfg(test)]
mod tests;
