//! Values that manifests write in more than one way.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, time::Duration};

/// A number, written as one or as a string.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum IntOrText {
    /// `4143`
    Int(i64),
    /// `"4143"`
    Text(String),
}

impl IntOrText {
    /// The number, where it is one.
    pub fn number(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Text(text) => text.trim().parse().ok(),
        }
    }

    /// The number as a port; zero is none.
    pub fn port(&self) -> Option<u16> {
        self.number()
            .and_then(|n| u16::try_from(n).ok())
            .filter(|port| *port != 0)
    }
}

impl JsonSchema for IntOrText {
    fn schema_name() -> Cow<'static, str> {
        "IntOrText".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "x-kubernetes-int-or-string": true })
    }
}

/// A length of time: seconds as a number, or a Go duration such as `3s`, `1m30s`, `500ms`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Period(pub IntOrText);

impl Period {
    /// The duration; `None` where it is none, or negative.
    pub fn duration(&self) -> Option<Duration> {
        match &self.0 {
            IntOrText::Int(seconds) => u64::try_from(*seconds).ok().map(Duration::from_secs),
            IntOrText::Text(text) => parse(text.trim()),
        }
    }
}

impl JsonSchema for Period {
    fn schema_name() -> Cow<'static, str> {
        "Period".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "x-kubernetes-int-or-string": true })
    }
}

fn parse(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let number = rest
            .find(|c: char| !(c.is_ascii_digit() || c == '.'))
            .filter(|at| *at > 0)?;
        let (digits, tail) = rest.split_at(number);
        let unit = tail
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let part = digits.parse::<f64>().ok()? * seconds;
        total = total.checked_add(Duration::try_from_secs_f64(part).ok()?)?;
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_read_as_manifests_write_them() {
        for (text, millis) in [
            ("3", Some(3000)),
            ("3s", Some(3000)),
            ("500ms", Some(500)),
            ("1m30s", Some(90_000)),
            ("1.5s", Some(1500)),
            ("", None),
            ("s", None),
            ("3 s", None),
            ("-3s", None),
            ("3x", None),
        ] {
            let period = Period(IntOrText::Text(text.to_owned()));
            assert_eq!(
                period.duration(),
                millis.map(Duration::from_millis),
                "{text:?}"
            );
        }
        assert_eq!(
            Period(IntOrText::Int(3)).duration(),
            Some(Duration::from_secs(3))
        );
        assert_eq!(Period(IntOrText::Int(-1)).duration(), None);
    }

    #[test]
    fn ports_are_numbers_or_text() {
        assert_eq!(IntOrText::Int(4143).port(), Some(4143));
        assert_eq!(IntOrText::Text("4143".into()).port(), Some(4143));
        assert_eq!(IntOrText::Int(0).port(), None);
        assert_eq!(IntOrText::Int(70_000).port(), None);
        assert_eq!(IntOrText::Text("mc-gateway".into()).port(), None);
    }
}
