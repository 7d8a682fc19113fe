//! How far a rollout may go in one step. Pure.

use std::collections::BTreeMap;

/// A ReplicaSet, as much as a rollout needs to know of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Set {
    pub(super) name: String,
    /// Pods it is asked for.
    pub(super) wanted: i64,
    /// Pods it has that serve.
    pub(super) available: i64,
}

/// What a Deployment allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Pods it wants.
    pub(super) wanted: i64,
    /// Pods there may be beyond that.
    pub(super) surge: i64,
    /// Pods of those that may be missing.
    pub(super) unavailable: i64,
}

/// New sizes, by name; sets that stay are left out.
pub(super) type Sizes = BTreeMap<String, i64>;

/// A step of a rolling update. `old` is sorted oldest first.
pub(super) fn rolling(limits: Limits, new: &Set, old: &[Set]) -> Sizes {
    let grown = grow(limits, new, old);
    if grown != new.wanted {
        // One thing at a time: the shrinking is decided when this one is seen.
        return Sizes::from([(new.name.clone(), grown)]);
    }
    shrink(limits, new, old)
}

/// The size of the new set: as many as wanted, as long as there are not too many in all.
fn grow(limits: Limits, new: &Set, old: &[Set]) -> i64 {
    if new.wanted >= limits.wanted {
        return limits.wanted;
    }
    let all = new.wanted + old.iter().map(|s| s.wanted).sum::<i64>();
    let room = (limits.wanted + limits.surge - all).max(0);
    new.wanted + room.min(limits.wanted - new.wanted)
}

/// The sizes of the old sets: first without what does not serve anyway, then as small as the new
/// set's serving pods allow.
fn shrink(limits: Limits, new: &Set, old: &[Set]) -> Sizes {
    let least = limits.wanted - limits.unavailable;
    let old_wanted: i64 = old.iter().map(|s| s.wanted).sum();
    let new_missing = (new.wanted - new.available).max(0);
    let mut may_go = new.wanted + old_wanted - least - new_missing;
    let mut sizes: Vec<(i64, i64)> = old.iter().map(|s| (s.wanted, s.available)).collect();
    for (wanted, available) in &mut sizes {
        let idle = (*wanted - (*available).min(*wanted)).min(may_go.max(0));
        *wanted -= idle;
        may_go -= idle;
    }
    let serving = new.available + old.iter().map(|s| s.available).sum::<i64>();
    let mut spare = (serving - least).max(0);
    for (wanted, _) in &mut sizes {
        let fewer = (*wanted).min(spare);
        *wanted -= fewer;
        spare -= fewer;
    }
    old.iter()
        .zip(sizes)
        .filter(|(set, (wanted, _))| set.wanted != *wanted)
        .map(|(set, (wanted, _))| (set.name.clone(), wanted))
        .collect()
}

/// A step of a recreation: everything old goes before anything new comes.
pub(super) fn recreate(limits: Limits, new: &Set, old: &[Set], old_pods_left: bool) -> Sizes {
    let shrunk: Sizes = old
        .iter()
        .filter(|s| s.wanted > 0)
        .map(|s| (s.name.clone(), 0))
        .collect();
    if !shrunk.is_empty() || old_pods_left || new.wanted == limits.wanted {
        return shrunk;
    }
    Sizes::from([(new.name.clone(), limits.wanted)])
}

/// Surge and unavailability in pods. Percentages of the wanted number round in the rollout's
/// favour for surge and against it for unavailability; both cannot be nothing.
pub(super) fn limits(
    wanted: i64,
    surge: &serde_json::Value,
    unavailable: &serde_json::Value,
) -> Limits {
    let surge = share(surge, wanted, true);
    let mut unavailable = share(unavailable, wanted, false).min(wanted);
    if surge == 0 && unavailable == 0 {
        unavailable = 1;
    }
    Limits {
        wanted,
        surge,
        unavailable,
    }
}

