//! `link` as other releases have it: with flags for a controller of its own.

use super::{super::logs::MirrorLogs, Args, run};
use crate::cluster::ClusterArgs;

/// Flags of `mesh multicluster link`: also those of other releases, which gave each link a
/// controller of its own. They are taken, and said to have no effect.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LegacyArgs {
    #[command(flatten)]
    args: Args,

    #[command(flatten)]
    controller: Controller,
}

/// What a controller of one link was told.
#[derive(Clone, Debug, clap::Args)]
#[command(mut_arg("log_level", |arg| arg.hide(true)), mut_arg("format", |arg| arg.hide(true)))]
struct Controller {
    #[arg(long = "set", hide = true)]
    set: Vec<String>,
    #[arg(long = "set-string", hide = true)]
    set_string: Vec<String>,
    #[arg(long = "set-file", hide = true)]
    set_file: Vec<String>,
    #[arg(short = 'f', long = "values", hide = true)]
    values: Vec<String>,
    #[arg(long, hide = true)]
    control_plane_version: Option<String>,
    #[arg(long, hide = true)]
    registry: Option<String>,
    #[arg(long, hide = true)]
    service_mirror_retry_limit: Option<u32>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    ha: Option<bool>,
    #[command(flatten)]
    logs: MirrorLogs,
}

impl Controller {
    /// The flags that were given.
    fn given(&self) -> Vec<&'static str> {
        [
            ("--set", !self.set.is_empty()),
            ("--set-string", !self.set_string.is_empty()),
            ("--set-file", !self.set_file.is_empty()),
            ("--values", !self.values.is_empty()),
            (
                "--control-plane-version",
                self.control_plane_version.is_some(),
            ),
            ("--registry", self.registry.is_some()),
            (
                "--service-mirror-retry-limit",
                self.service_mirror_retry_limit.is_some(),
            ),
            ("--ha", self.ha.is_some()),
            ("--log-level", self.logs.level.is_some()),
            ("--log-format", self.logs.format.is_some()),
        ]
        .into_iter()
        .filter_map(|(flag, given)| given.then_some(flag))
        .collect()
    }
}

impl LegacyArgs {
    /// How the service mirror is to log, which `link` does not decide.
    pub(crate) fn mirror_logs(&self) -> &MirrorLogs {
        &self.controller.logs
    }
}

/// Runs `link`.
pub(crate) async fn run_legacy(args: LegacyArgs, cluster: &ClusterArgs) -> anyhow::Result<()> {
    let given = args.controller.given();
    if !given.is_empty() {
        eprintln!(
            "mesh: without effect: {}. One service mirror serves all links here; it is set up \
             with mesh multicluster install, which has --ha, --set, --log-level and --log-format",
            given.join(", ")
        );
    }
    run(args.args, cluster).await
}
