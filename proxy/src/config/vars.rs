//! Reading variables and gathering mistakes.

use std::{cell::RefCell, fmt, time::Duration};

use mesh_contract::env::PREFIX;

/// Exit code of a process that was configured wrongly.
pub const EXIT_CODE: u8 = 64;

/// Everything that is wrong with a configuration.
#[derive(Debug)]
pub struct Errors(Vec<Mistake>);

/// One wrong variable.
#[derive(Debug)]
pub struct Mistake {
    /// Its full name.
    pub key: String,
    /// What is wrong, and what would be right.
    pub problem: String,
}

/// Where variables come from.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The variables, and what was found wrong with them so far.
pub(super) struct Vars<'a> {
    lookup: Lookup<'a>,
    mistakes: RefCell<Vec<Mistake>>,
}

impl<'a> Vars<'a> {
    pub(super) fn new(lookup: Lookup<'a>) -> Self {
        Self {
            lookup,
            mistakes: RefCell::default(),
        }
    }

    /// The value of `LINKERD2_PROXY_<key>`; empty is unset.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        self.foreign(&format!("{PREFIX}{key}"))
    }

    /// The value of a variable that is not one of a proxy's.
    pub(super) fn foreign(&self, key: &str) -> Option<String> {
        (self.lookup)(key).filter(|value| !value.trim().is_empty())
    }

    /// A value that must be there.
    pub(super) fn required(&self, key: &str, meaning: &str) -> Option<String> {
        let value = self.text(key);
        if value.is_none() {
            self.mistake(key, format!("is required: {meaning}"));
        }
        value
    }

    /// A parsed value; `None` if it is unset or wrong (which is noted, with what is `right`).
    pub(super) fn parse<T>(
        &self,
        key: &str,
        right: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(key)?;
        let value = parse(text.trim());
        if value.is_none() {
            self.mistake(key, format!("{text:?} is not {right}"));
        }
        value
    }

    pub(super) fn number<T: std::str::FromStr>(&self, key: &str) -> Option<T> {
        self.parse(key, "a number in range", |text| text.parse().ok())
    }

    pub(super) fn flag(&self, key: &str) -> bool {
        self.parse(key, "true or false", |text| text.parse().ok())
            .unwrap_or_default()
    }

    pub(super) fn duration(&self, key: &str) -> Option<Duration> {
        self.parse(key, "a duration such as 500ms, 10s, 5m, 1h or 1d", duration)
    }

    pub(super) fn address<T: std::str::FromStr>(&self, key: &str) -> Option<T> {
        self.parse(key, "an address such as 127.0.0.1:4140", |text| {
            text.parse().ok()
        })
    }

    /// Comma-separated values.
    pub(super) fn list<T>(
        &self,
        key: &str,
        right: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<Vec<T>> {
        self.parse(key, right, |text| {
            text.split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty())
                .map(&parse)
                .collect()
        })
    }

    pub(super) fn mistake(&self, key: &str, problem: impl Into<String>) {
        self.mistakes.borrow_mut().push(Mistake {
            key: format!("{PREFIX}{key}"),
            problem: problem.into(),
        });
    }

    /// What was parsed, unless anything was wrong.
    pub(super) fn finish<T>(self, parsed: Option<T>) -> Result<T, Errors> {
        let mistakes = self.mistakes.into_inner();
        parsed
            .filter(|_| mistakes.is_empty())
            .ok_or(Errors(mistakes))
    }
}

impl Errors {
    /// The mistakes, in the order of the sections.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.0
    }

    /// The code a process ends with.
    pub fn exit_code(&self) -> u8 {
        EXIT_CODE
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the proxy's configuration is wrong:")?;
        for Mistake { key, problem } in &self.0 {
            write!(f, "\n  {key}: {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

/// No duration of the control plane is longer: a year, as long as for ever. What the wire can say
/// would overflow where it is added to the time of day.
pub(crate) const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// `<number><unit>`, or a bare 0.
/// `500ms`, `10s`, `5m`, `1h`, `1d` or `0`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let unit = text.find(|c: char| !c.is_ascii_digit())?;
    let n: u64 = text[..unit].parse().ok()?;
    match &text[unit..] {
        "ms" => Some(Duration::from_millis(n)),
        "s" => Some(Duration::from_secs(n)),
        "m" => n.checked_mul(60).map(Duration::from_secs),
        "h" => n.checked_mul(60 * 60).map(Duration::from_secs),
        "d" => n.checked_mul(24 * 60 * 60).map(Duration::from_secs),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_stock_proxies() {
        for (text, expected) in [
            ("0", Some(Duration::ZERO)),
            ("100ms", Some(Duration::from_millis(100))),
            ("10s", Some(Duration::from_secs(10))),
            ("5m", Some(Duration::from_secs(300))),
            ("2h", Some(Duration::from_secs(7200))),
            ("1d", Some(Duration::from_secs(86400))),
            ("10", None),
            ("s", None),
            ("1.5s", None),
            ("99999999999999999999s", None),
            ("18446744073709551615d", None),
        ] {
            assert_eq!(duration(text), expected, "{text}");
        }
    }
}
