//! Who the API server says the holder of a token is.
//!
//! [`proven`] is the pure half: a TokenReview's status to a ServiceAccount. [`Reviewer`] is the
//! call, a trait so that the service can be tested without an API server.

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::{Api, Client, api::PostParams};
use mesh_contract::names::IDENTITY_AUDIENCE;
use std::time::Duration;

/// Whose token it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceAccount {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// Why a token proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("the token is not accepted by the API server ({0}); has it expired?")]
    Unauthenticated(String),
    #[error("the token is not for the audience {IDENTITY_AUDIENCE} but for {0:?}")]
    Audience(Vec<String>),
    #[error("the token is not a ServiceAccount's but {0:?}'s")]
    User(String),
}

/// The API server could not be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReviewError {
    #[error("identity may not create tokenreviews; does its ClusterRole still exist? {0}")]
    Forbidden(kube::Error),
    #[error("the API server cannot review the token: {0}")]
    Api(#[source] kube::Error),
    #[error("the API server did not review the token within {TIMEOUT:?}")]
    Timeout,
    #[error("the API server answered the token review without a status")]
    NoStatus,
}

/// Asks whose token it is.
pub(crate) trait Reviewer: Send + Sync + 'static {
    /// The status of a TokenReview for our audience.
    fn review(
        &self,
        token: String,
    ) -> impl Future<Output = Result<TokenReviewStatus, ReviewError>> + Send;
}

/// The real one.
#[derive(Clone)]
pub(crate) struct ApiReviewer(Api<TokenReview>);

const TIMEOUT: Duration = Duration::from_secs(5);

impl ApiReviewer {
    pub(crate) fn new(client: Client) -> Self {
        Self(Api::all(client))
    }
}

impl Reviewer for ApiReviewer {
    async fn review(&self, token: String) -> Result<TokenReviewStatus, ReviewError> {
        let review = TokenReview {
            spec: TokenReviewSpec {
                audiences: Some(vec![IDENTITY_AUDIENCE.to_owned()]),
                token: Some(token),
            },
            ..TokenReview::default()
        };
        let params = PostParams::default();
        let reviewing = self.0.create(&params, &review);
        let reviewed = tokio::time::timeout(TIMEOUT, reviewing).await;
        match reviewed.map_err(|_| ReviewError::Timeout)? {
            Ok(review) => review.status.ok_or(ReviewError::NoStatus),
            Err(error) => Err(match &error {
                kube::Error::Api(status) if status.code == 403 => ReviewError::Forbidden(error),
                _ => ReviewError::Api(error),
            }),
        }
    }
}

/// The ServiceAccount a review proves. An audience that is not confirmed is not there: a server
/// that does not know audiences answers without any.
pub(crate) fn proven(status: &TokenReviewStatus) -> Result<ServiceAccount, TokenError> {
    let error = status.error.as_deref().unwrap_or_default();
    if status.authenticated != Some(true) || !error.is_empty() {
        let reason = if error.is_empty() {
            "no reason given"
        } else {
            error
        };
        return Err(TokenError::Unauthenticated(
            reason.chars().take(300).collect(),
        ));
    }
    let audiences = status.audiences.as_deref().unwrap_or_default();
    if !audiences
        .iter()
        .any(|audience| audience == IDENTITY_AUDIENCE)
    {
        return Err(TokenError::Audience(audiences.to_vec()));
    }
    let user = status
        .user
        .as_ref()
        .and_then(|user| user.username.as_deref());
    let user = user.unwrap_or_default();
    service_account(user).ok_or_else(|| TokenError::User(user.to_owned()))
}

/// `system:serviceaccount:<namespace>:<name>`. A namespace has no dots, so that names made from
/// both cannot be taken apart in two ways.
fn service_account(user: &str) -> Option<ServiceAccount> {
    let (namespace, name) = user
        .strip_prefix("system:serviceaccount:")?
        .split_once(':')?;
    let plain = |text: &str, dots: bool| {
        !text.is_empty()
            && text.bytes().all(|byte| {
                byte.is_ascii_lowercase()
                    || byte.is_ascii_digit()
                    || byte == b'-'
                    || (dots && byte == b'.')
            })
    };
    (plain(namespace, false) && plain(name, true)).then(|| ServiceAccount {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    })
}
