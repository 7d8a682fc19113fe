//! Keys, certificates and tokens of one cluster, and the kubeconfig made of them.
//!
//! What a state folder holds is kept, so that credentials outlive the process.

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use time::{Duration, OffsetDateTime};

const CA_DAYS: i64 = 3650;
const SERVING_DAYS: i64 = 365;

/// What a cluster is trusted by.
pub(super) struct Pki {
    pub(super) ca_pem: String,
    ca_key: KeyPair,
    pub(super) admin_token: String,
    /// Shown to nodes by this server.
    pub(super) node_token: String,
    /// PKCS#8 PEM service-account tokens are signed with.
    pub(super) signing_key_pem: String,
}

impl Pki {
    /// Reads what the folder holds and makes what is missing.
    pub(super) fn load(dir: Option<&Path>, cluster: &str) -> anyhow::Result<Self> {
        if let Some(dir) = dir {
            std::fs::create_dir_all(dir)
                .with_context(|| format!("making the state folder {}", dir.display()))?;
        }
        let key_pem = kept(dir, "ca.key", || Ok(KeyPair::generate()?.serialize_pem()))?;
        let ca_key =
            KeyPair::from_pem(&key_pem).context("reading ca.key; delete it to start over")?;
        let ca_pem = kept(dir, "ca.crt", || make_ca(cluster, &ca_key))?;
        Ok(Self {
            ca_pem,
            ca_key,
            admin_token: kept(dir, "admin.token", || Ok(random_token()))?,
            node_token: kept(dir, "node-client.token", || Ok(random_token()))?,
            signing_key_pem: kept(dir, "sa.key", || Ok(KeyPair::generate()?.serialize_pem()))?,
        })
    }

    /// A certificate for this address, the names pods know the server by, and `more` names and
    /// addresses.
    pub(super) fn server(
        &self,
        ip: IpAddr,
        cluster_domain: &str,
        more: &[String],
    ) -> anyhow::Result<Arc<rustls::ServerConfig>> {
        let mut names = vec![
            "localhost".to_owned(),
            "kubernetes".to_owned(),
            "kubernetes.default".to_owned(),
            "kubernetes.default.svc".to_owned(),
            format!("kubernetes.default.svc.{cluster_domain}"),
        ];
        names.extend_from_slice(more);
        let mut params = CertificateParams::new(names)
            .with_context(|| format!("--extra-san: no names or addresses: {more:?}"))?;
        for ip in [ip, IpAddr::V4(Ipv4Addr::LOCALHOST)] {
            params.subject_alt_names.push(SanType::IpAddress(ip));
        }
        params
            .distinguished_name
            .push(DnType::CommonName, "kube-apiserver");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        valid_for(&mut params, SERVING_DAYS);
        let key = KeyPair::generate()?;
        let issuer = Issuer::from_ca_cert_pem(&self.ca_pem, &self.ca_key)
            .context("reading ca.crt; delete it to start over")?;
        let cert = params.signed_by(&key, &issuer)?;
        let chain = vec![
            cert.der().clone(),
            CertificateDer::from_pem_slice(self.ca_pem.as_bytes())?,
        ];
        let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// A kubeconfig with everything in it, for the administrator.
    pub(super) fn kubeconfig(&self, cluster: &str, addr: SocketAddr) -> String {
        let ca = STANDARD.encode(&self.ca_pem);
        let name = serde_json::Value::from(cluster);
        let user = serde_json::Value::from(format!("{cluster}-admin"));
        let token = &self.admin_token;
        format!(
            "apiVersion: v1\n\
             kind: Config\n\
             clusters:\n\
             - name: {name}\n\
             \x20 cluster:\n\
             \x20   server: https://{addr}\n\
             \x20   certificate-authority-data: {ca}\n\
             users:\n\
             - name: {user}\n\
             \x20 user:\n\
             \x20   token: {token}\n\
             contexts:\n\
             - name: {name}\n\
             \x20 context:\n\
             \x20   cluster: {name}\n\
             \x20   user: {user}\n\
             current-context: {name}\n"
        )
    }
}

fn make_ca(cluster: &str, key: &KeyPair) -> anyhow::Result<String> {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, format!("{cluster} kubernetes CA"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    valid_for(&mut params, CA_DAYS);
    Ok(params.self_signed(key)?.pem())
}

/// From a little before now, as clocks differ.
fn valid_for(params: &mut CertificateParams, days: i64) {
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Duration::hours(1);
    params.not_after = now + Duration::days(days);
}

fn random_token() -> String {
    let random: [u8; 32] = rand::random();
    URL_SAFE_NO_PAD.encode(random)
}

fn kept(
    dir: Option<&Path>,
    name: &str,
    make: impl FnOnce() -> anyhow::Result<String>,
) -> anyhow::Result<String> {
    let Some(dir) = dir else { return make() };
    let path = dir.join(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => return Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
    }
    let text = make()?;
    write_private(&path, &text)?;
    Ok(text)
}

/// Writes a file only its owner can read, whole or not at all.
pub(super) fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let write = || {
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(text.as_bytes())?;
        std::fs::rename(&temporary, path)
    };
    write().with_context(|| format!("writing {}", path.display()))
}
