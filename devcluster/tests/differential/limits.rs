//! The known limits: the table of `docs/devcluster.md`, held against what is found.

use crate::compare::Difference;

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/devcluster.md");
const HEADING: &str = "## Known limits";

/// A row: where the two are known to differ.
#[derive(Clone, Debug)]
pub struct Limit {
    pub sequence: String,
    /// The request; empty: any.
    asked: String,
    /// Part of where in the answer; empty: anywhere.
    at: String,
}

/// The rows of the table.
pub fn read() -> Vec<Limit> {
    let docs = std::fs::read_to_string(DOCS).expect("the table of known limits");
    let table = docs.split_once(HEADING).map_or("", |(_, rest)| rest);
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let mut cells = row
            .trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().trim_matches('`'));
        let mut cell = || cells.next().unwrap_or_default().to_owned();
        Limit {
            sequence: cell(),
            asked: cell(),
            at: cell(),
        }
    })
    .collect()
}

impl Limit {
    fn covers(&self, difference: &Difference) -> bool {
        (self.asked.is_empty() || difference.asked == self.asked)
            && difference.at.contains(&self.at)
    }
}

/// What is wrong: differences without a row, rows without a difference.
pub fn judge(sequence: &str, differences: &[Difference], limits: &[Limit]) -> Vec<String> {
    let rows: Vec<&Limit> = limits.iter().filter(|l| l.sequence == sequence).collect();
    let unknown = differences
        .iter()
        .filter(|d| !rows.iter().any(|row| row.covers(d)))
        .map(ToString::to_string);
    let stale = rows
        .iter()
        .filter(|row| !differences.iter().any(|d| row.covers(d)))
        .map(|row| {
            format!("a known limit is gone, delete its row from docs/devcluster.md: {row:?}")
        });
    unknown.chain(stale).collect()
}
