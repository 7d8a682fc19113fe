//! Logs: one line an event on standard error, plain or JSON, with a filter that can be changed
//! while the process runs.
//!
//! `main` calls [`init`] once. Standard output is left to commands that print data.

use parking_lot::Mutex;
use std::{
    io::IsTerminal,
    sync::{Arc, OnceLock},
};
use tracing_subscriber::{EnvFilter, Layer, Registry, layer::SubscriberExt, reload};

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
    /// The sidecar's: `LINKERD2_PROXY_LOG` and `LINKERD2_PROXY_LOG_FORMAT`, with stock defaults.
    ///
    /// What cannot be used is replaced by the default: a sidecar must not die of its log filter.
    pub fn from_proxy_env() -> Self {
        let var = |name: &str| std::env::var(format!("{}{name}", mesh_contract::env::PREFIX)).ok();
        let filter = var("LOG")
            .filter(|filter| parse(filter).is_ok())
            .unwrap_or_else(|| "warn,linkerd=info".to_owned());
        let format = match var("LOG_FORMAT") {
            Some(format) if format.eq_ignore_ascii_case("json") => LogFormat::Json,
            _ => LogFormat::Plain,
        };
        Self { filter, format }
    }
}

/// Changes the filter of a running process.
#[derive(Clone, Debug)]
pub struct LogHandle {
    reload: reload::Handle<EnvFilter, Registry>,
    /// As it was asked for, not as it was rewritten.
    current: Arc<Mutex<String>>,
}

/// A filter that cannot be parsed.
#[derive(Debug, thiserror::Error)]
#[error("log filter {filter:?} is not valid: {reason}; write it like info or warn,mesh=debug")]
pub struct FilterError {
    filter: String,
    reason: String,
}

static HANDLE: OnceLock<LogHandle> = OnceLock::new();

/// Installs the process's logger. Call once, from `main`.
pub fn init(args: &LogArgs) -> anyhow::Result<LogHandle> {
    let (filter, reload) = reload::Layer::new(parse(&args.filter)?);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match args.format {
        LogFormat::Plain => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    let subscriber = Registry::default().with(filter).with(lines);
    tracing::subscriber::set_global_default(subscriber)?;
    let handle = LogHandle {
        reload,
        current: Arc::new(Mutex::new(args.filter.clone())),
    };
    Ok(HANDLE.get_or_init(|| handle).clone())
}

/// The handle of the logger `init` installed, for rooms that were not handed it.
pub fn handle() -> Option<LogHandle> {
    HANDLE.get().cloned()
}

impl LogHandle {
    /// Replaces the filter; on an error the old one stays in force.
    pub fn set(&self, filter: &str) -> Result<(), FilterError> {
        let error = |reason: String| FilterError {
            filter: filter.to_owned(),
            reason,
        };
        let parsed = parse(filter)?;
        // Held over the reload so that two callers cannot leave text and filter different.
        let mut current = self.current.lock();
        self.reload
            .reload(parsed)
            .map_err(|gone| error(gone.to_string()))?;
        filter.clone_into(&mut current);
        Ok(())
    }

    /// The filter in force.
    pub fn current(&self) -> String {
        self.current.lock().clone()
    }
}

fn parse(filter: &str) -> Result<EnvFilter, FilterError> {
    let error = |reason: String| FilterError {
        filter: filter.to_owned(),
        reason,
    };
    if filter.trim().is_empty() {
        return Err(error("it is empty".to_owned()));
    }
    EnvFilter::try_new(ours(filter)).map_err(|source| error(source.to_string()))
}

/// Stock filters name `linkerd` targets; ours begin with `mesh`, so each such directive is said
/// again for ours. A filter that names ours itself comes last and wins.
fn ours(filter: &str) -> String {
    let again = filter
        .split(',')
        .filter(|directive| {
            ["linkerd=", "linkerd_app=", "linkerd2_proxy="]
                .iter()
                .any(|target| directive.trim().starts_with(target))
        })
        .filter_map(|directive| directive.split_once('='))
        .map(|(_, level)| format!("mesh={level},"))
        .collect::<String>();
    format!("{again}{filter}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stock_filter_speaks_for_our_targets_too() {
        let stock = "warn,linkerd=info,hickory=error,[{headers}]=off,[{request}]=off";
        assert!(ours(stock).starts_with("mesh=info,"));
        assert!(parse(stock).is_ok());
    }

    #[test]
    fn a_bad_filter_is_refused_by_name() {
        let error = parse("mesh=loud").unwrap_err();
        assert!(error.to_string().contains("mesh=loud"), "{error}");
        assert!(parse("  ").is_err());
    }

    #[test]
    fn the_filter_can_be_replaced_and_survives_a_bad_one() {
        let (layer, reload) = reload::Layer::new(parse("info").unwrap());
        let _subscriber = Registry::default().with(layer);
        let handle = LogHandle {
            reload,
            current: Arc::new(Mutex::new("info".to_owned())),
        };
        handle.set("warn,mesh=debug").unwrap();
        assert_eq!(handle.current(), "warn,mesh=debug");
        assert!(handle.set("mesh=nope=nope").is_err());
        assert_eq!(handle.current(), "warn,mesh=debug");
    }
}
