//! `mesh inject`: adds the sidecar to manifests on their way to `kubectl apply -f -`.

use crate::{
    cluster::ClusterArgs,
    installation,
    output::{self, ManifestFormat},
};
use anyhow::{Context as _, bail};
use mesh_contract::annotations::{CONFIG_PREFIX, INJECT};
use mesh_injector::manifest;
use serde_json::Value;
use std::{io::Read as _, path::PathBuf};

/// Largest manifest read: more than any cluster would accept.
const MAX_INPUT: u64 = 64 * 1024 * 1024;

/// Add the sidecar to the workloads of a manifest
///
/// Reads YAML or JSON and prints it with the sidecar added to every workload that does not refuse
/// it (`linkerd.io/inject: disabled`), as in `mesh inject web.yaml | kubectl apply -f -`. What was
/// done to each workload is reported on standard error.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Manifest files, or folders of them; `-` reads standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Set config annotations of the injected pods: KEY=VALUE, without the config.linkerd.io/ prefix
    #[arg(long = "annotation", value_name = "KEY=VALUE")]
    annotations: Vec<String>,

    #[command(flatten)]
    shorthands: ShorthandArgs,

    /// Add the sidecar here; with --manual=false only ask for it, and the cluster's webhook adds it
    #[arg(long, default_value_t = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", action = clap::ArgAction::Set)]
    manual: bool,

    /// Report skipped workloads only
    #[arg(long)]
    quiet: bool,

    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: ManifestFormat,
}

/// Shorthands for `--annotation`, as Linkerd's command has them.
#[derive(Debug, Default, clap::Args)]
struct ShorthandArgs {
    /// Sidecars route by the l5d-dst-override header, as ingress controllers need
    #[arg(long)]
    ingress: bool,
    /// Inbound ports that do not go through the sidecar
    #[arg(long, value_name = "PORTS")]
    skip_inbound_ports: Option<String>,
    /// Outbound ports that do not go through the sidecar
    #[arg(long, value_name = "PORTS")]
    skip_outbound_ports: Option<String>,
    /// Ports whose bytes are forwarded without detection
    #[arg(long, value_name = "PORTS")]
    opaque_ports: Option<String>,
    /// Policy for ports without a Server
    #[arg(long, value_name = "POLICY")]
    default_inbound_policy: Option<String>,
    /// Access log: apache or json
    #[arg(long, value_name = "FORMAT")]
    access_log: Option<String>,
    /// Image of the sidecar
    #[arg(long, value_name = "IMAGE")]
    proxy_image: Option<String>,
    /// Tag of the sidecar's image
    #[arg(long, value_name = "TAG")]
    proxy_version: Option<String>,
    /// Log filter of the sidecar
    #[arg(long, value_name = "FILTER")]
    proxy_log_level: Option<String>,
    /// CPU the sidecar is promised
    #[arg(long, value_name = "QUANTITY")]
    proxy_cpu_request: Option<String>,
    /// CPU the sidecar may use at most
    #[arg(long, value_name = "QUANTITY")]
    proxy_cpu_limit: Option<String>,
    /// Memory the sidecar is promised
    #[arg(long, value_name = "QUANTITY")]
    proxy_memory_request: Option<String>,
    /// Memory the sidecar may use at most
    #[arg(long, value_name = "QUANTITY")]
    proxy_memory_limit: Option<String>,
    /// How long a stopping sidecar lets requests finish
    #[arg(long, value_name = "DURATION")]
    shutdown_grace_period: Option<String>,
    /// Seconds between the order to stop a pod and the sidecar's
    #[arg(long, value_name = "SECONDS")]
    wait_before_exit_seconds: Option<u32>,
    /// Run the sidecar as an init container that stays
    #[arg(long)]
    native_sidecar: bool,
}

