//! The sheet as a table for people and as JSON for programs.

use std::fmt::Write;

use serde_json::json;

use crate::sheet::Sheet;

/// Markdown.
pub(crate) fn table(sheet: &Sheet) -> String {
    let mut out = String::from("| case | figure |");
    for proxy in sheet.proxies() {
        // Writing to a string cannot fail.
        let _ = write!(out, " {proxy} |");
    }
    out.push_str("\n|---|---|");
    out.push_str(&"---|".repeat(sheet.proxies().len()));
    for key in sheet.keys() {
        let _ = write!(out, "\n| {} | {} |", key.case, key.figure);
        for proxy in sheet.proxies() {
            let value = sheet.get(&key.case, key.figure, proxy);
            let spread = sheet.spread(&key.case, key.figure, proxy);
            let _ = match (value, spread) {
                (None, _) => write!(out, " |"),
                (Some(value), Some(spread)) if spread > 0.15 => {
                    write!(out, " {} ± {:.0} % |", short(value), spread * 50.0)
                }
                (Some(value), _) => write!(out, " {} |", short(value)),
            };
        }
    }
    out.push_str("\n\n| must reach | seen | must | aim | |\n|---|---|---|---|---|");
    for verdict in sheet.verdicts() {
        let _ = write!(
            out,
            "\n| {} | {} | {} ({}) | {} | {} |",
            verdict.figure,
            short(verdict.seen),
            short(verdict.must),
            verdict.rule,
            verdict.aim.map(short).unwrap_or_default(),
            if verdict.met { "met" } else { "MISSED" }
        );
    }
    out.push('\n');
    out
}

/// One line.
pub(crate) fn json(sheet: &Sheet, failures: &[String]) -> String {
    let verdicts = sheet.verdicts();
    json!({
        "measured": sheet.measured(),
        "met": verdicts.iter().all(|verdict| verdict.met),
        "verdicts": verdicts,
        "failures": failures,
    })
    .to_string()
}

/// Three digits are as many as anybody can repeat.
fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sheet::{OURS, figure};

    #[test]
    fn what_was_not_measured_stays_empty() {
        let mut sheet = Sheet::default();
        sheet.note("a", figure::P50, OURS, 123.4);
        sheet.note("b", figure::P50, "envoy", 1.234);
        let table = table(&sheet);
        assert!(table.contains("| a | p50 µs | 123 | |\n"), "{table}");
        assert!(table.contains("| b | p50 µs | | 1.23 |\n"), "{table}");
    }

    #[test]
    fn samples_that_lie_apart_say_so() {
        let mut sheet = Sheet::default();
        for value in [10.0, 10.1, 14.0] {
            sheet.note("a", figure::P50, OURS, value);
        }
        assert!(table(&sheet).contains("| 10.1 ± 20 % |"));
    }
}
