//! Series of one kind by their labels, and how they fade.

use std::{
    collections::HashMap,
    fmt::Display,
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::{Mutex, RwLock};

use super::labels::{Labels, header, sample};

/// Series by labels. Whoever holds one keeps it alive.
pub(super) struct Family<S> {
    series: Mutex<All<S>>,
    start: Instant,
}

struct All<S> {
    series: HashMap<Arc<str>, Arc<Series<S>>>,
    /// With so many, those nobody holds are looked for.
    sweep_at: usize,
}

/// One series and when it was last touched.
pub(super) struct Series<S> {
    value: S,
    start: Instant,
    /// Seconds after `start`.
    touched: AtomicU64,
}

/// Series as they are shown, by their labels.
pub(super) type Labelled<S> = [(Arc<str>, Arc<Series<S>>)];

/// More series than this and those nobody holds are dropped early: labels come from peers.
const MAX_SERIES: usize = 10_000;

impl<S> Family<S> {
    pub(super) fn new() -> Self {
        Self {
            series: Mutex::new(All {
                series: HashMap::new(),
                sweep_at: MAX_SERIES,
            }),
            start: Instant::now(),
        }
    }

    /// The series with these labels. Keep the handle; do not ask per request.
    pub(super) fn resolve(&self, labels: Arc<str>) -> Arc<Series<S>>
    where
        S: Default,
    {
        self.resolve_or(labels, S::default)
    }

    /// The same; a series that is new is made by `make`.
    pub(super) fn resolve_or(&self, labels: Arc<str>, make: impl FnOnce() -> S) -> Arc<Series<S>> {
        let mut all = self.series.lock();
        if all.series.len() >= all.sweep_at && !all.series.contains_key(&labels) {
            all.series.retain(|_, series| Arc::strong_count(series) > 1);
            // Where most are held, looking at all of them again for each new one would not end.
            all.sweep_at = MAX_SERIES.max(all.series.len() * 2);
        }
        let series = all.series.entry(labels).or_insert_with(|| {
            Arc::new(Series {
                value: make(),
                start: self.start,
                touched: AtomicU64::new(0),
            })
        });
        series.touch();
        series.clone()
    }

    /// What is left after idle series were dropped, in the order of labels.
    pub(super) fn snapshot(&self, retain_idle: Duration) -> Vec<(Arc<str>, Arc<Series<S>>)> {
        let all = &mut self.series.lock().series;
        let now = self.start.elapsed().as_secs();
        all.retain(|_, series| {
            let idle = now.saturating_sub(series.touched.load(Ordering::Relaxed));
            Arc::strong_count(series) > 1 || idle <= retain_idle.as_secs()
        });
        let mut left: Vec<_> = all.iter().map(|(l, s)| (l.clone(), s.clone())).collect();
        left.sort_by(|(a, _), (b, _)| a.cmp(b));
        left
    }
}

impl<S> Series<S> {
    pub(super) fn touch(&self) {
        self.touch_at(Instant::now());
    }

    /// The same for who knows the time.
    pub(super) fn touch_at(&self, now: Instant) {
        let now = now.saturating_duration_since(self.start).as_secs();
        // A line of the cache that others read is not written without need.
        if self.touched.load(Ordering::Relaxed) != now {
            self.touched.store(now, Ordering::Relaxed);
        }
    }
}

impl<S> Deref for Series<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.value
    }
}

/// Shows `note` the entry for `key`, of a handful within one series. It is made if there is none.
pub(super) fn note<K: Copy + PartialEq, V: Default>(
    entries: &RwLock<Vec<(K, V)>>,
    key: K,
    note: impl FnOnce(&V),
) {
    let find = |entries: &[(K, V)]| entries.iter().position(|(k, _)| *k == key);
    {
        let entries = entries.read();
        if let Some(found) = find(&entries) {
            return note(&entries[found].1);
        }
    }
    let mut entries = entries.write();
    let index = find(&entries).unwrap_or_else(|| {
        entries.push((key, V::default()));
        entries.len() - 1
    });
    note(&entries[index].1);
}

/// Writes one number of each series.
pub(super) fn render_each<S, V: Display>(
    out: &mut String,
    name: &str,
    kind: &str,
    help: &str,
    all: &Labelled<S>,
    value: impl Fn(&S) -> V,
) {
    header(out, name, kind, help);
    for (labels, series) in all {
        sample(out, name, labels, &Labels::default(), value(series));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_fade_unless_held() {
        let family = Family::<AtomicU64>::new();
        let held = family.resolve("a".into());
        drop(family.resolve("b".into()));
        assert_eq!(family.snapshot(Duration::from_secs(60)).len(), 2);
        // As if "b" had been touched long ago.
        let old = Family {
            series: Mutex::new(family.series.into_inner()),
            start: Instant::now()
                .checked_sub(Duration::from_secs(120))
                .unwrap(),
        };
        let left = old.snapshot(Duration::from_secs(60));
        assert_eq!(left.len(), 1);
        assert!(Arc::ptr_eq(&left[0].1, &held));
    }

    #[test]
    fn foreign_labels_cannot_grow_without_bound() {
        let family = Family::<AtomicU64>::new();
        for i in 0..MAX_SERIES + 10 {
            family.resolve(i.to_string().into());
        }
        assert!(family.series.lock().series.len() <= MAX_SERIES);
    }

    #[test]
    fn series_that_are_held_are_not_looked_at_for_each_new_one() {
        let family = Family::<AtomicU64>::new();
        let held: Vec<_> = (0..MAX_SERIES + 1)
            .map(|i| family.resolve(i.to_string().into()))
            .collect();
        assert!(family.series.lock().sweep_at > held.len() + MAX_SERIES / 2);
    }
}
