//! What was measured, figure by figure, and what it must reach. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

/// A figure of a case, such as `http1/32` and `CPU µs per request`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) case: String,
    pub(crate) figure: &'static str,
}

/// Figures by proxy, several of each if a case was repeated.
#[derive(Debug, Default)]
pub(crate) struct Sheet {
    /// In the order in which they were first measured.
    order: Vec<Key>,
    proxies: Vec<String>,
    values: BTreeMap<(Key, String), Vec<f64>>,
}

/// What one proxy was measured at.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    case: String,
    figure: &'static str,
    proxy: String,
    median: f64,
    samples: Vec<f64>,
}

/// What a figure of ours must reach, and whether it does.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Verdict {
    pub(crate) figure: String,
    pub(crate) seen: f64,
    pub(crate) must: f64,
    /// What `must` is made of.
    pub(crate) rule: String,
    pub(crate) met: bool,
    pub(crate) aim: Option<f64>,
}

/// Names of figures.
pub(crate) mod figure {
    pub(crate) const CPU: &str = "CPU µs per request, pair";
    pub(crate) const CPU_CLIENT: &str = "CPU µs per request, client side";
    pub(crate) const CPU_SERVER: &str = "CPU µs per request, server side";
    pub(crate) const RATE: &str = "requests per second";
    pub(crate) const P50: &str = "p50 µs";
    pub(crate) const P99: &str = "p99 µs";
    pub(crate) const P999: &str = "p99.9 µs";
    pub(crate) const RSS_CLIENT: &str = "resident MB, client side";
    pub(crate) const RSS_SERVER: &str = "resident MB, server side";
    pub(crate) const PER_CPU: &str = "MB per CPU second, pair";
    pub(crate) const BYTES: &str = "MB per second";
    pub(crate) const IDLE_CLIENT: &str = "KiB per connection, client side";
    pub(crate) const IDLE_SERVER: &str = "KiB per connection, server side";
    pub(crate) const AFTER_CLIENT: &str = "resident MB afterwards, client side";
    pub(crate) const AFTER_SERVER: &str = "resident MB afterwards, server side";
}

/// The name of no proxy at all.
pub(crate) const DIRECT: &str = "none";
/// Ours.
pub(crate) const OURS: &str = "mesh";

impl Sheet {
    /// Takes in a figure.
    pub(crate) fn note(&mut self, case: &str, figure: &'static str, proxy: &str, value: f64) {
        let key = Key {
            case: case.to_owned(),
            figure,
        };
        if !self.order.contains(&key) {
            self.order.push(key.clone());
        }
        if !self.proxies.iter().any(|known| known == proxy) {
            self.proxies.push(proxy.to_owned());
        }
        let all = self.values.entry((key, proxy.to_owned())).or_default();
        all.push(value);
    }

    /// The median of what was measured.
    pub(crate) fn get(&self, case: &str, figure: &'static str, proxy: &str) -> Option<f64> {
        let key = Key {
            case: case.to_owned(),
            figure,
        };
        median(self.values.get(&(key, proxy.to_owned()))?)
    }

    /// What was measured, the figures of a case together.
    pub(crate) fn keys(&self) -> Vec<&Key> {
        let first = |key: &Key| self.order.iter().position(|other| other.case == key.case);
        let mut keys: Vec<_> = self.order.iter().collect();
        keys.sort_by_key(|key| first(key));
        keys
    }

    /// Who was measured.
    pub(crate) fn proxies(&self) -> &[String] {
        &self.proxies
    }

    /// Everything, for programs.
    pub(crate) fn measured(&self) -> Vec<Measured> {
        let all = self.values.iter().filter_map(|((key, proxy), samples)| {
            Some(Measured {
                case: key.case.clone(),
                figure: key.figure,
                proxy: proxy.clone(),
                median: median(samples)?,
                samples: samples.clone(),
            })
        });
        all.collect()
    }

    /// How far the samples of a figure lie apart, as a share of their median.
    pub(crate) fn spread(&self, case: &str, figure: &'static str, proxy: &str) -> Option<f64> {
        let key = Key {
            case: case.to_owned(),
            figure,
        };
        let samples = self.values.get(&(key, proxy.to_owned()))?;
        let least = samples.iter().copied().fold(f64::INFINITY, f64::min);
        let most = samples.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Some((most - least) / median(samples)?.max(f64::EPSILON))
    }

