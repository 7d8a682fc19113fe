//! A controller as a member of the mesh: the flags that say who it is, whom it trusts and who
//! certifies it, and what is made of them. Whatever it serves or dials, it does with this store.

use mesh_contract::{identity::WorkloadIdentity, names};
use mesh_daemon::net::{self, Resolver};
use mesh_tls::{
    BundleError, GrpcCertifier, Id, Store, TrustAnchors,
    control::{ControlAddr, Dial, InvalidAddr},
    follow_anchors, read_anchors,
};
use std::{path::PathBuf, sync::Arc, time::Duration};

/// For one address of the issuer's name.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Flags of every controller.
#[derive(Clone, Debug, clap::Args)]
pub struct MemberArgs {
    /// Namespace of the control plane
    #[arg(long, env = "MESH_CONTROLLER_NAMESPACE", default_value = names::CONTROL_PLANE_NS)]
    pub controller_namespace: String,

    /// DNS domain of the cluster
    #[arg(long, env = "MESH_CLUSTER_DOMAIN", default_value = names::DEFAULT_CLUSTER_DOMAIN)]
    pub cluster_domain: String,

    /// Trust domain of the mesh's identities
    #[arg(long, env = "MESH_TRUST_DOMAIN", default_value = names::DEFAULT_CLUSTER_DOMAIN)]
    pub trust_domain: String,

    /// host:port of the issuer
    #[arg(
        long,
        env = "MESH_IDENTITY_ADDR",
        default_value = "linkerd-identity-headless.linkerd.svc.cluster.local:8080"
    )]
    pub identity_addr: String,

    /// The ServiceAccount token shown to the issuer
    #[arg(
        long,
        env = "LINKERD2_PROXY_IDENTITY_TOKEN_FILE",
        default_value = "/var/run/secrets/tokens/linkerd-identity-token"
    )]
    pub identity_token_file: PathBuf,

    /// The trust anchors to begin with, PEM, for want of --trust-anchors-file. Changes come from
    /// the issuer
    #[arg(
        long,
        alias = "identity-trust-anchors",
        env = "LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS",
        hide_env_values = true
    )]
    pub trust_anchors: Option<String>,

    /// A file with the trust anchors, PEM: ca-bundle.crt of a mounted
    /// linkerd-identity-trust-roots. It is read again when it changes
    #[arg(long, env = "MESH_TRUST_ANCHORS_FILE")]
    pub trust_anchors_file: Option<PathBuf>,

    /// ServiceAccount this process runs as, which its identity names (default: the component's)
    #[arg(long, env = "POD_SERVICE_ACCOUNT")]
    pub service_account: Option<String>,
}

/// Why the flags make no member.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    /// Nothing to trust.
    #[error(
        "no trust anchors: set --trust-anchors-file, or LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS (PEM)"
    )]
    NoAnchors,
    /// The file cannot be used.
    #[error("--trust-anchors-file: {0}")]
    File(#[from] BundleError),
    /// The text cannot be used.
    #[error("the trust anchors cannot be used: {0}")]
    Anchors(#[from] mesh_tls::AnchorsError),
    /// A part of the identity is no part of a DNS name.
    #[error(
        "{0:?} is no identity: check --service-account, its namespace, --controller-namespace and \
         --trust-domain"
    )]
    Identity(String),
    /// Not an address.
    #[error("--identity-addr: {0}")]
    Address(#[from] InvalidAddr),
}

impl MemberArgs {
    /// The identity of the ServiceAccount `namespace/account`.
    pub fn identity(&self, account: &str, namespace: &str) -> Result<Id, MemberError> {
        let name = WorkloadIdentity {
            service_account: account,
            namespace,
            control_plane_ns: &self.controller_namespace,
            trust_domain: self.trust_domain.trim_end_matches('.'),
        };
        let name = name.to_string();
        name.parse().map_err(|_| MemberError::Identity(name))
    }

    /// A store for this process, whose component runs as `account` in `namespace`; it holds no
    /// certificate yet.
    pub async fn store(&self, account: &str, namespace: &str) -> Result<Store, MemberError> {
        let anchors = match (&self.trust_anchors_file, &self.trust_anchors) {
            (Some(file), _) => read_anchors(file).await?,
            (None, Some(pem)) => TrustAnchors::from_pem(pem)?,
            (None, None) => return Err(MemberError::NoAnchors),
        };
        let account = self.service_account.as_deref().unwrap_or(account);
        Ok(Store::new(self.identity(account, namespace)?, anchors))
    }

    /// Asks the issuer for certificates of `store`.
    pub fn certifier(
        &self,
        store: &Store,
        resolver: Resolver,
    ) -> Result<GrpcCertifier, MemberError> {
        let issuer = self.identity(names::IDENTITY, &self.controller_namespace)?;
        let address = ControlAddr::new(&self.identity_addr, issuer)?;
        let dial: Dial = Arc::new(move |host, port| {
            let resolver = resolver.clone();
            Box::pin(async move { net::dial(&resolver, &host, port, CONNECT_TIMEOUT).await })
        });
        let token_file = self.identity_token_file.clone();
        Ok(GrpcCertifier::new(address, store.clone(), token_file, dial))
    }

    /// Has `store` trust what the file says whenever it changes, or what the issuer says for want
    /// of one; never ends.
    pub async fn follow_anchors(&self, store: Store, issuer: GrpcCertifier) {
        match &self.trust_anchors_file {
            Some(file) => follow_anchors(store, file.clone()).await,
            None => issuer.follow_trust_bundle().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;
    use mesh_tls::testing::Ca;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        member: MemberArgs,
    }

    fn args(more: &[&str]) -> MemberArgs {
        let flags = ["x", "--trust-anchors", ""].iter().chain(more);
        Cli::try_parse_from(flags).unwrap().member
    }

    #[tokio::test]
    async fn the_component_names_the_account_unless_the_pod_does() {
        let pem = Ca::new("root").0.cert_pem();
        let mut args = args(&["--trust-domain=example.com."]);
        args.trust_anchors = Some(pem);
        args.service_account = None;
        let own = args.store("mirror", "mc").await.unwrap();
        let name = "mirror.mc.serviceaccount.identity.linkerd.example.com";
        assert_eq!(own.id().as_str(), name);
        args.service_account = Some("other".to_owned());
        let own = args.store("mirror", "mc").await.unwrap();
        assert!(own.id().as_str().starts_with("other.mc."));
    }

    #[tokio::test]
    async fn what_cannot_be_is_named_with_its_flag() {
        let mut args = args(&[]);
        let store = async |args: &MemberArgs| args.store("a", "b").await.map(drop).unwrap_err();
        assert!(store(&args).await.to_string().contains("no certificate"));
        args.trust_anchors = None;
        assert!(matches!(store(&args).await, MemberError::NoAnchors));
        args.trust_anchors_file = Some("/nonexistent".into());
        let error = store(&args).await.to_string();
        assert!(error.contains("--trust-anchors-file"), "{error}");
        args.trust_domain = "not a domain".to_owned();
        let error = args.identity("a", "b").unwrap_err().to_string();
        assert!(error.contains("--trust-domain"), "{error}");
    }
}
