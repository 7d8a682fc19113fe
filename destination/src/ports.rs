//! Sets of ports as annotations and flags write them: `25,587,9000-9100`.

use std::str::FromStr;

/// A set of ports, kept as ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortSet(Vec<(u16, u16)>);

/// Not a list of ports and ranges.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither a port (1-65535) nor a range such as 9000-9100")]
pub struct InvalidPorts(pub String);

impl PortSet {
    /// Whether the set holds `port`.
    pub fn contains(&self, port: u16) -> bool {
        self.0.iter().any(|(lo, hi)| (*lo..=*hi).contains(&port))
    }

    /// Reads what it can of `text`; the rest is handed to `bad`. Items that are no numbers are
    /// looked up as port names with `named`.
    pub fn lenient(
        text: &str,
        named: impl Fn(&str) -> Option<u16>,
        mut bad: impl FnMut(&str),
    ) -> Self {
        let mut ranges = Vec::new();
        for item in items(text) {
            match range(item).ok().or_else(|| named(item).map(|p| (p, p))) {
                Some(range) => ranges.push(range),
                None => bad(item),
            }
        }
        Self(ranges)
    }
}

impl FromStr for PortSet {
    type Err = InvalidPorts;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        items(text).map(range).collect::<Result<_, _>>().map(Self)
    }
}

fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

fn range(item: &str) -> Result<(u16, u16), InvalidPorts> {
    let number = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port != 0);
    let range = match item.split_once('-') {
        Some((lo, hi)) => number(lo).zip(number(hi)),
        None => number(item).map(|port| (port, port)),
    };
    range
        .filter(|(lo, hi)| lo <= hi)
        .ok_or_else(|| InvalidPorts(item.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_ranges_are_read() {
        let set: PortSet = "25, 9000-9002,".parse().unwrap();
        assert!(set.contains(25) && set.contains(9001) && set.contains(9002));
        assert!(!set.contains(26) && !set.contains(9003));
        assert_eq!("".parse(), Ok(PortSet::default()));
    }

    #[test]
    fn what_is_no_port_is_refused() {
        for bad in ["0", "65536", "http", "9-3", "-", "1-"] {
            assert!(bad.parse::<PortSet>().is_err(), "{bad}");
        }
    }

    #[test]
    fn annotations_keep_what_can_be_read() {
        let mut skipped = Vec::new();
        let set = PortSet::lenient(
            "5432,mysql,nonsense",
            |name| (name == "mysql").then_some(3306),
            |bad| skipped.push(bad.to_owned()),
        );
        assert!(set.contains(5432) && set.contains(3306));
        assert_eq!(skipped, ["nonsense"]);
    }
}