    /// What must be reached, as far as everything it takes was measured.
    pub(crate) fn verdicts(&self) -> Vec<Verdict> {
        let ours = |case: &str, figure| self.get(case, figure, OURS);
        let peer = |case: &str, figure, proxy: &str| self.get(case, figure, proxy);
        let added = |figure, proxy: &str| {
            let direct = self.get("http1/8", figure, DIRECT)?;
            Some(self.get("http1/8", figure, proxy)? - direct)
        };
        let most = |figure: &str, seen: Option<f64>, must: Option<f64>, rule: &str| {
            verdict(figure, seen?, must?, rule, true)
        };
        let least = |figure: &str, seen: Option<f64>, must: Option<f64>, rule: &str| {
            verdict(figure, seen?, must?, rule, false)
        };
        let (cpu, per) = (figure::CPU, figure::PER_CPU);
        let haproxy = |value: Option<f64>, verdict: Option<Verdict>| {
            verdict.map(|verdict| Verdict {
                aim: value,
                ..verdict
            })
        };
        let rss = ours("http1/32", figure::RSS_CLIENT)
            .zip(ours("http1/32", figure::RSS_SERVER))
            .map(|(client, server)| client.max(server));
        let envoy = |factor: f64, value: Option<f64>| value.map(|value| value * factor);
        [
            haproxy(
                peer("http1/32", cpu, "haproxy"),
                most(
                    "CPU µs per HTTP/1.1 request, 32 connections",
                    ours("http1/32", cpu),
                    envoy(0.58, peer("http1/32", cpu, "envoy")),
                    "0.58 × Envoy",
                ),
            ),
            most(
                "resident MB, 32 connections, the larger side",
                rss,
                Some(10.0),
                "10",
            ),
            most(
                "KiB per idle opaque connection, client side",
                ours("idle", figure::IDLE_CLIENT),
                Some(12.0),
                "12",
            ),
            haproxy(
                added(figure::P50, "haproxy"),
                most(
                    "added p50 µs, 8 connections",
                    added(figure::P50, OURS),
                    envoy(0.5, added(figure::P50, "envoy")),
                    "0.5 × Envoy",
                ),
            ),
            haproxy(
                added(figure::P99, "haproxy"),
                most(
                    "added p99 µs, 8 connections",
                    added(figure::P99, OURS),
                    envoy(0.5, added(figure::P99, "envoy")),
                    "0.5 × Envoy",
                ),
            ),
            haproxy(
                peer("tcp", per, "haproxy"),
                least(
                    "TCP MB per CPU second",
                    ours("tcp", per),
                    envoy(1.3, peer("tcp", per, "envoy")),
                    "1.3 × Envoy",
                ),
            ),
            least(
                "MB/s of one HTTP/2 stream through a gateway at 50 ms",
                ours("gateway/50ms", figure::BYTES),
                Some(100.0),
                "100",
            ),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// `at_most`: whether `must` is an upper bound.
fn verdict(figure: &str, seen: f64, must: f64, rule: &str, at_most: bool) -> Option<Verdict> {
    let met = match at_most {
        true => seen <= must,
        false => seen >= must,
    };
    Some(Verdict {
        figure: figure.to_owned(),
        seen,
        must,
        rule: format!("{} {rule}", if at_most { "≤" } else { "≥" }),
        met,
        aim: None,
    })
}

/// The middle of the samples.
fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn what_depends_on_a_peer_is_judged_only_beside_it() {
        let mut sheet = Sheet::default();
        sheet.note("http1/32", figure::CPU, OURS, 30.0);
        assert!(sheet.verdicts().is_empty());
        sheet.note("http1/32", figure::CPU, "envoy", 60.0);
        let [verdict] = sheet.verdicts().try_into().unwrap();
        assert!(verdict.met);
        assert!((verdict.must - 34.8).abs() < 1e-9);
        assert_eq!(verdict.rule, "≤ 0.58 × Envoy");
        sheet.note("http1/32", figure::CPU, OURS, 50.0);
        sheet.note("http1/32", figure::CPU, OURS, 50.0);
        assert!(!sheet.verdicts()[0].met, "the median counts");
    }

    #[test]
    fn added_latency_is_what_no_proxy_does_not_have() {
        let mut sheet = Sheet::default();
        for (proxy, p50) in [(DIRECT, 300.0), (OURS, 400.0), ("envoy", 700.0)] {
            sheet.note("http1/8", figure::P50, proxy, p50);
        }
        let verdict = &sheet.verdicts()[0];
        assert_eq!((verdict.seen, verdict.must), (100.0, 200.0));
        assert!(verdict.met);
    }

    #[test]
    fn throughput_is_bound_from_below_and_memory_from_above() {
        let mut sheet = Sheet::default();
        sheet.note("gateway/50ms", figure::BYTES, OURS, 99.0);
        sheet.note("http1/32", figure::RSS_CLIENT, OURS, 9.0);
        sheet.note("http1/32", figure::RSS_SERVER, OURS, 11.0);
        let met: Vec<_> = sheet.verdicts().iter().map(|v| v.met).collect();
        assert_eq!(met, [false, false]);
    }
}
