//! Writes the CRDs into a folder: `cargo run -p mesh-api --example crds -- crds`.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = PathBuf::from(
        std::env::args()
            .nth(1)
            .ok_or("expected a folder to write to")?,
    );
    std::fs::create_dir_all(&dir)?;
    for crd in mesh_api::policy::crds().into_iter().chain(mesh_api::crds()) {
        let name = crd.metadata.name.clone().ok_or("a CRD without a name")?;
        let text = serde_saphyr::to_string(&serde_json::to_value(&crd)?)?;
        std::fs::write(dir.join(format!("{name}.yaml")), text)?;
    }
    Ok(())
}
