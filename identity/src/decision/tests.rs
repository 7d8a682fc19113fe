//! One table: what is asked, what the API server says, what comes of it.

use super::*;
use crate::csr::tests::{Maker, WEB, dns};
use k8s_openapi::api::authentication::v1::UserInfo;
use mesh_contract::names::IDENTITY_AUDIENCE;
use rcgen::SanType;

pub(crate) fn policy() -> Policy {
    Policy {
        control_plane_ns: "linkerd".to_owned(),
        trust_domain: "cluster.local".to_owned(),
    }
}

pub(crate) fn reviewed(user: &str) -> TokenReviewStatus {
    TokenReviewStatus {
        authenticated: Some(true),
        audiences: Some(vec![IDENTITY_AUDIENCE.to_owned()]),
        user: Some(UserInfo {
            username: Some(user.to_owned()),
            ..UserInfo::default()
        }),
        error: None,
    }
}

pub(crate) const WEB_USER: &str = "system:serviceaccount:default:web";

fn request(csr: Vec<u8>) -> CertifyRequest {
    CertifyRequest {
        identity: WEB.to_owned(),
        token: b"token".to_vec(),
        certificate_signing_request: csr,
    }
}

pub(crate) fn good() -> CertifyRequest {
    request(Maker::new(WEB).make())
}

fn decide(request: CertifyRequest, review: &TokenReviewStatus) -> Result<Grant, Refusal> {
    grant(&policy(), read(request)?, review)
}

#[test]
fn a_workload_gets_its_own_name() {
    let asked = good();
    let spki = Csr::read(&asked.certificate_signing_request)
        .unwrap()
        .spki_der()
        .to_vec();
    let granted = decide(asked, &reviewed(WEB_USER)).unwrap();
    assert_eq!(granted.name().as_str(), WEB);
    assert_eq!(granted.spki_der(), spki);
}

#[test]
fn tokens_are_read_with_the_newline_files_end_in() {
    let asked = CertifyRequest {
        token: b"token\n".to_vec(),
        ..good()
    };
    assert_eq!(read(asked).unwrap().token(), "token");
}

#[test]
fn malformed_requests_are_told_apart_from_refused_ones() {
    let ip = SanType::IpAddress([10, 0, 0, 1].into());
    let sans = |sans| {
        let maker = Maker {
            sans,
            ..Maker::new(WEB)
        };
        request(maker.make())
    };
    let key = |algorithm| {
        let maker = Maker {
            algorithm,
            ..Maker::new(WEB)
        };
        request(maker.make())
    };
    let identity = |identity: &str| CertifyRequest {
        identity: identity.to_owned(),
        ..good()
    };
    let token = |token: &[u8]| CertifyRequest {
        token: token.to_vec(),
        ..good()
    };
    let mut bad_signature = good();
    let at = bad_signature.certificate_signing_request.len() - 1;
    bad_signature.certificate_signing_request[at] ^= 1;
    let mut shouted = good();
    shouted.identity = WEB.to_uppercase();

    let malformed = [
        ("no identity", identity("")),
        ("a URI", identity("spiffe://cluster.local/web")),
        ("spaces", identity("web default")),
        ("a trailing dot", identity(&format!("{WEB}."))),
        ("upper case", shouted),
        ("no token", token(b"")),
        ("a blank token", token(b" \n")),
        ("a token that is no text", token(b"\xff\xfe")),
        ("an endless token", token(&[b'a'; MAX_TOKEN + 1])),
        ("no CSR", request(vec![])),
        ("garbage", request(vec![0x30; 100])),
        ("an oversized CSR", request(vec![0x30; crate::csr::MAX + 1])),
        ("a bad signature", bad_signature),
    ];
    for (what, asked) in malformed {
        let refusal = decide(asked, &reviewed(WEB_USER)).unwrap_err();
        assert!(refusal.is_malformed(), "{what}: {refusal}");
    }
    let refused = [
        ("two names", sans(vec![dns(WEB), dns("api.default")])),
        ("an IP", sans(vec![ip.clone()])),
        ("a name and an IP", sans(vec![dns(WEB), ip])),
        ("no name", sans(vec![])),
        ("P-384", key(&rcgen::PKCS_ECDSA_P384_SHA384)),
        ("Ed25519", key(&rcgen::PKCS_ED25519)),
        (
            "another name in the CSR",
            request(Maker::new("api.default.serviceaccount.identity.linkerd.cluster.local").make()),
        ),
    ];
    for (what, asked) in refused {
        let refusal = decide(asked, &reviewed(WEB_USER)).unwrap_err();
        assert!(!refusal.is_malformed(), "{what}: {refusal}");
    }
}

