//! The trust root: that it is good, that it lasts, and that it certifies.

use super::{Scene, control_plane::CATEGORY as EXISTENCE};
use crate::{
    checks::{Outcome, Report},
    cluster::explain,
    workload::Workload,
};
use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use mesh_contract::names;
use mesh_install::values::Values;
use mesh_tls::{TrustAnchors, ca};
use std::time::{Duration, SystemTime};

/// People need notice; Linkerd gives as much.
const NOTICE: Duration = Duration::from_secs(60 * 24 * 60 * 60);

/// Checks it; the workload that was certified, where one was.
pub(super) async fn check(
    scene: &Scene<'_>,
    report: &mut Report,
    values: &Values,
) -> Option<Workload> {
    report.section("identity");
    let anchors = report.require(
        "the trust anchors can be used",
        TrustAnchors::from_pem(&values.identity_trust_anchors_pem).map_err(anyhow::Error::from),
        format!(
            "put PEM certificates into the key {} of the ConfigMap {}/{}",
            names::TRUST_ROOTS_KEY,
            scene.control_plane_ns,
            names::TRUST_ROOTS
        ),
    );
    let anchors = anchors?;
    lasting(report, "the trust anchors last", expiries(&anchors));
    issuer(scene, report, &anchors).await;
    if report.failed(EXISTENCE) {
        // It is told already that something does not run; waiting for it would tell no more.
        return None;
    }
    let certified = Workload::certify(
        &scene.client,
        scene.control_plane_ns,
        scene.control_plane_ns,
        names::DESTINATION,
    )
    .await;
    report.attempt(
        "the issuer certifies a workload, asked from here",
        certified,
        "look at kubectl logs deploy/linkerd-identity; asking takes the rights to create \
         serviceaccounts/token and, where pods cannot be reached from here, pods/portforward",
    )
}

/// The issuer's Secret, where this user may read it.
async fn issuer(scene: &Scene<'_>, report: &mut Report, anchors: &TrustAnchors) {
    let loaded = load(scene).await;
    let issuer = report.require(
        "the issuer can be used",
        loaded,
        "replace its Secret with a certificate and key of a trust anchor's: mesh upgrade \
         --identity-issuer-certificate-file … --identity-issuer-key-file … | kubectl apply -f -",
    );
    let Some(issuer) = issuer else { return };
    report.require(
        "the issuer is signed by the trust anchors",
        issuer.check(anchors).map_err(anyhow::Error::from),
        "issuer and anchors must come from one root: replace one of them",
    );
    lasting(report, "the issuer lasts", Ok(issuer.expiry()));
}

async fn load(scene: &Scene<'_>) -> anyhow::Result<ca::Issuer> {
    let (namespace, name) = (scene.control_plane_ns, names::ISSUER);
    let api: Api<Secret> = Api::namespaced(scene.client.clone(), namespace);
    let secret = api.get(name).await;
    let secret = secret.map_err(|e| explain(e, &format!("cannot read {namespace}/{name}")))?;
    let data = secret.data.unwrap_or_default();
    let text = |keys: [&str; 2]| {
        let bytes = keys.iter().find_map(|key| data.get(*key));
        let bytes =
            bytes.with_context(|| format!("the Secret has neither {} nor {}", keys[0], keys[1]))?;
        String::from_utf8(bytes.0.clone()).context("it is not PEM")
    };
    let certificate = text(["crt.pem", "tls.crt"])?;
    let key = text(["key.pem", "tls.key"])?;
    Ok(ca::Issuer::from_pem(&certificate, &key)?)
}

/// When the first of the anchors expires.
fn expiries(anchors: &TrustAnchors) -> anyhow::Result<SystemTime> {
    let expiry = |der: &[u8]| {
        let parsed = x509_parser::parse_x509_certificate(der);
        let (_, parsed) = parsed.map_err(|error| anyhow::anyhow!("{error}"))?;
        let seconds = u64::try_from(parsed.validity().not_after.timestamp());
        anyhow::Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.unwrap_or(0)))
    };
    let all = anchors.certificates().iter().map(|one| expiry(one));
    let all: Vec<_> = all.collect::<anyhow::Result<_>>()?;
    all.into_iter().min().context("there are none")
}

fn lasting(report: &mut Report, description: &str, expiry: anyhow::Result<SystemTime>) {
    report.add(description, outlook(expiry, SystemTime::now()));
}

/// Pure: what is to be said of something that expires then.
fn outlook(expiry: anyhow::Result<SystemTime>, now: SystemTime) -> Outcome {
    let remedy = "renew it before: a new issuer (mesh upgrade --identity-issuer-certificate-file \
                  …), or a new anchor beside the old one until every cluster has it"
        .to_owned();
    match expiry.and_then(|expiry| left(expiry, now)) {
        Ok(left) if left > NOTICE => Outcome::Success,
        Ok(left) => Outcome::Warning {
            cause: format!("it expires in {}", time(left)),
            remedy,
        },
        Err(error) => Outcome::Error {
            cause: format!("{error:#}"),
            remedy,
        },
    }
}

fn left(expiry: SystemTime, now: SystemTime) -> anyhow::Result<Duration> {
    match expiry.duration_since(now) {
        Ok(left) => Ok(left),
        Err(past) => bail!("it expired {} ago", time(past.duration())),
    }
}

fn time(span: Duration) -> String {
    match span.as_secs() / 3600 {
        hours @ 0..48 => format!("{hours} hours"),
        hours => format!("{} days", hours / 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_expires_soon_is_a_warning_and_what_has_expired_an_error() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let day = Duration::from_secs(24 * 60 * 60);
        let said = |expiry| match outlook(Ok(expiry), now) {
            Outcome::Success => "fine".to_owned(),
            Outcome::Warning { cause, .. } => format!("warning: {cause}"),
            Outcome::Error { cause, .. } => format!("error: {cause}"),
        };
        assert_eq!(said(now + 61 * day), "fine");
        assert_eq!(said(now + 59 * day), "warning: it expires in 59 days");
        assert_eq!(said(now + day / 2), "warning: it expires in 12 hours");
        assert_eq!(said(now - day / 4), "error: it expired 6 hours ago");
        assert_eq!(said(now - 3 * day), "error: it expired 3 days ago");
    }
}
