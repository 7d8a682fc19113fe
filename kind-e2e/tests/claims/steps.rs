//! What claims build upon, set up once in a world by whichever needs it first: an installation,
//! links, workloads.

use crate::manifests;
use crate::worlds::{CLUSTERS, World};
use serde_json::Value;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// The namespace that is the same in all clusters.
pub const SHOP: &str = "shop";

/// Which of them have been done.
#[derive(Default)]
pub struct Steps {
    installed: Step,
    extended: Step,
    linked: Step,
    shop: Step,
}

#[derive(Clone, Copy, Default)]
enum Step {
    #[default]
    Open,
    Done,
    Failed,
}

impl World {
    fn once(&self, what: &str, step: fn(&mut Steps) -> &mut Step, act: impl FnOnce()) {
        let state = *step(&mut self.steps.lock().unwrap());
        match state {
            Step::Done => return,
            Step::Failed => panic!("{what} failed before; see above"),
            Step::Open => {}
        }
        let ended = catch_unwind(AssertUnwindSafe(act));
        let outcome = if ended.is_ok() {
            Step::Done
        } else {
            Step::Failed
        };
        *step(&mut self.steps.lock().unwrap()) = outcome;
        if let Err(panic) = ended {
            resume_unwind(panic);
        }
    }

    /// The control plane is installed in all clusters, on one trust anchor: in west and east with the
    /// user's own issuers, in north with one that cert-manager keeps.
    pub fn installed(&self) {
        self.once(
            "the installation",
            |s| &mut s.installed,
            || {
                crate::certificates::write(self.dir(), &CLUSTERS);
                self.everywhere(|cluster| self.install(cluster));
            },
        );
    }

    fn install(&self, cluster: &str) {
        let (context, flags) = (format!("--context={cluster}"), self.install_flags());
        self.sh(&format!(
            "mesh {context} install --crds | kubectl {context} apply -f -"
        ));
        let issuer = if cluster == "north" {
            self.apply(cluster, &manifests::plain_namespace("linkerd"));
            self.sh(&format!(
                "kubectl {context} -n linkerd create secret generic linkerd-identity-issuer \
                 --type=kubernetes.io/tls --from-file=ca.crt=ca.crt \
                 --from-file=tls.crt={cluster}.crt --from-file=tls.key={cluster}.key"
            ));
            "--identity-external-issuer".to_owned()
        } else {
            format!(
                "--identity-issuer-certificate-file {cluster}.crt \
                 --identity-issuer-key-file {cluster}.key"
            )
        };
        let printed = self.sh(&format!(
            "mesh {context} install --identity-trust-anchors-file ca.crt {issuer} {flags}"
        ));
        std::fs::write(self.file(&format!("{cluster}.install.yaml")), &printed).unwrap();
        self.apply(cluster, &printed);
        self.sh(&format!("mesh {context} check --wait=90s"));
    }

    /// And so is the multicluster extension.
    pub fn extended(&self) {
        self.installed();
        self.once(
            "mesh multicluster install",
            |s| &mut s.extended,
            || {
                self.everywhere(|cluster| self.install_extension(cluster, ""));
                self.everywhere(|cluster| {
                    for deployment in ["linkerd-gateway", "linkerd-service-mirror"] {
                        self.rolled_out(cluster, "linkerd-multicluster", deployment);
                    }
                });
            },
        );
    }

    /// Installs the extension with more flags, or installs it anew.
    #[track_caller]
    pub fn install_extension(&self, cluster: &str, flags: &str) {
        self.sh(&format!(
            "mesh --context={cluster} multicluster install --gateway-probe-seconds=1 {flags} | \
             kubectl --context={cluster} apply -f -"
        ));
    }

    /// East and north are linked into west.
    pub fn linked(&self) {
        self.extended();
        self.once(
            "linking",
            |s| &mut s.linked,
            || {
                for cluster in ["east", "north"] {
                    self.link(cluster, "west");
                }
                self.sh("mesh --context=west multicluster check --wait=60s");
            },
        );
    }

    /// Makes services of `from` available in `into`.
    pub fn link(&self, from: &str, into: &str) {
        let flags = self.link_flags(from);
        self.sh(&format!(
            "mesh multicluster link --context={from} --cluster-name {from} {flags} | \
             kubectl --context={into} apply -f -"
        ));
    }

    /// The namespace `shop` with the Service `web` runs in all clusters, and a client in west.
    pub fn shop(&self) {
        self.installed();
        self.once(
            "the namespace shop",
            |s| &mut s.shop,
            || {
                self.everywhere(|cluster| {
                    self.apply(cluster, &manifests::meshed_namespace(SHOP));
                    self.apply(cluster, &manifests::web(SHOP, "web", cluster));
                    if cluster == "west" {
                        self.apply(cluster, &manifests::client(SHOP));
                        self.ready(cluster, SHOP, "pod/client");
                    }
                    self.rolled_out(cluster, SHOP, "web");
                });
            },
        );
    }

    /// Waits until a Deployment runs as it is written.
    #[track_caller]
    pub fn rolled_out(&self, cluster: &str, namespace: &str, deployment: &str) {
        self.sh(&format!(
            "kubectl --context={cluster} -n {namespace} rollout status deploy/{deployment} \
             --timeout=90s"
        ));
    }

    /// Waits until the control plane runs as it is written.
    #[track_caller]
    pub fn all_rolled_out(&self, cluster: &str) {
        for component in ["identity", "destination", "proxy-injector"] {
            self.rolled_out(cluster, "linkerd", &format!("linkerd-{component}"));
        }
    }

    /// Waits until a pod is ready.
    #[track_caller]
    pub fn ready(&self, cluster: &str, namespace: &str, what: &str) {
        self.sh(&format!(
            "kubectl --context={cluster} -n {namespace} wait --for=condition=Ready {what} \
             --timeout=90s"
        ));
    }

    /// Sets how many pods of a Deployment run, and waits until they do.
    #[track_caller]
    pub fn scale(&self, cluster: &str, namespace: &str, deployment: &str, replicas: u8) {
        self.sh(&format!(
            "kubectl --context={cluster} -n {namespace} scale deploy/{deployment} \
             --replicas={replicas}"
        ));
        self.rolled_out(cluster, namespace, deployment);
    }

    /// The pods with this label.
    #[track_caller]
    pub fn pods(&self, cluster: &str, namespace: &str, selector: &str) -> Vec<Value> {
        let list = self.get(cluster, &format!("-n {namespace} pods -l {selector}"));
        let pods = list["items"].as_array().unwrap().iter();
        let alive = pods.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        alive.cloned().collect()
    }

    /// Waits until an object is there, or is not.
    #[track_caller]
    pub fn appears(&self, cluster: &str, what: &str, wanted: bool) {
        self.eventually(&format!("{what} in {cluster} (there: {wanted})"), || {
            let said = self.try_sh(&format!("kubectl --context={cluster} get {what}"));
            let there = said.ok || !said.err.contains("NotFound");
            if there == wanted && (said.ok || !wanted) {
                return Ok(());
            }
            Err(said.words())
        });
    }
}
