//! Logs.

/// Flags of every process.
#[derive(Clone, Debug, clap::Args)]
pub struct LogArgs {
    /// Which events are logged: `info`, `warn,mesh=debug`, …
    #[arg(
        id = "log_level",
        long = "log-level",
        env = "MESH_LOG",
        default_value = "info",
        global = true
    )]
    pub filter: String,
    /// How events are written.
    #[arg(long = "log-format", env = "MESH_LOG_FORMAT", value_enum, default_value_t = LogFormat::Plain, global = true)]
    pub format: LogFormat,
}

/// How log events are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One human-readable line an event.
    #[default]
    Plain,
    /// One JSON object an event.
    Json,
}

impl LogArgs {
    /// The sidecar's: `LINKERD2_PROXY_LOG` and `LINKERD2_PROXY_LOG_FORMAT`.
    pub fn from_proxy_env() -> Self {
        todo!()
    }
}

/// Changes the filter of a running process.
#[derive(Clone, Debug)]
pub struct LogHandle;

/// A filter that cannot be parsed.
#[derive(Debug, thiserror::Error)]
#[error("log filter {filter:?} is not valid: {reason}")]
pub struct FilterError {
    filter: String,
    reason: String,
}

/// Installs the process's logger. Call once, from `main`.
pub fn init(_args: &LogArgs) -> anyhow::Result<LogHandle> {
    todo!()
}

/// The handle of the logger `init` installed, for rooms that were not handed it.
pub fn handle() -> Option<LogHandle> {
    todo!()
}

impl LogHandle {
    /// Replaces the filter.
    pub fn set(&self, _filter: &str) -> Result<(), FilterError> {
        todo!()
    }
    /// The filter in force.
    pub fn current(&self) -> String {
        todo!()
    }
}
