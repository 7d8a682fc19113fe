//! The service with a scripted API server, in process and over mesh TLS.

use super::*;
use crate::{
    decision::tests::{WEB_USER, good, policy, reviewed},
    issuer::tests::{issuer_secret, issuers, roots},
    own,
    token::ReviewError,
};
use futures::FutureExt;
use k8s_openapi::api::authentication::v1::TokenReviewStatus;
use linkerd2_proxy_api::identity::identity_server::IdentityServer;
use mesh_contract::names::IDENTITY_AUDIENCE;
use mesh_tls::{
    GrpcCertifier, Id, Store, certify_loop,
    control::{self, ControlAddr},
    testing::Ca,
};
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tonic::Code;

const HOUR: Duration = Duration::from_secs(3600);
const VALIDITY: Validity = Validity {
    lifetime: Duration::from_secs(1800),
    skew: Duration::from_secs(10),
};

/// An API server that knows one token: the name of its user.
enum Api {
    Up,
    Down,
    Silent,
    NotAsked,
}

impl Reviewer for Api {
    async fn review(&self, token: String) -> Result<TokenReviewStatus, ReviewError> {
        match self {
            Self::Up if token == "expired" => Ok(TokenReviewStatus {
                authenticated: Some(false),
                error: Some("token has expired".to_owned()),
                ..TokenReviewStatus::default()
            }),
            Self::Up => Ok(reviewed(&token)),
            Self::Down => Err(ReviewError::Timeout),
            Self::Silent => std::future::pending().await,
            Self::NotAsked => panic!("the API server was asked"),
        }
    }
}

fn service(ca: &Ca, api: Api) -> Service<Api> {
    let issuers = issuers(Some(issuer_secret(ca, HOUR)), Some(roots(&ca.0.cert_pem())));
    Service::new(policy(), issuers, api, VALIDITY, Metrics::default())
}

fn with_token(token: &str) -> CertifyRequest {
    CertifyRequest {
        token: token.as_bytes().to_vec(),
        ..good()
    }
}

async fn code(service: &Service<Api>, request: CertifyRequest) -> Code {
    match service.certify(Request::new(request)).await {
        Ok(_) => Code::Ok,
        Err(status) => status.code(),
    }
}

#[tokio::test]
async fn answers_have_the_codes_clients_know() {
    let ca = Ca::new("root");
    let up = service(&ca, Api::Up);
    assert_eq!(code(&up, with_token(WEB_USER)).await, Code::Ok);
    assert_eq!(
        code(&up, with_token("system:serviceaccount:default:api")).await,
        Code::FailedPrecondition
    );
    assert_eq!(
        code(&up, with_token("expired")).await,
        Code::FailedPrecondition
    );
    let down = service(&ca, Api::Down);
    assert_eq!(code(&down, with_token(WEB_USER)).await, Code::Unavailable);
}

#[tokio::test]
async fn malformed_requests_never_reach_the_api_server() {
    let service = service(&Ca::new("root"), Api::NotAsked);
    let garbage = CertifyRequest {
        certificate_signing_request: vec![1, 2, 3],
        ..with_token(WEB_USER)
    };
    assert_eq!(code(&service, garbage).await, Code::InvalidArgument);
    assert_eq!(code(&service, with_token("")).await, Code::InvalidArgument);
}

#[tokio::test]
async fn whoever_queues_too_long_for_the_api_server_is_told_to_try_again() {
    let mut service = service(&Ca::new("root"), Api::Silent);
    service.patience = Duration::from_millis(10);
    let service = Arc::new(service);
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..MAX_REVIEWS {
        let service = service.clone();
        waiting.spawn(async move { code(&service, with_token(WEB_USER)).await });
    }
    while service.reviews.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    let one_more = service.certify(Request::new(with_token(WEB_USER))).await;
    let status = one_more.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("API server"), "{status}");
}

#[tokio::test]
async fn without_an_issuer_the_answer_is_unavailable_and_says_why() {
    let without = Service::new(
        policy(),
        issuers(None, None),
        Api::NotAsked,
        VALIDITY,
        Metrics::default(),
    );
    let status = without
        .certify(Request::new(with_token(WEB_USER)))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("ConfigMap linkerd/"), "{status}");
}

#[tokio::test]
async fn certificates_are_as_short_lived_as_configured() {
    let service = service(&Ca::new("root"), Api::Up);
    let before = SystemTime::now();
    let answer = service
        .certify(Request::new(with_token(WEB_USER)))
        .await
        .unwrap()
        .into_inner();
    let until = SystemTime::try_from(answer.valid_until.unwrap()).unwrap();
    let life = until.duration_since(before).unwrap();
    assert!(
        life <= VALIDITY.lifetime + VALIDITY.skew + Duration::from_secs(5),
        "{life:?}"
    );
    assert!(life >= VALIDITY.lifetime, "{life:?}");
    assert_eq!(answer.intermediate_certificates.len(), 1);
}

/// The whole of it: identity certifies itself, a sidecar's loop gets a certificate from it over
/// mesh TLS, and the two then know each other.
#[tokio::test]
async fn a_sidecar_is_certified_over_mesh_tls() {
    let ca = Ca::new("root");
    let own_id: Id = "linkerd-identity.linkerd.serviceaccount.identity.linkerd.cluster.local"
        .parse()
        .unwrap();
    let service = service(&ca, Api::Up);
    let own = Store::new(own_id.clone(), ca.anchors());
    let certifier = own::Certifier::new(service.issuers.clone(), own_id.clone(), VALIDITY);
    tokio::spawn(certify_loop(own.clone(), certifier, std::future::pending()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let services = control::Services::new().add(IdentityServer::new(service));
    tokio::spawn(control::serve(
        listener,
        own,
        services,
        std::future::pending(),
    ));

    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, WEB_USER).unwrap();
    let dial: control::Dial = Arc::new(|host, port| TcpStream::connect((host, port)).boxed());
    let web = Store::new(crate::csr::tests::WEB.parse().unwrap(), ca.anchors());
    let addr = ControlAddr::new(&addr, own_id).unwrap();
    let certifier = GrpcCertifier::new(addr.clone(), web.clone(), token.clone(), dial.clone());
    tokio::spawn(certify_loop(web.clone(), certifier, std::future::pending()));
    web.ready().await;

    // Somebody who wants a name that is not theirs is told so.
    let thief = Store::new(
        "api.default.serviceaccount.identity.linkerd.cluster.local"
            .parse()
            .unwrap(),
        ca.anchors(),
    );
    let certifier = GrpcCertifier::new(addr, thief.clone(), token, dial);
    let error = attempt(&certifier, &thief).await;
    assert!(error.contains("the token proves web.default."), "{error}");
    assert!(!thief.is_ready());
    assert_eq!(IDENTITY_AUDIENCE, "identity.l5d.io");
}

async fn attempt(certifier: &GrpcCertifier, store: &Store) -> String {
    let csr = crate::csr::tests::Maker::new(store.id().as_str()).make();
    mesh_tls::Certifier::certify(certifier, csr)
        .await
        .unwrap_err()
        .to_string()
}