impl ShorthandArgs {
    fn annotations(&self) -> Vec<(String, String)> {
        let wait = self
            .wait_before_exit_seconds
            .map(|seconds| seconds.to_string());
        let native = self.native_sidecar.then(|| "true".to_owned());
        let mut out: Vec<_> = [
            ("skip-inbound-ports", &self.skip_inbound_ports),
            ("skip-outbound-ports", &self.skip_outbound_ports),
            ("opaque-ports", &self.opaque_ports),
            ("default-inbound-policy", &self.default_inbound_policy),
            ("access-log", &self.access_log),
            ("proxy-image", &self.proxy_image),
            ("proxy-version", &self.proxy_version),
            ("proxy-log-level", &self.proxy_log_level),
            ("proxy-cpu-request", &self.proxy_cpu_request),
            ("proxy-cpu-limit", &self.proxy_cpu_limit),
            ("proxy-memory-request", &self.proxy_memory_request),
            ("proxy-memory-limit", &self.proxy_memory_limit),
            ("shutdown-grace-period", &self.shutdown_grace_period),
            ("proxy-wait-before-exit-seconds", &wait),
            ("proxy-enable-native-sidecar", &native),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((format!("{CONFIG_PREFIX}{key}"), value.clone()?)))
        .collect();
        if self.ingress {
            out.push((INJECT.to_owned(), "ingress".to_owned()));
        }
        out
    }
}

/// Runs the command.
pub(crate) async fn run(args: Args, cluster: &ClusterArgs) -> anyhow::Result<()> {
    let mut documents = Vec::new();
    for (name, text) in read_all(&args.files)? {
        let parsed = manifest::parse(&text).with_context(|| name.clone())?;
        if parsed.is_empty() {
            bail!("{name}: there is no manifest in it");
        }
        if let Some(odd) = parsed
            .iter()
            .position(|document| !document["kind"].is_string())
        {
            bail!(
                "{name}: document {} is no Kubernetes object: it has no kind",
                odd + 1
            );
        }
        documents.extend(parsed);
    }
    for annotation in &args.annotations {
        annotate(&mut documents, annotation)?;
    }
    for (key, value) in args.shorthands.annotations() {
        set(&mut documents, &key, &value)?;
    }
    if !args.manual {
        if !args.shorthands.ingress {
            set(&mut documents, INJECT, "enabled")?;
        }
        return output::manifests(&documents, args.output);
    }
    let values = installation::values(&cluster.client().await?, &cluster.control_plane_ns).await?;
    let settings = values.settings(&cluster.control_plane_ns);
    let injected = manifest::inject(&settings, documents)?;
    for outcome in &injected.outcomes {
        match outcome.skipped {
            Some(reason) => eprintln!("{} skipped: {reason}", outcome.object),
            None if !args.quiet => eprintln!("{} injected", outcome.object),
            None => {}
        }
        for warning in &outcome.warnings {
            eprintln!("{}: warning: {warning}", outcome.object);
        }
    }
    output::manifests(&injected.documents, args.output)
}

/// Annotates the pods of `documents`. What is no workload is left to the injector, which says so.
fn annotate(documents: &mut [Value], annotation: &str) -> anyhow::Result<()> {
    let Some((key, value)) = annotation
        .split_once('=')
        .filter(|(key, _)| !key.is_empty())
    else {
        bail!("--annotation {annotation}: expected KEY=VALUE");
    };
    set(documents, &format!("{CONFIG_PREFIX}{key}"), value)
}

fn set(documents: &mut [Value], key: &str, value: &str) -> anyhow::Result<()> {
    for document in documents {
        let kind = document["kind"].as_str().unwrap_or_default().to_owned();
        let template = match kind.as_str() {
            "List" => {
                let items = document.get_mut("items").and_then(Value::as_array_mut);
                set(items.map(Vec::as_mut_slice).unwrap_or_default(), key, value)?;
                None
            }
            "Pod" => Some(&mut *document),
            "CronJob" => document.pointer_mut("/spec/jobTemplate/spec/template"),
            _ => document.pointer_mut("/spec/template"),
        };
        let Some(template) = template else { continue };
        let annotations = object(template)
            .and_then(|template| object(entry(template, "metadata")))
            .and_then(|metadata| object(entry(metadata, "annotations")))
            .with_context(|| {
                format!("{kind}: the pod's metadata.annotations is not a map of texts")
            })?;
        annotations.insert(key.to_owned(), value.into());
    }
    Ok(())
}

