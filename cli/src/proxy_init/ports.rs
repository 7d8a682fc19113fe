//! Ports and ranges as the flags spell them: `25`, `8000-8010`, comma separated. Pure.

use std::{fmt, str::FromStr};

/// Ports from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ports {
    pub(crate) first: u16,
    pub(crate) last: u16,
}

/// A flag's value that is no port and no range.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is neither a port (25) nor a range (8000-8010) of ports from 1 to 65535")]
pub(crate) struct NotPorts(String);

impl FromStr for Ports {
    type Err = NotPorts;

    fn from_str(text: &str) -> Result<Self, NotPorts> {
        let wrong = || NotPorts(text.to_owned());
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let first = first.trim().parse().map_err(|_| wrong())?;
        let last = last.trim().parse().map_err(|_| wrong())?;
        if first == 0 || first > last {
            return Err(wrong());
        }
        Ok(Self { first, last })
    }
}

impl From<u16> for Ports {
    fn from(port: u16) -> Self {
        Self {
            first: port,
            last: port,
        }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

impl Ports {
    /// Whether `port` is one of them.
    pub(crate) fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

/// Sorted, and without overlaps, which nft refuses.
pub(crate) fn merged(list: &[Ports]) -> Vec<Ports> {
    let mut sorted = list.to_vec();
    sorted.sort();
    let mut merged: Vec<Ports> = Vec::new();
    for next in sorted {
        match merged.last_mut() {
            Some(last) if u32::from(next.first) <= u32::from(last.last) + 1 => {
                last.last = last.last.max(next.last);
            }
            _ => merged.push(next),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_become_one() {
        let list: Vec<Ports> = ["90-100", "25", "80-95", "101", "65535", "26"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        let merged: Vec<String> = merged(&list).iter().map(ToString::to_string).collect();
        assert_eq!(merged, ["25-26", "80-101", "65535"]);
    }

    #[test]
    fn what_is_no_port_is_named() {
        for text in ["", "0", "65536", "9-8", "http", "1-", "-1"] {
            let error = text.parse::<Ports>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }
}
