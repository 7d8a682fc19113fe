//! Kubernetes quantities ("250m", "1Gi"), as far as `resourceFieldRef` needs them.

/// Thousandths of the unit, rounded up; `None` if it is not a quantity.
pub(super) fn millis(text: &str) -> Option<u128> {
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let (numerator, denominator): (u128, u128) = match suffix {
        "n" => (1, 1_000_000),
        "u" => (1, 1_000),
        "m" => (1, 1),
        "" => (1_000, 1),
        "k" => (1_000_000, 1),
        "M" => (1_000_000_000, 1),
        "G" => (1_000_000_000_000, 1),
        "T" => (1_000_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1_000 << 10, 1),
        "Mi" => (1_000 << 20, 1),
        "Gi" => (1_000 << 30, 1),
        "Ti" => (1_000 << 40, 1),
        "Pi" => (1_000 << 50, 1),
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction}");
    let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let value: u128 = digits.parse().ok()?;
    Some(
        value
            .checked_mul(numerator)?
            .div_ceil(scale.checked_mul(denominator)?),
    )
}

/// `value / divisor`, rounded up, as the downward API prints it.
pub(super) fn divide(value: &str, divisor: Option<&str>) -> Option<String> {
    let divisor = match divisor {
        None | Some("" | "0") => 1000,
        Some(d) => millis(d).filter(|d| *d > 0)?,
    };
    Some(millis(value)?.div_ceil(divisor).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_divide_as_the_downward_api_prints_them() {
        let table = [
            ("250m", None, Some("1")),
            ("250m", Some("1m"), Some("250")),
            ("1.5", Some("1m"), Some("1500")),
            ("2", Some("0"), Some("2")),
            ("64Mi", Some("1Mi"), Some("64")),
            ("64Mi", None, Some("67108864")),
            ("1Gi", Some("1Mi"), Some("1024")),
            ("1x", None, None),
            ("", None, None),
            ("1", Some("0m"), None),
            ("99999999999999999999999999999999999999999", None, None),
        ];
        for (value, divisor, expected) in table {
            assert_eq!(
                divide(value, divisor).as_deref(),
                expected,
                "{value} / {divisor:?}"
            );
        }
    }
}
