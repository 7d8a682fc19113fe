//! What the answers of a phase say: who answered, what failed, how long a shift took.
//!
//! Pure: the same records give the same numbers.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One request of the load, as the client recorded it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct Record {
    pub(super) seq: u64,
    /// Milliseconds since the epoch.
    pub(super) started_ms: u64,
    pub(super) latency_ms: f64,
    #[serde(default)]
    pub(super) status: Option<u16>,
    /// Who answered.
    #[serde(default)]
    pub(super) cluster: Option<String>,
    #[serde(default)]
    pub(super) error: Option<String>,
}

impl Record {
    fn failed(&self) -> bool {
        self.error.is_some() || !self.status.is_some_and(|s| (200..300).contains(&s))
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "milliseconds"
    )]
    fn finished_ms(&self) -> u64 {
        self.started_ms + self.latency_ms.max(0.0) as u64
    }
}

/// One line of the demo's table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Phase {
    pub(super) name: String,
    pub(super) answered_by: BTreeMap<String, u64>,
    pub(super) failed: u64,
    /// From the fault to the last answer that still came the old way or failed.
    pub(super) shifted_ms: Option<u64>,
    /// From recovery until the preferred cluster answers again.
    pub(super) returned_ms: Option<u64>,
}

/// What happened at the start of a phase.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// `cluster` can no longer answer, since `at_ms`.
    Fault { cluster: String, at_ms: u64 },
    /// `cluster` can answer again, since `at_ms`.
    Recovery { cluster: String, at_ms: u64 },
}

/// Sums up the records that finished after the phase began.
pub(super) fn summarise(name: &str, change: &Change, records: &[Record]) -> Phase {
    let mut answered_by = BTreeMap::new();
    for record in records.iter().filter(|r| !r.failed()) {
        let cluster = record.cluster.clone().unwrap_or_else(|| "?".to_owned());
        *answered_by.entry(cluster).or_default() += 1;
    }
    let (mut shifted_ms, mut returned_ms) = (None, None);
    match change {
        Change::None => {}
        Change::Fault { cluster, at_ms } => {
            let last_old = records
                .iter()
                .filter(|r| r.failed() || r.cluster.as_ref() == Some(cluster))
                .map(|r| r.finished_ms().saturating_sub(*at_ms))
                .max();
            shifted_ms = Some(last_old.unwrap_or(0));
        }
        Change::Recovery { cluster, at_ms } => {
            returned_ms = records
                .iter()
                .filter(|r| !r.failed() && r.cluster.as_ref() == Some(cluster))
                .map(Record::finished_ms)
                .filter(|finished| finished >= at_ms)
                .map(|finished| finished - at_ms)
                .min();
        }
    }
    Phase {
        name: name.to_owned(),
        answered_by,
        failed: records.iter().filter(|r| r.failed()).count() as u64,
        shifted_ms,
        returned_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(started_ms: u64, cluster: &str) -> Record {
        Record {
            seq: started_ms,
            started_ms,
            latency_ms: 2.0,
            status: Some(200),
            cluster: Some(cluster.to_owned()),
            error: None,
        }
    }

    fn failure(started_ms: u64) -> Record {
        Record {
            status: Some(503),
            cluster: None,
            ..record(started_ms, "")
        }
    }

    #[test]
    fn a_shift_lasts_until_the_last_old_or_failed_answer() {
        let change = Change::Fault {
            cluster: "west".into(),
            at_ms: 100,
        };
        let records = [
            record(99, "west"),
            record(110, "east"),
            failure(150),
            record(160, "east"),
        ];
        let phase = summarise("p", &change, &records);
        assert_eq!(phase.shifted_ms, Some(52));
        assert_eq!(phase.failed, 1);
        assert_eq!(phase.answered_by["east"], 2);
    }

    #[test]
    fn a_shift_nobody_noticed_took_no_time() {
        let change = Change::Fault {
            cluster: "west".into(),
            at_ms: 100,
        };
        assert_eq!(
            summarise("p", &change, &[record(101, "east")]).shifted_ms,
            Some(0)
        );
    }

    #[test]
    fn a_return_is_the_first_answer_of_the_preferred_cluster() {
        let change = Change::Recovery {
            cluster: "west".into(),
            at_ms: 100,
        };
        let records = [
            record(110, "east"),
            record(198, "west"),
            record(300, "west"),
        ];
        assert_eq!(summarise("p", &change, &records).returned_ms, Some(100));
        assert_eq!(summarise("p", &change, &records[..1]).returned_ms, None);
    }
}
