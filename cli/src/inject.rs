//! `mesh inject`: adds the sidecar to manifests on their way to `kubectl apply -f -`.

use crate::{
    cluster::ClusterArgs,
    installation,
    output::{self, ManifestFormat},
};
use anyhow::{Context as _, bail};
use mesh_injector::manifest;
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

    /// Report skipped workloads only
    #[arg(long)]
    quiet: bool,

    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: ManifestFormat,
}

/// Runs the command.
pub(crate) async fn run(args: Args, cluster: &ClusterArgs) -> anyhow::Result<()> {
    let mut documents = Vec::new();
    for (name, text) in read_all(&args.files)? {
        let parsed = manifest::parse(&text).with_context(|| name.clone())?;
        if parsed.is_empty() {
            bail!("{name}: there is no manifest in it");
        }
        documents.extend(parsed);
    }
    let values = installation::values(&cluster.client().await?, &cluster.control_plane_ns).await?;
    let settings = values.settings(&cluster.control_plane_ns);
    for annotation in &args.annotations {
        annotate(&mut documents, annotation)?;
    }
    let injected = manifest::inject(&settings, documents)?;
    for outcome in &injected.outcomes {
        match outcome.skipped {
            Some(reason) => eprintln!("{} skipped: {reason}", outcome.object),
            None if !args.quiet => eprintln!("{} injected", outcome.object),
            None => {}
        }
    }
    output::manifests(&injected.documents, args.output)
}

fn annotate(documents: &mut [serde_json::Value], annotation: &str) -> anyhow::Result<()> {
    let Some((key, value)) = annotation.split_once('=') else {
        bail!("--annotation {annotation}: expected KEY=VALUE");
    };
    let key = format!("{}{key}", mesh_contract::annotations::CONFIG_PREFIX);
    for document in documents {
        let template = match document["kind"].as_str() {
            Some("Pod") => Some(&mut *document),
            _ => document.pointer_mut("/spec/template"),
        };
        if let Some(template) = template {
            template["metadata"]["annotations"][&key] = value.into();
        }
    }
    Ok(())
}

/// The texts of `paths`, with their names for messages.
fn read_all(paths: &[PathBuf]) -> anyhow::Result<Vec<(String, String)>> {
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
