//! `mesh multicluster export` and `unexport`: set and remove the labels that other clusters look at.

use super::name;
use crate::{
    cluster::{ClusterArgs, explain},
    output,
};
use anyhow::bail;
use k8s_openapi::api::core::v1::Service;
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams},
};
use mesh_contract::labels;
use serde_json::{Value, json};

/// How a Service is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Mode {
    /// A mirror of its own, behind the gateway
    Gateway,
    /// A mirror of its own, pod to pod
    RemoteDiscovery,
    /// A member of the federated service of its name
    Federated,
}

impl Mode {
    fn label(self) -> (&'static str, &'static str) {
        match self {
            Self::Gateway => (labels::EXPORTED, "true"),
            Self::RemoteDiscovery => (labels::EXPORTED, "remote-discovery"),
            Self::Federated => (labels::FEDERATED, "member"),
        }
    }
}

/// Which Services.
#[derive(Debug, clap::Args)]
struct Which {
    /// Names of Services
    #[arg(required = true, value_name = "SERVICE", value_parser = service)]
    services: Vec<String>,

    /// Their namespace
    #[arg(short, long, default_value = "default", value_parser = name)]
    namespace: String,

    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// Flags of `mesh multicluster export`.
#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    which: Which,

    /// How to export them; federated may be given beside another
    #[arg(long, value_enum, value_delimiter = ',', default_value = "gateway")]
    mode: Vec<Mode>,
}

/// Flags of `mesh multicluster unexport`.
#[derive(Debug, clap::Args)]
pub(crate) struct UnexportArgs {
    #[command(flatten)]
    which: Which,

    /// Which export to end (default: all)
    #[arg(long, value_enum, value_delimiter = ',')]
    mode: Vec<Mode>,
}

/// Runs `export`.
pub(crate) async fn export(args: ExportArgs, cluster: &ClusterArgs) -> anyhow::Result<()> {
    if args.mode.contains(&Mode::Gateway) && args.mode.contains(&Mode::RemoteDiscovery) {
        bail!("--mode: a Service is exported through the gateway or pod to pod, not both");
    }
    let change = Change {
        labels: args
            .mode
            .iter()
            .map(|mode| (mode.label().0, Some(mode.label().1)))
            .collect(),
    };
    change.apply(&args.which, cluster).await
}

/// Runs `unexport`.
pub(crate) async fn unexport(args: UnexportArgs, cluster: &ClusterArgs) -> anyhow::Result<()> {
    let keys: Vec<_> = match args.mode.as_slice() {
        [] => vec![labels::EXPORTED, labels::FEDERATED],
        modes => modes.iter().map(|mode| mode.label().0).collect(),
    };
    let change = Change {
        labels: keys.into_iter().map(|key| (key, None)).collect(),
    };
    change.apply(&args.which, cluster).await
}

/// Labels to set, or to remove.
struct Change {
    labels: Vec<(&'static str, Option<&'static str>)>,
}

impl Change {
    async fn apply(&self, which: &Which, cluster: &ClusterArgs) -> anyhow::Result<()> {
        let api: Api<Service> = Api::namespaced(cluster.client().await?, &which.namespace);
        // Everything is looked at before anything is changed.
        let mut changes = Vec::new();
        for name in &which.services {
            let what = format!("cannot read the Service {}/{name}", which.namespace);
            let service = match api.get(name).await {
                Ok(service) => service,
                Err(kube::Error::Api(status)) if status.code == 404 => {
                    bail!(
                        "there is no Service {}/{name} (--namespace)",
                        which.namespace
                    )
                }
                Err(error) => return Err(explain(error, &what)),
            };
            self.check(&service)?;
            changes.push((name, self.missing(&service)));
        }
        for (name, labels) in changes {
            let said = said(&labels);
            if labels.is_empty() {
                output::text(&format!("service/{name} unchanged\n"))?;
            } else if which.dry_run {
                output::text(&format!("service/{name} {said} (dry run)\n"))?;
            } else {
                let patch = Patch::Merge(json!({ "metadata": { "labels": object(&labels) } }));
                let what = format!("cannot label the Service {}/{name}", which.namespace);
                api.patch(name, &PatchParams::default(), &patch)
                    .await
                    .map_err(|error| explain(error, &what))?;
                output::text(&format!("service/{name} {said}\n"))?;
            }
        }
        Ok(())
    }

