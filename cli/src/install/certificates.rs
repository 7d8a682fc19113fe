//! Trust anchors and issuer of an installation: the user's files, or made on the spot.

use anyhow::{Context as _, bail};
use mesh_install::values::Values;
use mesh_tls::{TrustAnchors, ca};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// How long made certificates live, as Linkerd's do.
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The files that make up a shared trust root.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct CertificateArgs {
    /// PEM file with the trust anchors (the same in all linked clusters)
    #[arg(long, value_name = "FILE")]
    pub(crate) identity_trust_anchors_file: Option<PathBuf>,

    /// PEM file with the issuer's certificate, signed by a trust anchor
    #[arg(long, value_name = "FILE", requires = "identity_issuer_key_file")]
    pub(crate) identity_issuer_certificate_file: Option<PathBuf>,

    /// PEM file with the issuer's private key
    #[arg(
        long,
        value_name = "FILE",
        requires = "identity_issuer_certificate_file"
    )]
    pub(crate) identity_issuer_key_file: Option<PathBuf>,

    /// Trust domain of the identities (default: cluster.local)
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) identity_trust_domain: Option<String>,

    /// Use an issuer Secret that is made elsewhere, such as by cert-manager
    #[arg(long)]
    pub(crate) identity_external_issuer: bool,

    /// Use a ConfigMap of trust anchors that is made elsewhere, such as by trust-manager
    #[arg(long)]
    pub(crate) identity_external_ca: bool,

    /// DNS domain of the cluster (default: cluster.local)
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) cluster_domain: Option<String>,
}

impl CertificateArgs {
    /// What the flags set, as values.
    pub(crate) fn values(&self) -> anyhow::Result<Value> {
        let mut values = json!({});
        if let Some(domain) = &self.identity_trust_domain {
            values["identityTrustDomain"] = json!(domain);
        }
        if let Some(domain) = &self.cluster_domain {
            values["clusterDomain"] = json!(domain);
        }
        if let Some(file) = &self.identity_trust_anchors_file {
            let pem = read(file, "--identity-trust-anchors-file")?;
            values["identityTrustAnchorsPEM"] = json!(pem);
        }
        if self.identity_external_ca {
            values["identity"]["externalCA"] = json!(true);
        }
        if self.identity_external_issuer {
            values["identity"]["issuer"]["scheme"] = json!("kubernetes.io/tls");
        }
        if let (Some(certificate), Some(key)) = (
            &self.identity_issuer_certificate_file,
            &self.identity_issuer_key_file,
        ) {
            values["identity"]["issuer"]["tls"] = json!({
                "crtPEM": read(certificate, "--identity-issuer-certificate-file")?,
                "keyPEM": read(key, "--identity-issuer-key-file")?,
            });
        }
        Ok(values)
    }
}

fn read(path: &Path, flag: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(path)
        .with_context(|| format!("cannot read {} ({flag})", path.display()))
}

/// Makes what nobody gave, and checks that anchors and issuer fit.
pub(crate) fn complete(values: &mut Values) -> anyhow::Result<()> {
    let external_ca = values.identity.external_ca;
    let external = values.identity.issuer.scheme != "linkerd.io/tls";
    let has_anchors = !values.identity_trust_anchors_pem.trim().is_empty();
    let has_issuer = !values.identity.issuer.tls.crt_pem.trim().is_empty();
    match (has_anchors, has_issuer, external) {
        (false, false, false) if !external_ca => generate(values)?,
        (_, false, false) => bail!(
            "trust anchors were given but no issuer: add --identity-issuer-certificate-file and \
             --identity-issuer-key-file, or --identity-external-issuer if its Secret exists already"
        ),
        (false, true, _) if !external_ca => {
            bail!("an issuer was given but no trust anchors: add --identity-trust-anchors-file")
        }
        (false, false, true) if !external_ca => bail!(
            "an external issuer needs its trust anchors: add --identity-trust-anchors-file, or \
             --identity-external-ca if their ConfigMap is made elsewhere too"
        ),
        _ => {}
    }
    if values.identity_trust_anchors_pem.trim().is_empty() {
        return Ok(());
    }
    let anchors = TrustAnchors::from_pem(&values.identity_trust_anchors_pem)
        .context("the trust anchors are not usable PEM certificates")?;
    if !external {
        let tls = &values.identity.issuer.tls;
        ca::Issuer::from_pem(&tls.crt_pem, &tls.key_pem)
            .context("the issuer's certificate and key are not usable")?
            .check(&anchors)
            .context("the issuer is not signed by the trust anchors given")?;
    }
    Ok(())
}

fn generate(values: &mut Values) -> anyhow::Result<()> {
    let anchor = ca::Anchor::generate(
        &format!("root.linkerd.{}", values.identity_trust_domain),
        YEAR,
    )?;
    let issuer = anchor.issuer(
        &format!("identity.linkerd.{}", values.identity_trust_domain),
        YEAR,
    )?;
    values.identity_trust_anchors_pem = anchor.cert_pem();
    values.identity.issuer.tls.crt_pem = issuer.cert_pem();
    values.identity.issuer.tls.key_pem = issuer.key_pem();
    Ok(())
}