#[test]
fn nobody_gets_somebody_elses_name() {
    for user in [
        "system:serviceaccount:default:api",
        "system:serviceaccount:other:web",
        "system:serviceaccount:linkerd:linkerd-identity",
    ] {
        let refusal = decide(good(), &reviewed(user)).unwrap_err();
        assert!(
            matches!(refusal, Refusal::NotTheirs { .. }),
            "{user}: {refusal}"
        );
    }
    // The same ServiceAccount, under another control plane or in another trust domain.
    for name in [
        "web.default.serviceaccount.identity.elsewhere.cluster.local",
        "web.default.serviceaccount.identity.linkerd.other.domain",
        "web.default",
    ] {
        let asked = CertifyRequest {
            identity: name.to_owned(),
            ..request(Maker::new(name).make())
        };
        let refusal = decide(asked, &reviewed(WEB_USER)).unwrap_err();
        assert!(
            matches!(refusal, Refusal::NotTheirs { .. }),
            "{name}: {refusal}"
        );
    }
}

#[test]
fn users_that_are_no_service_accounts_prove_nothing() {
    for user in [
        "",
        "admin",
        "system:anonymous",
        "system:node:a",
        "system:serviceaccount:default",
        "system:serviceaccount::web",
        "system:serviceaccount:default:",
        "system:serviceaccount:default:web:more",
        "system:serviceaccount:de.fault:web",
        "system:serviceaccount:default:Web",
        "system:serviceaccount:default:web\n",
        "SYSTEM:serviceaccount:default:web",
    ] {
        let refusal = decide(good(), &reviewed(user)).unwrap_err();
        assert!(
            matches!(refusal, Refusal::Unproven(TokenError::User(_))),
            "{user:?}: {refusal}"
        );
    }
}

#[test]
fn tokens_the_api_server_does_not_vouch_for_prove_nothing() {
    let good_review = reviewed(WEB_USER);
    let unauthenticated = [
        (
            "refused",
            TokenReviewStatus {
                authenticated: Some(false),
                ..good_review.clone()
            },
        ),
        (
            "silent",
            TokenReviewStatus {
                authenticated: None,
                ..good_review.clone()
            },
        ),
        ("empty", TokenReviewStatus::default()),
        (
            "expired",
            TokenReviewStatus {
                error: Some("token has expired".to_owned()),
                ..good_review.clone()
            },
        ),
    ];
    for (what, review) in unauthenticated {
        let refusal = decide(good(), &review).unwrap_err();
        assert!(
            matches!(refusal, Refusal::Unproven(TokenError::Unauthenticated(_))),
            "{what}: {refusal}"
        );
        assert!(!refusal.is_malformed());
    }
    let other = vec!["https://kubernetes.default.svc".to_owned()];
    for audiences in [None, Some(vec![]), Some(other)] {
        let review = TokenReviewStatus {
            audiences,
            ..good_review.clone()
        };
        let refusal = decide(good(), &review).unwrap_err();
        assert!(
            matches!(refusal, Refusal::Unproven(TokenError::Audience(_))),
            "{refusal}"
        );
    }
    let nobody = TokenReviewStatus {
        user: None,
        ..good_review
    };
    let refusal = decide(good(), &nobody).unwrap_err();
    assert!(
        matches!(refusal, Refusal::Unproven(TokenError::User(_))),
        "{refusal}"
    );
}

#[test]
fn a_service_account_with_dots_cannot_be_taken_for_another() {
    // `a.b` in `c`, and never `a` in `b.c`: namespaces have no dots.
    let name = "a.b.c.serviceaccount.identity.linkerd.cluster.local";
    let asked = || CertifyRequest {
        identity: name.to_owned(),
        ..request(Maker::new(name).make())
    };
    decide(asked(), &reviewed("system:serviceaccount:c:a.b")).unwrap();
    decide(asked(), &reviewed("system:serviceaccount:b.c:a")).unwrap_err();
}
