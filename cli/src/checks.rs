//! What `check` commands share: a list of claims, each true or with a cause and a remedy.

use anyhow::bail;
use serde::Serialize;

/// Format of a check's result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum CheckFormat {
    /// Every claim on a line
    #[default]
    Table,
    /// One JSON document
    Json,
    /// Only what failed
    Short,
}

/// How a claim turned out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "result", rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// It holds.
    Success,
    /// It does not hold, and traffic may go on.
    Warning { cause: String, remedy: String },
    /// It does not hold.
    Error { cause: String, remedy: String },
}

/// One claim.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Check {
    pub(crate) description: String,
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
}

/// The claims of one command.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) success: bool,
    pub(crate) checks: Vec<Check>,
}

impl Report {
    /// Adds a claim.
    pub(crate) fn add(&mut self, description: impl Into<String>, outcome: Outcome) {
        self.checks.push(Check {
            description: description.into(),
            outcome,
        });
    }

    /// Adds a claim that is an error when `result` is.
    pub(crate) fn require<T>(
        &mut self,
        description: impl Into<String>,
        result: anyhow::Result<T>,
        remedy: impl Into<String>,
    ) -> Option<T> {
        match result {
            Ok(value) => {
                self.add(description, Outcome::Success);
                Some(value)
            }
            Err(error) => {
                let cause = format!("{error:#}");
                self.add(
                    description,
                    Outcome::Error {
                        cause,
                        remedy: remedy.into(),
                    },
                );
                None
            }
        }
    }

    /// Adds a claim that is a warning when `result` is an error.
    pub(crate) fn expect<T>(
        &mut self,
        description: impl Into<String>,
        result: anyhow::Result<T>,
        remedy: impl Into<String>,
    ) -> Option<T> {
        match result {
            Ok(value) => {
                self.add(description, Outcome::Success);
                Some(value)
            }
            Err(error) => {
                let (cause, remedy) = (format!("{error:#}"), remedy.into());
                self.add(description, Outcome::Warning { cause, remedy });
                None
            }
        }
    }

    /// Prints the report; an error when a claim failed, so that the exit code says so.
    pub(crate) fn finish(mut self, title: &str, format: CheckFormat) -> anyhow::Result<()> {
        self.success = !self
            .checks
            .iter()
            .any(|c| matches!(c.outcome, Outcome::Error { .. }));
        match format {
            CheckFormat::Json => println!("{}", serde_json::to_string_pretty(&self)?),
            CheckFormat::Table | CheckFormat::Short => self.print(title, format),
        }
        if self.success {
            return Ok(());
        }
        bail!("checks failed");
    }

    fn print(&self, title: &str, format: CheckFormat) {
        if format == CheckFormat::Table {
            println!("{title}\n{}", "-".repeat(title.len()));
        }
        for check in &self.checks {
            match &check.outcome {
                Outcome::Success if format == CheckFormat::Short => {}
                Outcome::Success => println!("√ {}", check.description),
                Outcome::Warning { cause, remedy } => {
                    println!("‼ {}\n    {cause}\n    remedy: {remedy}", check.description);
                }
                Outcome::Error { cause, remedy } => {
                    println!("× {}\n    {cause}\n    remedy: {remedy}", check.description);
                }
            }
        }
        if format == CheckFormat::Table {
            println!(
                "\nStatus check results are {}",
                if self.success { "√" } else { "×" }
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_claim_fails_the_command_and_a_warning_does_not() {
        let mut report = Report::default();
        report.add(
            "w",
            Outcome::Warning {
                cause: "c".into(),
                remedy: "r".into(),
            },
        );
        assert!(report.finish("t", CheckFormat::Short).is_ok());
        let mut report = Report::default();
        assert_eq!(
            report.require("e", Err::<(), _>(anyhow::anyhow!("no")), "do"),
            None
        );
        assert!(report.finish("t", CheckFormat::Json).is_err());
    }
}