type Object = serde_json::Map<String, Value>;

/// The value of `key`, made where there is none.
fn entry<'a>(object: &'a mut Object, key: &str) -> &'a mut Value {
    object.entry(key).or_insert(Value::Null)
}

/// `value` as an object; one that is null becomes empty.
fn object(value: &mut Value) -> Option<&mut Object> {
    if value.is_null() {
        *value = Value::Object(Object::new());
    }
    value.as_object_mut()
}

/// The texts of `paths`, with their names for messages.
pub(crate) fn read_all(paths: &[PathBuf]) -> anyhow::Result<Vec<(String, String)>> {
    let mut texts = Vec::new();
    for path in paths {
        let name = path.display().to_string();
        if name == "-" {
            let mut text = String::new();
            std::io::stdin()
                .lock()
                .take(MAX_INPUT)
                .read_to_string(&mut text)
                .context("cannot read standard input")?;
            texts.push(("standard input".to_owned(), text));
        } else if path.is_dir() {
            let mut files: Vec<_> = std::fs::read_dir(path)
                .with_context(|| name.clone())?
                .collect::<Result<Vec<_>, _>>()?
                .into_iter()
                .map(|entry| entry.path())
                .filter(|p| {
                    p.extension()
                        .is_some_and(|e| e == "yaml" || e == "yml" || e == "json")
                })
                .collect();
            if files.is_empty() {
                bail!("{name}: there is no .yaml, .yml or .json file in this folder");
            }
            files.sort();
            texts.extend(read_all(&files)?);
        } else {
            let text =
                std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
            texts.push((name, text));
        }
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const KEY: &str = "config.linkerd.io/proxy-log-level";

    #[test]
    fn every_pod_of_a_manifest_is_annotated_and_nothing_else() {
        let pod = json!({"kind": "Pod", "metadata": {"annotations": null}});
        let deployment = json!({"kind": "Deployment", "metadata": {}, "spec": {"template": {}}});
        let job = json!({"kind": "CronJob", "spec": {"jobTemplate": {"spec": {"template": {
            "metadata": {"annotations": {"mine": "yes"}}}}}}});
        let list = json!({"kind": "List", "items": [pod]});
        let service = json!({"kind": "Service", "spec": {}});
        let mut documents = vec![pod, deployment, job, list, service.clone()];
        annotate(&mut documents, "proxy-log-level=debug").unwrap();
        for (document, path) in documents.iter().zip([
            "/metadata",
            "/spec/template/metadata",
            "/spec/jobTemplate/spec/template/metadata",
            "/items/0/metadata",
        ]) {
            let metadata = document.pointer(path).unwrap();
            assert_eq!(metadata["annotations"][KEY], "debug", "{document}");
        }
        assert_eq!(
            documents[2].pointer("/spec/jobTemplate/spec/template/metadata/annotations/mine"),
            Some(&json!("yes"))
        );
        assert_eq!(documents[4], service);
    }

    #[test]
    fn annotations_that_are_no_map_are_refused_and_named() {
        for metadata in [
            json!("text"),
            json!({"annotations": []}),
            json!({"annotations": "a"}),
        ] {
            let mut documents = [json!({"kind": "Pod", "metadata": metadata})];
            let error = annotate(&mut documents, "a=b").unwrap_err().to_string();
            assert!(
                error.contains("Pod") && error.contains("annotations"),
                "{error}"
            );
        }
        for annotation in ["a", "=b", ""] {
            assert!(annotate(&mut [], annotation).is_err(), "{annotation:?}");
        }
    }
}
