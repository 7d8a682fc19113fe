//! Writes the Helm charts into the folder given: `cargo run -p mesh-install --example charts -- charts`.

use anyhow::Context as _;
use std::{fs, path::PathBuf};

fn main() -> anyhow::Result<()> {
    let folder = std::env::args_os().nth(1);
    let folder = PathBuf::from(folder.context("give the folder to write the charts to")?);
    for (path, text) in mesh_install::chart::charts()? {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    Ok(())
}
