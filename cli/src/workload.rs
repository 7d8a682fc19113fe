//! Speaks as a workload: a certificate from the cluster's issuer, and mTLS to its control plane.
//!
//! `mesh diagnostics` asks what a sidecar would be told, and the demo proves what a gateway
//! refuses; both need an identity, and get one the way every sidecar does. Keys stay in memory.

use crate::{cluster::explain, installation, reach::dial};
use anyhow::Context as _;
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use kube::{Api, Client, api::PostParams};
use mesh_contract::{identity::WorkloadIdentity, names, ports};
use mesh_install::values::Values;
use mesh_tls::{GrpcCertifier, Id, Store, TrustAnchors, certify_loop, control};
use std::time::Duration;

/// How long certifying may take.
const CERTIFY_TIMEOUT: Duration = Duration::from_secs(20);

/// A workload this process may speak as, until it is dropped.
pub(crate) struct Workload {
    /// Its certificate.
    pub(crate) store: Store,
    /// The cluster's installation.
    pub(crate) values: Values,
    client: Client,
    control_plane_ns: String,
    renewal: tokio::task::JoinHandle<()>,
}

impl Drop for Workload {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

impl Workload {
    /// Gets a certificate for the ServiceAccount `namespace/account` from the cluster's issuer.
    pub(crate) async fn certify(
        client: &Client,
        control_plane_ns: &str,
        namespace: &str,
        account: &str,
    ) -> anyhow::Result<Self> {
        let values = installation::values(client, control_plane_ns).await?;
        let identity = |service_account: &str, namespace: &str| {
            let name = WorkloadIdentity {
                service_account,
                namespace,
                control_plane_ns,
                trust_domain: &values.identity_trust_domain,
            };
            name.to_string().parse::<Id>().context("not an identity")
        };
        let token_file = token_file(client, namespace, account).await?;
        let anchors = TrustAnchors::from_pem(&values.identity_trust_anchors_pem)?;
        let store = Store::new(identity(account, namespace)?, anchors);
        let addr = control::ControlAddr::new(
            &service_addr(
                &values,
                control_plane_ns,
                names::IDENTITY_HEADLESS,
                ports::IDENTITY,
            ),
            identity(names::IDENTITY, control_plane_ns)?,
        )?;
        let dial = dial(client.clone(), control_plane_ns.to_owned());
        let certifier =
            GrpcCertifier::new(addr, store.clone(), token_file.path().to_path_buf(), dial);
        let renewal = tokio::spawn({
            let store = store.clone();
            async move {
                let _keep = token_file;
                certify_loop(store, certifier, std::future::pending()).await;
            }
        });
        let workload = Self {
            store,
            values,
            client: client.clone(),
            control_plane_ns: control_plane_ns.to_owned(),
            renewal,
        };
        tokio::time::timeout(CERTIFY_TIMEOUT, workload.store.ready())
            .await
            .with_context(|| {
                format!(
                    "the issuer gave no certificate within {CERTIFY_TIMEOUT:?}: are the pods of \
                 {control_plane_ns}/{} ready, and may you create pods/portforward?",
                    names::IDENTITY
                )
            })?;
        Ok(workload)
    }

    /// A channel to discovery or policy, as this workload.
    pub(crate) fn destination(
        &self,
        service: &str,
        port: u16,
    ) -> anyhow::Result<tonic::transport::Channel> {
        let identity = WorkloadIdentity {
            service_account: names::DESTINATION,
            namespace: &self.control_plane_ns,
            control_plane_ns: &self.control_plane_ns,
            trust_domain: &self.values.identity_trust_domain,
        };
        let addr = control::ControlAddr::new(
            &service_addr(&self.values, &self.control_plane_ns, service, port),
            identity.to_string().parse().context("not an identity")?,
        )?;
        let dial = dial(self.client.clone(), self.control_plane_ns.clone());
        Ok(control::channel(addr, self.store.clone(), dial))
    }
}

fn service_addr(values: &Values, namespace: &str, service: &str, port: u16) -> String {
    format!("{service}.{namespace}.svc.{}:{port}", values.cluster_domain)
}

/// A token for the issuer, in a file only this user reads, gone with the process.
async fn token_file(
    client: &Client,
    namespace: &str,
    account: &str,
) -> anyhow::Result<tempfile::NamedTempFile> {
    let api: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let request = TokenRequest {
        spec: TokenRequestSpec {
            audiences: vec![names::IDENTITY_AUDIENCE.to_owned()],
            expiration_seconds: Some(600),
            bound_object_ref: None,
        },
        ..TokenRequest::default()
    };
    let token = api
        .create_token_request(account, &PostParams::default(), &request)
        .await
        .map_err(|e| explain(e, &format!("cannot get a token for {namespace}/{account}")))?
        .status
        .context("the API server answered without a token")?
        .token;
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), token)?;
    Ok(file)
}
