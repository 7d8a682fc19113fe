//! Coming back gradually: what was away gets a small share of its traffic first.

use std::time::Duration;

use tokio::time::Instant;

/// From the first to the full share.
const RAMP: Duration = Duration::from_secs(2);
/// The first share.
const FLOOR: f64 = 0.1;

/// The share of its traffic that something gets which came back `elapsed` ago.
pub fn share_after(elapsed: Duration) -> f64 {
    let progress = elapsed.as_secs_f64() / RAMP.as_secs_f64();
    (FLOOR + (1.0 - FLOOR) * progress).min(1.0)
}

/// Follows whether a backend can serve, and says what share of its traffic it should get.
#[derive(Debug, Default)]
pub struct Ramp {
    away: bool,
    back_since: Option<Instant>,
}

impl Ramp {
    /// Notes what is seen at `now`. A backend that was never seen away has its full share.
    pub fn observe(&mut self, available: bool, now: Instant) {
        match (available, self.away) {
            (false, _) => {
                self.away = true;
                self.back_since = None;
            }
            (true, true) => {
                self.away = false;
                self.back_since = Some(now);
            }
            (true, false) => {}
        }
    }

    /// The share at `now`, between the floor and 1.
    pub fn share(&self, now: Instant) -> f64 {
        match self.back_since {
            Some(since) => share_after(now.saturating_duration_since(since)),
            None => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_that_never_left_has_its_full_share() {
        let now = Instant::now();
        let mut ramp = Ramp::default();
        ramp.observe(true, now);
        assert_eq!(ramp.share(now), 1.0);
    }

    #[test]
    fn a_backend_that_came_back_gets_a_growing_share() {
        let start = Instant::now();
        let mut ramp = Ramp::default();
        ramp.observe(false, start);
        ramp.observe(true, start);
        let shares: Vec<f64> = [0, 500, 1000, 1500, 2000, 9000]
            .map(|ms| ramp.share(start + Duration::from_millis(ms)))
            .to_vec();
        assert!(shares.is_sorted(), "{shares:?}");
        assert_eq!(shares[0], 0.1);
        assert_eq!(shares[4], 1.0);
        assert_eq!(shares[5], 1.0);
        // Being seen again does not start it over; leaving again does.
        ramp.observe(true, start + RAMP);
        assert_eq!(ramp.share(start + RAMP), 1.0);
        ramp.observe(false, start + RAMP);
        ramp.observe(true, start + RAMP);
        assert_eq!(ramp.share(start + RAMP), 0.1);
    }
}
