//! Finds or builds the Kubernetes binaries and prints where they are, a line each.
//! `.ci/run` and people who want them built before tests run it.

fn main() -> std::process::ExitCode {
    match kind_e2e::assets::all() {
        Ok(assets) => {
            for path in [
                assets.etcd,
                assets.apiserver,
                assets.controller_manager,
                assets.kubectl,
            ] {
                println!("{}", path.display());
            }
            std::process::ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            std::process::ExitCode::FAILURE
        }
    }
}
