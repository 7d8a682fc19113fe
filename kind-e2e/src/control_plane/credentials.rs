//! Certificates, keys, tokens and kubeconfigs of one control plane, as files.

use super::{Config, Error};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use time::{Duration, OffsetDateTime};

/// What is trusted and what is shown.
pub(super) struct Credentials {
    dir: PathBuf,
    pub(super) ca_pem: String,
    pub(super) admin_token: String,
}

impl Credentials {
    /// Makes all of them.
    pub(super) fn write(dir: &Path, ip: IpAddr, config: &Config) -> Result<Self, Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        let name = format!("{} kubernetes CA", config.name);
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        valid(&mut params);
        let ca_pem = params.self_signed(&key)?.pem();
        let admin_token = random();
        let credentials = Self {
            dir: dir.to_owned(),
            ca_pem,
            admin_token,
        };
        credentials.save("ca.crt", &credentials.ca_pem)?;
        credentials.save("ca.key", &key.serialize_pem())?;
        let accounts = KeyPair::generate()?;
        credentials.save("service-account.key", &accounts.serialize_pem())?;
        credentials.save("service-account.pub", &accounts.public_key_pem())?;
        credentials.save("tokens.csv", &tokens(&credentials.admin_token, config))?;
        let issuer = Issuer::from_ca_cert_pem(&credentials.ca_pem, &key)?;
        credentials.serving(&issuer, ip, config)?;
        credentials.kubelet_client(&issuer)?;
        Ok(credentials)
    }

    fn serving(
        &self,
        issuer: &Issuer<'_, &KeyPair>,
        ip: IpAddr,
        config: &Config,
    ) -> Result<(), Error> {
        let domain = format!("kubernetes.default.svc.{}", config.cluster_domain);
        let names = [
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
        ];
        let names = names.iter().map(|&n| n.to_owned()).chain([domain]);
        let mut params = CertificateParams::new(names.collect::<Vec<_>>())?;
        let first = IpAddr::V4(Ipv4Addr::from(u32::from(config.service_cidr.0) + 1));
        let ips = [ip, first, IpAddr::V4(Ipv4Addr::LOCALHOST)];
        for ip in ips
            .into_iter()
            .chain(config.extra_addresses.iter().copied())
        {
            params.subject_alt_names.push(SanType::IpAddress(ip));
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.certificate("apiserver", params, issuer)
    }

    /// What the API server shows to kubelets, which let it read logs and run commands.
    fn kubelet_client(&self, issuer: &Issuer<'_, &KeyPair>) -> Result<(), Error> {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "kube-apiserver-kubelet-client");
        params
            .distinguished_name
            .push(DnType::OrganizationName, "system:masters");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.certificate("kubelet-client", params, issuer)
    }

    fn certificate(
        &self,
        name: &str,
        mut params: CertificateParams,
        issuer: &Issuer<'_, &KeyPair>,
    ) -> Result<(), Error> {
        valid(&mut params);
        let key = KeyPair::generate()?;
        let pem = params.signed_by(&key, issuer)?.pem();
        self.save(&format!("{name}.crt"), &format!("{pem}{}", self.ca_pem))?;
        self.save(&format!("{name}.key"), &key.serialize_pem())
    }

    /// The path of one of the files, as flags take it.
    pub(super) fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    fn save(&self, name: &str, text: &str) -> Result<(), Error> {
        Ok(std::fs::write(self.dir.join(name), text)?)
    }

    /// A kubeconfig with everything in it, for the bearer of a token.
    pub(super) fn kubeconfig(&self, cluster: &str, server: &str, token: &str) -> String {
        let name = serde_json::Value::from(cluster);
        let ca = STANDARD.encode(&self.ca_pem);
        format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: {name}\n  cluster:\n    server: \
             {server}\n    certificate-authority-data: {ca}\nusers:\n- name: {name}\n  user:\n    \
             token: {token}\ncontexts:\n- name: {name}\n  context:\n    cluster: {name}\n    \
             user: {name}\ncurrent-context: {name}\n"
        )
    }
}

/// The file kube-apiserver reads static tokens from.
fn tokens(admin: &str, config: &Config) -> String {
    let mut lines = format!("{admin},kubernetes-admin,,\"system:masters\"\n");
    for user in &config.users {
        let groups = user.groups.join(",");
        // Writing to a String cannot fail.
        let _ = writeln!(lines, "{},{},,\"{groups}\"", user.token, user.name);
    }
    lines
}

fn valid(params: &mut CertificateParams) {
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Duration::hours(1);
    params.not_after = now + Duration::days(30);
}

fn random() -> String {
    let random: [u8; 32] = rand::random();
    URL_SAFE_NO_PAD.encode(random)
}
