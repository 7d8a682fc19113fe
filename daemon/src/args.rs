//! Values of flags that more than one process has.
//!
//! Used as clap value parsers by every room's `Args`. It never reads the environment itself.

use std::time::Duration;

/// Parses a duration as Kubernetes manifests spell them: `500ms`, `10s`, `24h`, `1h30m`, or `0`.
///
/// The units are `ms`, `s`, `m`, `h` and `d`, whole numbers only, largest first by convention but
/// in any order.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration; write it like 500ms, 10s, 1h30m or 24h");
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let unit = tail
            .bytes()
            .take_while(|byte| !byte.is_ascii_digit())
            .count();
        let (unit, tail) = tail.split_at(unit);
        let millis: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        let part = number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(millis))
            .ok_or_else(wrong)?;
        total = total
            .checked_add(Duration::from_millis(part))
            .ok_or_else(wrong)?;
        rest = tail;
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_kubernetes_writes_them() {
        for (text, seconds) in [
            ("24h", 86_400),
            ("24h0m0s", 86_400),
            ("1h30m", 5_400),
            ("20s", 20),
            ("0", 0),
            ("2d", 172_800),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "h",
            "10",
            "-1s",
            "1.5s",
            "5 s",
            "5x",
            "99999999999999999999s",
            "18446744073709551615d",
            "é",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
