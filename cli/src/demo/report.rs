//! What the demo prints at its end: a table for people, one JSON line for programs.

use super::measure::Phase;
use crate::output;
use serde::Serialize;

/// Slowest shift the demo accepts.
const MAX_SHIFT_MS: u64 = 3000;

/// One claim that was tried.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Check {
    pub(super) name: String,
    pub(super) ok: bool,
    /// What was seen instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) detail: Option<String>,
}

/// Everything the demo found.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) ok: bool,
    pub(super) phases: Vec<Phase>,
    pub(super) checks: Vec<Check>,
}

impl Report {
    /// Of a run that did not get to its end.
    pub(super) fn failed(error: &anyhow::Error) -> Self {
        let mut report = Self::default();
        let error = anyhow::anyhow!("{error:#}");
        report.check("the demo ran to its end", Err(error));
        report
    }

    /// Adds a claim; an error is its reason for failing.
    pub(super) fn check(&mut self, name: &str, result: anyhow::Result<()>) {
        let detail = result.err().map(|error| format!("{error:#}"));
        self.checks.push(Check {
            name: name.to_owned(),
            ok: detail.is_none(),
            detail,
        });
    }

    /// Derives the claims about phases, and whether everything held.
    pub(super) fn conclude(&mut self) {
        let failed: u64 = self.phases.iter().map(|p| p.failed).sum();
        let result = match failed {
            0 => Ok(()),
            n => Err(anyhow::anyhow!("{n} requests failed")),
        };
        self.check("no request failed in any phase", result);
        let slow: Vec<_> = self
            .phases
            .iter()
            .filter(|p| p.shifted_ms.is_some_and(|ms| ms >= MAX_SHIFT_MS))
            .map(|p| p.name.clone())
            .collect();
        let result = if slow.is_empty() {
            Ok(())
        } else {
            Err(anyhow::anyhow!("slower: {}", slow.join(", ")))
        };
        self.check("every shift took less than 3 s", result);
        self.ok = self.checks.iter().all(|check| check.ok);
    }

    /// The table of phases and the list of checks.
    pub(super) fn text(&self) -> String {
        let rows: Vec<_> = self.phases.iter().map(row).collect();
        let header = [
            "PHASE",
            "ANSWERED BY",
            "FAILED",
            "SHIFTED_MS",
            "RETURNED_MS",
        ];
        let mut text = output::table(&header, &rows);
        text.push('\n');
        for check in &self.checks {
            let mark = if check.ok { "√" } else { "×" };
            text.push_str(&format!("{mark} {}\n", check.name));
            if let Some(detail) = &check.detail {
                text.push_str(&format!("    {detail}\n"));
            }
        }
        text
    }

    /// One line for programs.
    pub(super) fn json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string(self)?)
    }
}

fn row(phase: &Phase) -> Vec<String> {
    let answered: Vec<_> = phase
        .answered_by
        .iter()
        .map(|(cluster, n)| format!("{cluster} {n}"))
        .collect();
    let number = |ms: Option<u64>| ms.map_or_else(|| "-".to_owned(), |ms| ms.to_string());
    vec![
        phase.name.clone(),
        if answered.is_empty() {
            "nobody".to_owned()
        } else {
            answered.join(", ")
        },
        phase.failed.to_string(),
        number(phase.shifted_ms),
        number(phase.returned_ms),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn phase(failed: u64, shifted_ms: Option<u64>) -> Phase {
        Phase {
            name: "p".into(),
            answered_by: BTreeMap::from([("west".into(), 3)]),
            failed,
            shifted_ms,
            returned_ms: None,
        }
    }

    fn concluded(phases: Vec<Phase>) -> Report {
        let mut report = Report {
            phases,
            ..Report::default()
        };
        report.conclude();
        report
    }

    #[test]
    fn a_failed_request_or_a_slow_shift_fails_the_demo() {
        assert!(concluded(vec![phase(0, Some(2999))]).ok);
        assert!(!concluded(vec![phase(1, None)]).ok);
        assert!(!concluded(vec![phase(0, Some(3000))]).ok);
    }

    #[test]
    fn a_run_that_broke_off_says_so_to_programs_too() {
        let report = Report::failed(&anyhow::anyhow!("interrupted"));
        let line: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
        assert_eq!(line["ok"], false);
        assert_eq!(line["checks"][0]["detail"], "interrupted");
    }

    #[test]
    fn the_json_line_has_what_programs_read() {
        let report = concluded(vec![phase(0, Some(7))]);
        let line: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
        assert_eq!(line["ok"], true);
        assert_eq!(line["phases"][0]["answered_by"]["west"], 3);
        assert_eq!(line["phases"][0]["shifted_ms"], 7);
        assert_eq!(line["phases"][0]["returned_ms"], serde_json::Value::Null);
        assert_eq!(line["checks"][0]["ok"], true);
    }
}