    /// Refuses what no cluster would import.
    fn check(&self, service: &Service) -> anyhow::Result<()> {
        let (namespace, name) = (service.namespace().unwrap_or_default(), service.name_any());
        let sets = |key: &str| self.labels.iter().any(|(k, v)| *k == key && v.is_some());
        let exports = sets(labels::EXPORTED) || sets(labels::FEDERATED);
        let label = |key: &str| service.labels().get(key).map(String::as_str);
        if exports && label(labels::MIRRORED_SERVICE) == Some("true") {
            bail!(
                "the Service {namespace}/{name} is itself imported, and is exported by the cluster \
                 it comes from only"
            );
        }
        let spec = service.spec.as_ref();
        let headless = spec.and_then(|s| s.cluster_ip.as_deref()) == Some("None");
        if sets(labels::FEDERATED) && headless {
            bail!(
                "the Service {namespace}/{name} is headless, and only Services with a cluster IP \
                 can join a federated service"
            );
        }
        Ok(())
    }

    /// What is not as it should be yet.
    fn missing(&self, service: &Service) -> Vec<(&'static str, Option<&'static str>)> {
        let now = |key: &str| service.labels().get(key).map(String::as_str);
        let labels = self.labels.iter().copied();
        labels.filter(|(key, value)| now(key) != *value).collect()
    }
}

fn object(labels: &[(&'static str, Option<&'static str>)]) -> Value {
    labels
        .iter()
        .map(|(key, value)| ((*key).to_owned(), json!(value)))
        .collect()
}

fn said(labels: &[(&'static str, Option<&'static str>)]) -> String {
    let words: Vec<_> = labels
        .iter()
        .map(|(key, value)| match value {
            Some(value) => format!("labelled {key}={value}"),
            None => format!("label {key} removed"),
        })
        .collect();
    words.join(", ")
}

/// `web`, or `svc/web` as kubectl has it.
fn service(text: &str) -> Result<String, String> {
    let plain = ["svc/", "service/", "services/"]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix));
    name(plain.unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: Value) -> Service {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn only_what_differs_is_changed() {
        let change = Change {
            labels: vec![
                (labels::EXPORTED, Some("true")),
                (labels::FEDERATED, Some("member")),
            ],
        };
        let exported = of(json!({"metadata": {"labels": {labels::EXPORTED: "true"}}}));
        assert_eq!(
            change.missing(&exported),
            [(labels::FEDERATED, Some("member"))]
        );
        let end = Change {
            labels: vec![(labels::EXPORTED, None), (labels::FEDERATED, None)],
        };
        assert_eq!(end.missing(&exported), [(labels::EXPORTED, None)]);
        assert_eq!(
            object(&end.missing(&exported)),
            json!({labels::EXPORTED: null})
        );
    }

    #[test]
    fn what_no_cluster_would_import_is_refused() {
        let federated = Change {
            labels: vec![Mode::Federated.label()]
                .into_iter()
                .map(|(k, v)| (k, Some(v)))
                .collect(),
        };
        let headless = of(json!({"metadata": {"name": "db"}, "spec": {"clusterIP": "None"}}));
        let error = federated.check(&headless).unwrap_err().to_string();
        assert!(
            error.contains("db") && error.contains("headless"),
            "{error}"
        );
        let imported = of(json!({"metadata": {"labels": {labels::MIRRORED_SERVICE: "true"}}}));
        assert!(federated.check(&imported).is_err());
        assert!(
            federated
                .check(&of(json!({"spec": {"clusterIP": "10.0.0.1"}})))
                .is_ok()
        );
    }

    #[test]
    fn services_are_named_as_kubectl_names_them() {
        for good in ["web", "svc/web", "service/web"] {
            assert_eq!(service(good).as_deref(), Ok("web"));
        }
        for bad in ["", "pod/web", "svc/", "Web"] {
            assert!(service(bad).is_err(), "{bad}");
        }
    }
}