fn share(value: &serde_json::Value, of: i64, up: bool) -> i64 {
    if let Some(number) = value.as_i64() {
        return number.max(0);
    }
    let percent = value.as_str().and_then(|s| s.strip_suffix('%'));
    let percent: i64 = percent.and_then(|p| p.parse().ok()).unwrap_or_default();
    let product = of.saturating_mul(percent);
    if up {
        product.saturating_add(99) / 100
    } else {
        product / 100
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(name: &str, wanted: i64, available: i64) -> Set {
        Set {
            name: name.into(),
            wanted,
            available,
        }
    }

    fn sizes(of: &[(&str, i64)]) -> Sizes {
        of.iter().map(|(n, s)| ((*n).to_owned(), *s)).collect()
    }

    #[test]
    fn limits_round_as_kubernetes_rounds() {
        let l = |wanted, surge, unavailable| {
            let l = limits(wanted, &surge, &unavailable);
            (l.surge, l.unavailable)
        };
        assert_eq!(l(1, json!("25%"), json!("25%")), (1, 0));
        assert_eq!(l(4, json!("25%"), json!("25%")), (1, 1));
        assert_eq!(l(10, json!("25%"), json!("25%")), (3, 2));
        assert_eq!(l(3, json!(0), json!("0%")), (0, 1));
        assert_eq!(l(2, json!(1), json!(5)), (1, 2));
    }

    #[test]
    fn a_rolling_update_goes_as_far_as_it_may() {
        let four = limits(4, &json!("25%"), &json!("25%"));
        let table = [
            // Fresh: everything at once.
            (four, set("n", 0, 0), vec![], sizes(&[("n", 4)])),
            // One more than wanted may exist.
            (
                four,
                set("n", 0, 0),
                vec![set("o", 4, 4)],
                sizes(&[("n", 1)]),
            ),
            // One may be missing: one old goes although the new one does not serve yet.
            (
                four,
                set("n", 1, 0),
                vec![set("o", 4, 4)],
                sizes(&[("o", 3)]),
            ),
            (four, set("n", 2, 0), vec![set("o", 3, 3)], sizes(&[])),
            (
                four,
                set("n", 2, 2),
                vec![set("o", 3, 3)],
                sizes(&[("o", 1)]),
            ),
            (
                four,
                set("n", 4, 4),
                vec![set("o", 1, 1)],
                sizes(&[("o", 0)]),
            ),
            // What does not serve goes first, and costs nobody anything.
            (
                four,
                set("n", 1, 0),
                vec![set("o", 4, 1)],
                sizes(&[("o", 3)]),
            ),
            // Scaled down in the middle.
            (four, set("n", 6, 6), vec![], sizes(&[("n", 4)])),
            (four, set("n", 4, 4), vec![], sizes(&[])),
        ];
        for (limits, new, old, expected) in table {
            assert_eq!(rolling(limits, &new, &old), expected, "{new:?} {old:?}");
        }
    }

    #[test]
    fn any_rollout_ends_and_keeps_its_limits() {
        for wanted in 1..8 {
            for (surge, unavailable) in [(0, 1), (1, 0), (2, 2), (10, 0)] {
                let limits = Limits {
                    wanted,
                    surge,
                    unavailable: unavailable.min(wanted),
                };
                let (mut new, mut old) = (set("n", 0, 0), set("o", wanted, wanted));
                for step in 0.. {
                    assert!(step < 100, "stuck: {limits:?} {new:?} {old:?}");
                    let next = rolling(limits, &new, std::slice::from_ref(&old));
                    if next.is_empty() && new.available == new.wanted {
                        break;
                    }
                    new.wanted = next.get("n").copied().unwrap_or(new.wanted);
                    old.wanted = next.get("o").copied().unwrap_or(old.wanted);
                    old.available = old.available.min(old.wanted);
                    assert!(new.wanted + old.wanted <= wanted + surge);
                    assert!(new.available + old.available >= wanted - limits.unavailable);
                    if next.is_empty() {
                        new.available = new.wanted;
                    }
                }
                assert_eq!((new.wanted, old.wanted), (wanted, 0), "{limits:?}");
            }
        }
    }

    #[test]
    fn a_recreation_waits_for_the_last_old_pod() {
        let limits = limits(2, &json!(1), &json!(0));
        let (new, old) = (set("n", 0, 0), [set("o", 2, 2)]);
        assert_eq!(recreate(limits, &new, &old, true), sizes(&[("o", 0)]));
        let gone = [set("o", 0, 0)];
        assert_eq!(recreate(limits, &new, &gone, true), sizes(&[]));
        assert_eq!(recreate(limits, &new, &gone, false), sizes(&[("n", 2)]));
    }
}
