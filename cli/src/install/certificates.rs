//! Trust anchors and issuer of an installation: the user's files, or made on the spot.

use anyhow::{Context as _, bail};
use mesh_install::values::Values;
use mesh_tls::{TrustAnchors, ca};
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

    /// DNS domain of the cluster (default: cluster.local)
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) cluster_domain: Option<String>,
}

impl CertificateArgs {
    /// Puts anchors and issuer into `values`, making what nobody gave, and checks that they fit.
    pub(crate) fn apply(&self, values: &mut Values) -> anyhow::Result<()> {
        if let Some(domain) = &self.identity_trust_domain {
            values.identity_trust_domain = domain.clone();
        }
        if let Some(domain) = &self.cluster_domain {
            values.cluster_domain = domain.clone();
        }
        if let Some(file) = &self.identity_trust_anchors_file {
            values.identity_trust_anchors_pem = read(file, "--identity-trust-anchors-file")?;
        }
        if self.identity_external_issuer {
            values.identity.issuer.scheme = "kubernetes.io/tls".into();
        }
        let issuer = &mut values.identity.issuer;
        if let (Some(cert), Some(key)) = (
            &self.identity_issuer_certificate_file,
            &self.identity_issuer_key_file,
        ) {
            issuer.tls.crt_pem = read(cert, "--identity-issuer-certificate-file")?;
            issuer.tls.key_pem = read(key, "--identity-issuer-key-file")?;
        }
        complete(values)
    }
}

fn read(path: &Path, flag: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(path)
        .with_context(|| format!("cannot read {} ({flag})", path.display()))
}

fn complete(values: &mut Values) -> anyhow::Result<()> {
    let external = values.identity.issuer.scheme != "linkerd.io/tls";
    let has_anchors = !values.identity_trust_anchors_pem.trim().is_empty();
    let has_issuer = !values.identity.issuer.tls.crt_pem.trim().is_empty();
    match (has_anchors, has_issuer, external) {
        (false, false, false) => generate(values)?,
        (true, false, false) => bail!(
            "trust anchors were given but no issuer: add --identity-issuer-certificate-file and \
             --identity-issuer-key-file, or --identity-external-issuer if its Secret exists already"
        ),
        (false, true, _) => {
            bail!("an issuer was given but no trust anchors: add --identity-trust-anchors-file")
        }
        (false, false, true) => bail!(
            "an external issuer needs its trust anchors here: add --identity-trust-anchors-file"
        ),
        _ => {}
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
