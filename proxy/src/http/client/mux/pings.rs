//! Pings: to find out that a server is gone, and how long bytes are on their way.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep};

use super::{super::Settings, Shared};

pub(super) struct Pings {
    pings: PingPong,
    /// When the one that is not answered yet was sent.
    sent: Option<Instant>,
    /// When the next one is due, or an answer.
    timer: Pin<Box<Sleep>>,
    interval: Duration,
    timeout: Duration,
    while_idle: bool,
}

impl Pings {
    pub(super) fn new(pings: PingPong, settings: &Settings) -> Self {
        Self {
            pings,
            sent: None,
            timer: Box::pin(tokio::time::sleep(settings.ping_interval)),
            interval: settings.ping_interval,
            timeout: settings.ping_timeout,
            while_idle: settings.ping_while_idle,
        }
    }

    /// Ready with how long an answer took, or with `None` when there is none in time.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, shared: &Shared) -> Poll<Option<Duration>> {
        loop {
            let late = self.timer.as_mut().poll(cx).is_ready();
            if let Some(sent) = self.sent {
                return match self.pings.poll_pong(cx) {
                    Poll::Ready(Ok(_)) => {
                        self.sent = None;
                        self.set(self.interval);
                        Poll::Ready(Some(sent.elapsed()))
                    }
                    Poll::Pending if late => Poll::Ready(None),
                    // Those of a connection that ends are not answered; it says so itself.
                    Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
                };
            }
            let wanted = shared.window.as_ref().is_some_and(|w| w.is_asking());
            if !late && !wanted {
                return Poll::Pending;
            }
            if !wanted && !self.while_idle && !shared.streams.is_any() {
                self.set(self.interval);
                continue;
            }
            if self.pings.send_ping(Ping::opaque()).is_err() {
                return Poll::Pending;
            }
            if let Some(window) = &shared.window {
                window.asked();
            }
            self.sent = Some(Instant::now());
            self.set(self.timeout);
        }
    }

    fn set(&mut self, after: Duration) {
        self.timer.as_mut().reset(Instant::now() + after);
    }
}
