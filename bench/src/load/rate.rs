//! Requests at a fixed rate, whether those before them were answered or not: who waits for a slow
//! answer before sending the next request leaves out the waiting of everybody behind it.

use std::{
    io,
    time::{Duration, Instant},
};

use super::{Notes, Route, http1::Client};

/// When one of several clients sends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    next: Instant,
    pause: Duration,
}

impl Schedule {
    /// The share of `index`, one of `clients`, in `rate` requests a second.
    pub(super) fn new(start: Instant, rate: u32, clients: usize, index: usize) -> Self {
        let one = Duration::from_secs(1) / rate.max(1);
        Self {
            next: start + one * u32::try_from(index).unwrap_or(0),
            pause: one * u32::try_from(clients).unwrap_or(1),
        }
    }

    /// When the next request is due, and which.
    fn advance(&mut self) -> Instant {
        let due = self.next;
        self.next += self.pause;
        due
    }

    /// From when on a request due at `due` has waited, if its client could send it at `now`: since
    /// it was due if the client was busy then, else since it was sent. That a timer wakes a client
    /// late is not the proxy's fault.
    fn waiting_since(due: Instant, was_busy: bool, now: Instant) -> Instant {
        match was_busy {
            true => due,
            false => now,
        }
    }
}

/// Sends as scheduled.
pub(super) async fn keep(route: Route, notes: &Notes, mut schedule: Schedule) -> io::Result<()> {
    let mut client = Client::new(route).await?;
    // Connecting is not what is measured.
    while schedule.next < Instant::now() {
        schedule.advance();
    }
    while !notes.is_stopped() {
        let due = schedule.advance();
        let was_busy = Instant::now() > due;
        tokio::time::sleep_until(due.into()).await;
        let since = Schedule::waiting_since(due, was_busy, Instant::now());
        client.ask().await?;
        notes.answered(since);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_take_turns() {
        let start = Instant::now();
        let mut due: Vec<_> = (0..4)
            .map(|index| Schedule::new(start, 1000, 4, index))
            .flat_map(|mut schedule| [schedule.advance(), schedule.advance()])
            .map(|due| (due - start).as_millis())
            .collect();
        due.sort_unstable();
        assert_eq!(due, [0, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn who_could_not_send_has_waited_since_it_was_due() {
        let due = Instant::now();
        let now = due + Duration::from_millis(7);
        assert_eq!(Schedule::waiting_since(due, true, now), due);
        assert_eq!(Schedule::waiting_since(due, false, now), now);
    }
}
