//! The key that signs ServiceAccount tokens, and what a token says.

use chrono::Utc;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde::{Deserialize, Serialize};

/// What a token says.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Claims {
    pub(super) iss: String,
    pub(super) sub: String,
    /// Whom it is for; legacy tokens do not say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) aud: Vec<String>,
    /// Legacy tokens do not expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) exp: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) iat: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) nbf: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) jti: Option<String>,
    #[serde(rename = "kubernetes.io")]
    pub(super) bound: Bound,
}

/// The objects a token lives and dies with.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Bound {
    pub(super) namespace: String,
    pub(super) serviceaccount: Reference,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) pod: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) secret: Option<Reference>,
}

/// An object that must still be the same one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reference {
    pub(super) name: String,
    pub(super) uid: String,
}

/// Why a token proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// Not one of ours, or tampered with.
    #[error("invalid bearer token")]
    Foreign,
    /// It was good once.
    #[error("service account token has expired")]
    Expired,
    /// It will be good later.
    #[error("service account token is not valid yet")]
    Early,
    /// It is for somebody else.
    #[error("token audiences {found:?} is invalid for the target audiences {wanted:?}")]
    Audience {
        found: Vec<String>,
        wanted: Vec<String>,
    },
    /// What it was bound to is gone.
    #[error("{0}")]
    Unbound(String),
}

/// Signs and checks tokens.
pub(super) struct Keys {
    sign: EncodingKey,
    check: DecodingKey,
    issuer: String,
}

impl Keys {
    /// Keys from a P-256 key (PKCS#8 PEM), or a new one that dies with this process.
    pub(super) fn new(pem: Option<&str>, issuer: &str) -> anyhow::Result<Self> {
        let pair = match pem {
            Some(pem) => KeyPair::from_pkcs8_pem_and_sign_algo(pem, &PKCS_ECDSA_P256_SHA256)?,
            None => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?,
        };
        Ok(Self {
            sign: EncodingKey::from_ec_der(pair.serialized_der()),
            check: DecodingKey::from_ec_der(pair.public_key_raw()),
            issuer: issuer.to_owned(),
        })
    }

    /// Signs claims in the name of the issuer.
    pub(super) fn sign(&self, mut claims: Claims) -> anyhow::Result<String> {
        claims.iss.clone_from(&self.issuer);
        Ok(jsonwebtoken::encode(
            &Header::new(Algorithm::ES256),
            &claims,
            &self.sign,
        )?)
    }

    /// The claims of a token we signed, that is valid now.
    pub(super) fn check(&self, token: &str) -> Result<Claims, Refused> {
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_issuer(&[&self.issuer]);
        // Audiences differ by who asks, and times are checked below: legacy tokens have none.
        validation.validate_aud = false;
        validation.validate_exp = false;
        validation.required_spec_claims = ["iss".to_owned(), "sub".to_owned()].into();
        let claims = jsonwebtoken::decode::<Claims>(token, &self.check, &validation)
            .map_err(|e| match e.kind() {
                ErrorKind::ExpiredSignature => Refused::Expired,
                _ => Refused::Foreign,
            })?
            .claims;
        let now = Utc::now().timestamp();
        let ends = match (claims.exp, &claims.bound.secret) {
            (Some(exp), _) => exp,
            (None, Some(_)) => i64::MAX,
            (None, None) => return Err(Refused::Foreign),
        };
        if now >= ends {
            Err(Refused::Expired)
        } else if claims.nbf.is_some_and(|nbf| nbf > now) {
            Err(Refused::Early)
        } else {
            Ok(claims)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(exp: Option<i64>) -> Claims {
        Claims {
            sub: "system:serviceaccount:a:b".into(),
            exp,
            ..Claims::default()
        }
    }

    #[test]
    fn only_our_own_living_tokens_are_accepted() {
        let keys = Keys::new(None, "https://us").unwrap();
        let now = Utc::now().timestamp();
        let good = keys.sign(claims(Some(now + 60))).unwrap();
        assert_eq!(keys.check(&good).unwrap().iss, "https://us");
        let old = keys.sign(claims(Some(now - 1))).unwrap();
        assert_eq!(keys.check(&old).unwrap_err(), Refused::Expired);
        let endless = keys.sign(claims(None)).unwrap();
        assert_eq!(keys.check(&endless).unwrap_err(), Refused::Foreign);
        let others = Keys::new(None, "https://us").unwrap();
        assert_eq!(others.check(&good).unwrap_err(), Refused::Foreign);
        let mut forged = good.clone().into_bytes();
        let middle = forged.len() / 2;
        forged[middle] = if forged[middle] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(forged).unwrap();
        for token in ["", "a.b.c", "...", forged.as_str()] {
            assert_eq!(keys.check(token).unwrap_err(), Refused::Foreign, "{token}");
        }
    }

    #[test]
    fn tokens_survive_a_restart_with_the_same_key() {
        let pem = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
            .unwrap()
            .serialize_pem();
        let before = Keys::new(Some(&pem), "i").unwrap();
        let after = Keys::new(Some(&pem), "i").unwrap();
        let token = before.sign(claims(Some(i64::MAX))).unwrap();
        assert!(after.check(&token).is_ok());
    }
}
