//! Which signing requests are acceptable: strictly those a mesh proxy makes.
//!
//! A request is bytes from anybody. What passes here is one P-256 key whose holder signed the
//! request, and one DNS name; nothing else of it is ever looked at again, so nothing else of it
//! can find its way into a certificate. Called by `decision`; it decides nothing about who may
//! bear the name.

use x509_parser::{
    certification_request::X509CertificationRequest,
    cri_attributes::ParsedCriAttribute,
    extensions::{GeneralName, ParsedExtension},
    oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_X509_COMMON_NAME},
    prelude::FromDer,
    x509::{SubjectPublicKeyInfo, X509Name},
};

/// A key with proof that the sender holds it, and the name it wants.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Csr {
    name: String,
    spki_der: Vec<u8>,
}

/// Why a signing request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CsrError {
    #[error("the signing request is {0} bytes long; at most {MAX} are read")]
    TooLong(usize),
    #[error("the signing request is not PKCS#10 in DER")]
    Garbage,
    #[error("the key of the signing request is not ECDSA P-256")]
    Key,
    #[error("the signature of the signing request does not verify with its key")]
    Signature,
    #[error("the signing request must bear exactly one name, a DNS name, and has {0}")]
    Names(String),
    #[error(
        "the subject of the signing request must be empty or the common name {name}, and is {subject:?}"
    )]
    Subject { name: String, subject: String },
}

/// A proxy's request is about 400 bytes.
pub(crate) const MAX: usize = 8 * 1024;

impl Csr {
    /// Reads a request in DER.
    pub(crate) fn read(der: &[u8]) -> Result<Self, CsrError> {
        if der.len() > MAX {
            return Err(CsrError::TooLong(der.len()));
        }
        let (rest, csr) = X509CertificationRequest::from_der(der).map_err(|_| CsrError::Garbage)?;
        if !rest.is_empty() {
            return Err(CsrError::Garbage);
        }
        let info = &csr.certification_request_info;
        if !is_p256(&info.subject_pki) {
            return Err(CsrError::Key);
        }
        csr.verify_signature().map_err(|_| CsrError::Signature)?;
        let name = only_name(&csr)?;
        check_subject(&info.subject, &name)?;
        Ok(Self {
            name,
            spki_der: info.subject_pki.raw.to_vec(),
        })
    }

    /// The name asked for.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The proven key: SubjectPublicKeyInfo in DER.
    pub(crate) fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }
}

fn is_p256(key: &SubjectPublicKeyInfo<'_>) -> bool {
    let curve = key.algorithm.parameters.as_ref();
    let curve = curve.and_then(|parameters| parameters.as_oid().ok());
    // 0x04: an uncompressed point, which is what every proxy sends.
    let point = &*key.subject_public_key.data;
    key.algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY
        && curve == Some(OID_EC_P256)
        && point.len() == 65
        && point[0] == 4
}

fn only_name(csr: &X509CertificationRequest<'_>) -> Result<String, CsrError> {
    let mut names = Vec::new();
    for attribute in csr.certification_request_info.iter_attributes() {
        let ParsedCriAttribute::ExtensionRequest(requested) = attribute.parsed_attribute() else {
            continue;
        };
        for extension in &requested.extensions {
            match extension.parsed_extension() {
                ParsedExtension::SubjectAlternativeName(san) => names.extend(&san.general_names),
                ParsedExtension::ParseError { .. } => return Err(CsrError::Garbage),
                // Whatever else is wished for is not granted.
                _ => {}
            }
        }
    }
    match names[..] {
        [GeneralName::DNSName(name)] => Ok((*name).to_owned()),
        [] => Err(CsrError::Names("none".to_owned())),
        [one] => Err(CsrError::Names(kind(one).to_owned())),
        ref many => Err(CsrError::Names(many.len().to_string())),
    }
}

fn kind(name: &GeneralName<'_>) -> &'static str {
    match name {
        GeneralName::RFC822Name(_) => "an e-mail address",
        GeneralName::URI(_) => "a URI",
        GeneralName::IPAddress(_) => "an IP address",
        _ => "a name of another kind",
    }
}

fn check_subject(subject: &X509Name<'_>, name: &str) -> Result<(), CsrError> {
    let matches = subject.iter_attributes().all(|attribute| {
        *attribute.attr_type() == OID_X509_COMMON_NAME && attribute.as_str() == Ok(name)
    });
    if matches && subject.iter_attributes().count() <= 1 {
        return Ok(());
    }
    Err(CsrError::Subject {
        name: name.to_owned(),
        subject: subject.to_string().chars().take(300).collect(),
    })
}

#[cfg(test)]
pub(crate) mod tests;
