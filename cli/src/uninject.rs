//! `mesh uninject`: takes the sidecar off manifests on their way to `kubectl apply -f -`.

use crate::{
    inject::read_all,
    output::{self, ManifestFormat},
};
use anyhow::{Context as _, bail};
use mesh_injector::manifest;
use std::path::PathBuf;

/// Take the sidecar off the workloads of a manifest
///
/// Undoes what `mesh inject` did, and nothing else: annotations that ask for a sidecar stay. Needs
/// no cluster.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Manifest files, or folders of them; `-` reads standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: ManifestFormat,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut documents = Vec::new();
    for (name, text) in read_all(&args.files)? {
        let parsed = manifest::parse(&text).with_context(|| name.clone())?;
        if parsed.is_empty() {
            bail!("{name}: there is no manifest in it");
        }
        documents.extend(parsed);
    }
    for object in manifest::uninject(&mut documents) {
        eprintln!("{object} uninjected");
    }
    output::manifests(&documents, args.output)
}
