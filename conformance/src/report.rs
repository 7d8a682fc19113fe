//! What came out, as the table in `docs/conformance.md`. The same results give the same text: no
//! times, no addresses.

use std::fmt;

use crate::explained::{self, EXPLAINED};

/// Every suite's results.
#[derive(Default)]
pub(crate) struct Report(Vec<Suite>);

/// One suite through one way.
pub(crate) struct Suite {
    /// Which, and which way.
    pub(crate) name: String,
    /// What it is and how it is run.
    pub(crate) about: &'static str,
    /// Whether every case is listed, or only those that did not pass.
    pub(crate) list_all: bool,
    /// Its cases.
    pub(crate) cases: Vec<Case>,
}

/// One test.
pub(crate) struct Case {
    /// What it is called.
    pub(crate) name: String,
    /// What came out.
    pub(crate) outcome: Outcome,
}

/// What came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    /// And what the suite said.
    Failed(String),
    /// And why.
    Skipped(String),
}

impl Case {
    pub(crate) fn new(name: impl Into<String>, outcome: Outcome) -> Self {
        Self {
            name: name.into(),
            outcome,
        }
    }
}

impl Outcome {
    /// From something that is right or tells what is wrong.
    pub(crate) fn of(result: anyhow::Result<()>) -> Self {
        match result {
            Ok(()) => Self::Passed,
            Err(error) => Self::Failed(format!("{error:#}")),
        }
    }
}

impl Report {
    pub(crate) fn add(&mut self, suite: Suite) {
        eprintln!("{}: {}", suite.name, suite.count());
        self.0.push(suite);
    }

    /// Failures nobody explained, and (of a `whole` run) explanations of what did not fail.
    pub(crate) fn surprises(&self, whole: bool) -> Vec<String> {
        let mut surprises = Vec::new();
        for suite in &self.0 {
            for case in &suite.cases {
                if let Outcome::Failed(why) = &case.outcome
                    && explained::why(&suite.name, &case.name).is_none()
                {
                    let (suite, case) = (&suite.name, &case.name);
                    surprises.push(format!("FAILED {suite}: {case}: {why}"));
                }
            }
        }
        let fails = |suite: &str, case: &str| {
            let suites = self.0.iter().filter(|s| s.name.starts_with(suite));
            let mut cases = suites.flat_map(|s| &s.cases).filter(|c| c.name == case);
            cases.any(|c| matches!(c.outcome, Outcome::Failed(_)))
        };
        for (suite, case, _) in EXPLAINED.iter().filter(|_| whole) {
            if !fails(suite, case) {
                surprises.push(format!("EXPLAINED but not failing: {suite}: {case}"));
            }
        }
        surprises
    }
}

impl Suite {
    fn count(&self) -> String {
        let (mut passed, mut skipped, mut explained, mut failed) = (0, 0, 0, 0);
        for case in &self.cases {
            match &case.outcome {
                Outcome::Passed => passed += 1,
                Outcome::Skipped(_) => skipped += 1,
                Outcome::Failed(_) => match explained::why(&self.name, &case.name) {
                    Some(_) => explained += 1,
                    None => failed += 1,
                },
            }
        }
        format!("{passed} | {explained} | {failed} | {skipped}")
    }

    fn rows(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listed = |case: &&Case| self.list_all || case.outcome != Outcome::Passed;
        if !self.cases.iter().any(|case| listed(&case)) {
            return Ok(());
        }
        writeln!(f, "\n| case | outcome | |\n|---|---|---|")?;
        for case in self.cases.iter().filter(listed) {
            let (outcome, note) = match &case.outcome {
                Outcome::Passed => ("passed", ""),
                Outcome::Skipped(why) => ("not run", why.as_str()),
                Outcome::Failed(why) => match explained::why(&self.name, &case.name) {
                    Some(why) => ("differs", why),
                    None => ("**failed**", why.as_str()),
                },
            };
            let note = note.replace(['\n', '|'], " ");
            writeln!(f, "| {} | {outcome} | {note} |", case.name)?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "# What other people's tests say of the proxy\n\n\
             Written by `cargo run -p conformance -- --write`; needs Go, curl and wrk. The sidecars \
             run on one machine around a scripted control plane (`stage/`). *Outbound* is the \
             application's side of the client's sidecar, *inbound* the mesh's side of the server's, \
             *pair* a client, both sidecars with mesh TLS between them, and a server.\n\n\
             | suite | passed | differs, and why | failed | not run |\n|---|---|---|---|---|"
        )?;
        for suite in &self.0 {
            writeln!(f, "| {} | {} |", suite.name, suite.count())?;
        }
        for suite in &self.0 {
            writeln!(f, "\n## {}\n{}", suite.name, suite.about)?;
            suite.rows(f)?;
        }
        Ok(())
    }
}
