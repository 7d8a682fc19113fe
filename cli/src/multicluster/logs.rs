//! `--log-level` and `--log-format` where they are the service mirror's, not this command's own.
//!
//! Both are flags of every command. A command that has its own of the same id keeps it, but clap
//! then hands it the other's default too; only what was typed counts here.

use clap::{Arg, ArgMatches, Command, parser::ValueSource, value_parser};
use mesh_daemon::telemetry::{LogArgs, LogFormat};
use std::any::Any;

/// Ids of the flags of every command.
const LEVEL: &str = "log_level";
const FORMAT: &str = "format";

/// How the service mirror is to log, as far as it was said.
#[derive(Clone, Debug, Default)]
pub(crate) struct MirrorLogs {
    pub(crate) level: Option<String>,
    pub(crate) format: Option<LogFormat>,
}

impl MirrorLogs {
    /// What of `log` is this command's own.
    pub(crate) fn without(&self, log: &LogArgs) -> LogArgs {
        let mut own = log.clone();
        if self.level.is_some() {
            "info".clone_into(&mut own.filter);
        }
        if self.format.is_some() {
            own.format = LogFormat::default();
        }
        own
    }
}

impl clap::Args for MirrorLogs {
    fn augment_args(command: Command) -> Command {
        let level = Arg::new(LEVEL)
            .long("log-level")
            .value_name("FILTER")
            .help("Log filter of the service mirror, such as debug [default: the control plane's]");
        let format = Arg::new(FORMAT)
            .long("log-format")
            .value_name("FORMAT")
            .value_parser(value_parser!(LogFormat))
            .hide_possible_values(true)
            .help("Log format of the service mirror, plain or json [default: the control plane's]");
        command.arg(level).arg(format)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for MirrorLogs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self {
            level: typed(matches, LEVEL),
            format: typed(matches, FORMAT),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The value of a flag that was typed, be it before or behind the command's name.
fn typed<T: Any + Clone + Send + Sync>(matches: &ArgMatches, id: &str) -> Option<T> {
    (matches.value_source(id) == Some(ValueSource::CommandLine))
        .then(|| matches.get_one(id).cloned())
        .flatten()
}
