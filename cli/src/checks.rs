//! What `check` commands share: a list of claims, each true or with a cause and a remedy.

use crate::{
    cluster::is_forbidden,
    output::{self, said_once},
};
use anyhow::bail;
use serde::Serialize;
use serde_json::{Value, json};

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
    /// What it is about, where a command has several subjects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) category: Option<&'static str>,
    pub(crate) description: String,
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
}

/// The claims of one command.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) success: bool,
    pub(crate) checks: Vec<Check>,
    #[serde(skip)]
    category: Option<&'static str>,
}

impl Report {
    /// What the claims added from now on are about.
    pub(crate) fn section(&mut self, category: &'static str) {
        self.category = Some(category);
    }

    /// Whether a claim of a category failed.
    pub(crate) fn failed(&self, category: &str) -> bool {
        let mut checks = self.checks.iter();
        checks.any(|check| {
            check.category == Some(category) && matches!(check.outcome, Outcome::Error { .. })
        })
    }

    /// Adds a claim.
    pub(crate) fn add(&mut self, description: impl Into<String>, outcome: Outcome) {
        self.checks.push(Check {
            category: self.category,
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
        self.judge(description, result, |cause| Outcome::Error {
            cause,
            remedy: remedy.into(),
        })
    }

    /// Adds a claim that is a warning when `result` is an error.
    pub(crate) fn expect<T>(
        &mut self,
        description: impl Into<String>,
        result: anyhow::Result<T>,
        remedy: impl Into<String>,
    ) -> Option<T> {
        self.judge(description, result, |cause| Outcome::Warning {
            cause,
            remedy: remedy.into(),
        })
    }

    /// Adds a claim that was tried: an error when `result` is, but a warning where this user may not
    /// try, as then nothing is known.
    pub(crate) fn attempt<T>(
        &mut self,
        description: impl Into<String>,
        result: anyhow::Result<T>,
        remedy: impl Into<String>,
    ) -> Option<T> {
        match &result {
            Err(error) if is_forbidden(error) => self.expect(description, result, remedy),
            _ => self.require(description, result, remedy),
        }
    }

    fn judge<T>(
        &mut self,
        description: impl Into<String>,
        result: anyhow::Result<T>,
        failed: impl FnOnce(String) -> Outcome,
    ) -> Option<T> {
        let (outcome, value) = match result {
            Ok(value) => (Outcome::Success, Some(value)),
            Err(error) => (failed(said_once(&error)), None),
        };
        self.add(description, outcome);
        value
    }

    /// Prints the report; an error when a claim failed, so that the exit code says so.
    pub(crate) fn finish(mut self, title: &str, format: CheckFormat) -> anyhow::Result<()> {
        self.success = !self
            .checks
            .iter()
            .any(|c| matches!(c.outcome, Outcome::Error { .. }));
        let text = match format {
            CheckFormat::Json => {
                format!("{}\n", serde_json::to_string_pretty(&self.to_json(title)?)?)
            }
            CheckFormat::Table | CheckFormat::Short => self.text(title, format),
        };
        output::text(&text)?;
        if self.success {
            return Ok(());
        }
        bail!("checks failed");
    }

    /// Ours, and beside it the categories as Linkerd's command prints them.
    fn to_json(&self, title: &str) -> anyhow::Result<Value> {
        let mut categories: Vec<(&str, Vec<Value>)> = Vec::new();
        for check in &self.checks {
            let name = check.category.unwrap_or(title);
            let (result, trouble) = match &check.outcome {
                Outcome::Success => ("success", None),
                Outcome::Warning { cause, remedy } => ("warning", Some((cause, remedy))),
                Outcome::Error { cause, remedy } => ("error", Some((cause, remedy))),
            };
            let mut claim = json!({ "description": check.description, "result": result });
            if let Some((cause, remedy)) = trouble {
                claim["error"] = json!(cause);
                claim["hint"] = json!(remedy);
            }
            match categories.iter_mut().find(|(known, _)| *known == name) {
                Some((_, claims)) => claims.push(claim),
                None => categories.push((name, vec![claim])),
            }
        }
        let category = |(name, checks)| json!({ "categoryName": name, "checks": checks });
        let mut value = serde_json::to_value(self)?;
        value["categories"] = categories.into_iter().map(category).collect();
        Ok(value)
    }

    fn text(&self, title: &str, format: CheckFormat) -> String {
        let mut lines = Vec::new();
        let mut heading = None;
        for check in &self.checks {
            let category = check.category.unwrap_or(title);
            if format == CheckFormat::Table && heading != Some(category) {
                if heading.is_some() {
                    lines.push(String::new());
                }
                lines.extend([category.to_owned(), "-".repeat(category.len())]);
                heading = Some(category);
            }
            let (sign, trouble) = match &check.outcome {
                Outcome::Success if format == CheckFormat::Short => continue,
                Outcome::Success => ('√', None),
                Outcome::Warning { cause, remedy } => ('‼', Some((cause, remedy))),
                Outcome::Error { cause, remedy } => ('×', Some((cause, remedy))),
            };
            lines.push(format!("{sign} {}", check.description));
            if let Some((cause, remedy)) = trouble {
                lines.push(format!("    {cause}"));
                lines.push(format!("    remedy: {remedy}"));
            }
        }
        if format == CheckFormat::Table {
            let sign = if self.success { '√' } else { '×' };
            lines.push(format!("\nStatus check results are {sign}"));
        }
        lines.push(String::new());
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::explain;
    use anyhow::Context as _;

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

    #[test]
    fn what_was_tried_and_failed_is_an_error_and_what_may_not_be_tried_is_a_warning() {
        let refused = |code: u16| {
            let status = kube::core::Status::failure("no", "No").with_code(code);
            let error = kube::Error::Api(Box::new(status));
            Err::<(), _>(explain(error, "cannot try")).context("it is not known")
        };
        for (result, expected) in [
            (Ok(()), "success"),
            (refused(403), "warning"),
            (refused(500), "error"),
            (Err(anyhow::anyhow!("no answer")), "error"),
        ] {
            let mut report = Report::default();
            report.attempt("it works", result, "do");
            let check = serde_json::to_value(&report.checks[0]).unwrap();
            assert_eq!(check["result"], expected, "{check}");
        }
    }
}
